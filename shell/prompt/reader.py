"""The interface of the readers of a terminal."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from filer.shell.session import Session


class LineReader(ABC):
    """Reads what is typed at a prompt."""

    @property
    def draws(self) -> bool:
        """Whether the reader echoes to the same stream as the prompt."""
        return False

    @property
    def is_watched(self) -> bool:
        """Whether a person watches the screen, so that colours and progress make sense."""
        return False

    def attach(self, session: Session) -> None:  # noqa: B027  (optional)
        """Read for ``session`` from now on: complete and colour its lines, show its state."""

    @abstractmethod
    def line(self, prompt: str, before: str = "") -> str:
        """Read and return a line of commands, which continues the lines ``before``.

        Raises EOFError, KeyboardInterrupt, or FilerError for a line that cannot be read.
        """

    def answer(self, prompt: str) -> str:
        """Read and return an answer.  Raises what `line` raises."""
        return self.line(prompt)

    @abstractmethod
    def secret(self, prompt: str) -> str:
        """Read and return an answer without echo.  Raises what `line` raises."""

    def interject(self, show: Callable[[], None]) -> None:
        """Call ``show``, which prints; above the line that is being typed, if there is one."""
        show()

    @abstractmethod
    def discard(self) -> None:
        """Drop typeahead, and the rest of a paste that is still arriving."""

    def lent(self) -> AbstractContextManager[None]:
        """Restore the modes of the terminal for another program, such as a pager, in the block."""
        return nullcontext()
