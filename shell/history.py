"""The history file: what was typed at the prompt, readable by its owner alone."""

import os
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit.history import FileHistory, History, InMemoryHistory


class PrivateFileHistory(FileHistory):
    """A history file with mode 0600; a line that begins with a blank is left out of it."""

    def store_string(self, string: str) -> None:
        """Append a line, unless it begins with a blank or the file cannot be written."""
        if string.startswith(" "):
            return
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


def open_history(directory: Path) -> History:
    """Return the history kept in ``directory``; one in memory if that cannot be used."""
    path = directory / "history"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
    except OSError:
        return InMemoryHistory()
    return PrivateFileHistory(path)
