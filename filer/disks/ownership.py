"""Whose disk is this: the one rule that the boot and every command ask.

The record on a disk names its owner, and can be read while the disk is locked.  A boot writes it to
each own disk that has none.  Until then the label of the disk and the system IDs in its key ID
decide, and so they do for a disk of version 0.1 or one whose record was lost.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import NamedTuple

from filer.disks.disk import Disk
from filer.disks.label import Label, read_labels
from filer.disks.shelf import Shelf
from filer.keys.key_id import systems_of

ROOT_AGGREGATE = "aggr0"


class Evidence(Enum):
    """What shows that a disk is foreign, in words for the user."""

    RECORD = "belongs to another system"
    LABEL = "belongs to an aggregate of another system"
    KEY_ID = "has the key of another system"


class ForeignOwner(NamedTuple):
    """Why a disk is foreign: ``evidence`` names ``systems`` (system IDs)."""

    systems: tuple[int, ...]
    evidence: Evidence

    @property
    def owner(self) -> str:
        """The systems, such as ``77`` or ``77, 78``."""
        return ", ".join(map(str, self.systems))

    def __str__(self) -> str:
        """Say whose the disk is."""
        return f"{self.evidence.value} ({self.owner})"


class Ownership(NamedTuple):
    """Whose the disks of a shelf are, at the time of `survey`.

    ``root`` holds the serial numbers of the root aggregate of this system, in order, and is empty
    while they are unknown.  ``labels`` has the label, or None, of each disk that can be read, and
    ``foreign`` why a disk is foreign, both by serial number.  ``doubtful`` holds the own disks that
    may be those of a partner: locked, without a record, and their key ID names another system too.
    """

    root: tuple[str, ...]
    labels: Mapping[str, Label | None]
    foreign: Mapping[str, ForeignOwner]
    doubtful: frozenset[str]

    def foreign_owner(self, disk: Disk) -> ForeignOwner | None:
        """Return why ``disk`` is foreign; None if it is an own disk."""
        return self.foreign.get(disk.serial)

    def own(self, disks: Iterable[Disk]) -> list[Disk]:
        """Return the own disks among ``disks``."""
        return [disk for disk in disks if disk.serial not in self.foreign]

    def refusal(self, disk: Disk) -> str | None:
        """Return why no command changes ``disk``, and what to do; None if it is an own disk."""
        foreign = self.foreign_owner(disk)
        if foreign and foreign.evidence is Evidence.RECORD:
            return f"{foreign}; disk assign -f would make it one of this system"
        return f"{foreign}; sanitize it there before you use it here" if foreign else None


def names_others(key_id: str, system_id: int) -> bool:
    """Say whether ``key_id`` names other systems and not ``system_id``."""
    systems = systems_of(key_id)
    return bool(systems) and system_id not in systems


def survey(shelf: Shelf, system_id: int) -> Ownership:
    """Say of each disk in ``shelf`` whether it belongs to ``system_id``; changes nothing.

    Foreign is a disk whose own label is that of another system or of another aggregate, and one
    whose record names another owner.  A disk without a record and without a label that can be read
    is foreign if its key ID names only other systems, or if the label of another disk counts it
    among the members of a foreign aggregate.  The rest are own disks: among them are new ones,
    which name no system.
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
            # The label on another disk is no evidence against a key ID that names this system.
            if claimant in systems or system_id not in systems:
                foreign[serial] = ForeignOwner((claimant,), Evidence.LABEL)
        if disk.locked and serial not in foreign and len(systems) > 1:
            doubtful.add(serial)
    return Ownership(root, labels, foreign, frozenset(doubtful))


def take(disks: Iterable[Disk], ownership: Ownership, system_id: int) -> None:
    """Write ``system_id`` to the record of each own disk that has none and is not in doubt.

    A destroyed disk stays as it is.  Raises StorageError; the disks before it are taken.
    """
    for disk in ownership.own(disks):
        if not (disk.owner or disk.destroyed or disk.serial in ownership.doubtful):
            disk.assign(system_id)


def _root_members(
    present: Mapping[str, Disk],
    labels: Mapping[str, Label | None],
    system_id: int,
    remembered: tuple[str, ...],
) -> tuple[str, ...]:
    """Return the members that the shelf remembers, if one is there, else those of most labels.

    What is remembered does not count once one of these disks names another owner.
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
