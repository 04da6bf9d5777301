"""The bays of a shelf: drives that are pulled and inserted, and the faults of drives.

A drive is its file.  A pulled one is moved, whole, into the directory `PULLED` of the shelf, from
which it can be inserted again.  That is safe while filers run: a filer never writes to a file that
has taken the place of another.  Only `fail` and `lock_out` change a drive; no key is ever changed.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

from filer.config import read as read_hardware
from filer.disks import faults
from filer.disks.bay import SUFFIX, disk_index
from filer.disks.derivation import Derivation
from filer.disks.disk import Disk, DiskError
from filer.disks.head import HeadFile
from filer.disks.header import Head
from filer.host.durable import Storage
from filer.host.errors import FilerError
from filer.host.lock import locked
from filer.host.quoting import quoted
from filer.host.text import printable
from filer.root import Root, RootInUse, RootLock

PULLED = "pulled"


class Drive(NamedTuple):
    """A drive, in a bay or pulled; ``head`` is None, with the reason, if it cannot be read."""

    name: str
    is_pulled: bool
    head: Head | None
    reason: str = ""


class Bays:
    """The bays of the shelf of the filer in ``root``.  Raises FilerError if there is no filer."""

    def __init__(self, root: Path, storage: Storage) -> None:
        self._root = Root.at(root)
        self._storage = storage
        self._root.examine()
        self._shelf = self._root.shelf
        if not (self._root.hardware.exists() and self._shelf.exists()):
            raise FilerError(f"{printable(str(root))} has no shelf; start filer there first")
        self._hardware = read_hardware(self._root.hardware)
        self._pulled = self._shelf / PULLED

    def drives(self) -> list[Drive]:
        """Return the drives by name: those in bays, then those that were pulled."""
        return [
            self._drive(path, is_pulled=directory == self._pulled)
            for directory in (self._shelf, self._pulled)
            for path in sorted(filter(_is_drive, directory.glob(f"*{SUFFIX}")), key=_place)
            if directory == self._pulled or disk_index(path.stem) is not None
        ]

    def pull(self, bay: str) -> str:
        """Take the drive out of ``bay``; return the name under which it can be inserted again."""
        with self._hands():
            drive = self._in(bay)
            names = (bay if number == 1 else f"{bay}-{number}" for number in count(1))
            name = next(name for name in names if not os.path.lexists(self._file(name)))
            self._storage.rename(drive, self._file(name))
            self._storage.settle(self._shelf)
        return name

    def insert(self, bay: str, name: str | None = None) -> Drive:
        """Put a drive into the free ``bay``: the pulled one ``name``, or a factory-new one."""
        if disk_index(bay) is None:
            raise FilerError(f"{quoted(bay)} is not a bay; they are named as 0c.00.12 is")
        path = self._shelf / f"{bay}{SUFFIX}"
        with self._hands():
            if os.path.lexists(path):
                raise FilerError(f"{bay} is not free")
            if name is None:
                size = self._hardware.disk_size
                Disk.create(bay, path, self._storage, Derivation(), size=size)
            else:
                if not _is_drive(self._file(name)):
                    raise FilerError(f"no pulled drive is called {quoted(name)}")
                self._storage.rename(self._file(name), path)
                self._storage.settle(self._pulled)
        return self._drive(path, is_pulled=False)

    def fail(self, bay: str) -> None:
        """Let the drive break down: its data and its data key are gone for good."""
        with self._hands():
            faults.fail(self._in(bay), self._storage)

    def lock_out(self, bay: str) -> None:
        """Let the drive have counted 1024 failed authentications.

        The filers that may have its count in memory must be off.  Raises FilerError if one is not.
        """
        roots = [self._root.path]
        if self._hardware.partner_root:
            roots.append(self._root.path / self._hardware.partner_root)
        with ExitStack() as stack:
            for root in filter(Path.exists, roots):
                try:
                    stack.callback(RootLock(Root.at(root), self._storage).release)
                except RootInUse as running:
                    raise FilerError(f"{running}; power it off first") from None
            faults.lock_out(self._in(bay), self._storage)

    def _in(self, bay: str) -> Path:
        path = self._shelf / f"{bay}{SUFFIX}"
        if disk_index(bay) is None or not _is_drive(path):
            raise FilerError(f"there is no drive in bay {quoted(bay)}")
        return path

    def _file(self, name: str) -> Path:
        return self._pulled / f"{Path(name).name}{SUFFIX}"

    def _drive(self, path: Path, *, is_pulled: bool) -> Drive:
        try:
            return Drive(path.stem, is_pulled, HeadFile(path, self._storage).head)
        except DiskError as problem:
            return Drive(path.stem, is_pulled, None, str(problem))

    @contextmanager
    def _hands(self) -> Iterator[None]:
        """Let one person at a time move drives."""
        self._storage.make_directory(self._pulled)

        def refusal(error: OSError) -> FilerError:
            return FilerError(f"{printable(str(self._pulled))} cannot be locked: {error.strerror}")

        with locked(self._pulled, os.O_RDONLY | os.O_DIRECTORY, refusal):
            yield


def _is_drive(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _place(path: Path) -> tuple[int, str]:
    return disk_index(path.stem.partition("-")[0]) or 0, path.stem
