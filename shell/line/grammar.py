"""The manual page is the grammar: SYNOPSIS lines, and what they say about a line of words.

A SYNOPSIS line becomes a small tree, and each word takes it to its derivatives: the trees of what
may follow.  The notation is that of the manual pages: ``[ a ]`` may be left out, ``{ a | b }`` is
one of them, ``( a )+`` and ``( a )*`` repeat.  Four rules go beyond it:

- Options that stand side by side may be given in any order, each once unless it repeats.  An
  option is a word with a leading dash, together with the variables and choices directly after it.
- A variable whose name ends in ``_list`` is one or more words; ``TEXT`` is the rest of the line.
- A word with a leading dash is an option and never the value of a variable (but of ``TEXT``),
  unless any of it is quoted: ``-key_tag "-x"``.  A dash alone is a value.
- Where both a literal and a variable fit, the literal is meant.
"""

import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import groupby, takewhile
from typing import TYPE_CHECKING, NamedTuple, Self

from filer.host.errors import FilerError
from filer.host.quoting import quoted
from filer.host.text import nearest, printable
from filer.shell.line.words import Word

if TYPE_CHECKING:
    from filer.commands import Command

_TOKEN = re.compile(r"\)[*+]?|[][{}|(]|[^][{}|()\s]+")
_CLOSING = {"[": ("]",), "{": ("}",), "(": (")*", ")+")}
_OPENING = _CLOSING.keys()
_PUNCTUATION = _OPENING | {"]", "}", ")", ")*", ")+", "|"}
_REST_OF_LINE = "TEXT"


class UsageError(FilerError):
    """Words that no SYNOPSIS line allows.

    ``word`` counts to the wrong one from 1; where only words are missing, to the first of these.
    ``expected`` names what could stand there, and ``usage`` holds the lines in question.
    """

    def __init__(
        self, message: str, word: int, expected: tuple[str, ...], usage: tuple[str, ...]
    ) -> None:
        super().__init__(message)
        self.word = word
        self.expected = expected
        self.usage = usage


class Kind(StrEnum):
    """What a word is in its line."""

    COMMAND = "command"
    SUBCOMMAND = "subcommand"
    OPTION = "option"
    VARIABLE = "variable"
    END = "end of line"


_LITERAL = {Kind.COMMAND, Kind.SUBCOMMAND, Kind.OPTION}


@dataclass(frozen=True, slots=True)
class Expectation:
    """What may come next: a literal, a variable (by its name) or the end of the line."""

    name: str
    kind: Kind


@dataclass(frozen=True)
class Parse:
    """What a complete line says.

    ``options`` holds every literal after the subcommand, such as ``-all`` or the ``admin`` of
    ``priv set admin``.  ``values`` has the words of every variable of the command, in the order
    given; for a variable that was not given there are none.
    """

    line: str
    subcommand: tuple[str, ...]
    options: frozenset[str]
    values: Mapping[str, tuple[str, ...]]


class Check(NamedTuple):
    """The index of the first wrong word, if any, and the kinds of the words before it."""

    wrong: int | None
    kinds: tuple[Kind, ...]


@dataclass(frozen=True, slots=True)
class _InOrder:
    parts: tuple["_Node", ...]


@dataclass(frozen=True, slots=True)
class _OneOf:
    branches: tuple["_Node", ...]


@dataclass(frozen=True, slots=True)
class _Item:
    body: "_Node"
    required: bool
    many: bool


@dataclass(frozen=True, slots=True)
class _AnyOrder:
    """Items in any order: options side by side, or a single item that is optional or repeats."""

    items: tuple[_Item, ...]


_Node = Expectation | _InOrder | _OneOf | _AnyOrder
_NOTHING = _InOrder(())
_END = Expectation(Kind.END.value, Kind.END)


