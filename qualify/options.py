"""The command line of ``filer-qualify``."""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial

from filer.host.command_line import Parser, add_completion_and_version, directory, file
from filer.host.text import nearest
from filer.kmip.options import add_consent, add_target, objection_to, seconds
from filer.throw_away.options import cleanup_parser

PROGRAM = "filer-qualify"
FORMATS = ("text", "json", "junit")
_DEFAULT_IDLE = 30.0


def parse(argv: Sequence[str] | None, names: Callable[[], Sequence[str]]) -> argparse.Namespace:
    """Parse the command line; ``names`` returns the names of the checks.

    Ends the program with status 2 if it is called wrongly.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["cleanup"]:
        return cleanup_parser(PROGRAM, "run").parse_args(
            words[1:], argparse.Namespace(command="cleanup")
        )
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


def _parser() -> Parser:
    parser = Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [options] --certs DIR IP... | cleanup LEDGER",
        description="Check whether key servers are fit for a filer, with throw-away keys.",
        formatter_class=partial(argparse.HelpFormatter, max_help_position=30),
        allow_abbrev=False,
    )
    add = parser.add_argument
    add_target(parser)
    add("--certs", metavar="DIR", type=directory, help="client.pem, client_private.pem, IP_CA.pem")
    add("--login", nargs=2, metavar=("USER", "FILE"), help="user, and a file with the password")
    add("--format", choices=FORMATS, default="text", help="of the report (default: text)")
    add("--verbose", action="store_true", help="show the requests of all checks")
    add("--check", metavar="CHECK", action="append", default=[], help="only this; repeatable")
    add("--explain", metavar="CHECK", nargs="?", const="", help="explain a check, or list all")
    add("--other-cert", metavar="FILE", type=file, help="client that must not see the keys")
    add("--partner-cert", metavar="FILE", type=file, help="HA partner, which must see them")
    add(
        "--idle",
        type=seconds,
        default=_DEFAULT_IDLE,
        metavar="S",
        help=f"seconds of an idle connection (default: {_DEFAULT_IDLE:g})",
    )
    add("--ledger", metavar="FILE", type=file, help="default: in the XDG state home")
    add("--keep", action="store_true", help="leave a key for --after-restart")
    add("--after-restart", metavar="FILE", type=file, help="read the key that this ledger names")
    add_consent(parser)
    add_completion_and_version(add, PROGRAM)
    return parser
