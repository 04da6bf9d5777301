"""What stands before the data of a disk file: two header slots and two counter records.

========  ===========================================================
offset    content
========  ===========================================================
0         header slot A (4 KiB)
4096      header slot B (4 KiB); one of the two is zeros
8192      counter record A, written in turn with B
8704      counter record B
16384     the data, in blocks of 4 KiB
========  ===========================================================

Everything here is pure: bytes in, values out, and the other way round.
"""

import re
import struct
import zlib
from dataclasses import dataclass
from typing import NamedTuple, Self

from filer.derivation import STANDARD, Scrypt
from filer.digest import sha256
from filer.errors import FilerError
from filer.key_id import MSID_KEY_ID, is_key_id

BLOCK_SIZE = 4096
SLOT_SIZE = 4096
SLOT_OFFSETS = (0, 4096)
EMPTY_SLOT = bytes(SLOT_SIZE)
COUNTER_OFFSETS = (8192, 8704)
DATA_OFFSET = 16384
WRAP_SIZE = 72
"""A data key of 64 bytes under AES key wrap with padding (RFC 5649)."""

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

# magic, sequence, life, failures, CRC-32 of these
_COUNTER = struct.Struct(">4sQIII")
_COUNTER_MAGIC = b"FAIL"
_CRC_SIZE = 4
COUNTER_SIZE = _COUNTER.size

_SERIAL = re.compile(r"[0-9A-Z]{16}")
_MSID = re.compile(r"[!-~]{32}")
_LARGEST = 2**62


class DiskError(FilerError):
    """A disk refused, or its file is damaged."""


def _require(condition: bool, field: str) -> None:
    if not condition:
        raise DiskError(f"damaged header: {field}")