def _in_order(parts: Iterable[_Node]) -> _Node:
    flat: list[_Node] = []
    for part in parts:
        flat += part.parts if isinstance(part, _InOrder) else (part,)
    return flat[0] if len(flat) == 1 else _InOrder(tuple(flat))


def _nullable(node: _Node) -> bool:
    """Say whether ``node`` allows that nothing (more) follows."""
    match node:
        case _InOrder(parts):
            return all(_nullable(part) for part in parts)
        case _OneOf(branches):
            return any(_nullable(branch) for branch in branches)
        case _AnyOrder(items):
            return not any(item.required for item in items)
    return False


def _moves(node: _Node, needed: bool = False) -> Iterator[tuple[Expectation, _Node]]:
    """Yield what may come next in ``node``, each with its derivative; only what must, if needed."""
    match node:
        case Expectation():
            yield node, _NOTHING
        case _InOrder(parts):
            for index, part in enumerate(parts):
                for expectation, rest in _moves(part, needed):
                    yield expectation, _in_order((rest, *parts[index + 1 :]))
                if not _nullable(part):
                    break
        case _OneOf(branches):
            for branch in branches:
                yield from _moves(branch, needed)
        case _AnyOrder(items):
            for index, item in enumerate(items):
                if needed and not item.required:
                    continue
                again = (_Item(item.body, required=False, many=True),) if item.many else ()
                others = (*items[:index], *again, *items[index + 1 :])
                after = (_AnyOrder(others),) if others else ()
                for expectation, rest in _moves(item.body, needed):
                    yield expectation, _in_order((rest, *after))


def _looks_like_option(word: str) -> bool:
    return word.startswith("-") and word != "-" and not (isinstance(word, Word) and word.quoted)


def _accepts(expectation: Expectation, read: str | bool) -> bool:
    """Say whether a word fits: a literal, or any other, of which is known if it looks like one."""
    if expectation.kind in _LITERAL:
        return read == expectation.name
    return read is False or (read is True and expectation.name == _REST_OF_LINE)


def _is_option(node: _Node) -> bool:
    return all(first.name.startswith("-") for first, _ in _moves(node))


def _any_order(options: Iterable[_Node]) -> _AnyOrder:
    items: list[_Item] = []
    for option in options:
        if isinstance(option, _AnyOrder):
            items += option.items
        else:
            items.append(_Item(option, required=not _nullable(option), many=False))
    return _AnyOrder(tuple(items))


def _head(tokens: Iterable[str], variables: Collection[str]) -> tuple[str, ...]:
    return tuple(
        takewhile(
            lambda token: (
                not (token in _PUNCTUATION or token in variables or token.startswith("-"))
            ),
            tokens,
        )
    )


def head(line: str, variables: Collection[str]) -> tuple[str, ...]:
    """Return the command and subcommand of a SYNOPSIS line: the literals before all else."""
    return _head(_TOKEN.findall(line), variables)


