"""A person at the other end of an SSH connection: signals, keyboard, screen."""

import select
from collections.abc import Callable
from typing import TextIO

from filer.commands import Leave
from filer.host.standard_streams import write
from filer.running.interrupt import Interrupt
from filer.shell.prompt.reader import LineReader
from filer.shell.prompt.settings import Settings
from filer.shell.prompt.terminal import TerminalConsole
from filer.shell.session import FAILED, OK, Session
from filer.shell.signals import Readable, Signals

CTRL_C = b"\x03"


class RemoteSignals(Signals):
    """What the kernel would deliver to a program at a terminal of this host."""

    def __init__(self) -> None:
        self.interrupt = Interrupt()
        super().__init__(self.interrupt)

    @property
    def awaited(self) -> bool:
        """Whether the person is waited for: then Ctrl-C is a key like others."""
        return self._waiting or self.end_prompt is not None

    def wait_for(self, stream: Readable, seconds: float | None = None) -> bool:
        """Wait until ``stream`` can be read, and say whether it can: it ends with the session."""
        return bool(select.select([stream.fileno()], [], [], seconds)[0])


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


class OneShot:
    """Runs the command that came with the connection, for a person who answers its questions."""

    def __init__(self, command: str) -> None:
        self._command = command
        self.status = OK

    def run(self, session: Session) -> None:
        """Run the command.  Raises Leave when it asks for that."""
        try:
            self.status = session.execute(self._command)
        except Leave as leave:
            self.status = FAILED if leave.after_failure else OK
            raise
