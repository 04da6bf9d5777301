"""Ctrl-C: asked for at any moment, acted on at the next safe point only."""

import time

_LOOK_EVERY = 0.1
"""Seconds between two looks for a request while nothing is done."""


class Interrupted(Exception):
    """A command stopped at a safe point because the user asked for it."""


class Interrupt:
    """A request to stop, set by a signal handler and looked at between two whole steps."""

    def __init__(self) -> None:
        self._requested = False

    def request(self) -> None:
        """Ask the running command to stop at its next safe point."""
        self._requested = True

    @property
    def requested(self) -> bool:
        """Whether a stop was requested that nobody has acted on yet."""
        return self._requested

    def clear(self) -> None:
        """Forget a request; a new command begins without one."""
        self._requested = False

    def check(self) -> None:
        """Mark a safe point.  Raises Interrupted, once, if a stop was requested."""
        if self._requested:
            self._requested = False
            raise Interrupted

    def sleep(self, seconds: float) -> None:
        """Do nothing for ``seconds``.  Raises Interrupted as soon as a stop is requested."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, _LOOK_EVERY))
        self.check()
