"""The RAID label in the first block of a disk; it is encrypted like all data.

All members of an aggregate have the same label.  It names the system, the aggregate, and the
members by serial number, so one readable member identifies all the others.  When a member is
replaced, the label gets the next generation, and the disk that was replaced keeps the old label.
A new aggregate has another UUID than the one before it, which its disks may have belonged to.
"""

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple, Self

from filer.disks.digest import sha256
from filer.disks.disk import BLOCK_SIZE, Disk, DiskError

LABEL_BLOCK = 0
"""The number of the block with the label."""

UUID_SIZE = 16
"""Bytes."""

_UUID = re.compile(f"[0-9a-f]{{{2 * UUID_SIZE}}}")
_MAGIC = "filer raid label"
_MEMBERS = 3
_HIGHEST_ID = 2**32 - 1
_DIGEST_SIZE = 32


def is_uuid(text: str) -> bool:
    """Return whether ``text`` may be the UUID of an aggregate."""
    return _UUID.fullmatch(text) is not None


class Composition(NamedTuple):
    """The disks of an aggregate, by serial number, at one time of its life.

    ``generation`` counts the replacements of members, from 1, and goes on in an aggregate that is
    made in place of another; it is 0 if it is not known.  ``uuid`` stays for life; it is empty if
    it is not known.
    """

    members: tuple[str, ...] = ()
    generation: int = 0
    uuid: str = ""

    def precedes(self, other: "Composition") -> bool:
        """Return whether ``other`` is a later composition of the same aggregate.

        Without UUIDs, which version 0.1 did not give, at least one member has to be the same.
        """
        if self.uuid != other.uuid or not 0 < self.generation < other.generation:
            return False
        return bool(self.uuid) or not set(self.members).isdisjoint(other.members)


class Label(NamedTuple):
    """The label of a disk in an aggregate: see `Composition`."""

    system_id: int
    aggregate: str
    members: tuple[str, ...]
    generation: int = 1
    uuid: str = ""

    @property
    def composition(self) -> Composition:
        """The disks that the label names."""
        return Composition(self.members, self.generation, self.uuid)

    def pack(self) -> bytes:
        """Return the encoded block: JSON, zeros, and the SHA-256 of both."""
        text = json.dumps(
            {
                "magic": _MAGIC,
                "system_id": self.system_id,
                "aggregate": self.aggregate,
                "members": self.members,
                "generation": self.generation,
                "uuid": self.uuid,
            }
        )
        body = text.encode("ascii").ljust(BLOCK_SIZE - _DIGEST_SIZE, b"\0")
        return body + sha256(body)

    @classmethod
    def parse(cls, block: bytes) -> Self | None:
        """Parse a block; return None if it is not a label, such as a block never written."""
        body, digest = block[:-_DIGEST_SIZE], block[-_DIGEST_SIZE:]
        if sha256(body) != digest:
            return None
        try:
            fields = json.loads(body.rstrip(b"\0"))
        except (ValueError, RecursionError):
            return None
        match fields:
            case {
                "magic": "filer raid label",
                "system_id": int(system_id),
                "aggregate": str(aggregate),
                "members": [str(dparity), str(parity), str(data)],
            } if len({dparity, parity, data}) == _MEMBERS and 0 < system_id <= _HIGHEST_ID:
                members = dparity, parity, data
                generation, uuid = fields.get("generation", 1), fields.get("uuid", "")  # not in 0.1
                is_uuid_text = isinstance(uuid, str) and (not uuid or is_uuid(uuid))
                if isinstance(generation, int) and generation > 0 and is_uuid_text:
                    return cls(system_id, aggregate, members, generation, uuid)
        return None


def read_labels(disks: Iterable[Disk]) -> dict[str, Label | None]:
    """Return the label of each readable disk by serial number; None if it has no label."""
    labels = {}
    for disk in disks:
        with suppress(DiskError):
            labels[disk.serial] = Label.parse(disk.read_block(LABEL_BLOCK))
    return labels
