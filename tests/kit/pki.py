"""Certificates of every kind that a filer may meet, valid and invalid, made on demand.

Valid ones come as a key server's authority makes them; each keyword of ``server`` and ``client``
spoils one property. All are ``authority.Identity``: ``certificate_pem()`` is the content of
client.pem or IP_CA.pem, ``private_pem()`` that of client_private.pem, or of the file from which a
``KeyServer`` takes its own certificate::

    odd = pki.server(pki.authority(), "127.0.0.2", valid=pki.EXPIRED)
    pki.serve_as(key_server, odd)
"""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from filer.keys.pair import KeyPair
from filer.keyserver.authority import AUTHORITY_PRIVATE, Identity, server_name
from filer.keyserver.server import KeyServer
from filer.kmip.client import Credentials, KmipClient
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name

Period = tuple[timedelta, timedelta]
"""The begin and end of a certificate's validity, relative to now."""

VALID: Period = (timedelta(days=-1), timedelta(days=365))
EXPIRING: Period = (timedelta(days=-1), timedelta(days=12, minutes=5))
"""Expires in 12 days: there are warnings from 30 days on."""
EXPIRED: Period = (timedelta(days=-30), timedelta(days=-1))
NOT_YET: Period = (timedelta(days=1), timedelta(days=30))


def authority(
    common_name: str = "test CA",
    *,
    issuer: Identity | None = None,
    valid: Period = VALID,
    key_identifiers: bool = True,
) -> Identity:
    """Make a certificate authority: a root, or one below ``issuer``."""
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return _identity(common_name, issuer, valid, usage, key_identifiers=key_identifiers, ca=True)


def server(
    issuer: Identity | None,
    *addresses: str,
    others: Sequence[x509.GeneralName] = (),
    common_name: str | None = None,
    valid: Period = VALID,
    key_identifiers: bool = True,
) -> Identity:
    """Make a key server's certificate for ``addresses`` and ``others`` in subjectAltName.

    Without any, it has no subjectAltName. ``issuer`` None makes it self-signed. The common name
    defaults to the first address.
    """
    names = [*others, *(x509.IPAddress(ip_address(each)) for each in addresses)]
    return _identity(
        common_name or (addresses[0] if addresses else "key server"),
        issuer,
        valid,
        *((x509.SubjectAlternativeName(names),) if names else ()),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
        key_identifiers=key_identifiers,
    )


def client(
    issuer: Identity | None,
    common_name: str = "filer",
    *,
    valid: Period = VALID,
    key_identifiers: bool = True,
) -> Identity:
    """Make a client certificate; its common name is the owner of the keys on a key server."""
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    return _identity(common_name, issuer, valid, usage, key_identifiers=key_identifiers)


def private_pem_of_unknown_algorithm(identity: Identity) -> bytes:
    """Return the identity's private key as if it had an unknown algorithm."""
    der = identity.key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    elliptic_curve = bytes.fromhex("06072a8648ce3d0201")
    assert elliptic_curve in der
    body = base64.encodebytes(der.replace(elliptic_curve, elliptic_curve[:-1] + b"\x7f"))
    return b"-----BEGIN PRIVATE KEY-----\n%b-----END PRIVATE KEY-----\n%b" % (
        body,
        identity.certificate_pem(),
    )


def encrypted_private_pem(identity: Identity, passphrase: bytes) -> bytes:
    """Return a client_private.pem with an encrypted private key."""
    key = identity.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase),
    )
    return key + identity.certificate_pem()


def authority_of(key_server: KeyServer) -> Identity:
    """Return the authority that made a running key server's certificates."""
    return Identity.parse((key_server.directory / AUTHORITY_PRIVATE).read_bytes())


def store_as(client: Identity, key_server: KeyServer, pair: KeyPair, directory: Path) -> None:
    """Store ``pair`` as ``client``; make ``directory`` with the files that a filer needs for it."""
    directory.mkdir()
    (directory / CLIENT).write_bytes(client.certificate_pem())
    (directory / CLIENT_PRIVATE).write_bytes(client.private_pem())
    ca = directory / ca_name(key_server.address)
    ca.write_bytes((key_server.directory / ca.name).read_bytes())
    files = Credentials(directory / CLIENT, directory / CLIENT_PRIVATE, ca)
    KmipClient(key_server.address, key_server.port, files, 20.0).store(pair, "tag")


def serve_as(key_server: KeyServer, identity: Identity, *chain: Identity) -> None:
    """Restart ``key_server`` with the certificate of ``identity``, sending ``chain`` too.

    It accepts the same clients as before.
    """
    key_server.stop()
    pem = identity.private_pem() + b"".join(link.certificate_pem() for link in chain)
    (key_server.directory / server_name(key_server.address)).write_bytes(pem)
    key_server.start()


def accept_clients_of(key_server: KeyServer, *authorities: Identity) -> None:
    """Restart ``key_server`` so that it accepts only the clients of ``authorities``."""
    key_server.stop()
    pem = b"".join(each.certificate_pem() for each in authorities)
    (key_server.directory / ca_name(key_server.address)).write_bytes(pem)
    key_server.start()


def _identity(
    common_name: str,
    issuer: Identity | None,
    valid: Period,
    *extensions: x509.ExtensionType,
    key_identifiers: bool,
    ca: bool = False,
) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    signer = issuer.key if issuer else key
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + valid[0])
        .not_valid_after(now + valid[1])
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if key_identifiers:
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        ).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return Identity(key, builder.sign(signer, hashes.SHA256()))
