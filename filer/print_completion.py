"""``--print-completion SHELL``, the option of both programs: what a shell needs to complete theirs.

The script is made by shtab, from the very parser that reads the command line.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

SHELLS = ("bash", "zsh")


class PrintCompletion(argparse.Action):
    """Prints the completion script of a parser, and ends the program.

    An argument whose metavar is FILE or DIR is completed to names of files or directories.
    """

    def __init__(self, option_strings: Sequence[str], dest: str, **more: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, choices=SHELLS, **more)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> NoReturn:
        """Print the script for the shell that was named."""
        import shtab

        for action in parser._actions:
            kind = {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY}.get(str(action.metavar))
            if kind is not None:
                action.complete = kind  # type: ignore[attr-defined]
        script = shtab.complete(parser, shell=str(values))
        try:
            os.write(sys.stdout.fileno(), f"{script}\n".encode())
        except BrokenPipeError:
            parser.exit()
        except OSError as error:
            parser.exit(1, f"{parser.prog}: cannot write standard output: {error.strerror}\n")
        parser.exit()
