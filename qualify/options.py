"""The command line of ``filer-qualify``."""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path

from filer import __version__
from filer.host.command_line import Parser, PrintCompletion, directory
from filer.host.text import nearest
from filer.kmip.address import AddressError, parse_address, parse_port

PROGRAM = "filer-qualify"
FORMATS = ("text", "json", "junit")
_DEFAULT_PORT = 5696
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
    if arguments.explain or arguments.list:
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
        usage=f"{PROGRAM} [options] --certs DIR IP [IP ...]\n"
        f"       {PROGRAM} cleanup [options] LEDGER\n"
        f"       {PROGRAM} --explain CHECK",
        description="Check whether a key server is fit for a filer. It registers throw-away keys, "
        "and destroys them. DIR has the files of a filer: client.pem, client_private.pem, "
        "IP_CA.pem.",
        allow_abbrev=False,
    )
    parser.add_argument("addresses", metavar="IP", nargs="*", type=_address, help="a key server")
    parser.add_argument("--certs", metavar="DIR", type=directory, help="the certificates")
    parser.add_argument(
        "--port",
        type=_port,
        default=_DEFAULT_PORT,
        metavar="PORT",
        help=f"TCP port (default: {_DEFAULT_PORT})",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=5.0,
        metavar="S",
        help="seconds for one answer, as [kmip] timeout of the filer (default: 5)",
    )
    parser.add_argument(
        "--format", choices=FORMATS, default="text", help="of the report (default: text)"
    )
    parser.add_argument(
        "--verbose", action="store_true", help="show the requests and answers of all checks"
    )
    parser.add_argument(
        "--check",
        metavar="CHECK",
        action="append",
        default=[],
        help="make only this check; repeatable",
    )
    parser.add_argument("--list", action="store_true", help="list the checks, and exit")
    parser.add_argument("--explain", metavar="CHECK", help="explain a check, and exit")
    parser.add_argument(
        "--other-cert",
        metavar="FILE",
        type=_file,
        help="a second client certificate with its private key, which must see nothing",
    )
    parser.add_argument(
        "--partner-cert",
        metavar="FILE",
        type=_file,
        help="the client certificate of the HA partner with its private key",
    )
    parser.add_argument(
        "--idle",
        type=_seconds,
        default=30.0,
        metavar="S",
        help="seconds that a connection is idle (default: 30)",
    )
    parser.add_argument(
        "--ledger", metavar="FILE", type=_file, help="default: in the XDG state home"
    )
    parser.add_argument("--keep", action="store_true", help="leave one pair for --after-restart")
    parser.add_argument(
        "--after-restart",
        metavar="FILE",
        type=_file,
        help="read the pair that --keep left in this ledger, and destroy it",
    )
    _add_common(parser)
    parser.add_argument(
        "--print-completion",
        metavar="SHELL",
        action=PrintCompletion,
        help="print the completion for bash or zsh",
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    return parser


def _cleanup_parser() -> Parser:
    parser = Parser(
        prog=f"{PROGRAM} cleanup",
        description="Destroy what a run has left, as its ledger says.",
        allow_abbrev=False,
    )
    parser.add_argument("ledger", metavar="LEDGER", type=_file, help="the ledger of the run")
    parser.add_argument("--certs", metavar="DIR", type=directory, help="default: those of the run")
    _add_common(parser)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--yes-this-is-my-server",
        action="store_true",
        help="agree to the use of a key server on another machine",
    )


def _file(text: str) -> Path:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError("not the name of a file")
    return Path(text).absolute()


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
