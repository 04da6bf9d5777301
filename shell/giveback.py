"""The wait of a node whose partner has its disks, or is about to take them."""

from contextlib import suppress
from typing import NamedTuple

from filer.commands import Complaint, Console, Text
from filer.host.errors import FilerError
from filer.pair.mailbox import State
from filer.pair.pair import Pair
from filer.running.interrupt import Interrupt, Interrupted
from filer.shell.signals import Signals

_WAITING = "Waiting for giveback...(Press Ctrl-C to abort wait)"

_DECLARED_DEAD = (
    "This node was previously declared dead.",
    "Pausing to check HA partner status ...",
)
_HALT_OR_WAIT = "Do you wish to halt this node rather than wait [y/n]? "

_LOOK_EVERY = 0.1
"""Seconds between two looks at the service lock."""

_TIME_OF_PARTNER = 10.0
"""Seconds that a partner has to begin a takeover, before this system boots again."""


class Giveback(NamedTuple):
    """Waits at a console; Ctrl-C ends a wait."""

    interrupt: Interrupt
    console: Console
    signals: Signals

    def wait(self, pair: Pair, most: float) -> str:
        """Wait up to ``most`` seconds for giveback; return why the wait has ended without it."""
        while True:
            pair.waits()
            self.interrupt.clear()  # before the message, which says to press Ctrl-C
            self.console.warn(Complaint(_WAITING, "giveback"))
            try:
                if self._is_free_within(pair, most):
                    return ""
            except Interrupted:
                self.signals.end_if_asked()
                pair.waits_no_more()  # a giveback to an open question would serve no disk
                if self._halts_rather(pair):
                    return "the wait for giveback was aborted"
            else:
                return f"{pair.partner_name} gave nothing back in time"

    def _halts_rather(self, pair: Pair) -> bool:
        """Say how the partner is, and ask whether to halt; without a terminal the answer is yes."""
        from filer.commands.parts.dialogue import answered_y  # seldom needed

        if pair.service.is_free():
            return False
        if not self.console.is_terminal:
            return True
        for line in _DECLARED_DEAD:
            self.console.show(Text(line))
        with suppress(FilerError):
            message = pair.other_mailbox.read()
            if message and message.state is State.TAKEOVER:
                self.console.show(Text("partner is operational and in takeover mode."))
        self.interrupt.clear()
        return answered_y(self.console, _HALT_OR_WAIT, unanswered=True)

    def leave_time(self, pair: Pair, state: State) -> None:
        """Wait until the partner has begun its takeover, if one follows on ``state``.

        An operator may take over with -f although takeover is disabled.
        """
        follows = state is State.HANDED_OVER or (state is State.REBOOTING and pair.failover.enabled)
        if follows and pair.interconnect.is_up:
            self.interrupt.clear()
            with suppress(Interrupted):
                self._is_free_within(pair, _TIME_OF_PARTNER, free=False)

    def _is_free_within(self, pair: Pair, most: float, *, free: bool = True) -> bool:
        """Return whether the service lock of this node becomes free (or not) within ``most`` s."""
        waited = 0.0
        while pair.service.is_free() is not free:
            if waited >= most:
                return False
            self.interrupt.sleep(_LOOK_EVERY)
            waited += _LOOK_EVERY
        return True
