"""The line editor for the terminal of an SSH client."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TextIO, cast

from prompt_toolkit.application import create_app_session
from prompt_toolkit.data_structures import Size
from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding import KeyPress
from prompt_toolkit.keys import Keys
from prompt_toolkit.output.vt100 import Vt100_Output

from filer.shell.prompt.editor import LineEditor
from filer.shell.prompt.history import SessionHistory
from filer.shell.prompt.key_bindings import MOST_PASTED
from filer.shell.prompt.settings import Settings
from filer.shell.session import Session
from filer.shell.signals import Signals

_END_OF_PASTE = len("\x1b[201~") - 1
"""Characters that may begin the end mark of a paste."""


class _Stream:
    """The part of a text stream that `Vt100Input` uses."""

    encoding = "utf-8"

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return True


class _Parser(Vt100Parser):
    """A parser that buffers no more of a paste than the prompt accepts."""

    def __init__(self, take: Callable[[KeyPress], object]) -> None:
        super().__init__(self._take_key)
        self._take = take
        self._is_too_long = False

    def feed(self, data: str) -> None:
        super().feed(data)
        if self._in_bracketed_paste and len(self._paste_buffer) > MOST_PASTED:
            self._is_too_long = True
            self._paste_buffer = self._paste_buffer[-_END_OF_PASTE:]

    def _take_key(self, key: KeyPress) -> None:
        if key.key is Keys.BracketedPaste and self._is_too_long:
            self._is_too_long = False
            key = KeyPress(Keys.BracketedPaste, " " * (MOST_PASTED + 1))
        self._take(key)


class _Keyboard(Vt100Input):
    """Keys from a pipe, which has no terminal modes to set."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.vt100_parser = _Parser(self._buffer_key)

    def _buffer_key(self, key: KeyPress) -> None:
        self._buffer.append(key)  # a new list after each read

    def raw_mode(self) -> AbstractContextManager[None]:
        return nullcontext()

    cooked_mode = raw_mode


@contextmanager
def line_editor(
    descriptor: int,
    screen: TextIO,
    *,
    size: Callable[[], tuple[int, int]],
    terminal: str,
    session: Session,
    signals: Signals,
    settings: Settings,
) -> Iterator[LineEditor]:
    """Yield an editor for keys from ``descriptor``; ``size`` returns columns and rows.

    The history ends with the session.
    """
    keyboard = _Keyboard(cast(TextIO, _Stream(descriptor)))

    def rows_and_columns() -> Size:
        columns, rows = size()
        return Size(rows=rows, columns=columns)

    output = Vt100_Output(screen, rows_and_columns, term=terminal)
    with create_app_session(keyboard, output):
        yield LineEditor(
            session,
            signals,
            settings=settings,
            history=SessionHistory(),
            keyboard=keyboard,
            screen=output,
        )
