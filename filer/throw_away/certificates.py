"""Client certificates that a run makes for itself."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from filer.host.errors import FilerError

AUTHORITY_PRIVATE = "authority_private.pem"
"""The authority of client certificates with its private key, as a key server for tests has it."""

HOUR = timedelta(hours=1)


def fingerprint(*files: Path) -> str:
    """Return the SHA-256 of the client certificates in ``files``, as far as they can be read."""
    digest = sha256()
    for file in files:
        with suppress(OSError):
            digest.update(file.read_bytes())
    return digest.hexdigest()


class NoAuthority(FilerError):
    """A directory has no authority that could issue client certificates."""

    def __init__(self) -> None:
        super().__init__(f"DIR has no {AUTHORITY_PRIVATE} that could issue one")


class Authority:
    """An authority of client certificates; without ``pem`` each certificate signs itself.

    ``pem`` has its private key and its certificate.  Raises ValueError if it cannot be used.
    """

    def __init__(self, pem: bytes | None = None) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        self._key: Any = None
        if pem is None:
            return
        try:
            self._key = load_pem_private_key(pem, password=None)
            self._name = x509.load_pem_x509_certificate(pem).subject
        except TypeError as error:
            raise ValueError("the private key is encrypted") from error

    @classmethod
    def of(cls, directory: Path) -> "Authority":
        """Return the authority of the key server in ``directory``.  Raises NoAuthority."""
        try:
            return cls((directory / AUTHORITY_PRIVATE).read_bytes())
        except (OSError, ValueError):
            raise NoAuthority from None

    def issue(
        self, common_name: str, lifetime: timedelta = HOUR, *, expired: bool = False
    ) -> bytes:
        """Return a new client certificate with its private key, in PEM."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        signer, issuer = (self._key, self._name) if self._key else (key, name)
        end = datetime.now(UTC) + (-HOUR if expired else lifetime)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(end - lifetime - 2 * HOUR)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
                critical=False,
            )
            .sign(signer, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return private + certificate.public_bytes(serialization.Encoding.PEM)
