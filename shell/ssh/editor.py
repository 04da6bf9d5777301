"""The full prompt of the console, on a terminal at the other end of an SSH connection."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TextIO, cast

from prompt_toolkit.application import create_app_session
from prompt_toolkit.data_structures import Size
from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.output.vt100 import Vt100_Output

from filer.shell.prompt.editor import LineEditor
from filer.shell.prompt.history import SessionHistory
from filer.shell.prompt.settings import Settings
from filer.shell.session import Session
from filer.shell.signals import Signals


class _Keys:
    """What ``Vt100Input`` wants to know of the stream that it reads."""

    encoding = "utf-8"

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return True


class _Keyboard(Vt100Input):
    """Keys that come through a pipe: there is no mode of a terminal to set on this side."""

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
    """Give an editor for keys from ``descriptor``; ``size`` is in columns and rows.

    What was typed is remembered as long as the session lasts, and written nowhere.
    """
    keyboard = _Keyboard(cast(TextIO, _Keys(descriptor)))

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
