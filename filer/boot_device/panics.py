"""The number of consecutive panics, stored on the boot device.

Each boot without keys costs every locked disk one of its 1024 tries (man key_manager,
LIMITATIONS), so a filer that panics repeatedly must stop trying, even if a script restarts it.
"""

from pathlib import Path

from filer.host.durable import Storage
from filer.host.toml_file import Document, dump, whole

LIMIT = 10
"""After this many consecutive panics, a boot waits until a key server has answered."""


class Panics:
    """The number of panics since the last successful boot."""

    def __init__(self, path: Path, storage: Storage) -> None:
        self._path = path
        self._storage = storage

    @property
    def in_a_row(self) -> int:
        """The number of consecutive panics.  Raises ConfigError if the file is damaged."""
        document = Document.find(f"var/{self._path.name}", self._path)
        count = whole(0, rule="must be the number of panics")
        return document.take("in_a_row", count) if document else 0

    @property
    def at_limit(self) -> bool:
        """Whether a boot must wait for a key server, to save the disks from more failed tries."""
        return self.in_a_row >= LIMIT

    def add(self) -> None:
        """Count one more panic."""
        self._write(self.in_a_row + 1)

    def clear(self) -> None:
        """Reset the count after a successful boot."""
        if self.in_a_row:
            self._write(0)

    def _write(self, count: int) -> None:
        self._storage.write(self._path, dump({"in_a_row": count}))
