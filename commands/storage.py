"""sysconfig, aggr: the hardware, and the root aggregate on its disks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from filer.commands import Call, Command, Json, Subcommand
from filer.commands.system import Release
from filer.config import MIB, Hardware
from filer.disks.aggregate import POSITIONS, Aggregate, assemble
from filer.disks.disk import BLOCK_SIZE, Disk

_SECTOR = 512


@dataclass(frozen=True)
class SystemConfiguration:
    """``sysconfig``: the system and its disks."""

    TYPE: ClassVar[str] = "system_configuration"
    hardware: Hardware
    disks: Sequence[Disk]

    def lines(self) -> Iterable[str]:
        """The system, then a line a disk."""
        hardware = self.hardware
        partner = f"; partner ID: {hardware.partner_id}" if hardware.partner_id else ""
        encryption = "enabled" if hardware.storage_encryption else "not enabled"
        for line in Release().lines():
            yield f"\t{line}"
        yield f"\tSystem ID: {hardware.system_id} ({hardware.hostname}){partner}"
        yield f"\tStorage Encryption: {encryption}"
        yield "\tslot 0: SAS Host Adapter 0c"
        for disk in self.disks:
            size = disk.blocks * BLOCK_SIZE / MIB
            yield f"\t\t{disk.name:<10}: self-encrypting {size:.1f}MB {disk.serial}"

    def data(self) -> Mapping[str, Json]:
        """The system, and its disks with their sizes in bytes."""
        hardware = self.hardware
        return {
            **Release().data(),
            "hostname": hardware.hostname,
            "system_id": hardware.system_id,
            "partner_id": hardware.partner_id or None,
            "storage_encryption": hardware.storage_encryption,
            "disks": [_data(disk) for disk in self.disks],
        }


def _data(disk: Disk) -> dict[str, Json]:
    return {"disk": disk.name, "serial_number": disk.serial, "bytes": disk.blocks * BLOCK_SIZE}


@dataclass(frozen=True)
class AggregateStatus:
    """``aggr status``: one line an aggregate, and what did not fit into it."""

    TYPE: ClassVar[str] = "aggregate_status"
    aggregate: Aggregate

    def lines(self) -> Iterable[str]:
        """The columns of a real filer."""
        yield "           Aggr State           Status            Options"
        state = "online" if self.aggregate.online else "offline"
        yield f"{self.aggregate.name:>15} {state:<15} {'raid_dp, aggr':<17} root"
        for more in (*(["degraded"] if _is_degraded(self.aggregate) else []), "64-bit"):
            yield f"{'':<32}{more}"

    def data(self) -> Mapping[str, Json]:
        """A list, of the one aggregate that there is."""
        return {"aggregates": [{**_condition(self.aggregate), "root": True}]}


def _condition(aggregate: Aggregate) -> dict[str, Json]:
    return {
        "aggregate": aggregate.name,
        "online": aggregate.online,
        "degraded": _is_degraded(aggregate),
        "raid_type": "raid_dp",
    }


@dataclass(frozen=True)
class RaidLayout:
    """``sysconfig -r`` and ``aggr status -r``: which disk is what in the aggregate."""

    TYPE: ClassVar[str] = "raid_layout"
    aggregate: Aggregate
    disks: Sequence[Disk]

    def lines(self) -> Iterable[str]:
        """The aggregate with its members, then the other disks by what they are."""
        name = self.aggregate.name
        state = "online" if self.aggregate.online else "offline"
        health = "degraded" if _is_degraded(self.aggregate) else "normal"
        yield f"Aggregate {name} ({state}, raid_dp) (block checksums)"
        yield f"  Plex /{name}/plex0 ({state}, {health}, active)"
        yield f"    RAID group /{name}/plex0/rg0 ({health}, block checksums)"
        yield ""
        yield f"      RAID Disk {_HEADER}"
        yield f"      --------- {_RULE}"
        for member in self.aggregate.members:
            if member.disk is None:
                yield f"      {member.position:<9} FAILED (serial number {member.serial})"
            else:
                yield f"      {member.position:<9} {_columns(member.disk)}"
        yield from self._others("Spare disks", ("spare",))
        yield from self._others("Broken disks", ("broken",))
        yield from self._others("Disks of unknown or other owners", ("unknown", "foreign"))

    def data(self) -> Mapping[str, Json]:
        """The aggregate, its members, and all disks with their roles."""
        return {
            **_condition(self.aggregate),
            "members": [
                {
                    "position": member.position,
                    "serial_number": member.serial,
                    "disk": member.disk.name if member.disk else None,
                }
                for member in self.aggregate.members
            ],
            "disks": [{**_data(disk), "role": self.aggregate.role(disk)} for disk in self.disks],
        }

    def _others(self, title: str, roles: Sequence[str]) -> Iterable[str]:
        disks = [disk for disk in self.disks if self.aggregate.role(disk) in roles]
        if not disks:
            return
        yield ""
        yield title
        yield ""
        yield f"RAID Disk       {_HEADER}"
        yield f"---------       {_RULE}"
        for disk in disks:
            foreign = self.aggregate.ownership.foreign_owner(disk)
            owner = f" ({foreign.owner})" if foreign else ""
            yield f"{self.aggregate.role(disk):<15} {_columns(disk)}{owner}"


_HEADER = "Device          HA  SHELF BAY CHAN Pool Type  RPM  Used (MB/blks)    Phys (MB/blks)"
_RULE = "------          ------------- ---- ---- ---- ----- --------------    --------------"


def _columns(disk: Disk) -> str:
    adapter, shelf, bay = disk.name.split(".")
    size = disk.blocks * BLOCK_SIZE
    blocks = f"{size // MIB}/{size // _SECTOR}"
    return (
        f"{disk.name:<15} {adapter:<5} {int(shelf):<3} {bay:<3} SA:A   0  SED    N/A "
        f"{blocks:<17} {blocks}"
    )


def _is_degraded(aggregate: Aggregate) -> bool:
    present = sum(
        member.disk is not None and not member.disk.locked for member in aggregate.members
    )
    return present < len(POSITIONS)


def _assembled(call: Call) -> Aggregate:
    return assemble(call.filer.shelf, call.filer.hardware.system_id)


def _layout(call: Call) -> None:
    call.show(RaidLayout(_assembled(call), list(call.filer.shelf)))


def _sysconfig(call: Call) -> None:
    if "-r" in call.arguments.options:
        _layout(call)
    else:
        call.show(SystemConfiguration(call.filer.hardware, list(call.filer.shelf)))


def _aggr(call: Call) -> None:
    if "-r" in call.arguments.options:
        _layout(call)
    else:
        call.show(AggregateStatus(_assembled(call)))


COMMANDS = (
    Command(
        "sysconfig",
        "print the hardware and its disks",
        Subcommand(
            "sysconfig [ -r ]",
            _sysconfig,
            options={"-r": "what each disk is in the root aggregate or outside of it"},
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
            options={"-r": "its disks and all others"},
            changes=False,
        ),
    ),
)
