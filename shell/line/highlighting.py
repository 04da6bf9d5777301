"""The role of each word of a line by the grammar, for its colours while it is typed."""

from collections.abc import Container, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from filer.shell.line.grammar import Grammar
from filer.shell.line.synopsis import Kind
from filer.shell.line.words import Word, continues, typed_words

WRONG = "wrong"
COMMENT = "comment"


class Span(NamedTuple):
    """``kind``, the role of ``text[start:end]``, is a `Kind`, `WRONG` or `COMMENT`."""

    start: int
    end: int
    kind: str


class Names(Iterable[str], Container[str], Protocol):
    """The names of commands."""


class Grammars(Protocol):
    """The grammars of commands."""

    @property
    def commands(self) -> Names: ...

    def grammar(self, name: str) -> Grammar: ...


def spans(session: Grammars, text: str) -> Iterator[Span]:
    """Yield the roles of the words of ``text``, from left to right.

    The last word may be incomplete: it is wrong only if no fitting word begins with it.  The words
    of a command after a wrong one are omitted, since their role is unknown.
    """
    if continues(text):
        text = text[:-1]
    end = 0
    for words in typed_words(text):
        if words:
            end = words[-1].end
            yield from _command(session, words, unfinished=end == len(text))
    rest = text[end:].lstrip(" \t;")
    if rest.startswith("#"):
        yield Span(len(text) - len(rest), len(text), COMMENT)


def _command(session: Grammars, words: Sequence[Word], *, unfinished: bool) -> Iterator[Span]:
    wrong, kinds = _check(session, words)
    for word, kind in zip(words, kinds, strict=False):
        yield Span(word.start, word.end, kind)
    if wrong is None:
        return
    word = words[wrong]
    if not (unfinished and word is words[-1] and _may_become(session, words)):
        yield Span(word.start, word.end, WRONG)


def _check(session: Grammars, words: Sequence[Word]) -> tuple[int | None, Sequence[Kind]]:
    if words[0] not in session.commands:
        return 0, ()
    return session.grammar(words[0]).check(words)


def _may_become(session: Grammars, words: Sequence[Word]) -> bool:
    *before, last = words
    if not before:
        return any(name.startswith(last) for name in session.commands)
    expected = session.grammar(before[0]).expected(before)
    return any(each.name.startswith(last) for each in expected if each.kind is not Kind.END)
