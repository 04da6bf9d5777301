"""The life cycle of a filer: boot, console, halt, panic, LOADER."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from filer.boot.machine import BootAborted, Machine, Panic, SystemIdMismatch, boot, power_off
from filer.boot_device.panics import LIMIT
from filer.commands import (
    Cancelled,
    Command,
    Complaint,
    Console,
    EndOfAnswers,
    Leave,
    Next,
    SessionState,
    Text,
)
from filer.host.errors import FilerError
from filer.running.interrupt import Interrupted
from filer.shell.plugins import BOOT_MENU, LOADER, MAINTENANCE, OTHER_CONSOLES
from filer.shell.session import FAILED, OK, Host, NoRecord, Record, Session
from filer.shell.signals import Signals
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
        self._filer = self.machine.power_on()
        self._console_session: Session | None = None
        self._panics = 0
        self._is_down = self._offers_menu = False
        step = Next.BOOT
        try:
            while step is not Next.END:
                step = self._do(step)
        finally:
            power_off(self._filer)
        return PANICKED if self._is_down else self.host.status

    def _do(self, step: Next) -> Next:
        try:
            match step:
                case Next.BOOT:
                    if self._menu_is_wanted():
                        return Next.BOOT_MENU
                    self._boot()
                    self._talk(self._session())
                case Next.MAINTENANCE:
                    for damage in self._filer.shelf.warnings:
                        self.console.warn(f"WARNING: disk: {damage}.")
                    self._talk(self._other_session(MAINTENANCE))
                case Next.LOADER:
                    self._talk(self._other_session(LOADER))
                case Next.BOOT_MENU:
                    from filer.commands.boot_menu import TEXT  # seldom needed

                    self.console.show(Text(TEXT))
                    self._talk(self._other_session(BOOT_MENU))
        except Panic:
            return self._after_panic()
        except BootAborted:
            self.signals.end_if_asked()
            self._filer.loader.unsaved.clear()
            return self._loader
        except Leave as leave:
            if leave.next is Next.END:
                return Next.END
            self._offers_menu = leave.next is Next.BOOT and step is not Next.BOOT_MENU
            at_loader = step in (Next.LOADER, Next.BOOT_MENU)
            self._cycle_power(self._filer.loader.unsaved if at_loader else None)
            return self._loader if leave.next is Next.LOADER else leave.next
        return Next.END

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
        try:
            with self._filer.progress.shown(self.console.progress):
                boot(
                    self._filer,
                    BootNotices(self.console),
                    self.signals.end_if_asked,
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
        self.signals.end_if_asked()

    def _overrides(self, mismatch: SystemIdMismatch) -> bool:
        """Ask whether the disks get the changed system ID; without a terminal they do not."""
        from filer.commands.parts.dialogue import ask_y_n

        text = (
            f"WARNING: System ID mismatch. {len(mismatch.disks)} disks belong to system "
            f"{mismatch.old}; the ID of this system is {mismatch.new}."
        )
        warning = Complaint(text, "system_id_mismatch", old=mismatch.old, new=mismatch.new)
        self.console.warn(warning)
        if not self.console.is_terminal:
            return False
        try:
            return ask_y_n(self.console, "Override system ID? {y|n} ")
        except (Cancelled, EndOfAnswers):
            return False

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

    def _cycle_power(self, unsaved: Mapping[str, str | None] | None = None) -> None:
        power_off(self._filer)
        self._filer = self.machine.power_on(unsaved)

    def _after_panic(self) -> Next:
        """With AUTOBOOT, wait and boot again, up to LIMIT panics; otherwise stop at LOADER."""
        self.signals.end_if_asked()
        self._filer.loader.unsaved.clear()
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
                self._cycle_power()
                return Next.BOOT
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
