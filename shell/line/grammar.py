"""The grammar of a command: compares a line of words with its SYNOPSIS lines.

Each word takes the tree of a line to its derivatives: the trees of what may follow.  Two rules:

- A word with a leading dash is an option and never the value of a variable (except of ``TEXT``),
  unless any of it is quoted: ``-key_tag "-x"``.  A dash alone is a value.
- If both a literal and a variable fit, the literal is meant.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, Self

from filer.host.errors import FilerError
from filer.host.quoting import HIDDEN, quoted
from filer.host.text import nearest, printable
from filer.shell.line.synopsis import (
    END,
    LITERAL,
    REST_OF_LINE,
    Expectation,
    Kind,
    Node,
    Synopsis,
    moves,
    nullable,
    read_synopsis,
)
from filer.shell.line.words import Word

if TYPE_CHECKING:
    from filer.commands import Command


class UsageError(FilerError):
    """Words that fit no SYNOPSIS line.

    ``word`` is the number of the wrong or missing word, from 1.  ``expected`` names what may stand
    there, and ``usage`` has the relevant SYNOPSIS lines.
    """

    def __init__(
        self, message: str, word: int, expected: tuple[str, ...], usage: tuple[str, ...]
    ) -> None:
        super().__init__(message)
        self.word = word
        self.expected = expected
        self.usage = usage


class Parse(NamedTuple):
    """A parsed complete line.

    ``options`` has every literal after the subcommand, such as ``-all`` or the ``admin`` of
    ``priv set admin``.  ``values`` has the words for each variable of the command, in the order
    given; none for a missing one.
    """

    line: str
    subcommand: tuple[str, ...]
    options: frozenset[str]
    values: Mapping[str, tuple[str, ...]]


class Check(NamedTuple):
    """The index of the first wrong word, if any, and the kinds of the words before it."""

    wrong: int | None
    kinds: tuple[Kind, ...]


def _looks_like_option(word: str) -> bool:
    return word.startswith("-") and word != "-" and not (isinstance(word, Word) and word.quoted)


def _accepts(expectation: Expectation, symbol: str | bool) -> bool:
    """Say whether a literal fits, or any other word that looks like an option or does not."""
    if expectation.kind in LITERAL:
        return symbol == expectation.name
    return symbol is False or (symbol is True and expectation.name == REST_OF_LINE)


class _Way(NamedTuple):
    """One reading of the words so far: the SYNOPSIS line, and the tree of what may follow."""

    synopsis: Synopsis
    rest: Node


class _Step(NamedTuple):
    """The next state after a word.

    ``origins`` has, for each of its ways, the index of the way before it, and the expectation that
    the word met.
    """

    state: "_State"
    origins: tuple[tuple[int, Expectation], ...]


class _State:
    """All distinct ways to read the words so far.

    Steps are computed once: the states are an automaton that grows with its use.  ``known`` has
    all states so far.
    """

    def __init__(self, ways: tuple[_Way, ...], known: dict[tuple[_Way, ...], "_State"]) -> None:
        known[ways] = self
        self.ways = ways
        self.expectations = _expectations(ways)
        self._known = known
        self._literals = {each.name for each in self.expectations if each.kind in LITERAL}
        self._steps: dict[str | bool, _Step | None] = {}

    def step(self, word: str) -> _Step | None:
        """Return the step for ``word``, or None if it does not fit."""
        # non-literals that look like options share one step, and so do the others
        symbol = str(word) if word in self._literals else _looks_like_option(word)
        if symbol not in self._steps:
            self._steps[symbol] = self._compute(symbol)
        return self._steps[symbol]

    def _compute(self, symbol: str | bool) -> _Step | None:
        following: dict[_Way, tuple[int, Expectation]] = {}
        for index, way in enumerate(self.ways):
            for expectation, rest in moves(way.rest):
                if _accepts(expectation, symbol):
                    following.setdefault(_Way(way.synopsis, rest), (index, expectation))
        if not following:
            return None
        ways = tuple(following)
        state = self._known.get(ways) or _State(ways, self._known)
        return _Step(state, tuple(following.values()))


class _Path(NamedTuple):
    """The steps of words through the states, up to the first word that does not fit."""

    state: _State
    steps: Sequence[_Step]

    def readings(self, way: int) -> list[Expectation]:
        """Return the expectation that each word met; ``way`` is an index of the state's ways."""
        backwards: list[Expectation] = []
        for step in reversed(self.steps):
            way, expectation = step.origins[way]
            backwards.append(expectation)
        return backwards[::-1]


def _expectations(ways: Iterable[_Way], needed: bool = False) -> tuple[Expectation, ...]:
    found = {move: None for way in ways for move, _ in moves(way.rest, needed)}
    ends = not needed and any(nullable(way.rest) for way in ways)
    return (*found, END) if ends else (*found,)


