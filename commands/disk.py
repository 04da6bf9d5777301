"""disk show, disk encrypt: the self-encrypting disks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from commands import Call, Command, Refused, Suggestion
from commands.encrypting_disks import report_disks, select_disks
from commands.key_manager.servers import warn_of
from filer.disk import Disk
from filer.disk_encrypt import Held, lock_disks, rekey_disks
from filer.key_id import MSID_KEY_ID, is_key_id
from filer.registering import fetch_or_nothing
from filer.system import Filer

SYNOPSIS = (
    "disk show",
    "disk encrypt show [ disk_list ]",
    "disk encrypt lock disk_list",
    "disk encrypt rekey new_key_id disk_list",
)


def key_state(disk: Disk) -> tuple[str, str]:
    """Return what the columns ``Key ID`` and ``Locked?`` say of a disk."""
    if disk.destroyed:
        return "(destroyed)", "Yes"
    if disk.locked_out:
        return disk.key_id, "Locked out"
    return disk.key_id, "Yes" if disk.locking else "No"


@dataclass(frozen=True)
class EncryptionTable:
    """``disk encrypt show``: disk name, key ID, locked or not."""

    rows: Sequence[tuple[str, str, str]]

    def lines(self) -> Iterable[str]:
        """A header and a line a disk."""
        for name, key_id, locked in (("Disk", "Key ID", "Locked?"), *self.rows):
            yield f"{name:<10} {key_id:<64} {locked}"


@dataclass(frozen=True)
class OwnershipTable:
    """``disk show``: who owns which disk."""

    rows: Sequence[tuple[str, str, str]]

    def lines(self) -> Iterable[str]:
        """Two header lines and a line a disk."""
        yield "  DISK       OWNER                  POOL   SERIAL NUMBER         HOME"
        yield "------------ -------------          -----  -------------         -------------"
        for name, owner, serial in self.rows:
            yield f"{name:<10} {owner:<22} {'Pool0':<6} {serial:<21} {owner}"


def _run(call: Call) -> None:
    match call.arguments.subcommand:
        case ("show",):
            _show_owners(call)
        case ("encrypt", "show"):
            _require_encryption(call)
            disks = (
                select_disks(call, call.words("disk_list"))
                if call.words("disk_list")
                else (list(call.filer.shelf))
            )
            call.show(EncryptionTable([(disk.name, *key_state(disk)) for disk in disks]))
        case ("encrypt", "lock"):
            _require_encryption(call)
            _lock(call)
        case ("encrypt", "rekey"):
            _require_encryption(call)
            _rekey(call)


def _require_encryption(call: Call) -> None:
    if not call.filer.hardware.storage_encryption:
        raise Refused("Storage Encryption is not enabled on this system")


def _show_owners(call: Call) -> None:
    hardware = call.filer.hardware
    owner = f"{hardware.hostname} ({hardware.system_id})"
    call.show(OwnershipTable([(disk.name, owner, disk.serial) for disk in call.filer.shelf]))


def _held_by_key_servers(call: Call) -> Held:
    """Ask all key servers what they hold at this moment."""
    servers = call.filer.key_servers()
    holdings = fetch_or_nothing(servers, call.filer.identity)
    warn_of(call, servers)
    return holdings.holds


def _lock(call: Call) -> None:
    disks = select_disks(call, call.words("disk_list"))
    held = _held_by_key_servers(call)
    report_disks(call, lock_disks(disks, call.filer.keytable, call.filer.interrupt, held))


def _rekey(call: Call) -> None:
    key_id = call.value("new_key_id") or ""
    if key_id != MSID_KEY_ID and not is_key_id(key_id):
        raise Refused(f"a key ID is {MSID_KEY_ID} or 64 upper-case hexadecimal digits")
    disks = select_disks(call, call.words("disk_list"))
    held = _never_asked if key_id == MSID_KEY_ID else _held_by_key_servers(call)
    report_disks(call, rekey_disks(disks, key_id, call.filer.keytable, call.filer.interrupt, held))


def _never_asked(_key_id: str, _key: object) -> bool:
    return False


def _disks(filer: Filer, _subcommand: tuple[str, ...]) -> Iterable[Suggestion]:
    return [(disk.name, "locked" if disk.locking else "not locked") for disk in filer.shelf]


def _key_ids(filer: Filer, _subcommand: tuple[str, ...]) -> Iterable[Suggestion]:
    known = [(entry.key_id, entry.tag) for entry in filer.keytable]
    return [(MSID_KEY_ID, "the factory key"), *known]


COMMAND = Command(
    name="disk",
    summary="disk ownership, and key management of self-encrypting disks",
    synopsis=SYNOPSIS,
    run=_run,
    variables={"disk_list": _disks, "new_key_id": _key_ids},
)
