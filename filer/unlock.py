"""Opening the locked disks at boot, with what kmip_init has loaded."""

from collections.abc import Sequence

from filer.disk import AuthenticationFailed, Disk, LockedOut
from filer.disk_encrypt import Keys, keys_of, try_in_turn
from filer.errors import FilerError
from filer.holdings import Holdings, conflict
from filer.notices import Notices
from filer.progress import Steps
from filer.system import Filer
from filer.text import listed

_FACTORY_KEY: Keys = (None,)


class _NotInKeytable(FilerError):
    """The key of a disk is unknown."""


def unlock_disks(filer: Filer, holdings: Holdings, notices: Notices, held_back: str | None) -> None:
    """Open each locked disk with the key that its key ID names.

    For a key ID that is not in the keytable the MSID is tried, once, as a real filer does; but
    with nothing tried, and nothing counted by the disk, in a boot that is ``held_back`` for the
    reason given, such as too many panics before it (man key_manager, LIMITATIONS).
    """
    if held_back:
        notices.warning("disk.encrypt.heldback", f"{held_back}; no MSID is tried")
    stay_locked: dict[str, list[str]] = {}
    liars: dict[str, Sequence[str]] = {}
    locked = [disk for disk in filer.shelf if disk.locked and not disk.destroyed]
    work = Steps("unlock", "disks", len(locked), interruptible=False)
    with filer.progress.show(work) as tell:
        for done, disk in enumerate(locked):
            tell(done)
            try:
                if found := _open(filer, holdings, disk, try_msid=not held_back):
                    liars[disk.key_id] = found
            except FilerError as problem:
                stay_locked.setdefault(_reason(disk, problem), []).append(disk.name)
    for reason, names in stay_locked.items():
        notices.warning("disk.encrypt.locked", f"{listed(names)} stay locked: {reason}")
    for key_id, holders in holdings.contradictions().items():
        # Which of them is wrong is known only where a disk was opened.
        for text in liars.get(key_id) or [conflict(key_id, holders)]:
            notices.warning("kmip.init.mismatch", text)


def _open(filer: Filer, holdings: Holdings, disk: Disk, *, try_msid: bool) -> list[str]:
    """Open one disk; return what is wrong with key servers that hold another key for it."""
    known = keys_of(filer.keytable, disk.key_id)
    try:
        if known or try_msid:
            key = try_in_turn(known or _FACTORY_KEY, disk.authenticate)
        else:
            raise _NotInKeytable
    except AuthenticationFailed:
        if known:
            raise
        raise _NotInKeytable from None
    if key is None or len(known) == 1:
        return []
    filer.keytable.prefer(disk.key_id, key)
    return [
        f"key server {address} holds another key for key ID {disk.key_id} than the one that "
        "opens its disks"
        for address in holdings.servers_with_another(disk.key_id, key)
    ]


def _reason(disk: Disk, problem: FilerError) -> str:
    match problem:
        case _NotInKeytable():
            return f"key ID {disk.key_id} is not in the keytable"
        case AuthenticationFailed():
            return f"the key of key ID {disk.key_id} does not open them"
        case LockedOut():
            return "locked out after too many failed authentications"
    return str(problem)
