"""The limit on the length of a line, the same for all sources."""

from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import BinaryIO

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


def lines_of(stream: BinaryIO) -> Iterator[bytes]:
    """Yield each line of ``stream`` as it arrives, with its line end.

    A carriage return ends a line too, and a byte order mark before the first line is left out:
    editors write both.  Of a line that is too long, only the beginning and the last bytes are kept.
    """
    first = True
    for line in _bounded_lines(stream):
        text = line.removeprefix(BOM_UTF8) if first else line
        first = False
        if len(line) < _MOST_BYTES:
            yield from text.splitlines(keepends=True)
        else:
            yield text


def _bounded_lines(stream: BinaryIO) -> Iterator[bytes]:
    while line := stream.readline(_MOST_BYTES):
        end = line
        while len(line) == _MOST_BYTES and not end.endswith(b"\n"):
            more = stream.readline(_MOST_BYTES)
            if not more:
                break
            end = (end + more)[-_END:]
        yield line if end is line else line + end
