"""Format the man(7) source of a manual page as text of a given width.

Only the macros and escapes that our pages need are known.  Any other is an error that names its
line, so that no part of a page is silently left out.  The plain text equals the output of
``mandoc -Tascii``, including line breaks, header and footer.

One pass reads and formats: each macro moves the margins of a `_Typesetter` or adds words to its
current paragraph, and a paragraph becomes lines when it ends.
"""

import re
from collections.abc import Callable, Iterable

from filer.host.errors import FilerError
from filer.host.text import printable
from filer.shell.manual.lines import (
    BREAKABLE_HYPHEN,
    FIXED_BLANK,
    UNLIMITED,
    Fragment,
    Line,
    add_text,
    columns_of,
    fill,
    plain_text,
    text_of,
)

HEADING = "heading"
EXAMPLE = "example"

_INDENT = 7
_SUBHEADING_INDENT = 3
_CHARACTERS = {
    r"\-": "-",
    r"\&": "",
    r"\ ": FIXED_BLANK,
    r"\e": "\\",
    r"\(aq": "'",
    r"\(dq": '"',
    r"\(bu": "o",
    r"\(ti": "~",
    r"\(ha": "^",
    r"\(ga": "`",
}
_FONTS = {r"\fR": "", r"\fB": "bold", r"\fI": "italic"}
_PREVIOUS_FONT = r"\fP"
_ESCAPE = re.compile(r"(\\(?:\(..|f.|.)?)")
# Only a hyphen between two letters may end a line; an escape includes the hyphens after it.
_HYPHEN = re.compile(r"\\(?:\(..|f.|.)?-*|(?<=[A-Za-z])-(?=[A-Za-z])")
_ARGUMENT = re.compile(r'"((?:[^"]|"")*)"?|((?:\\.|[^ ])+)')
_COLUMNS = re.compile(r"([0-9]{1,2})n?")


class ManualPageError(FilerError):
    """A manual page with an unknown or invalid construct; the message names the line."""


def render(source: str, width: int) -> str:
    """Return a page as plain text, ``width`` columns wide.  Raises ManualPageError."""
    return text_of(render_fragments(source, width))


def render_fragments(source: str, width: int) -> list[Line]:
    """Return a page, ``width`` columns wide; a blank line has no fragments.

    A long word or an example may be wider than ``width``.  Raises ManualPageError.
    """
    typesetter = _Typesetter(width)
    for number, line in enumerate(source.splitlines(), 1):
        try:
            typesetter.read(line)
        except ManualPageError as error:
            raise ManualPageError(f"manual page, line {number}: {error}") from None
    return typesetter.finish()


class _Paragraph:
    """The text of the current paragraph."""

    def __init__(self) -> None:
        self._text: Line = []
        self._blanks = 0

    def add(self, fragments: Iterable[Fragment], ends_sentence: bool) -> None:
        """Add a line of source; two blanks follow the end of a sentence."""
        for style, words in fragments:
            if not words:
                continue
            blanks, self._blanks = " " * self._blanks, 0
            if self._text and self._text[-1][0] == style:
                add_text(self._text, style, blanks + words)
            else:
                add_text(self._text, "", blanks)
                add_text(self._text, style, words)
        self._blanks += 2 if ends_sentence else 1

    def take(self) -> Line:
        """Return the text, or nothing if it is blank, and start a new paragraph."""
        text, self._text, self._blanks = self._text, [], 0
        return text if any(words.strip(" ") for _, words in text) else []


