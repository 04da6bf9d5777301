"""The reader of a console: the line editor for a person's terminal, a plain one for any other."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TextIO

from filer.host.standard_streams import write
from filer.shell.prompt.keyboard import Keyboard
from filer.shell.prompt.plain_reader import Answered, PlainReader
from filer.shell.prompt.reader import LineReader
from filer.shell.session import Session
from filer.shell.signals import Signals

if TYPE_CHECKING:
    from filer.shell.prompt.editor import LineEditor


class ConsoleReader(LineReader):
    """Reads plain lines until the terminal says where its cursor is, and then with an editor.

    ``open_editor`` is called then, at the first prompt that needs it: the editor takes its time to
    load, and a program that drives the console never waits for it.
    """

    def __init__(
        self,
        keyboard: Keyboard,
        signals: Signals,
        screen: TextIO,
        terminal: TextIO,
        open_editor: "Callable[[Session], LineEditor]",
    ) -> None:
        self._keyboard = keyboard
        self._signals = signals
        self._screen = screen
        self._plain = PlainReader(keyboard, signals, screen, terminal)
        self._open_editor = open_editor
        self._editor: LineEditor | None = None
        self._session: Session | None = None

    @property
    def draws(self) -> bool:
        """Whether what is typed is drawn on the same stream as the prompt."""
        return self._editor is not None

    @property
    def is_watched(self) -> bool:
        """Whether a person watches a screen with colours, which changes as work goes on."""
        self._look_for_answer(0.0)
        return self._keyboard.answered and (self._editor is None or self._editor.is_watched)

    def attach(self, session: Session) -> None:
        """Read the lines of ``session``."""
        self._session = session
        if self._editor is not None:
            self._editor.attach(session)

    def line(self, prompt: str, before: str = "") -> str:
        """Return a line of commands, which continues ``before``."""
        return self._at_prompt(lambda reader: reader.line(prompt, before))

    def answer(self, prompt: str) -> str:
        """Return an answer."""
        return self._at_prompt(lambda reader: reader.answer(prompt))

    def secret(self, prompt: str) -> str:
        """Return an answer that is not echoed."""
        return self._at_prompt(lambda reader: reader.secret(prompt))

    def interject(self, show: Callable[[], None]) -> None:
        """Show something, even while a line is read."""
        (self._editor or self._plain).interject(show)

    def discard(self) -> None:
        """Drop what was typed ahead, and what is typed until a moment passes without a key."""
        self._plain.discard()
        if self._editor is not None:
            self._editor.discard()

    def lent(self) -> AbstractContextManager[None]:
        """Give the terminal to another program, such as a pager."""
        return self._plain.lent()

    def _at_prompt(self, read: Callable[[LineReader], str]) -> str:
        try:
            return read(self._reader())
        except Answered:
            write(self._screen, "\r")  # the editor draws the prompt over the one that is there
            return read(self._reader())

    def _reader(self) -> LineReader:
        if self._editor is None:
            with self._signals.waiting():
                self._look_for_answer(self._keyboard.seconds_to_wait)
            if not self._keyboard.answered:
                return self._plain
            assert self._session is not None, "what a session reads is what can be edited"
            self._editor = self._open_editor(self._session)
            self._editor.type_ahead(self._keyboard.take_all())
        return self._editor

    def _look_for_answer(self, seconds: float) -> None:
        keys = self._keyboard
        while (
            self._editor is None
            and keys.seconds_to_expect
            and not keys.at_end
            and self._signals.wait_for(keys, seconds)
        ):
            keys.receive()
            seconds = keys.seconds_to_wait if seconds else 0.0
