"""Addresses of key servers (IPv4 or IPv6, never a name: man key_manager, BUGS), and TCP ports."""

import ipaddress
import re

from filer.host.errors import FilerError
from filer.host.quoting import quoted

HIGHEST_PORT = 65535


class AddressError(FilerError):
    """An invalid key server address or TCP port."""


def parse_address(text: str) -> str:
    """Return the address in ``text`` in canonical form.

    An IPv4 address in IPv6 notation (``::ffff:127.0.0.2``) becomes the IPv4 address, so that no
    server has two names.  Raises AddressError for anything else: a DNS name, an address with a
    port or a zone, and addresses that do not belong to a single server.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise _no_address(text) from None
    if isinstance(address, ipaddress.IPv6Address):
        # A zone names an interface of this host, and a certificate cannot contain it.
        if address.scope_id is not None:
            raise _no_address(text)
        address = address.ipv4_mapped or address
    for refused, kind in (
        (address.is_unspecified, "the unspecified"),
        (address.is_multicast, "a multicast"),
        (address == _BROADCAST, "the broadcast"),
    ):
        if refused:
            raise AddressError(f'"{address}" is {kind} address, not that of a key server')
    return str(address)


def parse_port(text: str, *, least: int = 1) -> int:
    """Return the TCP port in ``text``, at least ``least``.  Raises AddressError."""
    if re.fullmatch("[0-9]{1,5}", text) and least <= int(text) <= HIGHEST_PORT:
        return int(text)
    raise AddressError(f"{quoted(text)} is not a TCP port ({least} to {HIGHEST_PORT})")


_BROADCAST = ipaddress.IPv4Address("255.255.255.255")


def _no_address(text: str) -> AddressError:
    return AddressError(f"{quoted(text)} is not an IP address; key servers cannot be named by DNS")
