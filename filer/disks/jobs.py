"""Rekeying and locking many disks, one by one, each wholly or not at all."""

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import NamedTuple

from filer.disks.disk import AlreadyRefused, AuthenticationFailed, Disk, DiskError, LockedOut
from filer.host.errors import FilerError
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.key_id import MSID_KEY_ID
from filer.keys.keytable import Keytable
from filer.running.interrupt import Interrupt, Interrupted
from filer.running.progress import Show, Steps, show_nothing


class FailureKind(Enum):
    """How a report counts the failure of a disk."""

    UNKNOWN_KEY = "unknown key"
    AUTHENTICATION = "authentication"
    OTHER = "other"


class DiskFailure(NamedTuple):
    """A disk that was left as it is, and why."""

    disk: str
    kind: FailureKind
    reason: str


class DiskReport(NamedTuple):
    """What an operation on many disks came to."""

    verb: str
    succeeded: tuple[str, ...]
    failures: tuple[DiskFailure, ...]
    not_reached: int = 0

    @property
    def attempted(self) -> int:
        """How many disks the operation reached before its end or an interrupt."""
        return len(self.succeeded) + len(self.failures)

    @property
    def complete(self) -> bool:
        """Whether every disk was reached and none failed."""
        return not self.failures and not self.not_reached

    def count(self, kind: FailureKind) -> int:
        """Return how many failures are of ``kind``."""
        return sum(failure.kind is kind for failure in self.failures)


class _UnknownKey(FilerError):
    """A key ID that the keytable does not have; nothing was tried."""


class _NotOnKeyServer(FilerError):
    """A key that no registered key server that answers holds."""


Keys = Sequence[AuthenticationKey | None]
"""Authentication keys in the order to try them; None stands for the MSID."""

Refusal = Callable[[Disk], str | None]
"""Why a disk is left as it is, such as what it belongs to; None if it may be changed."""

Held = Callable[[str, AuthenticationKey], bool]
"""Whether a registered key server has just been seen to hold this key under this key ID."""


def keys_of(keytable: Keytable, key_id: str) -> Keys:
    """Return the authentication keys that ``key_id`` may stand for; none if it is unknown."""
    if key_id == MSID_KEY_ID:
        return (None,)
    entry = keytable.get(key_id)
    return entry.candidates if entry else ()


def try_one(
    disk: Disk,
    keys: Keys,
    keytable: Keytable,
    attempt: Callable[[AuthenticationKey | None], None],
) -> AuthenticationKey | None:
    """Call ``attempt`` with the first of ``keys`` that ``disk`` has not refused; return that key.

    One try is all that a command, or a boot, may cost a disk.  The other disks with its key ID
    learn from it: ``keytable`` has a key that opened one first, and one that was refused last.
    Raises AuthenticationFailed, also if every key was refused before.
    """
    key_id = disk.key_id
    for key in keys:
        if key is None:
            attempt(None)
            return None
        try:
            if not disk.has_refused(key):
                attempt(key)
                keytable.prefer(key_id, key)
                return key
        except AuthenticationFailed:
            keytable.defer(key_id, key)
            raise
        keytable.defer(key_id, key)
    raise AlreadyRefused(f"{disk.name}: every key known for key ID {key_id} was refused before")


def rekey_disks(
    disks: Iterable[Disk],
    key_id: str,
    keytable: Keytable,
    interrupt: Interrupt,
    held: Held,
    *,
    refusal: Refusal,
    show: Show = show_nothing,
) -> DiskReport:
    """Change the authentication key of ``disks`` to that of ``key_id`` (man key_manager, rekey).

    A new key that is not ``held`` is refused, the MSID excepted: a disk is never given a key
    that only this system's memory knows.
    """
    new = keys_of(keytable, key_id)

    def rekey(disk: Disk) -> None:
        disk.refresh()
        _refuse_useless(disk)
        if not new:
            raise _UnknownKey(f"{disk.name}: key ID {key_id} is not in the keytable")
        current = _current_keys(keytable, disk)
        if len(new) > 1:
            raise _NotOnKeyServer(f"{disk.name}: more than one key is known for key ID {key_id}")
        _only_held(disk, key_id, new, held)
        try_one(disk, current, keytable, lambda key: disk.rekey(key, key_id, new[0]))

    return _each("rekey", disks, refusal, rekey, interrupt, show=show)


