"""The command line of the program ``filer``."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from ipaddress import IPv4Address, IPv6Address

from filer.host.command_line import Parser, add_completion_and_version, directory
from filer.host.user_paths import default_root

_HIGHEST_PORT = 65535
_NOT_FOR_A_SERVER = ("-c", "FILE", "-e", "-x", "--format json", "--record", "--replay")
_SSH = ("--ssh", "--ssh-password")
_NOT_WITH = {
    "FILE": ("-c",),
    "--root": ("--demo",),
    "--pair": (*_NOT_FOR_A_SERVER, "--root", "--check", "--new-pair"),
    "--ssh": (*_NOT_FOR_A_SERVER, "--ssh-password"),
    "--ssh-password": (*_NOT_FOR_A_SERVER, "--demo"),
    "--record": ("--format json",),
    "--replay": ("-c", "FILE", "-e", "-x", "--format json", "--record"),
    "--check": ("-c", "-e", "-x", "--demo", "--root", "--record", "--replay", *_SSH),
    "--new-pair": ("-c", "FILE", "-e", "-x", "--demo", "--root", "--record", "--replay", "--check"),
}
"""The options that each option excludes."""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line.  An invalid one ends the program with status 2."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.format == "json" and is_interactive(options):
        parser.error("--format json needs FILE, -c, or a standard input that is not a terminal")
    _refuse_together(parser, options)
    if options.root is None and not (options.demo or options.check or options.new_pair):
        options.root = default_root()
        if options.root is None:
            parser.error("your home directory is unknown; use --root DIR, or set HOME")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="filer",
        usage="filer [options] [FILE ...]",
        description="The console of a filer with Storage Encryption.",
        formatter_class=partial(argparse.HelpFormatter, max_help_position=30),
        allow_abbrev=False,
        add_help=False,
    )
    add = parser.add_argument_group("options").add_argument  # one list, which fits on a screen
    add("files", metavar="FILE", nargs="*", help="run the commands in FILE ('-': standard input)")
    add("-h", "--help", action="help", help="show this help message and exit")
    add(
        "-c",
        "--command",
        metavar="CMD",
        action="append",
        help="run CMD, then halt; may be repeated, in order",
    )
    add("-e", "--exit-on-error", action="store_true", help="stop at the first failed command")
    add("-x", "--echo", action="store_true", help="print prompt and command too, as a log does")
    add(
        "--format",
        choices=("text", "json"),
        default="text",
        help="how results are printed (default: text)",
    )
    add(
        "--root",
        metavar="DIR",
        type=directory,
        help="the root directory (or FILER_ROOT; default: XDG)",
    )
    add("--demo", action="store_true", help="a temporary root, with two live key servers")
    add("--pair", action="store_true", help="with --demo: both nodes of an HA pair")
    add("--new-pair", metavar="DIR", type=directory, help="make the roots of an HA pair below DIR")
    add("--record", metavar="FILE", help="record the session in a new asciicast file")
    add("--check", action="store_true", help="check the commands in FILE, and run none")
    add("--replay", metavar="FILE", help="run a recording again and show what differs")
    add("--allow-data-loss", action="store_true", help="let a recording confirm the loss of data")
    add(
        "--ssh",
        metavar="[ADDRESS:]PORT",
        type=_address_and_port,
        help="serve the console over SSH",
    )
    add("--ssh-password", metavar="USER", help="set the password of USER for --ssh")
    add_completion_and_version(add, "filer")
    return parser


def is_interactive(options: argparse.Namespace) -> bool:
    """Say whether a person types the commands at a prompt."""
    return not options.command and not options.files and sys.stdin.isatty()


def is_console(options: argparse.Namespace) -> bool:
    """Say whether the program runs as an interactive console on its own terminal."""
    others = options.ssh, options.ssh_password, options.replay, options.new_pair
    is_other = options.pair or any(other is not None for other in others)
    return is_interactive(options) and not is_other


def _refuse_together(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.allow_data_loss and options.replay is None:
        parser.error("--allow-data-loss goes with --replay only")
    if options.pair and not options.demo:
        parser.error("--pair goes with --demo only; --new-pair makes a pair")
    if options.pair and options.ssh and options.ssh[1] == _HIGHEST_PORT:
        parser.error(f"--ssh: the second node needs the port after {_HIGHEST_PORT}")
    if options.check and not options.files:
        parser.error("--check needs a FILE ('-': standard input)")
    given = {
        "-c": options.command,
        "FILE": options.files,
        "-e": options.exit_on_error,
        "-x": options.echo,
        "--format json": options.format == "json",
        "--demo": options.demo,
        "--pair": options.pair,
        "--root": options.root is not None,
        "--check": options.check,
        "--record": options.record is not None,
        "--replay": options.replay is not None,
        "--new-pair": options.new_pair is not None,
        "--ssh": options.ssh,
        "--ssh-password": options.ssh_password is not None,
    }
    for option, others in _NOT_WITH.items():
        for other in others:
            if given[option] and given[other]:
                parser.error(f"{option} and {other} cannot be given together")


def _address_and_port(text: str) -> tuple[str, int]:
    from filer.kmip.address import AddressError, parse_port  # 1 ms of --version

    address, colon, port = text.rpartition(":")
    try:
        if not colon:
            address = "127.0.0.1"
        elif address.startswith("[") and address.endswith("]"):
            address = str(IPv6Address(address[1:-1]))
        else:
            address = str(IPv4Address(address))
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" does not begin with an IP address') from None
    try:
        return address, parse_port(port, least=0)
    except AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
