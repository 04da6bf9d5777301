"""TLS with a key server: the filer trusts only the CA file for that server."""

import ipaddress
import ssl
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from filer.host.quoting import shortened
from filer.host.text import printable
from filer.kmip.failure import (
    CERTIFICATE_EXPIRED,
    CERTIFICATE_NOT_TRUSTED,
    CLIENT_CERTIFICATE_REJECTED,
    NO_TLS_IN_COMMON,
    NOT_A_KMIP_SERVER,
    KeyServerFailure,
)

_MOST_NAMES = 4
"""Number of names in a certificate that a message shows."""

_X509_V_ERR_CERT_HAS_EXPIRED = 10
_ALERTS_ABOUT_A_CERTIFICATE = (
    "ALERT_ACCESS_DENIED",
    "ALERT_BAD_CERTIFICATE",
    "ALERT_CERTIFICATE_EXPIRED",
    "ALERT_CERTIFICATE_REQUIRED",
    "ALERT_CERTIFICATE_REVOKED",
    "ALERT_CERTIFICATE_UNKNOWN",
    "ALERT_DECRYPT_ERROR",
    "ALERT_NO_CERTIFICATE",
    "ALERT_UNKNOWN_CA",
    "ALERT_UNSUPPORTED_CERTIFICATE",
)
_ALERT_OF_ANY_KIND = "ALERT_HANDSHAKE_FAILURE"
_ABOUT_VERSIONS_AND_CIPHERS = (
    # From the server
    _ALERT_OF_ANY_KIND,
    "ALERT_INSUFFICIENT_SECURITY",
    "ALERT_PROTOCOL_VERSION",
    # From OpenSSL, about what the server chose
    "DH_KEY_TOO_SMALL",
    "UNSUPPORTED_PROTOCOL",
    "WRONG_SSL_VERSION",
)


def client_context(client: Path, client_private: Path, ca: Path) -> ssl.SSLContext:
    """Return a context that presents ``client`` and trusts only ``ca``.

    The certificates in ``ca`` need not be root certificates or have key identifiers.  The context
    does not check the server's address, see ``check_address``.  Raises KeyServerFailure with the
    names of the files if they cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    try:
        context.load_verify_locations(ca)
    except OSError as error:
        raise _unusable(ca.name, error) from None
    try:
        # Without a password argument, OpenSSL would ask for one on the terminal.
        context.load_cert_chain(client, client_private, password="")
    except (OSError, ValueError) as error:
        raise _unusable(f"{client.name} and {client_private.name}", error) from None
    return context


def _unusable(names: str, error: Exception) -> KeyServerFailure:
    if isinstance(error, ssl.SSLError):
        reason = error.reason or "damaged"
    else:
        reason = getattr(error, "strerror", None) or "damaged"
    words = printable(reason.lower().replace("_", " "))
    return KeyServerFailure(f"{printable(names)} cannot be used: {words}")


def check_dates(
    certificate: Mapping[str, Any], trusted: Iterable[Mapping[str, Any]], now: datetime
) -> None:
    """Check the dates of a verified ``certificate``, and of its issuers among ``trusted``.

    All are as ``getpeercert`` and ``get_ca_certs`` return them.  OpenSSL has checked the dates by
    the clock of the host; ``now`` is that of the filer.  Raises KeyServerFailure.
    """
    issuers = {str(each.get("subject")): each for each in trusted}
    time = now.timestamp()
    checked: Mapping[str, Any] | None = certificate
    while checked:
        if time > ssl.cert_time_to_seconds(checked["notAfter"]):
            raise KeyServerFailure(CERTIFICATE_EXPIRED)
        if time < ssl.cert_time_to_seconds(checked["notBefore"]):
            raise KeyServerFailure(CERTIFICATE_NOT_TRUSTED)
        checked = issuers.pop(str(checked.get("issuer")), None)


def check_address(
    certificate: Mapping[str, Any], address: str, is_in_ca_file: Callable[[], bool]
) -> str | None:
    """Check that a verified ``certificate`` (as ``getpeercert`` returns it) is for ``address``.

    A certificate without an IP address in subjectAltName is accepted if it is itself in the CA
    file; one without subjectAltName, as older key servers have, also if its common name is the
    address.  A warning is then returned.  Raises KeyServerFailure.
    """
    names = certificate.get("subjectAltName", ())
    addresses = [name for kind, name in names if kind == "IP Address"]
    if any(_same(each, address) for each in addresses):
        return None
    if not addresses and is_in_ca_file():
        lacking = "an IP address in subjectAltName" if names else "subjectAltName"
        return f"accepted without {lacking}: its certificate is the one in its CA file"
    if not names and any(
        kind == "commonName" and _same(name, address)
        for attributes in certificate.get("subject", ())
        for kind, name in attributes
    ):
        return "accepted without subjectAltName: its certificate has the address as common name"
    raise _for_another_address(certificate)


def _for_another_address(certificate: Mapping[str, Any]) -> KeyServerFailure:
    """Return the failure of a server whose ``certificate`` names another address."""
    if "subjectAltName" in certificate:
        found = certificate["subjectAltName"]
        names = [_described(kind, name.strip()) for kind, name in found if isinstance(name, str)]
    else:
        names = [
            name.strip()
            for attributes in certificate.get("subject", ())
            for kind, name in attributes
            if kind == "commonName"
        ]
    if not names:
        return KeyServerFailure(CERTIFICATE_NOT_TRUSTED)
    shown = ", ".join(map(shortened, names[:_MOST_NAMES]))
    more = ", ..." if len(names) > _MOST_NAMES else ""
    return KeyServerFailure(f"its certificate is for {shown}{more}")


def _described(kind: str, name: str) -> str:
    """Return a subjectAltName in words; what only looks like the address differs from it."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name if kind in {"DNS", "IP Address"} else f"{kind} {name}"
    if kind != "IP Address":
        return f"the {kind} name {name}"
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return f"::ffff:{mapped}" if mapped else str(address)


