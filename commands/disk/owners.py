"""disk show, disk assign, disk reassign: the owners of disks."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from typing import Annotated, ClassVar

from filer.commands import (
    TEXT_ONLY,
    Answers,
    Call,
    Complaint,
    Fields,
    Note,
    Refused,
    Subcommand,
    Suggestion,
    no_values,
)
from filer.commands.disk.report import select_disks, use_of
from filer.commands.parts.dialogue import ask_y_n
from filer.disks.aggregate import Aggregate
from filer.disks.disk import Disk
from filer.disks.ownership import Ownership
from filer.disks.record import NO_OWNER, Mark, Owner
from filer.host.errors import FilerError
from filer.host.quoting import quoted
from filer.host.text import is_hostname
from filer.keys.key_id import LAST_SYSTEM_ID
from filer.pair.service import process_serving
from filer.system import Filer

UNOWNED = "unowned"


class OwnedDisk(Fields):
    """The ownership of a disk; an unowned disk has no system IDs, and its owner is null."""

    disk: str
    serial_number: str
    foreign: bool
    owner: str | None
    system_ids: Sequence[int]
    home: int | None
    columns: tuple[str, str, str] = field(metadata=TEXT_ONLY)  # OWNER, POOL and HOME


class OwnershipTable(Fields):
    """``disk show``; a disk of another system has the system IDs that are stored on it.

    ``unowned`` is the number of disks without an owner in the shelf.
    """

    TYPE: ClassVar[str] = "disk_ownership"
    owner: str
    system_id: int
    disks: Sequence[OwnedDisk]
    unowned: Annotated[int, {"minimum": 0}]
    option: str = field(metadata=TEXT_ONLY)

    def lines(self) -> Iterable[str]:
        """Two header lines, and one line for each disk."""
        if not self.disks:
            yield f"disk show: No disks match option {self.option or '-o'}."
        else:
            yield "  DISK       OWNER                  POOL   SERIAL NUMBER         HOME"
            yield "------------ -------------          -----  -------------         -------------"
        for disk in self.disks:
            owner, pool, home = disk.columns
            line = f"{disk.disk:<10} {owner:<22} {pool:<6} {disk.serial_number:<21} {home}"
            yield line.rstrip()
        if self.unowned and not self.option:
            yield (
                f"NOTE: Currently {self.unowned} disks are unowned. "
                "Use 'disk show -n' for additional information."
            )


def _show_owners(call: Call) -> None:
    filer = call.filer
    ownership = filer.ownership()
    option, matches = _chosen(call, ownership)
    names = ownership.names()

    def row(disk: Disk) -> OwnedDisk:
        foreign = ownership.foreign_owner(disk)
        owner: str | None = filer.hardware.hostname
        systems: Sequence[int] = [filer.hardware.system_id]
        pool, otherwise = "Pool0", ""
        if foreign:
            owner, systems = names.get(foreign.systems[0]), foreign.systems
            pool = "Pool0" if disk.owner.system_id else "NONE"
            otherwise = "partner" if foreign.is_partner else "foreign"
        elif not ownership.owns(disk):
            columns = "Not Owned", "NONE", ""
            return OwnedDisk(disk.name, disk.serial, False, None, [], None, columns)
        if Mark.FAILED in disk.marks:
            pool = "FAILED"
        home = disk.home or systems[0]
        listed_systems = ", ".join(map(str, systems))
        columns = (
            f"{owner or otherwise:<9} ({listed_systems})",
            pool,
            f"{names.get(home) or otherwise:<9} ({home if disk.home else listed_systems})",
        )
        return OwnedDisk(disk.name, disk.serial, bool(foreign), owner, systems, home, columns)

    call.show(
        OwnershipTable(
            filer.hardware.hostname,
            filer.hardware.system_id,
            [row(disk) for disk in filer.shelf if matches(disk)],
            len(ownership.unowned),
            option,
        )
    )


def _chosen(call: Call, ownership: Ownership) -> tuple[str, Callable[[Disk], bool]]:
    """Return the option of ``disk show``, and which disks it lists."""

    def systems(disk: Disk) -> Sequence[int]:
        foreign = ownership.foreign_owner(disk)
        return foreign.systems if foreign else [call.filer.hardware.system_id]

    if name := call.value("owner"):
        names = ownership.names()
        return (
            "-o",
            lambda disk: (
                disk.serial not in ownership.unowned
                and any(names.get(system) == name for system in systems(disk))
            ),
        )
    if text := call.value("sysid"):
        wanted = _system_id(text)
        return "-s", lambda disk: disk.serial not in ownership.unowned and wanted in systems(disk)
    if "-n" in call.arguments.options:
        return "-n", lambda disk: disk.serial in ownership.unowned
    if "-a" in call.arguments.options:
        return "-a", lambda _disk: True
    if "-v" in call.arguments.options:
        return (
            "-v",
            lambda disk: ownership.foreign_owner(disk) is None or ownership.is_partners(disk),
        )
    return "", ownership.owns


def _system_id(text: str) -> int:
    """Return the system ID ``text``.  Raises Refused."""
    if not (text.isascii() and text.isdigit() and 0 < int(text[:20]) <= LAST_SYSTEM_ID):
        raise Refused(f"{quoted(text)} is not a system ID; it is a number, as disk show -v shows")
    return int(text)


def _assign(call: Call) -> None:
    """Change the owner of disks; without -s and -o this system becomes the owner.

    A disk in an aggregate is refused, and so is one that may be.  A disk that another system owns
    or may own needs -f.
    """
    filer = call.filer
    aggregate = filer.assembled()
    owner = _new_owner(call, aggregate.ownership)
    disks = []
    for disk in _to_assign(call, aggregate):
        if disk.owner == owner and (owner.system_id or not aggregate.ownership.owns(disk)):
            continue
        if refusal := _why_not_assigned(call, aggregate, disk, owner):
            text = f"{disk.name}: {refusal}"
            call.fail(Complaint(text, "disk", disk=disk.name, cause="other"))
        else:
            disks.append(disk)
    _assign_each(call, disks, owner)
    filer.shelf.remember_disks(filer.ownership().own(filer.shelf))


def _to_assign(call: Call, aggregate: Aggregate) -> Sequence[Disk]:
    filer, options = call.filer, call.arguments.options
    unowned = [disk for disk in filer.shelf if disk.serial in aggregate.ownership.unowned]
    if "all" in options:
        return unowned
    if "auto" in options:
        return [disk for disk in unowned if filer.node.takes(disk.name)]
    return select_disks(call, call.words("disk_list"))


def _new_owner(call: Call, ownership: Ownership) -> Owner:
    """Return the owner that -o and -s name.  Raises Refused."""
    name, text = call.value("owner"), call.value("sysid")
    if text == UNOWNED:
        if name:
            raise Refused(f"-o and -s {UNOWNED} exclude each other")
        return NO_OWNER
    if name and not is_hostname(name):
        raise Refused(f"{quoted(name)} is not the name of a system")
    names = ownership.names()
    if text:
        system_id = _system_id(text)
        return Owner(system_id, name or names.get(system_id, ""))
    return _owner_called(name, ownership) if name else ownership.node.owner


def _owner_called(name: str, ownership: Ownership) -> Owner:
    known = [system_id for system_id, each in ownership.names().items() if each == name]
    if len(known) != 1:
        what = "more than one system" if known else "no system"
        raise Refused(f"{what} here is called {quoted(name)}; give its system ID with -s")
    return Owner(known[0], name)


def _why_not_assigned(call: Call, aggregate: Aggregate, disk: Disk, owner: Owner) -> str | None:
    ownership, force = aggregate.ownership, "-f" in call.arguments.options
    if ownership.foreign_owner(disk):
        return None if force and ownership.may_be_taken(disk) else ownership.refusal(disk)
    if disk.serial in ownership.unowned:
        return None
    if owner.system_id != ownership.node.system_id:
        return use_of(aggregate, disk)
    if disk.serial in ownership.doubtful and not force:
        return "may belong to the partner; disk assign -f would make it one of this system"
    return None


class Reassignment(Fields):
    """``disk reassign``, before it is confirmed."""

    TYPE: ClassVar[str] = "disk_reassignment"
    from_system_id: int
    to_system_id: int
    disks: Sequence[str]

    def lines(self) -> Iterable[str]:
        """What will be changed."""
        yield (
            f"The owner of {len(self.disks)} disks changes from system {self.from_system_id} to "
            f"system {self.to_system_id}."
        )


def _reassign(call: Call) -> None:
    """Give all disks of one system, members of aggregates too, to another system."""
    filer = call.filer
    ownership = filer.ownership()
    old = _old_system(call, ownership)
    text = call.value("new_sysid")
    new = _system_id(text) if text else filer.hardware.system_id
    if old == new:
        raise Refused(f"both are system {old}")
    if old == filer.hardware.partner_id and ownership.node.shares_shelf:
        raise Refused(
            f"system {old} is the partner, which may use its disks now; run disk reassign there"
        )
    disks = _disks_of(old, ownership, filer)
    if not disks:
        raise Refused(f"no disk belongs to system {old}")
    call.show(Reassignment(old, new, [disk.name for disk in disks]))
    if not ask_y_n(call.console, "Do you want to continue (y/n)? "):
        raise Refused("reassign: not confirmed; nothing was changed")
    if old != filer.hardware.system_id and (pid := process_serving(filer.root.shelf, old)):
        raise Refused(f"process {pid} serves the disks of system {old}; end it first")
    if _disks_of(old, filer.ownership(), filer) != disks:
        raise Refused(f"the disks of system {old} have just changed; repeat the command")
    done = _assign_each(call, disks, Owner(new, ownership.names().get(new, "")))
    call.show(Note(f"disk reassign: {done} disks were reassigned to system {new}."))


def _assign_each(call: Call, disks: Iterable[Disk], owner: Owner) -> int:
    """Change the owner of each disk; name those that cannot be written, and count the others."""
    done = 0
    for disk in disks:
        try:
            call.filer.assign([disk], owner)
        except FilerError as problem:
            reason = str(problem).removeprefix(f"{disk.name}: ")
            text = f"{disk.name}: {reason}"
            call.fail(Complaint(text, "disk", disk=disk.name, cause="other"))
        else:
            done += 1
    return done


def _disks_of(system_id: int, ownership: Ownership, filer: Filer) -> Sequence[Disk]:
    if system_id == filer.hardware.system_id:
        return ownership.own(filer.shelf)
    return ownership.disks_of(system_id, filer.shelf)


def _old_system(call: Call, ownership: Ownership) -> int:
    if name := call.value("old_owner"):
        return _owner_called(name, ownership).system_id
    return _system_id(call.value("old_sysid") or "")


def _assignable(filer: Filer) -> Iterable[Suggestion]:
    """List the disks that are not own disks first; they are what is usually assigned."""
    ownership = filer.ownership()
    disks = sorted(filer.shelf, key=ownership.owns)
    return [(disk.name, ownership.not_own(disk) or "belongs to this system") for disk in disks]


def _owners(filer: Filer) -> Iterable[Suggestion]:
    names = filer.ownership().names()
    return [(name, f"system {system_id}") for system_id, name in names.items()]


def _system_ids(filer: Filer) -> Iterable[Suggestion]:
    ownership = filer.ownership()
    found = {filer.hardware.system_id: filer.hardware.hostname}
    for foreign in ownership.foreign.values():
        for system_id in foreign.systems:
            found[system_id] = ownership.names().get(system_id, foreign.evidence.value)
    return [(str(system_id), text) for system_id, text in found.items()]


_SHOW_OWNERS = Subcommand(
    "disk show [ -v | -a | -n | -o owner | -s sysid ]",
    _show_owners,
    "list the disks with their owner, pool and serial number",
    options={
        "-v": "the disks of this system and of its partner, and unowned ones",
        "-a": "all disks",
        "-n": "unowned disks",
        "-o": "the disks of the system with this name",
        "-s": "the disks of the system with this ID",
    },
    values={"owner": _owners, "sysid": _system_ids},
    changes=False,
)

_ASSIGN = Subcommand(
    "disk assign { all | auto | disk_list } [ -o owner ] [ -s sysid ] [ -f ]",
    _assign,
    "change the owner of disks",
    options={
        "all": "all unowned disks",
        "auto": "the unowned disks that a boot would take",
        "-o": "the name of the new owner",
        "-s": f"the system ID of the new owner, or {UNOWNED}",
        "-f": "even if they belong to another system",
    },
    values={"disk_list": _assignable, "owner": _owners, "sysid": _system_ids},
)

_REASSIGN = Subcommand(
    "disk reassign { -s old_sysid | -o old_owner } [ -d new_sysid ]",
    _reassign,
    "give all disks of a system that was replaced to another system",
    options={
        "-s": "the system ID of the old owner",
        "-o": "the name of the old owner",
        "-d": "the system ID of the new owner (default: this system)",
    },
    values={"old_sysid": _system_ids, "old_owner": _owners, "new_sysid": no_values},
    asks=Answers(1),
)

SUBCOMMANDS = (_SHOW_OWNERS, _ASSIGN)
SUBCOMMANDS_IN_MAINTENANCE = (_SHOW_OWNERS, _ASSIGN, _REASSIGN)
