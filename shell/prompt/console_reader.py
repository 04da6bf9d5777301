"""The reader of a console: a line editor if the terminal answers the cursor query."""

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
    """Reads plain lines until the terminal reports its cursor position, and then uses an editor.

    ``open_editor`` is called at the first prompt of a session after that, when the prompt is on the
    screen: the editor is slow to load, and a program that drives the console must not wait for it.
    A question of a boot, before there is a session, is read without it.
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
        self._plain.leaves = False

    @property
    def draws(self) -> bool:
        return self._editor is not None

    @property
    def is_watched(self) -> bool:
        self._look_for_answer(0.0)
        return self._keyboard.answered and (self._editor is None or self._editor.is_watched)

    def attach(self, session: Session) -> None:
        self._session = session
        self._plain.leaves = True
        if self._editor is not None:
            self._editor.attach(session)

    def line(self, prompt: str, before: str = "") -> str:
        return self._at_prompt(prompt, lambda reader: reader.line(prompt, before))

    def answer(self, prompt: str) -> str:
        return self._at_prompt(prompt, lambda reader: reader.answer(prompt))

    def secret(self, prompt: str) -> str:
        return self._at_prompt(prompt, lambda reader: reader.secret(prompt))

    def interject(self, show: Callable[[], None]) -> None:
        (self._editor or self._plain).interject(show)

    def discard(self) -> None:
        self._plain.discard()
        if self._editor is not None:
            self._editor.discard()

    def lent(self) -> AbstractContextManager[None]:
        return self._plain.lent()

    def _at_prompt(self, prompt: str, read: Callable[[LineReader], str]) -> str:
        try:
            return read(self._reader(prompt))
        except Answered:  # the prompt is on the screen
            return read(self._reader(""))

    def _reader(self, prompt: str) -> LineReader:
        if self._editor is None and self._session is not None:
            with self._signals.waiting():
                self._look_for_answer(self._keyboard.seconds_to_wait)
            if self._keyboard.answered:
                write(self._screen, prompt)
                self._editor = self._open_editor(self._session)
                write(self._screen, "\r")  # the editor overwrites the prompt
                self._editor.type_ahead(self._keyboard.take_all())
        return self._editor or self._plain

    def _look_for_answer(self, seconds: float) -> None:
        keyboard = self._keyboard
        while (
            self._editor is None
            and keyboard.seconds_to_expect
            and not keyboard.at_end
            and self._signals.wait_for(keyboard, seconds)
        ):
            keyboard.receive()
            seconds = keyboard.seconds_to_wait if seconds else 0.0
