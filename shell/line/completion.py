"""Completion: the words that the grammar allows next, with the filer's current values."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from filer.commands import (
    Command,
    FromCommands,
    Help,
    HostFiles,
    SessionState,
    Subcommand,
    Suggestion,
)
from filer.host.text import printable
from filer.shell.line.grammar import Grammar
from filer.shell.line.names import is_listed
from filer.shell.line.paths import Paths, no_paths
from filer.shell.line.synopsis import Expectation, Kind
from filer.shell.line.words import LanguageError, cursor_words, quote
from filer.system import Filer

_MOST = 100
"""Values in one menu; more of them are completed up to the next dot, as in disk names."""


class Context(Protocol):
    """The part of a session that completion reads."""

    filer: Filer
    state: SessionState

    @property
    def commands(self) -> Mapping[str, Command]: ...

    def grammar(self, name: str) -> Grammar: ...


class Completion(NamedTuple):
    """A word that fits: ``text`` replaces the line from offset ``start`` on.

    If ``whole`` is false, it is the common beginning of several words.
    """

    text: str
    start: int
    help: str
    whole: bool = True


def completions(
    context: Context, before_cursor: str, paths: Paths = no_paths
) -> Iterator[Completion]:
    """Yield the words that fit at the cursor and begin with what is typed there."""
    cursor = cursor_words(before_cursor)
    if cursor is None:
        return
    found: dict[str, _Candidate] = {}
    for candidate in _candidates(context, cursor.words, cursor.prefix, paths):
        if candidate.word.startswith(cursor.prefix):
            found.setdefault(candidate.word, candidate)
    for word, help_text, is_value, is_whole in found.values():
        try:
            text = quote(word) if is_value else word
        except LanguageError:  # a value that cannot be typed
            continue
        yield Completion(text, cursor.start, printable(_in_words(help_text)), is_whole)


class _Candidate(NamedTuple):
    word: str
    help: Help
    is_value: bool = True
    whole: bool = True


def _candidates(
    context: Context, words: Sequence[str], prefix: str, paths: Paths
) -> Iterator[_Candidate]:
    if not words:
        for command in _listed(context):
            yield _Candidate(command.name, command.summary, is_value=False)
        return
    typed = context.commands.get(words[0])
    if typed is None:
        return
    grammar = context.grammar(typed.name)
    for expectation in grammar.expected(words):
        if expectation.kind is Kind.VARIABLE:
            name = expectation.name
            rows = _rows(typed, grammar, words)
            values = next(each.values[name] for each in rows if name in each.values)
            if isinstance(values, HostFiles):
                yield from _files(values, prefix, paths)
            elif isinstance(values, FromCommands):
                yield from _values(partial(values.suggest, _listed(context)), prefix)
            else:
                yield from _values(partial(values, context.filer), prefix)
        elif expectation.kind is not Kind.END:
            help_text = _help(typed, grammar, words, expectation)
            yield _Candidate(expectation.name, help_text, is_value=False)


def _rows(command: Command, grammar: Grammar, words: Sequence[str]) -> list[Subcommand]:
    """Return the subcommands that ``words`` may begin."""
    lines = grammar.lines(words)
    return [each for each in command.subcommands if not lines.isdisjoint(each.usage)]


def _help(command: Command, grammar: Grammar, words: Sequence[str], literal: Expectation) -> str:
    """Return the help for ``literal``, or what may follow it if a plug-in has no help."""
    rows = _rows(command, grammar, [*words, literal.name])
    found = next((each.options[literal.name] for each in rows if literal.name in each.options), "")
    if not found and literal.kind is Kind.SUBCOMMAND:
        group = " ".join((*words[1:], literal.name))
        found = rows[0].help if len(rows) == 1 else command.groups.get(group, "")
    return found or _what_follows(grammar, words, literal)


def _in_words(help_text: Help) -> str:
    try:
        return help_text if isinstance(help_text, str) else help_text()
    except Exception:  # a plug-in fails, or a disk is unreadable
        return ""


def _listed(context: Context) -> list[Command]:
    return [each for each in context.commands.values() if is_listed(each, context.state)]


def _what_follows(grammar: Grammar, words: Sequence[str], literal: Expectation) -> str:
    """Return what the grammar expects after ``literal`` and not before it."""
    before = {each.name for each in grammar.expected(words)}
    following = [
        each.name
        for each in grammar.expected([*words, literal.name])
        if each.kind is not Kind.END and each.name not in before
    ]
    return " | ".join(dict.fromkeys(following))


def _files(files: HostFiles, prefix: str, paths: Paths) -> Iterator[_Candidate]:
    for path in paths(prefix, files.wanted):
        if path.endswith("/"):
            yield _Candidate(path, "directory", whole=False)
        else:
            yield _Candidate(path, files.help)


def _values(values: Callable[[], Iterable[Suggestion]], prefix: str) -> Iterator[_Candidate]:
    try:
        found = {word: help_text for word, help_text in values() if word.startswith(prefix)}
    except Exception:  # a plug-in fails, or a disk or file is unreadable: offer nothing
        return
    if len(found) > _MOST:
        yield from _up_to_the_next_dot(found, len(prefix))
    else:
        yield from (_Candidate(*value) for value in found.items())


def _up_to_the_next_dot(found: Mapping[str, Help], typed: int) -> Iterator[_Candidate]:
    """Yield ``found``; one common beginning replaces words that agree up to the next dot."""
    alike: dict[str, list[str]] = defaultdict(list)
    for word in found:
        alike[word[: word.find(".", typed) + 1] or word].append(word)
    for beginning, words in alike.items():
        if len(words) > 1:
            yield _Candidate(beginning, f"{len(words)} to choose from", whole=False)
        else:
            yield _Candidate(words[0], found[words[0]])
