"""One self-encrypting drive: a file with a header and data that only the right key reads.

All data is AES-256-XTS under the data key of the disk, which never changes by rekeying.  The data
key is stored wrapped only, so whoever carries the file away has nothing without the authentication
key (``man key_manager``, LIMITATIONS, says what this protects against and what not).
"""

import os
from base64 import b32encode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import XTS
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)

from filer.authentication_key import AuthenticationKey
from filer.derivation import STANDARD, Derivation, StretchedKey, stretch_msid
from filer.disk_header import (
    BLOCK_SIZE,
    COUNTER_OFFSETS,
    DATA_OFFSET,
    EMPTY_SLOT,
    SLOT_OFFSETS,
    Counter,
    DiskError,
    Head,
    Header,
    State,
)
from filer.durable import Storage, StorageError
from filer.key_id import MSID_KEY_ID
from filer.secret import Secret

__all__ = [
    "BLOCK_SIZE",
    "LOCKOUT_LIMIT",
    "AuthenticationFailed",
    "Destroyed",
    "Disk",
    "DiskError",
    "DiskLocked",
    "LockedOut",
]

LOCKOUT_LIMIT = 1024
"""Failed authentications in a row that end all others (``man key_manager``, LIMITATIONS)."""

_DATA_KEY_SIZE = 64
_CURRENT = b"filer: data key under the authentication key\0"
_OPEN = b"filer: data key while locking is not set\0"


class AuthenticationFailed(DiskError):
    """The key was tried and is not the one."""


class LockedOut(DiskError):
    """Too many failures in a row: the disk tries no key any more."""


class Destroyed(DiskError):
    """The disk has no data key any more."""


class DiskLocked(DiskError):
    """The data is not readable before an authentication."""


class _DataKey(Secret):
    __slots__ = ()
    kind = "data key"


