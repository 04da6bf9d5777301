"""The head of a disk file: two header slots, two copies of the public record, then the data.

========  ===========================================================
offset    content
========  ===========================================================
0         header slot A (4 KiB)
4096      header slot B (4 KiB); one of the two is zeros
8192      record copy A (4 KiB, see `filer.disks.record`), written alternately with B
12288     record copy B (4 KiB)
16384     the data, in blocks of 4 KiB
========  ===========================================================

The four blocks can be read separately: a disk works with one header slot and nothing else.
`filer.disks.head` defines the order in which they are written.

This module does no I/O: it converts between bytes and values.
"""

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple, Self

from filer.disks.digest import sha256
from filer.disks.record import BINDING_SIZE, COUNT_IF_LOST, RECORD_SIZE, OldCounter, Record
from filer.disks.wrapping_counter import MODULUS, is_after
from filer.host.errors import FilerError
from filer.host.scrypt import STANDARD, Scrypt
from filer.keys.key_id import MSID_KEY_ID, is_key_id

BLOCK_SIZE = 4096
SLOT_SIZE = 4096
SLOT_OFFSETS = (0, 4096)
EMPTY_SLOT = bytes(SLOT_SIZE)
RECORD_OFFSETS = (8192, 12288)
DATA_OFFSET = 16384
WRAP_SIZE = 72
"""Size of a 64-byte data key after AES key wrap with padding (RFC 5649)."""

_MAGIC = b"FILERSED"
_VERSION = 1
_LOCKING = 1
_DESTROYED = 2
_DIGEST_SIZE = 32

# magic, version, flags, life, data size, serial number, MSID, key ID, scrypt N, r, p
_STATE = struct.Struct(">8sHHIQ16s32s64s3I")
# generation, wrap, open wrap
_KEYS = struct.Struct(f">Q{WRAP_SIZE}s{WRAP_SIZE}s")
_PADDING = bytes(SLOT_SIZE - _STATE.size - _KEYS.size - _DIGEST_SIZE)

_SERIAL = re.compile(r"[0-9A-Z]{16}")
_MSID = re.compile(r"[!-~]{32}")
_LARGEST_DATA = 2**62
_MOST_LIVES = 2**32 - 1
_ALL_READABLE: Mapping[int, str] = MappingProxyType({})


class DiskError(FilerError):
    """A disk refused an operation, or its file is damaged."""


def is_serial(text: str) -> bool:
    """Return whether ``text`` is the serial number of a disk."""
    return _SERIAL.fullmatch(text) is not None


def _require(condition: bool, field: str) -> None:
    if not condition:
        raise DiskError(f"damaged header: {field}")


