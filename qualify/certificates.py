"""The client certificates of a run: those in the user's directory, and ones made for a check."""

import ssl
from pathlib import Path

from filer.host.durable import Storage
from filer.kmip.client import Credentials
from filer.qualify.outcome import NotTested
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name
from filer.throw_away.certificates import Authority, NoAuthority


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
                authority = Authority.of(self._directory)
            except NoAuthority as reason:
                raise NotTested(
                    f"give a second client certificate with --other-cert ({reason})"
                ) from None
            Storage().write(path, authority.issue(f"filer-qualify {name}", expired=expired))
        return path

    def stranger(self) -> Path:
        """Return a client certificate of an authority that the server does not know."""
        path = self._scratch / "stranger.pem"
        if not path.exists():
            Storage().write(path, Authority().issue("filer-qualify stranger"))
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
