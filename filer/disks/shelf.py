"""The shelves: all self-encrypting disks by name, and selection of disks by patterns."""

import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from threading import Lock
from typing import Literal, NamedTuple

from filer.disks.bay import SUFFIX, disk_index, disk_name, place
from filer.disks.derivation import Derivation
from filer.disks.disk import Disk, DiskError, Exchanged
from filer.disks.label import Composition
from filer.disks.shelf_record import LIMIT, OwnDisk, ShelfRecord
from filer.host.durable import Storage
from filer.host.errors import FilerError
from filer.host.quoting import quoted
from filer.host.text import printable
from filer.host.toml_file import Document

_LONGEST_PATTERN = 256
"""Characters; matching time grows with the square of the length."""


class Event(NamedTuple):
    """A disk that was pulled or inserted, or has failed, while the filer runs.

    ``owner`` is the system ID in its record, and ``reason`` says why it cannot be used, if it
    cannot.
    """

    kind: Literal["pulled", "inserted", "failed"]
    disk: str
    serial: str = ""
    owner: int = 0
    reason: str = ""


_MOST_EVENTS = 1000

_File = tuple[int, int]
"""The inode of a disk file, and the time of its last change in nanoseconds."""


_NO_FILE = (-1, 0)

_TWIN = "has the serial number of"
"""Why the second of two drives with the same serial number is left out."""


class Selection(NamedTuple):
    """The disks that a disk list selects, and those that its patterns skip."""

    disks: tuple[Disk, ...]
    passed_over: tuple[Disk, ...]


def _is_destroyed(disk: Disk) -> bool:
    return disk.destroyed


def _event(kind: Literal["pulled", "inserted", "failed"], disk: Disk, reason: str = "") -> Event:
    reason = reason.removeprefix(f"{disk.name}: ")
    try:
        return Event(kind, disk.name, disk.serial, disk.owner.system_id, reason)
    except DiskError:  # it cannot be read
        return Event(kind, disk.name, reason=reason)


class ShelfError(FilerError):
    """The shelf cannot be read, or there is no disk of that name."""


