"""Where the lines of a script, and the answers to its questions, come from."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import BinaryIO, Protocol

from filer.commands import ALL_ANSWERS
from filer.host.errors import FilerError
from filer.host.text import printable
from filer.shell.line.length import Lines, cut
from filer.shell.prompt.reader import LineReader
from filer.shell.signals import Signals


class Input(Protocol):
    """Lines as they arrive; None at the end."""

    is_typed: bool
    """Whether answers are typed at a terminal, which echoes their line ends."""

    def line(self) -> str | None:
        """Return the next line without its line end, or None at the end."""

    def answer(self, ask: Callable[[], object]) -> str | None:
        """Call ``ask`` when keys can be read, and return the next line as `line` does."""

    def secret(self, ask: Callable[[], object]) -> str | None:
        """Do the same as `answer` without echo."""

    def skip(self, count: int) -> None:
        """Skip the next ``count`` lines, or with ALL_ANSWERS all that there are."""

    def unseen(self) -> AbstractContextManager[None]:
        """Suppress the echo in the block, where a command may ask for a secret."""


class Waits(Protocol):
    """The signals that may come while a script waits for a line."""

    def waiting(self) -> AbstractContextManager[None]:
        """Mark a wait, which a signal ends at once."""

    def end_if_asked(self) -> object:
        """Raise an exception if a signal has come that ends the script."""


def lines_read(stream: BinaryIO, name: str, signals: Signals) -> Lines:
    """Return the lines of a file, each as it arrives.

    A signal ends the wait for a line, and no line is lost by that.  Reading raises FilerError if
    the file cannot be read on.
    """

    def read(size: int) -> bytes:
        while True:
            signals.take_effect()
            if signals.wait_for(stream):
                break
        with signals.held():
            try:
                return os.read(stream.fileno(), size)
            except OSError as error:
                file = "standard input" if name == "-" else printable(name)
                raise FilerError(f"cannot read {file}: {error.strerror}") from None

    return Lines(read)


class LineInput:
    """Lines of a file or a pipe, or of ``-c`` options."""

    is_typed = False
    file: str | None = None
    """The file that the lines are read from, for failures to name."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines: Iterator[bytes] = iter(lines)
        self._skipped = 0
        self.number = 0

    def next_file(self) -> bool:
        """Go on to the next file, after the end of one; False if there is none."""
        return False

    def line(self) -> str | None:
        """Return the next line; its line end may be CR LF.

        A line that is too long is shortened, but stays too long.
        """
        for data in self._lines:
            self.number += 1
            if self._skipped == 0:
                return cut(os.fsdecode(data.removesuffix(b"\n").removesuffix(b"\r")))
            if self._skipped != ALL_ANSWERS:
                self._skipped -= 1
        return None

    def answer(self, ask: Callable[[], object]) -> str | None:
        ask()
        return self.line()

    secret = answer

    def skip(self, count: int) -> None:
        """Skip ``count`` more lines, lazily, at the next read."""
        ends = ALL_ANSWERS not in (count, self._skipped)
        self._skipped = self._skipped + count if ends else ALL_ANSWERS

    def unseen(self) -> AbstractContextManager[None]:
        return nullcontext()


class Files(LineInput):
    """The lines of several files, none a terminal: the end of each ends the dialogues in it."""

    def __init__(self, files: Iterable[tuple[str, BinaryIO]], signals: Signals) -> None:
        super().__init__(())
        self._files = iter(files)
        self._signals = signals
        self.next_file()

    def next_file(self) -> bool:
        """Go on to the next file; False if there is none."""
        for name, stream in self._files:
            super().__init__(lines_read(stream, name, self._signals))
            self.file = None if name == "-" else name
            return True
        return False


class KeyboardLines(LineInput):
    """Commands and answers that a person types into ``reader``, as for ``filer -``."""

    is_typed = True

    def __init__(self, reader: LineReader) -> None:
        super().__init__(())
        self._reader = reader

    def line(self) -> str | None:
        return self._read(self._reader.answer)

    def secret(self, ask: Callable[[], object]) -> str | None:
        ask()
        return self._read(self._reader.secret)

    def _read(self, read: Callable[[str], str]) -> str | None:
        self.number += 1
        with suppress(EOFError):
            return read("")
        return None

    def skip(self, count: int) -> None:
        """Drop all typeahead if ``count`` is not 0."""
        if count:
            self._reader.discard()


class KeyboardInput:
    """Answers of a person for a ``-c`` command that asks.

    The terminal modes are changed only while such a command runs: other programs may use it too.
    """

    is_typed = True

    def __init__(self, open_reader: Callable[[], AbstractContextManager[LineReader]]) -> None:
        self._open_reader = open_reader
        self._reader: LineReader | None = None

    @contextmanager
    def unseen(self) -> Iterator[None]:
        """Suppress the echo in the block, except at a question whose answer is shown."""
        with self._open() as reader:
            before, self._reader = self._reader, reader
            try:
                yield
            finally:
                self._reader = before

    def _open(self) -> AbstractContextManager[LineReader]:
        return self._open_reader() if self._reader is None else nullcontext(self._reader)

    def line(self) -> str | None:
        return self.answer(lambda: None)

    def answer(self, ask: Callable[[], object]) -> str | None:
        """Call ``ask`` once keys are read one by one, and return the next line."""
        with self._open() as reader, suppress(EOFError):
            ask()
            return reader.answer("")
        return None

    def secret(self, ask: Callable[[], object]) -> str | None:
        """Call ``ask`` once the echo is off, and return the next line."""
        with self._open() as reader, suppress(EOFError):
            ask()
            return reader.secret("")
        return None

    def skip(self, count: int) -> None:
        """Drop all typeahead if ``count`` is not 0: a person sees each question."""
        if count:
            with self._open() as reader:
                reader.discard()
