"""Ctrl-C, SIGTERM and SIGHUP: acted on between two steps of a command, never within one."""

import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Protocol

from filer.running.interrupt import Interrupt

if TYPE_CHECKING:
    import socket

ENDING = (signal.SIGTERM, signal.SIGHUP)
SIGNALLED = 128
"""What is added to a signal's number for the exit status, as in the shells of Unix."""


class Readable(Protocol):
    """What can be waited for."""

    def fileno(self) -> int:
        """Return the descriptor."""


class Ended(BaseException):
    """A signal asked the program to end."""


class Signals:
    """The signal handlers of the program.

    A signal is a request that is looked at when it is safe; only where the program waits for
    somebody, it ends the waiting at once.
    """

    def __init__(self, interrupt: Interrupt) -> None:
        self._interrupt = interrupt
        self._waiting = False
        self._ending: tuple[int, ...] = ENDING
        self.received: int | None = None
        self.end_prompt: Callable[[], object] | None = None
        """Set by a prompt that cannot be ended by an exception: what makes it look here."""

    def install(self) -> None:
        """Take the signals over; one that whoever started the program ignores stays ignored."""
        for number in (signal.SIGINT, *ENDING):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)

    def end_at_ctrl_c(self) -> None:
        """Let Ctrl-C end the program: there is no prompt that it could lead back to."""
        self._ending = (signal.SIGINT, *ENDING)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Mark a wait: a signal that comes now, or has come unseen, takes effect at once.

        Raises Ended or KeyboardInterrupt.
        """
        self._waiting = True
        try:
            self.take_effect()
            yield
        finally:
            self._waiting = False

    def take_effect(self) -> None:
        """Raise Ended or KeyboardInterrupt if a signal has come that nobody has looked at."""
        self.end_if_asked()
        if self._interrupt.requested:
            self._interrupt.clear()
            raise KeyboardInterrupt

    def end_if_asked(self) -> None:
        """Raise Ended if a signal has come that ends the program."""
        if self.received in self._ending:
            raise Ended

    def wait_for(self, stream: Readable, seconds: float | None = None) -> bool:
        """Wait until ``stream`` can be read, and say whether it can; None waits for ever.

        A signal that comes meanwhile takes effect at once: a read that is about to begin when it
        comes would not be interrupted.
        """
        with self.woken() as woken:
            readable, _, _ = select.select([stream.fileno(), woken.fileno()], [], [], seconds)
        return stream.fileno() in readable

    @contextmanager
    def woken(self) -> "Iterator[socket.socket]":
        """Give a socket that can be read once a signal has come."""
        import socket  # 3 ms

        woken, wake = socket.socketpair()
        with woken, wake:
            wake.setblocking(False)
            before = signal.set_wakeup_fd(wake.fileno())
            try:
                yield woken
            finally:
                signal.set_wakeup_fd(before)

    def deliver(self, number: int) -> None:
        """Ask whatever runs to stop, and a prompt to look here."""
        if self.received not in self._ending:
            self.received = number
        self._interrupt.request(for_good=number in self._ending)
        if self.end_prompt is not None:
            self.end_prompt()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.deliver(number)
        if self.end_prompt is None and self._waiting:
            self._waiting = False  # a second signal does not cut short what the first has begun
            self.take_effect()
