"""From an authentication key to the key that wraps a disk's data key: scrypt, then HKDF.

scrypt makes a search for the passphrase dear, so it runs once for a key ID and is remembered until
the power goes; HKDF makes the result different for every disk and every state of its header.
"""

from dataclasses import dataclass

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from filer.host.errors import FilerError
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.secret import Secret

_KEY_SIZE = 32
_N, _R, _P = 2**15, 8, 1
_DEAREST = 16  # times the standard work and memory that a header may ask for


class DerivationError(FilerError):
    """A key could not be derived; it says nothing of the key."""


@dataclass(frozen=True)
class Scrypt:
    """The cost of scrypt: ``n`` (a power of two), block size ``r``, parallelism ``p``.

    Raises ValueError for less than `STANDARD`, which would make the search cheaper, and for so
    much more that a forged header could exhaust the machine.
    """

    n: int
    r: int
    p: int

    def __post_init__(self) -> None:
        if self.n & (self.n - 1) or self.n < _N or self.r < _R or self.p < _P:
            raise ValueError("scrypt is weaker than allowed")
        if self.n * self.r * self.p > _DEAREST * _N * _R * _P:
            raise ValueError("scrypt would take too much time or memory")

    @property
    def memory(self) -> int:
        """The bytes of memory that one run needs."""
        return 128 * self.r * (self.n + self.p + 2)


STANDARD = Scrypt(_N, _R, _P)


class StretchedKey(Secret):
    """A secret ready to be made into the wrapping key of any number of disks."""

    __slots__ = ()
    kind = "stretched key"

    def wrapping_key(self, info: bytes) -> bytes:
        """Return the 32-byte key-encryption key that is bound to ``info``."""
        return HKDF(SHA256(), _KEY_SIZE, salt=None, info=info).derive(self.reveal())


def stretch_msid(msid: str) -> StretchedKey:
    """Prepare the factory key of a disk; it is public, so nothing is gained by scrypt."""
    return StretchedKey(msid.encode("ascii"))


class Derivation:
    """The scrypt results since power-on: one for each key ID and each key tried under it."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, Scrypt], list[tuple[AuthenticationKey, StretchedKey]]] = {}

    def stretch(self, key_id: str, key: AuthenticationKey, cost: Scrypt = STANDARD) -> StretchedKey:
        """Stretch ``key`` with ``key_id`` as the salt; about 0.1 s the first time.

        Raises DerivationError where the host has not the memory that it takes.
        """
        known = self._known.setdefault((key_id, cost), [])
        for candidate, stretched in known:
            if candidate == key:
                return stretched
        from hashlib import scrypt

        try:
            material = scrypt(
                key.reveal(),
                salt=key_id.encode("ascii"),
                n=cost.n,
                r=cost.r,
                p=cost.p,
                maxmem=cost.memory,
                dklen=_KEY_SIZE,
            )
        except (MemoryError, ValueError):  # of the parameters none is wrong
            raise DerivationError(f"there are no {cost.memory >> 20} MiB for scrypt") from None
        stretched = StretchedKey(material)
        known.append((key, stretched))
        return stretched

    def clear(self) -> None:
        """Forget every result, as the loss of power does."""
        self._known.clear()
