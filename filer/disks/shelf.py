"""The shelves: all self-encrypting disks, by name, and the lists that name them."""

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from filer.disks.derivation import Derivation
from filer.disks.disk import Disk
from filer.host.durable import Storage
from filer.host.errors import FilerError
from filer.host.quoting import quoted
from filer.host.reading import NotThereError
from filer.host.text import printable
from filer.host.toml_file import Document

BAYS = 24
"""Disks in one shelf."""

_LONGEST_PATTERN = 256
"""Characters; the time that a pattern takes grows with their square."""

_SUFFIX = ".sed"

DISK_FILES = f"*{_SUFFIX}"
"""Matches the names of disk files."""

_NAME = re.compile(r"0c\.([0-9]{2,})\.([0-9]{1,2})")


def disk_name(index: int) -> str:
    """Return the name of disk ``index``, counted from 0 through all shelves."""
    shelf, bay = divmod(index, BAYS)
    return f"0c.{shelf:02d}.{bay}"


def disk_index(name: str) -> int | None:
    """Return the index of the disk called ``name``, or None for what is no disk name."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    index = int(found[1]) * BAYS + int(found[2])
    return index if disk_name(index) == name else None


class Record(NamedTuple):
    """What is remembered of the shelves beside the disks themselves.

    ``populated`` is how many bays have ever been given a disk: one pulled since then is not made
    again.  ``aggr0`` holds the serial numbers of the root aggregate, once it has been made.
    """

    populated: int = 0
    aggr0: tuple[str, ...] = ()

    def dumps(self) -> bytes:
        """Return the record as TOML."""
        import tomli_w

        return tomli_w.dumps({"populated": self.populated, "aggr0": list(self.aggr0)}).encode()

    @classmethod
    def parse(cls, document: Document) -> "Record":
        """Read the record.  Raises ConfigError, with the line, if it is damaged."""
        populated = document.values.get("populated")
        if type(populated) is not int or populated < 0:
            raise document.error(("populated",), "populated must be the number of disks made")
        serials = document.values.get("aggr0", [])
        if not isinstance(serials, list) or not all(isinstance(text, str) for text in serials):
            raise document.error(("aggr0",), "aggr0 must be a list of serial numbers")
        return cls(populated, tuple(serials))


class Selection(NamedTuple):
    """The disks that a disk list means, and those that its patterns pass over."""

    disks: tuple[Disk, ...]
    passed_over: tuple[Disk, ...]


def _is_destroyed(disk: Disk) -> bool:
    return disk.destroyed


class ShelfError(FilerError):
    """The shelf cannot be read, or there is no disk of that name."""


class Shelf:
    """All disks of a filer, in natural order: ``shelf["0c.00.3"]``, and iteration over the disks.

    ``record`` is the file that remembers what the disks themselves cannot tell.  ``warnings``
    holds one line for each file that had to be left out, and for each fault of a disk in use.
    """

    def __init__(
        self,
        directory: Path,
        record: Path,
        storage: Storage,
        derivation: Derivation,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._directory = directory
        self._record = record
        self._storage = storage
        self._derivation = derivation
        self._random = random
        self.disks: dict[str, Disk] = {}
        self.warnings: list[str] = []

    def __len__(self) -> int:
        return len(self.disks)

    def __iter__(self) -> Iterator[Disk]:
        return iter(self.disks.values())

    def __getitem__(self, name: str) -> Disk:
        return self.disks[name]

    @property
    def record(self) -> Record:
        """What is remembered.  Raises ConfigError if the file is damaged."""
        try:
            return Record.parse(Document.read(f"var/{self._record.name}", self._record))
        except NotThereError:
            return Record()

    def populate(self, count: int, size: int, *, had_disks: bool = False) -> None:
        """Fill the first ``count`` bays with factory-new disks of ``size`` bytes, each bay once.

        A file that is there is left alone, and a disk that was pulled is not made again.  If the
        shelf ``had_disks`` and the record was lost with the boot device, no disk is made.  Raises
        `ShelfError`, and changes nothing, if there were disks and all of them are gone: another
        directory may be in the place of the shelf.
        """
        record = self.record
        if had_disks and not record.populated:
            self._remember(record._replace(populated=count))
            return
        if count <= record.populated:
            return
        if record.populated and not any(self._names()):
            raise ShelfError(
                f"{printable(self._directory.name)} had {record.populated} disks and has none now; "
                "no new disk is made; is a file system not mounted?"
            )
        for name in map(disk_name, range(record.populated, count)):
            try:
                Disk.create(
                    name, self._path(name), self._storage, self._derivation, self._random, size=size
                )
            except FileExistsError:
                self._settle(self._path(name))
        self._remember(record._replace(populated=count))

    def remember_aggr0(self, serials: Sequence[str]) -> None:
        """Remember the root aggregate: it is not made again while one of these may come back."""
        if self.record.aggr0 != tuple(serials):
            self._remember(self.record._replace(aggr0=tuple(serials)))

    def load(self) -> None:
        """Look which disks are there; they are off."""
        self.disks.clear()
        self.warnings.clear()
        for _index, name in sorted(self._names()):
            self.disks[name] = Disk(
                name, self._path(name), self._storage, self._derivation, self._random
            )

    def power_on(self) -> None:
        """Apply power to every disk; one that cannot be used is left out with a warning."""
        serials: dict[str, str] = {}
        for disk in tuple(self):
            try:
                disk.power_on()
            except FilerError as error:
                self._leave_out(disk, str(error))
                continue
            twin = serials.setdefault(disk.serial, disk.name)
            if twin != disk.name:
                self._leave_out(disk, f"{disk.name}: has the serial number of {twin}")
            else:
                self.warnings.extend(disk.warnings)

    def power_off(self) -> None:
        """Take power from every disk."""
        for disk in self:
            disk.power_off()

    def select(
        self, patterns: Sequence[str], pass_over: Callable[[Disk], object] = _is_destroyed
    ) -> Selection:
        """Return the disks that ``patterns``, names and shell patterns, mean; each disk once.

        Patterns pass over the disks for which ``pass_over`` is true; by its name, such a disk is
        selected.  Raises `ShelfError` for a name or pattern that fits no disk.
        """
        selected: set[str] = set()
        passed_over: set[str] = set()
        for pattern in patterns:
            names: list[str] = []
            if len(pattern) <= _LONGEST_PATTERN:
                names = [name for name in self.disks if fnmatchcase(name, pattern)]
            if not names:
                raise ShelfError(f"no disk matches {quoted(pattern)}")
            for name in names:
                passed = name != pattern and pass_over(self.disks[name])
                (passed_over if passed else selected).add(name)
        return Selection(
            disks=tuple(disk for disk in self if disk.name in selected),
            passed_over=tuple(disk for disk in self if disk.name in passed_over - selected),
        )

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}{_SUFFIX}"

    def _names(self) -> Iterator[tuple[int, str]]:
        try:
            entries = sorted(self._directory.iterdir())
        except OSError as error:
            reason = f"{printable(self._directory.name)} cannot be read: {error.strerror}"
            raise ShelfError(reason) from error
        for entry in entries:
            if entry.suffix == _SUFFIX:
                index = disk_index(entry.stem)
                if index is None:
                    self.warnings.append(f"{printable(entry.name)}: not a disk name; left out")
                elif entry.is_symlink():
                    self.warnings.append(f"{entry.stem}: a link, not a disk; left out")
                else:
                    yield index, entry.stem

    def _settle(self, path: Path) -> None:
        """Make a disk durable that an interrupted run has made, or that was moved here."""
        if stat.S_ISREG(path.lstat().st_mode):
            self._storage.settle(path)
        self._storage.settle(self._directory)

    def _leave_out(self, disk: Disk, reason: str) -> None:
        self.warnings.append(f"{reason}; left out")
        del self.disks[disk.name]

    def _remember(self, record: Record) -> None:
        self._storage.write(self._record, record.dumps())