class Shelf:
    """All disks of a filer: ``shelf["0c.00.3"]``, and iteration over the disks in natural order.

    ``record`` is the file of the `ShelfRecord`; None: it is on the boot device of a partner that
    was taken over, out of reach, and is neither read nor written.  ``warnings`` has one line for
    each file that was left out, and for each fault of a disk in use.  ``events`` has what was
    noticed since power-on; who handles an event removes it.
    """

    def __init__(
        self,
        directory: Path,
        record: Path | None,
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
        self.events: deque[Event] = deque(maxlen=_MOST_EVENTS)
        self._left_out: dict[str, str] = {}
        self._files: dict[str, _File] = {}
        self._watched: dict[str, _File] = {}
        self.changes = 0
        """How often `watch` has found that something was different."""

        self._is_on = False
        self._guard = Lock()

    def __len__(self) -> int:
        return len(self.disks)

    def __iter__(self) -> Iterator[Disk]:
        return iter(self.disks.values())

    def __getitem__(self, name: str) -> Disk:
        return self.disks[name]

    @property
    def keeps_record(self) -> bool:
        """Whether the boot device is that of this system."""
        return self._record is not None

    @property
    def record(self) -> ShelfRecord:
        """The stored record, or an empty one.  Raises ConfigError if the file is damaged."""
        if self._record is None:
            return ShelfRecord()
        document = Document.find(f"var/{self._record.name}", self._record, LIMIT)
        return ShelfRecord.parse(document) if document else ShelfRecord()

    def populate(
        self, count: int, size: int, *, had_disks: bool = False, shared: bool = False
    ) -> None:
        """Fill the first ``count`` bays with factory-new disks of ``size`` bytes, each bay once.

        Existing files are kept, and a disk that was pulled is not recreated.  If the shelf
        ``had_disks`` and the record was lost with the boot device, no disk is created.  ``shared``:
        another system may have filled the bays, up to the last one that has a disk.  Raises
        `ShelfError`, and changes nothing, if there were disks and all of them are gone: the shelf
        directory may have been replaced by another one.
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
                "no new disk was created; is its file system mounted?"
            )
        for name in map(disk_name, range(self._first_empty_bay(record, shared), count)):
            try:
                Disk.create(
                    name, self._path(name), self._storage, self._derivation, self._random, size=size
                )
            except FileExistsError:
                self._settle(self._path(name))
        self._remember(record._replace(populated=count))

    def _first_empty_bay(self, record: ShelfRecord, shared: bool) -> int:
        if not shared:
            return record.populated
        return max([record.populated, *(index + 1 for index, _name in self._names())])

    def remember_system(self, system_id: int) -> None:
        """Record the ID of this system, so that a boot with another one is noticed."""
        if self.record.system_id != system_id:
            self._remember(self.record._replace(system_id=system_id))

    def remember_aggr0(self, aggr0: Composition) -> None:
        """Record the root aggregate, so that it is not recreated while its disks are absent."""
        if self.record.aggr0 != aggr0:
            self._remember(self.record._replace(aggr0=aggr0))

    def remember_disks(self, own: Iterable[Disk]) -> None:
        """Record that of the disks here ``own`` belong to this system, and no others.

        Disks that are not here stay in the record, and destroyed ones leave it.  An owner that has
        changed is made durable first: a command that was killed may have left it in the cache.
        """
        record = self.record
        here = {disk.serial: OwnDisk(disk.name, disk.key_id) for disk in own if not disk.destroyed}
        disks = {**self._missing(record), **here}
        if disks != record.disks:
            for disk in self:
                if (disk.serial in record.disks) != (disk.serial in here):
                    self._storage.settle(disk.path)
            self._remember(record._replace(disks=disks))

    def missing(self) -> Mapping[str, OwnDisk]:
        """Return the recorded disks that were not read since power-on, by serial number."""
        return self._missing(self.record)

    def _missing(self, record: ShelfRecord) -> Mapping[str, OwnDisk]:
        here = {disk.serial for disk in self}
        return {serial: disk for serial, disk in record.disks.items() if serial not in here}

    def load(self) -> None:
        """Find the disks in the directory; they are off."""
        self.warnings.clear()
        self.events.clear()
        self._left_out.clear()
        names = [name for _index, name in sorted(self._names())]
        self._files = self._found()
        self.disks = {name: self._disk(name) for name in names}

    def power_on(self, own: Callable[["Shelf"], Iterable[Disk]] = iter) -> None:
        """Power on all disks; leave out unusable ones with a warning.

        Interrupted changes of the ``own`` disks (default: of all) are finished.
        """
        self._is_on = True
        serials: dict[str, str] = {}
        for disk in tuple(self):
            try:
                disk.power_on(finish=False)
            except FilerError as error:
                self._leave_out(disk, str(error))
                continue
            twin = serials.setdefault(disk.serial, disk.name)
            if twin != disk.name:
                self._leave_out(disk, f"{disk.name}: {_TWIN} {twin}")
        if any(disk.unclean for disk in self):
            for disk in tuple(own(self)):
                try:
                    disk.finish_change()
                except FilerError as error:
                    self._leave_out(disk, str(error))
        self.warnings += [warning for disk in self for warning in disk.warnings]

    def look_again(self) -> None:
        """Notice disks that were pulled or inserted, and read what other systems have changed."""
        self._exchange_disks()
        self._look_at(self, lambda _disk, _problem: None)  # the commands that need it will say so

    def watch(self) -> None:
        """Notice disks that were pulled, inserted, or written; count this in ``changes``.

        Reads only those that were written.  Of these, a disk that cannot be read any more is left
        out; it has failed.
        """
        self._exchange_disks()
        before, self._watched = self._watched, self._files
        written = [disk for disk in self if before.get(disk.name) != self._files.get(disk.name)]
        self._look_at(written, self._has_failed)
        self.changes += before != self._watched

    def _look_at(self, disks: Iterable[Disk], on_error: Callable[[Disk, DiskError], None]) -> None:
        """Read ``disks`` again, and exchange those whose files have become other drives."""
        exchanged = []
        for disk in disks:
            try:
                disk.look_again()
            except Exchanged:
                exchanged.append(disk.name)
            except DiskError as problem:
                on_error(disk, problem)
        if exchanged:
            self._files = self._files | dict.fromkeys(exchanged, _NO_FILE)
            self._exchange_disks()

    def _exchange_disks(self) -> None:
        """Take out the disks that were pulled, and power on those that were inserted.

        One that was left out is tried again if its file has changed, which may have been copied to
        the bay just then, or if it was a twin and a disk was pulled.  The disks that stay are in a
        new mapping: other threads may iterate over the old one.
        """
        with self._guard:
            if not self._is_on:
                return
            before, found = self._files, self._found()
            kept = {name for name in before if name in found and before[name][0] == found[name][0]}
            left_out = {
                name: reason
                for name, reason in self._left_out.items()
                if name in kept
                and (
                    before[name] != found[name]
                    or (reason.startswith(_TWIN) and kept != before.keys())
                )
            }
            kept -= left_out.keys()
            disks = {name: disk for name, disk in self.disks.items() if name in kept}
            for name in before.keys() - kept:
                self._left_out.pop(name, None)
                if name in self.disks:
                    self.events.append(_event("pulled", self.disks[name]))
                    self.disks[name].power_off()
            for name in sorted(found.keys() - kept, key=place):
                disk, reason = self._disk(name), ""
                try:
                    disk.power_on(finish=False)
                    twins = [each.name for each in disks.values() if each.serial == disk.serial]
                    reason = f"{_TWIN} {twins[0]}" if twins else ""
                except FilerError as problem:
                    reason = str(problem).removeprefix(f"{name}: ")
                if not (reason and name in left_out):
                    self.events.append(_event("inserted", disk, reason))
                if reason:
                    self._left_out[name] = reason
                else:
                    disks[name] = disk
            if found.keys() != kept or before.keys() != kept:
                self.disks = {name: disks[name] for name in sorted(disks, key=place)}
            self._files = found

    def _has_failed(self, disk: Disk, reason: DiskError) -> None:
        with self._guard:
            self.events.append(_event("failed", disk, str(reason)))
            self._leave_out(disk, str(reason))

    def _found(self) -> dict[str, _File]:
        """Return the disk files by the name of the disk; those of before if they are unreadable."""
        with suppress(OSError), os.scandir(self._directory) as entries:
            return {
                entry.name.removesuffix(SUFFIX): (status.st_ino, status.st_mtime_ns)
                for entry in entries
                if entry.name.endswith(SUFFIX)
                and disk_index(entry.name.removesuffix(SUFFIX)) is not None
                and stat.S_ISREG((status := entry.stat(follow_symlinks=False)).st_mode)
            }
        return self._files

    def power_off(self) -> None:
        """Power off all disks."""
        self._is_on = False
        for disk in self:
            disk.power_off()

    def absent(self) -> Mapping[str, str | None]:
        """Return the disks that this shelf should have, but has not read since power-on, by name.

        The value is the reason, or None for a disk that is not in its bay.  The name of a disk in
        whose bay there is another disk is followed by its serial number.
        """
        record = self.record
        missing = self._missing(record)
        bays = [disk.name for disk in missing.values()]
        if record.populated > len(missing) + len({*self.disks, *self._left_out}):
            bays = [*map(disk_name, range(record.populated)), *bays]  # some were never recorded
        absent = {
            name: self._left_out.get(name)
            or ("it was not there at power-on" if os.path.lexists(self._path(name)) else None)
            for name in dict.fromkeys([*bays, *self._left_out])
            if name not in self.disks
        }
        for serial, disk in missing.items():
            if disk.name in self.disks:
                absent[f"{disk.name} (S/N {serial})"] = None
        return absent

    def select(
        self, patterns: Sequence[str], pass_over: Callable[[Disk], object] = _is_destroyed
    ) -> Selection:
        """Return the disks that ``patterns`` (names and shell patterns) select, each disk once.

        Patterns skip disks for which ``pass_over`` is true; a full name still selects them.
        Raises `ShelfError` for a name or pattern that matches no disk.
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

    def _disk(self, name: str) -> Disk:
        return Disk(name, self._path(name), self._storage, self._derivation, self._random)

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}{SUFFIX}"

    def _names(self) -> Iterator[tuple[int, str]]:
        try:
            entries = sorted(self._directory.iterdir())
        except OSError as error:
            reason = f"{printable(self._directory.name)} cannot be read: {error.strerror}"
            raise ShelfError(reason) from error
        for entry in entries:
            if entry.suffix == SUFFIX:
                index = disk_index(entry.stem)
                if index is None:
                    self.warnings.append(f"{printable(entry.name)}: not a disk name; left out")
                elif entry.is_symlink():
                    self.warnings.append(f"{entry.stem}: a link, not a disk; left out")
                    self._left_out[entry.stem] = "a link, not a disk"
                else:
                    yield index, entry.stem

    def _settle(self, path: Path) -> None:
        """Make durable a disk that an interrupted run created, or that was moved here."""
        if stat.S_ISREG(path.lstat().st_mode):
            self._storage.settle(path)
        self._storage.settle(self._directory)

    def _leave_out(self, disk: Disk, reason: str) -> None:
        self.warnings.append(f"{reason}; left out")
        self._left_out[disk.name] = reason.removeprefix(f"{disk.name}: ")
        self.disks = {name: each for name, each in self.disks.items() if each is not disk}

    def _remember(self, record: ShelfRecord) -> None:
        if self._record is not None:
            self._storage.write(self._record, record.pack())
