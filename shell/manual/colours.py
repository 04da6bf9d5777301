"""The colours of a manual page, whose commands look as they do at the prompt."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Self

from filer.commands import Command
from filer.shell.line.grammar import Grammar, grammar_of
from filer.shell.line.highlighting import WRONG, Span, spans
from filer.shell.line.synopsis import Kind
from filer.shell.manual.lines import Fragment, Line, text_of
from filer.shell.manual.typesetting import EXAMPLE, render_fragments

_BEFORE_COMMAND = re.compile(r" *(?:[^ ]+> )?")
_WORDS = re.compile(" +|[^ ]+")
_FONTS = {"italic": Kind.VARIABLE.value, EXAMPLE: ""}


class ManualText(str):
    """A manual page as plain text, with its styles."""

    __slots__ = ("_commands", "_lines")
    _lines: Sequence[Line]
    _commands: Mapping[str, Command]

    def __new__(cls, source: str, width: int, commands: Mapping[str, Command]) -> Self:
        """Format the man(7) ``source``, ``width`` columns wide.  Raises ManualPageError."""
        lines = render_fragments(source, width)
        page = super().__new__(cls, text_of(lines))
        page._lines, page._commands = lines, commands
        return page

    def fragments(self) -> Iterator[Fragment]:
        """Yield the text with its styles: `HEADING`, ``"bold"``, a `Kind` of word, or ``""``."""
        grammars = _Grammars(self._commands)
        for line in self._lines:
            yield from _styled(grammars, line)
            yield "", "\n"


class _Grammars:
    def __init__(self, commands: Mapping[str, Command]) -> None:
        self.commands = commands
        self._known: dict[str, Sequence[Span] | None] = {}

    def grammar(self, name: str) -> Grammar:
        return grammar_of(self.commands[name])

    def spans(self, text: str) -> Sequence[Span] | None:
        """Return the roles of the words of ``text`` if it is a command or the beginning of one."""
        if text not in self._known:  # pages repeat themselves
            self._known[text] = self._spans(text)
        return self._known[text]

    def _spans(self, text: str) -> Sequence[Span] | None:
        if text.partition(" ")[0] not in self.commands:
            return None
        found = list(spans(self, text))
        return None if any(span.kind == WRONG for span in found) else found


def _styled(grammars: _Grammars, line: Line) -> Iterator[Fragment]:
    fonts = {font for font, _ in line}
    if EXAMPLE in fonts and "bold" not in fonts:
        yield from _example(grammars, "".join(text for _, text in line))
        return
    for font, text in line:
        if font == "bold":
            yield from _bold(grammars, text)
        else:
            yield _FONTS.get(font, font), text


def _example(grammars: _Grammars, text: str) -> Iterator[Fragment]:
    """Style a line of an example: a command, with or without a prompt, or its output."""
    before = _BEFORE_COMMAND.match(text)
    start = before.end() if before else 0
    yield "", text[:start]
    yield from _spanned(text[start:], grammars.spans(text[start:]) or ())


def _bold(grammars: _Grammars, text: str) -> Iterator[Fragment]:
    command = grammars.spans(text)
    if command is not None:
        yield from _spanned(text, command)
        return
    for word in _WORDS.findall(text):
        yield Kind.OPTION.value if word.startswith("-") else "bold", word


def _spanned(text: str, found: Iterable[Span]) -> Iterator[Fragment]:
    end = 0
    for span in found:
        yield "", text[end : span.start]
        yield span.kind, text[span.start : span.end]
        end = span.end
    yield "", text[end:]
