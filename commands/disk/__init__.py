"""disk: owners, failures and keys of the self-encrypting disks."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import ClassVar, Self

from filer.commands import (
    Answers,
    Call,
    Command,
    Complaint,
    Fields,
    Refused,
    Run,
    Subcommand,
    Suggestion,
    Values,
)
from filer.commands.disk.erase import erase
from filer.commands.disk.failing import SUBCOMMANDS as FAILING
from filer.commands.disk.failing import SUBCOMMANDS_IN_MAINTENANCE as FAILING_IN_MAINTENANCE
from filer.commands.disk.owners import SUBCOMMANDS as OWNERS
from filer.commands.disk.owners import SUBCOMMANDS_IN_MAINTENANCE as OWNERS_IN_MAINTENANCE
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


def _show(call: Call) -> None:
    disk_list = call.words("disk_list")
    ownership = call.filer.ownership()
    if disk_list:
        disks = select_disks(call, disk_list)
    else:
        disks = [disk for disk in call.filer.shelf if not ownership.is_partners(disk)]
    call.show(EncryptionTable([KeyState.of(disk) for disk in disks]))


def _lock(call: Call) -> None:
    filer = call.filer
    ownership = filer.ownership()
    disks = select_disks(call, call.words("disk_list"), ownership)
    report_absent(call, call.words("disk_list"), "key")
    held = held_by_key_servers(call)
    report_disks(call, filer.disk_jobs().lock(disks, held=held, refusal=ownership.refusal))


def _rekey(call: Call) -> None:
    key_id = call.value("new_key_id") or ""
    if key_id != MSID_KEY_ID and not is_key_id(key_id):
        raise Refused(f"a key ID is {MSID_KEY_ID} or 64 hexadecimal digits")
    filer = call.filer
    ownership = filer.ownership()
    in_use = {disk.key_id for disk in ownership.own(filer.shelf)}
    if names_others(key_id, filer.hardware.system_id) and key_id not in in_use:
        raise Refused("this key ID names another system, and no disk of this system has it")
    disks = select_disks(call, call.words("disk_list"), ownership)
    report_absent(call, call.words("disk_list"), "key")
    if filer.served_by and key_id not in {MSID_KEY_ID, *in_use}:  # its boot device is out of reach
        text = f"{filer.hardware.hostname} needs key ID {key_id} on its own key servers to boot."
        call.console.warn(Complaint(text, "warning").as_warning())
    held = _never_asked if key_id == MSID_KEY_ID else held_by_key_servers(call, key_id)
    report = filer.disk_jobs().rekey(disks, key_id, held=held, refusal=ownership.refusal)
    report_disks(call, report)


def _never_asked(_key_id: str, _key: object) -> bool:
    return False


def _rekey_in_maintenance(call: Call) -> None:
    """Restore the MSID of disks, with the keys that the key servers hold now."""
    if call.value("new_key_id") != MSID_KEY_ID:
        raise Refused(f"maintenance mode only has disk encrypt rekey {MSID_KEY_ID}")
    from filer.commands.parts.server_warnings import warn_of
    from filer.trial import fetch_or_nothing

    filer = call.filer
    servers = filer.key_servers()
    holdings = fetch_or_nothing(servers, filer.key_ids_in_use())
    warn_of(call, servers)
    filer.keytable.replace(holdings.ranking.entries.values())
    _rekey(call)


def _all_disks(filer: Filer) -> Iterable[Suggestion]:
    return [(disk.name, partial(_state_in_words, disk)) for disk in filer.shelf]


def _disks(filer: Filer) -> Iterable[Suggestion]:
    own = filer.ownership().own(filer.shelf)
    return [(disk.name, partial(_state_in_words, disk)) for disk in own]


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
    values={"disk_list": _all_disks},
    changes=False,
)


def _rekeying(run: Run, key_ids: Values) -> Subcommand:
    return Subcommand(
        "disk encrypt rekey new_key_id disk_list",
        encrypting(run),
        "change the authentication key of disks",
        values={"new_key_id": key_ids, "disk_list": _disks},
    )


def _only_the_msid(_filer: Filer) -> Iterable[Suggestion]:
    return [(MSID_KEY_ID, "the factory key")]


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
        *OWNERS,
        *FAILING,
        _SHOW,
        Subcommand(
            "disk encrypt lock disk_list",
            encrypting(_lock),
            "make disks lock whenever they lose power",
            values={"disk_list": _disks},
        ),
        _rekeying(_rekey, _key_ids),
        _sanitize("all spare disks"),
        _destroy(),
        groups={
            "encrypt": "show, rekey, lock and erase self-encrypting disks",
            "zero": "zero spare disks",
        },
    ),
)

COMMANDS_IN_MAINTENANCE = (
    Command(
        "disk",
        "disk ownership, failed disks, and erasing self-encrypting disks",
        *OWNERS_IN_MAINTENANCE,
        *FAILING_IN_MAINTENANCE,
        _SHOW,
        _rekeying(_rekey_in_maintenance, _only_the_msid),
        _sanitize("all disks", maintenance=True),
        _destroy(maintenance=True),
        groups={"encrypt": "show, rekey and erase self-encrypting disks"},
    ),
)