class _Synopsis:
    """One SYNOPSIS line: its text, its head (command and subcommand) and its tree."""

    def __init__(self, text: str, variables: Collection[str]) -> None:
        self.text = text
        self._variables = variables
        self._tokens = deque[str](_TOKEN.findall(text))
        self.words = frozenset(self._tokens)
        self.head = _head(self._tokens, variables)
        if not self.head:
            raise self._error("it does not begin with the name of a command")
        for _ in self.head:
            self._tokens.popleft()
        kinds = (Kind.COMMAND, *(Kind.SUBCOMMAND for _ in self.head[1:]))
        words = map(Expectation, self.head, kinds)
        self.tree = _in_order((*words, self._sequence()) if self._tokens else words)
        if self._tokens:
            raise self._error(f'unexpected "{self._tokens[0]}"')

    def _error(self, reason: str) -> ValueError:
        return ValueError(f'synopsis "{self.text}": {reason}')

    def _sequence(self) -> _Node:
        parts: list[_Node] = []
        takes_arguments = False
        while self._tokens and self._tokens[0] not in _PUNCTUATION - _OPENING:
            first = self._tokens.popleft()
            part = self._group(first) if first in _OPENING else self._word(first)
            is_argument = (first in self._variables or first == "{") and not _is_option(part)
            if takes_arguments and is_argument:
                parts[-1] = _in_order((parts[-1], part))
            else:
                parts.append(part)
                takes_arguments = first.startswith("-")
        if not parts:
            raise self._error("something is missing")
        merged: list[_Node] = []
        for are_options, run in groupby(parts, _is_option):
            nodes = tuple(run)
            merged += (_any_order(nodes),) if are_options else nodes
        return _in_order(merged)

    def _word(self, token: str) -> _Node:
        if token not in self._variables:
            return Expectation(token, Kind.OPTION)
        variable = Expectation(token, Kind.VARIABLE)
        repeats = token.endswith("_list") or token == _REST_OF_LINE
        return _AnyOrder((_Item(variable, required=True, many=True),)) if repeats else variable

    def _group(self, opening: str) -> _Node:
        branches = [self._sequence()]
        while self._tokens and self._tokens[0] == "|":
            self._tokens.popleft()
            branches.append(self._sequence())
        closing = self._tokens.popleft() if self._tokens else "end of line"
        if closing not in _CLOSING[opening]:
            raise self._error(f'"{opening}" is not closed by "{closing}"')
        body = branches[0] if len(branches) == 1 else _OneOf(tuple(branches))
        if opening == "{":
            return body
        required = closing == ")+" and not _nullable(body)
        return _AnyOrder((_Item(body, required, many=opening == "("),))


def _read(synopsis: Iterable[str], variables: Collection[str]) -> list[_Synopsis]:
    lines = [_Synopsis(text, variables) for text in synopsis]
    missing = set(variables).difference(*(line.words for line in lines))
    if missing or not lines:
        raise ValueError(f"missing in the synopsis: {', '.join(sorted(missing)) or 'all'}")
    return lines


class _Way(NamedTuple):
    """One way to read the words so far: the line it follows, and what that leaves to come."""

    synopsis: _Synopsis
    rest: _Node


class _Step(NamedTuple):
    """Where one word leads: for each way of ``state`` the index of the way before it, and as what
    it reads the word.
    """

    state: "_State"
    origins: tuple[tuple[int, Expectation], ...]


class _State:
    """All ways to read the words so far, of which no two are alike.

    Where a word leads is worked out once: the states are an automaton that grows with its use.
    ``known`` are those that there are.
    """

    def __init__(self, ways: tuple[_Way, ...], known: dict[tuple[_Way, ...], "_State"]) -> None:
        known[ways] = self
        self.ways = ways
        self.expectations = _expectations(ways)
        self._known = known
        self._literals = {each.name for each in self.expectations if each.kind in _LITERAL}
        self._steps: dict[str | bool, _Step | None] = {}

    def step(self, word: str) -> _Step | None:
        """Return where ``word`` leads, or None if it fits nowhere."""
        read = str(word) if word in self._literals else _looks_like_option(word)
        if read not in self._steps:
            self._steps[read] = self._work_out(read)
        return self._steps[read]

    def _work_out(self, read: str | bool) -> _Step | None:
        """Return the step of a literal, or of all words that are none and look alike."""
        following: dict[_Way, tuple[int, Expectation]] = {}
        for index, way in enumerate(self.ways):
            for expectation, rest in _moves(way.rest):
                if _accepts(expectation, read):
                    following.setdefault(_Way(way.synopsis, rest), (index, expectation))
        if not following:
            return None
        ways = tuple(following)
        state = self._known.get(ways) or _State(ways, self._known)
        return _Step(state, tuple(following.values()))


class _Path(NamedTuple):
    """The steps that words take through the states, up to the first one that fits nowhere."""

    state: _State
    steps: Sequence[_Step]

    def readings(self, way: int) -> list[Expectation]:
        """Return as what each word is read in a way of the state, given by its index."""
        backwards: list[Expectation] = []
        for step in reversed(self.steps):
            way, expectation = step.origins[way]
            backwards.append(expectation)
        return backwards[::-1]


