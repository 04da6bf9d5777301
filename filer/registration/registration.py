"""The registered key servers, and the certificate files copied for them."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name

MAXIMUM = 4
"""Maximum number of registered key servers (man key_manager, DESCRIPTION)."""


class Registration(NamedTuple):
    """The registered key servers, in order, and the certificate files copied for them.

    ``port`` and ``default_tag`` are None until the user sets them in setup.
    """

    servers: tuple[str, ...] = ()
    port: int | None = None
    default_tag: str | None = None
    certificates: Mapping[str, bytes] = MappingProxyType({})

    def __repr__(self) -> str:
        """Omit the certificate files, because they include a private key."""
        return f"Registration({self.servers}, {self.port}, {self.default_tag!r}, ...)"

    def changes_since(self, before: "Registration") -> Iterator[tuple[str, str]]:
        """Yield the event and the text of each difference, for the system log."""
        for address in self.servers:
            if address not in before.servers:
                yield "kmip.server.registered", f"key server {address} registered"
        for address in before.servers:
            if address not in self.servers:
                yield "kmip.server.removed", f"key server {address} removed"
        for name, data in self.certificates.items():
            if before.certificates.get(name) != data:
                yield "kmip.cert.registered", f"{name} registered"
        if (self.port, self.default_tag) != (before.port, before.default_tag):
            text = f"port {self.port}, default key tag {self.default_tag}"
            yield "kmip.config.changed", text

    def missing(self) -> list[str]:
        """Return the names of the certificate files that these servers need but that are absent."""
        if not self.servers:
            return []
        needed = (CLIENT, CLIENT_PRIVATE, *map(ca_name, self.servers))
        return [name for name in needed if name not in self.certificates]
