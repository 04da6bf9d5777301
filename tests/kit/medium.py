"""Storage with a medium below the page cache, to model power losses and failed syncs.

The file is the page cache, which survives a killed process. ``Medium`` keeps the content of the
disk. A write is *dirty* until the file is synced; a failed sync still marks the pages clean, as
Linux does, and may or may not have written them.
"""

from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from filer.disks.header import BLOCK_SIZE
from filer.host.durable import Storage, StorageError


class Killed(BaseException):
    """The process was killed; its cache survives."""


class Event(Enum):
    """A fault at one change of a file."""

    KILLED_BEFORE = "killed before the write"
    KILLED_UNSYNCED = "killed between write and sync"
    SYNC_LOST = "sync failed, nothing arrived"
    SYNC_LOST_TWICE = "sync failed, and the next one, nothing arrived"
    SYNC_FAILED = "sync failed, all arrived"
    NOT_WRITTEN = "write refused"


class Medium(Storage):
    """Storage of one file; ``changes`` counts its writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content = path.read_bytes()
        self.changes = 0
        self._dirty: list[tuple[int, bytes]] = []
        self._event: Event | None = None
        self._at = 0

    def arm(self, at: int, event: Event) -> None:
        """Apply ``event`` at change ``at``, counted from 1 from now on."""
        self.changes, self._at, self._event = 0, at, event

    def overwrite(self, path: Path, offset: int, data: bytes, inode: int = 0) -> None:
        event = self._begin(path)
        super().overwrite(path, offset, data, inode)
        self._dirty.append((offset, data))
        self._sync(event)

    def settle(self, path: Path) -> None:
        self._sync(self._begin(path))

    def _begin(self, path: Path) -> Event | None:
        """Count a change, and return the event of its sync."""
        assert path == self.path
        self.changes += 1
        event = self._event if self.changes == self._at else None
        if self._event is Event.SYNC_LOST_TWICE and self.changes == self._at + 1:
            event = Event.SYNC_LOST
        if event is Event.KILLED_BEFORE:
            raise Killed
        if event is Event.NOT_WRITTEN:
            raise StorageError("cannot write FILE: Input/output error")
        return event

    def _sync(self, event: Event | None) -> None:
        if event is Event.KILLED_UNSYNCED:
            raise Killed
        if event in (Event.SYNC_LOST, Event.SYNC_LOST_TWICE):
            self._dirty.clear()
            raise StorageError("cannot write FILE: Input/output error")
        for written in self._dirty:
            self._arrive(*written)
        self._dirty.clear()
        if event is Event.SYNC_FAILED:
            raise StorageError("cannot write FILE: Input/output error")

    def after_power_loss(self) -> Iterator[bytes]:
        """Yield the possible contents of the medium after a power loss now.

        Each unsynced write may have arrived, or not, or destroyed its whole block.
        """
        synced = self.content
        for chosen in range(1 << len(self._dirty)):
            self.content = synced
            for number, written in enumerate(self._dirty):
                if chosen >> number & 1:
                    self._arrive(*written)
            yield self.content
            arrived = self.content
            for offset, _data in self._dirty:
                self._arrive(offset - offset % BLOCK_SIZE, b"\xa5" * BLOCK_SIZE)
                yield self.content
                self.content = arrived
        self.content = synced

    def _arrive(self, offset: int, data: bytes) -> None:
        self.content = self.content[:offset] + data + self.content[offset + len(data) :]
