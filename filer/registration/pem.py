"""Certificate files (PEM): their names and contents, and whether they belong together."""

from __future__ import annotations

import base64
import re
import warnings as python_warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm

from filer.host.errors import FilerError
from filer.host.quoting import quoted, shortened
from filer.kmip.address import AddressError, parse_address

if TYPE_CHECKING:
    # Here and below where it is used: x509 takes 25 ms.
    from cryptography.x509 import Certificate, Name

CLIENT = "client.pem"
CLIENT_PRIVATE = "client_private.pem"

SIZE_LIMIT = 1024 * 1024
"""Maximum size in bytes of a certificate file; enough for hundreds of certificates."""

_CA_ENDING = "_CA.pem"
_CERTIFICATE_LABELS = ("CERTIFICATE", "X509 CERTIFICATE")
_PKCS8_LABEL = "PRIVATE KEY"
_KEY_LABELS = (_PKCS8_LABEL, "RSA PRIVATE KEY", "EC PRIVATE KEY")
_ENCRYPTED_LABEL = "ENCRYPTED PRIVATE KEY"
_NAMED_LABELS = {
    *_CERTIFICATE_LABELS,
    *_KEY_LABELS,
    _ENCRYPTED_LABEL,
    *("DSA PRIVATE KEY", "OPENSSH PRIVATE KEY", "PUBLIC KEY", "RSA PUBLIC KEY"),
    *("TRUSTED CERTIFICATE", "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST", "X509 CRL"),
    *("PKCS7", "CMS", "DH PARAMETERS", "EC PARAMETERS"),
}
"""The labels that messages may show; in a damaged file any other may be part of the key."""

_SHORTEST_PIECE = 16
"""Shorter lines outside blocks are not examined, because a file may have a million of them."""

_BODY = re.compile(rb"[A-Za-z0-9+/]{40,}={0,2}")
"""A line of a PEM block; if its letters are all of one case, it is hexadecimal instead."""
_ANY_KEY = "PRIVATE KEY"
_KEY_LIMIT = 8 * 1024
"""Maximum size in bytes of a private key in PEM form; RSA with 8192 bits is smaller."""

_DIFFIE_HELLMAN = (
    bytes.fromhex("06092a864886f70d010301"),  # PKCS #3
    bytes.fromhex("06072a8648ce3e0201"),  # X9.42
)
_LONGEST_NAME = 256
"""Characters of a subject or an issuer to show."""

_SEQUENCE = b"\x30"
"""The first byte of a binary certificate or key store (ASN.1 DER)."""
_PKCS12_VERSION = b"\x02\x01\x03"
"""What follows the header of a PKCS #12 key store."""

_BOM = "\ufeff".encode()
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")

_CONVERSIONS = {
    "PKCS7": "openssl pkcs7 -print_certs -in FILE -out {name}",
    "CMS": "openssl pkcs7 -print_certs -in FILE -out {name}",
    "TRUSTED CERTIFICATE": "openssl x509 -in FILE -out {name}",
    "OPENSSH PRIVATE KEY": "ssh-keygen -p -m PKCS8 -f FILE",
}
"""How to convert a block of a kind that TLS does not read."""

_WEAK_DIGESTS = ("md5", "sha1")


class CertificateError(FilerError):
    """A certificate file was refused; nothing was installed or registered."""


class CertificateInfo(NamedTuple):
    """The first certificate in a certificate file.

    ``subject`` and ``issuer`` are RFC 4514 strings; all texts are printable.
    """

    name: str
    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    warnings: tuple[str, ...] = ()


def ca_name(address: str) -> str:
    """Return the name of the CA file for the key server at the canonical ``address``."""
    return f"{address}{_CA_ENDING}"


def address_of(name: str) -> str | None:
    """Return the canonical address of the key server whose CA file is ``name``, or None."""
    if not name.endswith(_CA_ENDING):
        return None
    try:
        return parse_address(name.removesuffix(_CA_ENDING))
    except AddressError:
        return None


def canonical_name(name: str) -> str:
    """Return ``name`` with the address in its canonical form.  Raises CertificateError."""
    if name in (CLIENT, CLIENT_PRIVATE):
        return name
    address = address_of(name)
    if address is None:
        raise CertificateError(
            f"{quoted(name)} is not the name of a certificate file; "
            f"expected {CLIENT}, {CLIENT_PRIVATE} or IPADDR{_CA_ENDING}"
        )
    return ca_name(address)


