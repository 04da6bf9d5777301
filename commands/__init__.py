"""What a command of the console is.

A command is a module that offers a ``Command`` under the name ``COMMAND`` (or several, as
``COMMANDS``), announced as an entry point of the group ``filer.commands``.  Its SYNOPSIS lines are
its grammar; its ``run`` is given a ``Call`` and works on the one ``Filer``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from filer.errors import FilerError
from filer.system import Filer

ENTRY_POINTS = "filer.commands"
"""The entry-point group that commands are found in."""


class Arguments(Protocol):
    """A line that fits one of the SYNOPSIS lines."""

    @property
    def subcommand(self) -> tuple[str, ...]:
        """The literal words between the command name and the first option or variable."""

    @property
    def options(self) -> frozenset[str]:
        """The options that were given."""

    @property
    def values(self) -> Mapping[str, tuple[str, ...]]:
        """The words given for each variable of the SYNOPSIS line."""


class Result(Protocol):
    """What a command found or did; its text is made of it, and of nothing else."""

    def lines(self) -> Iterable[str]:
        """Return the text that a real filer would print, line by line."""


@dataclass(frozen=True)
class Text:
    """A result that is just text."""

    text: str

    def lines(self) -> Iterable[str]:
        """Return the text, line by line."""
        return self.text.splitlines()


class EndOfAnswers(Exception):
    """A question found no answer: end of input."""


class Cancelled(Exception):
    """A question was answered with Ctrl-C."""


class PowerOff(Exception):
    """The filer is to lose power; ``again`` says whether it is to boot again at once."""

    def __init__(self, *, again: bool) -> None:
        super().__init__(again)
        self.again = again


class OutputLost(Exception):
    """Nothing can be printed any more; ``reason`` is None if the reader has just gone."""

    def __init__(self, reason: str | None) -> None:
        super().__init__(reason)
        self.reason = reason


class Boot(Exception):
    """The boot loader is to boot the filer, or its maintenance mode."""

    def __init__(self, *, maintenance: bool) -> None:
        super().__init__(maintenance)
        self.maintenance = maintenance


class Logout(Exception):
    """The console is to be left."""


class Console(Protocol):
    """Who talks to a command: a person at a terminal, or a script."""

    @property
    def is_terminal(self) -> bool:
        """Whether a person sees what is printed."""

    def show(self, result: Result) -> None:
        """Print a result."""

    def fail(self, message: str) -> None:
        """Print why something failed."""

    def warn(self, message: str) -> None:
        """Print what the administrator has to know."""

    def ask(self, question: str) -> str:
        """Ask, and return the answer without its line end.

        Raises EndOfAnswers or Cancelled.
        """

    def ask_secret(self, question: str) -> str:
        """Ask as ``ask`` does, but never show or keep the answer."""

    def page(self, text: str) -> None:
        """Show a long text, in a pager where a person reads it."""

    @property
    def width(self) -> int:
        """Columns of the screen; 80 where there is none."""


@dataclass
class SessionState:
    """What belongs to one console session rather than to the filer."""

    privilege: str = "admin"
    history: list[str] = field(default_factory=list)


@dataclass
class Call:
    """One run of a command."""

    command: "Command"
    arguments: Arguments
    filer: Filer
    console: Console
    session: SessionState
    commands: Mapping[str, "Command"]
    failed: bool = False
    asked_all: bool = False
    """Set by a dialogue that has put its last question: no answers of it are left unread."""

    def show(self, result: Result) -> None:
        """Print a result."""
        self.console.show(result)

    def say(self, text: str) -> None:
        """Print plain text."""
        self.console.show(Text(text))

    def fail(self, message: str) -> None:
        """Print why something failed; the command goes on, but ends with a failing status."""
        self.failed = True
        self.console.fail(message)

    def value(self, variable: str) -> str | None:
        """Return the one word given for ``variable``, or None."""
        words = self.arguments.values.get(variable, ())
        return words[0] if words else None

    def words(self, variable: str) -> tuple[str, ...]:
        """Return all words given for ``variable``."""
        return self.arguments.values.get(variable, ())


class Refused(FilerError):
    """A command that ends here; the command's name is put before the text when it is printed."""


class Unprefixed(FilerError):
    """A command that ends here; the text is printed as it is."""


ALL_ANSWERS = -1
"""``Command.unread``: the answers go on for as long as lines are no commands."""


def _asks_nothing(words: Sequence[str]) -> int:
    return 0


Suggestion = tuple[str, str]
"""A live value, and a word of help for it."""


@dataclass(frozen=True)
class Command:
    """A command of the console.

    ``variables`` maps each variable of the SYNOPSIS to a function that lists its live values for
    a subcommand.  ``unread`` says how many lines of answers follow a line with these words in a
    script, so that they are not taken for commands when the dialogue never begins.
    """

    name: str
    summary: str
    synopsis: tuple[str, ...]
    run: Callable[[Call], None]
    variables: Mapping[str, Callable[[Filer, tuple[str, ...]], Iterable[Suggestion]]] = field(
        default_factory=dict
    )
    unread: Callable[[Sequence[str]], int] = _asks_nothing
    privilege: str = "admin"


def no_values(_filer: Filer, _subcommand: tuple[str, ...]) -> Iterable[Suggestion]:
    """List no live values: what the variable stands for is made up by the user."""
    return ()
