"""Rows for disks: rekeying, compared with only the writes that it makes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench.measuring import interleave, peak_memory, seconds
from bench.row import Figure, Row, Unit, at_most
from bench.workshop import Workshop, new_pairs
from filer.disks.derivation import Derivation
from filer.disks.header import DATA_OFFSET, RECORD_OFFSETS, SLOT_OFFSETS, SLOT_SIZE
from filer.disks.jobs import DiskJobs
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
"""What a rekey writes to a disk: record, new header slot, old header slot, record."""

_DERIVATIONS = 3
"""Keys that a rekey derives for a disk: the current and the new wrapping key, and the MSID's."""


class _Shelf:
    """A shelf of disks that have a key."""

    def __init__(self, directory: Path, disks: int) -> None:
        storage = Storage()
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

    def _rekey(self, key_id: str) -> None:
        report = DiskJobs(self.keytable, Interrupt()).rekey(
            self.disks, key_id, held=lambda _id, _key: True, refusal=lambda _disk: None
        )
        if report.failures or report.not_reached:
            raise RuntimeError("not all disks were rekeyed")


def _bare(directory: Path, disks: int) -> None:
    """Make the writes, syncs and key derivations of a rekey, without anything else."""
    (pair,) = new_pairs(1)
    stretched = Derivation().stretch(pair.key_id, pair.key)
    for number in range(disks):
        for each in range(_DERIVATIONS):
            stretched.wrapping_key(f"{number} {each}".encode())
        for offset, size in _WRITES:
            handle = os.open(directory / str(number), os.O_WRONLY)
            os.pwrite(handle, os.urandom(size), offset)
            os.fdatasync(handle)
            os.close(handle)


def _make_bare(directory: Path, disks: int) -> None:
    for number in range(disks):
        with (directory / str(number)).open("wb") as file:
            file.write(bytes(DATA_OFFSET))
            file.truncate(DATA_OFFSET + _DISK_SIZE)
            os.fsync(file.fileno())


def rekey(shop: Workshop) -> Iterator[Row]:
    """Measure a rekey of increasing numbers of disks."""
    sizes = (4, 12) if shop.quick else (12, 240, 1440)
    memory: list[Figure] = []
    for disks in sizes:
        directory, bare = shop.new("shelf"), shop.new("bare")
        memory.append(Figure(_memory(directory, disks), Unit.MEGABYTES))
        shelf = _Shelf(directory, disks)
        _make_bare(bare, disks)
        figures = interleave(
            shop.times(7),
            partial(seconds, shelf.rekey),
            partial(seconds, partial(_bare, bare, disks)),
        )
        ours, theirs = (_a_disk(each, disks) for each in figures)
        yield Row(f"rekey of {disks} disks, a disk", ours, at_most(1.5), theirs, "bare loop")
    yield Row(
        f"memory for a rekey of {sizes[-1]} disks",
        memory[-1],
        at_most(1.1),
        memory[0],
        f"{sizes[0]}",
    )


def _a_disk(figure: Figure, disks: int) -> Figure:
    return figure.map(lambda whole: whole / disks)


def _memory(directory: Path, disks: int) -> float:
    return peak_memory(
        [sys.executable, "-m", "bench.disks", str(directory), str(disks)],
        partial(subprocess.run, check=True),
    )


if __name__ == "__main__":
    _Shelf(Path(sys.argv[1]), int(sys.argv[2])).rekey_to_msid()
