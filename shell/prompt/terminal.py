"""The interactive console: its output, and the loop that runs the typed lines."""

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

from filer.commands import Cancelled, EndOfAnswers, Result
from filer.host.errors import FilerError
from filer.host.standard_streams import OutputLost, write
from filer.running.progress import Tell, Work, show_nothing
from filer.shell.defects import problem
from filer.shell.prompt.history_size import fitting
from filer.shell.prompt.progress_line import ProgressLine
from filer.shell.prompt.reader import LineReader
from filer.shell.prompt.settings import DEFAULTS, Settings
from filer.shell.session import FAILED, OK, Session
from filer.shell.signals import Ended, Signals

_MOST_DEFECTS = 10
"""Prompts that may fail in a row; each failure loses a line."""

_MORE = ">"
"""The prompt for a continuation line."""


class TerminalConsole:
    """The console of a person: output on the screen, long texts in a pager."""

    is_terminal = True

    def __init__(self, reader: LineReader, signals: Signals, settings: Settings = DEFAULTS) -> None:
        self._reader = reader
        self._signals = signals
        self._settings = settings
        self._line = ProgressLine(self._draw, lambda: self.width)
        self.answers_read = 0

    @property
    def width(self) -> int:
        return shutil.get_terminal_size().columns

    @property
    def terminal(self) -> str:
        """The type of the terminal, as in TERM."""
        return os.environ["TERM"]

    def show(self, result: Result) -> None:
        self._line.clear()
        self._print("".join(f"{line}\n" for line in result.lines()))

    def fail(self, message: str) -> None:
        """Print a failure, on standard error if standard output is not the screen."""
        self._line.clear()
        self._print_on_screen(f"{message}\n")

    def warn(self, message: str) -> None:
        """Print a warning, above the line that is being typed."""
        self._reader.interject(lambda: self.fail(message))

    def ask(self, question: str) -> str:
        """Ask; the answer goes into no history."""
        return self._ask(self._reader.answer, question)

    def ask_secret(self, question: str) -> str:
        """Ask without echo; the answer goes into no history."""
        return self._ask(self._reader.secret, question)

    def _ask(self, read: Callable[[str], str], question: str) -> str:
        try:
            answer = read(question)
        except KeyboardInterrupt:
            raise Cancelled from None
        except EOFError:
            self._signals.end_if_asked()  # over SSH, that signal also closes the input
            raise EndOfAnswers from None
        except BrokenPipeError:  # from the editor, while it draws
            raise OutputLost(None) from None
        self.answers_read += 1
        return answer

    def page(self, text: str) -> None:
        """Show a long text in the pager of the settings, MANPAGER or PAGER, or a usual one."""
        from filer.shell.prompt.keyboard import knows_its_cursor
        from filer.shell.prompt.pager import missing_program, run_pager, usual_pager

        coloured = self._coloured(text)
        command = self._settings.pager or os.environ.get("MANPAGER") or os.environ.get("PAGER")
        if not command and knows_its_cursor(os.environ.get("TERM", "")):
            command = usual_pager()
        if not command or not sys.stdout.isatty():
            self._print(coloured)
            return
        if missing := missing_program(command):
            self.warn(f"WARNING: pager {missing} not found")
            self._print(coloured)
            return
        try:
            with self._reader.lent(), self._signals.waiting():
                run_pager(command, coloured, in_colours=coloured is not text)
        except KeyboardInterrupt:
            raise Cancelled from None

    def _coloured(self, text: str) -> str:
        """Return a manual page with colours if the screen shows them, else ``text`` itself."""
        from filer.shell.manual.text import ManualText

        if not (isinstance(text, ManualText) and self._reader.is_watched):
            return text
        from filer.shell.prompt.appearance import coloured, theme_of

        theme = theme_of(self._settings)
        return text if theme == "none" else coloured(text, theme, self.terminal)

    def progress(self, work: Work) -> AbstractContextManager[Tell]:
        """Show the progress of long work, if a person watches."""
        return self._line.show(work) if self._reader.is_watched else show_nothing(work)

    # Output.

    def _print(self, text: str) -> None:
        write(sys.stdout, text)

    def _print_on_screen(self, text: str) -> None:
        write(sys.stdout if sys.stdout.isatty() else sys.stderr, text)

    def _draw(self, text: str) -> None:
        assert sys.__stdout__ is not None
        write(sys.__stdout__, text)  # not recorded, since a replay has another timing


def remember(session: Session, line: str) -> None:
    """Add a line to the history of the session, which drops the oldest lines if it is too long.

    Not one that is empty, begins with a blank, or may be a secret.
    """
    if (command := line.strip()) and not line.startswith(" ") and not session.hides(line):
        history = session.state.history
        history.append(command)
        del history[: len(history) - fitting(reversed(history))]


class Terminal:
    """Runs the lines typed at the prompt until the user leaves."""

    status = 0
    is_for_people = True

    def __init__(self, reader: LineReader, console: TerminalConsole) -> None:
        self._reader = reader
        self._console = console
        self._cut_off = False
        """Whether the partner took the disks, or the filer panicked, while a command ran."""

    def run(self, session: Session) -> None:
        """Run the typed lines.  Returns at Ctrl-D; raises Leave from a command.

        After ten failures of the prompt in a row, raises the last one.  Raises OutputLost at once.
        """
        try:
            self._run(session)
        except OutputLost:
            self._reader.discard()  # a passphrase may follow, which must not reach the user's shell
            raise

    def announce(self, line: str, *, only_watched: bool = False) -> None:
        """Show a line of the system log above the prompt."""
        if self._reader.draws or not only_watched:
            self._console.warn(line)

    def _run(self, session: Session) -> None:
        self._reader.attach(session)
        if self._cut_off:
            self._cut_off = False
            self._reader.discard()  # the rest of a passphrase may have been typed meanwhile
        defects = 0
        while True:
            try:
                line = self._logical_line(session)
            except KeyboardInterrupt:
                continue
            except EOFError:
                return
            except FilerError as refusal:
                session.console.fail(str(refusal))
                self._reader.discard()  # answers to the refused line may follow
                continue
            except BrokenPipeError:  # from the editor, while it draws
                raise OutputLost(None) from None
            except OutputLost:
                raise
            except Exception as defect:  # such as in a key binding; the console goes on
                defects += 1
                if defects == _MOST_DEFECTS:
                    raise
                session.console.fail(problem(defect))
                continue
            defects = 0
            remember(session, line)
            self._execute(session, line)

    def _execute(self, session: Session, line: str) -> None:
        """Run a line.  If its dialogue fails or never begins, drop the answers in the typeahead.

        A passphrase among them must never run, nor appear, as a command.
        """
        self._console.answers_read = 0
        status = FAILED  # also for an exception, such as Leave
        try:
            status = session.execute(line)
        except Ended:
            self._cut_off = session.outcome == FAILED
            raise
        finally:
            if status != OK and (
                session.unread_answers(line, self._console.answers_read)
                or session.stray_answers(line)
            ):
                self._reader.discard()

    def _logical_line(self, session: Session) -> str:
        line = self._reader.line(f"{session.prompt} ")
        from filer.shell.line.length import checked  # not needed for the first prompt
        from filer.shell.line.words import LogicalLine

        logical = LogicalLine()
        while logical.add(line):
            line = self._reader.line(f"{_MORE} ", f"{checked(str(logical))}\n")
        return checked(str(logical))
