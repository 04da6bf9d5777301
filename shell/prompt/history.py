"""The history: what was typed at the prompt, in a file that its owner alone can read."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from filer.host.durable import Storage, StorageError
from filer.shell.line.length import LONGEST

LARGEST = 1024 * 1024
"""Bytes of the history file above which its older half goes when a console opens it."""

_ENTRY = b"\n# "
"""What an entry of ``FileHistory`` begins with: the time in a comment, behind an empty line."""


class ConsoleHistory(History):
    """The lines typed at the prompt but those that begin with a blank.

    ``before`` has the lines that the next one continues.
    """

    before = ""

    def append_string(self, string: str) -> None:
        """Add a line, unless its beginning is a blank or it is too long to run."""
        if not f"{self.before}{string}".startswith(" ") and len(string) <= LONGEST:
            super().append_string(string)


class SessionHistory(ConsoleHistory, InMemoryHistory):
    """A history that ends with the session."""


class PrivateFileHistory(ConsoleHistory, FileHistory):
    """A history file with mode 0600."""

    def store_string(self, string: str) -> None:
        """Append a line, if the file can be written."""
        try:
            super().store_string(string)
        except OSError:
            # A full or read-only home costs the history of this session, nothing else.
            return

    def load_history_strings(self) -> Iterable[str]:
        """Read the lines, newest first; none if the file cannot be read."""
        try:
            return list(super().load_history_strings())
        except OSError:
            return []


def open_history(directory: Path) -> ConsoleHistory:
    """Return the history kept in ``directory``; one of the session if that cannot be used."""
    path = directory / "history"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
        _shorten(path)
    except OSError:
        return SessionHistory()
    return PrivateFileHistory(path)


def _shorten(path: Path) -> None:
    """Keep the newest entries of a history that has grown large, or all if it cannot be written."""
    if path.stat().st_size <= LARGEST:
        return
    with path.open("rb") as file:
        file.seek(-LARGEST // 2, os.SEEK_END)
        newest = file.read()
    start = newest.find(_ENTRY)
    with suppress(StorageError):
        Storage().write(path.resolve(), newest[start:] if start >= 0 else b"")