def inspect(
    name: str,
    data: bytes,
    now: datetime,
    client: bytes | None = None,
    client_private: bytes | None = None,
) -> CertificateInfo:
    """Check ``data`` as the content of the certificate file ``name``, and describe it.

    ``client`` and ``client_private`` are the installed files of these names.  The key in a new
    client_private.pem must belong to ``client``.  A new client.pem that does not match
    ``client_private`` only causes a warning: users replace client.pem first, then
    client_private.pem, and registration checks the pair again (`check_pair`).
    Raises CertificateError.
    """
    name = canonical_name(name)
    certificates = [each.certificate for each in _certificates(name, data)]
    _refuse_weak(name, certificates)
    warnings = _dates(certificates, now)
    if name == CLIENT_PRIVATE:
        _check_own_key(data)
        if client is not None and _key_of(CLIENT_PRIVATE, data) != _certified_key(CLIENT, client):
            raise CertificateError(
                f"{CLIENT_PRIVATE}: the private key does not match the installed {CLIENT}; "
                f"for a new key, install the new {CLIENT} first"
            )
    elif name == CLIENT and client_private is not None and not _matches(data, client_private):
        warnings.append(f"does not match the installed {CLIENT_PRIVATE}; install that next")
    first = certificates[0]
    with _damage_reported(name):
        return CertificateInfo(
            name,
            _name(first.subject),
            _name(first.issuer),
            first.not_valid_before_utc,
            first.not_valid_after_utc,
            tuple(warnings),
        )


def date_warnings(name: str, data: bytes, now: datetime) -> list[str]:
    """Return a warning for each certificate in ``data`` that has expired or is not valid yet.

    Raises CertificateError if a certificate is damaged.
    """
    return _dates([each.certificate for each in _certificates(name, data)], now)


def expiry_of(name: str, data: bytes, now: datetime) -> str | None:
    """Return ``expired on DATE`` if the first certificate of ``data`` has expired, else None.

    Raises CertificateError if it is damaged.
    """
    certificate = _certificates(name, data)[0].certificate
    return _expiry(certificate) if now > certificate.not_valid_after_utc else None


def registered_form(name: str, data: bytes) -> bytes:
    """Return what is registered of the installed file ``name``: what TLS reads, and nothing else.

    These are its certificates, in client.pem that of the client before those of its issuers, and
    the private key of client_private.pem.  Raises CertificateError.
    """
    found = _certificates(name, data)
    _refuse_weak(name, [each.certificate for each in found])
    if name != CLIENT_PRIVATE:
        return b"".join(each.block for each in found)
    return b"".join(
        block
        for label, block in _blocks(name, data)
        if label in _CERTIFICATE_LABELS or label.endswith(_ANY_KEY)
    )


def check_pair(client: bytes, client_private: bytes) -> None:
    """Check that client.pem and client_private.pem can be registered together.

    Raises CertificateError if a file is damaged, or if they do not have the same key.
    """
    certified = _certified_key(CLIENT, client)
    _check_own_key(client_private)
    if _key_of(CLIENT_PRIVATE, client_private) != certified:
        raise CertificateError(f"{CLIENT_PRIVATE}: the private key does not match {CLIENT}")


def _matches(client: bytes, client_private: bytes) -> bool:
    try:
        check_pair(client, client_private)
    except CertificateError:
        return False
    return True


def _check_own_key(data: bytes) -> None:
    """Check client_private.pem, which is client.pem and the private key in one file."""
    if _key_of(CLIENT_PRIVATE, data) != _certified_key(CLIENT_PRIVATE, data):
        raise CertificateError(
            f"{CLIENT_PRIVATE}: the private key does not match the certificate in the same file"
        )


def _dates(certificates: list[Certificate], now: datetime) -> list[str]:
    warnings = []
    for number, certificate in enumerate(certificates, start=1):
        which = "" if number == 1 else f"certificate {number} in the file "
        if now > certificate.not_valid_after_utc:
            warnings.append(f"{which}{_expiry(certificate)}")
        elif now < certificate.not_valid_before_utc:
            warnings.append(
                f"{which}is not valid before {certificate.not_valid_before_utc:%F %T} UTC"
            )
    return warnings


def _expiry(certificate: Certificate) -> str:
    return f"expired on {certificate.not_valid_after_utc:%F %T} UTC"


def _name(name: Name) -> str:
    return shortened(name.rfc4514_string(), _LONGEST_NAME) or "(none)"


@contextmanager
def _damage_reported(name: str, what: str = "certificate") -> Iterator[None]:
    """Turn the library's exceptions for damaged content into a CertificateError."""
    from cryptography.x509 import InvalidVersion

    with python_warnings.catch_warnings():
        # Keep the library's warnings about unusual but valid certificates off the console.
        python_warnings.simplefilter("ignore")
        try:
            yield
        except UnsupportedAlgorithm:
            raise CertificateError(f"{name}: the {what} has an unknown type") from None
        except (ValueError, TypeError, InvalidVersion, InvalidSignature, InternalError):
            raise CertificateError(f"{name}: the {what} is damaged") from None


class _Found(NamedTuple):
    """A certificate, and the PEM block that it is in."""

    block: bytes
    certificate: Certificate


