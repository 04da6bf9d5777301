"""Jobs on many disks, done one disk after the other, each wholly or not at all."""

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Literal, NamedTuple

from filer.disks.disk import AlreadyRefused, AuthenticationFailed, Disk, DiskError, LockedOut
from filer.host.errors import FilerError
from filer.keys.authentication_key import MSID, AuthenticationKey, DiskKey
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


Verb = Literal["rekey", "lock", "sanitize", "destroy"]


class DiskReport(NamedTuple):
    """What an operation on many disks came to."""

    verb: Verb
    succeeded: tuple[str, ...]
    failures: tuple[DiskFailure, ...]
    not_reached: int = 0

    @property
    def attempted(self) -> int:
        """How many disks the operation reached before its end or an interrupt."""
        return len(self.succeeded) + len(self.failures)

    def count(self, kind: FailureKind) -> int:
        """Return how many failures are of ``kind``."""
        return sum(failure.kind is kind for failure in self.failures)


class _UnknownKey(FilerError):
    """A key ID that the keytable does not have; nothing was tried."""


class _NotOnKeyServer(FilerError):
    """A key that no registered key server that answers holds."""


Keys = Sequence[DiskKey]
"""Keys in the order to try them."""

Refusal = Callable[[Disk], str | None]
"""Why a disk is left as it is, such as what it belongs to; None if it may be changed."""

Held = Callable[[str, AuthenticationKey], bool]
"""Whether a registered key server has just been seen to hold this key under this key ID."""


def keys_of(keytable: Keytable, key_id: str) -> Keys:
    """Return the authentication keys that ``key_id`` may stand for; none if it is unknown."""
    if key_id == MSID_KEY_ID:
        return (MSID,)
    entry = keytable.get(key_id)
    return entry.candidates if entry else ()


def try_one(
    disk: Disk,
    keys: Keys,
    keytable: Keytable,
    attempt: Callable[[DiskKey], None],
) -> DiskKey:
    """Call ``attempt`` with the first of ``keys`` that ``disk`` has not refused; return that key.

    One try is all that a command, or a boot, may cost a disk.  The other disks with its key ID
    learn from it: ``keytable`` has a key that opened one first, and one that was refused last.
    Raises AuthenticationFailed, also if every key was refused before.
    """
    key_id = disk.key_id
    for key in keys:
        if key is MSID:
            attempt(MSID)
            return MSID
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


class DiskJobs:
    """What is done to many disks, with the keys of ``keytable``; Ctrl-C stops it between two.

    ``refusal`` says why a disk is left as it is, and ``held`` what key servers hold.
    """

    def __init__(self, keytable: Keytable, interrupt: Interrupt, show: Show = show_nothing) -> None:
        self._keytable = keytable
        self._interrupt = interrupt
        self._show = show

    def rekey(
        self, disks: Iterable[Disk], key_id: str, *, held: Held, refusal: Refusal
    ) -> DiskReport:
        """Change the key of ``disks`` to that of ``key_id`` (man key_manager, rekey).

        A new key that is not ``held`` is refused, the MSID excepted: a disk is never given a key
        that only this system's memory knows.
        """
        new = keys_of(self._keytable, key_id)

        def rekey(disk: Disk) -> None:
            disk.refresh()
            _refuse_useless(disk)
            if not new:
                raise _UnknownKey(f"{disk.name}: key ID {key_id} is not in the keytable")
            current = self._current_keys(disk)
            if len(new) > 1:
                raise _NotOnKeyServer(
                    f"{disk.name}: more than one key is known for key ID {key_id}"
                )
            _only_held(disk, key_id, new, held)
            try_one(disk, current, self._keytable, lambda key: disk.rekey(key, key_id, new[0]))

        return self._each("rekey", disks, refusal, rekey)

    def lock(self, disks: Iterable[Disk], *, held: Held, refusal: Refusal) -> DiskReport:
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
                raise DiskError(
                    f"{disk.name}: has key ID {MSID_KEY_ID}; rekey it before locking it"
                )
            keys = _only_held(disk, disk.key_id, self._current_keys(disk), held)
            try_one(disk, keys, self._keytable, disk.lock)

        return self._each("lock", disks, refusal, lock)

    def sanitize(self, disks: Iterable[Disk], *, refusal: Refusal) -> DiskReport:
        """Give each disk a new data key and the MSID: its data is gone, and it is as new."""
        return self._each("sanitize", disks, refusal, Disk.sanitize)

    def destroy(self, disks: Iterable[Disk], *, refusal: Refusal) -> DiskReport:
        """Leave each disk without any data key, of no use to anyone."""
        return self._each("destroy", disks, refusal, Disk.destroy)

    def _current_keys(self, disk: Disk) -> Keys:
        current = keys_of(self._keytable, disk.key_id)
        if not current:
            raise _UnknownKey(f"{disk.name}: its key ID {disk.key_id} is not in the keytable")
        accepted = disk.accepted_key
        # The key that has opened this disk is right, whatever key servers hold.
        return (accepted,) if accepted is not None and accepted in current else current

    def _each(
        self,
        verb: Verb,
        disks: Iterable[Disk],
        refusal: Refusal,
        operation: Callable[[Disk], None],
    ) -> DiskReport:
        waiting = list(disks)
        succeeded: list[str] = []
        failures: list[DiskFailure] = []
        work = Steps(verb, "disks", len(waiting), interruptible=True)
        with self._show(work) as tell:
            for done, disk in enumerate(waiting):
                tell(done)
                try:
                    self._interrupt.check()
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


def _only_held(disk: Disk, key_id: str, keys: Keys, held: Held) -> Keys:
    usable = [key for key in keys if key is MSID or held(key_id, key)]
    if not usable:
        raise _NotOnKeyServer(
            f"{disk.name}: no registered key server that answers holds the key for {key_id}"
        )
    return usable


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
