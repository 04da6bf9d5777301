"""A line that is being typed: its editing keys and their echo."""

from unicodedata import combining, east_asian_width

from filer.shell.line.length import LONGEST, LineTooLong

ENTER, CTRL_C, CTRL_D = "\n", "\x03", "\x04"
_ERASE_WORD, _ERASE_LINE = "\x17", "\x15"
_TAB_STOP = 8


class TypedLine:
    """A line with the editing keys of a Unix terminal driver.

    ``end`` is the key that ended the line: ENTER, CTRL_C, CTRL_D (on an empty line), or "" before.
    ``column`` is the column of the screen, from 0, at which the line begins.
    """

    def __init__(self, column: int) -> None:
        self.end = ""
        self._typed: list[tuple[str, int]] = []
        self._column = column
        self._is_too_long = False

    @property
    def is_empty(self) -> bool:
        return not self._typed

    @property
    def text(self) -> str:
        """The typed text.  Raises LineTooLong."""
        if self._is_too_long:
            raise LineTooLong
        return "".join(character for character, _ in self._typed)

    def key(self, key: str) -> str:
        """Process a key, and return its echo."""
        match key:
            case "\n" | "\r":
                return self._end(ENTER, "\n")
            case "\x03":
                return self._end(CTRL_C, "")
            case "\x04":
                return self._end(CTRL_D, "") if self.is_empty else ""
            case "\b" | "\x7f" | "\x15" | "\x17":
                return self._erase(self._length_to_erase(key))
        return self._insert(key)

    def _end(self, key: str, shown: str) -> str:
        self.end = key
        return shown

    def _insert(self, character: str) -> str:
        if len(self._typed) == LONGEST:
            self._is_too_long = True
            return ""
        shown = f"^{chr(ord(character) + 64)}" if _is_control(character) else character
        width = sum(_columns(each, self._column) for each in shown)
        self._column += width
        self._typed.append((character, width))
        return shown

    def _length_to_erase(self, key: str) -> int:
        if key == _ERASE_LINE:
            return len(self._typed)
        if key != _ERASE_WORD:
            return min(1, len(self._typed))
        start = len(self._typed)
        while start and self._typed[start - 1][0] == " ":
            start -= 1
        while start and self._typed[start - 1][0] != " ":
            start -= 1
        return len(self._typed) - start

    def _erase(self, count: int) -> str:
        width = sum(columns for _, columns in self._typed[len(self._typed) - count :])
        del self._typed[len(self._typed) - count :]
        self._column -= width
        return "\b \b" * width


def _is_control(character: str) -> bool:
    return character < " " and character != "\t"


def _columns(character: str, column: int) -> int:
    """Return the width of a character at ``column``."""
    if character == "\t":
        return _TAB_STOP - column % _TAB_STOP
    if combining(character):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1
