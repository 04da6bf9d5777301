"""The screen of a person at the console: the displayed text instead of the sent bytes.

The terminal answers cursor-position queries, as those of people do. All waiting is for displayed
text.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pexpect
import pyte
from pyte.screens import Char

from tests.kit.console import PATIENCE, Account, Terminal

_BRACKETED_PASTE = 2004 << 5
"""How pyte writes the private mode 2004."""

QUIET = 0.05
"""Seconds without output after which a screen has settled."""


class _Answering(pyte.Screen):
    """A screen that answers queries through ``reply``."""

    reply: Callable[[str], object]

    def write_process_input(self, data: str) -> None:
        self.reply(data)

    def report_device_status(self, mode: int, **_private: Any) -> None:
        # pyte does not know the form with a question mark, and confuses it with the one without.
        super().report_device_status(mode)


class Screen:
    """A terminal as it is displayed: ``line``, ``shows``, ``cursor``, and the cells."""

    def __init__(self, child: "pexpect.spawn[str]", rows: int, columns: int) -> None:
        self.child = child
        self._screen = _Answering(columns, rows)
        self._screen.reply = child.send
        self._stream = pyte.Stream(self._screen)

    @property
    def cursor(self) -> tuple[int, int]:
        """Row and column of the cursor, counted from 0."""
        return self._screen.cursor.y, self._screen.cursor.x

    @property
    def text(self) -> str:
        """All lines, without trailing blanks."""
        return "\n".join(line.rstrip() for line in self._screen.display)

    def line(self, row: int) -> str:
        """Return line ``row`` without trailing blanks; negative rows count from the bottom."""
        return self._screen.display[row].rstrip()

    @property
    def typed(self) -> str:
        """The line of the cursor."""
        return self.line(self.cursor[0])

    @property
    def toolbar(self) -> str:
        """The last line."""
        return self.line(-1)

    def cells(self, text: str) -> list[Char]:
        """Return the cells of the last occurrence of ``text`` on the screen, or []."""
        for row in reversed(range(self._screen.lines)):
            column = self._screen.display[row].rfind(text)
            if column >= 0:
                cells = self._screen.buffer[row]
                return [cells[column + at] for at in range(len(text))]
        return []

    def rows(self) -> list[list[Char]]:
        columns = range(self._screen.columns)
        return [
            [self._screen.buffer[row][column] for column in columns]
            for row in range(self._screen.lines)
        ]

    def colours(self, text: str) -> set[str]:
        """Return the colours of ``text``."""
        return {cell.fg for cell in self.cells(text)}

    @property
    def is_coloured(self) -> bool:
        """Whether any cell has a colour."""
        return any(
            (cell.fg, cell.bg) != ("default", "default")
            for row in range(self._screen.lines)
            for cell in self._screen.buffer[row].values()
        )

    def answer(self, reply: Callable[[str], object]) -> None:
        """Send the terminal's answers to ``reply`` instead of to the program."""
        self._screen.reply = reply

    def type(self, keys: str) -> None:
        self.child.send(keys)

    def paste(self, text: str) -> None:
        """Paste a text, with the marks that the editor has asked for."""
        self.wait(lambda: _BRACKETED_PASTE in self._screen.mode, "an editor")
        self.type(f"\x1b[200~{text}\x1b[201~")

    def wait(self, condition: "Callable[[], bool]", wanted: object = "") -> None:
        """Process output until ``condition`` holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            try:
                self._take(max(deadline - time.monotonic(), 0))
            except (pexpect.TIMEOUT, pexpect.EOF) as end:
                name = type(end).__name__
                raise AssertionError(f"{name}, waiting for {wanted!r}:\n{self.text}") from None

    def _take(self, timeout: float) -> None:
        self._stream.feed(self.child.read_nonblocking(65536, timeout))

    def shows(self, *texts: str) -> None:
        """Wait until all of ``texts`` are on the screen."""
        self.wait(lambda: all(text in self.text for text in texts), texts)

    def shows_no(self, text: str) -> None:
        self.wait(lambda: text not in self.text, f"no {text}")

    def shows_typed(self, line: str) -> None:
        self.wait(lambda: self.typed == line, line)

    def shows_toolbar(self, text: str) -> None:
        self.wait(lambda: self.toolbar == text, text)

    def shows_colour(self, text: str, colour: str) -> None:
        """Wait until all of ``text`` has the colour."""
        self.wait(lambda: self.colours(text) == {colour}, f"{text} in {colour}")

    def settle(self) -> None:
        """Process output until nothing more arrives for a moment.

        Use it to check what must not appear, not what must.
        """
        while True:
            try:
                self._take(QUIET)
            except pexpect.TIMEOUT:
                return

    def enter(self, line: str) -> str:
        """Type a line, and return the output before the next prompt.

        Line and output must fit on the screen.
        """
        self.type(line)
        self.wait(lambda: self.typed.partition("> ")[2].startswith(line), line)
        self.type("\r")
        self.wait(self._at_prompt, "a prompt")
        row = self.cursor[0]
        lines = [self.line(above) for above in range(row)]
        prompts = [at for at, text in enumerate(lines) if _PROMPT.match(text)]
        return "".join(f"{text}\n" for text in lines[prompts[-1] + 1 :]) if prompts else ""

    def _at_prompt(self) -> bool:
        return bool(_PROMPT.fullmatch(f"{self.typed} "))

    def booted(self) -> "Screen":
        """Wait for the first prompt, and for the editor to draw it."""
        self.wait(lambda: _BRACKETED_PASTE in self._screen.mode, "an editor")
        self.wait(self._at_prompt, "a prompt")
        self.settle()
        return self

    def resize(self, rows: int, columns: int) -> None:
        """Resize the window, and clear it, as terminals may."""
        self._screen.resize(rows, columns)
        self._screen.erase_in_display(2)
        self._screen.cursor_position(1, 1)
        self.child.setwinsize(rows, columns)

    def leave(self) -> int:
        return Terminal(self.child).leave()


_PROMPT = re.compile(r"(?:filer1\*?|LOADER|)> ")


@contextmanager
def screen(
    account: Account,
    *arguments: str,
    rows: int = 24,
    columns: int = 80,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Screen]:
    answers = {"PROMPT_TOOLKIT_NO_CPR": "", "TERM": "xterm-256color", **(environment or {})}
    with account.terminal(*arguments, rows=rows, columns=columns, environment=answers) as terminal:
        yield Screen(terminal.child, rows, columns)
