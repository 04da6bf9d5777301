"""The life cycle of a filer: boot, console, halt, panic, LOADER."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from filer.boot.machine import (
    BootAborted,
    Machine,
    NoKeyServer,
    Panic,
    SystemIdMismatch,
    boot,
    power_off,
)
from filer.boot.raid import Raid
from filer.boot.takeover import stand_down
from filer.boot.watch import Watch
from filer.boot_device.panics import LIMIT
from filer.commands import (
    Command,
    Complaint,
    Console,
    Leave,
    Next,
    SessionState,
    Text,
)
from filer.host.errors import FilerError
from filer.pair.mailbox import State
from filer.pair.pair import Pair
from filer.pair.service import ServiceHeld
from filer.running.heartbeat import Heartbeat
from filer.running.interrupt import Interrupted
from filer.shell.announcer import Announcer
from filer.shell.giveback import Giveback
from filer.shell.plugins import BOOT_MENU, LOADER, MAINTENANCE, OTHER_CONSOLES
from filer.shell.session import FAILED, OK, Host, NoRecord, Record, Session
from filer.shell.signals import HandedOver, Signals
from filer.system import Filer

PANICKED = 3
"""The exit status after a panic, or an aborted boot, without a later successful boot."""

STARTING_AUTOBOOT = "Starting AUTOBOOT press Ctrl-C to abort..."
"""What the boot loader prints before it boots by itself."""

MENU_WAIT = 2.0
"""Seconds that a boot waits for Ctrl-C, which leads to the boot menu."""

LONGEST_WAIT = 60.0
"""The most seconds between a panic and the next boot."""

_DOUBLINGS = 10


def _nothing() -> None:
    pass


def _state_after(leave: Leave) -> State:
    if not leave.takeover:
        return State.NOTAKEOVER
    return State.REBOOTING if leave.next is Next.BOOT else State.HALTED


def _part(event: str) -> str:
    """Return the part of the boot that reports ``event``."""
    part = event.partition(".")[0]
    return "kmip_init" if part == "kmip" else part


class BootNotices:
    """Prints the notices of a boot: warnings always, progress on a terminal only."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def progress(self, event: str, text: str) -> None:
        if self._console.is_terminal:
            self._console.show(Text(f"{_part(event)}: {text}"))

    attempt = progress

    def warning(self, event: str, text: str) -> None:
        warning = Complaint(f"{_part(event)}: {text}.", "boot", event=event)
        self._console.warn(warning.as_warning())

    def banner(self, lines: tuple[str, ...]) -> None:
        self._console.warn(Complaint("\n".join(lines), "attention"))


def wait_before_boot(panics: int) -> float:
    """Return the seconds to wait after that many panics in a row: 1, 2, 4 ... 60."""
    return LONGEST_WAIT if panics > _DOUBLINGS else min(2.0 ** (panics - 1), LONGEST_WAIT)


