"""Derive the key that wraps a disk's data key from an authentication key: scrypt, then HKDF.

scrypt makes guessing the passphrase expensive, so it runs once per key ID and its result is cached
until power-off.  HKDF makes the wrapping key different for each disk and each header state.
"""

from threading import Lock

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from filer.host.errors import FilerError
from filer.host.scrypt import STANDARD, Scrypt
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.secret import Secret

_KEY_SIZE = 32


class DerivationError(FilerError):
    """A key could not be derived; the text does not reveal the key."""


class StretchedKey(Secret):
    """The result of scrypt, from which the wrapping keys of any number of disks are derived."""

    __slots__ = ()
    kind = "stretched key"

    def wrapping_key(self, info: bytes) -> bytes:
        """Return the 32-byte key-encryption key for ``info``."""
        return HKDF(SHA256(), _KEY_SIZE, salt=None, info=info).derive(self.reveal())


def stretch_msid(msid: str) -> StretchedKey:
    """Return a disk's factory key without scrypt, which would not protect a public key."""
    return StretchedKey(msid.encode("ascii"))


class Derivation:
    """A cache of the scrypt results since power-on, one per key ID and key tried with it.

    Threads may use it at the same time; it never runs scrypt twice for the same key, nor two runs
    at once, each of which needs 32 MiB.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, Scrypt], list[tuple[AuthenticationKey, StretchedKey]]] = {}
        self._running = Lock()

    def stretch(self, key_id: str, key: AuthenticationKey, cost: Scrypt = STANDARD) -> StretchedKey:
        """Stretch ``key`` with ``key_id`` as the salt; takes about 0.1 s the first time.

        Raises DerivationError if the host has too little memory.
        """
        known = self._known.setdefault((key_id, cost), [])
        found = _find(known, key)
        if found is None:
            with self._running:
                found = _find(known, key)  # another thread may just have derived it
                if found is None:
                    found = _stretch(key_id, key, cost)
                    known.append((key, found))
        return found

    def clear(self) -> None:
        """Forget every result, as at power-off."""
        self._known.clear()


def _find(
    known: list[tuple[AuthenticationKey, StretchedKey]], key: AuthenticationKey
) -> StretchedKey | None:
    return next((stretched for candidate, stretched in known if candidate == key), None)


def _stretch(key_id: str, key: AuthenticationKey, cost: Scrypt) -> StretchedKey:
    try:
        return StretchedKey(cost.stretch(key.reveal(), key_id.encode("ascii"), _KEY_SIZE))
    except (MemoryError, ValueError):  # parameters were validated, so memory is too small
        raise DerivationError(f"not enough memory: scrypt needs {cost.memory >> 20} MiB") from None
