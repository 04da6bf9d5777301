"""Storage below which there is a medium: what a loss of power, or a failed sync, leaves of a file.

The file is the page cache, which a process that is killed leaves to the next one.  ``Medium`` has
what is on the disk below it.  A write is *dirty* until a sync of its file; a sync that fails marks
the pages clean all the same, as Linux does, and whether they arrived is not known.
"""

from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from filer.disks.header import BLOCK_SIZE
from filer.host.durable import Storage, StorageError


class Killed(BaseException):
    """The process is gone; the cache is not."""


class Event(Enum):
    """What befalls one change of a file."""

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
        """Have ``event`` befall change ``at``, counted from now from 1."""
        self.changes, self._at, self._event = 0, at, event

    def overwrite(self, path: Path, offset: int, data: bytes) -> None:
        event = self._begin(path)
        super().overwrite(path, offset, data)
        self._dirty.append((offset, data))
        self._sync(event)

    def settle(self, path: Path) -> None:
        self._sync(self._begin(path))

    def _begin(self, path: Path) -> Event | None:
        """Count a change, and return what befalls its sync."""
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
        """Yield what the medium may have if power is lost now.

        Of the unsynced writes, each arrived or did not, or one of them cost its whole block.
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
