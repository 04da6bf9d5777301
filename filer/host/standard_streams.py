"""Standard streams that may be full, closed, or have no reader."""

import os
import sys
from contextlib import suppress
from signal import SIGPIPE

TYPE_CHECKING = False  # as in `typing`, whose import takes a fifth of `filer --version`
if TYPE_CHECKING:
    from typing import TextIO

FAILED = 1
READER_GONE = 128 + SIGPIPE
"""Exit statuses of a program whose output is lost; shells report READER_GONE for SIGPIPE."""


class OutputLost(Exception):
    """Output failed; ``reason`` is None if the reader closed the pipe."""

    def __init__(self, reason: str | None) -> None:
        super().__init__(reason)
        self.reason = reason


def prepare_standard_streams() -> None:
    """Replace closed streams by the null device, and escape what a stream cannot encode.

    The null device takes the free descriptor (0, 1 or 2), so no other file gets it.  A closed
    standard input is empty, output to a closed standard error is discarded, and writing to a
    closed standard output fails, as it does in C programs.
    """
    for name, mode, flags in (
        ("stdin", "r", os.O_RDONLY),
        ("stdout", "w", os.O_RDONLY),
        ("stderr", "w", os.O_WRONLY),
    ):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, flags)
            setattr(sys, name, open(null, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def write(stream: "TextIO", text: str) -> None:
    """Write ``text`` and flush.  Raises OutputLost."""
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        raise OutputLost(None) from None
    except OSError as error:
        raise OutputLost(error.strerror) from None


def abandon_standard_streams() -> None:
    """Discard all further output; Python would report a failed flush at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(null, descriptor)


def abandon(stream: "TextIO") -> None:
    """Discard what ``stream`` has buffered, and all its further output."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
    stream.flush()


def status_without_output(program: str, lost: OutputLost) -> int:
    """Report why ``program`` ends, unless the reader is gone; return its exit status."""
    if lost.reason is not None:
        with suppress(OutputLost):
            write(sys.stderr, f"{program}: cannot write standard output: {lost.reason}\n")
    abandon_standard_streams()
    return READER_GONE if lost.reason is None else FAILED
