"""One self-encrypting drive: a file with a header and encrypted data.

The data is encrypted under the disk's data key, which rekeying does not change.  The data key is
stored only in wrapped form, so a copy of the file is useless without the authentication key
(``man key_manager``, LIMITATIONS, says what this protects against).
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Self, TypeVar

from filer.disks.data import Data
from filer.disks.derivation import Derivation, StretchedKey, stretch_msid
from filer.disks.head import HeadFile
from filer.disks.header import BLOCK_SIZE, DATA_OFFSET, DiskError, Head, Header, State
from filer.disks.record import LOCKOUT_LIMIT, MOST_TAGS, NO_OWNER, Mark, Owner, Record
from filer.disks.wrapping import DataKey, InvalidUnwrap, opened, tag_of, unwrapped, wrapped
from filer.host.durable import Storage, StorageError
from filer.host.scrypt import STANDARD
from filer.keys.authentication_key import MSID, AuthenticationKey, DiskKey
from filer.keys.key_id import MSID_KEY_ID

__all__ = [
    "BLOCK_SIZE",
    "LOCKOUT_LIMIT",
    "AlreadyRefused",
    "AuthenticationFailed",
    "Destroyed",
    "Disk",
    "DiskError",
    "DiskLocked",
    "Exchanged",
    "LockedOut",
]

T = TypeVar("T")


class AuthenticationFailed(DiskError):
    """The key is wrong."""


class AlreadyRefused(AuthenticationFailed):
    """The disk has refused this key before; it was not tried, and no failure was counted."""


class LockedOut(DiskError):
    """Too many consecutive failures: the disk tries no more keys."""


class Destroyed(DiskError):
    """The disk has no data key, permanently."""


class Exchanged(DiskError):
    """There is another drive in the bay."""


class DiskLocked(DiskError):
    """The data is unreadable until the disk is authenticated."""


class Disk:
    """One drive in a shelf; off until `power_on`.

    Every method raises `DiskError` if the disk is off, cannot be read, or was replaced by another
    one, and `StorageError` if it cannot be written.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        storage: Storage,
        derivation: Derivation,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.name = name
        self.path = path
        self._storage = storage
        self._derivation = derivation
        self._random = random
        self._file: HeadFile | None = None
        self._data_key: DataKey | None = None
        self._accepted: DiskKey | None = None  # none since power-on
        self.warnings: Sequence[str] = ()
        """Faults found at power-on that do not stop the disk from working, one line each."""

    @classmethod
    def create(
        cls,
        name: str,
        path: Path,
        storage: Storage,
        derivation: Derivation,
        random: Callable[[int], bytes] = os.urandom,
        *,
        size: int,
    ) -> Self:
        """Create a factory-new disk of ``size`` bytes, rounded down to whole blocks.

        Raises FileExistsError if the file ``path`` exists; it is not changed.
        """
        from base64 import b32encode  # only for a new disk

        disk = cls(name, path, storage, derivation, random)
        state = State(
            serial=b32encode(random(10)).decode("ascii"),
            msid=b32encode(random(20)).decode("ascii"),
            data_size=size - size % BLOCK_SIZE,
        )
        header = wrapped(state, DataKey.new(random), stretch_msid(state.msid))
        head = Head(header, Record(sequence=1, binding=header.binding))
        storage.create(path, head.pack(), DATA_OFFSET + state.data_size)
        return disk

    def __repr__(self) -> str:
        return f"<disk {self.name}>"

    @property
    def serial(self) -> str:
        """The serial number, 16 characters."""
        return self._state.serial

    @property
    def msid(self) -> str:
        """The factory key; public, as on the label of a real drive."""
        return self._state.msid

    @property
    def key_id(self) -> str:
        """The key ID of the current authentication key; `MSID_KEY_ID` for the factory key."""
        return self._state.key_id

    @property
    def accepted_key(self) -> AuthenticationKey | None:
        """The current authentication key, if it was used since power-on; never the MSID."""
        return self._accepted if isinstance(self._accepted, AuthenticationKey) else None

    @property
    def locking(self) -> bool:
        """Whether power-off locks this disk."""
        return self._state.locking

    @property
    def life(self) -> int:
        """The number of the data key; another one makes all blocks unreadable."""
        return self._state.life

    @property
    def destroyed(self) -> bool:
        """Whether the disk was made permanently unusable."""
        return self._state.destroyed

    @property
    def failures(self) -> int:
        """The number of consecutive failed authentications."""
        return self._powered.head.failures

    @property
    def owner(self) -> Owner:
        """The owner that is recorded on the disk, readable while it is locked."""
        return self._powered.head.record.owner

    @property
    def home(self) -> int:
        """The system ID of the first owner; 0: the disk was never assigned."""
        return self._powered.head.record.home

    @property
    def marks(self) -> Mark:
        """What the owner has recorded about the use of the disk, readable while it is locked."""
        return self._powered.head.record.marks

    @property
    def unclean(self) -> bool:
        """Whether a change may be unfinished, or may be in the cache of the host only."""
        return self._powered.head.unclean or self._may_be_new

    @property
    def _may_be_new(self) -> bool:
        """Whether marks that matter may not be durable: their process may have been killed."""
        return bool(self.marks & ~Mark.NOT_ZEROED)

    @property
    def owner_lost(self) -> bool:
        """Whether the record of the owner was lost."""
        return self._powered.head.count_lost

    @property
    def refused_keys_full(self) -> bool:
        """Whether the disk has recorded so many refused keys that a boot may try no other key."""
        return len(self._powered.head.tags) >= MOST_TAGS

    @property
    def remembers_refused_keys(self) -> bool:
        """Whether the disk has recorded any key that it has refused."""
        return bool(self._powered.head.tags)

    @property
    def locked_out(self) -> bool:
        """Whether the disk no longer tries keys."""
        return self.failures >= LOCKOUT_LIMIT

    @property
    def locked(self) -> bool:
        """Whether the data is unreadable now; permanently true of a destroyed disk."""
        return self._data_key is None

    @property
    def blocks(self) -> int:
        """The number of blocks of `BLOCK_SIZE` bytes."""
        return self._state.data_size // BLOCK_SIZE

    def power_on(self, *, finish: bool = True) -> None:
        """Read the header; if locking is not set, the data becomes readable without a key.

        ``finish``: as `finish_change` does; without it nothing is written.
        """
        self.power_off()
        self._start(self._read_head())
        if finish:
            self.finish_change()

    def finish_change(self) -> None:
        """Finish an interrupted change; only the owner of the disk may.

        Raises StorageError, and leaves the disk off, if it is not known which of two headers is on
        the medium and neither can be written.
        """
        try:
            refusal = self._powered.try_to_clean()
        except StorageError:
            self.power_off()
            raise
        if refusal:
            warning = f"{self.name}: an older header may remain in its file: {refusal}"
            self.warnings = [*self.warnings, warning]
        elif self._may_be_new:
            with suppress(StorageError):
                self._storage.settle(self.path)

    def _read_head(self) -> HeadFile:
        return self._named(lambda: HeadFile(self.path, self._storage))

    def _start(self, file: HeadFile) -> None:
        header = file.head.header
        state = header.state
        with suppress(OSError):  # an unreadable last block exists, so the file is long enough
            if not self._storage.read(self.path, DATA_OFFSET + state.data_size - 1, 1):
                raise DiskError(f"{self.name}: damaged: the file is too short")
        data_key = None
        if not state.locking and not state.destroyed:
            try:
                data_key = opened(header)
            except InvalidUnwrap as error:
                raise DiskError(f"{self.name}: damaged header: edited") from error
        self.warnings = [f"{self.name}: {warning}" for warning in file.warnings()]
        self._file = file
        self._data_key = data_key
        self._accepted = None

    def power_off(self) -> None:
        """Forget the data key and all other state that does not survive power-off."""
        self._file = None
        self._data_key = None
        self._accepted = None
        self.warnings = ()

    def refresh(self) -> None:
        """Read the header again, and finish an interrupted change."""
        self._reread()
        self._powered.clean()

    def look_again(self) -> None:
        """Read the head again if another system has written it; the disk is as after power-on then.

        Nothing is written.  Raises Exchanged if this is another drive.
        """
        now = self._read_head()
        if now.head.header.state.serial != self.serial:
            raise Exchanged(f"{self.name}: is another drive now")
        if self._powered.was_written_by_others(now):
            self._start(now)

    def settle(self) -> None:
        """Ensure that the medium, not only the cache, has the current header and no other."""
        self.refresh()
        self._powered.settle()

    def forget_refused_keys(self) -> None:
        """Allow refused keys to be tried again; the failure count is not changed."""
        if self.remembers_refused_keys:
            self._powered.write_record(tags=())

    def assign(self, owner: Owner) -> None:
        """Make ``owner`` the home and the owner of the disk."""
        self.look_again()
        self._reread()
        self._powered.write_record(home=owner.system_id, owner=owner)

    def release(self) -> None:
        """Take the owner off the disk, and remember its home: no boot takes it by itself."""
        self.look_again()
        self._reread()
        self._powered.write_record(home=self.home or self.owner.system_id, owner=NO_OWNER)

    def mark(self, marks: Mark) -> None:
        """Record ``marks``, in place of those that the disk has.  The key is not changed."""
        self.look_again()
        self._reread()
        self._powered.write_record(marks=marks)

    def has_refused(self, key: AuthenticationKey) -> bool:
        """Return whether the disk is known to have refused ``key``; tries and counts nothing."""
        head = self._powered.head
        return bool(head.tags) and self._tag(head.header, key) in head.tags

    def authenticate(self, key: DiskKey) -> None:
        """Unlock the data with the current authentication key.

        A failure is written to the disk before the key is tried, and cleared after a success.  A
        refused key is then recorded by a tag.  Raises `AuthenticationFailed`, or, without trying
        or counting anything, `AlreadyRefused`, `LockedOut` or `Destroyed`.
        """
        self._reread()
        self._powered.try_to_clean()  # power-on has already reported an error here
        self._refuse_destroyed()
        self._refuse_locked_out()
        data_key = self._try(key)
        self._powered.write_record(failures=0)
        self._data_key = data_key
        self._accepted = key

    def rekey(self, current: DiskKey, new_key_id: str, new: DiskKey) -> None:
        """Change the authentication key from ``current`` to ``new``.

        Locking is not changed, except that it ends with a return to the MSID.  The data and the
        data key are not changed.  Raises the errors of `authenticate`, and ValueError if ``new``
        does not match ``new_key_id``.
        """
        if (new is MSID) != (new_key_id == MSID_KEY_ID):
            raise ValueError("only the MSID may have the key ID of the MSID, and it must")
        self.refresh()
        self._refuse_destroyed()
        self._refuse_locked_out()
        state = self._state
        locking = state.locking and new is not MSID
        state = replace(state, key_id=new_key_id, locking=locking, scrypt=STANDARD)
        self._rewrap(current, state, new)

    def lock(self, current: DiskKey) -> None:
        """Set locking: after the next power-off, only the current key unlocks the data.

        If locking is already set, no key is tried, but the header is settled.  Raises `DiskError`
        if the disk has the MSID, and the errors of `authenticate`.
        """
        self.refresh()
        self._refuse_destroyed()
        self._refuse_locked_out()
        if self.key_id == MSID_KEY_ID:
            raise DiskError(f"{self.name}: a disk with key ID {MSID_KEY_ID} cannot be locked")
        if self.locking:
            self._powered.settle()
        else:
            self._rewrap(current, replace(self._state, locking=True), current)

    def sanitize(self) -> None:
        """Give the disk a new data key and the MSID: the data is lost, the disk is like new.

        Needs no authentication, and makes a locked-out disk usable again.
        """
        self.refresh()
        self._refuse_destroyed()
        old = self._state
        state = State(old.serial, old.msid, old.data_size, life=old.next_life)
        data_key = DataKey.new(self._random)
        header = wrapped(state, data_key, stretch_msid(state.msid))
        self._powered.write_record(unfinished=True, marks=self.marks | Mark.NOT_ZEROED)
        self._commit(header, data_key, accepted=None)

    def destroy(self) -> None:
        """Erase the data key, which makes the disk permanently unusable."""
        self.refresh()
        if self.destroyed:
            self._powered.settle()
            self._refuse_destroyed()
        old = self._state
        state = State(old.serial, old.msid, old.data_size, old.life, destroyed=True)
        self._powered.write_record(unfinished=True)
        self._commit(Header(state, wrap=b"", open_wrap=b""), None, accepted=None)

    def read_block(self, number: int) -> bytes:
        """Return block ``number``; a block that was never written, or zeroed, reads as zeros."""
        return self._data.read(number)

    def write_block(self, number: int, data: bytes) -> None:
        """Write ``data``, exactly `BLOCK_SIZE` bytes, to block ``number``."""
        self._data.write(number, data)

    def copy_blocks(self, source: "Disk", numbers: range) -> None:
        """Copy the blocks ``numbers``, which are consecutive, from ``source``, in one write."""
        self._data.copy(source._data, numbers)

    def zero_blocks(self, numbers: range) -> None:
        """Zero the blocks ``numbers``, which are consecutive, in one write."""
        self._data.zero(numbers)

    @property
    def _powered(self) -> HeadFile:
        if self._file is None:
            raise DiskError(f"{self.name}: no power")
        return self._file

    @property
    def _state(self) -> State:
        return self._powered.head.header.state

    @property
    def _data(self) -> Data:
        if self._data_key is None:
            raise DiskLocked(f"{self.name}: locked")
        inode = self._powered.inode
        return Data(self.name, self.path, self._storage, self.blocks, self._data_key, inode)

    def _refuse_destroyed(self) -> None:
        if self.destroyed:
            raise Destroyed(f"{self.name}: is destroyed")

    def _refuse_locked_out(self) -> None:
        if self.locked_out:
            raise LockedOut(f"{self.name}: locked out after {LOCKOUT_LIMIT} failures in a row")

    def _reread(self) -> None:
        file, before = self._powered, self._powered.head.header
        self._named(file.refresh)
        after = file.head.header
        if after != before:  # an earlier change reported as failed took effect after all
            self._accepted = None
            if after.state.life != before.state.life or after.state.destroyed:
                self._data_key = None

    def _named(self, work: Callable[[], T]) -> T:
        """Do ``work``; put the disk's name before the text of a DiskError."""
        try:
            return work()
        except DiskError as error:
            raise DiskError(f"{self.name}: {error}") from error

    def _try(self, key: DiskKey, *, before_change: bool = False) -> DataKey:
        """Return the data key unwrapped with ``key``; first count a failure on the disk.

        With ``before_change`` the record is also marked *unfinished*.
        """
        head = self._powered.head
        if key is not MSID and self.has_refused(key):
            raise AlreadyRefused(f"{self.name}: has refused this key before; it was not tried")
        stretched = self._stretched(head.header.state, key)
        mark = before_change or head.record.unfinished
        self._powered.write_record(failures=head.failures + 1, unfinished=mark)
        try:
            return unwrapped(head.header, stretched)
        except InvalidUnwrap as error:
            tags = head.tags
            if key is not MSID:  # so that no key is tried twice in a row, the oldest makes room
                tags = (*tags, self._tag(head.header, key))[-MOST_TAGS:]
            if before_change or tags != head.tags:
                with suppress(StorageError):  # report the failed authentication instead
                    self._powered.write_record(tags=tags, unfinished=head.record.unfinished)
            raise AuthenticationFailed(f"{self.name}: authentication failed") from error

    def _tag(self, header: Header, key: AuthenticationKey) -> bytes:
        return tag_of(header, self._stretched(header.state, key))

    def _rewrap(self, current: DiskKey, state: State, new: DiskKey) -> None:
        """Change the disk to ``state`` with the key ``new``, if ``current`` unlocks it."""
        stretched = self._stretched(state, new)  # may fail for lack of memory: before counting
        data_key = self._data_key = self._try(current, before_change=True)
        self._accepted = current
        self._commit(wrapped(state, data_key, stretched), data_key, accepted=new, failures=0)

    def _commit(
        self,
        header: Header,
        data_key: DataKey | None,
        accepted: DiskKey | None,
        failures: int | None = None,
    ) -> None:
        """Replace the current header with ``header``, and erase the old one.

        ``failures`` is the count to record if the current header has to stay; None keeps it.
        """
        file = self._powered
        same_data = header.state.life == self._state.life and data_key is not None
        try:
            file.put(header)
        except StorageError:
            if not file.head.leftover:
                with suppress(StorageError):
                    file.write_record(failures=failures, unfinished=False)
            elif not same_data:
                self._data_key = None  # data written now could be lost with the old data key
            raise
        self._data_key = data_key
        self._accepted = accepted
        file.finish()

    def _stretched(self, state: State, key: DiskKey) -> StretchedKey:
        if key is MSID:
            return stretch_msid(state.msid)
        return self._derivation.stretch(state.key_id, key, state.scrypt)
