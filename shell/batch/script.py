"""Commands from -c, a file or a pipe: one a line, each run as it arrives."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Protocol, TextIO

from filer.commands import ALL_ANSWERS, EndOfAnswers, Leave, Result
from filer.host.passphrase_rule import is_passphrase
from filer.host.quoting import shown_answer
from filer.host.standard_streams import write
from filer.host.text import printable
from filer.running.progress import show_nothing
from filer.shell.line.length import LineTooLong, checked, cut
from filer.shell.prompt.reader import LineReader
from filer.shell.session import FAILED, OK, Session
from filer.shell.signals import Signals

WIDTH = 80
"""Columns of an output that is no terminal."""


class Input(Protocol):
    """Lines as they arrive; None at the end."""

    is_typed: bool
    """Whether answers are typed at a terminal, which shows the line end of each."""

    def line(self) -> str | None:
        """Return the next line without its line end, or None."""

    def secret(self, ask: Callable[[], object]) -> str | None:
        """``ask``, and return the next line as ``line`` does, without showing it anywhere."""

    def skip(self, count: int) -> None:
        """Pass over the next ``count`` lines, or with ALL_ANSWERS over all there are."""

    def unseen(self) -> AbstractContextManager[None]:
        """Keep off the screen what is typed while a command runs that may ask for a secret."""


class LineInput:
    """Lines of a file or a pipe, or of ``-c`` options."""

    is_typed = False

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines: Iterator[bytes] = iter(lines)
        self._skipped = 0
        self.number = 0

    def line(self) -> str | None:
        """Return the next line; a carriage return before the line end belongs to the line end.

        Of a line that is too long, it is a part that is still too long.
        """
        for data in self._lines:
            self.number += 1
            if self._skipped == 0:
                return cut(os.fsdecode(data.removesuffix(b"\n").removesuffix(b"\r")))
            if self._skipped != ALL_ANSWERS:
                self._skipped -= 1
        return None

    def secret(self, ask: Callable[[], object]) -> str | None:
        """Ask, and return the next line."""
        ask()
        return self.line()

    def skip(self, count: int) -> None:
        """Pass over lines when the next one is asked for, and over those that still are to be."""
        ends = ALL_ANSWERS not in (count, self._skipped)
        self._skipped = self._skipped + count if ends else ALL_ANSWERS

    def unseen(self) -> AbstractContextManager[None]:
        """Do nothing: a file or a pipe shows nothing."""
        return nullcontext()


class KeyboardLines(LineInput):
    """Commands and their answers that a person types into ``reader``, as for ``filer -``."""

    is_typed = True

    def __init__(self, reader: LineReader) -> None:
        super().__init__(())
        self._reader = reader

    def line(self) -> str | None:
        """Return what is typed up to Enter."""
        return self._read(self._reader.answer)

    def secret(self, ask: Callable[[], object]) -> str | None:
        """Ask, and return what is typed up to Enter, not echoed."""
        ask()
        return self._read(self._reader.secret)

    def _read(self, read: Callable[[str], str]) -> str | None:
        self.number += 1
        with suppress(EOFError):
            return read("")
        return None

    def skip(self, count: int) -> None:
        """Drop what was typed ahead."""
        if count:
            self._reader.discard()


class KeyboardInput:
    """Answers of a person, for a ``-c`` command that asks.

    The terminal is touched only while such a command runs: another program may use it too.
    """

    is_typed = True

    def __init__(self, open_reader: Callable[[], AbstractContextManager[LineReader]]) -> None:
        self._open_reader = open_reader
        self._reader: LineReader | None = None

    @contextmanager
    def unseen(self) -> Iterator[None]:
        """Keep off the screen what is typed, but at a question whose answer is shown."""
        with self._open() as reader:
            before, self._reader = self._reader, reader
            try:
                yield
            finally:
                self._reader = before

    def _open(self) -> AbstractContextManager[LineReader]:
        return self._open_reader() if self._reader is None else nullcontext(self._reader)

    def line(self) -> str | None:
        """Return what is typed up to Enter."""
        with self._open() as reader, suppress(EOFError):
            return reader.answer("")
        return None

    def secret(self, ask: Callable[[], object]) -> str | None:
        """Ask, and return what is typed up to Enter, not echoed: not even what is typed at once."""
        with self._open() as reader, suppress(EOFError):
            ask()
            return reader.secret("")
        return None

    def skip(self, count: int) -> None:
        """Drop what was typed ahead: a person sees which question an answer is for."""
        if count:
            with self._open() as reader:
                reader.discard()


class ScriptConsole:
    """The console of a script: results to standard output, failures to standard error."""

    is_terminal = False
    width = WIDTH

    def __init__(
        self,
        answers: Input,
        signals: Signals,
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
        """Print a result."""
        write(self._out, "".join(f"{line}\n" for line in result.lines()))

    def at(self, file: str | None, number: int) -> None:
        """Go to a line of the input, which failures have before them if it is that of a file."""
        self.prefix = f"{printable(file)}:{number}: " if file is not None else ""

    def fail(self, message: str) -> None:
        """Print a failure, behind the place in the file that it is about."""
        write(self._err, f"{self.prefix}{message}\n")

    def warn(self, message: str) -> None:
        """Print a warning, where failures go."""
        write(self._err, f"{message}\n")

    def echo(self, prompt: str, line: str) -> None:
        """Print prompt and command as a console log shows them, if that is asked for."""
        if self._echo:
            write(self._out, f"{prompt} {printable(line)}\n")

    def ask(self, question: str) -> str:
        """Print the question and take the next line for the answer."""
        return self._ask(question, secret=False)

    def ask_secret(self, question: str) -> str:
        """Print the question and take the next line for the answer, never shown."""
        return self._ask(question, secret=True)

    def _ask(self, question: str, *, secret: bool) -> str:
        answer = self._answer(lambda: write(self._out, question), secret=secret)
        if not self._answers.is_typed:
            shown = shown_answer(answer) if self._echo and answer and not secret else ""
            write(self._out, f"{shown}\n")
        if answer is None:
            raise EndOfAnswers
        return answer

    def _answer(self, ask: Callable[[], object], *, secret: bool) -> str | None:
        with self._signals.waiting():
            if secret:
                answer = self._answers.secret(ask)
            else:
                ask()
                answer = self._answers.line()
        self._signals.end_if_asked()
        if answer is not None:
            self.answers_read += 1
            checked(answer)
        return answer

    def page(self, text: str) -> None:
        """Print a long text."""
        write(self._out, text)

    progress = staticmethod(show_nothing)


class Script:
    """Runs the lines of an input, through the same sessions that people use."""

    def __init__(
        self,
        lines: LineInput,
        answers: Input,
        console: ScriptConsole,
        signals: Signals,
        *,
        file: str | None = None,
        exit_on_error: bool = False,
    ) -> None:
        self.status = OK
        self._lines = lines
        self._answers = answers
        self._answers_among_lines = answers is lines
        self._console = console
        self._signals = signals
        self._file = file
        self._exit_on_error = exit_on_error
        self._unread = 0

    def run(self, session: Session) -> None:
        """Run lines until the input ends; ``status`` tells if all succeeded.

        Raises Leave when a line asks for it; then the next call goes on behind it.
        """
        while True:
            try:
                line = self._next_command(session)
            except LineTooLong as refusal:  # of a keyboard
                status = self._refuse(refusal)
            else:
                if line is None:
                    return
                status = self._execute(session, line)
            if status != OK:
                self.status = FAILED
                if self._exit_on_error:
                    return

    def _refuse(self, refusal: LineTooLong) -> int:
        self._console.fail(str(refusal))
        self._answers.skip(ALL_ANSWERS)
        return FAILED

    def _execute(self, session: Session, line: str) -> int:
        """Run a line, and pass over the answers to it that are left unread if it fails."""
        self._console.answers_read = 0
        status = FAILED  # also if a command takes the power
        with self._unseen(session, line):
            try:
                status = session.execute(line, exit_on_error=self._exit_on_error)
            except Leave as leave:
                if leave.after_failure:
                    self.status = FAILED
                raise
            finally:
                if status != OK:
                    self._pass_over(session.unread_answers(line, self._console.answers_read))
        return status

    def _unseen(self, session: Session, line: str) -> AbstractContextManager[None]:
        """Keep off the screen what is typed while ``line`` runs, if it may ask for a secret."""
        if self._answers.is_typed:
            from filer.shell.line.answers import may_ask

            if may_ask(session.commands, line):
                return self._answers.unseen()
        return nullcontext()

    def _next_command(self, session: Session) -> str | None:
        """Return the next logical line, or None at the end of the input."""
        line = self._line()
        while line is not None and self._is_unread_answer(session, line):
            line = self._line()
        if line is None:
            return None
        from filer.shell.line.words import LogicalLine

        self._console.at(self._file, self._lines.number)
        self._console.echo(session.prompt, line)
        logical = LogicalLine()
        while logical.add(line):
            following = self._line()
            if following is None:
                logical.end()
                break
            line = following
            if not logical.is_too_long:  # or it may be the answer to a question
                self._console.echo(">", line)
        return str(logical)

    def _line(self) -> str | None:
        with self._signals.waiting():
            line = self._lines.line()
        self._signals.end_if_asked()  # the end of the input may be that of the session
        return line

    def _pass_over(self, unread: int) -> None:
        if self._answers_among_lines and not self._answers.is_typed:
            self._unread = unread
        else:
            self._answers.skip(unread)

    def _is_unread_answer(self, session: Session, line: str) -> bool:
        """Say whether ``line`` was meant to answer a dialogue that failed or never began.

        A passphrase among such answers must never run, nor be printed, as a command.
        """
        if self._unread == 0:
            return False
        if self._unread == ALL_ANSWERS:
            if not is_passphrase(line) and session.would_run(line):
                self._unread = 0
                return False
            return True
        self._unread -= 1
        return True
