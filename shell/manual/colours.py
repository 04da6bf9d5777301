"""The tokens of a manual page, whose commands look as they do at the prompt."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache

from pygments.token import Error, Generic, Text, Whitespace, _TokenType

from filer.shell.line.highlighting import TOKENS, GrammarLexer
from filer.shell.line.synopsis import Kind
from filer.shell.manual.lines import Line
from filer.shell.manual.text import ManualText
from filer.shell.manual.typesetting import EXAMPLE, HEADING

_Token = tuple[_TokenType, str]
_CommandLine = Callable[[str], Sequence[_Token] | None]
"""Returns the tokens of a text if it is a command or the beginning of one, else None."""

_BEFORE_COMMAND = re.compile(r" *(?:[^ ]+> )?")
_WORDS = re.compile(" +|[^ ]+")
_FONTS = {HEADING: Generic.Heading, "italic": TOKENS[Kind.VARIABLE]}


def tokens_of(page: ManualText) -> Iterator[_Token]:
    """Yield the tokens of ``page`` with their texts; line ends are Whitespace."""
    lexer = GrammarLexer(page.commands)

    @cache  # pages repeat themselves
    def command(text: str) -> Sequence[_Token] | None:
        if text.partition(" ")[0] not in page.commands:
            return None
        found = [(token, words) for _, token, words in lexer.get_tokens_unprocessed(text)]
        return None if any(token is Error for token, _ in found) else found

    for line in page.lines:
        yield from _of_line(command, line)
        yield Whitespace, "\n"


def _of_line(command: _CommandLine, line: Line) -> Iterator[_Token]:
    fonts = [font for font, _ in line]
    if EXAMPLE in fonts and "bold" not in fonts:
        yield from _example(command, "".join(text for _, text in line))
        return
    for font, text in line:
        if font == "bold":
            yield from command(text) or _bold(text)
        else:
            yield _FONTS.get(font, Text), text


def _example(command: _CommandLine, text: str) -> Iterator[_Token]:
    """Yield the tokens of a command, with or without a prompt, or of its output."""
    before = _BEFORE_COMMAND.match(text)
    start = before.end() if before else 0
    yield Text, text[:start]
    yield from command(text[start:]) or [(Text, text[start:])]


def _bold(text: str) -> Iterator[_Token]:
    if "-" not in text:
        yield Generic.Strong, text
        return
    for word in _WORDS.findall(text):
        yield TOKENS[Kind.OPTION] if word.startswith("-") else Generic.Strong, word
