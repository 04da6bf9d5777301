"""Line editing with history and completion, by prompt_toolkit."""

from collections.abc import Callable, Iterable

from platformdirs import user_state_path
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import DummyHistory
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput

from shell.completion import completions
from shell.history import open_history
from shell.session import Session
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
                found.text, start_position=found.start - len(text), display_meta=found.help
            )


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

    def __init__(self, session_of: Callable[[], Session]) -> None:
        self._commands: PromptSession[str] = PromptSession(
            history=open_history(user_state_path("filer", appauthor=False)),
            completer=_GrammarCompleter(session_of),
            complete_while_typing=False,
            enable_history_search=True,
        )
        self._answers: PromptSession[str] = PromptSession(history=DummyHistory())
        self._secrets: PromptSession[str] = PromptSession(
            history=DummyHistory(), input_processors=[_ShowNothing()]
        )

    def line(self, prompt: str) -> str:
        """Return a line of commands.  Raises EOFError or KeyboardInterrupt."""
        return self._commands.prompt(prompt)

    def answer(self, prompt: str) -> str:
        """Return an answer.  Raises EOFError or KeyboardInterrupt."""
        return self._answers.prompt(prompt)

    def secret(self, prompt: str) -> str:
        """Return an answer that is not echoed.  Raises EOFError or KeyboardInterrupt."""
        return self._secrets.prompt(prompt)
