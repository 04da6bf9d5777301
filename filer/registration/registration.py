"""The registered key servers, and the certificate files copied for them."""

from collections.abc import Mapping
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

    def missing(self) -> list[str]:
        """Return the names of the certificate files that these servers need but that are absent."""
        if not self.servers:
            return []
        needed = (CLIENT, CLIENT_PRIVATE, *map(ca_name, self.servers))
        return [name for name in needed if name not in self.certificates]