class _Typesetter:
    """The state of formatting a page: margins, current paragraph, lines so far."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._lines: list[Line] = []
        self._header: tuple[str, ...] = ()
        self._paragraph = _Paragraph()
        self._filling = True
        self._margin = _INDENT
        self._tag_width = _INDENT
        self._indent = _INDENT
        self._enclosing: list[tuple[int, int]] = []
        self._tag: Line = []  # a short tag; its paragraph begins beside it
        self._tag_expected = False
        self._after_heading = False

    def read(self, line: str) -> None:
        """Process a line of source."""
        if not (line.isascii() and line.isprintable()):
            raise ManualPageError(f'not printable ASCII: "{printable(line)}"')
        line = line.partition(r"\"")[0].rstrip()
        if line == ".":
            return
        if line.startswith((".", "'")):
            macro, _, arguments = line.partition(" ")
            self._read_macro(macro, _arguments(arguments))
        elif line:
            if line.startswith(" ") and not self._tag_expected:
                self._break()
            text = _HYPHEN.sub(lambda match: _hyphen(match[0]), line) if "-" in line else line
            self._add([("", text)], _ends_sentence(line))
        else:
            self._break()
            self._blank_line()

    def finish(self) -> list[Line]:
        """End the page and return its lines."""
        if not self._header:
            raise ManualPageError("manual page without .TH")
        if self._enclosing or self._tag_expected:
            raise ManualPageError(f"manual page ends after {'.RS' if self._enclosing else '.TP'}")
        self._break()
        title, section, date, source, manual = self._header
        name = f"{title}({section})"
        header = self._three_columns(name, manual, name)
        footer = self._three_columns(source, date, name)
        return [header, [], *self._lines, [], footer]

    def _three_columns(self, left: str, middle: str, right: str) -> Line:
        text = left
        for part, start in (
            (middle, (self._width - len(middle) + 1) // 2),
            (right, self._width - len(right)),
        ):
            blanks = max(start - len(text), 1)
            if len(text) + blanks + len(part) <= self._width:
                text += " " * blanks + part
        return [("", text)]

    def _read_macro(self, macro: str, arguments: list[str]) -> None:
        if "" in arguments:
            raise ManualPageError(f"{macro} with an empty argument")
        if arguments and arguments[-1].endswith(" "):
            raise ManualPageError(f"{macro} with a blank at the end")
        styles = _STYLES.get(macro)
        if styles is not None:
            if not arguments:
                raise ManualPageError(f"{macro} without text")
            self._add(_styled(styles, arguments), _ends_sentence(arguments[-1]))
            return
        if macro not in _MACROS:
            raise ManualPageError(f"unknown macro {macro}")
        if self._tag_expected:
            raise ManualPageError(f"{macro} where .TP wants its tag")
        least, most, act = _MACROS[macro]
        if not least <= len(arguments) <= most:
            raise ManualPageError(f"{macro} with {len(arguments)} arguments")
        act(self, *arguments)

    def _add(self, styled: Iterable[Fragment], ends_sentence: bool) -> None:
        if not self._header:
            raise ManualPageError("text before .TH")
        plain = "" if self._filling else EXAMPLE
        self._paragraph.add(_unescaped(styled, plain), ends_sentence)
        self._after_heading = False
        if self._tag_expected:
            self._set_tag()
        elif not self._filling:
            self._break()

    def _set_tag(self) -> None:
        self._tag_expected = False
        *lines, last = fill(self._paragraph.take(), self._margin, self._width)
        self._lines += lines
        if columns_of(last) + 1 > self._margin + self._tag_width:
            self._lines.append(last)
        else:
            self._tag = last

    def _break(self) -> None:
        text = self._paragraph.take()
        if text or self._tag:
            width = self._width if self._filling else UNLIMITED
            self._lines += fill(text, self._indent, width, self._tag)
            self._tag = []

    def _blank_line(self) -> None:
        self._lines.append([])
        self._after_heading = False

    def _begin_paragraph(self) -> None:
        if not self._filling:
            raise ManualPageError("paragraph between .nf and .fi")
        self._break()
        if not self._after_heading:
            self._blank_line()
        self._after_heading = False

    def _set_tag_width(self, columns: str | None) -> None:
        if columns is not None:
            match = _COLUMNS.fullmatch(columns)
            if match is None:
                raise ManualPageError(f'not a number of columns: "{columns}"')
            self._tag_width = int(match[1])
        self._indent = self._margin + self._tag_width

    def _heading(self, words: Iterable[str], indent: int) -> None:
        if self._enclosing:
            raise ManualPageError("heading between .RS and .RE")
        self._break()
        if self._lines and not (indent and self._after_heading):
            self._blank_line()
        self._filling = True
        self._margin = self._tag_width = self._indent = _INDENT
        self._add([(HEADING, " ".join(words))], ends_sentence=False)
        self._lines += fill(self._paragraph.take(), indent, self._width, hanging=_INDENT)
        self._after_heading = True

    # The macros.

    def th(self, *parts: str) -> None:
        if self._header:
            raise ManualPageError(".TH again")
        texts = ("".join(text for _, text in _unescaped([("", part)])) for part in parts)
        self._header = tuple(map(plain_text, texts))

    def sh(self, *words: str) -> None:
        self._heading(words, 0)

    def ss(self, *words: str) -> None:
        self._heading(words, _SUBHEADING_INDENT)

    def pp(self) -> None:
        self._begin_paragraph()
        self._tag_width = _INDENT
        self._indent = self._margin

    def tp(self, columns: str | None = None) -> None:
        self._begin_paragraph()
        self._set_tag_width(columns)
        self._tag_expected = True

    def ip(self, tag: str = "", columns: str | None = None) -> None:
        self._begin_paragraph()
        self._set_tag_width(columns)
        if tag:
            self._tag_expected = True
            self._add([("", tag)], ends_sentence=False)

    def rs(self, columns: str | None = None) -> None:
        self._break()
        self._enclosing.append((self._margin, self._tag_width))
        self._set_tag_width(columns)
        self._margin = self._indent
        self._tag_width = _INDENT
        self._after_heading = False

    def re(self) -> None:
        if not self._enclosing:
            raise ManualPageError(".RE without .RS")
        self._break()
        self._margin, self._tag_width = self._enclosing.pop()
        self._indent = self._margin

    def nf(self) -> None:
        self._break()
        self._filling = False

    def fi(self) -> None:
        self._break()
        self._filling = True


_STYLES = {
    ".B": ("bold",),
    ".I": ("italic",),
    ".BR": ("bold", ""),
    ".RB": ("", "bold"),
    ".IR": ("italic", ""),
    ".RI": ("", "italic"),
    ".BI": ("bold", "italic"),
    ".IB": ("italic", "bold"),
}

_MACROS: dict[str, tuple[int, float, Callable[..., None]]] = {
    ".TH": (5, 5, _Typesetter.th),
    ".SH": (1, float("inf"), _Typesetter.sh),
    ".SS": (1, float("inf"), _Typesetter.ss),
    ".PP": (0, 0, _Typesetter.pp),
    ".TP": (0, 1, _Typesetter.tp),
    ".IP": (0, 2, _Typesetter.ip),
    ".RS": (0, 1, _Typesetter.rs),
    ".RE": (0, 0, _Typesetter.re),
    ".nf": (0, 0, _Typesetter.nf),
    ".fi": (0, 0, _Typesetter.fi),
    ".EX": (0, 0, _Typesetter.nf),
    ".EE": (0, 0, _Typesetter.fi),
    ".br": (0, 0, _Typesetter._break),
}


def _arguments(text: str) -> list[str]:
    """Split the arguments of a macro: double quotes protect blanks, and two of them are one."""
    return [bare or quoted.replace('""', '"') for quoted, bare in _ARGUMENT.findall(text)]


def _styled(styles: tuple[str, ...], arguments: list[str]) -> Line:
    """Style the arguments of a font macro: one font joins words, two alternate without blanks."""
    if len(styles) == 1:
        return [(styles[0], " ".join(arguments))]
    return [(styles[number % 2], argument) for number, argument in enumerate(arguments)]


def _hyphen(match: str) -> str:
    return BREAKABLE_HYPHEN if match == "-" else match


def _ends_sentence(line: str) -> bool:
    r"""Say whether a line of source ends a sentence; ``e.g.\&`` does not, ``(So.)`` does."""
    core = line.rstrip("\"')]")
    if not core.endswith((".", "!", "?")):
        return False
    return core == line or core.rstrip(".!?\"')]")[-1:].isalnum()


def _unescaped(styled: Iterable[Fragment], plain: str = "") -> Line:
    """Replace escapes by their characters or by changes of the style.

    ``plain`` is the style of text in no font.
    """
    fragments: Line = []
    for outer, text in styled:
        if "\\" not in text:
            fragments.append((outer or plain, text))
            continue
        style, previous = outer, ""
        for piece in _ESCAPE.split(text):
            if not piece.startswith("\\"):
                fragments.append((style or plain, piece))
            elif piece == _PREVIOUS_FONT:
                style, previous = previous, style
            elif piece in _FONTS:
                style, previous = _FONTS[piece], style
            elif piece in _CHARACTERS:
                fragments.append((style or plain, _CHARACTERS[piece]))
            else:
                raise ManualPageError(f"unknown escape {piece}")
        if style not in (outer, ""):
            raise ManualPageError("a font is not ended on its line")
    return fragments
