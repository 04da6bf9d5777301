"""The history of the prompt, in a file that only its owner can read."""

import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from prompt_toolkit.history import FileHistory, History

from filer.host.durable import Storage, StorageError
from filer.host.reading import NEVER_WAIT
from filer.shell.line.length import LONGEST
from filer.shell.prompt.history_size import LARGEST, fitting

_ENTRY = b"\n# "
"""The beginning of a ``FileHistory`` entry: an empty line, then the time in a comment."""


class ConsoleHistory(History):
    """The lines typed at the prompt, except those that begin with a blank or may be a secret.

    ``before`` has the lines that the next line continues; ``hides`` says of a logical line whether
    it may be a secret.
    """

    before = ""
    hides: Callable[[str], bool] = staticmethod(lambda _line: False)

    def append_string(self, string: str) -> None:
        """Add a line, if it may be kept and is not too long to run."""
        line = f"{self.before}{string}"
        if not line.startswith(" ") and len(string) <= LONGEST and not self.hides(line):
            super().append_string(string)
            del self._loaded_strings[fitting(self._loaded_strings) :]


class SessionHistory(ConsoleHistory):
    """A history in memory, for one session."""

    def load_history_strings(self) -> Iterable[str]:
        return self._loaded_strings

    def store_string(self, string: str) -> None:
        """Keep it in memory only."""


class PrivateFileHistory(ConsoleHistory, FileHistory):
    """A history file with mode 0600."""

    def store_string(self, string: str) -> None:
        try:
            super().store_string(string)
        except OSError:
            return  # the home is full or read-only: only this session's history is lost

    def load_history_strings(self) -> Iterable[str]:
        """Return the lines, newest first; none if the file cannot be read."""
        try:
            return list(super().load_history_strings())
        except OSError:
            return []


def open_history(directory: Path | None) -> ConsoleHistory:
    """Return the history in ``directory``; one in memory if there is none, or for a bad file."""
    if directory is None:
        return SessionHistory()
    path = directory / "history"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _provide(path)
        _shorten(path)
    except OSError:
        return SessionHistory()
    return PrivateFileHistory(path)


def _provide(path: Path) -> None:
    """Create the file, or make it private.  Raises OSError unless it is a regular file."""
    if path.exists():
        _require_regular(path.stat())  # opening a FIFO waits, and a device may act
    descriptor = os.open(path, NEVER_WAIT | os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        _require_regular(os.fstat(descriptor))
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError


def _shorten(path: Path) -> None:
    """Drop the older half of a large history; keep all if the file cannot be written."""
    if path.stat().st_size <= LARGEST:
        return
    with path.open("rb") as file:
        file.seek(-LARGEST // 2, os.SEEK_END)
        newest = file.read()
    start = newest.find(_ENTRY)
    with suppress(StorageError):
        Storage().write(path.resolve(), newest[start:] if start >= 0 else b"")
