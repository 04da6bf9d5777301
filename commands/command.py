"""Commands and their subcommands, and the call with which one runs."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from filer.commands.console import Console, SessionState
from filer.commands.results import Result, Text
from filer.system import Filer


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
    """Set by a dialogue after its last question: no unread answers to it are left."""

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
        return next(iter(self.words(variable)), None)

    def words(self, variable: str) -> tuple[str, ...]:
        """Return all words given for ``variable``."""
        return self.arguments.values.get(variable, ())


ALL_ANSWERS = -1
"""``Answers.number``: skip input until a line parses as a command."""


class Answers(NamedTuple):
    """The lines of input that answer the questions of a subcommand.

    If it fails before it reads them, they are skipped: an answer must not run as a command.  There
    are ``number`` of them, or an unknown number (`ALL_ANSWERS`).  With ``option`` there are none
    unless that option is given, and with ``unless`` none if that one is.  If one is ``secret``,
    they are also skipped after a misspelt subcommand or option.
    """

    number: int = ALL_ANSWERS
    secret: bool = False
    option: str = ""
    unless: str = ""


Help = str | Callable[[], str]
"""A few words of help, or a function that returns them when they are shown."""

Suggestion = tuple[str, Help]
"""A live value and its help."""

Values = Callable[[Filer], Iterable[Suggestion]]
"""Lists the live values of a variable."""

Run = Callable[[Call], None]
"""Runs a subcommand."""

_NO_WORDS: Mapping[str, str] = {}

_NO_VALUES: Mapping[str, Values] = {}


class Subcommand(NamedTuple):
    """One row of a command: a subcommand, or the whole command if it has none.

    ``synopsis`` is its SYNOPSIS line, or its lines, and ``help`` says what it does.  ``options``
    has help for each literal word after the subcommand, and for words of the subcommand that need
    their own.  ``values`` has, for each variable of the synopsis, a function that lists its live
    values.  ``changes`` says whether it may change the filer: only one such subcommand runs at a
    time.
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
    """A command of the console: its subcommands, in the order of its usage text.

    ``groups`` has help for words that several subcommands begin with (``encrypt``).  Only a session
    with ``privilege`` lists the command.  ``manual`` is the package that contains the manual page
    of a plug-in's command, ``NAME.1``; "" if there is none.
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
        """The variables of all SYNOPSIS lines, without duplicates."""
        return tuple(dict.fromkeys(name for each in self.subcommands for name in each.values))

    def with_line(self, line: str) -> Subcommand:
        """Return the subcommand that has the SYNOPSIS line ``line``."""
        return next(each for each in self.subcommands if line in each.usage)


class Later:
    """A `Run` that imports its module when it is called: ``package.module:function``."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._run: Run | None = None

    def load(self) -> Run:
        """Import the function.  Raises ImportError or AttributeError if it does not exist."""
        if self._run is None:
            from importlib import import_module

            module, _, name = self.where.partition(":")
            self._run = getattr(import_module(module), name)
        return self._run

    def __call__(self, call: Call) -> None:
        """Import and run the function."""
        self.load()(call)


@dataclass(eq=False, repr=False)
class HostFiles:
    """The live values of a path on the host: files whose name ``wanted`` accepts.

    Completion lists them, because they depend on the part of the path that is already typed.
    """

    wanted: Callable[[str], bool]
    help: str

    def __call__(self, _filer: Filer) -> Iterable[Suggestion]:
        """List nothing."""
        return ()


@dataclass(eq=False, repr=False)
class FromCommands:
    """Live values that are computed from the commands of a session.

    Completion lists them, because it knows the session.
    """

    suggest: Callable[[Iterable[Command]], Iterable[Suggestion]]

    def __call__(self, _filer: Filer) -> Iterable[Suggestion]:
        """List nothing."""
        return ()


def no_values(_filer: Filer) -> Iterable[Suggestion]:
    """Offer nothing: the user invents this value."""
    return ()
