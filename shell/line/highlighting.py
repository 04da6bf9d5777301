"""The Pygments lexer of command lines: the grammar of a command gives each word its token."""

from collections.abc import Iterator, Mapping, Sequence

from pygments.lexer import Lexer
from pygments.token import Comment, Error, Keyword, Name, String, Text, _TokenType

from filer.commands import Command
from filer.shell.line.grammar import grammar_of
from filer.shell.line.synopsis import Kind
from filer.shell.line.words import Word, continues, typed_words

TOKENS: Mapping[Kind, _TokenType] = {
    Kind.COMMAND: Keyword,
    Kind.SUBCOMMAND: Name.Function,
    Kind.OPTION: Name.Attribute,
    Kind.VARIABLE: String,
}

_Span = tuple[int, int, _TokenType]
"""The start, the end and the token of a part of a line."""


class GrammarLexer(Lexer):
    """Lexes one logical line, which may still be typed.

    The last word may be incomplete: it is an Error only if no fitting word begins with it.  The
    words of a command after a wrong one are plain Text, since their role is unknown.
    """

    name = "Filer command line"

    def __init__(self, commands: Mapping[str, Command]) -> None:
        super().__init__()
        self._commands = commands

    def get_tokens_unprocessed(self, text: str) -> Iterator[tuple[int, _TokenType, str]]:
        """Yield the offset, the token and the text of each part of ``text``."""
        end = 0
        for start, following, token in self._spans(text):
            if end < start:
                yield end, Text, text[end:start]
            yield start, token, text[start:following]
            end = following
        if end < len(text):
            yield end, Text, text[end:]

    def _spans(self, text: str) -> Iterator[_Span]:
        end = 0
        length = len(text) - continues(text)
        for words in typed_words(text[:length]):
            if words:
                end = words[-1].end
                yield from self._command(words, unfinished=end == length)
        rest = text[end:length].lstrip(" \t;")
        if rest.startswith("#"):
            yield length - len(rest), length, Comment

    def _command(self, words: Sequence[Word], *, unfinished: bool) -> Iterator[_Span]:
        wrong, kinds = self._check(words)
        for word, kind in zip(words, kinds, strict=False):
            yield word.start, word.end, TOKENS[kind]
        if wrong is None:
            return
        word = words[wrong]
        if not (unfinished and word is words[-1] and self._may_become(words)):
            yield word.start, word.end, Error

    def _check(self, words: Sequence[Word]) -> tuple[int | None, Sequence[Kind]]:
        if words[0] not in self._commands:
            return 0, ()
        return grammar_of(self._commands[words[0]]).check(words)

    def _may_become(self, words: Sequence[Word]) -> bool:
        *before, last = words
        if not before:
            return any(name.startswith(last) for name in self._commands)
        expected = grammar_of(self._commands[before[0]]).expected(before)
        return any(each.name.startswith(last) for each in expected if each.kind is not Kind.END)
