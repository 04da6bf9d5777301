"""The program ``filer``."""

import gc
import signal
import sys
from collections.abc import Sequence

from filer import __version__
from filer.host.process import end_with

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Until `Signals` installs its handler, Ctrl-C would print a traceback out of an import.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from filer.host.standard_streams import (
        OutputLost,
        prepare_standard_streams,
        status_without_output,
        write,
    )

    gc.disable()  # imports leave no garbage; collection starts with the first session
    prepare_standard_streams()
    try:
        if (sys.argv[1:] if argv is None else [*argv]) == ["--version"]:
            write(sys.stdout, f"filer {__version__}\n")  # twice as fast as with argparse
            return 0
        from filer.shell.options import is_console, parse

        options = parse(argv)
    except OutputLost as lost:
        return status_without_output("filer", lost)
    keyboard = None
    try:
        if is_console(options):
            from filer.shell.prompt.tty import open_console

            keyboard = open_console()  # early: the terminal answers during imports and boot
        from filer.shell.program import run  # not needed by --version and --help

        return run(options, keyboard)
    finally:
        if keyboard is not None:
            keyboard.close()


def program() -> "NoReturn":
    """Run the program, and end its process."""
    end_with(main)


if __name__ == "__main__":
    program()
