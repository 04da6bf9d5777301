"""The end of a process, whatever its other threads do."""

import atexit
import os
import sys
from contextlib import suppress

TYPE_CHECKING = False  # as in `filer.host.standard_streams`
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn


def end_with(main: "Callable[[], int]") -> "NoReturn":
    """Run ``main`` and end the process with its status.

    Functions registered with `atexit` are called.  The exit handlers of C libraries are not:
    OpenSSL frees its data in one, and a thread that still talks to a key server would crash.
    """
    try:
        status = main()
    except SystemExit as end:  # of argparse
        if not isinstance(end.code, int):
            raise
        status = end.code
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
