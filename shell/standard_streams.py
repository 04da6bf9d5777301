"""The standard streams as the program wants them, whatever it was started with."""

import os
import sys


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
