"""The command line of ``filer-storm``."""

import argparse
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from filer.host.command_line import Parser, add_completion_and_version, directory, file
from filer.kmip.options import add_consent, add_target, objection_to, seconds
from filer.kmip.options import port as port_number
from filer.storm.catalogue import BUILT_IN
from filer.storm.plan import PROGRAM
from filer.throw_away.options import cleanup_parser

_DEFAULT_WITHIN = 60.0
LOOPBACK = "127.0.0.1"
CONTROL_PORT = 5557
"""The TCP port on which a master listens, as Locust's does."""

_MOST_SERVERS = 4
_MOST = 100_000


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line.  Ends the program with status 2 if it is called wrongly."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["cleanup"]:
        return cleanup_parser(PROGRAM, "storm").parse_args(
            words[1:], argparse.Namespace(command="cleanup")
        )
    parser = _parser()
    arguments = parser.parse_args(words, argparse.Namespace(command=None))
    if not arguments.certs:
        parser.error("give the directory of the certificates with --certs DIR")
    arguments.addresses = list(dict.fromkeys(arguments.addresses))
    if arguments.worker:
        if arguments.addresses or arguments.workers:
            parser.error("a worker gets the key servers and all numbers from its master")
    elif not arguments.addresses:
        parser.error("give the IP address of a key server")
    if len(arguments.addresses) > _MOST_SERVERS:
        parser.error("a filer has at most four key servers")
    if arguments.keep and arguments.stocked:
        parser.error("--keep and --stocked exclude each other")
    for report in (arguments.html, arguments.json, arguments.junit):
        if report and not report.parent.is_dir():
            parser.error(f"{report.parent} is not a directory")
    if reason := objection_to(arguments.addresses, agreed=arguments.yes_this_is_my_server):
        parser.error(reason)
    return arguments


def _parser() -> Parser:
    parser = Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [options] --certs DIR IP... | --worker HOST | cleanup LEDGER",
        description="Let many filers boot at once. More options: man filer-storm",
        formatter_class=partial(argparse.HelpFormatter, max_help_position=30),
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--certs", metavar="DIR", type=directory, help="client.pem, client_private.pem, IP_CA.pem")
    add_target(parser)
    add("--filers", metavar="N", type=_number, default=200, help="how many (default: 200)")
    add("--pairs", metavar="N", type=_number, default=128, help="of each filer (default: 128)")
    add(
        "--scenario",
        metavar="NAME",
        type=_scenario,
        default="boot",
        help="boot, rekey or FILE.py (default: boot)",
    )
    add("--tagged", action="store_true", help="one client certificate for all filers")
    add(
        "--within",
        metavar="S",
        type=seconds,
        default=_DEFAULT_WITHIN,
        help=f"seconds for all filers (default: {_DEFAULT_WITHIN:g})",
    )
    add("--workers", metavar="N", type=_number, help="processes that drive load (default: 1)")
    roles = parser.add_mutually_exclusive_group()
    roles.add_argument("--master", action="store_true", help="the workers are on other machines")
    roles.add_argument("--worker", metavar="HOST", type=_host, help="drive load for a master")
    hidden = argparse.SUPPRESS  # so that the help fits a screen; the manual page has them
    add("--bind", metavar="HOST", type=_host, default=(LOOPBACK, CONTROL_PORT), help=hidden)
    add("--html", metavar="FILE", type=file, help="write a report with charts")
    add("--json", metavar="FILE", type=file, help="write a report for programs")
    add("--junit", metavar="FILE", type=file, help="write a report for CI")
    add("--keep", action="store_true", help=hidden)
    add("--stocked", action="store_true", help=hidden)
    add("--ledger", metavar="FILE", type=file, help=hidden)
    add_consent(parser)
    add_completion_and_version(add, PROGRAM)
    return parser


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _MOST):
        raise argparse.ArgumentTypeError(f'"{text}" is not a number from 1 to {_MOST}')
    return int(text)


def _host(text: str) -> tuple[str, int]:
    """Return the machine and the TCP port in ``HOST[:PORT]``."""
    host, colon, behind = text.partition(":")
    if not re.fullmatch("[A-Za-z0-9._-]+", host):
        raise argparse.ArgumentTypeError(f'"{text}" is not HOST or HOST:PORT')
    return host, port_number(behind) if colon else CONTROL_PORT


def _scenario(text: str) -> str:
    if text in BUILT_IN:
        return text
    path: Path = file(text)
    if path.suffix != ".py":
        raise argparse.ArgumentTypeError(
            f'"{text}" is neither {" nor ".join(BUILT_IN)} nor a file FILE.py'
        )
    if not path.is_file():
        raise argparse.ArgumentTypeError(f'there is no file "{text}"')
    return str(path)
