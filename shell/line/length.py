"""How long a line may be: one limit for every way in."""

from collections.abc import Iterator
from typing import BinaryIO

from filer.host.errors import FilerError

LONGEST = 64 * 1024
"""Characters of a line of commands, with all lines that continue it, or of an answer."""

_MOST_BYTES = 4 * LONGEST + len(b"\r\n")
"""Bytes of such a line in UTF-8, with its line end."""

_END = len(b"\\\r\n")


class LineTooLong(FilerError):
    """A line longer than the reader accepts, of which none may be run."""

    def __init__(self, longest: int = LONGEST) -> None:
        super().__init__(f"line too long: it can have {longest} characters; it was not read")


def checked(line: str) -> str:
    """Return ``line``.  Raises LineTooLong."""
    if len(line) > LONGEST:
        raise LineTooLong
    return line


def cut(line: str) -> str:
    """Return ``line``; of one that is too long, a part that is still too long.

    The part ends as the line does, so that a backslash at its end still continues it.
    """
    return line if len(line) <= LONGEST else line[:LONGEST] + line[-1]


def lines_of(stream: BinaryIO) -> Iterator[bytes]:
    """Yield each line of ``stream`` as soon as it is there, with its line end.

    Of a line that is too long, its beginning and its last bytes come; the rest is not kept.
    """
    while line := stream.readline(_MOST_BYTES):
        end = line
        while len(line) == _MOST_BYTES and not end.endswith(b"\n"):
            more = stream.readline(_MOST_BYTES)
            if not more:
                break
            end = (end + more)[-_END:]
        yield line if end is line else line + end
