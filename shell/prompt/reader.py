"""What a console asks of the reader of its terminal."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from filer.shell.session import Session


class LineReader(ABC):
    """Reads what is typed at a prompt."""

    @property
    def draws(self) -> bool:
        """Whether what is typed is drawn on the same stream as the prompt."""
        return False

    @property
    def is_watched(self) -> bool:
        """Whether a person watches a screen with colours, which changes as work goes on."""
        return False

    def attach(self, session: Session) -> None:  # noqa: B027  (a plain reader gives no help)
        """Read the lines of ``session`` from now on, and help to type them."""

    @abstractmethod
    def line(self, prompt: str, before: str = "") -> str:
        """Return a line of commands, which continues ``before``.

        Raises EOFError, KeyboardInterrupt, or FilerError for a line that cannot be read.
        """

    def answer(self, prompt: str) -> str:
        """Return an answer.  Raises what ``line`` raises."""
        return self.line(prompt)

    @abstractmethod
    def secret(self, prompt: str) -> str:
        """Return an answer that is not echoed.  Raises what ``line`` raises."""

    def interject(self, show: Callable[[], None]) -> None:
        """Show something, even while a line is read."""
        show()

    @abstractmethod
    def discard(self) -> None:
        """Drop what was typed ahead, and what is typed until a moment passes without a key."""

    def lent(self) -> AbstractContextManager[None]:
        """Give the terminal to another program, such as a pager.

        A reader that changes no modes between its lines has nothing to do for that.
        """
        return nullcontext()
