"""The terminal of this host: its keyboard and its modes, which are restored at the end.

The terminal echoes only at a prompt: typeahead appears at the prompt that reads it, and a
passphrase typed ahead never appears.
"""

import os
import select
import signal
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any, TextIO

from filer.host.standard_streams import OutputLost, write
from filer.shell.prompt.keyboard import Keyboard, knows_its_cursor

_LFLAG, _CC = 3, 6  # indices in the list of termios.tcgetattr

_DEADLY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that end the program unless it installs other handlers."""


class Tty(Keyboard):
    """The keyboard of a terminal, without echo until `close`."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._found = _modes_of(descriptor)
        self._wanted: list[Any] = []
        self._echoed = 0
        self._is_away = False
        """Whether the terminal belonged to the shell, which may have changed its modes."""
        self._handlers = {
            **dict.fromkeys(_DEADLY, self._end),
            signal.SIGTSTP: self._stop,
            signal.SIGCONT: self._go_on,
        }
        self._note_echo()
        self._watch_signals()
        self.hush()
        self._take_what_was_echoed()

    def _note_echo(self) -> None:
        self.echoes = bool(self._found and self._found[_LFLAG] & termios.ECHO)

    # Modes.

    def hush(self) -> None:
        """Make the terminal pass on each key at once, without echo; Ctrl-C stays a signal."""
        was_cooked, self.is_cooked = self.is_cooked, False
        if was_cooked:
            # The program at the other end of the pty may have changed the echo meanwhile.
            self._found = _modes_of(self._descriptor) or self._found
            self._note_echo()
        self._set(_silent(self._found))
        if was_cooked:
            self._take_what_was_echoed()

    def _take_what_was_echoed(self) -> None:
        while not self.at_end and self._is_readable():
            self.receive()
        self._echoed = len(self.typed) if self.echoes else 0

    def cook(self) -> None:
        if not (self._found and self._found[_LFLAG] & termios.ICANON) or self.typed or self.holds:
            return
        if not self._is_readable():
            self._set(self._found)
            if self._is_readable():  # typed meanwhile, perhaps without echo
                self.hush()
            else:
                self.is_cooked = True

    @contextmanager
    def lent(self) -> Iterator[None]:
        self._restore()
        try:
            yield
        finally:
            self.hush()

    def close(self) -> None:
        """Restore the terminal, and read a pending cursor answer that the shell would get."""
        while self.is_asked and not self.at_end and self._is_readable(self.seconds_to_end):
            self.receive()
        self._restore()
        for number, handler in self._handlers.items():
            if signal.getsignal(number) == handler:
                signal.signal(number, signal.SIG_DFL)

    def _restore(self) -> None:
        self.is_cooked = False
        self._apply(self._found)
        self._wanted = []

    def _set(self, modes: list[Any]) -> None:
        self._wanted = modes
        self._apply(modes)

    def _apply(self, modes: list[Any]) -> None:
        """Set the modes, unless we are in the background: the kernel would stop us."""
        if not self._is_in_foreground():
            self._is_away = True
        elif modes:
            with suppress(termios.error):  # it has hung up
                termios.tcsetattr(self._descriptor, termios.TCSANOW, modes)

    def wait_for_foreground(self) -> None:
        """Stop in the background, as the kernel stops a program that reads there.

        The terminal belongs to the shell then, with its own modes.
        """
        if not self._is_in_foreground():
            self._is_away = True
            os.kill(os.getpid(), signal.SIGTTIN)
        self._take_back()

    def _take_back(self) -> None:
        """Set the modes again after the shell has returned the terminal."""
        if not (self._is_away and self._is_in_foreground()):
            return
        self._is_away = False
        if self._wanted:
            self._found = _modes_of(self._descriptor) or self._found
            self._note_echo()
            self._set(self._found if self.is_cooked else _silent(self._found))

    def _is_in_foreground(self) -> bool:
        try:
            return os.tcgetpgrp(self._descriptor) == os.getpgrp()
        except OSError:  # not the controlling terminal
            return True

    def _is_readable(self, seconds: float = 0.0) -> bool:
        return bool(select.select([self._descriptor], [], [], seconds)[0])

    # Typed bytes.

    def receive(self) -> None:
        """Read what is available; nothing if it was typed for the shell.

        A read in the background is stopped, and goes on in the foreground without a return to
        Python if another thread gets SIGCONT: with the modes of the shell, which echoes.
        """
        if self._is_in_foreground():
            super().receive()
        else:
            self.wait_for_foreground()

    def take_line_already_shown(self) -> bytes | None:
        end = self.typed.find(b"\n", 0, self._echoed)
        if end < 0:
            self._echoed = 0  # the prompt shows a partial line again
            return None
        line = bytes(self.typed[:end])
        del self.typed[: end + 1]
        self._echoed -= end + 1
        return line

    def take(self) -> bytes:
        self._echoed = max(0, self._echoed - 1)
        return super().take()

    def take_all(self) -> bytes:
        self._echoed = 0
        return super().take_all()

    # Signals.

    def _watch_signals(self) -> None:
        for number, handler in self._handlers.items():
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, handler)

    def _end(self, number: int, _frame: FrameType | None) -> None:
        self._apply(self._found)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        """Stop at Ctrl-Z, with the terminal restored."""
        self._apply(self._found)
        self._is_away = True
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, self._stop)

    def _go_on(self, _number: int, _frame: FrameType | None) -> None:
        # After SIGSTOP, which cannot be caught, only the modes tell that the shell was here.
        self._is_away = self._is_away or self._shows_keys_again()
        self._take_back()

    def _shows_keys_again(self) -> bool:
        """Whether the terminal has a mode for lines or for echo that we have turned off."""
        modes = _modes_of(self._descriptor)
        return bool(
            modes
            and self._wanted
            and modes[_LFLAG] & ~self._wanted[_LFLAG] & (termios.ICANON | termios.ECHO)
        )


def open_console() -> Tty:
    """Hush the terminal of standard input, and send a cursor query.

    No query goes to a terminal whose TERM is ``dumb`` or missing, or if standard output goes
    elsewhere.
    """
    keyboard = Tty(sys.stdin.fileno())
    if knows_its_cursor(os.environ.get("TERM", "")) and sys.stdout.isatty():
        with suppress(OutputLost):
            keyboard.ask(partial(write, sys.stdout))
    return keyboard


def output_of(descriptor: int) -> TextIO:
    """Open a terminal for output while standard output goes elsewhere."""
    try:
        writing = os.open(os.ttyname(descriptor), os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # no such device, as in some containers
        writing = os.dup(descriptor)
    return open(writing, "w", encoding="utf-8", errors="backslashreplace")  # noqa: PTH123


def _silent(found: list[Any]) -> list[Any]:
    """Return modes that pass on each key at once, without echo."""
    if not found:
        return []
    silent = [*found]
    silent[_LFLAG] &= ~(termios.ICANON | termios.ECHO | termios.ECHONL | termios.IEXTEN)
    silent[_CC] = [*silent[_CC]]
    silent[_CC][termios.VMIN], silent[_CC][termios.VTIME] = 1, 0
    return silent


def _modes_of(descriptor: int) -> list[Any]:
    """Return the modes of a terminal, or an empty list if it has hung up."""
    try:
        return termios.tcgetattr(descriptor)
    except termios.error:
        return []
