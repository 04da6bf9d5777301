"""The command line of the programs: its parser, and ``--print-completion SHELL``.

shtab makes the completion script from the parser itself.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from filer import __version__
from filer.host.standard_streams import OutputLost, abandon_standard_streams, write
from filer.host.text import printable

if TYPE_CHECKING:
    from typing import TextIO

SHELLS = ("bash", "zsh")

_FormatterClass = Callable[..., argparse.HelpFormatter]
_ANY_WIDTH = 80


class Parser(argparse.ArgumentParser):
    """A parser that raises OutputLost if help, version or completion cannot be printed."""

    def __init__(
        self, *, formatter_class: _FormatterClass = argparse.HelpFormatter, **options: Any
    ) -> None:
        # add_argument() builds a formatter, which looks up the terminal width unless given one;
        # only help needs the real width.
        super().__init__(formatter_class=partial(formatter_class, width=_ANY_WIDTH), **options)
        self._formatter_of_help = formatter_class

    def format_help(self) -> str:
        self.formatter_class = self._formatter_of_help
        return super().format_help()

    def format_usage(self) -> str:
        self.formatter_class = self._formatter_of_help
        return super().format_usage()

    def error(self, message: str) -> NoReturn:
        """End the program with the usage and ``message``, which may quote the command line."""
        super().error(printable(message))

    def _print_message(self, message: str, file: "TextIO | None" = None) -> None:  # type: ignore[override]
        try:
            write(file or sys.stderr, message)
        except OutputLost:
            if file is sys.stdout:
                raise
            abandon_standard_streams()  # the exit status reports the error


def add_completion_and_version(add: Callable[..., object], program: str) -> None:
    """Add ``--print-completion`` and ``--version``; ``add`` is an `add_argument`."""
    add(
        "--print-completion",
        metavar="SHELL",
        action=PrintCompletion,
        help=f"print the completion for {' or '.join(SHELLS)}",
    )
    version = f"{program} {__version__}"
    add("--version", action="version", version=version, help="print the version")


def directory(text: str) -> Path:
    """Return the argument as a path.  Raises ArgumentTypeError if it cannot name a directory."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError("not the name of a directory")
    return Path(text)


def file(text: str) -> Path:
    """Return the argument as an absolute path.  Raises ArgumentTypeError if it names no file."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError("not the name of a file")
    return Path(text).absolute()


class PrintCompletion(argparse.Action):
    """Print the completion script of a parser, and end the program.

    Arguments with the metavar FILE or DIR complete to names of files or directories.
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
        """Print the script.  Raises OutputLost."""
        import shtab  # 25 ms

        for action in _actions(parser):
            kind = {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY}.get(str(action.metavar))
            if kind is not None:
                action.complete = kind  # type: ignore[attr-defined]
        write(sys.stdout, f"{shtab.complete(parser, shell=str(values))}\n")
        parser.exit()


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of ``parser``, and those of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