def _expectations(ways: Iterable[_Way], needed: bool = False) -> tuple[Expectation, ...]:
    found = {move: None for way in ways for move, _ in _moves(way.rest, needed)}
    ends = not needed and any(_nullable(way.rest) for way in ways)
    return (*found, _END) if ends else (*found,)


def _expected(expectations: Iterable[Expectation]) -> str:
    *names, last = dict.fromkeys(expectation.name for expectation in expectations)
    return f"expected {', '.join(names)} or {last}" if names else f"expected {last}"


class Grammar:
    """The SYNOPSIS lines of one command, compiled."""

    def __init__(self, synopsis: list[_Synopsis], variables: tuple[str, ...]) -> None:
        self._synopsis = synopsis
        self._variables = variables
        self._start = _State(tuple(_Way(line, line.tree) for line in synopsis), {})

    @classmethod
    def compile(cls, synopsis: Sequence[str], variables: Collection[str] = ()) -> Self:
        """Compile the SYNOPSIS lines of a command; the words in ``variables`` stand for values.

        Raises ``ValueError`` where the notation is wrong or a variable is in none of the lines.
        """
        return cls(_read(synopsis, variables), tuple(variables))

    def parse(self, words: Sequence[str]) -> Parse:
        """Return what ``words`` say, the name of the command being the first of them.

        Raises ``UsageError``, which counts words from 1.
        """
        path = self._path(words)
        state, good = path.state, len(path.steps)
        if good < len(words):
            text = self._unexpected(state.expectations, words, good)
            raise self._usage_error(state, words, good, text, state.expectations)
        for index, way in enumerate(state.ways):
            if _nullable(way.rest):
                return self._parse(way.synopsis, path.readings(index), words)
        needed = _expectations(state.ways, needed=True)
        text = f"incomplete; {_expected(needed)}"
        raise self._usage_error(state, words, good, text, needed)

    def expected(self, words: Sequence[str]) -> tuple[Expectation, ...]:
        """Return what may come after ``words``; nothing if these are already wrong."""
        path = self._path(words)
        return path.state.expectations if len(path.steps) == len(words) else ()

    def lines(self, words: Sequence[str]) -> frozenset[str]:
        """Return the SYNOPSIS lines that may begin with ``words``."""
        path = self._path(words)
        ways = path.state.ways if len(path.steps) == len(words) else ()
        return frozenset(way.synopsis.text for way in ways)

    def check(self, words: Sequence[str]) -> Check:
        """Return which of ``words`` is the first wrong one; a line that only lacks words is not."""
        path = self._path(words)
        good = len(path.steps)
        kinds = tuple(reading.kind for reading in path.readings(0))
        return Check(good if good < len(words) else None, kinds)

    def _path(self, words: Iterable[str]) -> _Path:
        """Return the path of as many of ``words`` as make sense."""
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
        self, synopsis: _Synopsis, readings: Iterable[Expectation], words: Iterable[str]
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
            near = nearest(word, (each.name for each in expectations if each.kind in _LITERAL))
            if near:
                advice = f'did you mean "{near}"?'
        return f"word {index + 1}: unexpected {quoted(word)}; {advice}"

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


def grammar_of(command: "Command") -> Grammar:
    """Return the grammar of a command, which is compiled once.

    The words that a subcommand has values for are the variables of its own lines.  Raises what
    `Grammar.compile` raises.
    """
    return _compiled(tuple((each.usage, tuple(each.values)) for each in command.subcommands))


@cache
def _compiled(rows: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]) -> Grammar:
    synopsis = [line for lines, variables in rows for line in _read(lines, variables)]
    return Grammar(synopsis, tuple(dict.fromkeys(name for _, names in rows for name in names)))
