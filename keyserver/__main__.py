"""The program ``filer-keyserver``: runs key servers until SIGTERM or Ctrl-C."""

import argparse
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from filer import __version__
from filer.host.command_line import Parser, PrintCompletion, directory
from filer.host.core_files import forbid_core_files
from filer.host.errors import FilerError
from filer.host.standard_streams import (
    OutputLost,
    prepare_standard_streams,
    status_without_output,
    write,
)
from filer.host.text import printable
from filer.keyserver import DEFAULT_ADDRESS, DEFAULT_PORT
from filer.kmip.address import AddressError, parse_address, parse_port

_PROGRAM = "filer-keyserver"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with ``argv`` (default: ``sys.argv[1:]``) and return its exit status."""
    prepare_standard_streams()
    try:
        arguments = _parser().parse_args(argv)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        forbid_core_files()
        _serve(
            (arguments.dir or _default_directory()).absolute(),
            list(dict.fromkeys(arguments.address or [DEFAULT_ADDRESS])),
            arguments.port,
        )
    except KeyboardInterrupt:
        return 0
    except OutputLost as lost:
        return status_without_output(_PROGRAM, lost)
    except FilerError as error:
        _complain(str(error))
    except OSError as error:
        _complain(printable(error.strerror or str(error)))
    else:
        return 0
    return 1


def _serve(directory: Path, addresses: Sequence[str], port: int) -> None:
    from filer.keyserver.authority import prepare
    from filer.keyserver.server import KeyServer, start_together

    prepare(directory, addresses)
    servers = [KeyServer(directory, address, port, complain=_complain) for address in addresses]
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
            write(
                sys.stdout,
                f"Key server {server.address} listens on port {server.port}; "
                f"its files are in {printable(str(directory))}\n",
            )
        signal.sigwait(stopping)
    finally:
        for server in servers:
            server.stop()


def _parser() -> Parser:
    parser = Parser(
        prog=_PROGRAM,
        usage=f"{_PROGRAM} [options]",
        description="Run KMIP key servers for tests. The certificates that the filer needs "
        "(client.pem, client_private.pem, IP_CA.pem) are created in DIR, where the keys are also "
        "stored.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--dir", type=directory, metavar="DIR", help="default: the XDG data home, filer-keyserver/"
    )
    parser.add_argument(
        "--address",
        type=_address,
        action="append",
        metavar="IP",
        help=f"run a key server at this address; may be repeated (default: {DEFAULT_ADDRESS})",
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=DEFAULT_PORT,
        metavar="PORT",
        help="the TCP port of all of them; 0: one that is free (default: %(default)s)",
    )
    parser.add_argument(
        "--print-completion",
        metavar="SHELL",
        action=PrintCompletion,
        help="print the completion for bash or zsh",
    )
    parser.add_argument("--version", action="version", version=f"{_PROGRAM} {__version__}")
    return parser


def _address(text: str) -> str:
    try:
        return parse_address(text)
    except AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _port(text: str) -> int:
    try:
        return parse_port(text, least=0)
    except AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _default_directory() -> Path:
    from platformdirs import user_data_path  # 5 ms

    return user_data_path(_PROGRAM, appauthor=False)


def _complain(line: str) -> None:
    with suppress(OutputLost):
        write(sys.stderr, f"{_PROGRAM}: {line}\n")


if __name__ == "__main__":
    sys.exit(main())
