"""--record: writes what a session shows, and what is answered to it, into an asciicast file."""

import io
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import NamedTuple, TextIO

from filer.host.errors import FilerError
from filer.host.quoting import HIDDEN, may_be_secret
from filer.host.text import printable
from filer.shell.batch.script import WIDTH, Input, ScriptConsole
from filer.shell.prompt.reader import LineReader
from filer.shell.prompt.settings import Settings
from filer.shell.prompt.terminal import TerminalConsole
from filer.shell.recording.asciicast import CTRL_C, CTRL_D, ENTER, Asked, Kind, Mode, event, header
from filer.shell.session import Session
from filer.shell.signals import Signals

HEIGHT = 24
"""Rows of a recording whose output is no terminal."""

_BARE_LINE_END = re.compile(r"(?<!\r)\n")


class _Taken(NamedTuple):
    """An event that waits for its turn."""

    seconds: float
    kind: Kind
    text: str


class Reading:
    """What is being typed: ``reply`` is the line once there is one."""

    reply = CTRL_D


class Recorder:
    """Records one session, from its creation on.

    ``write`` is given each line of the file; ``clock`` counts seconds; ``size`` tells columns and
    rows of the terminal.  The output while somebody types is held back until the line is known,
    because the marker with the line stands before it.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        mode: Mode,
        *,
        clock: Callable[[], float],
        size: Callable[[], tuple[int, int]],
        timestamp: int,
        environment: Mapping[str, str],
    ) -> None:
        self._write, self._clock, self._size_of = write, clock, size
        self._typing: list[_Taken] | None = None
        self._paused = False
        self._begun = clock()
        self._size = size()
        write(header(*self._size, timestamp, environment))
        self._put(self._taken(Kind.MARKER, mode))

    def output(self, text: str) -> None:
        """Take what is sent to the terminal, and before it the new size if there is one."""
        if self._paused or not text:
            return
        size = self._size_of()
        if size != self._size:
            self._size = size
            self._take(Kind.RESIZE, f"{size[0]}x{size[1]}")
        self._take(Kind.OUTPUT, _BARE_LINE_END.sub("\r\n", text))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take no output meanwhile."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False

    @contextmanager
    def reading(self, asked: Asked, prompt: str) -> Iterator[Reading]:
        """Take what is shown meanwhile for the typing of a reply to ``prompt``."""
        begun = self._now()
        reading = Reading()
        self._typing = []
        try:
            yield reading
        except KeyboardInterrupt:
            reading.reply = CTRL_C
            raise
        finally:
            ended = reading.reply in (CTRL_C, CTRL_D)
            typed = "" if ended or asked is not Asked.COMMAND else printable(reading.reply)
            marker = f"{asked}{prompt.rstrip()} {typed}".rstrip()
            typing, self._typing = self._typing, None
            kept = "" if asked is Asked.SECRET and not ended else reading.reply
            if asked is Asked.ANSWER and may_be_secret(kept):
                kept = HIDDEN
                shown = f"{prompt}{HIDDEN}\r\n"
                typing = [each for each in typing if each.kind is not Kind.OUTPUT]
                typing.append(self._taken(Kind.OUTPUT, shown))
            for each in (_Taken(begun, Kind.MARKER, marker), *typing):
                self._put(each)
            self._put(self._taken(Kind.INPUT, kept if ended else f"{kept}{ENTER}"))

    def _now(self) -> float:
        return self._clock() - self._begun

    def _taken(self, kind: Kind, text: str) -> _Taken:
        return _Taken(self._now(), kind, text)

    def _take(self, kind: Kind, text: str) -> None:
        if self._typing is None:
            self._put(self._taken(kind, text))
        else:
            self._typing.append(self._taken(kind, text))

    def _put(self, taken: _Taken) -> None:
        self._write(event(*taken))


class _Tee(io.TextIOBase):
    """A standard stream whose output is recorded too."""

    def __init__(self, stream: TextIO, recorder: Recorder) -> None:
        self._stream, self._recorder = stream, recorder

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream."""
        return self._stream.encoding

    def write(self, text: str) -> int:
        """Write and record."""
        written = self._stream.write(text)
        self._recorder.output(text)
        return written

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The descriptor of the stream."""
        return self._stream.fileno()


class RecordedReader(LineReader):
    """Reads as another reader does, and has it recorded."""

    def __init__(self, reader: LineReader, recorder: Recorder) -> None:
        self._reader, self._recorder = reader, recorder

    @property
    def is_watched(self) -> bool:
        """Whether a person watches a screen with colours, which changes as work goes on."""
        return self._reader.is_watched

    def attach(self, session: Session) -> None:
        """Read the lines of ``session``."""
        self._reader.attach(session)

    def line(self, prompt: str, before: str = "") -> str:
        """Return a line of commands.  Raises EOFError or KeyboardInterrupt."""
        return self._read(partial(self._reader.line, before=before), Asked.COMMAND, prompt)

    def answer(self, prompt: str) -> str:
        """Return an answer.  Raises EOFError or KeyboardInterrupt."""
        return self._read(self._reader.answer, Asked.ANSWER, prompt)

    def secret(self, prompt: str) -> str:
        """Return an answer that is recorded nowhere.  Raises EOFError or KeyboardInterrupt."""
        return self._read(self._reader.secret, Asked.SECRET, prompt)

    def interject(self, show: Callable[[], None]) -> None:
        """Show something, even while a line is read."""
        self._reader.interject(show)

    def discard(self) -> None:
        """Drop what was typed ahead, and what is typed until a moment passes without a key."""
        self._reader.discard()

    def lent(self) -> AbstractContextManager[None]:
        """Give the terminal to another program, such as a pager."""
        return self._reader.lent()

    def _read(self, read: Callable[[str], str], asked: Asked, prompt: str) -> str:
        with self._recorder.reading(asked, prompt) as reading:
            reply = read(prompt)
            if not self._reader.draws:
                self._recorder.output("\n" if asked is Asked.SECRET else f"{reply}\n")
            reading.reply = reply
        return reply


class RecordedTerminalConsole(TerminalConsole):
    """The console of a person whose manual pages are recorded as their text."""

    def __init__(
        self, reader: LineReader, signals: Signals, recorder: Recorder, settings: Settings
    ) -> None:
        super().__init__(reader, signals, settings)
        self._recorder = recorder

    def page(self, text: str) -> None:
        """Show a long text in the pager."""
        self._recorder.output(text)
        with self._recorder.paused():
            super().page(text)


class RecordedScriptConsole(ScriptConsole):
    """The console of a script, which is recorded as ``-x`` shows it, with no FILE:LINE."""

    def __init__(
        self, answers: Input, signals: Signals, recorder: Recorder, *, echo: bool = False
    ) -> None:
        super().__init__(answers, signals, echo=echo)
        self._recorder = recorder

    def fail(self, message: str) -> None:
        """Print a failure."""
        self._recorder.output(f"{message}\n")
        with self._recorder.paused():
            super().fail(message)

    def echo(self, prompt: str, line: str) -> None:
        """Record prompt and command, and print them if that is asked for."""
        with self._recorder.paused():
            super().echo(prompt, line)
        with self._recorder.reading(Asked.COMMAND, prompt) as reading:
            self._recorder.output(f"{prompt} {printable(line)}\n")
            reading.reply = line

    def _ask(self, question: str, *, secret: bool) -> str:
        asked = Asked.SECRET if secret else Asked.ANSWER
        with self._recorder.reading(asked, question) as reading:
            self._recorder.output(question)
            with self._recorder.paused():
                answer = super()._ask(question, secret=secret)
            self._recorder.output("\n" if secret else f"{printable(answer)}\n")
            reading.reply = answer
        return answer


@contextmanager
def recording(path: str, mode: Mode) -> Iterator[Recorder]:
    """Record all that is written to the standard streams in a new file, mode 0600.

    When the file can take no more, the session goes on and the recording does not; this is told
    at the end.  A start that is refused leaves no file.  Raises FilerError, also if there is such
    a file already.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except (OSError, ValueError) as error:
        raise _failure(path, error) from None
    problems: list[OSError] = []

    def write(line: str) -> None:
        left = line.encode()
        try:
            while left and not problems:
                left = left[file.write(left) :]
        except OSError as problem:
            problems.append(problem)

    with os.fdopen(descriptor, "wb", buffering=0) as file:
        recorder = Recorder(
            write,
            mode,
            clock=time.monotonic,
            size=shutil.get_terminal_size if mode is Mode.INTERACTIVE else _no_terminal,
            timestamp=int(time.time()),
            environment=os.environ,
        )
        begun = file.tell()
        try:
            with (
                redirect_stdout(_Tee(sys.stdout, recorder)),
                redirect_stderr(_Tee(sys.stderr, recorder)),
            ):
                yield recorder
        except FilerError:
            if file.tell() == begun:
                Path(path).unlink()
            raise
    if problems:
        raise _failure(path, problems[0])


def _no_terminal() -> tuple[int, int]:
    return WIDTH, HEIGHT


def _failure(path: str, error: OSError | ValueError) -> FilerError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return FilerError(f"cannot record in {printable(path)}: {reason}")
