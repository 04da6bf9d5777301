"""What is registered: key servers, and the certificate files copied for them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name

MAXIMUM = 4
"""Key servers that can be registered (man key_manager, DESCRIPTION)."""


class Registration(NamedTuple):
    """The registered key servers, in order, and the certificate files copied for them.

    ``port`` and ``default_tag`` are None until setup has asked for them.
    """

    servers: tuple[str, ...] = ()
    port: int | None = None
    default_tag: str | None = None
    certificates: Mapping[str, bytes] = MappingProxyType({})

    def __repr__(self) -> str:
        """Show no certificate file: a private key is among them."""
        return f"Registration({self.servers}, {self.port}, {self.default_tag!r}, ...)"

    def missing(self) -> list[str]:
        """Return the certificate files without which these servers cannot be talked to."""
        if not self.servers:
            return []
        needed = (CLIENT, CLIENT_PRIVATE, *map(ca_name, self.servers))
        return [name for name in needed if name not in self.certificates]
