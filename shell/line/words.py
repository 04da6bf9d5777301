"""Split a line into commands, and a command into words.

Quotes, backslash and ``#`` work as in ``sh``, but nothing is expanded, and a quote must end on its
line.  ``shlex`` gives no positions, does not distinguish ``;`` from ``";"``, and takes the ``#`` of
``a#b`` for a comment.
"""

import re
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from filer.host.errors import FilerError
from filer.host.quoting import may_contain_secret
from filer.shell.line.length import LONGEST

_GAP = re.compile(r"(?:[ \t\r]|\\\n)*(?P<comment>#[^\n]*)?")
_PIECE = re.compile(
    r"""
      (?P<plain>   [^ \t\r\n;'"\\]+ )
    | \\ (?P<joined> \n )
    | \\ (?P<escaped> .? )
    | ' (?P<single> [^'\n]* ) (?: ' | (?P<open_single>) )
    | " (?P<double> (?: [^"\\\n]+ | \\. )*+ \\? ) (?: " | (?P<open_double>) )
    """,
    re.VERBOSE,
)
_ESCAPED_IN_DOUBLE_QUOTES = re.compile(r'\\([$`"\\])')
_NEEDS_NO_QUOTES = re.compile(r"""[^-# \t\r;'"\\][^ \t\r;'"\\]*""")


class LanguageError(FilerError):
    """A line that cannot be split into words; ``position`` is the offset of the error."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


class Word(str):
    """The text of a word without its quotes.

    ``line[start:end]`` is the word as typed; ``quoted`` is true if any of it was in quotes or
    behind a backslash.  ``parts`` are its pieces, one for each line that a backslash joins.
    """

    __slots__ = ("end", "hidden", "parts", "quoted", "start")
    start: int
    end: int
    quoted: bool
    parts: tuple[str, ...]
    hidden: bool
    """Whether the word may be part of a passphrase of several words."""

    def __new__(
        cls, text: str, start: int, end: int, quoted: bool, parts: tuple[str, ...] = ()
    ) -> Self:
        """Make the word at ``line[start:end]``."""
        word = super().__new__(cls, text)
        word.start, word.end, word.quoted, word.parts = start, end, quoted, parts or (text,)
        word.hidden = False
        return word

    @property
    def may_be_secret(self) -> bool:
        """Whether the word, or a piece of it on one line, may be a secret or part of one."""
        pieces = (self, *self.parts, *(f"{part}\\" for part in self.parts[:-1]))
        return self.hidden or any(map(may_contain_secret, pieces))


class Cursor(NamedTuple):
    """The position of the cursor: the words before, and the beginning of the word there."""

    words: list[Word]
    prefix: str
    start: int


@dataclass(eq=False, repr=False)
class _Reading:
    """The words of each command so far, and how the text ends."""

    commands: list[list[Word]] = field(default_factory=lambda: [[]])
    open_quote: int | None = None
    continued: bool = False
    in_comment: bool = False


def _read(text: str) -> _Reading:
    reading = _Reading()
    position = 0
    while True:
        gap = _GAP.match(text, position)
        assert gap is not None  # it matches the empty text
        position = gap.end()
        if position == len(text):
            reading.in_comment = gap["comment"] is not None
            return reading
        if text[position] in ";\n":
            reading.commands.append([])
            position += 1
        else:
            word = _read_word(text, position, reading)
            reading.commands[-1].append(word)
            position = word.end


def _read_word(text: str, start: int, reading: _Reading) -> Word:
    pieces: list[str] = []
    parts: list[str] = []
    done = 0  # pieces that are in parts
    quoted = False
    end = start
    while piece := _PIECE.match(text, end):
        kind = piece.lastgroup or ""
        if kind.startswith("open_"):
            kind = kind.removeprefix("open_")
            if reading.open_quote is None:
                reading.open_quote = end
        value = piece[kind]
        if kind == "double":
            value = _ESCAPED_IN_DOUBLE_QUOTES.sub(r"\1", value)
        elif kind == "escaped" and not value:
            value = "\\"
            reading.continued = True
        if kind == "joined":
            parts.append("".join(pieces[done:]))
            done = len(pieces)
        else:
            pieces.append(value)
            quoted = quoted or kind != "plain"
        end = piece.end()
    return Word("".join(pieces), start, end, quoted, (*parts, "".join(pieces[done:])))


def split(line: str) -> list[list[Word]]:
    """Split ``line`` into its commands, each a list of at least one word.

    Raises LanguageError for an unclosed quote.
    """
    reading = _read(line)
    if reading.open_quote is not None:
        raise LanguageError("unclosed quote", reading.open_quote)
    return [command for command in reading.commands if command]


def continues(line: str) -> bool:
    r"""Say whether ``line`` (without its line end) ends in a backslash that continues it.

    The logical line is then ``line + "\n" + next_line``; `split` drops the backslash and the line
    end, so that a word may continue across them.
    """
    if not line.endswith("\\"):
        return False
    reading = _read(line)
    return reading.continued and reading.open_quote is None


class LogicalLine:
    """Lines joined by backslashes.  Adding a line takes time for that line only.

    Once they are longer than LONGEST together, further lines are dropped.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._length = -1
        self._within_word = False

    def add(self, line: str) -> bool:
        """Add a line without its line end; return whether a backslash at its end continues it.

        Do not add a line after one that is not continued.
        """
        if not self.is_too_long:
            self._lines.append(line)
            self._length += 1 + len(line)
        if self.is_too_long:  # none of it will run, so its quotes do not matter
            return line.endswith("\\")
        text = f"x{line}" if self._within_word else line
        if not continues(text):
            return False
        last = typed_words(text)[-1][-1]
        self._within_word = last.start < len(text) - 1
        return True

    @property
    def is_too_long(self) -> bool:
        """Whether the lines are longer than LONGEST together."""
        return self._length > LONGEST

    def end(self) -> None:
        """Remove the backslash at the end, because the input ends here."""
        self._lines[-1] = self._lines[-1].removesuffix("\\")

    def __str__(self) -> str:
        """Return the lines as `split` reads them; longer than LONGEST if they are too long."""
        return "\n".join(self._lines)


def typed_words(text: str) -> list[list[Word]]:
    """Return the commands of ``text``, which is still being typed: a quote may be open."""
    return _read(text).commands


def cursor_words(text: str) -> Cursor | None:
    """Return the words of the command at the cursor, or None in a comment.

    ``text`` is the line up to the cursor.  ``prefix`` is the text of the last word, without quotes
    even if one is open; a completion replaces ``text[start:]``.
    """
    reading = _read(text)
    if reading.in_comment:
        return None
    words = reading.commands[-1]
    if words and words[-1].end == len(text):
        return Cursor(words[:-1], str(words[-1]), words[-1].start)
    return Cursor(words, "", len(text))


def quote(text: str) -> str:
    """Return ``text`` as one word for `split`, in quotes only if it needs them.

    A leading dash needs them, so that the grammar takes the word for a value, not an option.
    Raises LanguageError for a line end, which no word can contain.
    """
    if "\n" in text:
        raise LanguageError("a word cannot contain a line end", text.index("\n"))
    if _NEEDS_NO_QUOTES.fullmatch(text):
        return text
    return "'" + text.replace("'", r"'\''") + "'"
