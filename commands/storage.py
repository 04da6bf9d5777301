"""sysconfig, aggr: the hardware, and the root aggregate on its disks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from commands import Call, Command
from commands.system import release_line
from filer.disk import BLOCK_SIZE, Disk
from filer.hardware import MIB, Hardware
from filer.raid import POSITIONS, Aggregate, assemble

_SECTOR = 512


@dataclass(frozen=True)
class SystemConfiguration:
    """``sysconfig``: the system and its disks."""

    hardware: Hardware
    disks: Sequence[Disk]

    def lines(self) -> Iterable[str]:
        """The system, then a line a disk."""
        hardware = self.hardware
        partner = f"; partner ID: {hardware.partner_id}" if hardware.partner_id else ""
        encryption = "enabled" if hardware.storage_encryption else "not enabled"
        yield f"\t{release_line()}"
        yield f"\tSystem ID: {hardware.system_id} ({hardware.hostname}){partner}"
        yield f"\tStorage Encryption: {encryption}"
        yield "\tslot 0: SAS Host Adapter 0c"
        for disk in self.disks:
            size = disk.blocks * BLOCK_SIZE / MIB
            yield f"\t\t{disk.name:<10}: self-encrypting {size:.1f}MB {disk.serial}"


@dataclass(frozen=True)
class AggregateStatus:
    """``aggr status``: one line an aggregate, and what did not fit into it."""

    aggregate: Aggregate

    def lines(self) -> Iterable[str]:
        """The columns of a real filer."""
        yield "           Aggr State           Status            Options"
        state = "online" if self.aggregate.online else "offline"
        yield f"{self.aggregate.name:>15} {state:<15} {'raid_dp, aggr':<17} root"
        for more in (*(["degraded"] if _is_degraded(self.aggregate) else []), "64-bit"):
            yield f"{'':<32}{more}"


@dataclass(frozen=True)
class RaidLayout:
    """``sysconfig -r`` and ``aggr status -r``: which disk is what in the aggregate."""

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
            yield f"{self.aggregate.role(disk):<15} {_columns(disk)}"


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
    Command("sysconfig", "print the hardware and its disks", ("sysconfig [ -r ]",), _sysconfig),
    Command("aggr", "print the state of the aggregates", ("aggr status [ -r ]",), _aggr),
)
