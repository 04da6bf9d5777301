"""Checks of TLS: versions, and the certificates of both sides."""

import ssl
import warnings
from datetime import timedelta
from pathlib import Path

from filer.host.text import printable
from filer.kmip.connection import Deadline, TlsConnection
from filer.kmip.failure import (
    CONNECTION_REFUSED,
    UNREACHABLE,
    KeyServerFailure,
)
from filer.kmip.requests import SPOKEN
from filer.kmip.tls import check_address, is_in_file
from filer.qualify.certificates import unverified
from filer.qualify.outcome import BLOCKER, WARNING, NotTested, Problem, Statements, Stop, check
from filer.qualify.server import Server
from filer.throw_away.line import understands, verified

_NOTICE = timedelta(days=30)
_MODERN = (("TLS 1.3", ssl.TLSVersion.TLSv1_3), ("TLS 1.2", ssl.TLSVersion.TLSv1_2))


@check(BLOCKER)
def tls_versions(server: Server) -> Statements:
    """TLS 1.3 or 1.2 is accepted, and TLS 1.1 is refused

    A handshake with TLS 1.3 alone, with 1.2 alone and with 1.1 alone, each with the client
    certificate. Passes if 1.3 or 1.2 is accepted; 1.1 accepted is a warning.

    A filer uses TLS 1.2 or 1.3. A server with neither cannot be used; one that still accepts 1.1
    lets a weak connection be negotiated by others.
    """
    accepted = []
    reasons = {}
    for name, version in (*_MODERN, ("TLS 1.1", ssl.TLSVersion.TLSv1_1)):
        try:
            accepted.append(name)
            yield f"{name} is accepted ({_cipher(server, version)})"
        except KeyServerFailure as failure:
            accepted.remove(name)
            reasons[name] = failure.reason
            if failure.reason in (CONNECTION_REFUSED, UNREACHABLE):
                yield Problem(BLOCKER, failure.reason)
                raise Stop("there is no connection") from None
            yield f"{name} is refused"
    if "TLS 1.1" in accepted:
        yield Problem(WARNING, "it accepts TLS 1.1")
    if not {"TLS 1.3", "TLS 1.2"} & set(accepted):
        yield Problem(BLOCKER, f"it accepts neither TLS 1.3 nor 1.2: {reasons['TLS 1.2']}")
        raise Stop("there is no connection")


def _cipher(server: Server, version: ssl.TLSVersion) -> str:
    files = server.credentials()
    context = unverified(files.client, files.client_private)
    if version is ssl.TLSVersion.TLSv1_1:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")  # OpenSSL does not offer it otherwise
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # TLS 1.1
        context.minimum_version = context.maximum_version = version
    deadline = Deadline(server.settings.timeout)
    with TlsConnection(server.address, server.port, context, deadline) as connection:
        connection.handshake()
        return connection.cipher()


@check(BLOCKER)
def server_certificate(server: Server) -> Statements:
    """The server's certificate is trusted, is for its address, and does not expire soon

    A handshake as a filer makes it. Passes if the certificate is issued by IPADDR_CA.pem, may be
    used by a server, has the address in its subjectAltName, and is valid for 30 days or more;
    fewer days, or no subjectAltName, are a warning.

    A filer sends nothing to a server whose certificate it does not trust. When the certificate
    expires, every filer loses the server at the same moment.
    """
    files = server.credentials()
    deadline = Deadline(server.settings.timeout)
    try:
        context = verified(files)
        with TlsConnection(server.address, server.port, context, deadline) as connection:
            connection.handshake()
            certificate, der = connection.peer_certificate()
            warning = check_address(
                certificate, server.address, is_in_ca_file=lambda: is_in_file(der, files.ca)
            )
    except KeyServerFailure as failure:
        yield Problem(BLOCKER, failure.reason)
        raise Stop("its certificate is not accepted") from None
    if warning is not None:
        yield Problem(WARNING, warning)
    from cryptography import x509

    parsed = x509.load_der_x509_certificate(der)
    end = parsed.not_valid_after_utc
    yield f"issued by {printable(parsed.issuer.rfc4514_string())}, valid until {end:%F}"
    if end - server.now() < _NOTICE:
        yield Problem(WARNING, f"it expires on {end:%F}")


@check(BLOCKER)
def client_certificate(server: Server) -> Statements:
    """Clients without a valid certificate of the right authority are refused

    A Locate without a client certificate, with one of another authority, and with an expired one
    (which the authority in DIR must be able to issue). Passes if all are refused.

    Without this, everybody who reaches the port can read the keys.
    """
    yield from _refused(server, "no client certificate", None)
    yield from _refused(
        server, "a certificate of another authority", server.certificates.stranger()
    )
    try:
        expired = server.certificates.issued("expired", expired=True)
    except NotTested:
        yield "an expired certificate is not tried: DIR has no authority that could issue one"
        return
    yield from _refused(server, "an expired certificate", expired)


def _refused(server: Server, words: str, client: Path | None) -> Statements:
    try:
        with server.line_with(unverified(client)) as line:
            for version in SPOKEN:
                if understands(line.ask(server.unknown_name(), version=version)):
                    yield Problem(BLOCKER, f"{words} is accepted")
                    return
    except KeyServerFailure:
        pass
    yield f"{words} is refused"
