"""disk show, disk encrypt: the self-encrypting disks."""

from collections.abc import Iterable, Sequence
from dataclasses import field
from functools import partial
from typing import Annotated, ClassVar, Self

from filer.commands import (
    TEXT_ONLY,
    Answers,
    Call,
    Command,
    Complaint,
    Fields,
    Refused,
    Subcommand,
    Suggestion,
)
from filer.commands.disk.erase import erase
from filer.commands.disk.report import (
    held_by_key_servers,
    report_absent,
    report_disks,
    select_disks,
)
from filer.commands.parts.encryption import encrypting
from filer.disks.disk import Disk
from filer.disks.ownership import names_others
from filer.keys.key_id import MSID_KEY_ID, is_key_id
from filer.system import Filer


class KeyState(Fields):
    """The key of a disk, and whether it locks, is locked out for good, or is destroyed."""

    disk: str
    key_id: str | None
    locking: bool
    locked_out: bool
    destroyed: bool

    @classmethod
    def of(cls, disk: Disk) -> Self:
        """Return the state of ``disk``."""
        if disk.destroyed:
            return cls(disk.name, key_id=None, locking=True, locked_out=False, destroyed=True)
        return cls(disk.name, disk.key_id, disk.locking, disk.locked_out, destroyed=False)

    def columns(self) -> tuple[str, str, str]:
        """Return the columns ``Disk``, ``Key ID`` and ``Locked?``."""
        locked = "Locked out" if self.locked_out else "Yes" if self.locking else "No"
        return self.disk, self.key_id or "(destroyed)", locked


class EncryptionTable(Fields):
    """``disk encrypt show``; the key ID of a destroyed disk is null."""

    TYPE: ClassVar[str] = "disk_encryption"
    disks: Sequence[KeyState]

    def lines(self) -> Iterable[str]:
        """A header, and one line for each disk."""
        titles = ("Disk", "Key ID", "Locked?")
        for name, key_id, locked in (titles, *(row.columns() for row in self.disks)):
            yield f"{name:<10} {key_id:<64} {locked}"


class OwnedDisk(Fields):
    """The ownership of a disk."""

    disk: str
    serial_number: str
    foreign: bool
    system_ids: Annotated[Sequence[int], {"minItems": 1}]
    columns: tuple[str, str] = field(metadata=TEXT_ONLY)  # OWNER and POOL


class OwnershipTable(Fields):
    """``disk show``; a foreign disk has the system IDs that are stored on it."""

    TYPE: ClassVar[str] = "disk_ownership"
    owner: str
    system_id: int
    disks: Sequence[OwnedDisk]

    def lines(self) -> Iterable[str]:
        """Two header lines, and one line for each disk."""
        yield "  DISK       OWNER                  POOL   SERIAL NUMBER         HOME"
        yield "------------ -------------          -----  -------------         -------------"
        for disk in self.disks:
            owner, pool = disk.columns
            yield f"{disk.disk:<10} {owner:<22} {pool:<6} {disk.serial_number:<21} {owner}"


def _show(call: Call) -> None:
    disk_list = call.words("disk_list")
    disks = select_disks(call, disk_list) if disk_list else call.filer.shelf
    call.show(EncryptionTable([KeyState.of(disk) for disk in disks]))


def _show_owners(call: Call) -> None:
    hostname, system_id = call.filer.hardware.hostname, call.filer.hardware.system_id
    ownership = call.filer.ownership()
    disks = []
    for disk in call.filer.shelf:
        systems: Sequence[int] = (system_id,)
        columns = (f"{hostname} ({system_id})", "Pool0")
        if foreign := ownership.foreign_owner(disk):
            systems, columns = foreign.systems, (f"foreign ({foreign.owner})", "NONE")
        disks.append(OwnedDisk(disk.name, disk.serial, bool(foreign), systems, columns))
    call.show(OwnershipTable(hostname, system_id, disks))


def _assign(call: Call) -> None:
    """Make this system the owner of disks.

    A disk that is or may be in an aggregate of another system is refused.  Any other disk that
    another system owns or may own needs -f.
    """
    filer, force = call.filer, "-f" in call.arguments.options
    system_id = filer.hardware.system_id
    ownership = filer.ownership()
    taken = []
    for disk in select_disks(call, call.words("disk_list")):
        foreign = ownership.foreign_owner(disk)
        refusal = None
        if foreign and not (force and ownership.may_be_taken(disk)):
            refusal = ownership.refusal(disk)
        elif disk.serial in ownership.doubtful and not force:
            refusal = "may belong to the partner; disk assign -f would make it one of this system"
        if refusal:
            text = f"{disk.name}: {refusal}"
            call.fail(Complaint(text, "disk", disk=disk.name, cause="other"))
        elif disk.owner != system_id:
            taken.append(disk)
    # Record them first: a disk of this system that is pulled later must be missed.
    filer.shelf.remember_disks([*ownership.own(filer.shelf), *taken])
    for disk in taken:
        before = disk.owner or "unowned"
        disk.assign(system_id)
        filer.messages.log(
            "diskown.changingOwner",
            "info",
            f"changing ownership for disk {disk.name} (S/N {disk.serial}) from {before} "
            f"to {filer.hardware.hostname} (ID {system_id})",
        )


