"""Scripts: commands from -c, a file or a pipe, one a line, each run as it arrives."""

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import repeat
from typing import ClassVar, TextIO

from filer.commands import ALL_ANSWERS, EndOfAnswers, Leave, Result
from filer.host.passphrase_rule import is_passphrase
from filer.host.quoting import shown_answer
from filer.host.standard_streams import write
from filer.host.text import printable
from filer.running.progress import show_nothing
from filer.shell.batch.inputs import Input, LineInput, Waits
from filer.shell.line.length import LineTooLong, checked
from filer.shell.session import FAILED, OK, Session, UnreadAnswers
from filer.shell.signals import Ended

WIDTH = 80
"""Columns of an output that is not a terminal."""


class ScriptConsole:
    """The console of a script: results to standard output, failures to standard error."""

    is_terminal = False
    width = WIDTH
    exit_on_error = False
    """Whether the script, and each that it runs, ends at the first failure."""

    def __init__(
        self,
        answers: Input,
        signals: Waits,
        *,
        echo: bool = False,
        out: TextIO | None = None,
        err: TextIO | None = None,
    ) -> None:
        self._answers = answers
        self._signals = signals
        self._echo = echo
        self._out = out or sys.stdout
        self._err = err or (self._out if self._out.isatty() else sys.stderr)
        self.prefix = ""
        self.answers_read = 0

    def show(self, result: Result) -> None:
        write(self._out, "".join(f"{line}\n" for line in result.lines()))

    def at(self, file: str | None, number: int) -> None:
        """Set the current line of the input; with ``file``, failures begin with ``FILE:LINE:``."""
        self.prefix = f"{printable(file)}:{number}: " if file is not None else ""

    def fail(self, message: str) -> None:
        write(self._err, f"{self.prefix}{message}\n")

    def warn(self, message: str) -> None:
        """Print a warning to the stream of the failures."""
        write(self._err, f"{message}\n")

    @property
    def shows_commands(self) -> bool:
        """Whether `echo` does anything: making a line fit to be shown takes a third of its time."""
        return self._echo

    def echo(self, prompt: str, line: str) -> None:
        """With ``-x``, print prompt and command as in a console log."""
        if self._echo:
            self._say(f"{prompt} {printable(line)}\n")

    def ask(self, question: str) -> str:
        """Print the question; the next line is the answer."""
        return self._ask(question, secret=False)

    def ask_secret(self, question: str) -> str:
        """Print the question; the next line is the answer, and is never shown."""
        return self._ask(question, secret=True)

    def _ask(self, question: str, *, secret: bool) -> str:
        answer = self._answer(lambda: self._say(question), secret=secret)
        if not self._answers.is_typed:
            shown = shown_answer(answer) if self._echo and answer and not secret else ""
            self._say(f"{shown}\n")
        if answer is None:
            raise EndOfAnswers
        return answer

    def _answer(self, ask: Callable[[], object], *, secret: bool) -> str | None:
        with self._signals.waiting():
            answer = self._answers.secret(ask) if secret else self._answers.answer(ask)
        self.answers_read += answer is not None
        self._signals.end_if_asked()
        return answer if answer is None else checked(answer)

    def _say(self, text: str) -> None:
        write(self._out, text)

    def page(self, text: str) -> None:
        self._say(text)

    progress = staticmethod(show_nothing)


