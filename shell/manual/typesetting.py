"""Setting the man(7) source of a manual page as text of a given width.

Of man(7) only the macros and escapes that the pages need are known, and anything else is an error
that names its line: a page is never shown with a part silently left out.  The plain text is equal
to what ``mandoc -Tascii`` prints, line breaks, header and footer included.

Reading and setting are one pass: each macro moves the margins of a ``_Typesetter`` or adds words
to its current paragraph, and a paragraph becomes lines when something ends it.
"""

import re
from collections.abc import Callable, Iterable, Iterator

from filer.host.errors import FilerError
from filer.host.text import printable

Fragment = tuple[str, str]
"""A style and the text set in it.

The style is that of a font, ``"bold"`` or ``"italic"``, `HEADING`, `EXAMPLE` for what is shown
line by line in no font, or none, ``""``.
"""

Line = list[Fragment]

HEADING = "heading"
EXAMPLE = "example"

_INDENT = 7
_SUBHEADING_INDENT = 3
UNLIMITED = 100_000
"""A width at which no line is broken."""

# Two characters that source text cannot hold stand for what plain "-" and " " are not.
_BREAKABLE_HYPHEN = "\u2010"
_FIXED_BLANK = "\u00a0"

_CHARACTERS = {
    r"\-": "-",
    r"\&": "",
    r"\ ": _FIXED_BLANK,
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
# An escape takes the hyphens after it along: only one between two letters may end a line.
_HYPHEN = re.compile(r"\\(?:\(..|f.|.)?-*|(?<=[A-Za-z])-(?=[A-Za-z])")
_ARGUMENT = re.compile(r'"((?:[^"]|"")*)"?|((?:\\.|[^ ])+)')
_BLANKS = re.compile(" *")
_COLUMNS = re.compile(r"([0-9]{1,2})n?")


class ManualPageError(FilerError):
    """A manual page holds something that this reader does not know; the line is named."""


def render(source: str, width: int) -> str:
    """Set a page ``width`` columns wide as plain text.  Raises ManualPageError."""
    lines = render_fragments(source, width)
    return "".join("".join(text for _, text in line) + "\n" for line in lines)


def render_fragments(source: str, width: int) -> list[Line]:
    """Set a page ``width`` columns wide; a blank line has no fragments.  Raises ManualPageError.

    No text is cut: what cannot be broken (a long word, an example) may be wider than ``width``.
    """
    typesetter = _Typesetter(width)
    for number, line in enumerate(source.splitlines(), 1):
        try:
            typesetter.read(line)
        except ManualPageError as error:
            raise ManualPageError(f"manual page, line {number}: {error}") from None
    return typesetter.finish()


class _Paragraph:
    """Text waiting to be set."""

    def __init__(self) -> None:
        self._text: Line = []
        self._blanks = 0

    def add(self, fragments: Iterable[Fragment], ends_sentence: bool) -> None:
        """Add a line of source; after one that ends a sentence two blanks follow."""
        for style, words in fragments:
            if not words:
                continue
            between = style if self._text and self._text[-1][0] == style else ""
            _append(self._text, between, " " * self._blanks)
            _append(self._text, style, words)
            self._blanks = 0
        self._blanks += 2 if ends_sentence else 1

    def take(self) -> Line:
        """Return the text that was added, unless it is blank, and begin anew."""
        text, self._text, self._blanks = self._text, [], 0
        return text if any(words.strip(" ") for _, words in text) else []


class _Typesetter:
    """A page being set: its margins, its current paragraph, its lines so far."""

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
        self._tag: Line = []  # A short tag, set already, whose paragraph goes on beside it.
        self._tag_expected = False
        self._after_heading = False

    def read(self, line: str) -> None:
        """Take one line of source."""
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
            text = _HYPHEN.sub(lambda match: _hyphen(match[0]), line)
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
        *lines, last = _set(self._paragraph.take(), self._margin, self._width)
        self._lines += lines
        if _length(last) + 1 > self._margin + self._tag_width:
            self._lines.append(last)
        else:
            self._tag = last

    def _break(self) -> None:
        text = self._paragraph.take()
        if text or self._tag:
            width = self._width if self._filling else UNLIMITED
            self._lines += _set(text, self._indent, width, self._tag)
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
        self._lines += _set(self._paragraph.take(), indent, self._width, hanging=_INDENT)
        self._after_heading = True

    # The macros.

    def th(self, *parts: str) -> None:
        if self._header:
            raise ManualPageError(".TH again")
        texts = ("".join(text for _, text in _unescaped([("", part)])) for part in parts)
        self._header = tuple(map(_shown, texts))

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

    def br(self) -> None:
        self._break()


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
    ".br": (0, 0, _Typesetter.br),
}


