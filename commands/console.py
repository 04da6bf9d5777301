"""The console of a running command: it prints, asks questions, and can be left."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol, Self

from filer.commands.results import Result
from filer.running.progress import Tell, Work


class Consent(str):
    """A question for `Console.ask` whose answer can cost data, or the last way to a key.

    ``consents`` says whether an answer agrees to that.  Answers in a recording do not count as
    consent: ``filer --replay`` asks a person.
    """

    __slots__ = ("consents",)
    consents: Callable[[str], bool]

    def __new__(cls, text: str, consents: Callable[[str], bool]) -> Self:
        """Create the question ``text``."""
        question = super().__new__(cls, text)
        question.consents = consents
        return question


class EndOfAnswers(Exception):
    """The input ended before a question was answered."""


class Cancelled(Exception):
    """A question was answered with Ctrl-C."""


class Next(Enum):
    """What happens after a console is left; all but END begin with a loss of power."""

    BOOT = auto()
    MAINTENANCE = auto()
    LOADER = auto()
    BOOT_MENU = auto()
    END = auto()


class Leave(Exception):
    """A command leaves the console; later commands on its line are not run.

    Without ``takeover`` the partner of an HA pair must not take over.
    """

    after_failure: bool = False
    """Whether this command, or an earlier one on the line, failed; set by the session."""

    def __init__(self, following: Next, *, takeover: bool = True) -> None:
        super().__init__(following)
        self.next = following
        self.takeover = takeover


class Console(Protocol):
    """The input and output of a command: a person at a terminal, or a script."""

    @property
    def is_terminal(self) -> bool:
        """Whether a person sees what is printed."""

    def show(self, result: Result) -> None:
        """Print a result."""

    def fail(self, message: str) -> None:
        """Print why something failed; JSON also has the fields of a ``Complaint``."""

    def warn(self, message: str) -> None:
        """Print a warning; JSON also has the fields of a ``Complaint``."""

    def ask(self, question: str) -> str:
        """Ask, and return the answer without its line end.

        Raises EndOfAnswers or Cancelled.
        """

    def ask_secret(self, question: str) -> str:
        """Ask as ``ask`` does, but never show or keep the answer."""

    def page(self, text: str) -> None:
        """Show a long text, at a terminal in a pager."""

    def progress(self, work: Work) -> AbstractContextManager[Tell]:
        """Return a context that shows the progress of ``work`` to a person, and then erases it."""

    @property
    def width(self) -> int:
        """Columns of the screen; 80 if there is no screen."""


PRIVILEGES = ("admin", "advanced", "diag")
"""The privileges of a session; each has the commands of those before it."""


@dataclass(eq=False, repr=False)
class SessionState:
    """The state of one console session, as opposed to the state of the filer.

    ``who`` is the user of the console.  ``end_if_asked`` raises an exception if a signal has come
    that ends the program or this session.
    """

    who: str = "the console"
    end_if_asked: Callable[[], object] = lambda: None
    privilege: str = "admin"
    in_partner: bool = False
    """Whether the commands are for the partner that was taken over."""

    history: list[str] = field(default_factory=list)
