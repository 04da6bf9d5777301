"""Jobs on many disks, several at the same time, each disk wholly or not at all.

A disk mostly waits for its syncs, so disks are worked on in parallel; the changes of one disk are
made in order, each synced before the next.  Outcomes are reported in the order of the disks.

**Disks whose key ID is contested are tried one after the other**, in order, when all other disks
are done: which of several keys such a disk tries depends on what the disks before it have accepted
and refused (`try_one`).  No other outcome changes what another disk tries.  A disk whose key ID has
one key tries that key unless it has refused it before, whatever happens to other disks, and a disk
with the MSID has its own.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Literal, NamedTuple, TypeVar

from filer.disks.disk import AlreadyRefused, AuthenticationFailed, Disk, DiskError, LockedOut
from filer.host.errors import FilerError
from filer.keys.authentication_key import MSID, AuthenticationKey, DiskKey
from filer.keys.key_id import MSID_KEY_ID
from filer.keys.keytable import Keytable
from filer.running.interrupt import Interrupt, Interrupted
from filer.running.parallel import in_parallel
from filer.running.progress import Show, Steps, Tell, show_nothing

Outcome = TypeVar("Outcome")


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


class _Contested(Exception):
    """The key ID of a disk has several keys: the disk is tried when no other one is."""


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
    *,
    alone: bool,
) -> DiskKey:
    """Call ``attempt`` with the first of ``keys`` that ``disk`` has not refused; return that key.

    One try is all that a command, or a boot, may cost a disk.  The other disks with its key ID
    learn from it: ``keytable`` has a key that opened one first, and one that was refused last.
    Raises AuthenticationFailed, also if every key was refused before.

    ``alone``: no other disk is being tried.  Without it, only call this in the work of `each_disk`,
    which calls that again, alone, if the key ID is contested.
    """
    key_id = disk.key_id
    if not alone and len(keys_of(keytable, key_id)) > 1:
        raise _Contested
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


def each_disk(
    disks: Sequence[Disk],
    work: Callable[[Disk, bool], Outcome],
    tell: Tell,
    go_on: Callable[[], bool] = lambda: True,
) -> list[tuple[Disk, Outcome]]:
    """Call ``work`` with each disk, and whether it is alone; return the outcomes in disk order.

    Disks are worked on in parallel; those whose key ID is contested, alone and after all others
    (`try_one`).  ``go_on`` is called before each disk: once it returns False, no other disk is
    begun, and the disks not reached have no outcome.  ``tell`` gets the number of finished disks.
    """
    finished = 0

    def count(outcome: Outcome | _Contested) -> None:
        nonlocal finished
        if not isinstance(outcome, _Contested):
            finished += 1
            if finished < len(disks):
                tell(finished)

    def unless_contested(disk: Disk) -> Outcome | _Contested:
        try:
            return work(disk, False)
        except _Contested as contested:
            return contested

    if disks:
        tell(0)
    outcomes = in_parallel(disks, unless_contested, go_on=go_on, tell=count)
    if len(outcomes) == len(disks):
        for at, outcome in enumerate(outcomes):
            if isinstance(outcome, _Contested):
                if not go_on():
                    break
                outcomes[at] = work(disks[at], True)
                count(outcomes[at])
    return [
        (disk, outcome)
        for disk, outcome in zip(disks, outcomes, strict=False)
        if not isinstance(outcome, _Contested)
    ]


class DiskJobs:
    """What is done to many disks, with the keys of ``keytable``; Ctrl-C stops it between disks.

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

        def rekey(disk: Disk, alone: bool) -> None:
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
            try_one(
                disk,
                current,
                self._keytable,
                lambda key: disk.rekey(key, key_id, new[0]),
                alone=alone,
            )

        return self._each("rekey", disks, refusal, rekey)

    def lock(self, disks: Iterable[Disk], *, held: Held, refusal: Refusal) -> DiskReport:
        """Set locking on ``disks``: from the next loss of power on they need their key.

        A disk whose key is not ``held`` by a key server is refused.
        """

        def lock(disk: Disk, alone: bool) -> None:
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
            try_one(disk, keys, self._keytable, disk.lock, alone=alone)

        return self._each("lock", disks, refusal, lock)

    def sanitize(self, disks: Iterable[Disk], *, refusal: Refusal) -> DiskReport:
        """Give each disk a new data key and the MSID: its data is gone, and it is as new."""
        return self._each("sanitize", disks, refusal, lambda disk, _alone: disk.sanitize())

    def destroy(self, disks: Iterable[Disk], *, refusal: Refusal) -> DiskReport:
        """Leave each disk without any data key, of no use to anyone."""
        return self._each("destroy", disks, refusal, lambda disk, _alone: disk.destroy())

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
        operation: Callable[[Disk, bool], None],
    ) -> DiskReport:
        waiting = list(disks)

        def outcome(disk: Disk, alone: bool) -> DiskFailure | None:
            try:
                if reason := refusal(disk):
                    raise DiskError(f"{disk.name}: {reason}")
                operation(disk, alone)
            except FilerError as failure:
                return DiskFailure(disk.name, _kind(failure), str(failure))
            return None

        with self._show(Steps(verb, "disks", len(waiting), interruptible=True)) as tell:
            outcomes = each_disk(waiting, outcome, tell, self._may_go_on)
        return DiskReport(
            verb,
            tuple(disk.name for disk, failure in outcomes if failure is None),
            tuple(failure for _disk, failure in outcomes if failure is not None),
            len(waiting) - len(outcomes),
        )

    def _may_go_on(self) -> bool:
        try:
            self._interrupt.check()
        except Interrupted:
            return False
        return True


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
