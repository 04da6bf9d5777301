"""Search a disk file for wraps of its data key: every offset, every key, every header.

A wrap opens only with the header fields for which it was made, so all that the disk may ever have
had are tried, with its MSID and with the given authentication keys.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import product
from typing import NamedTuple

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding

from filer.disks.derivation import Derivation, stretch_msid
from filer.disks.header import DATA_OFFSET, WRAP_SIZE, DiskError, Head, State
from filer.disks.wrapping import CURRENT, OPEN
from filer.keys.key_id import MSID_KEY_ID
from filer.keys.pair import KeyPair


def wraps(raw: bytes) -> set[bytes]:
    """Return the wraps in the header of a disk file."""
    header = Head.parse(raw[:DATA_OFFSET]).header
    return {wrap for wrap in (header.wrap, header.open_wrap) if wrap}


class Found(NamedTuple):
    """A wrap: its offset in the file, the key that opens it, and the number of its data key."""

    offset: int
    key_id: str
    life: int


def search(raw: bytes, *pairs: KeyPair) -> list[Found]:
    """Return what the MSID, or the key of one of ``pairs``, opens anywhere before the data."""
    state = Head.parse(raw[:DATA_OFFSET]).header.state
    derivation = Derivation()
    secrets = {MSID_KEY_ID: stretch_msid(state.msid)}
    secrets |= {pair.key_id: derivation.stretch(pair.key_id, pair.key) for pair in pairs}
    wrapping_keys = [
        (key_id, past.life, secret.wrapping_key(purpose + past.pack()))
        for past in _pasts(state, secrets)
        for key_id, secret in secrets.items()
        for purpose in (CURRENT, OPEN)
    ]
    return [
        Found(offset, key_id, life)
        for offset in range(DATA_OFFSET - WRAP_SIZE + 1)
        if any(window := raw[offset : offset + WRAP_SIZE])
        for key_id, life, wrapping_key in wrapping_keys
        if _opens(wrapping_key, window)
    ]


def _pasts(state: State, key_ids: Iterable[str]) -> Iterator[State]:
    """Yield every state that the disk may have had, including the current one."""
    lives = range(1, state.life + 1)
    for key_id, locking, life in product({state.key_id, *key_ids}, (False, True), lives):
        with suppress(DiskError):  # locking, under the MSID
            yield State(
                state.serial,
                state.msid,
                state.data_size,
                life=life,
                locking=locking,
                key_id=key_id,
                scrypt=state.scrypt,
            )


def _opens(wrapping_key: bytes, window: bytes) -> bool:
    try:
        aes_key_unwrap_with_padding(wrapping_key, window)
    except InvalidUnwrap:
        return False
    return True
