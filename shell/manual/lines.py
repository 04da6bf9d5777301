"""Lines of styled text: fill them with words, up to a width."""

from collections.abc import Iterable, Iterator

Fragment = tuple[str, str]
"""A style and its text.

The style is a font, ``"bold"`` or ``"italic"``, or ``"heading"``, or ``"example"`` for preformatted
text in no font, or ``""``.
"""

Line = list[Fragment]

UNLIMITED = 100_000
"""A width that breaks no line."""

# Characters that do not occur in the source, since plain "-" never breaks and " " always may.
BREAKABLE_HYPHEN = "\u2010"
FIXED_BLANK = "\u00a0"


def text_of(lines: Iterable[Line]) -> str:
    """Return the text of ``lines``, each with a line end."""
    return "".join("".join(text for _, text in line) + "\n" for line in lines)


def columns_of(line: Line) -> int:
    """Return the width of ``line``."""
    return sum(len(text) for _, text in line)


def add_text(line: Line, style: str, text: str) -> None:
    """Add text to ``line``, to its last fragment if that has the same style."""
    if line and line[-1][0] == style:
        line[-1] = (style, line[-1][1] + text)
    elif text:
        line.append((style, text))


def plain_text(text: str) -> str:
    """Replace the internal characters by plain ones."""
    if text.isascii():
        return text
    return text.replace(BREAKABLE_HYPHEN, "-").replace(FIXED_BLANK, " ")


def fill(
    text: Line, indent: int, width: int, start: Iterable[Fragment] = (), hanging: int | None = None
) -> list[Line]:
    """Fill lines that begin at column ``indent``, the first after ``start``, with ``text``.

    With ``hanging``, the lines after the first begin at that column.
    """
    line = list(start)
    if not text:
        return [line]
    margin = indent if hanging is None else hanging
    words = "".join(part for _, part in text).rstrip(" ")
    lines = []
    add_text(line, "", " " * (indent - columns_of(line)))
    for first, *others in _sliced(text, _broken(words, width - indent, width - margin)):
        add_text(line, *first)
        line += others  # the styles of neighbours differ
        lines.append(line)
        line = [("", " " * margin)] if margin else []
    return lines


def _broken(text: str, first_room: int, room: int) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each line, without the blanks at its end.

    Only a single word, or its part up to the first hyphen, may be longer than the room of its line.
    """
    begin, room_here = 0, max(first_room, 0)
    word = _end_of_blanks(text, 0)
    while len(text) - begin > room_here:
        blank = text.rfind(" ", word, begin + room_here + 1)
        hyphen = text.rfind(BREAKABLE_HYPHEN, word, begin + room_here)
        end = max(blank, hyphen + 1)
        if end <= word:
            blank = text.find(" ", word)
            word_end = len(text) if blank < 0 else blank
            end = text.find(BREAKABLE_HYPHEN, word, word_end) + 1 or word_end
        yield begin, begin + len(text[begin:end].rstrip(" "))
        begin = word = _end_of_blanks(text, end)
        room_here = max(room, 0)
    if begin < len(text):
        yield begin, len(text)


def _end_of_blanks(text: str, start: int) -> int:
    while text.startswith(" ", start):
        start += 1
    return start


def _sliced(text: Line, slices: Iterable[tuple[int, int]]) -> Iterator[Line]:
    """Yield the text between each pair of offsets, which must ascend."""
    fragments = iter(text)
    start, style, words = 0, "", ""
    for begin, end in slices:
        while begin >= start + len(words):
            start += len(words)
            style, words = next(fragments)
        line = [(style, plain_text(words[begin - start : end - start]))]
        while end > start + len(words):
            start += len(words)
            style, words = next(fragments)
            line.append((style, plain_text(words[: end - start])))
        yield line
