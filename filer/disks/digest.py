"""SHA-256 by ``cryptography``, which disks load anyway; hashlib loads OpenSSL again: 2 to 4 ms."""

from cryptography.hazmat.primitives.hashes import SHA256, Hash


def sha256(data: bytes) -> bytes:
    """Return the 32-byte SHA-256 digest of ``data``."""
    digest = Hash(SHA256())
    digest.update(data)
    return digest.finalize()
