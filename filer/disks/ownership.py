"""Which system a disk belongs to: the one rule that the boot and all commands use.

The record on a disk names its owner, and is readable while the disk is locked.  The boot writes an
owner to each own disk that has none.  If the record names no owner (before that boot, on a disk of
version 0.1, or after the record was lost), the disk's label and the systems in its key ID decide.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import NamedTuple

from filer.disks.disk import Disk
from filer.disks.label import Label, read_labels
from filer.disks.shelf import Shelf
from filer.keys.key_id import systems_of
from filer.running.parallel import in_parallel

ROOT_AGGREGATE = "aggr0"


class Evidence(Enum):
    """The reason why a disk is foreign, as shown to the user."""

    RECORD = "belongs to another system"
    LABEL = "belongs to an aggregate of another system"
    KEY_ID = "has the key of another system"


class ForeignOwner(NamedTuple):
    """Why a disk is foreign: ``evidence`` points to ``systems`` (system IDs)."""

    systems: tuple[int, ...]
    evidence: Evidence

    @property
    def owner(self) -> str:
        """The system IDs as text, such as ``77`` or ``77, 78``."""
        return ", ".join(map(str, self.systems))

    def __str__(self) -> str:
        """Return evidence and owner, such as ``belongs to another system (77)``."""
        return f"{self.evidence.value} ({self.owner})"


class Ownership(NamedTuple):
    """The ownership of all disks in a shelf, at the time of `survey`.

    ``root`` holds the serial numbers of this system's root aggregate, in order; it is empty while
    they are unknown.  ``labels`` maps the serial number of each readable disk to its label, or to
    None if it has no label.  ``foreign`` maps the serial number of each foreign disk to the reason.
    ``doubtful`` holds the own disks that may belong to a partner: locked disks without a record
    whose key ID also names another system.
    """

    root: tuple[str, ...]
    labels: Mapping[str, Label | None]
    foreign: Mapping[str, ForeignOwner]
    doubtful: frozenset[str]

    def foreign_owner(self, disk: Disk) -> ForeignOwner | None:
        """Return why ``disk`` is foreign, or None for an own disk."""
        return self.foreign.get(disk.serial)

    def own(self, disks: Iterable[Disk]) -> list[Disk]:
        """Return the own disks among ``disks``."""
        return [disk for disk in disks if disk.serial not in self.foreign]

    def refusal(self, disk: Disk) -> str | None:
        """Return why commands must not change ``disk`` and what to do, or None for an own disk."""
        foreign = self.foreign_owner(disk)
        if foreign and foreign.evidence is Evidence.RECORD and self.may_be_taken(disk):
            return f"{foreign}; disk assign -f would make it one of this system"
        return f"{foreign}; sanitize it there before you use it here" if foreign else None

    def may_be_taken(self, disk: Disk) -> bool:
        """Return whether ``disk assign -f`` may make this system the owner of a foreign ``disk``.

        Not of a member of an aggregate there, nor while the label of the disk cannot be read: it
        may be a member, and its system could not boot without it.
        """
        foreign = self.foreign_owner(disk)
        known = disk.destroyed or disk.serial in self.labels
        return foreign is not None and foreign.evidence is not Evidence.LABEL and known


def names_others(key_id: str, system_id: int) -> bool:
    """Return whether ``key_id`` names other systems but not ``system_id``."""
    systems = systems_of(key_id)
    return bool(systems) and system_id not in systems


def survey(shelf: Shelf, system_id: int) -> Ownership:
    """Determine which disks in ``shelf`` belong to ``system_id``; changes nothing.

    A disk is foreign if its own label names another system or another aggregate, or if its record
    names another owner.  A disk without a record and without a readable label is foreign if its
    key ID names only other systems, or if another disk's label lists it as a member of a foreign
    aggregate.  All others are own disks, including new ones, which name no system.
    """
    labels = read_labels(shelf)
    disks = {disk.serial: disk for disk in shelf}
    root = _root_members(disks, labels, system_id, shelf.record.aggr0)
    ours = Label(system_id, ROOT_AGGREGATE, root)
    claims = {
        serial: label.system_id
        for label in labels.values()
        if label and label != ours
        for serial in label.members
    }
    foreign = {}
    doubtful = set()
    for serial, disk in disks.items():
        label = labels.get(serial)
        systems = systems_of(disk.key_id)
        if label and label != ours:
            foreign[serial] = ForeignOwner((label.system_id,), Evidence.LABEL)
        elif disk.owner not in (0, system_id):
            foreign[serial] = ForeignOwner((disk.owner,), Evidence.RECORD)
        elif label or disk.owner:
            continue
        elif names_others(disk.key_id, system_id):
            foreign[serial] = ForeignOwner(systems, Evidence.KEY_ID)
        elif serial in claims and serial not in root:
            claimant = claims[serial]
            # A label on another disk does not outweigh a key ID that names this system.
            if claimant in systems or system_id not in systems:
                foreign[serial] = ForeignOwner((claimant,), Evidence.LABEL)
        if disk.locked and serial not in foreign and len(systems) > 1:
            doubtful.add(serial)
    return Ownership(root, labels, foreign, frozenset(doubtful))


def claim_unowned(disks: Iterable[Disk], ownership: Ownership, system_id: int) -> None:
    """Write ``system_id`` to the record of each own disk without an owner that is not doubtful.

    Destroyed disks are not changed.  Raises StorageError; some of the other disks are already
    written then.
    """
    unowned = [
        disk
        for disk in ownership.own(disks)
        if not (disk.owner or disk.destroyed or disk.serial in ownership.doubtful)
    ]
    in_parallel(unowned, lambda disk: disk.assign(system_id))


def _root_members(
    present: Mapping[str, Disk],
    labels: Mapping[str, Label | None],
    system_id: int,
    remembered: tuple[str, ...],
) -> tuple[str, ...]:
    """Return the members recorded for the shelf if one is present, else those most labels name.

    The recorded members are ignored if one of these disks names another owner.
    """
    ours = Counter(
        label.members
        for label in labels.values()
        if label and (label.system_id, label.aggregate) == (system_id, ROOT_AGGREGATE)
    )
    expected = Label(system_id, ROOT_AGGREGATE, remembered)
    for serial in remembered:
        label = labels.get(serial)
        disk = present.get(serial)
        if label not in (None, expected) or (
            label is None and disk is not None and names_others(disk.key_id, system_id)
        ):
            remembered = ()
            break
    if ours and not any(serial in present for serial in remembered):
        return ours.most_common(1)[0][0]
    return remembered
