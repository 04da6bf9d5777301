"""Completion: what the grammar allows next, with the live values of the filer."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from commands import Command
from filer.text import printable
from shell.grammar import Kind
from shell.language import LanguageError, cursor_words, quote
from shell.session import Session


@dataclass(frozen=True)
class Completion:
    """A word that fits: ``text`` takes the place of what begins at offset ``start``."""

    text: str
    start: int
    help: str


def completions(session: Session, before_cursor: str) -> Iterator[Completion]:
    """Yield the words that may stand under the cursor and begin with what is typed of them."""
    cursor = cursor_words(before_cursor)
    if cursor is None:
        return
    seen: set[str] = set()
    for word, text, help_text in _candidates(session, cursor.words):
        if word.startswith(cursor.prefix) and word not in seen:
            seen.add(word)
            yield Completion(text, cursor.start, printable(help_text))


def _candidates(session: Session, words: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield words, each as it is, as it is written on the line, and with a word of help."""
    if not words:
        yield from ((each.name, each.name, each.summary) for each in session.commands.values())
        return
    command = session.commands.get(words[0])
    if command is None:
        return
    grammar = session.grammar(command.name)
    kinds = grammar.check(words).kinds
    subcommand = tuple(
        str(word) for word, kind in zip(words, kinds, strict=False) if kind is Kind.SUBCOMMAND
    )
    for expectation in grammar.expected(words):
        if expectation.kind is Kind.VARIABLE:
            yield from _values(session, command, expectation.name, subcommand)
        elif expectation.kind is not Kind.END:
            yield expectation.name, expectation.name, ""


def _values(
    session: Session, command: Command, variable: str, subcommand: tuple[str, ...]
) -> Iterator[tuple[str, str, str]]:
    try:
        live = list(command.variables[variable](session.filer, subcommand))
    except Exception:  # of a plug-in, or of a disk or file that cannot be read: nothing to offer
        return
    for value, help_text in live:
        with suppress(LanguageError):  # a value that cannot be typed
            yield value, quote(value), help_text
