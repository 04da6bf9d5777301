"""The root aggregate, assembled from the labels of this system's disks."""

import os
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, NoReturn

from filer.disks.disk import Disk, DiskError
from filer.disks.label import LABEL_BLOCK, UUID_SIZE, Composition, Label
from filer.disks.ownership import ROOT_AGGREGATE, Node, Ownership, survey
from filer.disks.record import Mark
from filer.disks.shelf import Shelf
from filer.host.durable import StorageError

Position = Literal["dparity", "parity", "data"]
Role = Position | Literal["spare", "broken", "partner", "foreign", "unowned", "unknown"]
POSITIONS: tuple[Position, ...] = ("dparity", "parity", "data")
"""The positions of the root aggregate's members, in order."""


Random = Callable[[int], bytes]
"""A source of random bytes."""

_NEEDED = 2  # readable members that the aggregate needs to be online


class Member(NamedTuple):
    """A position in the aggregate; ``disk`` is None if it is missing or has become foreign."""

    position: Position
    serial: str
    disk: Disk | None

    @property
    def in_use(self) -> Disk | None:
        """The disk, unless it has failed."""
        return None if self.disk is None or Mark.FAILED in self.disk.marks else self.disk


class Aggregate(NamedTuple):
    """The root aggregate as found on the disks; ``members`` is empty while they are unknown.

    ``erased`` has the serial numbers of members that are missing because they were erased.
    """

    members: tuple[Member, ...]
    ownership: Ownership
    disks: tuple[Disk, ...]
    erased: frozenset[str] = frozenset()
    name: str = ROOT_AGGREGATE

    @property
    def raid_group(self) -> str:
        """The path of the RAID group, which is the only one."""
        return f"/{self.name}/plex0/rg0"

    @property
    def online(self) -> bool:
        """Whether enough members are readable; an erased one is enough beside one that is."""
        return self._is_enough(self.readable)

    @property
    def degraded(self) -> bool:
        """Whether a member is missing or unreadable."""
        return len(self.readable) < len(POSITIONS)

    @property
    def readable(self) -> Sequence[Member]:
        """The members whose disks are in use and unlocked."""
        return [each for each in self.members if each.in_use and self.is_readable(each.in_use)]

    @property
    def blocks(self) -> int:
        """The number of blocks that it uses of each member: those of the smallest readable one."""
        return min(each.in_use.blocks for each in self.readable if each.in_use)

    def needs(self, disk: Disk) -> bool:
        """Return whether the aggregate would go offline without ``disk``."""
        others = [each for each in self.readable if each.in_use is not disk]
        return self.online and not self._is_enough(others)

    def _is_enough(self, readable: Sequence[Member]) -> bool:
        return bool(readable) and len(readable) + len(self.erased) >= _NEEDED

    @property
    def locked(self) -> int:
        """The number of locked members, or of locked own disks while the members are unknown."""
        return sum(disk.locked for disk in self._candidates)

    @property
    def total(self) -> int:
        """The number of members, or of own disks while the members are unknown."""
        return len(self.members) or len(self._candidates)

    @property
    def problem(self) -> str:
        """Why the aggregate is not online."""
        text = f"{self.locked} of {self.total} disks locked"
        missing = sum(member.disk is None for member in self.members)
        failed = len(self.members) - len(self._present) - missing
        if missing:
            text += f", {missing} missing"
        if failed:
            text += f", {failed} failed"
        unreadable = sum(map(self.is_unreadable, self._present))
        if unreadable:
            text += f", {unreadable} unreadable"
        others = sum(not foreign.is_partner for foreign in self.ownership.foreign.values())
        if others:
            text += f", {others} of another system"
        return text

    def role(self, disk: Disk) -> Role:
        """Return the position of ``disk``, or another role.

        "broken" is a disk that is destroyed or has failed.  "foreign" is a disk of another system,
        but not the partner's, and an own disk in another aggregate.  "unknown" is an own disk that
        is unreadable and not named by any label: it may belong to an aggregate.  A locked-out disk
        is a spare, since its data is lost permanently.
        """
        if self.ownership.foreign_owner(disk):
            return "partner" if self.ownership.is_partners(disk) else "foreign"
        if not self.ownership.owns(disk):
            return "unowned"
        positions = [each.position for each in self.members if each.disk is disk]
        is_broken = disk.destroyed or Mark.PREFAILED in disk.marks
        if Mark.FAILED in disk.marks or (is_broken and not positions):
            return "broken"
        if positions:
            return positions[0]
        if self.ownership.in_other_aggregate(disk):
            return "foreign"
        return "spare" if self.is_readable(disk) or disk.locked_out else "unknown"

    def is_readable(self, disk: Disk) -> bool:
        """Return whether the data of ``disk`` could be read."""
        return disk.serial in self.ownership.labels

    def is_unreadable(self, disk: Disk) -> bool:
        """Return whether the data of ``disk`` cannot be read although it is not locked."""
        return not (disk.locked or self.is_readable(disk))

    def is_zeroed(self, disk: Disk) -> bool:
        """Return whether all blocks of ``disk``, a spare, are zeros."""
        label = self.ownership.labels.get(disk.serial)
        return label is None and Mark.NOT_ZEROED not in disk.marks

    @property
    def spares(self) -> Sequence[Disk]:
        """The spare disks, also those whose data cannot be read any more."""
        return [disk for disk in self.disks if self.role(disk) == "spare"]

    @property
    def _present(self) -> list[Disk]:
        return [member.in_use for member in self.members if member.in_use is not None]

    @property
    def _candidates(self) -> list[Disk]:
        return self._present if self.members else self.ownership.own(self.disks)