def _same(name: str, address: str) -> bool:
    try:
        return ipaddress.ip_address(name.strip()) == ipaddress.ip_address(address)
    except ValueError:
        return False


def is_in_file(certificate: bytes, ca: Path) -> bool:
    """Return whether the PEM file ``ca`` contains ``certificate`` (DER)."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        trusted = x509.load_pem_x509_certificates(ca.read_bytes())
    except (OSError, ValueError, x509.InvalidVersion):
        return False
    return any(each.public_bytes(Encoding.DER) == certificate for each in trusted)


def rejection(client: Path, now: datetime) -> KeyServerFailure:
    """Return the reason why a key server rejected ``client``: its dates, or anything else."""
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificates(client.read_bytes())[0]
    except (OSError, ValueError, x509.InvalidVersion):
        return KeyServerFailure(CLIENT_CERTIFICATE_REJECTED)
    if now > certificate.not_valid_after_utc:
        date = f"expired on {certificate.not_valid_after_utc:%F %T} UTC"
    elif now < certificate.not_valid_before_utc:
        date = f"is not valid before {certificate.not_valid_before_utc:%F %T} UTC"
    else:
        return KeyServerFailure(CLIENT_CERTIFICATE_REJECTED)
    return KeyServerFailure(f"client certificate {date}")


def failure_of(error: ssl.SSLError, *, shown: bool) -> KeyServerFailure:
    """Return the reason for a TLS error; ``shown``: the client certificate was already sent."""
    if isinstance(error, ssl.SSLCertVerificationError):
        expired = error.verify_code == _X509_V_ERR_CERT_HAS_EXPIRED
        return KeyServerFailure(CERTIFICATE_EXPIRED if expired else CERTIFICATE_NOT_TRUSTED)
    reason = error.reason or ""
    if reason.endswith(_ALERTS_ABOUT_A_CERTIFICATE) or (
        shown and reason.endswith(_ALERT_OF_ANY_KIND)
    ):
        return KeyServerFailure(CLIENT_CERTIFICATE_REJECTED)
    if reason.endswith(_ABOUT_VERSIONS_AND_CIPHERS):
        return KeyServerFailure(NO_TLS_IN_COMMON)
    return KeyServerFailure(NOT_A_KMIP_SERVER)
