"""Whose disk is this: the one rule that the boot and every command ask.

There is no record of ownership on a disk.  What a disk says of itself decides: the system ID in
its label, and the system IDs in its key ID, which can be read while it is locked.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from filer.disk import Disk
from filer.key_id import systems_of
from filer.raid_label import Label, read_labels
from filer.shelf import Shelf

ROOT_AGGREGATE = "aggr0"


class ForeignOwner(NamedTuple):
    """Why a disk is foreign: its label, or else its key ID, names ``systems`` (system IDs)."""

    systems: tuple[int, ...]
    by_label: bool

    @property
    def owner(self) -> str:
        """The systems, such as ``77`` or ``77, 78``."""
        return ", ".join(map(str, self.systems))

    def __str__(self) -> str:
        """Say whose the disk is."""
        if self.by_label:
            return f"belongs to an aggregate of another system ({self.owner})"
        return f"has the key of another system ({self.owner})"


class Ownership(NamedTuple):
    """Whose the disks of a shelf are, at the time of `survey`.

    ``root`` holds the serial numbers of the root aggregate of this system, in order, and is empty
    while they are unknown.  ``labels`` has the label, or None, of each disk that can be read, and
    ``foreign`` why a disk is foreign, both by serial number.
    """

    root: tuple[str, ...]
    labels: Mapping[str, Label | None]
    foreign: Mapping[str, ForeignOwner]

    def foreign_owner(self, disk: Disk) -> ForeignOwner | None:
        """Return why ``disk`` is foreign; None if it is an own disk."""
        return self.foreign.get(disk.serial)

    def own(self, disks: Iterable[Disk]) -> list[Disk]:
        """Return the own disks among ``disks``."""
        return [disk for disk in disks if disk.serial not in self.foreign]

    def refusal(self, disk: Disk) -> str | None:
        """Return why no command changes ``disk``, and what to do; None if it is an own disk."""
        foreign = self.foreign_owner(disk)
        return f"{foreign}; sanitize it there before you use it here" if foreign else None


def names_others(key_id: str, system_id: int) -> bool:
    """Say whether ``key_id`` names other systems and not ``system_id``."""
    systems = systems_of(key_id)
    return bool(systems) and system_id not in systems


def survey(shelf: Shelf, system_id: int) -> Ownership:
    """Say of each disk in ``shelf`` whether it belongs to ``system_id``; changes nothing.

    Foreign is a disk whose own label is that of another system, or of another aggregate; without
    a label that can be read, one whose key ID names only other systems, or which the label of
    another disk counts among the members of a foreign aggregate.  The rest are own disks: among
    them are new ones, which name no system.
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
    for serial, disk in disks.items():
        label = labels.get(serial)
        if label == ours:
            continue
        systems = systems_of(disk.key_id)
        if label:
            foreign[serial] = ForeignOwner((label.system_id,), by_label=True)
        elif names_others(disk.key_id, system_id):
            foreign[serial] = ForeignOwner(systems, by_label=False)
        elif serial in claims and serial not in root:
            claimant = claims[serial]
            # The label on another disk is no evidence against a key ID that names this system.
            if claimant in systems or system_id not in systems:
                foreign[serial] = ForeignOwner((claimant,), by_label=True)
    return Ownership(root, labels, foreign)


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
