"""RAID labels, and the root aggregate that they make up.

A label stands in the first block of a disk, under the encryption.  All members of an aggregate
have the same one: it names the system, the aggregate, and the members by serial number, so any
readable member tells of all the others.
"""

import json
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple, Self

from filer.digest import sha256
from filer.disk import BLOCK_SIZE, Disk, DiskError
from filer.shelf import Shelf

ROOT_AGGREGATE = "aggr0"
POSITIONS = ("dparity", "parity", "data")
"""What the members of the root aggregate are, in their order."""

_NEEDED = 2  # readable members
_MAGIC = "filer raid label"
_LABEL_BLOCK = 0
_DIGEST_SIZE = 32


class Label(NamedTuple):
    """What the first block of a disk in an aggregate says; ``members`` are serial numbers."""

    system_id: int
    aggregate: str
    members: tuple[str, ...]

    def pack(self) -> bytes:
        """Return the block: JSON, zeros, and the SHA-256 of both."""
        text = json.dumps(
            {
                "magic": _MAGIC,
                "system_id": self.system_id,
                "aggregate": self.aggregate,
                "members": self.members,
            }
        )
        body = text.encode("ascii").ljust(BLOCK_SIZE - _DIGEST_SIZE, b"\0")
        return body + sha256(body)

    @classmethod
    def parse(cls, block: bytes) -> Self | None:
        """Read a block; None for what is not a label, such as a block that was never written."""
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
            } if len({dparity, parity, data}) == len(POSITIONS):
                return cls(system_id, aggregate, (dparity, parity, data))
        return None


class Member(NamedTuple):
    """A place in the aggregate; ``disk`` is None where it is not in the shelf."""

    position: str
    serial: str
    disk: Disk | None


class Aggregate(NamedTuple):
    """The root aggregate as the disks show it.

    ``members`` is empty while nothing tells who they are.  ``readable`` and ``foreign`` hold
    serial numbers: of the disks whose first block could be read, and of those that a label gives
    to another aggregate.
    """

    members: tuple[Member, ...]
    readable: frozenset[str]
    foreign: frozenset[str]
    disks: tuple[Disk, ...]
    name: str = ROOT_AGGREGATE

    @property
    def online(self) -> bool:
        """Whether enough members can be read."""
        return sum(member.serial in self.readable for member in self.members) >= _NEEDED

    @property
    def locked(self) -> int:
        """How many members are locked; while they are unknown, how many disks."""
        return sum(disk.locked for disk in self._candidates)

    @property
    def total(self) -> int:
        """How many members there are; while they are unknown, how many disks."""
        return len(self.members) or len(self.disks)

    @property
    def problem(self) -> str:
        """Why the aggregate is not online."""
        text = f"{self.locked} of {self.total} disks locked"
        missing = len(self.members) - len(self._candidates) if self.members else 0
        if missing:
            text += f", {missing} missing"
        if not self.members and self.foreign:
            text += f", {len(self.foreign)} of another system"
        return text

    def role(self, disk: Disk) -> str:
        """Return the position of ``disk``, or "spare", "broken", "foreign", "unknown".

        Unknown is a disk that is locked and that no label names: it may belong to an aggregate.
        One that is locked out is a spare all the same, since its data is gone for good.
        """
        for member in self.members:
            if member.serial == disk.serial:
                return member.position
        if disk.destroyed:
            return "broken"
        if disk.serial in self.foreign:
            return "foreign"
        return "spare" if disk.serial in self.readable or disk.locked_out else "unknown"

    @property
    def _candidates(self) -> tuple[Disk, ...]:
        if not self.members:
            return self.disks
        return tuple(member.disk for member in self.members if member.disk is not None)


def assemble(shelf: Shelf, system_id: int) -> Aggregate:
    """Find the root aggregate of ``system_id`` among the disks; changes nothing.

    The members are those remembered by the shelf, if one of them is there, else those that the
    most labels of this system agree on.
    """
    return _assembled(shelf, system_id, _read_labels(shelf))


def bring_online(shelf: Shelf, system_id: int) -> Aggregate:
    """Assemble the root aggregate for a boot, and do what is left to do on its disks.

    It is made if this filer never had one, no label shows one, and no disk is locked that may
    hold one.  Once it is online, a readable member without a label is labelled again: a crash
    was in the way, or the disk was sanitized.  Look at `Aggregate.online` for what came of it.
    """
    labels = _read_labels(shelf)
    aggregate = _assembled(shelf, system_id, labels)
    if not aggregate.members and not shelf.record.aggr0:
        aggregate = _made(aggregate)
    if aggregate.online:
        serials = tuple(member.serial for member in aggregate.members)
        label = Label(system_id, ROOT_AGGREGATE, serials)
        for member in aggregate.members:
            if member.disk is not None and labels.get(member.serial, label) is None:
                member.disk.write_block(_LABEL_BLOCK, label.pack())
        shelf.remember_aggr0(serials)
    return aggregate


def _read_labels(shelf: Shelf) -> dict[str, Label | None]:
    """Return the label, or None, of each disk that can be read, by serial number."""
    labels = {}
    for disk in shelf:
        with suppress(DiskError):
            labels[disk.serial] = Label.parse(disk.read_block(_LABEL_BLOCK))
    return labels


def _assembled(shelf: Shelf, system_id: int, labels: Mapping[str, Label | None]) -> Aggregate:
    disks = {disk.serial: disk for disk in shelf}
    serials = _root_members(disks, labels, system_id, shelf.record.aggr0)
    foreign = {
        serial
        for owner, label in labels.items()
        if label and label != Label(system_id, ROOT_AGGREGATE, serials)
        for serial in (owner, *label.members)
    }
    return Aggregate(
        members=tuple(
            Member(position, serial, disks.get(serial))
            for position, serial in zip(POSITIONS, serials, strict=False)
        ),
        readable=frozenset(labels),
        foreign=frozenset(foreign).intersection(disks),
        disks=tuple(shelf),
    )


def _root_members(
    present: Mapping[str, Disk],
    labels: Mapping[str, Label | None],
    system_id: int,
    remembered: tuple[str, ...],
) -> tuple[str, ...]:
    ours = Counter(
        label.members
        for label in labels.values()
        if label and (label.system_id, label.aggregate) == (system_id, ROOT_AGGREGATE)
    )
    expected = Label(system_id, ROOT_AGGREGATE, remembered)
    if any((labels.get(serial) or expected) != expected for serial in remembered):
        remembered = ()
    if ours and not any(serial in present for serial in remembered):
        return ours.most_common(1)[0][0]
    return remembered


def _made(found: Aggregate) -> Aggregate:
    """Give a new root aggregate its members; none if there are too few, or any doubt."""
    roles = [found.role(disk) for disk in found.disks]
    spares = [
        disk
        for disk, role in zip(found.disks, roles, strict=True)
        if role == "spare" and disk.serial in found.readable
    ]
    if "unknown" in roles or len(spares) < len(POSITIONS):
        return found
    members = tuple(
        Member(position, disk.serial, disk)
        for position, disk in zip(POSITIONS, spares, strict=False)
    )
    return found._replace(members=members)
