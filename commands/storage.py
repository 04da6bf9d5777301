"""sysconfig, aggr: the hardware, and the root aggregate on its disks."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import field
from typing import ClassVar, Self

from filer.commands import TEXT_ONLY, Call, Command, Fields, Subcommand
from filer.commands.system import Release
from filer.config import MIB, Hardware
from filer.disks.aggregate import Aggregate, Position, Role
from filer.disks.disk import BLOCK_SIZE, Disk

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
    """The state of an aggregate."""

    aggregate: str
    online: bool
    degraded: bool
    raid_type: str

    @property
    def state(self) -> str:
        """``online`` as a word."""
        return "online" if self.online else "offline"


class AggregateLine(Condition):
    """An aggregate in ``aggr status``."""

    root: bool


class AggregateStatus(Fields):
    """``aggr status``."""

    TYPE: ClassVar[str] = "aggregate_status"
    aggregates: Sequence[AggregateLine]

    @classmethod
    def of(cls, aggregate: Aggregate) -> Self:
        """Return the status of the root aggregate, which is the only one."""
        return cls([AggregateLine(*_condition(aggregate), root=True)])

    def lines(self) -> Iterable[str]:
        """The columns of a real filer; further states are on lines of their own below."""
        yield "           Aggr State           Status            Options"
        for each in self.aggregates:
            kind = f"{each.raid_type}, aggr"
            yield f"{each.aggregate:>15} {each.state:<15} {kind:<17} {'root' if each.root else ''}"
            for more in (*(["degraded"] if each.degraded else []), "64-bit"):
                yield f"{'':<32}{more}"


def _condition(aggregate: Aggregate) -> tuple[str, bool, bool, str]:
    return aggregate.name, aggregate.online, aggregate.degraded, "raid_dp"


class MemberDisk(Fields):
    """A position of the RAID group, and the disk in it."""

    position: Position
    serial_number: str
    disk: str | None
    columns: str = field(metadata=TEXT_ONLY)


class DiskRole(InstalledDisk):
    """A disk and its role in the aggregate."""

    role: Role
    first_column: str = field(metadata=TEXT_ONLY)
    columns: str = field(metadata=TEXT_ONLY)


class RaidLayout(Condition):
    """``aggr status -r``, ``sysconfig -r``; the disk of a member is null if it is missing."""

    TYPE: ClassVar[str] = "raid_layout"
    members: Sequence[MemberDisk]
    disks: Sequence[DiskRole]

    @classmethod
    def of(cls, aggregate: Aggregate, shelf: Iterable[Disk]) -> Self:
        """Return the members of ``aggregate``, and the role of each disk of the shelf."""
        members = [
            MemberDisk(
                member.position,
                member.serial,
                member.disk.name if member.disk else None,
                _columns(member.disk) if member.disk else f"FAILED (serial number {member.serial})",
            )
            for member in aggregate.members
        ]
        disks = []
        for disk in shelf:
            role, first, columns = aggregate.role(disk), "", _columns(disk)
            foreign = aggregate.ownership.foreign_owner(disk)
            if role == "partner":
                columns = _columns(disk, used="0/0")
            elif foreign and role == "foreign":
                columns += f" ({foreign.owner})"
            elif role == "broken":
                first = "failed"
            disks.append(
                DiskRole(disk.name, disk.serial, _size(disk), role, first or role, columns)
            )
        return cls(*_condition(aggregate), members, disks)

    def lines(self) -> Iterable[str]:
        """The aggregate with its members, then the other disks by role."""
        name, state = self.aggregate, self.state
        health = "degraded" if self.degraded else "normal"
        yield f"Aggregate {name} ({state}, {self.raid_type}) (block checksums)"
        yield f"  Plex /{name}/plex0 ({state}, {health}, active)"
        yield f"    RAID group /{name}/plex0/rg0 ({health}, block checksums)"
        yield ""
        yield f"      RAID Disk {_HEADER}"
        yield f"      --------- {_RULE}"
        for member in self.members:
            yield f"      {member.position:<9} {member.columns}"
        blocks: dict[str, list[DiskRole]] = {}
        for disk in self.disks:
            blocks.setdefault(disk.first_column, []).append(disk)
        spares = blocks.get("spare", [])
        yield from self._block("Spare disks", spares, "Spare disks for block checksum")
        yield from self._block("Broken disks", blocks.get("failed", []))
        yield from self._block("Partner disks", blocks.get("partner", []))
        roles = ("unowned", "unknown", "foreign")
        others = [disk for role in roles for disk in blocks.get(role, [])]
        yield from self._block("Disks of unknown or other owners", others)

    def _block(self, title: str, disks: Sequence[DiskRole], below: str = "") -> Iterable[str]:
        """The block of ``disks``, if there are any; ``below`` is the line below the header."""
        if not disks:
            return
        yield ""
        yield title
        yield ""
        yield f"RAID Disk       {_HEADER}"
        yield f"---------       {_RULE}"
        if below:
            yield below
        for disk in disks:
            yield f"{disk.first_column:<15} {disk.columns}"


_HEADER = "Device  HA  SHELF BAY CHAN Pool Type  RPM  Used (MB/blks)    Phys (MB/blks)"
_RULE = "------  ------------- ---- ---- ---- ----- --------------    --------------"


def _columns(disk: Disk, used: str = "") -> str:
    adapter, shelf, bay = disk.name.split(".")
    size = _size(disk)
    blocks = f"{size // MIB}/{size // _SECTOR}"
    return (
        f"{disk.name:<15} {adapter:<5} {int(shelf):<3} {bay:<3} SA:A   0  SED    N/A "
        f"{used or blocks:<17} {blocks}"
    )


def _layout(call: Call) -> None:
    call.show(RaidLayout.of(call.filer.assembled(), call.filer.shelf))


def _sysconfig(call: Call) -> None:
    if "-r" in call.arguments.options:
        _layout(call)
    else:
        in_detail = not call.arguments.options.isdisjoint({"-a", "-v"})
        filer = call.filer
        call.show(SystemConfiguration.of(filer.hardware, filer.shelf, in_detail=in_detail))


def _aggr(call: Call) -> None:
    if "-r" in call.arguments.options:
        _layout(call)
    else:
        call.show(AggregateStatus.of(call.filer.assembled()))


COMMANDS = (
    Command(
        "sysconfig",
        "print the hardware and its disks",
        Subcommand(
            "sysconfig [ -r | -a | -v ]",
            _sysconfig,
            options={
                "-r": "the role of each disk in the root aggregate",
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
            "aggr status [ -r ]",
            _aggr,
            "show the state of the root aggregate",
            options={"-r": "the role of each disk in it"},
            changes=False,
        ),
    ),
)
