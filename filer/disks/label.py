"""The RAID label in the first block of a disk; it is encrypted like all data.

All members of an aggregate have the same label.  It names the system, the aggregate, and the
members by serial number, so one readable member identifies all the others.  When a member is
replaced, the label gets the next generation, and the disk that was replaced keeps the old label.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple, Self

from filer.disks.digest import sha256
from filer.disks.disk import BLOCK_SIZE, Disk, DiskError

LABEL_BLOCK = 0
"""The number of the block with the label."""

_MAGIC = "filer raid label"
_MEMBERS = 3
_HIGHEST_ID = 2**32 - 1
_DIGEST_SIZE = 32


class Label(NamedTuple):
    """The label of a disk in an aggregate; ``members`` are serial numbers."""

    system_id: int
    aggregate: str
    members: tuple[str, ...]
    generation: int = 1

    def pack(self) -> bytes:
        """Return the encoded block: JSON, zeros, and the SHA-256 of both."""
        text = json.dumps(
            {
                "magic": _MAGIC,
                "system_id": self.system_id,
                "aggregate": self.aggregate,
                "members": self.members,
                "generation": self.generation,
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
                generation = fields.get("generation", 1)  # version 0.1 had none
                if isinstance(generation, int) and generation > 0:
                    return cls(system_id, aggregate, (dparity, parity, data), generation)
        return None


def read_labels(disks: Iterable[Disk]) -> dict[str, Label | None]:
    """Return the label of each readable disk by serial number; None if it has no label."""
    labels = {}
    for disk in disks:
        with suppress(DiskError):
            labels[disk.serial] = Label.parse(disk.read_block(LABEL_BLOCK))
    return labels
