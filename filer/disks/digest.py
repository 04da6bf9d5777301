"""SHA-256, by the library that the disks need anyway; hashlib would load OpenSSL once more."""

from cryptography.hazmat.primitives.hashes import SHA256, Hash


def sha256(data: bytes) -> bytes:
    """Return the 32 bytes of the digest."""
    digest = Hash(SHA256())
    digest.update(data)
    return digest.finalize()
