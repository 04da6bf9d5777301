"""The limit on the length of a line, the same for all sources."""

from codecs import BOM_UTF8
from collections import deque
from collections.abc import Callable, Iterator
from typing import BinaryIO, Self

from filer.host.errors import FilerError

LONGEST = 64 * 1024
"""Characters of a command line, with its continuation lines, or of an answer."""

_MOST_BYTES = 4 * LONGEST + len(b"\r\n")
"""Bytes of such a line in UTF-8, with its line end."""

_END = len(b"\\\r\n")


class LineTooLong(FilerError):
    """A line longer than the reader accepts; no part of it may run."""

    def __init__(self, longest: int = LONGEST) -> None:
        super().__init__(f"line too long: it can have {longest} characters; it was not read")


def checked(line: str) -> str:
    """Return ``line``.  Raises LineTooLong."""
    if len(line) > LONGEST:
        raise LineTooLong
    return line


def cut(line: str) -> str:
    """Return ``line``, shortened to one character above the limit if it is too long.

    It keeps its last character, so that a backslash at its end still continues it.
    """
    return line if len(line) <= LONGEST else line[:LONGEST] + line[-1]


class Lines:
    """Iterates over the lines that ``read`` returns in parts, each with its line end.

    A carriage return ends a line too, and a byte order mark before the first line is left out:
    editors write both.  Of a line that is too long, only the beginning and the last bytes are kept.
    ``read`` gets the most bytes to return, and returns none at the end.  If it raises an exception,
    nothing is lost: the next call reads on.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._ready: deque[bytes] = deque()
        self._partial = b""
        self._is_first = True
        self._has_ended = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        while not self._ready:
            if self._has_ended:
                raise StopIteration
            self._add(self._read(_MOST_BYTES))
        return self._ready.popleft()

    def _add(self, data: bytes) -> None:
        if not data:
            self._has_ended = True
            self._end_line()
        for part in _lines(data):
            self._partial += part
            if len(self._partial) > _MOST_BYTES + _END:
                self._partial = self._partial[:_MOST_BYTES] + self._partial[-_END:]
            if part.endswith(b"\n"):
                self._end_line()

    def _end_line(self) -> None:
        line, self._partial = self._partial, b""
        if self._is_first:
            line, self._is_first = line.removeprefix(BOM_UTF8), False
        if len(line) < _MOST_BYTES:
            self._ready.extend(line.splitlines(keepends=True))
        else:
            self._ready.append(line)


def _lines(data: bytes) -> Iterator[bytes]:
    *lines, rest = data.split(b"\n")
    yield from (line + b"\n" for line in lines)
    yield rest


def lines_of(stream: BinaryIO) -> Lines:
    """Return the lines of ``stream``, each as it arrives."""
    return Lines(stream.readline)