@dataclass(eq=False, repr=False)
class PowerCycle:
    """Powers a machine on, and runs it until the user of the console leaves.

    ``first_up`` is called after the first successful boot, ``on_session`` before each session.
    """

    machine: Machine
    commands: Mapping[str, Command]
    host: Host
    console: Console
    signals: Signals
    first_up: Callable[[Filer], None]
    on_session: Callable[[], None]
    record: Record = field(default_factory=NoRecord)

    def run(self) -> int:
        """Run the machine and return the exit status of the program."""
        self._console_session: Session | None = None
        self._announcer = Announcer()
        self._giveback = Giveback(self.machine.interrupt, self.console, self.signals)
        self._heartbeat: Heartbeat | None = None
        self._panics = 0
        self._mailbox_problem = ""  # as it was shown
        self._panic_reason = ""  # of a filer that was up
        self._is_down = self._offers_menu = False
        step = self._power_on(Next.BOOT)
        try:
            while step is not Next.END:
                step = self._do(step)
        except FilerError:
            raise
        except Exception:
            self._power_off(State.PANICKED)
            raise
        finally:
            self._power_off(State.NOTAKEOVER)
        return PANICKED if self._is_down else self.host.status

    def _do(self, step: Next) -> Next:
        if step is Next.BOOT and self._menu_is_wanted():
            step = Next.BOOT_MENU
        try:
            self._run(step)
        except Panic:
            return self._after_panic()
        except BootAborted as end:
            self.signals.hands_over = False  # the disks are released anyway
            self.signals.end_if_asked()
            self._filer.loader.unsaved.clear()
            is_failure = isinstance(end, NoKeyServer)
            return self._at_loader(State.HALTED if is_failure else State.NOTAKEOVER)
        except HandedOver:
            return self._stop()
        except Leave as leave:
            return self._stop() if self.signals.hands_over else self._leave(step, leave)
        return Next.END

    def _at_loader(self, state: State) -> Next:
        """Go to LOADER after a boot that failed; a pair releases its disks, for ``state``."""
        return self._cycle_power(self._loader, state) if self._filer.pair else self._loader

    def _run(self, step: Next) -> None:
        match step:
            case Next.BOOT:
                self._boot()
                self._talk(self._session())
                self._end_heartbeat()
                if self._panic_reason:  # from the last look at the disks
                    raise HandedOver
            case Next.MAINTENANCE:
                self._refuse_takeover()
                for damage in self._filer.shelf.warnings:
                    self.console.warn(f"WARNING: disk: {damage}.")
                self._talk(self._other_session(MAINTENANCE))
            case Next.LOADER:
                self._talk(self._other_session(LOADER))
            case Next.BOOT_MENU:
                from filer.commands.boot_menu import TEXT  # seldom needed

                self._refuse_takeover()
                self.console.show(Text(TEXT))
                self._talk(self._other_session(BOOT_MENU))

    def _refuse_takeover(self) -> None:
        """Say that a person works on the disks of this node."""
        if self._filer.pair:
            self._filer.pair.is_up(State.MAINTENANCE)
            self._warn_of_mailbox(self._filer.pair)

    def _leave(self, step: Next, leave: Leave) -> Next:
        if leave.next is Next.END:
            return Next.END
        self._offers_menu = leave.next is Next.BOOT and step is not Next.BOOT_MENU
        at_loader = step in (Next.LOADER, Next.BOOT_MENU)
        following = self._loader if leave.next is Next.LOADER else leave.next
        state = _state_after(leave) if step is Next.BOOT else State.NOTAKEOVER
        unsaved = self._filer.loader.unsaved if at_loader else None
        return self._cycle_power(following, state, unsaved)

    def _menu_is_wanted(self) -> bool:
        """Offer the boot menu to a person, in a boot by ``reboot`` or from LOADER."""
        offered, self._offers_menu = self._offers_menu and self.console.is_terminal, False
        if not offered:
            return False
        self.console.show(Text("Press Ctrl-C for Boot Menu."))
        try:
            self._filer.interrupt.sleep(MENU_WAIT)
        except Interrupted:
            self.signals.end_if_asked()
            return True
        return False

    def _boot(self) -> None:
        status = FAILED
        self.record.begin(event="boot")
        if self._filer.pair:  # kmip_init may wait for hours
            self._filer.pair.interconnect.asked = self.signals.hand_over
        try:
            with self._filer.progress.shown(self.console.progress):
                boot(
                    self._filer,
                    BootNotices(self.console),
                    self._before_disks,
                    self._overrides,
                )
            status = OK
        except (BootAborted, Panic) as end:
            status = PANICKED
            self._is_down = True
            complaint = Complaint(str(end), "boot_aborted")
            if isinstance(end, Panic):
                self._panics += 1
                complaint = Complaint(str(end), "panic")
            self.console.fail(complaint)
            raise
        finally:
            self.record.end(status)
        self._panics, self._is_down = 0, False
        self._watch_partner()
        raid = Raid(self._filer, partial(self._announce, about_disks=True), self._panic)
        self._heartbeat = Heartbeat(raid.tick)
        self.signals.end_if_asked()

    def _before_disks(self) -> None:
        """End a boot that was asked to; the partner's next request waits until the filer is up."""
        if self._filer.pair:
            self._filer.pair.interconnect.asked = _nothing
        self.signals.end_if_asked()

    def _overrides(self, mismatch: SystemIdMismatch) -> bool:
        """Ask whether the disks get the changed system ID; without a terminal they do not."""
        text = (
            f"WARNING: System ID mismatch. {len(mismatch.disks)} disks belong to system "
            f"{mismatch.old}; the ID of this system is {mismatch.new}."
        )
        warning = Complaint(text, "system_id_mismatch", old=mismatch.old, new=mismatch.new)
        self.console.warn(warning)
        if not self.console.is_terminal:
            return False
        from filer.commands.parts.dialogue import answered_y  # seldom needed

        return answered_y(self.console, "Override system ID? {y|n} ", unanswered=False)

    def _session(self) -> Session:
        """Return the console's session, which is kept over a reboot."""
        if self._console_session is None:
            self._console_session = self._new_session(self.commands)
            self.first_up(self._filer)
        self._console_session.begin(self._filer)
        return self._console_session

    def _other_session(self, prompt: str) -> Session:
        return self._new_session(OTHER_CONSOLES[prompt](), prompt)

    def _new_session(self, commands: Mapping[str, Command], prompt: str = "") -> Session:
        return Session(
            self._filer,
            commands,
            self.console,
            prompt,
            self.record,
            state=SessionState(end_if_asked=self.signals.end_if_asked),
        )

    def _talk(self, session: Session) -> None:
        session.filer.interrupt.clear()  # a Ctrl-C before this was for the boot
        self.on_session()
        self.host.run(session)

    def _cycle_power(
        self, following: Next, state: State, unsaved: Mapping[str, str | None] | None = None
    ) -> Next:
        """Remove power, for the reason ``state``, and power on; return what `_power_on` does."""
        self._power_off(state)
        pair = self._filer.pair
        if pair:
            self._giveback.leave_time(pair, state)
        return self._power_on(following, unsaved)

    def _power_off(self, state: State) -> None:
        self._end_heartbeat()
        self._panic_reason = ""
        pair = self._filer.pair
        if pair:
            pair.interconnect.tick = pair.interconnect.asked = _nothing
        self.signals.hands_over = False
        if pair and pair.service.held and self._filer.wafl_is_up:
            text = f"takeover of {pair.partner_name} disabled (local halt in progress)"
            event = "cf.fsm.takeoverOfPartnerDisabled"
            self._filer.messages.log(event, "notice", f"Cluster monitor: {text}")
        power_off(self._filer)
        stand_down(self._filer, state)
        if pair:
            self._warn_of_mailbox(pair)

    def _end_heartbeat(self) -> None:
        if self._heartbeat:
            self._heartbeat.stop()
            self._heartbeat = None

    def _warn_of_mailbox(self, pair: Pair) -> None:
        before, self._mailbox_problem = self._mailbox_problem, pair.problem
        if pair.problem not in ("", before):
            self.console.warn(Complaint(f"WARNING: cf: {pair.problem}", "mailbox"))

    def _power_on(self, step: Next, unsaved: Mapping[str, str | None] | None = None) -> Next:
        """Power on for ``step`` and return it; or LOADER, or END, if the partner has the disks."""
        while step in (Next.BOOT, Next.BOOT_MENU, Next.MAINTENANCE):
            try:
                self._filer = self.machine.power_on(unsaved)
            except ServiceHeld as held:
                if not self._may_power_on(step, held):
                    self._is_down = True
                    step = self._loader
            else:
                if self._filer.pair:
                    self._warn_of_mailbox(self._filer.pair)
                return step
        self._filer = self.machine.power_on(unsaved, serves=False)
        return step

    def _may_power_on(self, step: Next, held: ServiceHeld) -> bool:
        """Wait for giveback; return whether it is worth trying again."""
        pair = self.machine.pair()
        if pair is None:
            raise held
        if step is Next.MAINTENANCE:
            text = f"boot: {pair.partner_name} has taken over this system; run cf giveback there"
            self.console.fail(Complaint(text, "taken_over"))
            return False
        most = math.inf if self.host.is_for_people else self.machine.giveback_wait
        try:
            refusal = self._giveback.wait(pair, most)
        finally:
            pair.waits_no_more()
        self._warn_of_mailbox(pair)
        if refusal:
            self.console.fail(Complaint(f"boot: {refusal}", "giveback"))
        return not refusal

    def _panic(self, reason: str) -> None:
        """Make the console end: the filer that is up has to panic; from any thread."""
        self._panic_reason = reason
        self.signals.hand_over()

    def _stop(self) -> Next:
        """Panic, or release the disks for the partner, whose operator wants them, and boot again.

        Both are requested by another thread.
        """
        self.signals.hands_over = False
        if self._panic_reason:
            self.console.fail(Complaint(f"PANIC: {self._panic_reason}", "panic"))
            self._is_down = True
            self._panics += 1
            return self._after_panic()
        text = f"cf: takeover of {self._filer.hardware.hostname} by its partner"
        self.console.warn(Complaint(text, "handed_over"))
        return self._cycle_power(Next.BOOT, State.HANDED_OVER)

    def _watch_partner(self) -> None:
        pair = self._filer.pair
        if pair:
            pair.interconnect.asked = self.signals.hand_over
            pair.interconnect.tick = Watch(self._filer, pair, self._announce).tick

    def _announce(self, line: str, *, about_disks: bool = False) -> None:
        """Show a line of the system log as the option console.messages says."""
        try:
            wanted = self._filer.options["console.messages"]
        except FilerError:  # its file is damaged, which the boot has said
            wanted = "auto"
        if wanted != "off":
            only_watched = about_disks and wanted == "auto"
            self._announcer.announce(partial(self.host.announce, line, only_watched=only_watched))

    def _after_panic(self) -> Next:
        """With AUTOBOOT, wait and boot again, up to LIMIT panics; otherwise stop at LOADER."""
        self.signals.hands_over = False  # the disks are released anyway
        self.signals.end_if_asked()
        self._filer.loader.unsaved.clear()
        if self._filer.pair or self._filer.wafl_is_up:
            self._cycle_power(Next.LOADER, State.PANICKED)
        self._filer.interrupt.clear()  # a request of another thread to panic
        if self._has_autoboot():
            if self._panics_in_a_row() >= LIMIT:
                text = f"AUTOBOOT gives up after {LIMIT} panics in a row."
                self.console.warn(Complaint(text, "autoboot_ends", panics=LIMIT))
                return self._loader
            seconds = wait_before_boot(self._panics_in_a_row())
            text = f"autoboot: the next boot begins in {seconds:g} s.\n{STARTING_AUTOBOOT}"
            self.console.warn(Complaint(text, "autoboot", seconds=seconds))
            try:
                self._filer.interrupt.sleep(seconds)
            except Interrupted:
                self.signals.end_if_asked()
            else:
                return self._cycle_power(Next.BOOT, State.PANICKED)
        return self._loader

    @property
    def _loader(self) -> Next:
        """LOADER for a person; a script ends instead."""
        return Next.LOADER if self.console.is_terminal else Next.END

    def _has_autoboot(self) -> bool:
        try:
            return self._filer.loader.autoboot
        except FilerError as damage:  # it can be repaired at LOADER
            self.console.fail(Complaint(str(damage), "refused"))
            return False

    def _panics_in_a_row(self) -> int:
        """Return the count on the boot device, or ours if the device is too full to keep it."""
        return max(self._filer.panics.in_a_row, self._panics)