@dataclass(frozen=True)
class State:
    """The state of a disk.  All fields are bound to the wrapped data key, so an edit is detected.

    ``data_size`` is in bytes.  ``life`` counts the data keys that the disk has had.  Raises
    `DiskError` for an invalid field.
    """

    serial: str
    msid: str
    data_size: int
    life: int = 1
    locking: bool = False
    destroyed: bool = False
    key_id: str = MSID_KEY_ID
    scrypt: Scrypt = STANDARD

    def __post_init__(self) -> None:
        factory_key = self.key_id == MSID_KEY_ID
        _require(is_serial(self.serial), "serial number")
        _require(_MSID.fullmatch(self.msid) is not None, "MSID")
        _require(self.data_size in range(BLOCK_SIZE, _LARGEST_DATA, BLOCK_SIZE), "size")
        _require(0 < self.life <= _MOST_LIVES, "life")
        _require(factory_key or is_key_id(self.key_id), "key ID")
        _require(not (self.locking and factory_key), "locking")
        _require(not self.destroyed or factory_key, "destroyed")

    @property
    def next_life(self) -> int:
        """The life of the next data key; after the highest (reached only by an edit) comes 1."""
        return self.life % _MOST_LIVES + 1

    def pack(self) -> bytes:
        """Return the encoded fields, for the header and for the derivation of its keys."""
        return _STATE.pack(
            _MAGIC,
            _VERSION,
            (_LOCKING if self.locking else 0) | (_DESTROYED if self.destroyed else 0),
            self.life,
            self.data_size,
            self.serial.encode("ascii"),
            self.msid.encode("ascii"),
            self.key_id.encode("ascii"),
            self.scrypt.n,
            self.scrypt.r,
            self.scrypt.p,
        )

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse the bytes that `pack` returns.  Raises `DiskError`."""
        magic, version, flags, life, size, serial, msid, key_id, n, r, p = _STATE.unpack(data)
        _require(magic == _MAGIC, "magic")
        _require(version == _VERSION, f"format version {version}")
        _require(flags & ~(_LOCKING | _DESTROYED) == 0, "flags")
        try:
            return cls(
                serial=serial.decode("ascii"),
                msid=msid.decode("ascii"),
                data_size=size,
                life=life,
                locking=bool(flags & _LOCKING),
                destroyed=bool(flags & _DESTROYED),
                key_id=key_id.rstrip(b"\0").decode("ascii"),
                scrypt=Scrypt(n, r, p).checked(),
            )
        except UnicodeDecodeError as error:
            raise DiskError("damaged header: text") from error
        except ValueError as error:
            raise DiskError(f"damaged header: {error}") from error


@dataclass(frozen=True)
class Header:
    """A header slot: the state, and the data key in wrapped form.

    ``wrap`` is the data key wrapped by the current authentication key.  ``open_wrap`` is the data
    key wrapped by the MSID, present only while locking is not set.  A destroyed disk has neither.
    If both slots are intact, the one with the later ``generation`` is valid; the generation is not
    bound to the key, so it wraps around.  Raises `DiskError` for an invalid field.
    """

    state: State
    wrap: bytes
    open_wrap: bytes
    generation: int = 1

    def __post_init__(self) -> None:
        wrapped, opened = not self.state.destroyed, not self.state.locking
        _require(0 <= self.generation < MODULUS, "generation")
        _require(_is_wrap(self.wrap) if wrapped else not self.wrap, "wrapped key")
        _require(
            _is_wrap(self.open_wrap) if wrapped and opened else not self.open_wrap,
            "wrapped key of an unlocked disk",
        )

    @cached_property
    def binding(self) -> bytes:
        """The `BINDING_SIZE` bytes that identify this header in a record."""
        return sha256(self.state.pack() + self._packed_keys())[:BINDING_SIZE]

    def pack(self) -> bytes:
        """Return the encoded slot: `SLOT_SIZE` bytes, of which the last 32 are a SHA-256."""
        body = self._body()
        return body + sha256(body)

    @classmethod
    def parse(cls, slot: bytes) -> Self:
        """Parse a slot.  Raises `DiskError` for bytes that `pack` could not have returned."""
        _require(len(slot) == SLOT_SIZE and slot.startswith(_MAGIC), "not a disk of a filer")
        body, digest = slot[:-_DIGEST_SIZE], slot[-_DIGEST_SIZE:]
        _require(sha256(body) == digest, "checksum")
        state = State.parse(body[: _STATE.size])
        generation, wrap, open_wrap = _KEYS.unpack_from(body, _STATE.size)
        header = cls(state, _present(wrap), _present(open_wrap), generation)
        _require(header._body() == body, "padding")
        return header

    def _packed_keys(self) -> bytes:
        return _KEYS.pack(self.generation, self.wrap, self.open_wrap)

    def _body(self) -> bytes:
        return self.state.pack() + self._packed_keys() + _PADDING


def _present(wrap: bytes) -> bytes:
    return wrap if any(wrap) else b""


def _is_wrap(wrap: bytes) -> bool:
    return len(wrap) == WRAP_SIZE and any(wrap)


class Head(NamedTuple):
    """The first `DATA_OFFSET` bytes of a disk file.

    ``slot`` and ``record_slot`` are the indexes (0 or 1) of the valid header and record.
    ``leftover``: the other header slot is not known to be empty; ``older``: it holds a complete
    header.  ``count_lost``: neither copy of the record can be read.
    """

    header: Header
    record: Record
    slot: int = 0
    record_slot: int = 0
    leftover: bool = False
    older: bool = False
    count_lost: bool = False

    def pack(self) -> bytes:
        """Return the encoded head without an older header, `DATA_OFFSET` bytes."""
        head = bytearray(DATA_OFFSET)
        slot, record = SLOT_OFFSETS[self.slot], RECORD_OFFSETS[self.record_slot]
        head[slot : slot + SLOT_SIZE] = self.header.pack()
        head[record : record + RECORD_SIZE] = self.record.pack()
        return bytes(head)

    @classmethod
    def parse(cls, data: bytes, unreadable: Mapping[int, str] = _ALL_READABLE) -> Self:
        """Parse the head of a disk file.  Raises `DiskError` if it has no complete header.

        ``unreadable`` maps the offset of each unreadable block to the reason; the bytes that
        ``data`` has there are ignored.
        """
        headers = _headers(data, unreadable)
        slot = _latest(headers)
        header = headers[slot]
        other = SLOT_OFFSETS[1 - slot]
        record, record_slot = _latest_record(data, unreadable, header)
        return cls(
            header,
            # Without a record, a change may be unfinished.
            record or Record(0, header.binding, COUNT_IF_LOST, unfinished=True),
            slot,
            record_slot,
            leftover=other in unreadable or data[other : other + SLOT_SIZE] != EMPTY_SLOT,
            older=len(headers) == len(SLOT_OFFSETS),
            count_lost=record is None,
        )

    @property
    def unclean(self) -> bool:
        """Whether an older header may remain in the file, or on the medium below the cache."""
        return self.leftover or self.record.unfinished

    @property
    def failures(self) -> int:
        """The number of consecutive failed authentications since the header was written."""
        return self.record.failures if self._bound else 0

    @property
    def tags(self) -> tuple[bytes, ...]:
        """The tags of the keys refused since the header was written."""
        return self.record.tags if self.record.tags and self._bound else ()

    @property
    def _bound(self) -> bool:
        return self.record.binding == self.header.binding


def _headers(data: bytes, unreadable: Mapping[int, str]) -> Mapping[int, Header]:
    """Return the complete headers by slot.  Raises `DiskError` if there is none."""
    headers: dict[int, Header] = {}
    faults: list[DiskError] = []
    for place, offset in enumerate(SLOT_OFFSETS):
        content = data[offset : offset + SLOT_SIZE]
        if offset in unreadable:
            faults.insert(0, DiskError(f"its header cannot be read: {unreadable[offset]}"))
        elif content != EMPTY_SLOT:
            try:
                headers[place] = Header.parse(content)
            except DiskError as fault:
                faults.append(fault)
    if not headers:
        raise faults[0] if faults else DiskError("damaged header: empty")
    return headers


def _latest(headers: Mapping[int, Header]) -> int:
    second = len(headers) == 2 and is_after(headers[1].generation, headers[0].generation)
    return 1 if second else min(headers)


def _latest_record(
    data: bytes, unreadable: Mapping[int, str], header: Header
) -> tuple[Record | None, int]:
    records: dict[int, Record] = {}
    for place, offset in enumerate(RECORD_OFFSETS):
        if offset in unreadable:
            continue
        content = data[offset : offset + RECORD_SIZE]
        record = Record.parse(content)
        if record is None and place == 0:
            record = _from_version_0_1(content, header)
        if record is not None:
            records[place] = record
    second = len(records) == 2 and is_after(records[1].sequence, records[0].sequence)
    place = 1 if second else min(records, default=0)
    return records.get(place), place


def _from_version_0_1(block: bytes, header: Header) -> Record | None:
    counter = OldCounter.latest_in(block)
    if counter is None:
        return None
    failures = counter.failures if counter.life == header.state.life else 0
    # Version 0.1 did not mark a change whose sync failed.
    return Record(counter.sequence, header.binding, failures, unfinished=True)
