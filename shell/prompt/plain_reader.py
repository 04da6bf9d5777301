"""Read lines from a terminal without redrawing.

An expect script finds each prompt and each typed line exactly once.
"""

from codecs import getincrementaldecoder
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import TextIO

from filer.host.standard_streams import write
from filer.shell.line.length import LineTooLong
from filer.shell.prompt.keyboard import HOLD, Keyboard
from filer.shell.prompt.reader import LineReader
from filer.shell.prompt.typed_line import CTRL_C, ENTER, TypedLine
from filer.shell.signals import Signals

QUIET = 0.3
"""Seconds without a key after which a paste has ended."""

_LONGEST_COOKED = 4095
"""Bytes of a line in cooked mode; the kernel drops the rest of a longer one."""


class Answered(Exception):
    """The terminal has answered the cursor query before a key was typed at the prompt."""


class PlainReader(LineReader):
    """Reads from ``keyboard``, and writes prompts to ``screen`` and the echo to ``terminal``.

    The two differ if the session is recorded.
    """

    def __init__(
        self, keyboard: Keyboard, signals: Signals, screen: TextIO, terminal: TextIO
    ) -> None:
        self._keyboard = keyboard
        self._signals = signals
        self._screen = screen
        self._terminal = terminal
        self._after_return = False
        self.leaves = True
        """Whether to raise Answered, for an editor to read the line."""

    def line(self, prompt: str, before: str = "") -> str:
        """Return a line of commands.  Raises Answered too, but only while nothing is typed."""
        return self._read(prompt, shown=True)

    def secret(self, prompt: str) -> str:
        return self._read(prompt, shown=False)

    def discard(self) -> None:
        """Drop typeahead, and the keys until QUIET seconds pass without one."""
        keyboard = self._keyboard
        keyboard.at_end = False
        with suppress(KeyboardInterrupt), self._signals.waiting():
            while not keyboard.at_end and self._signals.wait_for(keyboard, QUIET):
                keyboard.receive()
                keyboard.take_all()
        keyboard.take_all()

    def lent(self) -> AbstractContextManager[None]:
        return self._keyboard.lent()

    def _read(self, prompt: str, *, shown: bool) -> str:
        keyboard = self._keyboard
        keyboard.at_end = False
        try:
            with self._signals.waiting():
                if shown and not keyboard.seconds_to_expect:
                    keyboard.cook()
                write(self._screen, prompt)
                if shown and (echoed := keyboard.take_line_already_shown()) is not None:
                    return _text(echoed)
                if keyboard.is_cooked:
                    return self._cooked_line()
                return self._typed_line(prompt, shown=shown)
        except KeyboardInterrupt:
            keyboard.take_all()
            if keyboard.echoes and not keyboard.is_cooked:
                write(self._terminal, "^C")
            write(self._screen, "\n")
            raise
        except EOFError:
            write(self._screen, "\n")
            raise
        finally:
            keyboard.hush()

    def _typed_line(self, prompt: str, *, shown: bool) -> str:
        """Read a line key by key, and echo it here."""
        keyboard = self._keyboard
        line = TypedLine(len(prompt.rpartition("\n")[2]))
        decode = getincrementaldecoder("utf-8")("surrogateescape").decode
        while not self._take(line, decode, shown=shown):
            if keyboard.at_end:
                raise EOFError
            if shown and line.is_empty:
                if keyboard.answered and self.leaves:
                    raise Answered
                if not keyboard.seconds_to_expect:
                    keyboard.cook()
                    if keyboard.is_cooked:
                        return self._cooked_line()
            self._wait_for_a_key(keyboard.seconds_to_expect if shown and line.is_empty else 0.0)
        if line.end == CTRL_C:
            raise KeyboardInterrupt
        if line.end != ENTER:
            raise EOFError
        return line.text

    def _take(self, line: TypedLine, decode: Callable[[bytes], str], *, shown: bool) -> bool:
        """Feed the received keys to ``line``; return whether one has ended it."""
        echo = ""
        while not line.end and (byte := self._keyboard.take()):
            if byte == b"\n" and self._after_return:
                self._after_return = False  # the second half of CR LF
                continue
            self._after_return = byte == b"\r"
            for character in decode(byte):
                echo += line.key(character)
        if not shown:
            echo = "\n" if line.end == ENTER else ""
        elif not self._keyboard.echoes:
            echo = ""
        if echo:
            write(self._terminal, echo)
        return bool(line.end)

    def _wait_for_a_key(self, seconds: float) -> None:
        keyboard = self._keyboard
        keyboard.wait_for_foreground()
        limits = [*([HOLD] if keyboard.holds else []), *([seconds] if seconds else [])]
        if self._signals.wait_for(keyboard, min(limits, default=None)):
            keyboard.receive()
        elif keyboard.holds:
            keyboard.release()

    def _cooked_line(self) -> str:
        """Read a line in cooked mode."""
        keyboard = self._keyboard
        data = b""
        while not data.endswith(b"\n"):
            keyboard.wait_for_foreground()
            if self._signals.wait_for(keyboard):
                keyboard.receive()
                if keyboard.at_end:
                    raise EOFError
                data += keyboard.take_all()
        line = data.removesuffix(b"\n")
        if len(line) >= _LONGEST_COOKED:
            raise LineTooLong(_LONGEST_COOKED - 1)
        return _text(line)


def _text(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape")