def _arguments(text: str) -> list[str]:
    """Split the arguments of a macro: double quotes hold blanks, and two of them are one."""
    return [bare or quoted.replace('""', '"') for quoted, bare in _ARGUMENT.findall(text)]


def _styled(styles: tuple[str, ...], arguments: list[str]) -> Line:
    """Style the arguments of a font macro: one font sets words, two alternate without blanks."""
    if len(styles) == 1:
        return [(styles[0], " ".join(arguments))]
    return [(styles[number % 2], argument) for number, argument in enumerate(arguments)]


def _hyphen(match: str) -> str:
    return _BREAKABLE_HYPHEN if match == "-" else match


def _ends_sentence(line: str) -> bool:
    r"""Say whether a line of source ends a sentence; ``e.g.\&`` does not, ``(So.)`` does."""
    core = line.rstrip("\"')]")
    if not core.endswith((".", "!", "?")):
        return False
    return core == line or core.rstrip(".!?\"')]")[-1:].isalnum()


def _unescaped(styled: Iterable[Fragment], plain: str = "") -> Line:
    """Replace the escapes in fragments by what they stand for, and by changes of the style.

    ``plain`` is the style of what is in no font.
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


def _length(line: Line) -> int:
    return sum(len(text) for _, text in line)


def _append(line: Line, style: str, text: str) -> None:
    """Add to a line, to its last fragment if that has the same style."""
    if line and line[-1][0] == style:
        line[-1] = (style, line[-1][1] + text)
    elif text:
        line.append((style, text))


def _shown(text: str) -> str:
    """Put plain characters in place of the internal ones."""
    return text.replace(_BREAKABLE_HYPHEN, "-").replace(_FIXED_BLANK, " ")


def _set(
    text: Line,
    indent: int,
    width: int,
    start: Iterable[Fragment] = (),
    hanging: int | None = None,
) -> list[Line]:
    """Set text in lines that begin at column ``indent``, the first after ``start``.

    ``hanging`` is where all lines but the first begin.
    """
    line = list(start)
    if not text:
        return [line]
    margin = indent if hanging is None else hanging
    words = "".join(part for _, part in text).rstrip(" ")
    lines = []
    for part in _sliced(text, _broken(words, width - indent, width - margin)):
        _append(line, "", " " * (indent - _length(line)))
        for fragment in part:
            _append(line, *fragment)
        lines.append(line)
        line, indent = [], margin
    return lines


def _broken(text: str, first_room: int, room: int) -> Iterator[tuple[int, int]]:
    """Yield where each line of ``text`` begins and ends, so that it has room.

    Where a line is broken, the blanks are gone.  A word goes beyond the room only where it has a
    line to itself, and is broken at its first hyphen even there.
    """
    begin, room_here = 0, max(first_room, 0)
    word = _end_of_blanks(text, 0)
    while len(text) - begin > room_here:
        blank = text.rfind(" ", word, begin + room_here + 1)
        hyphen = text.rfind(_BREAKABLE_HYPHEN, word, begin + room_here)
        end = max(blank, hyphen + 1)
        if end <= word:
            blank = text.find(" ", word)
            word_end = len(text) if blank < 0 else blank
            end = text.find(_BREAKABLE_HYPHEN, word, word_end) + 1 or word_end
        yield begin, begin + len(text[begin:end].rstrip(" "))
        begin = word = _end_of_blanks(text, end)
        room_here = max(room, 0)
    if begin < len(text):
        yield begin, len(text)


def _end_of_blanks(text: str, start: int) -> int:
    blanks = _BLANKS.match(text, start)
    assert blanks is not None  # it matches the empty text
    return blanks.end()


def _sliced(text: Line, slices: Iterable[tuple[int, int]]) -> Iterator[Line]:
    """Yield what is between each two offsets, which only go up."""
    fragments = iter(text)
    start, style, words = 0, "", ""
    for begin, end in slices:
        line: Line = []
        position = begin
        while position < end:
            if position < start + len(words):
                line.append((style, _shown(words[position - start : end - start])))
                position = min(end, start + len(words))
            else:
                start += len(words)
                style, words = next(fragments)
        yield line
