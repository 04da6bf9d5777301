"""The program ``filer-shelf``: what a person does at the shelf of a filer, which may be running."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NoReturn

from filer.drives.bays import Bays, Drive
from filer.host.command_line import Parser, add_completion_and_version, directory
from filer.host.durable import Storage
from filer.host.errors import FilerError
from filer.host.process import end_with
from filer.host.program import status_of
from filer.host.standard_streams import prepare_standard_streams, write
from filer.host.text import printable
from filer.host.user_paths import default_root
from filer.keys.key_id import MSID_KEY_ID

_PROGRAM = "filer-shelf"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with ``argv`` (default: ``sys.argv[1:]``) and return its exit status."""
    prepare_standard_streams()

    def run() -> int:
        arguments = _parser().parse_args(argv)
        root = arguments.root or default_root()
        if root is None:
            raise FilerError("your home directory is unknown; use --root DIR, or set HOME")
        for line in _COMMANDS[arguments.command](Bays(root, Storage()), arguments):
            write(sys.stdout, f"{line}\n")
        return 0

    return status_of(_PROGRAM, run, failed=1)


def _list(bays: Bays, _arguments: argparse.Namespace) -> Iterable[str]:
    drives = bays.drives()
    yield f"{'Drive':<12} {'S/N':<16} {'Owner':<12} {'Locked?':<8} Key ID"
    for drive in drives:
        if not drive.is_pulled:
            yield _row(drive)
    pulled = [drive for drive in drives if drive.is_pulled]
    if pulled:
        yield "Pulled drives:"
    for drive in pulled:
        yield _row(drive)


def _row(drive: Drive) -> str:
    place = printable(drive.name)
    if drive.head is None:
        return f"{place:<12} {printable(drive.reason)}"
    state, owner = drive.head.header.state, drive.head.record.owner
    name = owner.name or str(owner.system_id or "-")
    is_locked = "Yes" if state.locking else "No"
    key_id = "(destroyed)" if state.destroyed else state.key_id
    return f"{place:<12} {state.serial:<16} {name:<12} {is_locked:<8} {key_id}"


def _pull(bays: Bays, arguments: argparse.Namespace) -> Iterable[str]:
    name = bays.pull(arguments.disk)
    yield f"{arguments.disk}: pulled; filer-shelf insert BAY {name} puts it back"


def _insert(bays: Bays, arguments: argparse.Namespace) -> Iterable[str]:
    drive = bays.insert(arguments.bay, arguments.drive)
    if drive.head is None:
        yield f"{drive.name}: inserted; {drive.reason}"
        return
    state = drive.head.header.state
    yield f"{drive.name}: inserted drive with S/N {state.serial} and key ID {state.key_id}"
    if state.key_id == MSID_KEY_ID and not state.destroyed:
        yield f"{drive.name}: unprotected until it is rekeyed and locked (man filer-shelf)"


def _fail(bays: Bays, arguments: argparse.Namespace) -> Iterable[str]:
    bays.fail(arguments.disk)
    yield f"{arguments.disk}: failed; its data is gone for good"


def _lock_out(bays: Bays, arguments: argparse.Namespace) -> Iterable[str]:
    bays.lock_out(arguments.disk)
    yield f"{arguments.disk}: locked out, as after 1024 failed authentications"


_COMMANDS: dict[str, Callable[[Bays, argparse.Namespace], Iterable[str]]] = {
    "list": _list,
    "pull": _pull,
    "insert": _insert,
    "fail": _fail,
    "lock-out": _lock_out,
}


def _parser() -> Parser:
    parser = Parser(
        prog=_PROGRAM,
        usage=f"{_PROGRAM} [--root DIR] COMMAND ...",
        description="Pull and insert the drives of a filer, and let them fail, for rehearsals.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--root",
        metavar="DIR",
        type=directory,
        help="the root of the filer (or FILER_ROOT; default: XDG)",
    )
    add_completion_and_version(parser.add_argument, _PROGRAM)
    add = partial(
        parser.add_subparsers(
            title="commands",
            dest="command",
            metavar="COMMAND",
            prog=_PROGRAM,
            parser_class=Parser,
            required=True,
        ).add_parser,
        allow_abbrev=False,
    )
    add("list", help="list the drives", description="List the drives.")
    for name, text in (
        ("pull", "pull the drive DISK, such as 0c.00.3"),
        ("fail", "let the drive DISK break down; its data is gone"),
        ("lock-out", "let the drive DISK be locked out; the filer is off"),
    ):
        add(name, help=text, description=text).add_argument("disk", metavar="DISK")
    text = "insert a new drive, or the pulled one called DRIVE"
    insert = add("insert", help=text, description=text)
    insert.add_argument("bay", metavar="BAY")
    insert.add_argument("drive", metavar="DRIVE", nargs="?")
    return parser


def program() -> NoReturn:
    """Run the program, and end its process."""
    end_with(main)


if __name__ == "__main__":
    program()
