"""Writing to the standard streams, which may be full, closed, or nobody's."""

import os
import sys
from typing import TextIO

from commands import OutputLost


def write(stream: TextIO, text: str) -> None:
    """Write ``text`` at once.  Raises OutputLost if that is not possible."""
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        raise OutputLost(None) from None
    except OSError as error:
        raise OutputLost(error.strerror) from None


def prepare_standard_streams() -> None:
    """Put the null device in the place of a stream that is closed; escape what cannot be shown."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def abandon_standard_streams() -> None:
    """Let nothing more be written, since Python would complain when it flushes at the end."""
    null = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(null, descriptor)