def lock_disks(
    disks: Iterable[Disk],
    keytable: Keytable,
    interrupt: Interrupt,
    held: Held,
    *,
    refusal: Refusal,
    show: Show = show_nothing,
) -> DiskReport:
    """Set locking on ``disks``: from the next loss of power on they need their key.

    A disk whose key is not ``held`` by a key server is refused.
    """

    def lock(disk: Disk) -> None:
        disk.refresh()
        _refuse_useless(disk)
        if disk.locking:
            disk.settle()
            return
        if disk.key_id == MSID_KEY_ID:
            raise DiskError(f"{disk.name}: has key ID {MSID_KEY_ID}; rekey it before locking it")
        keys = _only_held(disk, disk.key_id, _current_keys(keytable, disk), held)
        try_one(disk, keys, keytable, disk.lock)

    return _each("lock", disks, refusal, lock, interrupt, show=show)


def sanitize_disks(
    disks: Iterable[Disk],
    refusal: Refusal,
    interrupt: Interrupt,
    *,
    show: Show = show_nothing,
) -> DiskReport:
    """Give each disk a new data key and the MSID: its data is gone, and it is as new."""
    return _each("sanitize", disks, refusal, Disk.sanitize, interrupt, show=show)


def destroy_disks(
    disks: Iterable[Disk],
    refusal: Refusal,
    interrupt: Interrupt,
    *,
    show: Show = show_nothing,
) -> DiskReport:
    """Leave each disk without any data key, of no use to anyone."""
    return _each("destroy", disks, refusal, Disk.destroy, interrupt, show=show)


def _current_keys(keytable: Keytable, disk: Disk) -> Keys:
    current = keys_of(keytable, disk.key_id)
    if not current:
        raise _UnknownKey(f"{disk.name}: its key ID {disk.key_id} is not in the keytable")
    # The key that has opened this disk is right, whatever key servers hold.
    return (disk.accepted_key,) if disk.accepted_key in current else current


def _only_held(disk: Disk, key_id: str, keys: Keys, held: Held) -> Keys:
    usable = [key for key in keys if key is None or held(key_id, key)]
    if not usable:
        raise _NotOnKeyServer(
            f"{disk.name}: no registered key server that answers holds the key for {key_id}"
        )
    return usable


def _each(
    verb: str,
    disks: Iterable[Disk],
    refusal: Refusal,
    operation: Callable[[Disk], None],
    interrupt: Interrupt,
    *,
    show: Show,
) -> DiskReport:
    waiting = list(disks)
    succeeded: list[str] = []
    failures: list[DiskFailure] = []
    work = Steps(verb, "disks", len(waiting), interruptible=True)
    with show(work) as tell:
        for done, disk in enumerate(waiting):
            tell(done)
            try:
                interrupt.check()
            except Interrupted:
                break
            try:
                if reason := refusal(disk):
                    raise DiskError(f"{disk.name}: {reason}")
                operation(disk)
            except FilerError as failure:
                failures.append(DiskFailure(disk.name, _kind(failure), str(failure)))
            else:
                succeeded.append(disk.name)
    reached = len(succeeded) + len(failures)
    return DiskReport(verb, tuple(succeeded), tuple(failures), len(waiting) - reached)


def _refuse_useless(disk: Disk) -> None:
    if disk.destroyed:
        raise DiskError(f"{disk.name}: is destroyed")
    if disk.locked_out:
        raise LockedOut(f"{disk.name}: is locked out")


def _kind(failure: FilerError) -> FailureKind:
    if isinstance(failure, _UnknownKey):
        return FailureKind.UNKNOWN_KEY
    if isinstance(failure, AuthenticationFailed | LockedOut):
        return FailureKind.AUTHENTICATION
    return FailureKind.OTHER
