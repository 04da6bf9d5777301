"""How a program without a console ends: its exit status, and one line that says why."""

import sys
from collections.abc import Callable
from contextlib import suppress
from signal import SIGINT

from filer.host.errors import FilerError
from filer.host.standard_streams import OutputLost, status_without_output, write
from filer.host.text import printable

INTERRUPTED = 128 + SIGINT


def status_of(
    program: str,
    run: Callable[[], int],
    *,
    failed: int,
    interrupted: Callable[[], int] = lambda: INTERRUPTED,
) -> int:
    """Run a program and return its exit status.

    The status is ``failed`` after a FilerError or OSError, and that of ``interrupted`` after
    KeyboardInterrupt.
    """
    try:
        return run()
    except KeyboardInterrupt:
        return interrupted()
    except OutputLost as lost:
        return status_without_output(program, lost)
    except FilerError as error:
        complain(program, str(error))
    except OSError as error:
        complain(program, printable(error.strerror or str(error)))
    return failed


def complain(program: str, line: str) -> None:
    """Write a line about ``program`` to standard error, if it can be written."""
    with suppress(OutputLost):
        write(sys.stderr, f"{program}: {line}\n")
