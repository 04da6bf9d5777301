"""--record: write the output and the replies of a session to an asciicast file."""

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
from filer.host.quoting import HIDDEN, may_contain_secret
from filer.host.text import printable
from filer.shell.batch.inputs import Input
from filer.shell.batch.script import WIDTH, ScriptConsole
from filer.shell.prompt.reader import LineReader
from filer.shell.prompt.settings import Settings
from filer.shell.prompt.terminal import TerminalConsole
from filer.shell.recording.asciicast import CTRL_C, CTRL_D, ENTER, Asked, Kind, Mode, event, header
from filer.shell.session import Session
from filer.shell.signals import Signals

HEIGHT = 24
"""Rows of a recording whose output is not a terminal."""

_BARE_LINE_END = re.compile(r"(?<!\r)\n")


class _Taken(NamedTuple):
    """An event that is not written yet."""

    seconds: float
    kind: Kind
    text: str


class Reading:
    """The reading of a reply; set ``reply`` to the line that was read."""

    reply = CTRL_D


class Recorder:
    """Records one session, from its creation on.

    ``write`` receives each line of the file; ``clock`` returns seconds; ``size`` returns columns
    and rows of the terminal.  Output during typing is delayed until the line is known, because the
    marker before it contains the line.
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
        self._secret_typed = False
        self._begun = clock()
        self._size = size()
        write(header(*self._size, timestamp, environment))
        self._put(self._taken(Kind.MARKER, mode))

    def output(self, text: str) -> None:
        """Record output, and before it a change of the terminal size."""
        if self._paused or not text:
            return
        size = self._size_of()
        if size != self._size:
            self._size = size
            self._take(Kind.RESIZE, f"{size[0]}x{size[1]}")
        self._take(Kind.OUTPUT, _BARE_LINE_END.sub("\r\n", text))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Record no output in the block."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False

    @contextmanager
    def reading(
        self, asked: Asked, prompt: str, hides: Callable[[str], bool] = may_contain_secret
    ) -> Iterator[Reading]:
        """Record the output in the block as the echo of a reply to ``prompt``.

        A reply that ``hides`` accepts is not recorded, nor is its echo.  If what was `typed` and
        taken back may be a secret, the whole reply is recorded at once, as after a plain prompt.
        """
        begun = self._now()
        reading = Reading()
        self._typing, self._secret_typed = [], False
        try:
            yield reading
        except KeyboardInterrupt:
            reading.reply = CTRL_C
            raise
        finally:
            ended = reading.reply in (CTRL_C, CTRL_D)
            typing, self._typing = self._typing, None
            kept = "" if asked is Asked.SECRET and not ended else reading.reply
            if is_hidden := hides(kept):
                kept = HIDDEN
            shown = "" if ended else printable(kept)
            if is_hidden or self._secret_typed:
                typing = [each for each in typing if each.kind is not Kind.OUTPUT]
                typing.append(self._taken(Kind.OUTPUT, f"{prompt.rstrip()} {shown}\r\n"))
            typed = shown if asked is Asked.COMMAND else ""
            marker = f"{asked}{prompt.rstrip()} {typed}".rstrip()
            for each in (_Taken(begun, Kind.MARKER, marker), *typing):
                self._put(each)
            self._put(self._taken(Kind.INPUT, kept if ended else f"{kept}{ENTER}"))

    def typed(self, text: str) -> None:
        """Take note of ``text``, which the line editor shows at the moment; it may be erased."""
        self._secret_typed = self._secret_typed or may_contain_secret(text)

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
    """A standard stream that is recorded too."""

    def __init__(self, stream: TextIO, recorder: Recorder) -> None:
        self._stream, self._recorder = stream, recorder

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    def write(self, text: str) -> int:
        written = self._stream.write(text)
        self._recorder.output(text)
        return written

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()


class RecordedReader(LineReader):
    """A reader that records the lines of another reader."""

    def __init__(self, reader: LineReader, recorder: Recorder) -> None:
        self._reader, self._recorder = reader, recorder
        self._hides: Callable[[str], bool] = may_contain_secret

    @property
    def is_watched(self) -> bool:
        return self._reader.is_watched

    def attach(self, session: Session) -> None:
        self._reader.attach(session)
        self._hides = session.hides

    def line(self, prompt: str, before: str = "") -> str:
        def hides(reply: str) -> bool:
            return self._hides(f"{before}{reply}")

        return self._read(partial(self._reader.line, before=before), Asked.COMMAND, prompt, hides)

    def answer(self, prompt: str) -> str:
        return self._read(self._reader.answer, Asked.ANSWER, prompt)

    def secret(self, prompt: str) -> str:
        return self._read(self._reader.secret, Asked.SECRET, prompt)

    def interject(self, show: Callable[[], None]) -> None:
        self._reader.interject(show)

    def discard(self) -> None:
        self._reader.discard()

    def lent(self) -> AbstractContextManager[None]:
        return self._reader.lent()

    def _read(
        self,
        read: Callable[[str], str],
        asked: Asked,
        prompt: str,
        hides: Callable[[str], bool] = may_contain_secret,
    ) -> str:
        with self._recorder.reading(asked, prompt, hides) as reading:
            reply = read(prompt)
            if not self._reader.draws:
                self._recorder.output("\n" if asked is Asked.SECRET else f"{reply}\n")
            reading.reply = reply
        return reply


class RecordedTerminalConsole(TerminalConsole):
    """The recorded console of a person; long texts are recorded without the pager."""

    def __init__(
        self, reader: LineReader, signals: Signals, recorder: Recorder, settings: Settings
    ) -> None:
        super().__init__(reader, signals, settings)
        self._recorder = recorder

    def page(self, text: str) -> None:
        self._recorder.output(text)
        with self._recorder.paused():
            super().page(text)


class RecordedScriptConsole(ScriptConsole):
    """The recorded console of a script: as with ``-x``, without FILE:LINE.

    The script has hidden the lines of commands that may be secrets.
    """

    def __init__(
        self, answers: Input, signals: Signals, recorder: Recorder, *, echo: bool = False
    ) -> None:
        super().__init__(answers, signals, echo=echo)
        self._recorder = recorder

    def fail(self, message: str) -> None:
        self._recorder.output(f"{message}\n")
        with self._recorder.paused():
            super().fail(message)

    @property
    def shows_commands(self) -> bool:
        return True

    def echo(self, prompt: str, line: str) -> None:
        with self._recorder.paused():
            super().echo(prompt, line)
        with self._recorder.reading(Asked.COMMAND, prompt, _hides_nothing) as reading:
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
    """Record the standard streams in the block to a new file, mode 0600.

    If a write fails, the session goes on without recording, and the error is raised at the end.  A
    refused start leaves no file.  Raises FilerError, also if the file exists.
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
            size=shutil.get_terminal_size if mode is Mode.INTERACTIVE else lambda: (WIDTH, HEIGHT),
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


def _hides_nothing(_line: str) -> bool:
    return False


def _failure(path: str, error: OSError | ValueError) -> FilerError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return FilerError(f"cannot record in {printable(path)}: {reason}")
