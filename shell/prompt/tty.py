"""The terminal of this host: its modes, which are as they were found when the program ends.

The terminal echoes nothing but at a prompt, so that what is typed while a command runs is seen by
the prompt that reads it, or by none if it is a passphrase.
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

_LFLAG, _CC = 3, 6  # places among the modes, as Python has them

_DEADLY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that end the program unless it handles them otherwise."""


class Tty(Keyboard):
    """The keyboard of a terminal, hushed until ``close``."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._found = _modes_of(descriptor)
        self._wanted: list[Any] = []
        self._echoed = 0
        self._is_away = False
        """Whether the terminal has been the shell's, which may have changed its modes."""
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
        """Have the terminal hand out each key, and echo nothing; Ctrl-C stays a signal."""
        was_cooked, self.is_cooked = self.is_cooked, False
        if was_cooked:
            # The program at the other side may have changed the echo meanwhile.
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
        """Have the terminal edit and echo lines, if it can and nothing is typed ahead."""
        if not (self._found and self._found[_LFLAG] & termios.ICANON) or self.typed or self.holds:
            return
        if not self._is_readable():
            self._set(self._found)
            if self._is_readable():  # typed in between, so perhaps not echoed
                self.hush()
            else:
                self.is_cooked = True

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Give the terminal to another program, such as a pager, as it was found."""
        self._restore()
        try:
            yield
        finally:
            self.hush()

    def close(self) -> None:
        """Leave the terminal as it was found, and no answer for the program that is next."""
        while self.is_asked and not self.at_end and self._is_readable(self.seconds_to_wait):
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
        """Set the modes; a program in the background would be stopped for that."""
        if not self._is_in_foreground():
            self._is_away = True
        elif modes:
            with suppress(termios.error):  # it has hung up
                termios.tcsetattr(self._descriptor, termios.TCSANOW, modes)

    def wait_for_foreground(self) -> None:
        """Stop, as the kernel stops a program that reads in the background.

        The terminal belongs to the shell there, which has it echo what is typed.
        """
        if not self._is_in_foreground():
            self._is_away = True
            os.kill(os.getpid(), signal.SIGTTIN)
        self._take_back()

    def _take_back(self) -> None:
        """Set the modes again, once the shell has given the terminal back."""
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

    # What was typed.

    def take_line_already_shown(self) -> bytes | None:
        """Return the next line if the terminal has echoed all of it, before a prompt was there."""
        end = self.typed.find(b"\n", 0, self._echoed)
        if end < 0:
            self._echoed = 0  # a part of a line is shown again, at its prompt
            return None
        line = bytes(self.typed[:end])
        del self.typed[: end + 1]
        self._echoed -= end + 1
        return line

    def take(self) -> bytes:
        """Return the next byte, or none."""
        self._echoed = max(0, self._echoed - 1)
        return super().take()

    def take_all(self) -> bytes:
        """Return all that was received."""
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
        """Stop, as Ctrl-Z wants, with the terminal as it was found."""
        self._apply(self._found)
        self._is_away = True
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, self._stop)

    def _go_on(self, _number: int, _frame: FrameType | None) -> None:
        self._take_back()


def open_console() -> Tty:
    """Hush the terminal of the standard input, and ask it for its cursor if it may know.

    A terminal that is called ``dumb`` or has no name is not asked, nor is one that shows nothing
    because the output goes elsewhere.
    """
    keyboard = Tty(sys.stdin.fileno())
    if knows_its_cursor(os.environ.get("TERM", "")) and sys.stdout.isatty():
        with suppress(OutputLost):
            keyboard.ask(partial(write, sys.stdout))
    return keyboard


@contextmanager
def hushed(descriptor: int) -> Iterator[Tty]:
    """Hush a terminal, and leave it as it was found."""
    keyboard = Tty(descriptor)
    try:
        yield keyboard
    finally:
        keyboard.close()


def output_of(descriptor: int) -> TextIO:
    """Open a terminal for what is shown there while the standard output goes elsewhere."""
    try:
        writing = os.open(os.ttyname(descriptor), os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # no device of that name, as in some containers
        writing = os.dup(descriptor)
    return open(writing, "w", encoding="utf-8", errors="backslashreplace")  # noqa: PTH123


def _silent(found: list[Any]) -> list[Any]:
    """Return modes that hand out each key and echo nothing."""
    if not found:
        return []
    silent = [*found]
    silent[_LFLAG] &= ~(termios.ICANON | termios.ECHO | termios.ECHONL | termios.IEXTEN)
    silent[_CC] = [*silent[_CC]]
    silent[_CC][termios.VMIN], silent[_CC][termios.VTIME] = 1, 0
    return silent


def _modes_of(descriptor: int) -> list[Any]:
    """Return the modes of a terminal; none if it has hung up."""
    try:
        return termios.tcgetattr(descriptor)
    except termios.error:
        return []
