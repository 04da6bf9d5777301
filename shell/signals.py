"""Ctrl-C, SIGTERM and SIGHUP, which take effect only between the steps of a command."""

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from filer.running.interrupt import Interrupt

if TYPE_CHECKING:
    import socket

    from _typeshed import HasFileno

ENDING = (signal.SIGTERM, signal.SIGHUP)
_HAND_OVER = signal.SIGUSR1
SIGNALLED = 128
"""The exit status is this plus the number of the signal, as in Unix shells."""


class Ended(BaseException):
    """A signal asked the program to end."""


class HandedOver(Ended):
    """The partner of an HA pair has asked for the disks: the console ends, and the boot begins."""


class Signals:
    """The signal handlers of the program.

    A signal sets a request, which the program checks when it is safe.  While the program waits for
    input, a signal takes effect at once.
    """

    def __init__(self, interrupt: Interrupt) -> None:
        self._interrupt = interrupt
        self._waiting = False
        self._ending: tuple[int, ...] = ENDING
        self.received: int | None = None
        self.hands_over = False
        """Whether the partner has asked for the disks."""

        self.end_prompt: Callable[[], object] | None = None
        """Set by a prompt that an exception cannot end: makes it check for signals."""

    def install(self) -> None:
        """Install handlers, but leave signals alone that our parent set to SIG_IGN."""
        signal.signal(_HAND_OVER, self._handle)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [_HAND_OVER])  # a parent may have blocked it
        for number in (signal.SIGINT, *ENDING):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)

    def end_at_ctrl_c(self) -> None:
        """Make Ctrl-C end the program, which has no prompt to return to."""
        self._ending = (signal.SIGINT, *ENDING)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Mark a wait for input: a signal takes effect at once, also one that is pending.

        Raises Ended or KeyboardInterrupt.
        """
        self._waiting = True
        try:
            self.take_effect()
            yield
        finally:
            self._waiting = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no signal take effect in the block, which must not wait."""
        before, self._waiting = self._waiting, False
        try:
            yield
        finally:
            self._waiting = before

    def take_effect(self) -> None:
        """Raise Ended or KeyboardInterrupt if a signal is pending."""
        self.end_if_asked()
        if self._interrupt.requested:
            self._interrupt.clear()
            raise KeyboardInterrupt

    def end_if_asked(self) -> None:
        """Raise Ended after a signal that ends the program."""
        if self.received in self._ending:
            raise Ended
        if self.hands_over:
            raise HandedOver

    def hand_over(self) -> None:
        """Make the main thread end its command or its prompt, with HandedOver; from any thread."""
        self.hands_over = True
        os.kill(os.getpid(), _HAND_OVER)

    def wait_for(self, stream: "HasFileno", seconds: float | None = None) -> bool:
        """Wait until ``stream`` is readable; return False after ``seconds`` (None: no limit).

        A signal takes effect at once; it would not interrupt a read that is about to begin.
        """
        with self.woken() as woken:
            readable, _, _ = select.select([stream.fileno(), woken.fileno()], [], [], seconds)
        return stream.fileno() in readable

    @contextmanager
    def woken(self) -> "Iterator[socket.socket]":
        """Yield a socket that becomes readable when a signal arrives."""
        import socket  # 3 ms

        woken, wake = socket.socketpair()
        with woken, wake:
            wake.setblocking(False)
            before = signal.set_wakeup_fd(wake.fileno())
            try:
                yield woken
            finally:
                signal.set_wakeup_fd(before)

    def wait(self) -> None:
        """Wait for a signal that ends the program."""
        with self.woken() as woken:
            while self.received not in self._ending:
                woken.recv(1)

    def deliver(self, number: int) -> None:
        """Request the running command to stop, and make a prompt check for signals."""
        if number == _HAND_OVER:
            if not self.hands_over:  # sent by another program
                return
        elif self.received not in self._ending:
            self.received = number
        self._interrupt.request(for_good=number in self._ending)
        if self.end_prompt is not None:
            self.end_prompt()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.deliver(number)
        if self.end_prompt is None and self._waiting:
            self._waiting = False  # a second signal must not interrupt the handling of the first
            self.take_effect()
