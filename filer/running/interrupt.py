"""Ctrl-C: requested at any moment, acted on only at the next safe point."""

import time
from contextvars import ContextVar

_LOOK_EVERY = 0.1
"""Seconds between two checks for a request during a sleep."""


class Interrupted(Exception):
    """A command stopped at a safe point because the user asked for it."""


class _Request:
    made = False
    for_good = False
    acted_on = False


class Interrupt:
    """A request to stop, set by a signal handler and checked between complete steps.

    With several users on the console, each in a separate thread, ``use`` gives the thread
    its own request, so that Ctrl-C stops only the command of the user who pressed it.
    """

    def __init__(self) -> None:
        self._own = _Request()
        self._in_thread = ContextVar("request", default=self._own)

    def use(self, other: "Interrupt") -> None:
        """Use the request of ``other`` from now on in this thread."""
        self._in_thread.set(other._own)

    def request(self, *, for_good: bool = False) -> None:
        """Ask the running command to stop at its next safe point.

        With ``for_good`` all later commands stop too; `clear` does not remove such a request.
        """
        request = self._in_thread.get()
        request.for_good = request.for_good or for_good
        request.made = True

    @property
    def requested(self) -> bool:
        """Whether a stop was requested and not yet acted on."""
        return self._in_thread.get().made

    @property
    def stopped(self) -> bool:
        """Whether a stop was requested since the last `clear`, acted on or not."""
        request = self._in_thread.get()
        return request.made or request.acted_on

    def clear(self) -> None:
        """Forget the request before a new command, unless it was made ``for_good``."""
        request = self._in_thread.get()
        request.acted_on = False
        request.made = request.for_good

    def check(self) -> None:
        """Mark a safe point.  Raises Interrupted, once, if a stop was requested."""
        request = self._in_thread.get()
        if request.made:
            request.acted_on = True
            request.made = request.for_good
            raise Interrupted

    def sleep(self, seconds: float) -> None:
        """Sleep for ``seconds``.  Raises Interrupted within 0.1 s of a request to stop."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, _LOOK_EVERY))
        self.check()
