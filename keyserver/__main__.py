"""The program ``filer-keyserver``: key servers that run until SIGTERM or Ctrl-C."""

import argparse
import gc
import io
import os
import signal
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import NoReturn

from filer.address import AddressError, parse_address
from filer.command_line import Parser, PrintCompletion
from filer.core_files import forbid_core_files
from filer.errors import FilerError
from filer.text import printable
from keyserver import DEFAULT_ADDRESS, DEFAULT_PORT

_PROGRAM = "filer-keyserver"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with ``argv`` (default: the process's own) and return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    parser = _parser()
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    forbid_core_files()
    try:
        if arguments.version:
            parser.tell(f"{_PROGRAM} {_version()}\n")
        else:
            _serve(
                (arguments.dir or _default_directory()).absolute(),
                list(dict.fromkeys(arguments.address or [DEFAULT_ADDRESS])),
                arguments.port,
            )
    except KeyboardInterrupt:
        return 0
    except FilerError as error:
        _complain(str(error))
    except BrokenPipeError:
        pass
    except OSError as error:
        _complain(printable(error.strerror or str(error)))
    else:
        return 0
    return 1


def _serve(directory: Path, addresses: Sequence[str], port: int) -> None:
    from keyserver.authority import prepare
    from keyserver.server import KeyServer, start_together

    prepare(directory, addresses)
    servers = [KeyServer(directory, address, port) for address in addresses]
    for server in servers:
        if not ip_address(server.address).is_loopback:
            _complain(f"warning: {server.address} can be reached from other machines")
    # Waited for, a signal cannot be missed, and a second one cannot cut the stop short.
    stopping = {signal.SIGTERM}
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        stopping.add(signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, stopping)
    try:
        start_together(servers)
        gc.freeze()  # what is loaded stays; looked through again and again, it costs a tenth
        for server in servers:
            _tell(
                f"Key server {server.address} listens on port {server.port}; "
                f"its files are in {printable(str(directory))}"
            )
        signal.sigwait(stopping)
    finally:
        for server in servers:
            server.stop()


class _Parser(Parser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {printable(message)}\n")


def _parser() -> Parser:
    parser = _Parser(
        prog=_PROGRAM,
        description="Run KMIP key servers for trying out. The certificates that the filer needs "
        "(client.pem, client_private.pem, IP_CA.pem) are made in DIR, where the keys are kept "
        "too.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--dir", type=_directory, metavar="DIR", help="default: the XDG data home, filer-keyserver/"
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
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    return parser


def _directory(text: str) -> Path:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError("not the name of a directory")
    return Path(text)


def _address(text: str) -> str:
    try:
        return parse_address(text)
    except AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) < 65536):
        raise argparse.ArgumentTypeError(f'"{printable(text)}" is not a port (0 to 65535)')
    return int(text)


def _default_directory() -> Path:
    from platformdirs import user_data_path

    return user_data_path(_PROGRAM, appauthor=False)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("filer")
    except PackageNotFoundError:
        return "(not installed)"


def _tell(line: str) -> None:
    try:
        print(line, flush=True)  # noqa: T201
    except OSError as error:
        # What could not be written is still buffered; it would fail once more at exit.
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        reason = printable(error.strerror or str(error))
        raise FilerError(f"cannot write to standard output: {reason}") from error


def _complain(line: str) -> None:
    print(f"{_PROGRAM}: {line}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
