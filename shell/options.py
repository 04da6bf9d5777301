"""The options of the program ``filer``."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from filer import __version__
from filer.text import printable


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; what is wrong with it ends the program with status 2."""
    parser = _Parser(
        prog="filer",
        description="The console of a filer with Storage Encryption.",
        epilog="Without FILE and -c, commands come from standard input; "
        "if that is a terminal, from the person there.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "-c",
        "--command",
        metavar="CMD",
        action="append",
        help="run CMD, then halt; may be repeated, in order",
    )
    parser.add_argument(
        "-e", "--exit-on-error", action="store_true", help="stop at the first command that fails"
    )
    parser.add_argument(
        "-x",
        "--echo",
        action="store_true",
        help="print prompt and command before each output, as a console log shows them",
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--root",
        metavar="DIR",
        type=Path,
        help="where this filer lives (environment: FILER_ROOT; default: filer/ in the XDG data "
        "home)",
    )
    place.add_argument(
        "--demo",
        action="store_true",
        help="a filer in a temporary root, with two running key servers and all certificates at "
        "hand",
    )
    parser.add_argument("--version", action="version", version=f"filer {__version__}")
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        help="run the commands in FILE, then halt ('-': standard input)",
    )
    options = parser.parse_args(argv)
    if options.command and options.file:
        parser.error("FILE and -c cannot be given together")
    if options.root is None:
        options.root = _default_root()
    return options


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


def _default_root() -> Path:
    if os.environ.get("FILER_ROOT"):
        return Path(os.environ["FILER_ROOT"])
    from platformdirs import user_data_path

    return user_data_path("filer", appauthor=False)