def _lock(call: Call) -> None:
    filer = call.filer
    ownership = filer.ownership()
    disks = select_disks(call, call.words("disk_list"), ownership)
    report_absent(call, call.words("disk_list"))
    held = held_by_key_servers(call)
    report_disks(call, filer.disk_jobs().lock(disks, held=held, refusal=ownership.refusal))


def _rekey(call: Call) -> None:
    key_id = call.value("new_key_id") or ""
    if key_id != MSID_KEY_ID and not is_key_id(key_id):
        raise Refused(f"a key ID is {MSID_KEY_ID} or 64 hexadecimal digits")
    filer = call.filer
    if names_others(key_id, filer.hardware.system_id):
        raise Refused("this key ID belongs to another system, and the disks would then, too")
    ownership = filer.ownership()
    disks = select_disks(call, call.words("disk_list"), ownership)
    report_absent(call, call.words("disk_list"))
    held = _never_asked if key_id == MSID_KEY_ID else held_by_key_servers(call, key_id)
    report = filer.disk_jobs().rekey(disks, key_id, held=held, refusal=ownership.refusal)
    report_disks(call, report)


def _never_asked(_key_id: str, _key: object) -> bool:
    return False


def _disks(filer: Filer) -> Iterable[Suggestion]:
    return [(disk.name, partial(_state_in_words, disk)) for disk in filer.shelf]


def _state_in_words(disk: Disk) -> str:
    if disk.destroyed:
        return "destroyed"
    if disk.locked_out:
        return "locked out"
    return "locked" if disk.locking else "not locked"


def _key_ids(filer: Filer) -> Iterable[Suggestion]:
    known = [(entry.key_id, entry.tag) for entry in filer.keytable]
    return [(MSID_KEY_ID, "the factory key"), *known]


_SHOW = Subcommand(
    "disk encrypt show [ disk_list ]",
    encrypting(_show),
    "show the key ID of each disk and whether it is locked",
    values={"disk_list": _disks},
    changes=False,
)


def _sanitize(all_disks: str, *, maintenance: bool = False) -> Subcommand:
    return Subcommand(
        "disk encrypt sanitize { -all | disk_list }",
        encrypting(partial(erase, verb="sanitize", maintenance=maintenance)),
        "erase the data, and reset the disks to their factory state",
        options={"-all": all_disks},
        values={"disk_list": _disks},
        asks=Answers(1),
    )


def _destroy(*, maintenance: bool = False) -> Subcommand:
    return Subcommand(
        "disk encrypt destroy disk_list",
        encrypting(partial(erase, verb="destroy", maintenance=maintenance)),
        "erase the data, and disable the disks for good",
        values={"disk_list": _disks},
        asks=Answers(1),
    )


COMMANDS = (
    Command(
        "disk",
        "disk ownership, and key management of self-encrypting disks",
        Subcommand(
            "disk show",
            _show_owners,
            "list the disks with their owner, pool and serial number",
            changes=False,
        ),
        Subcommand(
            "disk assign disk_list [ -f ]",
            _assign,
            "make this system the owner of disks",
            options={"-f": "even if they belong to another system"},
            values={"disk_list": _disks},
        ),
        _SHOW,
        Subcommand(
            "disk encrypt lock disk_list",
            encrypting(_lock),
            "make disks lock whenever they lose power",
            values={"disk_list": _disks},
        ),
        Subcommand(
            "disk encrypt rekey new_key_id disk_list",
            encrypting(_rekey),
            "change the authentication key of disks",
            values={"new_key_id": _key_ids, "disk_list": _disks},
        ),
        _sanitize("all spare disks"),
        _destroy(),
        groups={"encrypt": "show, rekey, lock and erase self-encrypting disks"},
    ),
)

COMMANDS_IN_MAINTENANCE = (
    Command(
        "disk",
        "show, sanitize and destroy self-encrypting disks",
        _SHOW,
        _sanitize("all disks", maintenance=True),
        _destroy(maintenance=True),
        groups={"encrypt": "show and erase self-encrypting disks"},
    ),
)
