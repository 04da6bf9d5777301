"""Open the locked disks at boot, with the keys that kmip_init has loaded."""

from collections.abc import Sequence

from filer.boot.notices import Notices
from filer.disks.disk import AlreadyRefused, AuthenticationFailed, Disk, LockedOut
from filer.disks.jobs import each_disk, keys_of, try_one
from filer.disks.ownership import Ownership
from filer.host.errors import FilerError
from filer.host.text import listed
from filer.key_servers.holdings import Holdings
from filer.keys.authentication_key import MSID, AuthenticationKey, DiskKey
from filer.running.progress import Steps
from filer.system import Filer


class _NotInKeytable(FilerError):
    """The key of a disk is unknown."""


class _Withheld(FilerError):
    """Key servers have the key of a disk, but it could not be read."""

    def __init__(self, key_id: str, servers: Sequence[str]) -> None:
        where = f"key ID {key_id} is on key server {listed(servers)}"
        super().__init__(f"{where}, but cannot be read; no MSID was tried")


class _TooManyRefused(FilerError):
    """The disk has refused as many keys as a boot may try."""


def unlock_disks(
    filer: Filer, holdings: Holdings, notices: Notices, ownership: Ownership, held_back: str | None
) -> None:
    """Open each locked disk of this system with the key that its key ID names.

    This costs a disk at most one try, and one that is not an own disk none.  If key servers hold
    different secrets, the order is that of `filer.key_servers.ranking`, and each disk profits from
    the tries before it (`filer.disks.jobs`).  For a key ID that is not in the keytable the MSID is
    tried once, as a real filer does; but not if a key server has its key, nor if ``held_back``
    gives a reason, nor on a disk that may be the partner's (man key_manager, LIMITATIONS).
    """
    if held_back:
        notices.warning("disk.encrypt.heldback", f"{held_back}; no MSID is tried")
    stay_locked: dict[str, list[str]] = {}
    # by key ID; None: disks have only refused keys
    opened_with: dict[str, AuthenticationKey | None] = {}
    locked = []
    for disk in filer.shelf:
        if disk.destroyed or not disk.locked:
            continue
        if ownership.owns(disk):
            locked.append(disk)
        elif not ownership.is_partners(disk):
            foreign = ownership.foreign_owner(disk)
            reason = f"they belong to {foreign.whose}" if foreign else "they have no owner"
            stay_locked.setdefault(reason, []).append(disk.name)
    # Spares first: a wrong key then costs them a try, not the root aggregate.
    locked.sort(key=lambda disk: disk.serial in ownership.root.members)

    def open_or_say_why(disk: Disk, alone: bool) -> DiskKey | FilerError:
        try_msid = not (held_back or disk.serial in ownership.doubtful)
        try:
            return _open(filer, disk, holdings, try_msid=try_msid, alone=alone)
        except FilerError as problem:
            return problem

    with filer.progress.show(Steps("unlock", "disks", len(locked), interruptible=False)) as tell:
        outcomes = each_disk(locked, open_or_say_why, tell)
    for disk, outcome in outcomes:
        if isinstance(outcome, FilerError):
            if isinstance(outcome, AuthenticationFailed):
                opened_with.setdefault(disk.key_id, None)
            stay_locked.setdefault(_reason(disk, outcome), []).append(disk.name)
        elif outcome is not MSID:
            opened_with[disk.key_id] = outcome
    for reason, left in stay_locked.items():
        names = [disk.name for disk in filer.shelf if disk.name in left]
        notices.warning("disk.encrypt.locked", f"{listed(names)} stay locked: {reason}")
    for mismatch in holdings.mismatches(opened_with):
        notices.warning("kmip.init.mismatch", mismatch.text)


def unlock_inserted(filer: Filer, disk: Disk) -> str | None:
    """Open an own disk that was inserted with the key of its key ID; return why it stays locked.

    The MSID is not tried, so this costs the disk at most one try of a key that may be its own.
    """
    try:
        _open(filer, disk, Holdings({}, {}), try_msid=False, alone=True)
    except FilerError as problem:
        return _reason(disk, problem)
    return None


def _open(filer: Filer, disk: Disk, holdings: Holdings, *, try_msid: bool, alone: bool) -> DiskKey:
    """Open a disk, and return the key that opened it."""
    keys = keys_of(filer.keytable, disk.key_id)
    if keys:
        if disk.refused_keys_full and not disk.locked_out:
            raise _TooManyRefused
        return try_one(disk, keys, filer.keytable, disk.authenticate, alone=alone)
    if servers := holdings.withheld_by(disk.key_id):
        raise _Withheld(disk.key_id, servers)
    if try_msid:
        try:
            disk.authenticate(MSID)
        except AuthenticationFailed:
            pass
        else:
            return MSID
    raise _NotInKeytable


def _reason(disk: Disk, problem: FilerError) -> str:
    match problem:
        case _NotInKeytable():
            return f"key ID {disk.key_id} is not in the keytable"
        case _TooManyRefused():
            return f"too many keys were refused for key ID {disk.key_id}; a boot tries no more"
        case AlreadyRefused():
            return (
                f"every key that key servers hold for key ID {disk.key_id} was refused before; "
                "none was tried"
            )
        case AuthenticationFailed():
            return f"the key that was tried for key ID {disk.key_id} does not open them"
        case LockedOut():
            return "locked out after too many failed authentications"
    return str(problem)
