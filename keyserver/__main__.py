"""The program ``filer-keyserver``: runs key servers until SIGTERM or Ctrl-C.

Its commands work on the files of key servers, which may be running.
"""

import argparse
import math
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import partial
from ipaddress import ip_address
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from filer.host.command_line import Parser, add_completion_and_version, directory, file
from filer.host.core_files import forbid_core_files
from filer.host.errors import FilerError
from filer.host.process import end_with
from filer.host.program import INTERRUPTED, complain, status_of
from filer.host.standard_streams import prepare_standard_streams, write
from filer.host.text import printable
from filer.host.user_paths import user_path
from filer.keyserver import DEFAULT_ADDRESS, DEFAULT_PORT
from filer.kmip.options import address, port_or_any

if TYPE_CHECKING:
    from filer.keyserver.stored_keys import StoredKey

_PROGRAM = "filer-keyserver"
_MOST_DAYS = 36500
_complain = partial(complain, _PROGRAM)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with ``argv`` (default: ``sys.argv[1:]``) and return its exit status."""
    prepare_standard_streams()
    status_of_interrupt = 0

    def run() -> int:
        nonlocal status_of_interrupt
        arguments = _parse(argv)
        status_of_interrupt = INTERRUPTED if arguments.command else 0
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        forbid_core_files()
        arguments.dir = (arguments.dir or _default_directory()).absolute()
        return _COMMANDS.get(arguments.command, _serve)(arguments)

    return status_of(_PROGRAM, run, failed=1, interrupted=lambda: status_of_interrupt)


def _serve(arguments: argparse.Namespace) -> int:
    from filer.keyserver.authority import prepare
    from filer.keyserver.server import KeyServer, start_together

    directory, client_ca = arguments.dir, arguments.client_ca
    port = DEFAULT_PORT if arguments.port is None else arguments.port
    addresses = arguments.addresses or [DEFAULT_ADDRESS]
    prepare(directory, addresses, lifetime=_lifetime(arguments), report=_complain)
    servers = [
        KeyServer(directory, address, port, client_ca=client_ca, complain=_complain)
        for address in addresses
    ]
    for server in servers:
        if not ip_address(server.address).is_loopback:
            _complain(f"warning: {server.address} can be reached from other machines")
    # Block the signals and wait for them: none is missed, and a second one cannot interrupt stop().
    stopping = {signal.SIGTERM}
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        stopping.add(signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, stopping)
    try:
        start_together(servers)
        for server in servers:
            _print(
                f"Key server {server.address} listens on port {server.port}; "
                f"its files are in {printable(str(directory))}"
            )
        signal.sigwait(stopping)
    finally:
        for server in servers:
            server.stop()
    return 0


def _renew(arguments: argparse.Namespace) -> int:
    from filer.keyserver.authority import renew

    renew(
        arguments.dir,
        arguments.addresses,
        client=arguments.client,
        lifetime=_lifetime(arguments),
        report=_print,
    )
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from filer.keyserver.stored_keys import stores_in

    stores = stores_in(arguments.dir, arguments.addresses)
    _print_table([key for store in stores for key in store.listed()])
    return 0


def _destroy(arguments: argparse.Namespace) -> int:
    from filer.keyserver.stored_keys import find, stores_in

    stores = stores_in(arguments.dir, arguments.addresses)
    keys = find(stores, arguments.keys)
    if not arguments.yes:
        _print_table(keys)
        if not _agrees("A disk that is locked with a destroyed key cannot be opened again."):
            _complain("nothing was destroyed")
            return 1
    for store in stores:
        own = [key for key in keys if key.address == store.address]
        if own:
            store.destroy([key.identifier for key in own])
        for key in own:
            _print(f"Key server {key.address}: destroyed {key.identifier} {printable(key.key_id)}")
    return 0


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "renew": _renew,
    "list": _list,
    "destroy": _destroy,
}


def _agrees(warning: str) -> bool:
    write(sys.stderr, f'{warning}\nType "yes" to destroy: ')
    return sys.stdin.readline().strip() == "yes"


def _print_table(keys: Iterable["StoredKey"]) -> None:
    rows = [("ADDRESS", "IDENTIFIER", "STATE", "REGISTERED (UTC)", "TAG", "OWNER", "KEY ID")]
    for key in keys:
        cells = (key.address, str(key.identifier), key.state, f"{key.registered:%Y-%m-%d %H:%M:%S}")
        rows.append((*cells, key.tag, key.owner, key.key_id))
    shown = [[printable(cell) or "-" for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        _print("  ".join(map(str.ljust, row, widths)).rstrip())


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    words = sys.argv[1:] if argv is None else argv
    # argparse would complain that the value of a misspelt option is not a command.
    options = {option for action in parser._actions for option in action.option_strings}
    for word in takewhile(lambda word: word not in _COMMANDS, words):
        if word[2:] and word.startswith("--") and word.partition("=")[0] not in options:
            parser.error(f"unrecognized arguments: {word}")
    arguments = parser.parse_args(words)
    # Those before a command and those behind it.
    before, behind = arguments.address, getattr(arguments, "address_of_command", None)
    arguments.addresses = list(dict.fromkeys([*(before or ()), *(behind or ())]))
    if command := arguments.command:
        for name in {"port", "days", "client_ca"} - ({"days"} if command == "renew" else set()):
            if getattr(arguments, name) is not None:
                parser.error(f"--{name.replace('_', '-')} is not an option of {command}")
        if command == "destroy" and not arguments.yes and not sys.stdin.isatty():
            parser.error("destroy: without a terminal to ask at, it needs --yes")
    return arguments


def _parser() -> Parser:
    parser = Parser(
        prog=_PROGRAM,
        usage=f"{_PROGRAM} [options] [COMMAND ...]",
        description="Run KMIP key servers for tests. DIR has their keys, and the certificates that "
        "the filer needs (client.pem, client_private.pem, IP_CA.pem), which are created. "
        "A COMMAND works on the files in DIR.",
        allow_abbrev=False,
    )
    _add_directory(parser)
    parser.add_argument(
        "--address",
        type=address,
        action="append",
        metavar="IP",
        help=f"run one at this address; repeatable (default: {DEFAULT_ADDRESS})",
    )
    parser.add_argument(
        "--port",
        type=port_or_any,
        metavar="PORT",
        help=f"their TCP port; 0: one that is free (default: {DEFAULT_PORT})",
    )
    _add_days(parser)
    parser.add_argument(
        "--client-ca",
        type=file,
        metavar="FILE",
        help="also accept clients of an authority in this PEM file",
    )
    add_completion_and_version(parser.add_argument, _PROGRAM)
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", prog=_PROGRAM, parser_class=Parser
    )
    text = "issue certificates again, with the same keys"
    renew = commands.add_parser("renew", help=text, description=text, allow_abbrev=False)
    _add_directory(renew, default=argparse.SUPPRESS)
    _add_addresses(renew, "issue only the certificate of this key server; may be repeated")
    renew.add_argument("--client", action="store_true", help="issue only the client's certificate")
    _add_days(renew, default=argparse.SUPPRESS)
    text = "list the stored keys, without key material"
    listing = commands.add_parser("list", help=text, description=text, allow_abbrev=False)
    _add_directory(listing, default=argparse.SUPPRESS)
    _add_addresses(listing, "list only the keys of this key server; may be repeated")
    text = "destroy stored keys"
    destroy = commands.add_parser("destroy", help=text, description=text, allow_abbrev=False)
    _add_directory(destroy, default=argparse.SUPPRESS)
    _add_addresses(destroy, "destroy only the keys of this key server; may be repeated")
    destroy.add_argument("--yes", action="store_true", help="destroy without a question")
    destroy.add_argument(
        "keys", metavar="KEY", nargs="+", help="a key ID, or an identifier that list shows"
    )
    return parser


def _add_directory(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    parser.add_argument(
        "--dir",
        type=directory,
        default=default,
        metavar="DIR",
        help="default: the XDG data home, filer-keyserver/",
    )


def _add_days(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    parser.add_argument(
        "--days",
        type=_days,
        default=default,
        metavar="N",
        help="new certificates expire after N days (default: 730)",
    )


def _add_addresses(parser: argparse.ArgumentParser, text: str) -> None:
    # A destination of its own: argparse would drop the addresses before the command.
    parser.add_argument(
        "--address",
        type=address,
        action="append",
        metavar="IP",
        dest="address_of_command",
        help=text,
    )


def _lifetime(arguments: argparse.Namespace) -> timedelta:
    from filer.keyserver.authority import LIFETIME

    return LIFETIME if arguments.days is None else timedelta(days=arguments.days)


def _days(text: str) -> float:
    try:
        days = float(text) if text.isascii() else math.nan
    except ValueError:
        days = math.nan
    if not 0 <= days <= _MOST_DAYS:
        raise argparse.ArgumentTypeError(f'"{text}" is not a number of days (0 to {_MOST_DAYS})')
    return days


def _default_directory() -> Path:
    directory = user_path("data", _PROGRAM)
    if directory is None:
        raise FilerError("your home directory is unknown; use --dir DIR, or set HOME")
    return directory


def _print(line: str) -> None:
    write(sys.stdout, f"{line}\n")


def program() -> NoReturn:
    """Run the program, and end its process."""
    end_with(main)


if __name__ == "__main__":
    program()
