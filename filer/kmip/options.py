"""Options of the programs that run or try out key servers."""

import argparse
import math
from collections.abc import Sequence
from functools import partial
from ipaddress import ip_address

from filer.kmip.address import AddressError, parse_address, parse_port

DEFAULT_PORT = 5696
"""The TCP port assigned to KMIP by IANA."""

DEFAULT_TIMEOUT = 5.0
"""Seconds for one answer."""

MOST_SECONDS = 3600
"""The longest time for one answer that a user may choose."""


def address(text: str) -> str:
    """Return the address in the argument.  Raises ArgumentTypeError."""
    try:
        return parse_address(text)
    except AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def port(text: str, *, least: int = 1) -> int:
    """Return the TCP port in the argument, at least ``least``.  Raises ArgumentTypeError."""
    try:
        return parse_port(text, least=least)
    except AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


port_or_any = partial(port, least=0)
"""Like `port`; 0 stands for a port that is free."""


def seconds(text: str) -> float:
    """Return the seconds in the argument, such as ``5`` or ``60s``.  Raises ArgumentTypeError."""
    try:
        found = float(text.removesuffix("s"))
    except ValueError:
        found = math.nan
    if not 0 < found <= MOST_SECONDS:
        raise argparse.ArgumentTypeError(
            f'"{text}" is not a number of seconds (up to {MOST_SECONDS})'
        )
    return found


def add_target(parser: argparse.ArgumentParser) -> None:
    """Add the key servers to try out, and the options to reach them."""
    parser.add_argument("addresses", metavar="IP", nargs="*", type=address, help=argparse.SUPPRESS)
    parser.add_argument(
        "--port",
        type=port,
        default=DEFAULT_PORT,
        metavar="PORT",
        help=f"TCP port (default: {DEFAULT_PORT})",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=DEFAULT_TIMEOUT,
        metavar="S",
        help=f"seconds for one answer (default: {DEFAULT_TIMEOUT:g})",
    )


def add_consent(parser: argparse.ArgumentParser) -> None:
    """Add the option with which the user agrees to a target that is another machine."""
    parser.add_argument(
        "--yes-this-is-my-server", action="store_true", help="it may be another machine"
    )


def objection_to(addresses: Sequence[str], *, agreed: bool) -> str | None:
    """Return why key servers must not be used before the user has agreed, or None."""
    others = [each for each in addresses if not ip_address(each).is_loopback]
    if agreed or not others:
        return None
    return (
        f"{others[0]} is another machine, on which objects would be registered and destroyed; "
        "if it is yours, add --yes-this-is-my-server"
    )
