"""Faults of drives, for rehearsals: they change a disk file as the fault would."""

from pathlib import Path

from filer.disks.head import HeadFile
from filer.disks.header import DATA_OFFSET
from filer.disks.record import LOCKOUT_LIMIT
from filer.host.durable import Storage


def lock_out(path: Path, storage: Storage) -> None:
    """Give the disk the count that failed authentications in a row would; it must be off.

    Raises DiskError if the head of the disk is damaged, or StorageError.
    """
    HeadFile(path, storage).write_record(failures=LOCKOUT_LIMIT)


def fail(path: Path, storage: Storage) -> None:
    """Erase the head of the disk: nothing can be read from it any more.  Raises StorageError."""
    storage.overwrite(path, 0, bytes(DATA_OFFSET))
