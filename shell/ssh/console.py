"""A person at the other end of an SSH connection: signals, keyboard, screen."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import BinaryIO, TextIO

from commands import Leaving
from filer.interrupt import Interrupt
from filer.standard_streams import write
from shell.session import FAILED, OK, Session
from shell.settings import Settings
from shell.signals import Signals
from shell.terminal import LineReader, TerminalConsole

CTRL_C, CTRL_D = b"\x03", b"\x04"


class RemoteSignals(Signals):
    """What the kernel would deliver to a program at a terminal of this host."""

    def __init__(self) -> None:
        self.interrupt = Interrupt()
        super().__init__(self.interrupt)

    @property
    def awaited(self) -> bool:
        """Whether the person is waited for: then Ctrl-C is a key like others."""
        return self._waiting or self.end_prompt is not None


class PlainReader(LineReader):
    """Reads from a terminal that knows no control sequences.

    Lines are edited at the other end of ``lines``, where Ctrl-C and Ctrl-D become lines too.
    """

    def __init__(
        self,
        lines: BinaryIO,
        screen: TextIO,
        signals: Signals,
        set_echo: Callable[[bool], object],
    ) -> None:
        super().__init__(signals)
        self._lines = lines
        self._screen = screen
        self._set_echo = set_echo

    def line(self, prompt: str, before: str = "") -> str:
        """Return a line of commands.  Raises EOFError or KeyboardInterrupt."""
        self._set_echo(True)
        return self._read(prompt)

    def answer(self, prompt: str) -> str:
        """Return an answer.  Raises EOFError or KeyboardInterrupt."""
        return self.line(prompt)

    def secret(self, prompt: str) -> str:
        """Return an answer that is not echoed.  Raises EOFError or KeyboardInterrupt."""
        # There is no echo from here to the next line: the next secret may be typed at once.
        self._set_echo(False)
        return self._read(prompt)

    def _read(self, prompt: str) -> str:
        write(self._screen, prompt)
        with self._signals.waiting():
            line = self._lines.readline()
        match line:
            case b"" | b"\x04\n":
                raise EOFError
            case b"\x03\n":
                write(self._screen, "\n")
                raise KeyboardInterrupt
        return line.removesuffix(b"\n").decode("utf-8", "surrogateescape")


class RemoteConsole(TerminalConsole):
    """The console of a person elsewhere, whose one screen shows everything.

    No pager: it would be a program of this host, and lead to its shell.
    """

    def __init__(
        self,
        reader: LineReader,
        signals: Signals,
        settings: Settings,
        *,
        screen: TextIO,
        terminal: str,
        columns: Callable[[], int],
    ) -> None:
        super().__init__(reader, signals, settings)
        self._screen = screen
        self._terminal = terminal
        self._columns = columns

    @property
    def width(self) -> int:
        """Columns of the screen."""
        return self._columns()

    @property
    def terminal(self) -> str:
        """What the client calls the terminal."""
        return self._terminal

    def page(self, text: str) -> None:
        """Print a long text."""
        self._print(self._coloured(text).rstrip("\n") + "\n")

    def _print(self, text: str) -> None:
        write(self._screen, text)

    _print_on_screen = _draw = _print

    def _quiet(self) -> AbstractContextManager[object]:
        return nullcontext()  # the client shows nothing by itself


class OneShot:
    """Runs the command that came with the connection, for a person who answers its questions."""

    def __init__(self, command: str, signals: Signals) -> None:
        self._command = command
        self._signals = signals
        self.status = OK

    def run(self, session: Session) -> None:
        """Run the command.  Raises Leaving when it asks for that."""
        self._signals.end_if_asked()
        try:
            self.status = session.execute(self._command)
        except Leaving as leaving:
            self.status = FAILED if leaving.after_failure else OK
            raise
        self._signals.end_if_asked()
