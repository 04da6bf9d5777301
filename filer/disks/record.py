"""The public record of a disk: failures, refused keys, its owner, and an unfinished change.

There are two copies, written in turn, each in a block of 4 KiB of its own, because a write that
loses power may cost the whole block.  A copy:

======  ====  =====================================================================
offset  size  content
======  ====  =====================================================================
0       4     ``DREC``
4       2     version, 1
6       2     flags; 1: a change of the header may be unfinished
8       8     sequence number; of two copies the later one counts
16      8     binding: the header to which the count and the tags belong
24      4     failed authentications in a row
28      4     system ID of the home of the disk; 0: never assigned
32      4     system ID of its owner; 0: unowned
36      472   reserved, zeros
508     4     CRC-32 of the bytes before
512     1024  tags of the last 64 refused keys: 12 bytes and a CRC-32 of binding and tag each
1536    2560  reserved, zeros
======  ====  =====================================================================

Any new header has another binding, so the write of a header voids count and tags at once; home and
owner stay.  A tag has a checksum of its own: a damaged one is ignored, and costs neither the others
nor the count.

Version 0.1 had two counters in one block, at 0 and 512 of the first copy.  They are read where that
block has no record; the first record goes to the other block, the second one replaces them.

Everything here is pure: bytes in, values out, and the other way round.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple, Self

from filer.disks.wrapping_counter import is_after

RECORD_SIZE = 4096
LOCKOUT_LIMIT = 1024
"""Failed authentications in a row that end all others (``man key_manager``, LIMITATIONS)."""

COUNT_IF_LOST = LOCKOUT_LIMIT // 2
"""The count of a disk that has lost it: far from a lockout, and far from endless guesses."""

TAG_SIZE = 12
MOST_TAGS = 64
"""With so many a boot tries nothing more; the tag of a key that a command tries replaces one."""

BINDING_SIZE = 8

_MAGIC = b"DREC"
_VERSION = 1
_UNFINISHED = 1
# magic, version, flags, sequence, binding, failures, home, owner
_FIELDS = struct.Struct(f">4sHHQ{BINDING_SIZE}sIII")
_CHECKSUM = struct.Struct(">I")
_CHECKED = 508  # bytes before the checksum
_TAGS_AT = 512
_ENTRY_SIZE = TAG_SIZE + _CHECKSUM.size
_NO_TAGS = bytes(MOST_TAGS * _ENTRY_SIZE)

# magic, sequence, life, failures, CRC-32 of these
_OLD_COUNTER = struct.Struct(">4sQIII")
_OLD_MAGIC = b"FAIL"
_OLD_OFFSETS = (0, 512)


class Record(NamedTuple):
    """What one copy of the record says; ``tags`` are the intact ones of ``binding``.

    ``home`` and ``owner`` are system IDs, 0 for none.  They can be read while the disk is locked,
    and grant nothing.
    """

    sequence: int
    binding: bytes
    failures: int = 0
    unfinished: bool = False
    tags: tuple[bytes, ...] = ()
    home: int = 0
    owner: int = 0

    def pack(self) -> bytes:
        """Return the copy, `RECORD_SIZE` bytes."""
        flags = _UNFINISHED if self.unfinished else 0
        fields = _FIELDS.pack(
            _MAGIC,
            _VERSION,
            flags,
            self.sequence,
            self.binding,
            self.failures,
            self.home,
            self.owner,
        ).ljust(_CHECKED, b"\0")
        tags = b"".join(tag + _checksum(self.binding + tag) for tag in self.tags[:MOST_TAGS])
        return (fields + _checksum(fields) + tags).ljust(RECORD_SIZE, b"\0")

    @classmethod
    def parse(cls, block: bytes) -> Self | None:
        """Read a copy; None for one that is damaged or was never written."""
        fields, rest = block[:_CHECKED], block[_CHECKED:]
        if not fields.startswith(_MAGIC) or rest[: _CHECKSUM.size] != _checksum(fields):
            return None
        _magic, version, flags, sequence, binding, *numbers = _FIELDS.unpack_from(fields)
        if version != _VERSION:
            return None
        tags = tuple(_tags(block[_TAGS_AT : _TAGS_AT + len(_NO_TAGS)], binding))
        failures, home, owner = numbers
        return cls(sequence, binding, failures, bool(flags & _UNFINISHED), tags, home, owner)


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
    """The count of failures as version 0.1 wrote it, for the data key number ``life``."""

    sequence: int
    life: int
    failures: int

    @classmethod
    def latest_in(cls, block: bytes) -> Self | None:
        """Return the later of the counters in ``block``; None if none is intact."""
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