@dataclass(eq=False, repr=False)
class Script:
    """Runs the lines of an input in a session."""

    lines: LineInput
    answers: Input
    console: ScriptConsole
    signals: Waits
    is_for_people: ClassVar[bool] = False
    status: int = field(default=OK, init=False)
    left: UnreadAnswers = field(default_factory=UnreadAnswers, init=False)
    """The answers that were still to be skipped where the input ended."""

    _unread: int = field(default=0, init=False)
    _stray: int = field(default=0, init=False)
    _kept: deque[str] = field(default_factory=deque, init=False)
    """Lines that were read, but did not run before the console ended."""

    _command: list[str] = field(default_factory=list, init=False)
    _ends: bool = field(default=False, init=False)
    """Whether a failure has ended the script, also if the filer boots again."""

    def run(self, session: Session) -> None:
        """Run lines until the input ends; ``status`` becomes FAILED if one fails.

        Raises Leave from a line, and Ended after a signal; the next call goes on after that line.
        """
        while not self._ends:
            try:
                line = self._next_command(session)
            except LineTooLong as refusal:  # from a keyboard
                status = self._refuse(refusal)
            else:
                if line is None:
                    self.left = UnreadAnswers(self._unread, self._stray)
                    self._unread = self._stray = 0
                    if self.lines.next_file():
                        continue
                    return
                status = self._execute(session, line)
            if status != OK:
                self.status = FAILED
                self._ends = self.console.exit_on_error

    def announce(self, line: str, *, only_watched: bool = False) -> None:
        """Show nothing: the output of a script must not depend on the time."""

    def _refuse(self, refusal: LineTooLong) -> int:
        self.console.fail(str(refusal))
        self.answers.skip(ALL_ANSWERS)
        return FAILED

    def _execute(self, session: Session, line: str) -> int:
        """Run a line; if it fails, skip its unread answers."""
        self.console.answers_read = 0
        with self._unseen(session, line), self._keeping(session):
            try:
                status = session.execute(line, exit_on_error=self.console.exit_on_error)
            except Leave as leave:
                if leave.after_failure:
                    self.status = FAILED
                raise
            finally:
                if session.outcome == FAILED:
                    self._skip_answers(session.unread_answers(line, self.console.answers_read))
                    self._stray = 0 if self._unread else session.stray_answers(line)
        return status

    @contextmanager
    def _keeping(self, session: Session) -> Iterator[None]:
        """If the partner asks for the disks in the block, remember where the script goes on."""
        try:
            yield
        except Ended:
            if session.outcome is None:
                self._kept.extendleft(reversed(self._command))
            elif session.outcome == FAILED:
                self.status = FAILED
                self._ends = self.console.exit_on_error
            raise

    def _unseen(self, session: Session, line: str) -> AbstractContextManager[None]:
        """Suppress the echo while ``line`` runs, if it may ask."""
        if self.answers.is_typed:
            from filer.shell.line.answers import may_ask

            if may_ask(session.commands, line):
                return self.answers.unseen()
        return nullcontext()

    def _next_command(self, session: Session) -> str | None:
        """Return the next logical line, or None at the end of the input."""
        line = self._line()
        while line is not None and self._is_unread_answer(session, line):
            line = self._line()
        if line is None:
            return None
        from filer.shell.line.words import LogicalLine

        self.console.at(self.lines.file, self.lines.number)
        logical = LogicalLine()
        session.outcome = None
        lines = self._command = [line]
        with self._keeping(session):
            while logical.add(line):
                following = self._line()
                if following is None:
                    logical.end()
                    break
                line = following
                if not logical.is_too_long:  # else it may be the answer to a question
                    lines.append(line)
        if self.console.shows_commands:
            self._show_command(session, str(logical), lines)
        return str(logical)

    def _show_command(self, session: Session, line: str, lines: Sequence[str]) -> None:
        """Show the ``lines`` that ``line`` joins, without what may be a secret."""
        if (shown_line := session.shown(line)) != line:
            lines = shown_line.split("\n")
        for prompt, shown in zip((session.prompt, *repeat(">", len(lines))), lines, strict=False):
            self.console.echo(prompt, shown)

    def _line(self) -> str | None:
        if self._kept:
            return self._kept.popleft()
        with self.signals.waiting():
            line = self.lines.line()
        try:
            self.signals.end_if_asked()  # a signal may have closed the input
        except Ended:
            if line is not None:
                self._kept.append(line)
            raise
        return line

    def _skip_answers(self, unread: int) -> None:
        if self.answers is self.lines and not self.answers.is_typed:
            self._unread = unread
        else:
            self.answers.skip(unread)

    def _is_unread_answer(self, session: Session, line: str) -> bool:
        """Say whether ``line`` is an answer to a dialogue that failed or never began.

        After ALL_ANSWERS, every line is until one parses as a command.  A passphrase among them
        must never run, nor be printed, as a command.
        """
        if self._unread == 0:
            return self._is_stray_answer(session, line)
        if self._unread == ALL_ANSWERS:
            from filer.shell.line.parsing import would_run

            if not is_passphrase(line) and would_run(session.commands, line):
                self._unread = 0
                return False
            return True
        self._unread -= 1
        return True

    def _is_stray_answer(self, session: Session, line: str) -> bool:
        """Say whether ``line`` is an answer for which the failed command before it never asked."""
        if self._stray == 0:
            return False
        from filer.shell.line.answers import may_be_command

        if not is_passphrase(line) and may_be_command(session.commands, line):
            self._stray = 0
            return False
        self._stray -= 1
        return True
