"""The command line of ``filer-qualify``."""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_address

from filer import __version__
from filer.host.command_line import Parser, PrintCompletion, directory, file
from filer.host.text import nearest
from filer.kmip.address import AddressError, parse_address, parse_port

PROGRAM = "filer-qualify"
FORMATS = ("text", "json", "junit")
_DEFAULT_PORT = 5696
_DEFAULT_TIMEOUT = 5.0
_DEFAULT_IDLE = 30.0
_MOST_SECONDS = 3600


def parse(argv: Sequence[str] | None, names: Callable[[], Sequence[str]]) -> argparse.Namespace:
    """Parse the command line; ``names`` returns the names of the checks.

    Ends the program with status 2 if it is called wrongly.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["cleanup"]:
        return _cleanup_parser().parse_args(words[1:], argparse.Namespace(command="cleanup"))
    parser = _parser()
    arguments = parser.parse_args(words, argparse.Namespace(command=None))
    for chosen in (*arguments.check, *filter(None, (arguments.explain,))):
        if chosen not in names():
            near = nearest(chosen, names())
            hint = f'; did you mean "{near}"?' if near else f" ({', '.join(names())})"
            parser.error(f'there is no check "{chosen}"{hint}')
    if arguments.explain is not None:
        return arguments
    if not arguments.certs:
        parser.error("give the directory of the certificates with --certs DIR")
    if not arguments.addresses:
        parser.error("give the IP address of a key server")
    arguments.addresses = list(dict.fromkeys(arguments.addresses))
    if arguments.keep and arguments.after_restart:
        parser.error("--keep and --after-restart exclude each other")
    if reason := objection_to(arguments.addresses, agreed=arguments.yes_this_is_my_server):
        parser.error(reason)
    return arguments


def objection_to(addresses: Sequence[str], *, agreed: bool) -> str | None:
    """Return why key servers must not be used before the user has agreed, or None."""
    others = [each for each in addresses if not ip_address(each).is_loopback]
    if agreed or not others:
        return None
    return (
        f"{others[0]} is another machine, on which objects would be registered and destroyed; "
        "if it is yours, add --yes-this-is-my-server"
    )


def _parser() -> Parser:
    parser = Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [options] --certs DIR IP... | cleanup LEDGER",
        description="Check whether key servers are fit for a filer, with throw-away keys.",
        formatter_class=partial(argparse.HelpFormatter, max_help_position=30),
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("addresses", metavar="IP", nargs="*", type=_address, help=argparse.SUPPRESS)
    add("--certs", metavar="DIR", type=directory, help="client.pem, client_private.pem, IP_CA.pem")
    add(
        "--port",
        type=_port,
        default=_DEFAULT_PORT,
        metavar="PORT",
        help=f"TCP port (default: {_DEFAULT_PORT})",
    )
    add(
        "--timeout",
        type=_seconds,
        default=_DEFAULT_TIMEOUT,
        metavar="S",
        help=f"seconds for one answer (default: {_DEFAULT_TIMEOUT:g})",
    )
    add("--login", nargs=2, metavar=("USER", "FILE"), help="user, and a file with the password")
    add("--format", choices=FORMATS, default="text", help="of the report (default: text)")
    add("--verbose", action="store_true", help="show the requests of all checks")
    add("--check", metavar="CHECK", action="append", default=[], help="only this; repeatable")
    add("--explain", metavar="CHECK", nargs="?", const="", help="explain a check, or list all")
    add("--other-cert", metavar="FILE", type=file, help="client that must not see the keys")
    add("--partner-cert", metavar="FILE", type=file, help="HA partner, which must see them")
    add(
        "--idle",
        type=_seconds,
        default=_DEFAULT_IDLE,
        metavar="S",
        help=f"seconds of an idle connection (default: {_DEFAULT_IDLE:g})",
    )
    add("--ledger", metavar="FILE", type=file, help="default: in the XDG state home")
    add("--keep", action="store_true", help="leave a key for --after-restart")
    add("--after-restart", metavar="FILE", type=file, help="read the key that this ledger names")
    _add_consent(parser)
    add(
        "--print-completion",
        metavar="SHELL",
        action=PrintCompletion,
        help="print the completion for bash or zsh",
    )
    add("--version", action="version", version=f"{PROGRAM} {__version__}")
    return parser


def _cleanup_parser() -> Parser:
    parser = Parser(
        prog=f"{PROGRAM} cleanup",
        description="Destroy what a run has left, as its ledger says.",
        allow_abbrev=False,
    )
    parser.add_argument("ledger", metavar="LEDGER", type=file, help="the ledger of the run")
    parser.add_argument("--certs", metavar="DIR", type=directory, help="default: those of the run")
    _add_consent(parser)
    return parser


def _add_consent(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--yes-this-is-my-server", action="store_true", help="it may be another machine"
    )


def _address(text: str) -> str:
    try:
        return parse_address(text)
    except AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _port(text: str) -> int:
    try:
        return parse_port(text)
    except AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _MOST_SECONDS:
        raise argparse.ArgumentTypeError(
            f'"{text}" is not a number of seconds (up to {_MOST_SECONDS})'
        )
    return seconds
