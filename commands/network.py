"""ping, ifconfig: the network between the filer and its key servers."""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

from filer.commands import Call, Command, Fields, Subcommand, Suggestion, Unprefixed
from filer.kmip.address import parse_address
from filer.system import Filer


class Alive(Fields):
    """``ping``: a host that answered, and to what."""

    TYPE: ClassVar[str] = "ping"
    host: str
    answered: Literal["icmp", "tcp"]

    def lines(self) -> Iterable[str]:
        """One line."""
        return [f"{self.host} is alive"]


def _ping(call: Call) -> None:
    from filer.network import answers_echo, answers_tcp  # slow to load

    filer = call.filer
    host = parse_address(call.value("host") or "")
    seconds = filer.hardware.timeout
    by_echo = answers_echo(host, seconds, filer.random(16), filer.interrupt.check)
    if by_echo or (by_echo is None and answers_tcp(host, filer.port, seconds)):
        call.show(Alive(host, "icmp" if by_echo else "tcp"))
    else:
        raise Unprefixed(f"no answer from {host}")


class NetworkInterface(Fields):
    """An interface with its addresses; ``netmask`` is null if it is unknown."""

    interface: str
    addresses: Sequence[str]
    netmask: str | None


class Interfaces(Fields):
    """``ifconfig -a``."""

    TYPE: ClassVar[str] = "interfaces"
    interfaces: Sequence[NetworkInterface]

    def lines(self) -> Iterable[str]:
        """An interface, and a line for each of its addresses."""
        for each in self.interfaces:
            is_loopback = each.interface == _LOOPBACK
            names = ("UP", *(("LOOPBACK",) if is_loopback else ()), "RUNNING")
            flags = sum(_FLAGS[name] for name in names)
            yield f"{each.interface}: flags=0x{flags:x}<{','.join(names)}>"
            for address in each.addresses:
                if ":" in address:
                    yield f"\tinet6 {address}"
                else:
                    yield f"\tinet {address}{_mask(each.netmask)}"


_LOOPBACK = "lo"
_FLAGS = {"UP": 0x1, "LOOPBACK": 0x8, "RUNNING": 0x40}


def _mask(netmask: str | None) -> str:
    return f" netmask 0x{int(ipaddress.IPv4Address(netmask)):08x}" if netmask else ""


def interfaces_of(filer: Filer) -> Sequence[NetworkInterface]:
    """Return the interface that reaches the key servers, and the loopback interface.

    The first has the address that LOADER gave to kmip_init, and those from which the host reaches
    registered key servers.
    """
    from filer.network import source_of  # slow to load

    given = filer.boot_arguments.interface
    found = dict.fromkeys([given.address] if given else [])
    found.update(
        (source, None) for server in filer.registration.servers if (source := source_of(server))
    )
    loopback = {address for address in found if ipaddress.ip_address(address).is_loopback}
    here = [address for address in found if address not in loopback]
    interfaces = [
        NetworkInterface(_LOOPBACK, ["127.0.0.1", *sorted(loopback - {"127.0.0.1"})], "255.0.0.0")
    ]
    if here:
        name = given.name if given else "e0M"
        netmask = given.netmask or None if given and here == [given.address] else None
        interfaces.insert(0, NetworkInterface(name, here, netmask))
    return interfaces


def _ifconfig(call: Call) -> None:
    call.show(Interfaces(interfaces_of(call.filer)))


def _key_servers(filer: Filer) -> Iterable[Suggestion]:
    return [(address, "registered") for address in filer.registration.servers]


COMMANDS = (
    Command(
        "ping",
        "ask a host for an answer",
        Subcommand("ping host", _ping, values={"host": _key_servers}, changes=False),
    ),
    Command(
        "ifconfig",
        "print the interfaces that reach the key servers",
        Subcommand("ifconfig -a", _ifconfig, options={"-a": "all of them"}, changes=False),
    ),
)
