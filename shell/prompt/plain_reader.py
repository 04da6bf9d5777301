"""Reads lines from a terminal as a plain program does: prompt, typed line, nothing drawn twice.

An expect script finds each prompt once, as it is written here, and each typed line once.
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
"""Seconds without a key after which nothing more of a paste is to come."""

_LONGEST_COOKED = 4095
"""Bytes of a line that a terminal edits itself; of a longer one the kernel drops the rest."""


class Answered(Exception):
    """The terminal has said where its cursor is, before anything was typed at the prompt."""


class PlainReader(LineReader):
    """Reads from ``keyboard``; prompts are written to ``screen``, what is typed to ``terminal``.

    The two differ where a session is recorded.
    """

    def __init__(
        self, keyboard: Keyboard, signals: Signals, screen: TextIO, terminal: TextIO
    ) -> None:
        self._keyboard = keyboard
        self._signals = signals
        self._screen = screen
        self._terminal = terminal
        self._after_return = False

    def line(self, prompt: str, before: str = "") -> str:
        """Return a line of commands; Answered if the terminal answers before anything is typed."""
        return self._read(prompt, shown=True)

    def secret(self, prompt: str) -> str:
        """Return an answer that is not echoed."""
        return self._read(prompt, shown=False)

    def discard(self) -> None:
        """Drop what was typed ahead, and what is typed until QUIET seconds pass without a key."""
        keys = self._keyboard
        keys.at_end = False
        with suppress(KeyboardInterrupt), self._signals.waiting():
            while not keys.at_end and self._signals.wait_for(keys, QUIET):
                keys.receive()
                keys.take_all()
        keys.take_all()

    def lent(self) -> AbstractContextManager[None]:
        """Give the terminal to another program, such as a pager."""
        return self._keyboard.lent()

    def _read(self, prompt: str, *, shown: bool) -> str:
        keys = self._keyboard
        keys.at_end = False
        try:
            with self._signals.waiting():
                if shown and not keys.seconds_to_expect:
                    keys.cook()
                write(self._screen, prompt)
                if shown and (echoed := keys.take_line_already_shown()) is not None:
                    return _text(echoed)
                if keys.is_cooked:
                    return self._cooked_line()
                return self._typed_line(prompt, shown=shown)
        except KeyboardInterrupt:
            keys.take_all()
            if keys.echoes and not keys.is_cooked:
                write(self._terminal, "^C")
            write(self._screen, "\n")
            raise
        except EOFError:
            write(self._screen, "\n")
            raise
        finally:
            keys.hush()

    def _typed_line(self, prompt: str, *, shown: bool) -> str:
        """Read a line key by key, and show it here."""
        keys = self._keyboard
        line = TypedLine(len(prompt.rpartition("\n")[2]))
        decode = getincrementaldecoder("utf-8")("surrogateescape").decode
        while not self._take(line, decode, shown=shown):
            if keys.at_end:
                raise EOFError
            if shown and line.is_empty:
                if keys.answered:
                    raise Answered
                if not keys.seconds_to_expect:
                    keys.cook()
                    if keys.is_cooked:
                        return self._cooked_line()
            self._wait_for_a_key(keys.seconds_to_expect if shown and line.is_empty else 0.0)
        if line.end == CTRL_C:
            raise KeyboardInterrupt
        if line.end != ENTER:
            raise EOFError
        return line.text

    def _take(self, line: TypedLine, decode: Callable[[bytes], str], *, shown: bool) -> bool:
        """Give the line what was typed, up to the key that ends it; say whether it came."""
        echo = ""
        while not line.end and (byte := self._keyboard.take()):
            if byte == b"\n" and self._after_return:
                self._after_return = False  # a line end of two characters
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
        keys = self._keyboard
        keys.wait_for_foreground()
        limits = [*([HOLD] if keys.holds else []), *([seconds] if seconds else [])]
        if self._signals.wait_for(keys, min(limits, default=None)):
            keys.receive()
        elif keys.holds:
            keys.release()

    def _cooked_line(self) -> str:
        """Read a line that the terminal edits and shows."""
        keys = self._keyboard
        data = b""
        while not data.endswith(b"\n"):
            keys.wait_for_foreground()
            if self._signals.wait_for(keys):
                keys.receive()
                if keys.at_end:
                    raise EOFError
                data += keys.take_all()
        line = data.removesuffix(b"\n")
        if len(line) >= _LONGEST_COOKED:
            raise LineTooLong(_LONGEST_COOKED - 1)
        return _text(line)


def _text(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape")
