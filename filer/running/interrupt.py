"""Ctrl-C: asked for at any moment, acted on at the next safe point only."""

import time
from contextvars import ContextVar

_LOOK_EVERY = 0.1
"""Seconds between two looks for a request while nothing is done."""


class Interrupted(Exception):
    """A command stopped at a safe point because the user asked for it."""


class _Request:
    made = False
    for_good = False
    acted_on = False


class Interrupt:
    """A request to stop, set by a signal handler and looked at between two whole steps.

    Where several people are at the console, each in a thread of their own, ``take_from`` gives
    the thread a request of its own: Ctrl-C of one stops the command of that one only.
    """

    def __init__(self) -> None:
        self._own = _Request()
        self._in_thread = ContextVar("request", default=self._own)

    def take_from(self, other: "Interrupt") -> None:
        """Be ``other`` from now on, in this thread."""
        self._in_thread.set(other._own)

    def request(self, *, for_good: bool = False) -> None:
        """Ask the running command to stop at its next safe point, ``for_good`` all later ones."""
        request = self._in_thread.get()
        request.for_good = request.for_good or for_good
        request.made = True

    @property
    def requested(self) -> bool:
        """Whether a stop was requested that nobody has acted on yet."""
        return self._in_thread.get().made

    @property
    def stopped(self) -> bool:
        """Whether a stop was requested since ``clear``, acted on or not."""
        request = self._in_thread.get()
        return request.made or request.acted_on

    def clear(self) -> None:
        """Forget a request that is not for good; a new command begins without one."""
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
        """Do nothing for ``seconds``.  Raises Interrupted as soon as a stop is requested."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, _LOOK_EVERY))
        self.check()
