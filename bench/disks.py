"""Rows for disks: rekey, lock and boot, compared with only the writes that they make."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from bench.measuring import interleave, peak_memory, seconds
from bench.row import Figure, Row, Unit, at_most, faster
from bench.workshop import Account, Workshop, new_pairs
from filer.disks.derivation import Derivation
from filer.disks.header import DATA_OFFSET, RECORD_OFFSETS, SLOT_OFFSETS, SLOT_SIZE
from filer.disks.jobs import DiskJobs, DiskReport
from filer.disks.record import RECORD_SIZE
from filer.disks.shelf import Shelf
from filer.host.durable import Storage
from filer.keys.key_id import MSID_KEY_ID
from filer.keys.keytable import Keytable, merge
from filer.running.interrupt import Interrupt

_DISK_SIZE = 1 << 20
_WRITES = (
    (RECORD_OFFSETS[0], RECORD_SIZE),
    (SLOT_OFFSETS[0], SLOT_SIZE),
    (SLOT_OFFSETS[1], SLOT_SIZE),
    (RECORD_OFFSETS[1], RECORD_SIZE),
)
"""What a rekey or lock writes to a disk: record, new header slot, old header slot, record."""

_BOOT_WRITES = ((RECORD_OFFSETS[0], RECORD_SIZE), (RECORD_OFFSETS[1], RECORD_SIZE))
"""What a boot writes to a locked disk: a failure, before the key is tried, and none."""

_DERIVATIONS = 3
"""Keys that a rekey derives for a disk: the current and the new wrapping key, and the MSID's."""

_SYNC = 0.002
"""Seconds that a sync of a disk takes, on both sides of a row, besides what it takes here."""

_MANY, _FASTER = 1440, 4.0
"""With so many disks a job must be so many times faster than one disk after the other."""

_MOST_BARE = 480
"""The most disks of a bare loop, whose time grows with their number."""


class _SlowStorage(Storage):
    """Storage as of the machines on which a sync is slow; in memory it would cost nothing."""

    def overwrite(self, path: Path, offset: int, data: bytes, inode: int = 0) -> None:
        super().overwrite(path, offset, data, inode)
        time.sleep(_SYNC)


class _Shelf:
    """A shelf of disks that have a key."""

    def __init__(self, directory: Path, disks: int) -> None:
        storage = _SlowStorage()
        storage.make_directory(directory)
        self.derivation = Derivation()
        self.disks = Shelf(directory, directory / "shelf.toml", storage, self.derivation)
        self.disks.populate(disks, _DISK_SIZE)
        self.disks.load()
        self.disks.power_on()
        self.keytable = Keytable()
        self.rekey()

    def rekey(self) -> None:
        """Give every disk a new key."""
        (pair,) = new_pairs(1)
        self.keytable.add(merge([pair]).values())
        self._rekey(pair.key_id)

    def rekey_to_msid(self) -> None:
        """Return all disks to the MSID."""
        self._rekey(MSID_KEY_ID)

    def lock(self) -> None:
        """Lock all disks."""
        self._check(
            DiskJobs(self.keytable, Interrupt()).lock(
                self.disks, held=lambda _id, _key: True, refusal=lambda _disk: None
            )
        )

    def _rekey(self, key_id: str) -> None:
        self._check(
            DiskJobs(self.keytable, Interrupt()).rekey(
                self.disks, key_id, held=lambda _id, _key: True, refusal=lambda _disk: None
            )
        )

    def _check(self, report: DiskReport) -> None:
        if report.failures or report.not_reached:
            raise RuntimeError(f"{report.verb} did not reach all disks")


def _bare(directory: Path, disks: int, writes: Sequence[tuple[int, int]] = _WRITES) -> None:
    """Make only the writes, syncs and key derivations of a job, one disk after the other."""
    (pair,) = new_pairs(1)
    stretched = Derivation().stretch(pair.key_id, pair.key)
    for number in range(disks):
        for each in range(_DERIVATIONS):
            stretched.wrapping_key(f"{number} {each}".encode())
        for offset, size in writes:
            handle = os.open(directory / str(number), os.O_WRONLY)
            os.pwrite(handle, os.urandom(size), offset)
            os.fdatasync(handle)
            os.close(handle)
            time.sleep(_SYNC)


