"""The data key of a disk, and the wrapped forms of it that are in a header.

Each key that wraps it is derived for one purpose and one state of the disk, so an edited header
unwraps nothing.
"""

from collections.abc import Callable

from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)

from filer.disks.derivation import StretchedKey, stretch_msid
from filer.disks.header import Header, State
from filer.disks.record import TAG_SIZE
from filer.keys.secret import Secret

__all__ = ["DataKey", "InvalidUnwrap", "opened", "tag_of", "unwrapped", "wrapped"]

CURRENT = b"filer: data key under the authentication key\0"
OPEN = b"filer: data key while locking is not set\0"
_REFUSED = b"filer: tag of a refused key\0"

_SIZE = 64


class DataKey(Secret):
    """The key with which the data of a disk is encrypted."""

    __slots__ = ()
    kind = "data key"

    @classmethod
    def new(cls, random: Callable[[int], bytes]) -> "DataKey":
        """Return a data key of random bytes."""
        return cls(random(_SIZE))


def wrapped(state: State, data_key: DataKey, key: StretchedKey) -> Header:
    """Return the header of a disk in ``state`` whose current authentication key is ``key``."""
    wrap = _wrap(key, CURRENT, state, data_key)
    if state.locking:
        return Header(state, wrap, open_wrap=b"")
    return Header(state, wrap, _wrap(stretch_msid(state.msid), OPEN, state, data_key))


def unwrapped(header: Header, key: StretchedKey) -> DataKey:
    """Return the data key in ``header``.  Raises InvalidUnwrap if ``key`` is wrong."""
    return _unwrap(key, CURRENT, header.state, header.wrap)


def opened(header: Header) -> DataKey:
    """Return the data key of a disk without locking.  Raises InvalidUnwrap for an edited header."""
    return _unwrap(stretch_msid(header.state.msid), OPEN, header.state, header.open_wrap)


def tag_of(header: Header, key: StretchedKey) -> bytes:
    """Return the tag that identifies a refused ``key`` in the record; it is valid for this wrap."""
    return key.wrapping_key(_REFUSED + header.state.pack() + header.wrap)[:TAG_SIZE]


def _wrap(key: StretchedKey, purpose: bytes, state: State, data_key: DataKey) -> bytes:
    return aes_key_wrap_with_padding(key.wrapping_key(purpose + state.pack()), data_key.reveal())


def _unwrap(key: StretchedKey, purpose: bytes, state: State, wrap: bytes) -> DataKey:
    return DataKey(aes_key_unwrap_with_padding(key.wrapping_key(purpose + state.pack()), wrap))
