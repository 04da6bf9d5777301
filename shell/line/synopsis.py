"""The notation of SYNOPSIS lines: each line becomes a small tree.

The notation is that of the manual pages: ``[ a ]`` is optional, ``{ a | b }`` is one of them,
``( a )+`` and ``( a )*`` repeat.  Three rules are added:

- Adjacent options may be given in any order, each once unless it repeats.  An option is a word with
  a leading dash, together with the variables and choices directly after it.
- A variable whose name ends in ``_list`` is one or more words; ``TEXT`` is the rest of the line.
- The literals before all else are the name of the command and its subcommand.
"""

import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from enum import StrEnum
from itertools import groupby, takewhile
from typing import NamedTuple, TypeVar

_TOKEN = re.compile(r"\)[*+]?|[][{}|(]|[^][{}|()\s]+")
_CLOSING = {"[": ("]",), "{": ("}",), "(": (")*", ")+")}
_OPENING = _CLOSING.keys()
_PUNCTUATION = _OPENING | {"]", "}", ")", ")*", ")+", "|"}
REST_OF_LINE = "TEXT"


class Kind(StrEnum):
    """The role of a word in its line."""

    COMMAND = "command"
    SUBCOMMAND = "subcommand"
    OPTION = "option"
    VARIABLE = "variable"
    END = "end of line"


LITERAL = {Kind.COMMAND, Kind.SUBCOMMAND, Kind.OPTION}


class Expectation(NamedTuple):
    """What may come next: a literal, a variable (by name) or the end of the line."""

    name: str
    kind: Kind


class _Item(NamedTuple):
    body: "Node"
    required: bool
    many: bool


T = TypeVar("T")


class _Nodes(tuple[T, ...]):
    """Nodes in a relation: the class, which counts when two are compared."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and super().__eq__(other)

    __ne__ = object.__ne__
    __hash__ = tuple.__hash__


class _InOrder(_Nodes["Node"]):
    __slots__ = ()


class _OneOf(_Nodes["Node"]):
    __slots__ = ()


class _AnyOrder(_Nodes[_Item]):
    """Items in any order: adjacent options, or a single item that is optional or repeats."""

    __slots__ = ()


Node = Expectation | _InOrder | _OneOf | _AnyOrder
_NOTHING = _InOrder()
END = Expectation(Kind.END.value, Kind.END)


def _in_order(parts: Iterable[Node]) -> Node:
    flat: list[Node] = []
    for part in parts:
        flat += part if isinstance(part, _InOrder) else (part,)
    return flat[0] if len(flat) == 1 else _InOrder(flat)


def nullable(node: Node) -> bool:
    """Say whether ``node`` accepts no words at all."""
    match node:
        case _InOrder():
            return all(map(nullable, node))
        case _OneOf():
            return any(map(nullable, node))
        case _AnyOrder():
            return not any(item.required for item in node)
    return False


def moves(node: Node, needed: bool = False) -> Iterator[tuple[Expectation, Node]]:
    """Yield what may (with ``needed``: must) come next in ``node``, each with its derivative."""
    match node:
        case Expectation():
            yield node, _NOTHING
        case _InOrder():
            for index, part in enumerate(node):
                for expectation, rest in moves(part, needed):
                    yield expectation, _in_order((rest, *node[index + 1 :]))
                if not nullable(part):
                    break
        case _OneOf():
            for branch in node:
                yield from moves(branch, needed)
        case _AnyOrder():
            for index, item in enumerate(node):
                if needed and not item.required:
                    continue
                again = (item._replace(required=False),) if item.many else ()
                others = (*node[:index], *again, *node[index + 1 :])
                after = (_AnyOrder(others),) if others else ()
                for expectation, rest in moves(item.body, needed):
                    yield expectation, _in_order((rest, *after))


def _is_option(node: Node) -> bool:
    return all(first.name.startswith("-") for first, _ in moves(node))


def _any_order(options: Iterable[Node]) -> _AnyOrder:
    items: list[_Item] = []
    for option in options:
        if isinstance(option, _AnyOrder):
            items += option
        else:
            items.append(_Item(option, required=not nullable(option), many=False))
    return _AnyOrder(items)


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
    """Return the command and subcommand of a SYNOPSIS line; ``variables`` are no literals."""
    return _head(_TOKEN.findall(line), variables)


class Synopsis:
    """One SYNOPSIS line: its text, its head (command and subcommand) and its tree.

    Raises ValueError for an invalid line.
    """

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

    def _sequence(self) -> Node:
        parts: list[Node] = []
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
        merged: list[Node] = []
        for are_options, run in groupby(parts, _is_option):
            nodes = tuple(run)
            merged += (_any_order(nodes),) if are_options else nodes
        return _in_order(merged)

    def _word(self, token: str) -> Node:
        if token not in self._variables:
            return Expectation(token, Kind.OPTION)
        variable = Expectation(token, Kind.VARIABLE)
        repeats = token.endswith("_list") or token == REST_OF_LINE
        return _AnyOrder((_Item(variable, required=True, many=True),)) if repeats else variable

    def _group(self, opening: str) -> Node:
        branches = [self._sequence()]
        while self._tokens and self._tokens[0] == "|":
            self._tokens.popleft()
            branches.append(self._sequence())
        closing = self._tokens.popleft() if self._tokens else "end of line"
        if closing not in _CLOSING[opening]:
            raise self._error(f'"{opening}" is not closed by "{closing}"')
        body = branches[0] if len(branches) == 1 else _OneOf(branches)
        if opening == "{":
            return body
        required = closing == ")+" and not nullable(body)
        return _AnyOrder((_Item(body, required, many=opening == "("),))


def read_synopsis(synopsis: Iterable[str], variables: Collection[str]) -> list[Synopsis]:
    """Return the lines of ``synopsis``.

    Raises ValueError if one is invalid, if there is none, or if a variable is in none of them.
    """
    lines = [Synopsis(text, variables) for text in synopsis]
    missing = set(variables).difference(*(line.words for line in lines))
    if missing or not lines:
        raise ValueError(f"missing in the synopsis: {', '.join(sorted(missing)) or 'all'}")
    return lines
