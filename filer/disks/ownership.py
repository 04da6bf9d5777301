"""Which system a disk belongs to: the one rule that the boot and all commands use.

The record on a disk names its owner, and is readable while the disk is locked.  If the record names
none (a new disk, one of version 0.1, or a lost record), the label of the disk and the systems in
its key ID decide; a disk that names no system goes to this one, or stays unowned.  The boot writes
the owner to each own disk.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from typing import NamedTuple

from filer.disks.bay import BAYS, disk_index
from filer.disks.disk import Disk, DiskError
from filer.disks.label import Composition, Label, read_labels
from filer.disks.record import Mark, Owner
from filer.disks.shelf import Shelf
from filer.keys.key_id import systems_of
from filer.running.parallel import in_parallel

ROOT_AGGREGATE = "aggr0"


class Node(NamedTuple):
    """This system, and how it takes disks without an owner; ``partner_id`` 0: no HA partner.

    ``shares_shelf``: the disks of the partner are in the same shelf.
    """

    system_id: int
    hostname: str = ""
    partner_id: int = 0
    shares_shelf: bool = False
    auto_assign: bool = True

    @property
    def owner(self) -> Owner:
        """This system as an owner of disks."""
        return Owner(self.system_id, self.hostname)

    def takes(self, name: str) -> bool:
        """Return whether a disk called ``name`` that names no system goes to this one.

        Of two partners, the one with the lower system ID takes the even bays.
        """
        if not (self.shares_shelf and self.partner_id):
            return True
        parity = 0 if self.system_id < self.partner_id else 1
        return (disk_index(name) or 0) % BAYS % 2 == parity


class Evidence(Enum):
    """The reason why a disk is foreign, as shown to the user."""

    RECORD = "belongs to"
    LABEL = "belongs to an aggregate of"
    KEY_ID = "has the key of"


class ForeignOwner(NamedTuple):
    """Why a disk is foreign: ``evidence`` points to ``systems`` (system IDs)."""

    systems: tuple[int, ...]
    evidence: Evidence
    is_partner: bool = False

    @property
    def owner(self) -> str:
        """The system IDs as text, such as ``77`` or ``77, 78``."""
        return ", ".join(map(str, self.systems))

    @property
    def whose(self) -> str:
        """``another system`` or ``the partner``, with its ID."""
        return f"{'the partner' if self.is_partner else 'another system'} ({self.owner})"

    def __str__(self) -> str:
        """Return evidence and owner, such as ``belongs to another system (77)``."""
        return f"{self.evidence.value} {self.whose}"


class Ownership(NamedTuple):
    """The ownership of all disks in a shelf, at the time of `survey`.

    ``root`` has the members of this system's root aggregate, in order, none while they are
    unknown.  ``labels`` maps the serial number of each readable disk to its label, or to
    None if it has no label.  ``foreign`` maps the serial number of each disk of another system to
    the reason.  ``unowned`` holds the disks that belong to no system.  ``doubtful`` holds the own
    disks that may belong to a partner: locked disks without a record whose key ID also names
    another system.  ``recorded`` has the owner in the record of each disk.
    """

    node: Node
    root: Composition
    labels: Mapping[str, Label | None]
    foreign: Mapping[str, ForeignOwner]
    unowned: frozenset[str]
    doubtful: frozenset[str]
    recorded: Mapping[str, Owner]

    def foreign_owner(self, disk: Disk) -> ForeignOwner | None:
        """Return why ``disk`` belongs to another system, or None."""
        return self.foreign.get(disk.serial)

    def is_partners(self, disk: Disk) -> bool:
        """Return whether ``disk`` belongs to the HA partner."""
        foreign = self.foreign_owner(disk)
        return foreign is not None and foreign.is_partner

    def owns(self, disk: Disk) -> bool:
        """Return whether ``disk`` belongs to this system."""
        return disk.serial not in self.foreign and disk.serial not in self.unowned

    def own(self, disks: Iterable[Disk]) -> list[Disk]:
        """Return the own disks among ``disks``."""
        return [disk for disk in disks if self.owns(disk)]

    def not_own(self, disk: Disk) -> str | None:
        """Return whose ``disk`` is, or None for an own disk."""
        if disk.serial in self.unowned:
            return "has no owner"
        foreign = self.foreign_owner(disk)
        return str(foreign) if foreign else None

    def refusal(self, disk: Disk) -> str | None:
        """Return why commands must not change ``disk`` and what to do, or None for an own disk."""
        whose = self.not_own(disk)
        if whose is None:
            with suppress(DiskError):  # the change will fail, and say why
                disk.look_again()
            changed = disk.owner != self.recorded.get(disk.serial)
            return "its owner has just changed; repeat the command" if changed else None
        if disk.serial in self.unowned:
            return f"{whose}; disk assign makes it one of this system"
        foreign = self.foreign[disk.serial]
        if foreign.evidence is Evidence.RECORD and self.may_be_taken(disk):
            return f"{whose}; disk assign -f would make it one of this system"
        return f"{whose}; sanitize it there before you use it here"

    def may_be_taken(self, disk: Disk) -> bool:
        """Return whether ``disk assign -f`` may change the owner of a foreign ``disk``.

        Not of a member of an aggregate, also an erased one, nor while the label of the disk cannot
        be read: its system could not boot without it.
        """
        if disk.destroyed:
            return True
        owner = self.recorded.get(disk.serial)
        theirs = [
            label.composition
            for serial, label in self.labels.items()
            if label and self.recorded.get(serial) == owner
        ]
        is_member = theirs and disk.serial in _newest(theirs).members
        return disk.serial in self.labels and not (self.labels[disk.serial] or is_member)

    def in_other_aggregate(self, disk: Disk) -> bool:
        """Return whether ``disk`` has the label of an aggregate that is not this system's root.

        The label that the root had before a member was replaced is one of the root too.
        """
        label = self.labels.get(disk.serial)
        return label is not None and not self._is_root(disk, label)

    def _is_root(self, disk: Disk, label: Label) -> bool:
        if not _may_be_root(disk, label, self.node):
            return False
        is_earlier = label.generation <= self.root.generation
        if label.uuid:
            is_same = label.members == self.root.members and not self.root.uuid
            return is_same or (label.uuid == self.root.uuid and is_earlier)
        if label.members == self.root.members:
            return True
        # The same generation with other members is left of a replacement that was interrupted.
        others = {*label.members} - {disk.serial}
        return is_earlier and (
            not others.isdisjoint(self.root.members) or Mark.FAILED in disk.marks
        )

    def names(self) -> Mapping[int, str]:
        """Return the hostname of each system that a record names, by system ID."""
        names = {owner.system_id: owner.name for owner in self.recorded.values() if owner.name}
        return names | {self.node.system_id: self.node.hostname}

    def disks_of(self, system_id: int, disks: Iterable[Disk]) -> list[Disk]:
        """Return those of ``disks`` that belong to another system, ``system_id``.

        In a shared shelf, a disk without a record whose key ID names two systems is left out: it
        may belong to the other one.
        """
        found = []
        for disk in disks:
            systems = self.foreign[disk.serial].systems if disk.serial in self.foreign else ()
            is_sure = len(systems) == 1 or not self.node.shares_shelf
            if system_id in systems and is_sure:
                found.append(disk)
        return found


def names_others(key_id: str, system_id: int) -> bool:
    """Return whether ``key_id`` names other systems but not ``system_id``."""
    systems = systems_of(key_id)
    return bool(systems) and system_id not in systems


def survey(shelf: Shelf, node: Node) -> Ownership:
    """Determine which disks in ``shelf`` belong to ``node``; changes nothing.

    The owner in the record decides.  A disk without one is foreign if its own label names another
    system or another aggregate, or, if its label cannot be read, if its key ID names only other
    systems, or if the label of a foreign disk lists it as a member.  Of the others, a disk with the
    label or the key ID of this system belongs to it, and so does one that was recorded as its own.
    A disk that was released is unowned, and in a shared shelf one whose key ID names both partners,
    or whose record was lost.  The rest is new disks: see `Node.takes`.
    """
    labels = read_labels(shelf)
    disks = {disk.serial: disk for disk in shelf}
    remembered = shelf.record
    recorded_aggr0 = remembered.aggr0 if shelf.keeps_record else None
    root = _root(disks, labels, node, recorded_aggr0)
    recorded = {serial: disk.owner for serial, disk in disks.items()}
    found = Ownership(node, root, labels, {}, frozenset(), frozenset(), recorded)
    claims = {
        member: label.system_id
        for serial, label in labels.items()
        if label
        and disks[serial].owner.system_id != node.system_id
        and found.in_other_aggregate(disks[serial])
        for member in label.members
    }
    foreign: dict[str, ForeignOwner] = {}

    def is_foreign(serial: str, evidence: Evidence, *systems: int) -> None:
        foreign[serial] = ForeignOwner(systems, evidence, systems == (node.partner_id,))

    unowned = set()
    doubtful = set()
    for serial, disk in disks.items():
        label = labels.get(serial)
        systems = systems_of(disk.key_id)
        in_doubt = disk.locked and len(systems) > 1
        if disk.owner.system_id:
            if disk.owner.system_id != node.system_id:
                is_foreign(serial, Evidence.RECORD, disk.owner.system_id)
        elif label:
            if found.in_other_aggregate(disk):
                is_foreign(serial, Evidence.LABEL, label.system_id)
        elif names_others(disk.key_id, node.system_id):
            is_foreign(serial, Evidence.KEY_ID, *systems)
        elif (
            serial in claims
            and serial not in root.members
            and _agrees(claims[serial], systems, node)
        ):
            is_foreign(serial, Evidence.LABEL, claims[serial])
        elif serial in root.members or (
            not disk.home
            and (
                serial in remembered.disks
                or systems == (node.system_id,)
                or (_is_free(disk, node, in_doubt) and node.auto_assign and node.takes(disk.name))
            )
        ):
            if in_doubt:
                doubtful.add(serial)
        else:
            unowned.add(serial)
    return found._replace(foreign=foreign, unowned=frozenset(unowned), doubtful=frozenset(doubtful))


def _agrees(claimant: int, systems: tuple[int, ...], node: Node) -> bool:
    """Return whether the key ID of a disk, with ``systems``, allows the claim of another's label.

    A label on another disk does not outweigh a key ID that names this system.
    """
    return claimant in systems or node.system_id not in systems


def _is_free(disk: Disk, node: Node, in_doubt: bool) -> bool:
    return not (node.shares_shelf and (in_doubt or disk.owner_lost))


def claim(disks: Iterable[Disk], ownership: Ownership) -> None:
    """Write this system as the owner to each own disk that does not have it, unless doubtful.

    Destroyed disks are not changed.  Raises StorageError; some of the other disks are already
    written then.
    """
    owner = ownership.node.owner
    unwritten = [
        disk
        for disk in ownership.own(disks)
        if not (disk.owner == owner or disk.destroyed or disk.serial in ownership.doubtful)
    ]
    in_parallel(unwritten, lambda disk: disk.assign(owner))


def _may_be_root(disk: Disk, label: Label, node: Node) -> bool:
    """Return whether ``label``, on ``disk``, may be that of this system's root aggregate.

    With another system ID it is, if this system has become the owner of the disk.
    """
    owner = disk.owner.system_id or label.system_id
    return owner == node.system_id and label.aggregate == ROOT_AGGREGATE


def _root(
    present: Mapping[str, Disk],
    labels: Mapping[str, Label | None],
    node: Node,
    record: Composition | None,
) -> Composition:
    """Return the root aggregate as recorded for the shelf, unless the labels know better.

    They do if they name a later composition of the same aggregate: a crash has interrupted the
    replacement of a member, or the partner has replaced it.  So they do if a recorded member has
    become that of another aggregate.  If all are missing, only a record without UUID may be wrong.
    ``record`` is None if it is out of reach, during a takeover.
    """
    ours = {
        serial: label
        for serial, label in labels.items()
        if label and _may_be_root(present[serial], label, node)
    }
    found = [label.composition for label in ours.values()]
    recorded = record or Composition()
    recorded = _newest([recorded, *(each for each in found if each.members == recorded.members)])
    best = _best([recorded, *(each for each in found if recorded.precedes(each))], ours, node)
    if best != recorded:
        return best
    members = [disk for serial in recorded.members if (disk := present.get(serial))]
    likely = _most_likely(ours, node)
    locked = [disk for disk in present.values() if _may_have_a_label(disk, labels, node)]
    is_made_here = any(
        label.uuid == likely.uuid and label.system_id == node.system_id for label in ours.values()
    )
    if any(disk.serial not in likely.members for disk in locked) or (
        record is None and not is_made_here
    ):
        likely = Composition()  # a disk that is locked, or missing, may have the label that counts
    if any(_contradicts(disk, labels, recorded, node) for disk in members):
        return likely
    if recorded.uuid or not found or any(labels.get(disk.serial, True) for disk in members):
        return recorded
    return likely if not members or _is_whole(likely, ours) else recorded


def _may_have_a_label(disk: Disk, labels: Mapping[str, Label | None], node: Node) -> bool:
    """Return whether a disk of this system is locked, but may be unlocked with its key."""
    is_lost = disk.destroyed or disk.locked_out
    is_own = disk.owner.system_id == node.system_id
    return is_own and disk.locked and not is_lost and disk.serial not in labels


def _most_likely(labels: Mapping[str, Label], node: Node) -> Composition:
    """Return the root aggregate by ``labels`` alone, which may be those of several aggregates.

    One of this system comes first, and then the latest, even if it cannot come online: the data of
    an earlier one is old.
    """
    aggregates: dict[str, list[Composition]] = {}
    for label in labels.values():
        aggregates.setdefault(label.uuid, []).append(label.composition)

    def rank(each: Composition) -> tuple[bool, int]:
        is_ours = any(
            label.system_id == node.system_id
            for label in labels.values()
            if label.uuid == each.uuid and (each.uuid or label.composition == each)
        )
        return is_ours, each.generation

    found = [_best(each, labels, node) for each in aggregates.values()]
    return max(found, key=rank, default=Composition())


def _best(
    compositions: Sequence[Composition], labels: Mapping[str, Label], node: Node
) -> Composition:
    """Return the best composition of one aggregate.

    One that is whole comes first, then one that was not made by another system, to which some of
    the disks were lent, then the latest.
    """
    made_here = {
        label.composition for label in labels.values() if label.system_id == node.system_id
    }
    made_here.add(compositions[0])
    return max(
        compositions,
        key=lambda each: (
            _is_whole(each, labels),
            each in made_here,
            each.generation,
            compositions.count(each),
        ),
    )


def _is_whole(each: Composition, labels: Mapping[str, Label]) -> bool:
    """Return whether two members of a composition have its label, or an earlier one.

    Not if a member has a later label: what the others have is old then.
    """
    found = [labels[serial] for serial in each.members if serial in labels]
    found = [label for label in found if label.uuid == each.uuid]
    return len(found) > 1 and all(label.generation <= each.generation for label in found)


def _newest(compositions: Sequence[Composition]) -> Composition:
    """Return that of the latest generation; of several, one with a UUID, and the most labels."""
    count = Counter(compositions)
    return max(count, key=lambda each: (each.generation, each.uuid != "", count[each]))


def _contradicts(
    disk: Disk, labels: Mapping[str, Label | None], recorded: Composition, node: Node
) -> bool:
    """Return whether a recorded member does not belong to the root aggregate any more."""
    label = labels.get(disk.serial)
    if label is None:
        return not disk.owner.system_id and names_others(disk.key_id, node.system_id)
    is_older = label.composition.precedes(recorded)
    is_same = label.members == recorded.members
    return not ((is_same or is_older) and _may_be_root(disk, label, node))