def _expected(expectations: Iterable[Expectation]) -> str:
    *names, last = dict.fromkeys(expectation.name for expectation in expectations)
    return f"expected {', '.join(names)} or {last}" if names else f"expected {last}"


class Grammar:
    """The SYNOPSIS lines of one command, compiled."""

    def __init__(self, synopsis: list[Synopsis], variables: tuple[str, ...]) -> None:
        self._synopsis = synopsis
        self._variables = variables
        self._start = _State(tuple(_Way(line, line.tree) for line in synopsis), {})

    @classmethod
    def compile(cls, synopsis: Sequence[str], variables: Collection[str] = ()) -> Self:
        """Compile the SYNOPSIS lines of a command; the words in ``variables`` stand for values.

        Raises ValueError if a line is invalid, or a variable is in none of the lines.
        """
        return cls(read_synopsis(synopsis, variables), tuple(variables))

    def parse(self, words: Sequence[str]) -> Parse:
        """Parse ``words``, which begin with the name of the command.  Raises UsageError."""
        path = self._path(words)
        state, good = path.state, len(path.steps)
        if good < len(words):
            text = self._unexpected(state.expectations, words, good)
            raise self._usage_error(state, words, good, text, state.expectations)
        for index, way in enumerate(state.ways):
            if nullable(way.rest):
                return self._parse(way.synopsis, path.readings(index), words)
        needed = _expectations(state.ways, needed=True)
        text = f"incomplete; {_expected(needed)}"
        raise self._usage_error(state, words, good, text, needed)

    def expected(self, words: Sequence[str]) -> tuple[Expectation, ...]:
        """Return what may come after ``words``; nothing if they do not fit."""
        path = self._path(words)
        return path.state.expectations if len(path.steps) == len(words) else ()

    def lines(self, words: Sequence[str]) -> frozenset[str]:
        """Return the SYNOPSIS lines that ``words`` may begin."""
        path = self._path(words)
        ways = path.state.ways if len(path.steps) == len(words) else ()
        return frozenset(way.synopsis.text for way in ways)

    def check(self, words: Sequence[str]) -> Check:
        """Check ``words``, which may be the beginning of a line."""
        path = self._path(words)
        good = len(path.steps)
        kinds = tuple(reading.kind for reading in path.readings(0))
        return Check(good if good < len(words) else None, kinds)

    def _path(self, words: Iterable[str]) -> _Path:
        """Return the path of ``words``, up to the first that does not fit."""
        state = self._start
        steps: list[_Step] = []
        for word in words:
            step = state.step(word)
            if step is None:
                break
            steps.append(step)
            state = step.state
        return _Path(state, steps)

    def _parse(
        self, synopsis: Synopsis, readings: Iterable[Expectation], words: Iterable[str]
    ) -> Parse:
        options: set[str] = set()
        values: dict[str, list[str]] = {name: [] for name in self._variables}
        for reading, word in zip(readings, words, strict=True):
            if reading.kind is Kind.VARIABLE:
                values[reading.name].append(str(word))
            elif reading.kind is Kind.OPTION:
                options.add(reading.name)
        return Parse(
            synopsis.text,
            synopsis.head[1:],
            frozenset(options),
            {name: tuple(given) for name, given in values.items()},
        )

    def _unexpected(
        self, expectations: Sequence[Expectation], words: Sequence[str], index: int
    ) -> str:
        word = words[index]
        advice = _expected(expectations)
        if not any(word in synopsis.words for synopsis in self._synopsis):
            near = nearest(word, (each.name for each in expectations if each.kind in LITERAL))
            if near:
                advice = f'did you mean "{near}"?'
        is_secret = isinstance(word, Word) and word.may_be_secret
        shown = HIDDEN if is_secret else quoted(word)
        return f"word {index + 1}: unexpected {shown}; {advice}"

    def _usage_error(
        self,
        state: _State,
        words: Sequence[str],
        good: int,
        text: str,
        expectations: Iterable[Expectation],
    ) -> UsageError:
        name = words[0] if words else self._synopsis[0].head[0]
        heads = {way.synopsis.head for way in state.ways}
        known = all(len(head) <= good for head in heads)
        usage = (line.text for line in self._synopsis if not known or line.head in heads)
        expected = tuple(each.name for each in expectations)
        return UsageError(f"{printable(name)}: {text}", good + 1, expected, tuple(usage))


@cache
def grammar_of(command: "Command") -> Grammar:
    """Return the grammar of a command, compiled once.

    The names in the ``values`` of a subcommand are the variables of its lines.  Raises ValueError
    as `Grammar.compile` does.
    """
    synopsis = [
        line for each in command.subcommands for line in read_synopsis(each.usage, each.values)
    ]
    return Grammar(synopsis, command.variables)
