"""The certificates of the key servers and of their client, all in one directory.

A small certificate authority issues one certificate for each key server address and one for the
client.  The files that an administrator installs on the filer have the names that ``keymgr install
cert`` expects (man key_manager, CERTIFICATES).  A file ``*_private.pem`` or ``*_server.pem`` has a
private key followed by its certificate, so that both change together.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from filer.host.durable import Storage, is_temporary
from filer.host.errors import FilerError
from filer.host.lock import locked
from filer.host.own_files import followed, objection
from filer.host.text import printable
from filer.kmip.address import AddressError, parse_address
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name

AUTHORITY_PRIVATE = "authority_private.pem"

CLIENT_NAME = "filer"
"""Common name of the client; it never changes, because PyKMIP uses it as the owner of the keys."""

_AUTHORITY_LIFETIME = timedelta(days=3652)
_LIFETIME = timedelta(days=730)
_RENEWAL = timedelta(days=1)
_CLOCK_SKEW = timedelta(hours=1)


class AuthorityError(FilerError):
    """The certificates in a directory cannot be used or created."""


def server_name(address: str) -> str:
    """Return the name of the file with the key server's private key and certificate."""
    return f"{address}_server.pem"


def store_name(address: str) -> str:
    """Return the name of the SQLite file with the keys that clients store."""
    return f"{address}.sqlite"


@dataclass(frozen=True)
class Identity:
    """A certificate with its private key."""

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: x509.Certificate

    @classmethod
    def parse(cls, pem: bytes) -> "Identity":
        """Parse the result of ``private_pem``.  Raises ValueError for anything else."""
        try:
            key = serialization.load_pem_private_key(pem, password=None)
            certificate = x509.load_pem_x509_certificate(pem)
            public_key = certificate.public_key()
        except TypeError as error:
            raise ValueError("the private key is encrypted") from error
        except (UnsupportedAlgorithm, x509.InvalidVersion) as error:
            raise ValueError(str(error)) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("not an elliptic-curve key")
        if key.public_key() != public_key:
            raise ValueError("the private key does not match the certificate")
        return cls(key, certificate)

    def certificate_pem(self) -> bytes:
        """Return only the certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def private_pem(self) -> bytes:
        """Return the unencrypted private key followed by the certificate."""
        key = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return key + self.certificate_pem()

    def is_from(self, issuer: "Identity") -> bool:
        """Return whether ``issuer`` signed this certificate."""
        try:
            self.certificate.verify_directly_issued_by(issuer.certificate)
        except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
            return False
        return True

    def expires_by(self, moment: datetime) -> bool:
        """Return whether the certificate is no longer valid at ``moment``."""
        return self.certificate.not_valid_after_utc <= moment


def new_authority(now: datetime) -> Identity:
    """Create a self-signed certificate authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("filer-keyserver CA")
    builder = (
        _builder(name, key, now, now + _AUTHORITY_LIFETIME)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
    )
    return Identity(key, builder.sign(key, hashes.SHA256()))


def issue_server(authority: Identity, address: str, now: datetime) -> Identity:
    """Issue a certificate for the key server at ``address``, an IP address."""
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
    return _issue(authority, address, ExtendedKeyUsageOID.SERVER_AUTH, now, names)


def issue_client(authority: Identity, now: datetime) -> Identity:
    """Issue the certificate by which a filer authenticates itself."""
    return _issue(authority, CLIENT_NAME, ExtendedKeyUsageOID.CLIENT_AUTH, now)