@dataclass(frozen=True)
class State:
    """What a disk is, all of it bound to the wrapped data key: an edited field is noticed.

    ``data_size`` is in bytes.  ``life`` counts the data keys that the disk has had, so that a new
    one begins with a new count of failures.  Raises `DiskError` for what no disk can be.
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
        _require(_SERIAL.fullmatch(self.serial) is not None, "serial number")
        _require(_MSID.fullmatch(self.msid) is not None, "MSID")
        _require(self.data_size in range(BLOCK_SIZE, _LARGEST, BLOCK_SIZE), "size")
        _require(0 < self.life < 2**32, "life")
        _require(factory_key or is_key_id(self.key_id), "key ID")
        _require(not (self.locking and factory_key), "locking")
        _require(not self.destroyed or factory_key, "destroyed")

    def pack(self) -> bytes:
        """Return the fields in bytes, for the header and for the derivation of its keys."""
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
        """Read the fields from as many bytes as `pack` returns; raises `DiskError`."""
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
                scrypt=Scrypt(n, r, p),
            )
        except UnicodeDecodeError as error:
            raise DiskError("damaged header: text") from error
        except ValueError as error:
            raise DiskError(f"damaged header: {error}") from error


@dataclass(frozen=True)
class Header:
    """A header slot: the state, and the data key in wrapped form.

    ``wrap`` is the data key under the current authentication key.  ``open_wrap`` is the data key
    under the MSID, there only while locking is not set.  A destroyed disk has neither.  Of two
    valid slots the higher ``generation`` stands.  Raises `DiskError` for what no disk can have.
    """

    state: State
    wrap: bytes
    open_wrap: bytes
    generation: int = 1

    def __post_init__(self) -> None:
        wrapped, opened = not self.state.destroyed, not self.state.locking
        _require(0 < self.generation < 2**64, "generation")
        _require(_is_wrap(self.wrap) if wrapped else not self.wrap, "wrapped key")
        _require(
            _is_wrap(self.open_wrap) if wrapped and opened else not self.open_wrap,
            "wrapped key of an unlocked disk",
        )

    def pack(self) -> bytes:
        """Return the slot: `SLOT_SIZE` bytes, the last 32 of them the SHA-256 of the others."""
        body = self._body()
        return body + sha256(body)

    @classmethod
    def parse(cls, slot: bytes) -> Self:
        """Read a slot; raises `DiskError` for any bytes that `pack` does not return."""
        _require(len(slot) == SLOT_SIZE and slot.startswith(_MAGIC), "not a disk of a filer")
        body, digest = slot[:-_DIGEST_SIZE], slot[-_DIGEST_SIZE:]
        _require(sha256(body) == digest, "checksum")
        state = State.parse(body[: _STATE.size])
        generation, wrap, open_wrap = _KEYS.unpack_from(body, _STATE.size)
        header = cls(state, _present(wrap), _present(open_wrap), generation)
        _require(header._body() == body, "padding")
        return header

    def _body(self) -> bytes:
        keys = _KEYS.pack(self.generation, self.wrap, self.open_wrap)
        return self.state.pack() + keys + _PADDING


def _present(wrap: bytes) -> bytes:
    return wrap if any(wrap) else b""


def _is_wrap(wrap: bytes) -> bool:
    return len(wrap) == WRAP_SIZE and any(wrap)


class Counter(NamedTuple):
    """A counter record: how often in a row authentication has failed in this ``life``."""

    sequence: int
    life: int
    failures: int

    def pack(self) -> bytes:
        """Return the record, `COUNTER_SIZE` bytes."""
        counted = self.sequence, self.life, self.failures
        body = _COUNTER.pack(_COUNTER_MAGIC, *counted, 0)[:-_CRC_SIZE]
        return body + zlib.crc32(body).to_bytes(_CRC_SIZE, "big")

    @classmethod
    def parse(cls, record: bytes) -> Self | None:
        """Read a record; None for one that is torn or was never written."""
        if len(record) != COUNTER_SIZE:
            return None
        magic, sequence, life, failures, checksum = _COUNTER.unpack(record)
        if magic != _COUNTER_MAGIC or zlib.crc32(record[:-_CRC_SIZE]) != checksum:
            return None
        return cls(sequence, life, failures) if sequence < _LARGEST else None


class Head(NamedTuple):
    """The first `DATA_OFFSET` bytes of a disk file.

    ``slot`` and ``counter_slot`` say which of the two places holds what stands; ``untidy`` says
    that the other header slot holds something, left by a change that was interrupted.
    """

    header: Header
    counter: Counter
    slot: int = 0
    counter_slot: int = 0
    untidy: bool = False

    def pack(self) -> bytes:
        """Return the head of a tidy disk file, `DATA_OFFSET` bytes."""
        head = bytearray(DATA_OFFSET)
        slot, counter = SLOT_OFFSETS[self.slot], COUNTER_OFFSETS[self.counter_slot]
        head[slot : slot + SLOT_SIZE] = self.header.pack()
        head[counter : counter + COUNTER_SIZE] = self.counter.pack()
        return bytes(head)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read the head of a disk file; raises `DiskError` if there is no whole header in it."""
        headers: dict[int, Header] = {}
        faults: list[DiskError] = []
        slots = [data[offset : offset + SLOT_SIZE] for offset in SLOT_OFFSETS]
        for place, content in enumerate(slots):
            if content != EMPTY_SLOT:
                try:
                    headers[place] = Header.parse(content)
                except DiskError as fault:
                    faults.append(fault)
        if not headers:
            raise faults[0] if faults else DiskError("damaged header: empty")
        counters: dict[int, Counter] = {}
        for place, offset in enumerate(COUNTER_OFFSETS):
            counter = Counter.parse(data[offset : offset + COUNTER_SIZE])
            if counter is not None:
                counters[place] = counter
        _require(bool(counters), "count of failures")
        slot = max(headers, key=lambda place: headers[place].generation)
        latest = max(counters, key=lambda place: counters[place].sequence)
        return cls(
            headers[slot], counters[latest], slot, latest, untidy=slots[1 - slot] != EMPTY_SLOT
        )

    @property
    def failures(self) -> int:
        """How often in a row authentication with the present data key has failed."""
        return self.counter.failures if self.counter.life == self.header.state.life else 0
