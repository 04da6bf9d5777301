"""The network interface from which the filer reaches key servers during a boot."""

import ipaddress
from typing import NamedTuple


class Interface(NamedTuple):
    """An interface with an IPv4 ``address``; it has no part in connections over IPv6.

    ``netmask`` and ``gateway`` may be empty.  Without a netmask every server can be reached.
    """

    name: str
    address: str
    netmask: str = ""
    gateway: str = ""

    def serves(self, server: str) -> bool:
        """Return whether connections to ``server``, an IP address, come from this interface."""
        return ":" not in server

    def reaches(self, server: str) -> bool:
        """Return whether ``server`` is in the network of the interface or behind its gateway."""
        return not self.netmask or self._has(server) or self.has_gateway

    @property
    def has_gateway(self) -> bool:
        """Whether there is a gateway in the network of the interface."""
        return bool(self.gateway) and self._has(self.gateway)

    def _has(self, address: str) -> bool:
        network = ipaddress.ip_network(f"{self.address}/{self.netmask}", strict=False)
        return ipaddress.ip_address(address) in network