def _make_bare(directory: Path, disks: int) -> None:
    for number in range(disks):
        with (directory / str(number)).open("wb") as file:
            file.write(bytes(DATA_OFFSET))
            file.truncate(DATA_OFFSET + _DISK_SIZE)
            os.fsync(file.fileno())


def rekey(shop: Workshop) -> Iterator[Row]:
    """Measure a rekey of increasing numbers of disks."""
    sizes = (4, 12) if shop.quick else (12, 240, _MANY)
    memory: list[Figure] = []
    for disks in sizes:
        directory, bare = shop.new("shelf"), shop.new("bare")
        memory.append(Figure(_memory(directory, disks), Unit.MEGABYTES))
        shelf = _Shelf(directory, disks)
        ours, theirs = _compare(shop, bare, shelf.rekey, disks)
        limit = faster(_FASTER) if disks == _MANY else at_most(1.5)
        yield Row(f"rekey of {disks} disks, a disk", ours, limit, theirs, "bare loop")
    yield Row(
        f"memory for a rekey of {sizes[-1]} disks",
        memory[-1],
        at_most(1.1),
        memory[0],
        f"{sizes[0]}",
    )


def lock(shop: Workshop) -> Iterator[Row]:
    """Measure a lock of many disks."""
    disks = 12 if shop.quick else _MANY
    shelf = _Shelf(shop.new("shelf"), disks)

    def unlock_again() -> None:
        shelf.rekey_to_msid()
        shelf.rekey()

    ours, theirs = _compare(shop, shop.new("bare"), shelf.lock, disks, before=unlock_again)
    yield Row(f"lock of {disks} disks, a disk", ours, faster(_FASTER), theirs, "bare loop")


def unlock(shop: Workshop) -> Iterator[Row]:
    """Measure a boot of many locked disks."""
    disks = 12 if shop.quick else _MANY
    with shop.key_servers(1, 1) as servers:
        account = shop.account(f'[shelf]\ndisks = {disks}\ndisk_size = "1 MiB"\n', servers)
        account.run("key_manager rekey", "disk encrypt lock *")
        boot = partial(_boot, account)
        ours, theirs = _compare(shop, shop.new("bare"), boot, disks, writes=_BOOT_WRITES)
    what = f"boot of {disks} locked disks, a disk"
    yield Row(what, ours, faster(_FASTER), theirs, "bare loop")


def _boot(account: Account) -> None:
    with account.booted(_SlowStorage()) as booted:
        if any(disk.locked for disk in booted.filer.shelf):
            raise RuntimeError("not all disks were unlocked")


def _compare(
    shop: Workshop,
    directory: Path,
    job: Callable[[], None],
    disks: int,
    *,
    writes: Sequence[tuple[int, int]] = _WRITES,
    before: Callable[[], None] = lambda: None,
) -> tuple[Figure, Figure]:
    """Return the seconds of ``job`` and of a bare loop, for a disk; ``before`` is not measured."""
    fewer = min(disks, _MOST_BARE)
    _make_bare(directory, fewer)

    def measured() -> float:
        before()
        return seconds(job)

    ours, theirs = interleave(
        shop.times(3), measured, partial(seconds, partial(_bare, directory, fewer, writes))
    )
    return _a_disk(ours, disks), _a_disk(theirs, fewer)


def _a_disk(figure: Figure, disks: int) -> Figure:
    return figure.map(lambda whole: whole / disks)


def _memory(directory: Path, disks: int) -> float:
    return peak_memory(
        [sys.executable, "-m", "bench.disks", str(directory), str(disks)],
        partial(subprocess.run, check=True),
    )


if __name__ == "__main__":
    _Shelf(Path(sys.argv[1]), int(sys.argv[2])).rekey_to_msid()
