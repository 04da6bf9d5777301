"""Panics in a row, counted on the boot device.

Each boot without keys costs every locked disk one of its 1024 tries (man key_manager,
LIMITATIONS), so a filer that panics again and again must stop trying, whoever starts it.
"""

from pathlib import Path

from filer.host.durable import Storage
from filer.host.reading import NotThereError
from filer.host.toml_file import Document

LIMIT = 10
"""From so many panics in a row on, a boot is held back until a key server has answered."""


class Panics:
    """The count of panics since the filer last came up."""

    def __init__(self, path: Path, storage: Storage) -> None:
        self._path = path
        self._storage = storage

    @property
    def in_a_row(self) -> int:
        """How many boots in a row have panicked.  Raises ConfigError if the file is damaged."""
        try:
            document = Document.read(f"var/{self._path.name}", self._path)
        except NotThereError:
            return 0
        count = document.values.get("in_a_row")
        if type(count) is not int or count < 0:
            raise document.error(("in_a_row",), "in_a_row must be the number of panics")
        return count

    @property
    def at_limit(self) -> bool:
        """Whether there were so many that a boot is to spare the disks."""
        return self.in_a_row >= LIMIT

    def add(self) -> None:
        """Count one more."""
        self._write(self.in_a_row + 1)

    def clear(self) -> None:
        """Begin anew: the filer is up."""
        if self.in_a_row:
            self._write(0)

    def _write(self, count: int) -> None:
        self._storage.write(self._path, f"in_a_row = {count}\n".encode())
