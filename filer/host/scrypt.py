"""scrypt: makes guessing a passphrase or a password expensive."""

from typing import NamedTuple, Self

_N, _R, _P = 2**15, 8, 1
_MAX_COST_FACTOR = 16  # a header may ask for this multiple of the standard work and memory


class Scrypt(NamedTuple):
    """The cost of scrypt: ``n`` (a power of two), block size ``r``, parallelism ``p``."""

    n: int
    r: int
    p: int

    def checked(self) -> Self:
        """Return this cost.

        Raises ValueError if it is below `STANDARD`, which would make guessing cheaper, or so high
        that a forged header could exhaust the machine.
        """
        if self.n & (self.n - 1) or self.n < _N or self.r < _R or self.p < _P:
            raise ValueError("scrypt is weaker than allowed")
        if self.n * self.r * self.p > _MAX_COST_FACTOR * _N * _R * _P:
            raise ValueError("scrypt would take too much time or memory")
        return self

    @property
    def memory(self) -> int:
        """Bytes of memory that one run needs."""
        return 128 * self.r * (self.n + self.p + 2)

    def stretch(self, secret: bytes, salt: bytes, size: int) -> bytes:
        """Return ``size`` bytes derived from ``secret``; takes about 0.1 s.

        Raises MemoryError or ValueError if the host does not have the memory.
        """
        from hashlib import scrypt  # loads OpenSSL: 4 ms

        return scrypt(
            secret, salt=salt, n=self.n, r=self.r, p=self.p, maxmem=self.memory, dklen=size
        )


STANDARD = Scrypt(_N, _R, _P)
