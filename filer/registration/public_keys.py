"""Public keys: those in certificates, and those that belong to private keys."""

import base64
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm

from filer.registration.pem import (
    CLIENT,
    CLIENT_PRIVATE,
    ENCRYPTED_LABEL,
    KEY_LABELS,
    PKCS8_LABEL,
    CertificateError,
    blocks,
)

if TYPE_CHECKING:
    # Here and below where it is used: x509 takes 25 ms.
    from cryptography.x509 import Certificate

_KEY_LIMIT = 8 * 1024
"""Maximum size in bytes of a private key in PEM form; RSA with 8192 bits is smaller."""

_DIFFIE_HELLMAN = (
    bytes.fromhex("06092a864886f70d010301"),  # PKCS #3
    bytes.fromhex("06072a8648ce3e0201"),  # X9.42
)


@contextmanager
def damage_reported(name: str, what: str = "certificate") -> Iterator[None]:
    """Turn the library's exceptions for damaged content into a CertificateError."""
    from cryptography.x509 import InvalidVersion

    with warnings.catch_warnings():
        # Keep the library's warnings about unusual but valid certificates off the console.
        warnings.simplefilter("ignore")
        try:
            yield
        except UnsupportedAlgorithm:
            raise CertificateError(f"{name}: the {what} has an unknown type") from None
        except (ValueError, TypeError, InvalidVersion, InvalidSignature, InternalError):
            raise CertificateError(f"{name}: the {what} is damaged") from None


def public_key(certificate: "Certificate") -> bytes:
    """Return the public key in DER.  Raises what `damage_reported` catches."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    refuse_diffie_hellman(certificate.tbs_certificate_bytes)
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_of_private(data: bytes) -> bytes:
    """Return the public key of the one private key in ``data``, the content of client_private.pem.

    Raises CertificateError.
    """
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_private_key,
    )

    name = CLIENT_PRIVATE
    keys = [block for block in blocks(name, data) if block.has_private_key]
    if not keys:
        raise CertificateError(
            f"{name}: contains no private key; it needs {CLIENT} and the private key"
        )
    if len(keys) > 1:
        raise CertificateError(f"{name}: contains more than one private key")
    (block,) = keys
    if block.label == ENCRYPTED_LABEL or b"Proc-Type: 4,ENCRYPTED" in block.text:
        raise CertificateError(
            f"{name}: the private key is encrypted; its passphrase cannot be entered at boot; "
            "decrypt it: openssl pkcs8 -topk8 -in FILE -nocrypt"
        )
    if block.label not in KEY_LABELS:
        remedy = block.conversion(name) or "openssl pkcs8 -topk8 -nocrypt -in FILE"
        raise CertificateError(
            f"{name}: {block.kind} is not usable for TLS; expected PKCS #8; convert it: {remedy}"
        )
    if len(block.text) > _KEY_LIMIT:
        raise CertificateError(f"{name}: the private key is larger than {_KEY_LIMIT // 1024} KiB")
    with damage_reported(name, "private key"):
        if block.label == PKCS8_LABEL:  # the traditional labels name the kind of key
            refuse_diffie_hellman(_der(block.text))
        # The library's check of an RSA key tests its primes, which takes seconds if they are
        # large; a signature also shows that the key works.
        private = load_pem_private_key(block.text, None, unsafe_skip_rsa_key_validation=True)
        if isinstance(private, RSAPrivateKey):
            signature = private.sign(b"", PKCS1v15(), SHA256())
            private.public_key().verify(signature, b"", PKCS1v15(), SHA256())
        public = private.public_key()
        return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def refuse_diffie_hellman(der: bytes) -> None:
    """Raise UnsupportedAlgorithm for a Diffie-Hellman key, which TLS certificates never have.

    The library would test whether its numbers are prime, which takes minutes if they are large.
    """
    if any(identifier in der for identifier in _DIFFIE_HELLMAN):
        raise UnsupportedAlgorithm("Diffie-Hellman")


def _der(block: bytes) -> bytes:
    """Return the decoded PKCS #8 block.  Raises ValueError, also if it has header lines."""
    if b":" in block:
        raise ValueError
    return base64.b64decode(b"".join(block.splitlines()[1:-1]))