def assemble(shelf: Shelf, node: Node) -> Aggregate:
    """Find the root aggregate of ``node`` on its disks; changes nothing.

    A member that was erased, in maintenance mode or by another system, is missing: it is a spare
    disk, and the aggregate is rebuilt on it or on another one.  Not if no other member can hold
    data.
    """
    ownership = survey(shelf, node)
    own = [disk for disk in ownership.own(shelf) if not ownership.in_other_aggregate(disk)]
    is_first_boot = shelf.keeps_record and not shelf.record.aggr0.members
    serials = ownership.root.members
    erased = [
        disk.serial
        for disk in own
        if disk.serial in serials and _was_erased(disk, ownership, is_first_boot)
    ]
    lost = [disk.serial for disk in own if disk.destroyed or disk.locked_out]
    if {*serials} <= {*erased, *lost}:
        erased = []
    in_step = [disk for disk in own if disk.serial not in erased]
    members = _members(serials, in_step)
    return Aggregate(members, ownership, tuple(shelf), frozenset(erased))


def _was_erased(disk: Disk, ownership: Ownership, is_first_boot: bool) -> bool:
    """Return whether a member was erased.

    In a first boot that was interrupted, new members have no label yet.  A label that is neither
    whole nor zeros was torn by a loss of power.
    """
    labels = ownership.labels
    if disk.serial not in labels or labels[disk.serial] is not None:
        return False
    return Mark.NOT_ZEROED in disk.marks or not (is_first_boot or _is_torn(disk))


def _is_torn(disk: Disk) -> bool:
    try:
        return any(disk.read_block(LABEL_BLOCK))
    except DiskError:  # it could be read a moment ago
        return False


def make_root(shelf: Shelf, node: Node, disks: Sequence[Disk], random: Random) -> None:
    """Make a new root aggregate of the first of ``disks``, which are erased; forget the old one.

    Raises StorageError; the next boot goes on then.
    """
    before = survey(shelf, node).root
    shelf.remember_aggr0(Composition())
    made = _new(before, tuple(disk.serial for disk in disks[: len(POSITIONS)]), random)
    label = Label(node.system_id, ROOT_AGGREGATE, *made)
    for disk in disks[: len(POSITIONS)]:
        disk.write_block(LABEL_BLOCK, label.pack())
    shelf.remember_aggr0(made)


def _new(before: Composition, serials: tuple[str, ...], random: Random) -> Composition:
    """Return a new aggregate of ``serials``, of a later generation than the one ``before`` it."""
    return Composition(serials, before.generation + 1, random(UUID_SIZE).hex())


def _raise(refusal: StorageError, _member: Disk | None) -> NoReturn:
    raise refusal


def bring_online(
    shelf: Shelf,
    node: Node,
    refused: Callable[[StorageError, Disk | None], object] = _raise,
    random: Random = os.urandom,
) -> Aggregate:
    """Assemble the root aggregate for a boot, and write missing labels.

    The aggregate is created if this filer never had one, no label names one, and no locked disk
    may belong to one.  If all of its members were erased, it is made anew of the same disks.

    When it is online, each readable member without its label gets it: a crash interrupted the
    labelling, or the system ID has changed.  Until the members are recorded, all of them get it: a
    label that was read may be in the cache of the host only.  A write that fails keeps no aggregate
    offline: ``refused`` gets the problem, and the member or None.  `Aggregate.online` says whether
    the aggregate came online.
    """
    aggregate = assemble(shelf, node)
    if not aggregate.members and not shelf.record.aggr0.members:
        aggregate = _with_new_members(aggregate)
    if aggregate.online:
        labels = aggregate.ownership.labels
        current = _current(aggregate, random)
        label = Label(node.system_id, ROOT_AGGREGATE, *current)
        is_recorded = shelf.record.aggr0 == current
        for member in aggregate.readable:
            disk = member.in_use
            if disk and not (is_recorded and labels[disk.serial] == label):
                try:
                    disk.write_block(LABEL_BLOCK, label.pack())
                except StorageError as refusal:
                    refused(refusal, disk)
        try:
            shelf.remember_aggr0(current)
        except StorageError as refusal:
            refused(refusal, None)
    return aggregate


def _current(aggregate: Aggregate, random: Random) -> Composition:
    """Return the composition of an aggregate that is online; it is new if no member has a label.

    Labels from before it was made, which may come back on a disk that was pulled, are then those of
    another aggregate.
    """
    root, labels = aggregate.ownership.root, aggregate.ownership.labels
    made = _new(root, tuple(member.serial for member in aggregate.members), random)
    if not any(labels[member.serial] for member in aggregate.readable):
        return made
    return Composition(made.members, max(1, root.generation), root.uuid or made.uuid)


def _members(serials: tuple[str, ...], own: list[Disk]) -> tuple[Member, ...]:
    disks = {disk.serial: disk for disk in own}
    return tuple(
        Member(position, serial, disks.get(serial))
        for position, serial in zip(POSITIONS, serials, strict=False)
    )


def _with_new_members(found: Aggregate) -> Aggregate:
    """Choose the members of a new root aggregate; none if spares are too few or any is in doubt.

    A locked disk with the key of another system is a doubt: this filer's system ID may have been
    changed.
    """
    spares: list[Disk] = []
    for disk in found.disks:
        match found.role(disk):
            case "spare" if disk.serial in found.ownership.labels:
                spares.append(disk)
            case "unknown":
                return found
            case "foreign" if disk.locked and not disk.destroyed:
                return found
    if len(spares) < len(POSITIONS):
        return found
    serials = tuple(disk.serial for disk in spares[: len(POSITIONS)])
    return found._replace(members=_members(serials, spares))
