"""A person at a terminal: prompt, history, completion, questions."""

import getpass
import os
import pydoc
import shutil
import sys
from collections.abc import Callable

from commands import Cancelled, EndOfAnswers, Result
from shell.defects import describe
from shell.language import continues
from shell.output import write
from shell.session import Session
from shell.signals import Signals

_MORE = ">"
"""The prompt for the rest of a line that a backslash continues."""


class LineReader:
    """Reads from a terminal that can only show one character after the other."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals

    def line(self, prompt: str) -> str:
        """Return a line of commands.  Raises EOFError or KeyboardInterrupt."""
        write(sys.stdout, prompt)
        self._signals.wait_for(sys.stdin)
        return input()

    answer = line

    def secret(self, prompt: str) -> str:
        """Return an answer that is not echoed.  Raises EOFError or KeyboardInterrupt."""
        return getpass.getpass(prompt)


class TerminalConsole:
    """The console of a person: everything on the screen, long texts in a pager."""

    is_terminal = True

    def __init__(self, reader: LineReader, signals: Signals) -> None:
        self._reader = reader
        self._signals = signals

    @property
    def width(self) -> int:
        """Columns of the screen."""
        return shutil.get_terminal_size().columns

    def show(self, result: Result) -> None:
        """Print a result."""
        write(sys.stdout, "".join(f"{line}\n" for line in result.lines()))

    def fail(self, message: str) -> None:
        """Print a failure, on the screen even where results go elsewhere."""
        write(sys.stdout if sys.stdout.isatty() else sys.stderr, f"{message}\n")

    warn = fail

    def ask(self, question: str) -> str:
        """Ask; the answer is in no history."""
        return self._ask(self._reader.answer, question)

    def ask_secret(self, question: str) -> str:
        """Ask; the answer is not echoed and in no history."""
        return self._ask(self._reader.secret, question)

    def _ask(self, read: Callable[[str], str], question: str) -> str:
        try:
            with self._signals.waiting():
                return read(question)
        except KeyboardInterrupt:
            raise Cancelled from None
        except EOFError:
            raise EndOfAnswers from None

    def page(self, text: str) -> None:
        """Show a long text in the pager of MANPAGER or PAGER."""
        with self._signals.waiting():
            pydoc.pager(text)


class Terminal:
    """Reads commands at the prompt until the person leaves."""

    status = 0

    def __init__(self, reader: LineReader, signals: Signals) -> None:
        self._reader = reader
        self._signals = signals

    def run(self, session: Session) -> None:
        """Run what is typed.  Returns at Ctrl-D; raises PowerOff or Logout from a command."""
        while True:
            try:
                line = self._logical_line(session)
            except KeyboardInterrupt:
                continue
            except EOFError:
                return
            except Exception as defect:  # of a key binding, say; the console goes on
                write(sys.stdout, f"internal error: {describe(defect)}\n")
                continue
            if command := line.strip():
                session.state.history.append(command)
            with self._signals.running():
                session.execute(line)
            self._signals.end_if_asked()

    def _logical_line(self, session: Session) -> str:
        line = self._reader.line(f"{session.prompt} ")
        while continues(line):
            line = f"{line}\n{self._reader.line(f'{_MORE} ')}"
        return line


def open_reader(session_of: Callable[[], Session], signals: Signals) -> LineReader:
    """Return the best reader for this terminal; ``session_of`` is asked when Tab is pressed."""
    if os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        return LineReader(signals)
    from shell.line_editor import LineEditor

    return LineEditor(session_of, signals)
