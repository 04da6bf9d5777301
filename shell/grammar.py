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

from filer.errors import FilerError
from filer.text import printable
from shell.language import Word

if TYPE_CHECKING:
    from commands import Command

_TOKEN = re.compile(r"\)[*+]?|[][{}|(]|[^][{}|()\s]+")
_CLOSING = {"[": ("]",), "{": ("}",), "(": (")*", ")+")}
_OPENING = _CLOSING.keys()
_PUNCTUATION = _OPENING | {"]", "}", ")", ")*", ")+", "|"}
_REST_OF_LINE = "TEXT"
_CLOSE = 0.7  # difflib's ratio, from which a word is taken for a slip of the pen


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


def _accepts(expectation: Expectation, word: str) -> bool:
    if expectation.kind in _LITERAL:
        return word == expectation.name
    if not word.startswith("-") or word == "-" or expectation.name == _REST_OF_LINE:
        return True
    return isinstance(word, Word) and word.quoted


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


class _Synopsis:
    """One SYNOPSIS line: its text, its head (command and subcommand) and its tree."""

    def __init__(self, text: str, variables: Collection[str]) -> None:
        self.text = text
        self._variables = variables
        self._tokens = deque[str](_TOKEN.findall(text))
        self.words = frozenset(self._tokens)
        self.head = tuple(takewhile(self._is_plain_literal, self._tokens))
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

    def _is_plain_literal(self, token: str) -> bool:
        return not (token in _PUNCTUATION or token in self._variables or token.startswith("-"))

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


@dataclass(frozen=True, slots=True)
class _Thread:
    """One way to read the words so far, and the ``node`` that is left for those to come.

    The last word was read as ``read``, those before it as in ``before``, which is None where no
    word was read yet.
    """

    synopsis: _Synopsis
    node: _Node
    read: Expectation = _END
    before: "_Thread | None" = None

    def readings(self) -> list[Expectation]:
        backwards: list[Expectation] = []
        thread = self
        while thread.before is not None:
            backwards.append(thread.read)
            thread = thread.before
        return backwards[::-1]


def _advance(threads: list[_Thread], word: str) -> list[_Thread]:
    following = [
        _Thread(thread.synopsis, rest, expectation, thread)
        for thread in threads
        for expectation, rest in _moves(thread.node)
        if _accepts(expectation, word)
    ]
    literal = [thread for thread in following if thread.read.kind in _LITERAL]
    following = literal or following
    if len(following) <= len(threads):
        return following
    # An ambiguous line must not double its readings with every word.
    different: dict[tuple[_Synopsis, _Node], _Thread] = {}
    for thread in following:
        different.setdefault((thread.synopsis, thread.node), thread)
    return list(different.values())


def _expectations(threads: Iterable[_Thread], needed: bool = False) -> list[Expectation]:
    found = {move: None for thread in threads for move, _ in _moves(thread.node, needed)}
    ends = not needed and any(_nullable(thread.node) for thread in threads)
    return [*found, _END] if ends else [*found]


def _expected(expectations: Iterable[Expectation]) -> str:
    *names, last = dict.fromkeys(expectation.name for expectation in expectations)
    return f"expected {', '.join(names)} or {last}" if names else f"expected {last}"


class Grammar:
    """The SYNOPSIS lines of one command, compiled."""

    def __init__(self, synopsis: list[_Synopsis], variables: tuple[str, ...]) -> None:
        self._synopsis = synopsis
        self._variables = variables

    @classmethod
    def compile(cls, synopsis: Sequence[str], variables: Collection[str] = ()) -> Self:
        """Compile the SYNOPSIS lines of a command; the words in ``variables`` stand for values.

        Raises ``ValueError`` where the notation is wrong or a variable is in none of the lines.
        """
        lines = [_Synopsis(text, variables) for text in synopsis]
        missing = set(variables).difference(*(line.words for line in lines))
        if missing or not lines:
            raise ValueError(f"missing in the synopsis: {', '.join(sorted(missing)) or 'all'}")
        return cls(lines, tuple(variables))

    def parse(self, words: Sequence[str]) -> Parse:
        """Return what ``words`` say, the name of the command being the first of them.

        Raises ``UsageError``, which counts words from 1.
        """
        threads, good = self._walk(words)
        if good < len(words):
            text = self._unexpected(threads, words, good)
            raise self._usage_error(threads, words, good, text, _expectations(threads))
        for thread in threads:
            if _nullable(thread.node):
                return self._parse(thread, words)
        needed = _expectations(threads, needed=True)
        text = f"incomplete; {_expected(needed)}"
        raise self._usage_error(threads, words, good, text, needed)

    def expected(self, words: Sequence[str]) -> list[Expectation]:
        """Return what may come after ``words``; nothing if these are already wrong."""
        threads, good = self._walk(words)
        return _expectations(threads) if good == len(words) else []

    def check(self, words: Sequence[str]) -> Check:
        """Return which of ``words`` is the first wrong one; a line that only lacks words is not."""
        threads, good = self._walk(words)
        kinds = tuple(reading.kind for reading in threads[0].readings())
        return Check(good if good < len(words) else None, kinds)

    def _walk(self, words: Sequence[str]) -> tuple[list[_Thread], int]:
        """Return the ways to read as many of ``words`` as make sense, and how many these are."""
        threads = [_Thread(synopsis, synopsis.tree) for synopsis in self._synopsis]
        for index, word in enumerate(words):
            following = _advance(threads, word)
            if not following:
                return threads, index
            threads = following
        return threads, len(words)

    def _parse(self, thread: _Thread, words: Sequence[str]) -> Parse:
        options: set[str] = set()
        values: dict[str, list[str]] = {name: [] for name in self._variables}
        for reading, word in zip(thread.readings(), words, strict=True):
            if reading.kind is Kind.VARIABLE:
                values[reading.name].append(str(word))
            elif reading.kind is Kind.OPTION:
                options.add(reading.name)
        return Parse(
            thread.synopsis.text,
            thread.synopsis.head[1:],
            frozenset(options),
            {name: tuple(given) for name, given in values.items()},
        )

    def _unexpected(self, threads: Iterable[_Thread], words: Sequence[str], index: int) -> str:
        word = words[index]
        expectations = _expectations(threads)
        advice = _expected(expectations)
        if not any(word in synopsis.words for synopsis in self._synopsis):
            literals = {e.name.casefold(): e.name for e in expectations if e.kind in _LITERAL}
            from difflib import get_close_matches

            close = get_close_matches(word.casefold(), literals, n=1, cutoff=_CLOSE)
            if close:
                advice = f'did you mean "{literals[close[0]]}"?'
        return f'word {index + 1}: unexpected "{printable(word)}"; {advice}'

    def _usage_error(
        self,
        threads: Iterable[_Thread],
        words: Sequence[str],
        good: int,
        text: str,
        expectations: Iterable[Expectation],
    ) -> UsageError:
        name = words[0] if words else self._synopsis[0].head[0]
        heads = {thread.synopsis.head for thread in threads}
        known = all(len(head) <= good for head in heads)
        usage = (line.text for line in self._synopsis if not known or line.head in heads)
        expected = tuple(each.name for each in expectations)
        return UsageError(f"{printable(name)}: {text}", good + 1, expected, tuple(usage))


def grammar_of(command: "Command") -> Grammar:
    """Return the grammar of a command, which is compiled once, whoever asks for it."""
    return _compiled(tuple(command.synopsis), tuple(command.variables))


@cache
def _compiled(synopsis: tuple[str, ...], variables: tuple[str, ...]) -> Grammar:
    return Grammar.compile(synopsis, variables)
