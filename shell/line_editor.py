"""Line editing with history and completion, by prompt_toolkit."""

from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from platformdirs import user_state_path
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import DummyHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput

from shell.completion import completions
from shell.history import open_history
from shell.session import Session
from shell.signals import Ended, Signals
from shell.terminal import LineReader


class _GrammarCompleter(Completer):
    def __init__(self, session_of: Callable[[], Session]) -> None:
        self._session_of = session_of

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        text = document.text_before_cursor
        for found in completions(self._session_of(), text):
            yield Completion(
                f"{found.text} ",
                start_position=found.start - len(text),
                display=found.text,
                display_meta=found.help,
            )


_NO_MOUSE = KeyBindings()


@_NO_MOUSE.add(Keys.Vt100MouseEvent)
def _ignore(_event: KeyPressEvent) -> None:
    """Pass over what looks like the mouse: a pasted colour sequence does, and is none."""


class _ShowNothing(Processor):
    """Shows nothing of what is typed, not even its length."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        return Transformation(
            [], source_to_display=lambda _position: 0, display_to_source=lambda _position: 0
        )


class LineEditor(LineReader):
    """Reads lines with prompt_toolkit.

    Commands, answers and secrets have a prompt session each, so that only commands get into the
    history; all three read through the same input, so that what is typed ahead stays in order.
    """

    def __init__(self, session_of: Callable[[], Session], signals: Signals) -> None:
        super().__init__(signals)
        self._commands: PromptSession[str] = PromptSession(
            history=open_history(user_state_path("filer", appauthor=False)),
            completer=_GrammarCompleter(session_of),
            complete_while_typing=False,
            enable_history_search=True,
            key_bindings=_NO_MOUSE,
        )
        self._answers: PromptSession[str] = PromptSession(
            history=DummyHistory(), key_bindings=_NO_MOUSE
        )
        self._secrets: PromptSession[str] = PromptSession(
            history=DummyHistory(), input_processors=[_ShowNothing()], key_bindings=_NO_MOUSE
        )

    def line(self, prompt: str) -> str:
        """Return a line of commands.  Raises EOFError or KeyboardInterrupt."""
        return self._read(self._commands, prompt)

    def answer(self, prompt: str) -> str:
        """Return an answer.  Raises EOFError or KeyboardInterrupt."""
        return self._read(self._answers, prompt)

    def secret(self, prompt: str) -> str:
        """Return an answer that is not echoed.  Raises EOFError or KeyboardInterrupt."""
        return self._read(self._secrets, prompt)

    def _read(self, session: PromptSession[str], prompt: str) -> str:
        app = session.app

        def end() -> None:
            if app.is_running and not app.is_done:
                app.exit(exception=Ended())

        def give_up(_loop: AbstractEventLoop, context: dict[str, Any]) -> None:
            # The line is lost, but nothing is printed that may show what was typed.
            if app.is_running and not app.is_done:
                app.exit(exception=context.get("exception") or RuntimeError())

        def begin() -> None:
            loop = app.loop
            assert loop is not None
            loop.set_exception_handler(give_up)
            # An exception in the middle of the event loop would leave the terminal as it is.
            self._signals.end_prompt = partial(loop.call_soon_threadsafe, end)

        try:
            return session.prompt(prompt, pre_run=begin, set_exception_handler=False)
        finally:
            self._signals.end_prompt = None
