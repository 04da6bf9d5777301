"""Takeover and giveback by themselves: what a node decides at each heartbeat."""

import time
from collections.abc import Callable

from filer.boot.notices import Notices
from filer.boot.takeover import MovingAlready, give_back, take_over
from filer.host.errors import FilerError
from filer.pair.mailbox import Message, State
from filer.pair.pair import Pair, Partner
from filer.pair.service import ServiceHeld
from filer.running.interrupt import Interrupt
from filer.running.turn import Busy
from filer.system import Filer

_ON_REBOOT = "cf.takeover.on_reboot"
_CAUSES = {
    State.PANICKED: ("cf.takeover.on_panic", "partner panic"),
    State.HALTED: (_ON_REBOOT, "partner halt"),
    State.REBOOTING: (_ON_REBOOT, "partner reboot"),
}
"""The states that a partner announces: the option that lets a takeover follow, and its reason."""

_AFTER_REBOOT = 180.0
"""Seconds after which a partner that halted or rebooted is taken over although
``cf.takeover.on_reboot`` is off."""

_AFTER_FAILED_GIVEBACK = 600.0
"""Seconds between a giveback by itself that failed and the next one."""

_LOST = ("cf.takeover.on_failure", "partner failure")
PANIC = _CAUSES[State.PANICKED][1]


class Silent:
    """Notices that are only logged."""

    def progress(self, event: str, text: str) -> None: ...

    attempt = progress

    def warning(self, event: str, text: str) -> None: ...

    def banner(self, lines: tuple[str, ...]) -> None: ...


class Watch:
    """Watches the partner of a filer that is up; ``tell`` prints a line on the console."""

    def __init__(
        self,
        filer: Filer,
        pair: Pair,
        tell: Callable[[str], object],
        notices: Notices | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._filer = filer
        self._pair = pair
        self._tell = tell
        self._notices = notices or Silent()
        self._clock = clock
        self._down: tuple[int, float] = (0, 0.0)
        """The generation of the partner's mailbox while it is down, and since when it is."""

        self._no_giveback_before = 0.0
        self._problem = ""

    def tick(self) -> None:
        """Take the partner over, or give it back, if it is time; once a failure."""
        self._filer.interrupt.use(Interrupt())  # not that of the console
        try:
            self._pair.say_again()
            self._decide()
        except MovingAlready:
            pass
        except FilerError as problem:
            self._fail(str(problem))
        except Exception as defect:  # heartbeats must go on
            self._fail(f"internal error: {type(defect).__name__}")

    def _fail(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            self._log("cf.fsm.failure", "error", f"Failover monitor: {problem}")

    def _decide(self) -> None:
        pair = self._pair
        sight = pair.look()
        if sight.partner is Partner.TAKEN_OVER:
            self._give_back_if_due()
        elif sight.partner is Partner.DOWN and sight.message and pair.failover.enabled:
            self._take_over_if_due(sight.message)
        else:
            self._down = (0, 0.0)

    def _take_over_if_due(self, message: Message) -> None:
        if self._down[0] != message.generation:
            self._down = (message.generation, self._clock())
        option, reason = _CAUSES.get(message.state, _LOST)
        options = self._filer.options
        patience = 0.0
        if message.state not in _CAUSES:
            patience = float(options["cf.takeover.detection.seconds"])
        is_off = options[option] == "off"
        if is_off and option == _ON_REBOOT:
            is_off, patience = False, _AFTER_REBOOT
        if (
            self._pair.dealt_with == message.generation
            or self._pair.unheard
            or is_off
            or self._clock() - self._down[1] < patience
        ):
            return
        self._pair.dealt_with = message.generation
        self._log("cf.fm.takeoverStarted", "warning", "Failover monitor: takeover started")
        try:
            take_over(self._filer, self._pair, self._notices, reason)
        except ServiceHeld:
            text = "the partner is up again"
            self._log("cf.fm.takeoverFailed", "notice", f"Failover monitor: no takeover: {text}")
        except FilerError as problem:
            text = f"Failover monitor: takeover failed: {problem}"
            self._log("cf.fm.takeoverFailed", "error", text)
        else:
            self._log("cf.fm.takeoverComplete", "warning", "Failover monitor: takeover completed")

    def _give_back_if_due(self) -> None:
        pair, filer = self._pair, self._filer
        is_due = pair.reason == PANIC or filer.options["cf.giveback.auto.enable"] == "on"
        if not (is_due and filer.partner and pair.interconnect.partner_waits):
            return
        if self._clock() < self._no_giveback_before:
            return
        try:
            with filer.changes.turn("cf giveback", "the failover monitor"):
                give_back(filer, pair)
        except Busy:  # the next heartbeat tries again
            return
        except FilerError as problem:
            self._no_giveback_before = self._clock() + _AFTER_FAILED_GIVEBACK
            text = f"Failover monitor: giveback failed: {problem}"
            self._log("cf.fm.givebackFailed", "error", text)
            return
        self._log("cf.fm.givebackComplete", "notice", "Failover monitor: giveback completed")

    def _log(self, event: str, severity: str, text: str) -> None:
        self._tell(self._filer.messages.log(event, severity, text))
