"""sysconfig, aggr, vol: the hardware, and the root aggregate on its disks."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import ClassVar, Literal, Self

from filer.commands import TEXT_ONLY, Call, Command, Fields, Subcommand
from filer.commands.system import Release
from filer.config import MIB, Hardware
from filer.disks.aggregate import Aggregate, Member, Position, Role
from filer.disks.disk import BLOCK_SIZE, Disk
from filer.disks.record import Mark
from filer.disks.repair import Rebuild, Repairs
from filer.system import Filer

_SECTOR = 512


class InstalledDisk(Fields):
    """A disk and its size."""

    disk: str
    serial_number: str
    bytes: int


class SystemConfiguration(Release):
    """``sysconfig``; without a partner its ID and name are null."""

    TYPE: ClassVar[str] = "system_configuration"
    hostname: str
    system_id: int
    partner_id: int | None
    partner_hostname: str | None
    system_serial_number: str
    storage_encryption: bool
    processors: int
    memory_bytes: int
    disks: Sequence[InstalledDisk]
    in_detail: bool = field(metadata=TEXT_ONLY)

    @classmethod
    def of(cls, hardware: Hardware, shelf: Iterable[Disk], *, in_detail: bool) -> Self:
        """Return the configuration of a system and its shelf, on this host."""
        number = f"{hardware.system_id:010}"
        return cls(
            hostname=hardware.hostname,
            system_id=hardware.system_id,
            partner_id=hardware.partner_id or None,
            partner_hostname=hardware.partner_hostname if hardware.partner_id else None,
            system_serial_number=f"{number[:-3]}-{number[-3:-1]}-{number[-1]}",
            storage_encryption=hardware.storage_encryption,
            processors=os.cpu_count() or 1,
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            in_detail=in_detail,
            disks=[InstalledDisk(disk.name, disk.serial, _size(disk)) for disk in shelf],
        )

    def lines(self) -> Iterable[str]:
        """The system, then one line for each disk, in detail with the board and the shelves."""
        partner = ""
        if self.partner_id:
            partner = f"; partner ID: {self.partner_id} ({self.partner_hostname})"
        encryption = "enabled" if self.storage_encryption else "not enabled"
        for line in super().lines():
            yield f"\t{line}"
        yield f"\tSystem ID: {self.system_id} ({self.hostname}){partner}"
        yield f"\tSystem Serial Number: {self.system_serial_number} ({self.hostname})"
        yield f"\tStorage Encryption: {encryption}"
        yield "\tslot 0: System Board"
        if self.in_detail:
            yield f"\t\t{'Processors:':<20}{self.processors}"
            yield f"\t\t{'Memory Size:':<20}{self.memory_bytes // MIB} MB"
        yield "\tslot 0: SAS Host Adapter 0c"
        for disk in self.disks:
            size = disk.bytes / MIB
            sectors = f" {_SECTOR}B/sect" if self.in_detail else ""
            yield (
                f"\t\t{disk.disk:<10}: self-encrypting {size:.1f}MB{sectors} {disk.serial_number}"
            )
        if self.in_detail:
            for shelf, count in Counter(each.disk.split(".")[1] for each in self.disks).items():
                yield f"\t\tShelf {int(shelf):>3}: {count} disks"


def _size(disk: Disk) -> int:
    return disk.blocks * BLOCK_SIZE


class Condition(Fields):
    """The state of an aggregate.

    ``rebuild_percent`` is how much of a lost member is rebuilt, null if none is being rebuilt.
    """

    aggregate: str
    online: bool
    degraded: bool
    raid_type: str
    rebuild_percent: int | None

    @property
    def state(self) -> str:
        """``online`` as a word."""
        return "online" if self.online else "offline"

    @property
    def trouble(self) -> str:
        """``degraded``, ``reconstruct``, or ""."""
        if not self.degraded:
            return ""
        return "degraded" if self.rebuild_percent is None else "reconstruct"


class AggregateLine(Condition):
    """An aggregate in ``aggr status``."""

    root: bool


class AggregateStatus(Fields):
    """``aggr status``."""

    TYPE: ClassVar[str] = "aggregate_status"
    aggregates: Sequence[AggregateLine]

    @classmethod
    def of(cls, aggregate: Aggregate, repairs: Repairs) -> Self:
        """Return the status of the root aggregate, which is the only one."""
        return cls([AggregateLine(*_condition(aggregate, repairs), root=True)])

    def lines(self) -> Iterable[str]:
        """The columns of a real filer; further states are on lines of their own below."""
        yield "           Aggr State           Status            Options"
        for each in self.aggregates:
            kind = f"{each.raid_type}, aggr"
            yield f"{each.aggregate:>15} {each.state:<15} {kind:<17} {'root' if each.root else ''}"
            for more in (*([each.trouble] if each.trouble else []), "64-bit"):
                yield f"{'':<32}{more}"


def _condition(aggregate: Aggregate, repairs: Repairs) -> tuple[str, bool, bool, str, int | None]:
    job = repairs.rebuild_in(aggregate)
    percent = job.percent if job and not job.is_copy else None
    return aggregate.name, aggregate.online, aggregate.degraded, "raid_dp", percent


class MemberDisk(Fields):
    """A position of the RAID group, and the disk in it; ``percent`` is that of the replacement."""

    position: Position
    serial_number: str
    disk: str | None
    state: Literal["normal", "prefailed", "failed"]
    replacement: str | None
    percent: int | None
    rows: Sequence[str] = field(metadata=TEXT_ONLY)

    @classmethod
    def of(cls, member: Member, job: Rebuild | None, size: int) -> Self:
        """Return the state of ``member``, of ``size`` bytes; ``job`` may be that of another."""
        if job and job.member.serial != member.serial:
            job = None
        state: Literal["normal", "prefailed", "failed"] = "normal"
        if member.in_use is None:
            state = "failed"
            if job:
                done = f" (reconstruction {job.percent}% completed)"
                row = f"{member.position:<9} {_columns(job.disk)}{done}"
            else:
                row = f"{member.position:<9} {'FAILED':<15} N/A {'':<24} {size // MIB}/ -"
            rows = [row]
        else:
            rows = [f"{member.position:<9} {_columns(member.in_use)}"]
            if Mark.PREFAILED in member.in_use.marks:
                state = "prefailed"
                rows[0] += f" (prefail{', copy in progress' if job else ''})"
            if job:
                rows.append(f"-> copy   {_columns(job.disk)} (copy {job.percent}% completed)")
        return cls(
            member.position,
            member.serial,
            member.disk.name if member.disk else None,
            state,
            job.disk.name if job else None,
            job.percent if job else None,
            rows,
        )


class DiskRole(InstalledDisk):
    """A disk and its role in the aggregate.

    ``zeroed`` says whether all blocks of a spare are zeros; ``zeroing_percent`` how many are, while
    it is being zeroed.
    """

    role: Role
    zeroed: bool
    zeroing_percent: int | None
    row: str = field(metadata=TEXT_ONLY)


_AGGREGATE = "aggregate"
_BLOCKS: Mapping[str, Sequence[Role]] = {
    "Spare disks": ("spare",),
    "Broken disks": ("broken",),
    "Partner disks": ("partner",),
    "Disks of unknown or other owners": ("unowned", "unknown", "foreign"),
}
"""The blocks of ``sysconfig -r`` below the aggregate, by title."""


class RaidLayout(Condition):
    """``aggr status -r``, ``sysconfig -r``; the disk of a member is null if it is missing."""

    TYPE: ClassVar[str] = "raid_layout"
    members: Sequence[MemberDisk]
    disks: Sequence[DiskRole]
    blocks: Sequence[str] = field(metadata=TEXT_ONLY)

    @classmethod
    def of(cls, filer: Filer, blocks: Sequence[str]) -> Self:
        """Return the members of the aggregate, and the role of each disk of the shelf.

        Only ``blocks`` are shown as text; if it is only one, also an empty one.
        """
        aggregate, repairs = filer.assembled(), filer.repairs
        size = max((_size(each.disk) for each in aggregate.members if each.disk), default=0)
        job = repairs.rebuild_in(aggregate)
        members = [MemberDisk.of(each, job, size) for each in aggregate.members]
        disks = [_with_role(aggregate, repairs, disk) for disk in filer.shelf]
        for name, reason in filer.shelf.absent().items():
            if reason is not None:  # its file is there, and cannot be read
                row = f"{'failed':<15} {_place(name)} {'0/0':<17} 0/0"
                disks.append(DiskRole(name, "", 0, "broken", False, None, row))
        return cls(*_condition(aggregate, repairs), members, disks, blocks)

    def lines(self) -> Iterable[str]:
        """The aggregate with its members, then the other disks by role."""
        for block in self.blocks:
            yield from self._aggregate_lines() if block == _AGGREGATE else self._block(block)

    def _aggregate_lines(self) -> Iterable[str]:
        name, state = self.aggregate, self.state
        trouble = f", {self.trouble}" if self.trouble else ""
        health = "normal" if self.online else "failed"
        group = "degraded" if self.degraded else "normal"
        if self.trouble == "reconstruct":
            group = f"reconstruction {self.rebuild_percent}% completed"
        yield f"Aggregate {name} ({state}, {self.raid_type}{trouble}) (block checksums)"
        yield f"  Plex /{name}/plex0 ({state}, {health}, active)"
        yield f"    RAID group /{name}/plex0/rg0 ({group}, block checksums)"
        yield ""
        yield f"      RAID Disk {_HEADER}"
        yield f"      --------- {_RULE}"
        for member in self.members:
            for row in member.rows:
                yield f"      {row}"

    def _block(self, title: str) -> Iterable[str]:
        """The disks of a block, if there are any."""
        roles = _BLOCKS[title]
        disks = [each for role in roles for each in self.disks if each.role == role and each.row]
        if not disks and len(self.blocks) > 1:
            return
        yield ""
        if not disks:
            yield f"{title} (empty)"
            return
        yield title
        yield ""
        yield f"RAID Disk       {_HEADER}"
        yield f"---------       {_RULE}"
        if roles == ("spare",):
            yield "Spare disks for block checksum"
        for disk in disks:
            yield disk.row


def _with_role(aggregate: Aggregate, repairs: Repairs, disk: Disk) -> DiskRole:
    role = aggregate.role(disk)
    first: str = role
    columns = _columns(disk)
    foreign = aggregate.ownership.foreign_owner(disk)
    zeroing = repairs.zeroing.get(disk.serial)
    is_zeroed = aggregate.is_zeroed(disk)
    if role == "partner":
        columns = _columns(disk, used="0/0")
    elif foreign and role == "foreign":
        columns += f" ({foreign.owner})"
    elif role == "broken":
        first = "failed" if disk.destroyed else "admin failed"
    elif role == "spare" and zeroing:
        columns += f" (zeroing, {zeroing.percent}% done)"
    elif role == "spare" and not is_zeroed:
        columns += " (not zeroed)"
    is_replacing = repairs.rebuild and repairs.rebuild.disk is disk
    row = "" if is_replacing else f"{first:<15} {columns}"
    percent = zeroing.percent if zeroing else None
    return DiskRole(disk.name, disk.serial, _size(disk), role, is_zeroed, percent, row)


_HEADER = "Device  HA  SHELF BAY CHAN Pool Type  RPM  Used (MB/blks)    Phys (MB/blks)"
_RULE = "------  ------------- ---- ---- ---- ----- --------------    --------------"


def _columns(disk: Disk, used: str = "") -> str:
    size = _size(disk)
    blocks = f"{size // MIB}/{size // _SECTOR}"
    return f"{_place(disk.name)} {used or blocks:<17} {blocks}"


def _place(name: str) -> str:
    adapter, shelf, bay = name.split(".")
    return f"{name:<15} {adapter:<5} {int(shelf):<3} {bay:<3} SA:A   0  SED    N/A"


_SHOWN: Mapping[str, Sequence[str]] = {
    "-r": (_AGGREGATE, *_BLOCKS),
    "-s": ("Spare disks",),
    "-f": ("Broken disks",),
}


def _layout(call: Call) -> bool:
    """Show what the option of a line asks for; return False if it has none of these options."""
    for option, blocks in _SHOWN.items():
        if option in call.arguments.options:
            call.show(RaidLayout.of(call.filer, blocks))
            return True
    return False


def _sysconfig(call: Call) -> None:
    if not _layout(call):
        in_detail = not call.arguments.options.isdisjoint({"-a", "-v"})
        filer = call.filer
        filer.shelf.look_again()
        call.show(SystemConfiguration.of(filer.hardware, filer.shelf, in_detail=in_detail))


def _aggr(call: Call) -> None:
    if not _layout(call):
        call.show(AggregateStatus.of(call.filer.assembled(), call.filer.repairs))


def _vol(call: Call) -> None:
    _layout(call)


_ROLES = {
    "-r": "the role of each disk in the root aggregate",
    "-s": "the spare disks",
    "-f": "the failed disks",
}

COMMANDS = (
    Command(
        "sysconfig",
        "print the hardware and its disks",
        Subcommand(
            "sysconfig [ -r | -a | -v ]",
            _sysconfig,
            options={
                "-r": _ROLES["-r"],
                "-a": "the hardware in detail",
                "-v": "the hardware in detail",
            },
            changes=False,
        ),
    ),
    Command(
        "aggr",
        "print the state of the aggregates",
        Subcommand(
            "aggr status [ -r | -s | -f ]",
            _aggr,
            "show the state of the root aggregate",
            options=_ROLES,
            changes=False,
        ),
    ),
    Command(
        "vol",
        "print spare and failed disks",
        Subcommand(
            "vol status { -r | -s | -f }",
            _vol,
            "show the disks by role, spare disks, or failed disks",
            options=_ROLES,
            changes=False,
        ),
    ),
)