def _certificates(name: str, data: bytes) -> list[_Found]:
    """Return the certificates in ``data``, at least one, in the order in which TLS needs them."""
    from cryptography.x509 import load_pem_x509_certificate

    blocks = _blocks(name, data)
    found = [block for label, block in blocks if label in _CERTIFICATE_LABELS]
    has_key = any(label.endswith(_ANY_KEY) for label, _ in blocks)
    if not found:
        labels = sorted({label for label, _ in blocks})
        remedies = [_CONVERSIONS[label] for label in labels if label in _CONVERSIONS]
        remedy = f"; convert it: {remedies[0].format(name=name)}" if remedies else ""
        others = ", ".join(dict.fromkeys(map(_shown, labels)))
        raise CertificateError(f"{name}: contains no certificate, only {others}{remedy}")
    if has_key and name != CLIENT_PRIVATE:
        raise CertificateError(
            f"{name}: contains a private key, which belongs only in {CLIENT_PRIVATE}"
        )
    if name != CLIENT_PRIVATE and any(label not in _NAMED_LABELS for label, _ in blocks):
        raise CertificateError(
            f"{name}: damaged; a block in it has an unknown type, and may be a private key"
        )
    with _damage_reported(name):
        certificates = [_Found(block, load_pem_x509_certificate(block)) for block in found]
        for _block, certificate in certificates:
            # The library decodes them when they are used; damage has to be found here.
            _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
            _ = certificate.subject, certificate.issuer
    if len(certificates) == 1 or name not in (CLIENT, CLIENT_PRIVATE):
        return certificates
    return _chain(name, certificates, _key_if_any(data) if name == CLIENT_PRIVATE else None)


def _key_if_any(data: bytes) -> bytes | None:
    try:
        return _key_of(CLIENT_PRIVATE, data)
    except CertificateError:  # reported where the key is needed
        return None


def _chain(name: str, found: list[_Found], key: bytes | None) -> list[_Found]:
    """Put the certificate of the client first, then its issuers, then what is left.

    ``key`` is the public key of the client, if it is known.
    """
    chain = [_client_among(name, found, key)]
    left = [each for each in found if each is not chain[0]]
    while issuers := [
        each for each in left if each.certificate.subject == chain[-1].certificate.issuer
    ]:
        chain.append(issuers[0])
        left.remove(issuers[0])
    return chain + left


def _client_among(name: str, found: list[_Found], key: bytes | None) -> _Found:
    with _damage_reported(name):
        if fitting := [each for each in found if _public_key(each.certificate) == key]:
            return fitting[0]
        issuers = [
            each.certificate.subject
            for each in found
            if any(
                other.certificate.issuer == each.certificate.subject
                for other in found
                if other is not each
            )
        ]
        ends = [each for each in found if each.certificate.subject not in issuers] or found
        clients = [each for each in ends if not _is_authority(each.certificate)] or ends
    if len({each.block for each in clients}) > 1:
        raise CertificateError(
            f"{name}: {len(clients)} client certificates in it; "
            "leave only the one to use, and those of its issuers"
        )
    return clients[0]


def _is_authority(certificate: Certificate) -> bool:
    from cryptography.x509 import BasicConstraints, ExtensionNotFound

    try:
        return certificate.extensions.get_extension_for_class(BasicConstraints).value.ca
    except ExtensionNotFound:
        return False


def _refuse_weak(name: str, certificates: list[Certificate]) -> None:
    """Refuse what OpenSSL refuses at its usual security level, with the remedy."""
    from cryptography.hazmat.primitives.asymmetric.dsa import DSAPublicKey
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    for certificate in certificates:
        with _damage_reported(name):
            _refuse_diffie_hellman(certificate.tbs_certificate_bytes)
            public = certificate.public_key()
            digest = certificate.signature_hash_algorithm
            is_root = certificate.issuer == certificate.subject
        match public:
            case RSAPublicKey() | DSAPublicKey():
                bits, least = public.key_size, 2048
            case EllipticCurvePublicKey():
                bits, least = public.key_size, 224
            case _:
                bits = least = 0
        if bits < least:
            raise CertificateError(
                f"{name}: the key of {_name(certificate.subject)} has {bits} bits, too few for "
                f"TLS; have it issued again for a key of {least} bits or more"
            )
        # TLS does not look at the signature of a root.
        if digest is not None and digest.name in _WEAK_DIGESTS and not is_root:
            raise CertificateError(
                f"{name}: {_name(certificate.subject)} is signed with {digest.name.upper()}, too "
                "weak for TLS; have it issued again with SHA256"
            )


def _certified_key(name: str, data: bytes) -> bytes:
    """Return the public key in the first certificate of ``data``."""
    certificate = _certificates(name, data)[0].certificate
    with _damage_reported(name):
        return _public_key(certificate)


def _public_key(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    _refuse_diffie_hellman(certificate.tbs_certificate_bytes)
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _key_of(name: str, data: bytes) -> bytes:
    """Return the public key that belongs to the one private key in ``data``."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_private_key,
    )

    keys = [block for block in _blocks(name, data) if block[0].endswith(_ANY_KEY)]
    if not keys:
        raise CertificateError(
            f"{name}: contains no private key; it needs {CLIENT} and the private key"
        )
    if len(keys) > 1:
        raise CertificateError(f"{name}: contains more than one private key")
    label, block = keys[0]
    if label == _ENCRYPTED_LABEL or b"Proc-Type: 4,ENCRYPTED" in block:
        raise CertificateError(
            f"{name}: the private key is encrypted; its passphrase cannot be entered at boot; "
            "decrypt it: openssl pkcs8 -topk8 -in FILE -nocrypt"
        )
    if label not in _KEY_LABELS:
        remedy = _CONVERSIONS.get(label, "openssl pkcs8 -topk8 -nocrypt -in FILE")
        raise CertificateError(
            f"{name}: {_shown(label)} is not usable for TLS; expected PKCS #8; convert it: {remedy}"
        )
    if len(block) > _KEY_LIMIT:
        raise CertificateError(f"{name}: the private key is larger than {_KEY_LIMIT // 1024} KiB")
    with _damage_reported(name, "private key"):
        if label == _PKCS8_LABEL:  # the traditional labels name the kind of key
            _refuse_diffie_hellman(_der(block))
        # The library's check of an RSA key tests its primes, which takes seconds if they are
        # large; a signature also shows that the key works.
        private = load_pem_private_key(block, None, unsafe_skip_rsa_key_validation=True)
        if isinstance(private, RSAPrivateKey):
            signature = private.sign(b"", PKCS1v15(), SHA256())
            private.public_key().verify(signature, b"", PKCS1v15(), SHA256())
        public = private.public_key()
        return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _refuse_diffie_hellman(der: bytes) -> None:
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


def _blocks(name: str, data: bytes) -> list[tuple[str, bytes]]:
    """Return the label and the text of each PEM block; text between blocks is ignored.

    Raises CertificateError, which never quotes ``data``, because it may be a private key.
    """
    if len(data) > SIZE_LIMIT:
        raise CertificateError(f"{name}: larger than {SIZE_LIMIT // 1024 // 1024} MiB")
    blocks: list[tuple[str, bytes]] = []
    begun: list[bytes] = []
    label = b""
    begins_on = 0
    lines = data.replace(_BOM, b"").replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    for number, line in enumerate(map(bytes.rstrip, lines), start=1):
        if line.startswith(b"-----BEGIN "):
            if begun:
                break
            if line.find(b"-----", len(b"-----BEGIN ")) != len(line) - len(b"-----"):
                raise CertificateError(
                    f"{name}: damaged; more text follows -----BEGIN ...----- on line {number}: "
                    "were its line ends lost?"
                )
            label, begins_on = line[len(b"-----BEGIN ") : -len(b"-----")], number
        if label:
            begun.append(line)
        elif len(line) >= _SHORTEST_PIECE and _may_be_key(line.strip()):
            raise CertificateError(
                f"{name}: damaged; line {number} is outside all blocks, but looks like part of one"
            )
        if label and line == b"-----END " + label + b"-----":
            blocks.append((label.decode("ascii", "backslashreplace"), b"\n".join(begun) + b"\n"))
            begun, label = [], b""
    if begun:
        raise CertificateError(
            f"{name}: damaged; the block that begins on line {begins_on} has no end"
        )
    if not blocks:
        raise CertificateError(f"{name}: {_form(name, data)}")
    return blocks


def _form(name: str, data: bytes) -> str:
    """Say what a file without a PEM block is, and how it becomes one."""
    if data.startswith(_UTF_16):
        return "text in UTF-16, not PEM; save it as ASCII or UTF-8"
    if not data.startswith(_SEQUENCE):
        return "not a PEM file"
    if _PKCS12_VERSION in data[:12]:
        chosen = {CLIENT: " -clcerts -nokeys", CLIENT_PRIVATE: ""}.get(name, " -cacerts -nokeys")
        command = f"openssl pkcs12 -in FILE{chosen} -nodes -out {name}"
        return f"a PKCS #12 key store, not PEM; convert it: {command}"
    return f"binary (DER), not PEM; convert it: openssl x509 -inform DER -in FILE -out {name}"


def _may_be_key(line: bytes) -> bool:
    """Return whether a line outside all blocks may be part of a private key."""
    is_body = _BODY.fullmatch(line) and line not in (line.lower(), line.upper())
    return b"PRIVATE KEY-----" in line or bool(is_body)


def _shown(label: str) -> str:
    return label if label in _NAMED_LABELS else "an unknown block"
