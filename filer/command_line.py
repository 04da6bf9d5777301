"""The command line of both programs: its parser, and ``--print-completion SHELL``.

The completion script is made by shtab, from the very parser that reads the command line.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

SHELLS = ("bash", "zsh")

_FAILED = 1
_READER_GONE = 128 + signal.SIGPIPE


class Parser(argparse.ArgumentParser):
    """A parser that ends the program, with a failing status, if its output cannot be written."""

    def tell(self, text: str) -> None:
        """Print ``text``.  If that fails, say so, unless the reader has just gone, and end."""
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            _end(_READER_GONE)
        except OSError as error:
            reason = f"cannot write standard output: {error.strerror}"
            self._print_message(f"{self.prog}: {reason}\n", sys.stderr)
            _end(_FAILED)

    def _print_message(self, message: str, file: "SupportsWrite[str] | None" = None) -> None:
        if message and file is not None and file is sys.stdout:
            self.tell(message)
        else:
            super()._print_message(message, file)


def _end(status: int) -> NoReturn:
    os._exit(status)  # what could not be written is still buffered and would fail once more


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

        assert isinstance(parser, Parser)
        for action in parser._actions:
            kind = {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY}.get(str(action.metavar))
            if kind is not None:
                action.complete = kind  # type: ignore[attr-defined]
        parser.tell(f"{shtab.complete(parser, shell=str(values))}\n")
        parser.exit()
