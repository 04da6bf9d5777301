"""The pager: the user's own program for long texts.

pydoc's pagers do not work here: since Python 3.13 they replace LESS, and less then shows escape
sequences instead of colours.
"""

import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress

_USUAL = ("pager", "less", "more")
"""Programs to try in this order if none is configured; ``pager`` is Debian's."""

_LESS_COLOURED = "-R"
"""The option of less that passes colours on."""

_PROGRAM = re.compile(r"[\w./+-]+")


def usual_pager() -> str | None:
    """Return the pager of the host, or None if it has none."""
    return next(filter(shutil.which, _USUAL), None)


def missing_program(command: str) -> str | None:
    """Return the program of ``command`` if sh would not find it; None if it is found or unclear."""
    name, _, _ = command.partition(" ")
    if not _PROGRAM.fullmatch(name) or shutil.which(name):
        return None
    return None if "/" not in name and _is_built_in(name) else name


def run_pager(command: str, text: str, *, in_colours: bool) -> None:
    """Pipe ``text`` into ``command``, a line of sh, and wait until it ends.

    Ctrl-C is left to the pager; if we ended first, the terminal would stay in the pager's mode.
    """
    from subprocess import PIPE, Popen

    environment = {**os.environ, **(_colours_of_less(os.environ) if in_colours else {})}
    process = Popen(  # noqa: S602  (the user's own command line)
        command, shell=True, stdin=PIPE, errors="backslashreplace", env=environment
    )
    assert process.stdin
    with suppress(OSError), process.stdin as pipe, suppress(KeyboardInterrupt):
        pipe.write(text)  # OSError: the pager has ended early
    while process.returncode is None:
        with suppress(KeyboardInterrupt):
            process.wait()


def _colours_of_less(environment: Mapping[str, str]) -> dict[str, str]:
    """Return LESS with the option for colours before its other options."""
    options = environment.get("LESS", "")
    if options.startswith(_LESS_COLOURED):
        return {}
    return {"LESS": f"{_LESS_COLOURED} {options}"}


def _is_built_in(name: str) -> bool:
    """Say whether ``name`` is built into sh, such as ``exec``."""
    from subprocess import DEVNULL, call

    asked = ("sh", "-c", 'command -v "$1"', "sh", name)
    return call(asked, stdout=DEVNULL) == 0  # noqa: S603  (the user's own)
