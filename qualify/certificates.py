"""The client certificates of a run: those in the user's directory, and ones made for a check."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from filer.host.durable import Storage
from filer.kmip.client import Credentials
from filer.qualify.outcome import NotTested
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name

AUTHORITY_PRIVATE = "authority_private.pem"
"""The authority of client certificates with its private key, as a key server for tests has it."""

_LIFETIME = timedelta(hours=1)


class Certificates:
    """The certificates in ``directory``; those that are made go to ``scratch``, a private one.

    ``other`` is a file with a second client certificate and its private key, ``partner`` with that
    of the partner of an HA pair.
    """

    def __init__(
        self, directory: Path, scratch: Path, other: Path | None = None, partner: Path | None = None
    ) -> None:
        self._directory = directory
        self._scratch = scratch
        self._other = other
        self._partner = partner

    def of(self, owner: str, address: str) -> Credentials:
        """Return the files of ``owner``, "own" or "other", for the key server at ``address``.

        Without a file, the second certificate is issued by the authority in the directory.
        Raises NotTested without either.
        """
        ca = self._directory / ca_name(address)
        if owner == "own":
            return Credentials(self._directory / CLIENT, self._directory / CLIENT_PRIVATE, ca)
        other = self._other or self.issued("other")
        return Credentials(other, other, ca)

    def partner(self, address: str) -> Credentials:
        """Return the files of the partner.  Raises NotTested without them."""
        if self._partner is None:
            raise NotTested("give the client certificate of the HA partner with --partner-cert")
        return Credentials(self._partner, self._partner, self._directory / ca_name(address))

    def issued(self, name: str, *, expired: bool = False) -> Path:
        """Return a client certificate ``name`` of the authority in the directory.

        Raises NotTested without an authority.
        """
        path = self._scratch / f"{name}.pem"
        if not path.exists():
            try:
                authority = _parse((self._directory / AUTHORITY_PRIVATE).read_bytes())
            except (OSError, ValueError):
                raise NotTested(
                    "give a second client certificate with --other-cert "
                    f"(DIR has no {AUTHORITY_PRIVATE} that could issue one)"
                ) from None
            Storage().write(path, _issue(f"filer-qualify {name}", authority, expired=expired))
        return path

    def stranger(self) -> Path:
        """Return a client certificate of an authority that the server does not know."""
        path = self._scratch / "stranger.pem"
        if not path.exists():
            Storage().write(path, _issue("filer-qualify stranger", None))
        return path


def unverified(client: Path | None, client_private: Path | None = None) -> ssl.SSLContext:
    """Return a context that accepts any server, and presents ``client`` if given.

    Raises KeyServerFailure if the files cannot be used.
    """
    from filer.kmip.tls import client_context

    if client is not None:
        context = client_context(client, client_private or client, client)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_NONE
    return context


Authority = tuple[Any, Any]
"""A private key and its certificate."""


def _parse(pem: bytes) -> Authority:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(pem, password=None), x509.load_pem_x509_certificate(pem)
    except TypeError as error:
        raise ValueError("the private key is encrypted") from error


def _issue(common_name: str, authority: Authority | None, *, expired: bool = False) -> bytes:
    """Return a client certificate, for an hour, with its private key; None: self-signed."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    signer, issuer = (key, name) if authority is None else (authority[0], authority[1].subject)
    end = datetime.now(UTC) + (-_LIFETIME if expired else _LIFETIME)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - 3 * _LIFETIME)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)
