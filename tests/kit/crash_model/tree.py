"""A file tree in memory: the content of a page cache or of a medium."""

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Self

SECTOR = 512
_EMPTY = bytes(SECTOR)
_STRETCH = 64 * SECTOR


class Kind(Enum):
    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"


class Inode(NamedTuple):
    """The identity of a file, directory or symbolic link; its number never changes."""

    number: int
    kind: Kind
    target: str = ""


@dataclass(frozen=True)
class Content:
    """The bytes of a file: its size, and the sectors that are not all zeros."""

    size: int = 0
    sectors: Mapping[int, bytes] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return the content of a file; a disk is nearly all zeros, which are passed over fast."""
        sectors = {}
        for begin in range(0, len(data), _STRETCH):
            stretch = data[begin : begin + _STRETCH]
            if stretch.count(0) < len(stretch):
                for start in range(begin, begin + len(stretch), SECTOR):
                    sector = data[start : start + SECTOR].ljust(SECTOR, b"\0")
                    if sector != _EMPTY:
                        sectors[start // SECTOR] = sector
        return cls(len(data), sectors)

    def written(self, offset: int, data: bytes, keep: Collection[int] | None = None) -> Self:
        """Return the content after a write of which only the sectors in ``keep`` arrived.

        Sectors are numbered from the first that the write touches. The size always grows.
        """
        sectors = dict(self.sectors)
        end = offset + len(data)
        first = offset // SECTOR
        for number in range(first, -(-end // SECTOR)):
            if keep is not None and number - first not in keep:
                continue
            start = number * SECTOR
            low, high = max(offset, start), min(end, start + SECTOR)
            old = sectors.get(number, _EMPTY)
            new = old[: low - start] + data[low - offset : high - offset] + old[high - start :]
            if new == _EMPTY:
                sectors.pop(number, None)
            else:
                sectors[number] = new
        return type(self)(max(self.size, end), sectors)

    def truncated(self, size: int) -> Self:
        """Return the content cut, or extended with zeros, to ``size`` bytes."""
        end = -(-size // SECTOR)
        sectors = {number: data for number, data in self.sectors.items() if number < end}
        if size % SECTOR and end - 1 in sectors:
            sectors[end - 1] = sectors[end - 1][: size % SECTOR].ljust(SECTOR, b"\0")
        return type(self)(size, {number: data for number, data in sectors.items() if any(data)})

    @cached_property
    def digest(self) -> bytes:
        digest = hashlib.blake2b(self.size.to_bytes(8, "big"), digest_size=16)
        for number in sorted(self.sectors):
            digest.update(number.to_bytes(8, "big") + self.sectors[number])
        return digest.digest()

    def store(self, path: Path) -> None:
        """Write the content to a sparse file at ``path``."""
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            for number, data in self.sectors.items():
                os.pwrite(handle, data, number * SECTOR)
            os.ftruncate(handle, self.size)
        finally:
            os.close(handle)


class Tree:
    root = Inode(0, Kind.DIRECTORY)

    def __init__(self) -> None:
        self.entries: dict[Inode, dict[str, Inode]] = {self.root: {}}
        self.contents: dict[Inode, Content] = {}

    @classmethod
    def load(cls, directory: Path) -> "Tree":
        tree = cls()
        known = {_identity(directory): cls.root}
        waiting = [(directory, cls.root)]
        while waiting:
            path, inode = waiting.pop()
            for entry in sorted(path.iterdir()):
                identity = _identity(entry)
                found = known.get(identity)
                if found is None:
                    found = known[identity] = inode_of(entry, len(known))
                    if found.kind is Kind.DIRECTORY:
                        tree.entries[found] = {}
                        waiting.append((entry, found))
                    elif found.kind is Kind.FILE:
                        tree.contents[found] = Content.of(entry.read_bytes())
                tree.entries[inode][entry.name] = found
        return tree

    @property
    def inodes(self) -> set[Inode]:
        """All known inodes, with or without a name."""
        named = {inode for names in self.entries.values() for inode in names.values()}
        return {*self.entries, *self.contents, *named}

    def copy(self) -> "Tree":
        """Return an independent copy."""
        copy = Tree()
        copy.entries = {inode: dict(names) for inode, names in self.entries.items()}
        copy.contents = dict(self.contents)
        return copy

    def walk(self, ignored: Collection[str] = ()) -> Iterator[tuple[str, Inode]]:
        """Yield the path and inode of everything below the root, except ``ignored`` paths."""
        waiting = [("", self.root)]
        while waiting:
            path, directory = waiting.pop()
            for name, inode in sorted(self.entries.get(directory, {}).items()):
                below = f"{path}/{name}" if path else name
                if below in ignored:
                    continue
                yield below, inode
                if inode.kind is Kind.DIRECTORY:
                    waiting.append((below, inode))

    def digest(self, ignored: Collection[str] = ()) -> bytes:
        """Return a hash of everything that a program can see, except ``ignored`` paths."""
        digest = hashlib.blake2b(digest_size=16)
        for path, inode in self.walk(ignored):
            digest.update(f"{path}\0{inode.kind.value}\0{inode.target}\0".encode())
            if inode.kind is Kind.FILE:
                digest.update(self.contents.get(inode, Content()).digest)
        return digest.digest()

    def store(self, directory: Path) -> None:
        """Create ``directory`` with the content of the tree."""
        directory.mkdir(mode=0o700)
        made: dict[Inode, Path] = {}
        for below, inode in self.walk():
            path = directory / below
            if inode in made:
                path.hardlink_to(made[inode])
                continue
            made[inode] = path
            match inode.kind:
                case Kind.DIRECTORY:
                    path.mkdir(mode=0o700)
                case Kind.LINK:
                    path.symlink_to(inode.target)
                case Kind.FILE:
                    self.contents.get(inode, Content()).store(path)


def inode_of(path: Path, number: int) -> Inode:
    """Return a new inode for the file at ``path``."""
    if path.is_symlink():
        return Inode(number, Kind.LINK, str(path.readlink()))
    return Inode(number, Kind.DIRECTORY if path.is_dir() else Kind.FILE)


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino
