"""Check certificate files: contents, dates, strength, and whether they belong together."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from filer.host.quoting import shortened
from filer.registration.chain import certificates
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, CertificateError, blocks, canonical_name
from filer.registration.public_keys import (
    damage_reported,
    key_of_private,
    public_key,
    refuse_diffie_hellman,
)

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, Name

_LONGEST_NAME = 256
"""Maximum number of characters of a subject or an issuer that are shown."""

_NO_NOTICE = timedelta(0)
_WEAK_DIGESTS = ("md5", "sha1")


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


def inspect(
    name: str,
    data: bytes,
    now: datetime,
    client: bytes | None = None,
    client_private: bytes | None = None,
    *,
    notice: timedelta = _NO_NOTICE,
) -> CertificateInfo:
    """Check ``data`` as the content of the certificate file ``name``, and describe it.

    A certificate that expires within ``notice`` causes a warning.
    ``client`` and ``client_private`` are the installed files of these names.  The key in a new
    client_private.pem must belong to ``client``.  A new client.pem that does not match
    ``client_private`` only causes a warning: users replace client.pem first, then
    client_private.pem, and registration checks the pair again (`check_pair`).
    Raises CertificateError.
    """
    name = canonical_name(name)
    found = [each.certificate for each in certificates(name, data)]
    _refuse_weak(name, found)
    warnings = _dates(found, now, notice)
    if name == CLIENT_PRIVATE:
        _check_own_key(data)
        if client is not None and key_of_private(data) != _certified_key(CLIENT, client):
            raise CertificateError(
                f"{CLIENT_PRIVATE}: the private key does not match the installed {CLIENT}; "
                f"for a new key, install the new {CLIENT} first"
            )
    elif name == CLIENT and client_private is not None and not _matches(data, client_private):
        warnings.append(f"does not match the installed {CLIENT_PRIVATE}; install that next")
    first = found[0]
    with damage_reported(name):
        return CertificateInfo(
            name,
            _name(first.subject),
            _name(first.issuer),
            first.not_valid_before_utc,
            first.not_valid_after_utc,
            tuple(warnings),
        )


class CertificateDetails(NamedTuple):
    """A certificate in a file; all texts are printable.

    ``key`` is the type and size of its public key, ``addresses`` the IP addresses and ``hosts`` the
    DNS names in subjectAltName, and ``sha256`` the fingerprint in hexadecimal digits.
    """

    subject: str
    issuer: str
    serial_number: str
    not_before: datetime
    not_after: datetime
    key: str
    addresses: tuple[str, ...]
    hosts: tuple[str, ...]
    sha256: str


def details(name: str, data: bytes) -> list[CertificateDetails]:
    """Describe the certificates in ``data``, the content of the certificate file ``name``.

    They are in the order in which TLS needs them.  Raises CertificateError.
    """
    name = canonical_name(name)
    with damage_reported(name):
        return [_details(found.certificate) for found in certificates(name, data)]


def _details(certificate: "Certificate") -> CertificateDetails:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509 import (
        DNSName,
        ExtensionNotFound,
        IPAddress,
        SubjectAlternativeName,
    )

    addresses: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    with suppress(ExtensionNotFound):
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
        addresses = tuple(map(str, names.get_values_for_type(IPAddress)))
        hosts = tuple(shortened(host, _LONGEST_NAME) for host in names.get_values_for_type(DNSName))
    return CertificateDetails(
        _name(certificate.subject),
        _name(certificate.issuer),
        f"{certificate.serial_number:X}",
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        _kind_of_key(certificate),
        addresses,
        hosts,
        certificate.fingerprint(SHA256()).hex().upper(),
    )


def _kind_of_key(certificate: "Certificate") -> str:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    match certificate.public_key():
        case EllipticCurvePublicKey() as key:
            return f"EC, {key.curve.name}"
        case RSAPublicKey() as key:
            return f"RSA, {key.key_size} bits"
        case key:
            return type(key).__name__.strip("_").removesuffix("PublicKey")


def registered_warnings(
    registered: Mapping[str, bytes], now: datetime, notice: timedelta
) -> Iterator[tuple[str, str]]:
    """Yield the name of a file and a sentence about its dates, or about its damage.

    client_private.pem, which has the certificates of client.pem, is left out if that has the same
    warnings.
    """
    seen: set[tuple[str, ...]] = set()
    for name, data in registered.items():
        try:
            warnings = _dates([each.certificate for each in certificates(name, data)], now, notice)
        except CertificateError as damage:
            yield name, f"registered certificate {damage}"
            continue
        if name == CLIENT_PRIVATE and tuple(warnings) in seen:
            continue
        if name == CLIENT:
            seen.add(tuple(warnings))
        for warning in warnings:
            yield name, f"registered certificate {name}: {warning}"


def first_to_expire(registered: Mapping[str, bytes]) -> tuple[str, datetime] | None:
    """Return the name and the expiry of the file whose certificate expires first.

    None if there is no file, or if one is damaged.
    """
    return _first_to_expire(tuple(registered.items()))


@lru_cache(maxsize=8)
def _first_to_expire(files: tuple[tuple[str, bytes], ...]) -> tuple[str, datetime] | None:
    try:
        expiries = [
            (each.certificate.not_valid_after_utc, name)
            for name, data in files
            for each in certificates(name, data)
        ]
    except CertificateError:
        return None
    return min(expiries)[::-1] if expiries else None


def expiry_of(name: str, data: bytes, now: datetime) -> str | None:
    """Return ``expired on DATE`` if the first certificate of ``data`` has expired, else None.

    Raises CertificateError if it is damaged.
    """
    certificate = certificates(name, data)[0].certificate
    return _expiry(certificate) if now > certificate.not_valid_after_utc else None


def registered_form(name: str, data: bytes) -> bytes:
    """Return the content to register of the installed file ``name``: only what TLS reads.

    This is its certificates, in client.pem the client's before those of its issuers, and the
    private key of client_private.pem.  Raises CertificateError.
    """
    found = certificates(name, data)
    _refuse_weak(name, [each.certificate for each in found])
    if name != CLIENT_PRIVATE:
        return b"".join(each.text for each in found)
    return b"".join(
        block.text for block in blocks(name, data) if block.has_certificate or block.has_private_key
    )


def check_pair(client: bytes, client_private: bytes) -> None:
    """Check that client.pem and client_private.pem can be registered together.

    Raises CertificateError if a file is damaged, or if they do not have the same key.
    """
    certified = _certified_key(CLIENT, client)
    _check_own_key(client_private)
    if key_of_private(client_private) != certified:
        raise CertificateError(f"{CLIENT_PRIVATE}: the private key does not match {CLIENT}")


def _matches(client: bytes, client_private: bytes) -> bool:
    try:
        check_pair(client, client_private)
    except CertificateError:
        return False
    return True


def _check_own_key(data: bytes) -> None:
    """Check client_private.pem, which is client.pem and the private key in one file."""
    if key_of_private(data) != _certified_key(CLIENT_PRIVATE, data):
        raise CertificateError(
            f"{CLIENT_PRIVATE}: the private key does not match the certificate in the same file"
        )


def _dates(found: list["Certificate"], now: datetime, notice: timedelta) -> list[str]:
    warnings = []
    for number, certificate in enumerate(found, start=1):
        which = "" if number == 1 else f"certificate {number} in the file "
        if now > certificate.not_valid_after_utc:
            warnings.append(f"{which}{_expiry(certificate)}")
        elif now < certificate.not_valid_before_utc:
            warnings.append(
                f"{which}is not valid before {certificate.not_valid_before_utc:%F %T} UTC"
            )
        elif certificate.not_valid_after_utc - now < notice:
            date = f"{certificate.not_valid_after_utc:%F %T} UTC"
            days = days_left(certificate.not_valid_after_utc, now)
            warnings.append(f"{which}expires {days}, on {date}")
    return warnings


def days_left(expiry: datetime, now: datetime) -> str:
    """Return ``in N days``, or ``in less than a day``."""
    days = (expiry - now).days
    return f"in {days} day{'s' if days > 1 else ''}" if days else "in less than a day"


def _expiry(certificate: "Certificate") -> str:
    return f"expired on {certificate.not_valid_after_utc:%F %T} UTC"


def _name(name: "Name") -> str:
    return shortened(name.rfc4514_string(), _LONGEST_NAME) or "(none)"


def _refuse_weak(name: str, found: list["Certificate"]) -> None:
    """Refuse what OpenSSL refuses at its default security level, and say how to replace it."""
    from cryptography.hazmat.primitives.asymmetric.dsa import DSAPublicKey
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    for certificate in found:
        with damage_reported(name):
            refuse_diffie_hellman(certificate.tbs_certificate_bytes)
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
        # TLS does not check the signature of a root.
        if digest is not None and digest.name in _WEAK_DIGESTS and not is_root:
            raise CertificateError(
                f"{name}: {_name(certificate.subject)} is signed with {digest.name.upper()}, too "
                "weak for TLS; have it issued again with SHA256"
            )


def _certified_key(name: str, data: bytes) -> bytes:
    """Return the public key in the first certificate of ``data``."""
    certificate = certificates(name, data)[0].certificate
    with damage_reported(name):
        return public_key(certificate)
