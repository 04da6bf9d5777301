"""What a command of the console is.

A ``Command`` has one row for each of its subcommands.  The SYNOPSIS lines of the rows are its
grammar; the function of a row is given a ``Call`` and works on the one ``Filer``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import Field, dataclass, field, fields
from datetime import datetime
from enum import Enum, auto
from typing import (
    ClassVar,
    NamedTuple,
    Protocol,
    Self,
    dataclass_transform,
    runtime_checkable,
)

from filer.host.errors import FilerError
from filer.running.progress import Tell, Work
from filer.system import Filer

API_VERSION = 1
"""The version of what plug-ins use of this module (docs/PLUGINS.md says what changes it)."""

ENTRY_POINTS = f"filer.commands.v{API_VERSION}"
"""The entry-point group of plug-ins for this version."""


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


TEXT_ONLY = {"text_only": True}
"""``metadata`` of a dataclass field that belongs to the text of a result, and not to its JSON."""


@dataclass_transform(eq_default=False, frozen_default=True, field_specifiers=(field,))
class Fields:
    """A result, or a part of one, that is a dataclass: its fields are its JSON.  None is secret.

    The schema and the tables of docs/JSON.md are made of these fields, too, and of the docstring
    of each class (``make schema``).
    """

    __dataclass_fields__: ClassVar[dict[str, Field[object]]]

    def __init_subclass__(cls, *, kw_only: bool = False) -> None:
        # To generate what is frozen, equal and shown would take 0.4 ms for each class.
        dataclass(eq=False, repr=False, kw_only=kw_only)(cls)

    def data(self) -> Mapping[str, Json]:
        """Return the fields but those for text only; times become ISO 8601."""
        return {
            each.name: _as_json(getattr(self, each.name))
            for each in fields(self)
            if "text_only" not in each.metadata
        }


def _as_json(value: object) -> Json:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case datetime():
            return value.isoformat(timespec="seconds")
        case Fields():
            return value.data()
        case Mapping():
            return {str(name): _as_json(each) for name, each in value.items()}
        case Sequence():
            return [_as_json(each) for each in value]
    raise TypeError(f"{type(value).__name__} is not JSON")


class Text:
    """`man`, and plug-ins whose results have no fields."""

    TYPE: ClassVar[str] = "text"

    def __init__(self, text: str) -> None:
        self.text = text

    def lines(self) -> Sequence[str]:
        """Return the text, line by line."""
        return self.text.splitlines()

    def data(self) -> Mapping[str, Json]:
        """Return the lines."""
        return {"lines": self.lines()}


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


class Next(Enum):
    """What follows when a console is left; all but END begin with the loss of power."""

    BOOT = auto()
    MAINTENANCE = auto()
    LOADER = auto()
    END = auto()


class Leave(Exception):
    """A command leaves the console; the commands after it on its line are not run."""

    after_failure: bool = False
    """Whether a command before it on its line has failed; set by the session."""

    def __init__(self, following: Next) -> None:
        super().__init__(following)
        self.next = following


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
"""``Answers.number``: skip input until a line parses as a command."""


class Answers(NamedTuple):
    """The lines of input that answer the questions of a subcommand.

    If it fails before it reads them, they are skipped: an answer must not run as a command.  There
    are ``number`` of them, or an unknown number (`ALL_ANSWERS`), and with ``option`` only if that
    option is given.  If one is ``secret``, they are skipped after a misspelt subcommand or option
    too.
    """

    number: int = ALL_ANSWERS
    secret: bool = False
    option: str = ""


Help = str | Callable[[], str]
"""A word of help, or what returns it if it is ever shown."""

Suggestion = tuple[str, Help]
"""A live value, and a word of help for it."""

Values = Callable[[Filer], Iterable[Suggestion]]
"""Lists the live values of a variable."""

Run = Callable[[Call], None]
"""What a subcommand does."""

_NO_WORDS: Mapping[str, str] = {}
_NO_VALUES: Mapping[str, Values] = {}


class Subcommand(NamedTuple):
    """One row of a command: a subcommand, or all of a command that has none.

    ``synopsis`` is its SYNOPSIS line, or its lines, and ``help`` says what it does.  ``options``
    has a word of help for each literal after the subcommand, and for a word within it that needs
    its own.  ``values`` has each variable of the synopsis and lists its live values.  ``changes``
    says whether it may change the filer: of such subcommands one runs at a time.
    """

    synopsis: str | tuple[str, ...]
    run: Run
    help: str = ""
    options: Mapping[str, str] = _NO_WORDS
    values: Mapping[str, Values] = _NO_VALUES
    changes: bool = True
    asks: Answers | None = None

    @property
    def usage(self) -> tuple[str, ...]:
        """The SYNOPSIS lines."""
        return (self.synopsis,) if isinstance(self.synopsis, str) else self.synopsis


class Command:
    """A command of the console: its subcommands, in the order in which its usage has them.

    ``groups`` has a word of help for words that several subcommands begin with (``encrypt``).
    Only a session with ``privilege`` lists the command.  ``manual`` is the package that has the
    manual page of a plug-in's command, ``NAME.1``; "" if there is none.
    """

    def __init__(
        self,
        name: str,
        summary: str,
        *subcommands: Subcommand,
        groups: Mapping[str, str] = _NO_WORDS,
        privilege: str = "admin",
        manual: str = "",
    ) -> None:
        self.name = name
        self.summary = summary
        self.subcommands = subcommands
        self.groups = groups
        self.privilege = privilege
        self.manual = manual

    @property
    def synopsis(self) -> tuple[str, ...]:
        """The SYNOPSIS lines of all subcommands."""
        return tuple(line for each in self.subcommands for line in each.usage)

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables of all SYNOPSIS lines, each once."""
        return tuple(dict.fromkeys(name for each in self.subcommands for name in each.values))

    def with_line(self, line: str) -> Subcommand:
        """Return the subcommand that has the SYNOPSIS line ``line``."""
        return next(each for each in self.subcommands if line in each.usage)


class Later:
    """A `Run` whose module is imported when it is called: ``package.module:function``."""

    def __init__(self, where: str) -> None:
        self.where = where

    def load(self) -> Run:
        """Import the function.  Raises ImportError or AttributeError if it does not exist."""
        from importlib import import_module

        module, _, name = self.where.partition(":")
        run: Run = getattr(import_module(module), name)
        return run

    def __call__(self, call: Call) -> None:
        """Run the function."""
        self.load()(call)


@dataclass(frozen=True, eq=False, repr=False)
class HostFiles:
    """The live values of a variable that is a path on the host; ``wanted`` judges a file's name.

    They depend on what is typed of the path, so completion looks for them.
    """

    wanted: Callable[[str], bool]
    help: str

    def __call__(self, _filer: Filer) -> Iterable[Suggestion]:
        """List nothing."""
        return ()


@dataclass(frozen=True, eq=False, repr=False)
class FromCommands:
    """The live values of a variable that are made of the commands which a session lists."""

    suggest: Callable[[Iterable[Command]], Iterable[Suggestion]]

    def __call__(self, _filer: Filer) -> Iterable[Suggestion]:
        """List nothing: completion knows the session."""
        return ()


def no_values(_filer: Filer) -> Iterable[Suggestion]:
    """Offer nothing: the user invents this value."""
    return ()
