"""The network as the filer sees it: hosts that answer, and the addresses that reach them."""

import select
import socket
import time
from collections.abc import Callable
from contextlib import closing

from filer.kmip.connection import reach
from filer.kmip.failure import CONNECTION_REFUSED, KeyServerFailure

_SLICE = 0.1
"""Seconds between two checks for Ctrl-C."""

_ECHO_REQUEST, _ECHO_REPLY = {False: 8, True: 128}, {False: 0, True: 129}
"""The types of ICMP, and of ICMPv6 for True."""

_HEADER = 8


def icmp_socket(is_ipv6: bool) -> socket.socket:
    """Return a socket that sends ICMP, or ICMPv6.  Raises OSError if that is not permitted."""
    if is_ipv6:
        return socket.socket(socket.AF_INET6, socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6)
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)


def answers_echo(
    address: str,
    seconds: float,
    payload: bytes,
    check: Callable[[], object],
    open_socket: Callable[[bool], socket.socket] = icmp_socket,
) -> bool | None:
    """Return whether ``address`` answers an ICMP echo request within ``seconds``.

    ``payload`` identifies the answer.  Returns None if this process may not send one.  ``check`` is
    called now and then, and may raise.
    """
    is_ipv6 = ":" in address
    try:
        connection = open_socket(is_ipv6)
    except OSError:
        return None
    # The kernel fills in the identifier and the checksum, and delivers our answers only.
    request = bytes((_ECHO_REQUEST[is_ipv6], *(0,) * (_HEADER - 1))) + payload
    end = time.monotonic() + seconds
    with closing(connection):
        try:
            connection.connect((address, 0))
            connection.send(request)
            while (left := end - time.monotonic()) > 0:
                check()
                if select.select([connection], [], [], min(_SLICE, left))[0]:
                    answer = _without_ip_header(connection.recv(4096), is_ipv6=is_ipv6)
                    if answer[:1] == bytes((_ECHO_REPLY[is_ipv6],)) and answer.endswith(payload):
                        return True
        except PermissionError:
            return None
        except OSError:
            return False
    return False


def _without_ip_header(answer: bytes, *, is_ipv6: bool) -> bytes:
    """Return an answer without the IPv4 header that macOS leaves in front of it."""
    if is_ipv6 or not answer or answer[0] >> 4 != 4:
        return answer
    return answer[(answer[0] & 15) * 4 :]


def answers_tcp(address: str, port: int, seconds: float) -> bool:
    """Return whether ``address`` accepts or refuses a TCP connection within ``seconds``."""
    try:
        reach(address, port, seconds)
    except KeyServerFailure as failure:
        return failure.reason == CONNECTION_REFUSED
    return True


def source_of(address: str) -> str | None:
    """Return the address of this host from which it reaches ``address``; None if it cannot."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as unsent:
        try:
            unsent.connect((address, 9))  # sends nothing
        except OSError:
            return None
        return str(unsent.getsockname()[0])
