"""The signals and the console of an SSH session."""

import select
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from filer.commands import Leave
from filer.host.standard_streams import write
from filer.running.interrupt import Interrupt
from filer.shell.prompt.reader import LineReader
from filer.shell.prompt.settings import Settings
from filer.shell.prompt.terminal import TerminalConsole
from filer.shell.session import FAILED, OK, Session
from filer.shell.signals import Signals

if TYPE_CHECKING:
    from _typeshed import HasFileno

CTRL_C = b"\x03"


class RemoteSignals(Signals):
    """Signals from an SSH client; on a local terminal, the kernel delivers them."""

    def __init__(self) -> None:
        self.interrupt = Interrupt()
        super().__init__(self.interrupt)

    @property
    def awaited(self) -> bool:
        """Whether the session waits for input; Ctrl-C is an ordinary key then."""
        return self._waiting or self.end_prompt is not None

    def wait_for(self, stream: "HasFileno", seconds: float | None = None) -> bool:
        """Wait until ``stream`` is readable; the end of the session closes it."""
        return bool(select.select([stream.fileno()], [], [], seconds)[0])


class RemoteConsole(TerminalConsole):
    """The console of an SSH user, whose screen shows results and failures.

    There is no pager: it would run on this host, and give access to its shell.
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
        return self._columns()

    @property
    def terminal(self) -> str:
        return self._terminal

    def page(self, text: str) -> None:
        self._print(self._coloured(text).rstrip("\n") + "\n")

    def _print(self, text: str) -> None:
        write(self._screen, text)

    _print_on_screen = _draw = _print


class OneShot:
    """Runs the command of ``ssh -t HOST COMMAND``; a person answers its questions."""

    is_for_people = True

    def __init__(self, command: str, reader: LineReader) -> None:
        self._command = command
        self._reader = reader
        self.status = OK

    def announce(self, line: str, *, only_watched: bool = False) -> None:
        """Show nothing: the command ends soon."""

    def run(self, session: Session) -> None:
        """Run the command.  Raises Leave from it."""
        self._reader.attach(session)
        try:
            self.status = session.execute(self._command)
        except Leave as leave:
            self.status = FAILED if leave.after_failure else OK
            raise
