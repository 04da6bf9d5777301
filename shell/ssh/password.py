"""``filer --ssh-password USER``: set a password, typed or from standard input."""

import getpass
import os
import sys
from pathlib import Path

from filer.host.durable import Storage
from filer.host.standard_streams import write
from filer.host.text import printable
from filer.root import Root
from filer.shell.session import FAILED, OK
from filer.shell.signals import Signals
from filer.shell.ssh.access import passwords_below

_MOST_BYTES = 4096
"""Bytes of a line that are read, more than a password may have."""


def set_password(user: str, root: Path, signals: Signals) -> int:
    """Set the password of ``user``; a filer that runs on ``root`` uses it at once.

    At a terminal it is typed twice without echo; otherwise it is the first line of standard input.
    Returns the exit status.  Raises FilerError if user name or password are invalid, or if the
    password cannot be stored.
    """
    where = Root.at(root)
    where.examine()
    with signals.waiting():
        password, again = _typed(user) if sys.stdin.isatty() else _read()
    if password != again:
        write(sys.stderr, "filer: the two passwords differ; nothing was changed\n")
        return FAILED
    storage = Storage()
    where.claim(storage)
    passwords_below(where.ssh, storage).set(user, password, os.urandom)
    write(sys.stdout, f"filer: password set for {user}\n")
    return OK


def _typed(user: str) -> tuple[str, str]:
    try:
        password = getpass.getpass(f"New password for {printable(user)}: ")
        return password, getpass.getpass("Retype new password: ")
    except EOFError:
        return "", ""


def _read() -> tuple[str, str]:
    line = sys.stdin.buffer.readline(_MOST_BYTES).removesuffix(b"\n").removesuffix(b"\r")
    password = line.decode("utf-8", "surrogateescape")
    return password, password
