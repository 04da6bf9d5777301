"""Prepared disk files: edited counts, damage, and the layout of version 0.1."""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from filer.disks.derivation import Derivation
from filer.disks.disk import Disk
from filer.disks.header import BLOCK_SIZE, DATA_OFFSET, RECORD_OFFSETS, SLOT_OFFSETS, Head, Header
from filer.disks.record import RECORD_SIZE
from filer.disks.wrapping_counter import after
from filer.host.durable import Storage
from filer.keys.authentication_key import MSID, AuthenticationKey

KEY_ID = "080CF0C8000000000100000000000000A948EE8604F4598ADFFB185B5BB7FED3"
NEW_KEY_ID = "080CF0C80000000001000000000000004D1C2AE0F5E9B6F8A7C3D2E1F0A9B8C7"
KEY = AuthenticationKey(b"the first Passphrase, 1")
NEW_KEY = AuthenticationKey(b"the second Passphrase, 2")
SIZE = 4 * BLOCK_SIZE
PLAIN = bytes(range(256)) * 16
"""The content that tests write to a block."""


def head_of(path: Path) -> Head:
    return Head.parse(path.read_bytes()[:DATA_OFFSET])


def set_failures(path: Path, failures: int) -> None:
    """Set the number of failures in a row of a disk that is off."""
    head = head_of(path)
    record = head.record._replace(
        sequence=after(head.record.sequence), binding=head.header.binding, failures=failures
    )
    with path.open("r+b") as file:
        file.seek(RECORD_OFFSETS[1 - head.record_slot])
        file.write(record.pack())


def damage(path: Path, *offsets: int, size: int = RECORD_SIZE) -> None:
    """Overwrite ``size`` bytes at each of ``offsets``, as a torn write does."""
    with path.open("r+b") as file:
        for offset in offsets:
            file.seek(offset)
            file.write(b"\xa5" * size)


class OldCount(NamedTuple):
    sequence: int
    life: int
    failures: int

    def pack(self) -> bytes:
        """Return the 28 bytes of the record."""
        body = struct.pack(">4sQII", b"FAIL", *self)
        return body + zlib.crc32(body).to_bytes(4, "big")


OLD_COUNTER_OFFSETS = (8192, 8704)


def old_head(header: Header, counts: Sequence[OldCount | None], slot: int = 0) -> bytes:
    """Return the head of a disk file exactly as version 0.1 wrote it.

    The header slots have not changed since, so ``header`` packs them.
    """
    head = bytearray(DATA_OFFSET)
    content = header.pack()
    head[SLOT_OFFSETS[slot] : SLOT_OFFSETS[slot] + len(content)] = content
    for offset, count in zip(OLD_COUNTER_OFFSETS, counts, strict=False):
        if count is not None:
            record = count.pack()
            head[offset : offset + len(record)] = record
    return bytes(head)


def make_old(path: Path, counts: Sequence[OldCount | None]) -> None:
    """Convert the file of a disk that is off to version 0.1, with the same header and data."""
    head = head_of(path)
    with path.open("r+b") as file:
        file.write(old_head(head.header, counts, head.slot))


@pytest.fixture
def keyed(tmp_path: Path, derivation: Derivation) -> Disk:
    """A disk with KEY, no locking, and a known block 3."""
    disk = Disk.create("0c.00.3", tmp_path / "0c.00.3.sed", Storage(), derivation, size=SIZE)
    disk.power_on()
    disk.write_block(3, PLAIN)
    disk.rekey(MSID, KEY_ID, KEY)
    return disk


@pytest.fixture
def locking(keyed: Disk) -> Disk:
    """A disk with KEY and locking, still open."""
    keyed.lock(KEY)
    return keyed


def on(disk: Disk, storage: Storage | None = None) -> Disk:
    """Return the same disk in a new process, with power."""
    fresh = Disk(disk.name, disk.path, storage or Storage(), disk._derivation)
    fresh.power_on()
    return fresh
