"""The public record of a disk: failures, refused keys, its owner, and an unfinished change.

There are two copies, written alternately, each in its own 4 KiB block, because a power loss during
a write may destroy the whole block.  Layout of a copy:

======  ====  =====================================================================
offset  size  content
======  ====  =====================================================================
0       4     ``DREC``
4       2     version, 1
6       2     flags; 1: a change of the header may be unfinished; 2, 4, 8 and 16: see `Mark`
8       8     sequence number; the copy with the later number is valid
16      8     binding: identifies the header that the count and the tags belong to
24      4     consecutive failed authentications
28      4     system ID of the disk's home, its first owner; 0: never assigned
32      4     system ID of the disk's owner; 0: unowned
36      64    hostname of the owner, ASCII; zeros if it is not known
100     408   reserved, zeros
508     4     CRC-32 of the preceding bytes
512     1024  tags of the last 64 refused keys, each 12 bytes and a CRC-32 of binding and tag
1536    2560  reserved, zeros
======  ====  =====================================================================

Each header has a different binding, so writing a header voids the count and the tags at once; home,
owner and marks stay. They are readable while the disk is locked, and grant no access. Each tag has
its own checksum, so a damaged tag is ignored without losing the other tags or the count.

Version 0.1 stored two counters in the first block, at offsets 0 and 512.  They are read if that
block has no record; the first record is written to the other block, the second replaces them.

This module does no I/O: it converts between bytes and values.
"""

import struct
import zlib
from collections.abc import Iterator
from enum import Flag
from typing import NamedTuple, Self

from filer.disks.wrapping_counter import is_after
from filer.host.text import is_hostname

RECORD_SIZE = 4096
LOCKOUT_LIMIT = 1024
"""Consecutive failures after which the disk is locked out (``man key_manager``, LIMITATIONS)."""

COUNT_IF_LOST = LOCKOUT_LIMIT // 2
"""The count assumed if the record is lost: no lockout yet, but guesses stay limited."""

TAG_SIZE = 12
MOST_TAGS = 64
"""With so many a boot tries nothing more; the tag of a key that a command tries replaces one."""

BINDING_SIZE = 8

_MAGIC = b"DREC"
_VERSION = 1
_UNFINISHED = 1
# magic, version, flags, sequence, binding, failures, home, owner, name of the owner
_FIELDS = struct.Struct(f">4sHHQ{BINDING_SIZE}sIII64s")
_CHECKSUM = struct.Struct(">I")
_CHECKED = 508  # bytes covered by the checksum
_TAGS_AT = 512
_ENTRY_SIZE = TAG_SIZE + _CHECKSUM.size
_NO_TAGS = bytes(MOST_TAGS * _ENTRY_SIZE)

# magic, sequence, life, failures, CRC-32 of these
_OLD_COUNTER = struct.Struct(">4sQIII")
_OLD_MAGIC = b"FAIL"
_OLD_OFFSETS = (0, 512)


class Owner(NamedTuple):
    """A system, by its ID and its hostname; ID 0: no system, name "": not known."""

    system_id: int = 0
    name: str = ""


NO_OWNER = Owner()


class Mark(Flag):
    """What the owner of a disk has recorded about its use."""

    PREFAILED = 2
    """It is a member of an aggregate until its blocks are copied to a spare; then it is failed."""

    FAILED = 4
    """It is used no more, until it is unfailed."""

    NOT_ZEROED = 8
    """It may have blocks that are not zeros, from an earlier use."""

    ZEROING = 16
    """Its blocks are to be zeroed."""


NO_MARKS = Mark(0)
_ALL_MARKS = sum(mark.value for mark in Mark)


class Record(NamedTuple):
    """The content of one copy; ``tags`` holds the intact tags, ``home`` a system ID or 0."""

    sequence: int
    binding: bytes
    failures: int = 0
    unfinished: bool = False
    tags: tuple[bytes, ...] = ()
    home: int = 0
    owner: Owner = NO_OWNER
    marks: Mark = NO_MARKS

    def pack(self) -> bytes:
        """Return the encoded copy, `RECORD_SIZE` bytes."""
        flags = (_UNFINISHED if self.unfinished else 0) | self.marks.value
        fields = _FIELDS.pack(
            _MAGIC,
            _VERSION,
            flags,
            self.sequence,
            self.binding,
            self.failures,
            self.home,
            self.owner.system_id,
            self.owner.name.encode("ascii"),
        ).ljust(_CHECKED, b"\0")
        tags = b"".join(tag + _checksum(self.binding + tag) for tag in self.tags[:MOST_TAGS])
        return (fields + _checksum(fields) + tags).ljust(RECORD_SIZE, b"\0")

    @classmethod
    def parse(cls, block: bytes) -> Self | None:
        """Parse a copy; return None if it is damaged or was never written."""
        fields, rest = block[:_CHECKED], block[_CHECKED:]
        if not fields.startswith(_MAGIC) or rest[: _CHECKSUM.size] != _checksum(fields):
            return None
        _magic, version, flags, sequence, binding, *owned = _FIELDS.unpack_from(fields)
        if version != _VERSION:
            return None
        tags = tuple(_tags(block[_TAGS_AT : _TAGS_AT + len(_NO_TAGS)], binding))
        failures, home, system_id, name = owned
        owner = Owner(system_id, _hostname(name))
        marks = Mark(flags & _ALL_MARKS)
        return cls(sequence, binding, failures, bool(flags & _UNFINISHED), tags, home, owner, marks)


def _hostname(field: bytes) -> str:
    """Return the name in ``field``, or "" if it is not a hostname: the file may be edited."""
    name = field.rstrip(b"\0").decode("ascii", "replace")
    return name if is_hostname(name) else ""


def _tags(entries: bytes, binding: bytes) -> Iterator[bytes]:
    if entries == _NO_TAGS:
        return
    for start in range(0, len(entries), _ENTRY_SIZE):
        tag, checksum = entries[start : start + TAG_SIZE], entries[start + TAG_SIZE :]
        if any(tag) and checksum[: _CHECKSUM.size] == _checksum(binding + tag):
            yield tag


def _checksum(data: bytes) -> bytes:
    return _CHECKSUM.pack(zlib.crc32(data))


class OldCounter(NamedTuple):
    """The failure count in the format of version 0.1, for data key number ``life``."""

    sequence: int
    life: int
    failures: int

    @classmethod
    def latest_in(cls, block: bytes) -> Self | None:
        """Return the later intact counter in ``block``, or None."""
        latest: Self | None = None
        for offset in _OLD_OFFSETS:
            counter = cls._parse(block[offset : offset + _OLD_COUNTER.size])
            if counter and (latest is None or is_after(counter.sequence, latest.sequence)):
                latest = counter
        return latest

    @classmethod
    def _parse(cls, record: bytes) -> Self | None:
        magic, sequence, life, failures, checksum = _OLD_COUNTER.unpack(record)
        if magic != _OLD_MAGIC or zlib.crc32(record[: -_CHECKSUM.size]) != checksum:
            return None
        return cls(sequence, life, failures)
