"""Ctrl-C, SIGTERM and SIGHUP: acted on between two steps of a command, never within one."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

from filer.interrupt import Interrupt

ENDING = (signal.SIGTERM, signal.SIGHUP)
SIGNALLED = 128
"""What is added to a signal's number for the exit status, as in the shells of Unix."""


class Ended(BaseException):
    """A signal asked the program to end."""


class Signals:
    """The signal handlers of the program.

    While a command runs, a signal is a request that the command looks at when it is safe; while
    the program waits for input, it ends the waiting at once.
    """

    def __init__(self, interrupt: Interrupt) -> None:
        self._interrupt = interrupt
        self._running = False
        self.received: int | None = None
        self.end_prompt: Callable[[], object] | None = None
        """Set by a prompt that cannot be ended by an exception: what makes it raise Ended."""

    def install(self) -> None:
        """Take the signals over."""
        for number in (signal.SIGINT, *ENDING):
            signal.signal(number, self._handle)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Mark a command as running."""
        yield from self._set(running=True)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Mark a question within a command: here a signal takes effect at once."""
        yield from self._set(running=False)

    def _set(self, *, running: bool) -> Iterator[None]:
        before, self._running = self._running, running
        try:
            yield
        finally:
            self._running = before

    def end_if_asked(self) -> None:
        """Raise Ended if a signal that ends the program has come while a command ran."""
        if self.received in ENDING:
            raise Ended

    def wait_for(self, stream: TextIO) -> None:
        """Wait until ``stream`` can be read; a signal that comes meanwhile takes effect at once.

        A read that is about to begin when the signal comes would not be interrupted.
        """
        import select
        import socket

        woken, wake = socket.socketpair()
        with woken, wake:
            wake.setblocking(False)
            before = signal.set_wakeup_fd(wake.fileno())
            try:
                select.select([stream.fileno(), woken.fileno()], [], [])
            finally:
                signal.set_wakeup_fd(before)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.received = number
        if self._running:
            self._interrupt.request()
        elif number in ENDING and self.end_prompt is not None:
            self.end_prompt()
        elif number in ENDING:
            raise Ended
        else:
            raise KeyboardInterrupt
