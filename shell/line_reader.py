"""What a console asks of the reader of its terminal."""

from collections.abc import Callable
from contextlib import AbstractContextManager


class LineReader:
    """Reads what is typed at a prompt."""

    draws = False
    """Whether what is typed is drawn on the same stream as the prompt."""

    @property
    def is_watched(self) -> bool:
        """Whether a person watches a screen with colours, which changes as work goes on."""
        return False

    def line(self, prompt: str, before: str = "") -> str:
        """Return a line of commands, which continues ``before``.

        Raises EOFError, KeyboardInterrupt, or FilerError for a line that cannot be read.
        """
        raise NotImplementedError

    def answer(self, prompt: str) -> str:
        """Return an answer.  Raises what ``line`` raises."""
        return self.line(prompt)

    def secret(self, prompt: str) -> str:
        """Return an answer that is not echoed.  Raises what ``line`` raises."""
        raise NotImplementedError

    def interject(self, show: Callable[[], None]) -> None:
        """Show something, even while a line is read."""
        show()

    def discard(self) -> None:
        """Drop what was typed ahead, and what is typed until a moment passes without a key."""
        raise NotImplementedError

    def lent(self) -> AbstractContextManager[None]:
        """Give the terminal to another program, such as a pager."""
        raise NotImplementedError
