"""The standard streams of a program, which may be full, closed, or nobody's."""

import os
import sys
from contextlib import suppress
from signal import SIGPIPE
from typing import TextIO

FAILED = 1
READER_GONE = 128 + SIGPIPE
"""The exit statuses of a program whose output is lost; the second is that of Unix."""


class OutputLost(Exception):
    """Nothing can be printed any more; ``reason`` is None if the reader has just gone."""

    def __init__(self, reason: str | None) -> None:
        super().__init__(reason)
        self.reason = reason


def prepare_standard_streams() -> None:
    """Put the null device in the place of a closed stream; escape what cannot be shown.

    Each takes its own descriptor, so that no file is opened under it.  A closed standard input is
    empty, what is written to a closed standard error is discarded, and writing to a closed
    standard output fails, as it does for programs that write to the descriptor.
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


def write(stream: TextIO, text: str) -> None:
    """Write ``text`` at once.  Raises OutputLost if that is not possible."""
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        raise OutputLost(None) from None
    except OSError as error:
        raise OutputLost(error.strerror) from None


def abandon_standard_streams() -> None:
    """Let nothing more be written, since Python would complain when it flushes at the end."""
    null = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(null, descriptor)


def status_without_output(program: str, lost: OutputLost) -> int:
    """Tell, unless the reader has just gone, why ``program`` ends; return its exit status."""
    if lost.reason is not None:
        with suppress(OutputLost):
            write(sys.stderr, f"{program}: cannot write standard output: {lost.reason}\n")
    abandon_standard_streams()
    return READER_GONE if lost.reason is None else FAILED
