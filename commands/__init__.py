"""What a command of the console is.

A command is a module that offers a ``Command`` under the name ``COMMAND`` (or several, as
``COMMANDS``), announced as an entry point of the group ``filer.commands``.  Its SYNOPSIS lines are
its grammar; its ``run`` is given a ``Call`` and works on the one ``Filer``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol, Self, runtime_checkable

from filer.host.errors import FilerError
from filer.running.progress import Tell, Work
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


Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]
"""What JSON can say."""


class Result(Protocol):
    """What a command found or did; its text is made of it, and of nothing else."""

    def lines(self) -> Iterable[str]:
        """Return the text that a real filer would print, line by line."""


@runtime_checkable
class Structured(Result, Protocol):
    """A result that ``--format json`` shows by its fields (docs/JSON.md); others are its text."""

    TYPE: ClassVar[str]
    """Tells programs which fields there are."""

    def data(self) -> Mapping[str, Json]:
        """Return the fields, none of them secret."""


class Text:
    """A result that is just text."""

    TYPE: ClassVar[str] = "text"

    def __init__(self, text: str) -> None:
        self.text = text

    def lines(self) -> Iterable[str]:
        """Return the text, line by line."""
        return self.text.splitlines()

    def data(self) -> Mapping[str, Json]:
        """The lines."""
        return {"lines": list(self.lines())}


class Note(NamedTuple):
    """Words, or an empty line, for a reader; they add nothing to the results beside them."""

    text: str

    def lines(self) -> Iterable[str]:
        """Return the text, line by line."""
        return self.text.splitlines()


GAP = Note("\n")
"""An empty line."""


class Complaint(str):
    """The text of a failure or a warning, which also says what kind it is, and its details.

    ``kind`` is None for a line that says again, to a reader, what others have said.
    """

    __slots__ = ("details", "kind")
    details: Mapping[str, Json]
    kind: str | None

    def __new__(cls, text: str, kind: str | None, **details: Json) -> Self:
        """Make the complaint whose text is ``text``."""
        complaint = super().__new__(cls, text)
        complaint.kind, complaint.details = kind, details
        return complaint

    def as_warning(self) -> Self:
        """Return the same, to be printed as a warning."""
        return type(self)(f"WARNING: {self}", self.kind, **self.details)


class Consent(str):
    """A question whose answer can cost data, or the way to a key; for `Console.ask`.

    ``consents`` says whether an answer agrees to that.  The answers of a recording do not: a
    person has to be asked (``filer --replay``).
    """

    __slots__ = ("consents",)
    consents: Callable[[str], bool]

    def __new__(cls, text: str, consents: Callable[[str], bool]) -> Self:
        """Make the question ``text``."""
        question = super().__new__(cls, text)
        question.consents = consents
        return question


class EndOfAnswers(Exception):
    """A question found no answer: end of input."""


class Cancelled(Exception):
    """A question was answered with Ctrl-C."""


class Leaving(Exception):
    """A command leaves the console; the commands behind it on its line are not run."""

    after_failure: bool = False
    """Whether a command before it on its line has failed; set by the session."""


class PowerOff(Leaving):
    """The filer is to lose power; ``again`` says whether it is to boot again at once."""

    def __init__(self, *, again: bool) -> None:
        super().__init__(again)
        self.again = again


class Boot(Leaving):
    """The boot loader is to boot the filer, or its maintenance mode."""

    def __init__(self, *, maintenance: bool) -> None:
        super().__init__(maintenance)
        self.maintenance = maintenance


class Logout(Leaving):
    """The console is to be left."""


class Console(Protocol):
    """Who talks to a command: a person at a terminal, or a script."""

    @property
    def is_terminal(self) -> bool:
        """Whether a person sees what is printed."""

    def show(self, result: Result) -> None:
        """Print a result."""

    def fail(self, message: str) -> None:
        """Print why something failed; a ``Complaint`` says more than its text."""

    def warn(self, message: str) -> None:
        """Print what the administrator has to know; a ``Complaint`` says more than its text."""

    def ask(self, question: str) -> str:
        """Ask, and return the answer without its line end.

        Raises EndOfAnswers or Cancelled.
        """

    def ask_secret(self, question: str) -> str:
        """Ask as ``ask`` does, but never show or keep the answer."""

    def page(self, text: str) -> None:
        """Show a long text, in a pager where a person reads it."""

    def progress(self, work: Work) -> AbstractContextManager[Tell]:
        """Show long work while it lasts, to a person only; nothing of it stays."""

    @property
    def width(self) -> int:
        """Columns of the screen; 80 where there is none."""


@dataclass(eq=False, repr=False)
class SessionState:
    """What belongs to one console session rather than to the filer."""

    privilege: str = "admin"
    history: list[str] = field(default_factory=list)


@dataclass(eq=False, repr=False)
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


def _changes_something(_arguments: Arguments) -> bool:
    return True


def changes_nothing(_arguments: Arguments) -> bool:
    """``Command.changes`` of a command that only reads."""
    return False


def changes_unless(*reading: str) -> Callable[[Arguments], bool]:
    """Return the ``Command.changes`` of a command with these subcommands that only read."""
    return lambda arguments: " ".join(arguments.subcommand) not in reading


Help = str | Callable[[], str]
"""A word of help, or what returns it if it is ever shown."""

Suggestion = tuple[str, Help]
"""A live value, and a word of help for it."""

Values = Callable[[Filer, tuple[str, ...]], Iterable[Suggestion]]
"""Lists the live values of a variable, for a subcommand."""


@dataclass(frozen=True, eq=False, repr=False)
class Command:
    """A command of the console.

    ``variables`` maps each variable of the SYNOPSIS to a function that lists its live values for
    a subcommand.  ``unread`` says how many lines of answers follow a line with these words, so that
    they are not taken for commands when the dialogue never begins.  ``changes``
    says whether a line may change the filer: of such lines one runs at a time.  ``help`` has a
    word of help for each subcommand and option, by the words that lead to it: ``rekey -manual``.
    """

    name: str
    summary: str
    synopsis: tuple[str, ...]
    run: Callable[[Call], None]
    variables: Mapping[str, Values] = field(default_factory=dict)
    unread: Callable[[Sequence[str]], int] = _asks_nothing
    privilege: str = "admin"
    changes: Callable[[Arguments], bool] = _changes_something
    help: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, repr=False)
class HostFiles:
    """The live values of a variable that is a path on the host; ``wanted`` judges a file's name.

    They depend on what is typed of the path, so completion looks for them.
    """

    wanted: Callable[[str], bool]
    help: str

    def __call__(self, _filer: Filer, _subcommand: tuple[str, ...]) -> Iterable[Suggestion]:
        """List none."""
        return ()


def command_names(_filer: Filer, _subcommand: tuple[str, ...]) -> Iterable[Suggestion]:
    """Stand for the commands of the session, which completion knows."""
    return ()


def no_values(_filer: Filer, _subcommand: tuple[str, ...]) -> Iterable[Suggestion]:
    """List no live values: what the variable stands for is made up by the user."""
    return ()