def prepare(
    directory: Path,
    addresses: Iterable[str],
    *,
    now: datetime | None = None,
    storage: Storage | None = None,
) -> None:
    """Ensure that ``directory`` has valid certificates for the key servers at ``addresses``.

    Valid certificates are kept; missing and expired ones are created.  If the authority has
    expired, a new one replaces it and all other certificates.  A directory is accepted if it is
    missing, empty, or contains a file that only a key server creates.

    Raises AddressError for an invalid address, AuthorityError for a damaged file (it is never
    overwritten) or for a directory that must not be used, and StorageError if the directory cannot
    be written.
    """
    now = now or datetime.now(UTC)
    storage = storage or Storage()
    addresses = [parse_address(address) for address in addresses]
    try:
        directory = followed(directory)
    except OSError as error:
        raise _unusable(directory, error) from error
    _refuse_another_use(directory, addresses)
    storage.make_directory(directory)
    storage.settle_above(directory)
    # Two simultaneous first starts must not create two authorities.
    flags = os.O_RDONLY | os.O_DIRECTORY
    with locked(directory, flags, lambda error: _unusable(directory, error)):
        _refuse_another_use(directory, addresses)  # it may have changed before it was locked
        storage.settle(directory)
        storage.sweep(directory)
        authority = _load_valid(directory / AUTHORITY_PRIVATE, now)
        if authority is None:
            authority = new_authority(now)
            storage.write(directory / AUTHORITY_PRIVATE, authority.private_pem())
        client = _load_valid(directory / CLIENT_PRIVATE, now, authority)
        if client is None:
            client = issue_client(authority, now)
            storage.write(directory / CLIENT_PRIVATE, client.private_pem())
        _write_if_different(storage, directory / CLIENT, client.certificate_pem())
        for address in addresses:
            if _load_valid(directory / server_name(address), now, authority) is None:
                server = issue_server(authority, address, now)
                storage.write(directory / server_name(address), server.private_pem())
            _write_if_different(storage, directory / ca_name(address), authority.certificate_pem())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _issue(
    authority: Identity,
    common_name: str,
    usage: x509.ObjectIdentifier,
    now: datetime,
    *extensions: x509.ExtensionType,
) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    end = min(now + _LIFETIME, authority.certificate.not_valid_after_utc)
    builder = (
        _builder(_name(common_name), key, now, end)
        .issuer_name(authority.certificate.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return Identity(key, builder.sign(authority.key, hashes.SHA256()))


def _refuse_another_use(directory: Path, addresses: Iterable[str]) -> None:
    """Refuse a directory that has another purpose, or files of another user.

    Files in it, such as a client.pem, would otherwise be overwritten.
    """
    try:
        if reason := objection(directory, directory=True):
            raise AuthorityError(f"{printable(str(directory))}: {reason}")
        names = sorted(path.name for path in directory.iterdir() if not is_temporary(path))
        own = {AUTHORITY_PRIVATE, CLIENT, CLIENT_PRIVATE}
        for address in addresses:
            own |= {server_name(address), ca_name(address), store_name(address)}
        for name in own.intersection(names):
            if reason := objection(directory / name):
                raise AuthorityError(f"{printable(str(directory / name))}: {reason}")
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unusable(directory, error) from error
    if names and not any(map(_is_of_a_key_server, names)):
        raise AuthorityError(
            f"{printable(str(directory))}: not empty (it has {printable(names[0])}), and not the "
            "directory of a key server"
        )


def _is_of_a_key_server(name: str) -> bool:
    """Return whether only a key server creates files with ``name``; others may be a user's."""
    address = name.removesuffix(store_name(""))
    if address == name:
        return name == AUTHORITY_PRIVATE
    try:
        return parse_address(address) == address
    except AddressError:
        return False


def _load_valid(path: Path, now: datetime, issuer: Identity | None = None) -> Identity | None:
    try:
        identity = Identity.parse(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(path, error) from error
    except ValueError as error:
        raise AuthorityError(
            f"{printable(str(path))}: not a private key with its certificate; "
            "if you remove it, a new one is created"
        ) from error
    if identity.expires_by(now + _RENEWAL):
        return None
    if issuer is not None and not identity.is_from(issuer):
        return None
    return identity


def _write_if_different(storage: Storage, path: Path, data: bytes) -> None:
    try:
        same = path.read_bytes() == data
    except OSError:
        same = False
    if not same:
        storage.write(path, data)


def _unusable(path: Path, error: OSError) -> AuthorityError:
    return AuthorityError(f"{printable(str(path))}: {printable(error.strerror or str(error))}")