class Disk:
    """One drive in a shelf; off until `power_on`.

    Every method raises `DiskError` if the disk is off, cannot be read, or has been swapped for
    another one, and `StorageError` if it cannot be written.
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
        self._head: Head | None = None
        self._data_key: _DataKey | None = None
        self._accepted: AuthenticationKey | None = None

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
        """Make a factory-new disk of ``size`` bytes, rounded down to whole blocks.

        Raises FileExistsError if there is a file ``path``; it is left alone.
        """
        disk = cls(name, path, storage, derivation, random)
        state = State(
            serial=b32encode(random(10)).decode("ascii"),
            msid=b32encode(random(20)).decode("ascii"),
            data_size=size - size % BLOCK_SIZE,
        )
        header = disk._wrapped(state, _DataKey(random(_DATA_KEY_SIZE)), None)
        head = Head(header, Counter(sequence=1, life=state.life, failures=0))
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
        """The factory key: public, as on the label of a drive."""
        return self._state.msid

    @property
    def key_id(self) -> str:
        """The key ID of the current authentication key; `MSID_KEY_ID` for the factory key."""
        return self._state.key_id

    @property
    def accepted_key(self) -> AuthenticationKey | None:
        """The present authentication key, if it was used since power-on; never the MSID."""
        return self._accepted

    @property
    def locking(self) -> bool:
        """Whether the loss of power locks this disk."""
        return self._state.locking

    @property
    def destroyed(self) -> bool:
        """Whether the disk was made useless for good."""
        return self._state.destroyed

    @property
    def failures(self) -> int:
        """How many authentications in a row have failed."""
        return self._powered.failures

    @property
    def locked_out(self) -> bool:
        """Whether the disk has stopped trying keys."""
        return self.failures >= LOCKOUT_LIMIT

    @property
    def locked(self) -> bool:
        """Whether the data cannot be read now; true of a destroyed disk for ever."""
        return self._data_key is None

    @property
    def blocks(self) -> int:
        """How many blocks of `BLOCK_SIZE` bytes the disk has."""
        return self._state.data_size // BLOCK_SIZE

    def power_on(self) -> None:
        """Read the header; a disk without locking then gives its data to anyone."""
        self.power_off()
        head = self._read_head()
        state = head.header.state
        self._read(DATA_OFFSET + state.data_size - 1, 1)  # the whole file is there
        data_key = None
        if not state.locking and not state.destroyed:
            try:
                data_key = _unwrap(stretch_msid(state.msid), _OPEN, state, head.header.open_wrap)
            except InvalidUnwrap as error:
                raise DiskError(f"{self.name}: damaged header: edited") from error
        self._head = self._tidied(head)
        self._data_key = data_key

    def power_off(self) -> None:
        """Forget all that is lost with the power: the data key above all."""
        self._head = None
        self._data_key = None
        self._accepted = None

    def tidy(self) -> None:
        """Take the file's word for the state, and finish a change that was interrupted."""
        old, head = self._state, self._read_head()
        new = head.header.state
        if (new.serial, new.life) != (old.serial, old.life):
            raise DiskError(f"{self.name}: not the disk that was here at power-on")
        self._head = self._tidied(head)

    def authenticate(self, key: AuthenticationKey | None) -> None:
        """Open the data with the current authentication key; None tries the MSID.

        The failure is on the disk before the try and taken back after a success.  Raises
        `AuthenticationFailed`, or, with nothing tried or counted, `LockedOut` or `Destroyed`.
        """
        self.tidy()
        self._refuse_destroyed()
        self._refuse_locked_out()
        header = self._powered.header
        stretched = self._stretched(header.state, key)
        self._count(self.failures + 1)
        try:
            data_key = _unwrap(stretched, _CURRENT, header.state, header.wrap)
        except InvalidUnwrap as error:
            raise AuthenticationFailed(f"{self.name}: authentication failed") from error
        self._count(0)
        self._data_key = data_key
        self._accepted = key

    def rekey(
        self, current: AuthenticationKey | None, new_key_id: str, new: AuthenticationKey | None
    ) -> None:
        """Change the authentication key from ``current`` to ``new``; None means the MSID.

        Locking stays as it is, but ends with the return to the MSID.  The data and its key stay.
        Raises what `authenticate` raises, and ValueError if ``new`` does not fit ``new_key_id``.
        """
        if (new is None) != (new_key_id == MSID_KEY_ID):
            raise ValueError("the MSID, and nothing else, has the key ID of the MSID")
        self.authenticate(current)
        state = self._state
        locking = state.locking and new is not None
        state = replace(state, key_id=new_key_id, locking=locking, scrypt=STANDARD)
        self._commit(self._wrapped(state, self._opened, new), self._opened)
        self._accepted = new

    def lock(self, current: AuthenticationKey | None) -> None:
        """Set locking: from the next loss of power on, only the current key opens the data.

        Nothing is tried if locking is set already.  Raises `DiskError` for a disk that has the
        MSID, and what `authenticate` raises.
        """
        self.tidy()
        self._refuse_destroyed()
        self._refuse_locked_out()
        if self.key_id == MSID_KEY_ID:
            raise DiskError(f"{self.name}: a disk with key ID {MSID_KEY_ID} cannot be locked")
        if not self.locking:
            self.authenticate(current)
            state = replace(self._state, locking=True)
            self._commit(self._wrapped(state, self._opened, current), self._opened)

    def sanitize(self) -> None:
        """Give the disk a new data key and the MSID: the data is gone, the disk is as new.

        Needs no authentication, and brings back a disk that is locked out.
        """
        self.tidy()
        self._refuse_destroyed()
        old = self._state
        state = State(old.serial, old.msid, old.data_size, life=old.life + 1)
        data_key = _DataKey(self._random(_DATA_KEY_SIZE))
        self._commit(self._wrapped(state, data_key, None), data_key)
        self._accepted = None

    def destroy(self) -> None:
        """Leave the disk without any data key, of no use to anyone for ever."""
        self.tidy()
        self._refuse_destroyed()
        old = self._state
        state = State(old.serial, old.msid, old.data_size, old.life, destroyed=True)
        self._commit(Header(state, wrap=b"", open_wrap=b""), None)

    def read_block(self, number: int) -> bytes:
        """Return block ``number``; one that was never written reads as noise."""
        cipher = self._cipher(number).decryptor()
        data = self._read(self._offset(number), BLOCK_SIZE)
        return cipher.update(data) + cipher.finalize()

    def write_block(self, number: int, data: bytes) -> None:
        """Put ``data``, exactly one block, into block ``number``."""
        if len(data) != BLOCK_SIZE:
            raise ValueError(f"a block has {BLOCK_SIZE} bytes")
        cipher = self._cipher(number).encryptor()
        encrypted = cipher.update(data) + cipher.finalize()
        self._storage.overwrite(self.path, self._offset(number), encrypted)

    @property
    def _powered(self) -> Head:
        if self._head is None:
            raise DiskError(f"{self.name}: no power")
        return self._head

    @property
    def _state(self) -> State:
        return self._powered.header.state

    @property
    def _opened(self) -> _DataKey:
        if self._data_key is None:
            raise DiskLocked(f"{self.name}: locked")
        return self._data_key

    def _refuse_destroyed(self) -> None:
        if self.destroyed:
            raise Destroyed(f"{self.name}: is destroyed")

    def _refuse_locked_out(self) -> None:
        if self.locked_out:
            raise LockedOut(f"{self.name}: locked out after {LOCKOUT_LIMIT} failures in a row")

    def _cipher(self, number: int) -> Cipher[XTS]:
        data_key = self._opened
        if number not in range(self.blocks):
            raise DiskError(f"{self.name}: no block {number}")
        return Cipher(AES(data_key.reveal()), XTS(number.to_bytes(16, "little")))

    def _offset(self, number: int) -> int:
        return DATA_OFFSET + number * BLOCK_SIZE

    def _read(self, offset: int, size: int) -> bytes:
        try:
            # without O_NONBLOCK, a named pipe in the shelf would be waited for
            handle = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                data = os.pread(handle, size, offset)
            finally:
                os.close(handle)
        except OSError as error:
            raise DiskError(f"{self.name}: cannot be read: {error.strerror}") from error
        if len(data) != size:
            raise DiskError(f"{self.name}: damaged: the file is too short")
        return data

    def _read_head(self) -> Head:
        data = self._read(0, DATA_OFFSET)
        try:
            return Head.parse(data)
        except DiskError as error:
            raise DiskError(f"{self.name}: {error}") from error

    def _tidied(self, head: Head) -> Head:
        if head.untidy:
            self._erase(1 - head.slot)
        return head._replace(untidy=False)

    def _erase(self, slot: int) -> None:
        self._storage.overwrite(self.path, SLOT_OFFSETS[slot], EMPTY_SLOT)

    def _commit(self, header: Header, data_key: _DataKey | None) -> None:
        """Put ``header`` in the place of the present one, and leave no trace of that."""
        head = self._powered
        header = replace(header, generation=head.header.generation + 1)
        slot = 1 - head.slot
        try:
            self._storage.overwrite(self.path, SLOT_OFFSETS[slot], header.pack())
        except StorageError:
            with suppress(StorageError):
                self._erase(slot)
            raise
        self._head = head._replace(header=header, slot=slot, untidy=True)
        self._data_key = data_key
        self._head = self._tidied(self._head)

    def _count(self, failures: int) -> None:
        head = self._powered
        slot = 1 - head.counter_slot
        counter = Counter(head.counter.sequence + 1, head.header.state.life, failures)
        self._storage.overwrite(self.path, COUNTER_OFFSETS[slot], counter.pack())
        self._head = head._replace(counter=counter, counter_slot=slot)

    def _stretched(self, state: State, key: AuthenticationKey | None) -> StretchedKey:
        if key is None:
            return stretch_msid(state.msid)
        return self._derivation.stretch(state.key_id, key, state.scrypt)

    def _wrapped(self, state: State, data_key: _DataKey, key: AuthenticationKey | None) -> Header:
        wrap = _wrap(self._stretched(state, key), _CURRENT, state, data_key)
        if state.locking:
            return Header(state, wrap, open_wrap=b"")
        return Header(state, wrap, _wrap(stretch_msid(state.msid), _OPEN, state, data_key))


def _wrap(key: StretchedKey, purpose: bytes, state: State, data_key: _DataKey) -> bytes:
    return aes_key_wrap_with_padding(key.wrapping_key(purpose + state.pack()), data_key.reveal())


def _unwrap(key: StretchedKey, purpose: bytes, state: State, wrap: bytes) -> _DataKey:
    return _DataKey(aes_key_unwrap_with_padding(key.wrapping_key(purpose + state.pack()), wrap))
