"""The console over SSH, with a client key and a known host key in files."""

import re
from contextlib import ExitStack, suppress
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Self

import pexpect
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from pytest_filer.console import Account, plain, with_output

_LISTENING = r"filer: listening on (\S+) port (\d+) \(host key "
_USER = "root"


class Ssh:
    """A filer that is up and reached over SSH, until `close` or the end of the test.

    ``address``, ``port`` and ``user`` say where to log in.  ``key_file`` is the path of the private
    key of the user, and ``known_hosts`` that of a file with the host keys, both as OpenSSH,
    paramiko, netmiko and asyncssh read them.  As a context manager it closes on exit.
    """

    address: str
    port: int
    user = _USER

    def __init__(self, account: Account, timeout: float) -> None:
        """Start the program on a free port of 127.0.0.1, and wait until it listens.

        The root must have been booted.  Fails the test if the filer does not start.
        """
        __tracebackhide__ = True
        self.key_file = str(account.home / "ssh_key")
        self.known_hosts = str(account.home / "known_hosts")
        _authorize(Path(self.key_file), account.root / "ssh" / "authorized_keys")
        self._timeout = timeout
        self._stack = ExitStack()
        self._child = self._stack.enter_context(account.pipe("--ssh", "127.0.0.1:0"))
        try:
            self._child.expect(_LISTENING, timeout=timeout)
        except pexpect.TIMEOUT:
            reason = f"filer did not listen within {timeout:g} s"
        except pexpect.EOF:
            fact = f"filer ended with status {self._child.proc.wait()}"
            reason = with_output(fact, plain(str(self._child.before)))
        else:
            assert isinstance(self._child.match, re.Match)
            self.address, self.port = self._child.match[1], int(self._child.match[2])
            _know_hosts(account.root / "ssh", self.address, self.port, Path(self.known_hosts))
            return
        self._stack.close()
        pytest.fail(reason)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def kill(self) -> None:
        """Kill the process at once."""
        self._stack.close()

    def close(self) -> None:
        """End all sessions and power off; does nothing if it is off."""
        self._child.proc.terminate()
        with suppress(TimeoutExpired):
            self._child.proc.wait(self._timeout)
        self._stack.close()


def _authorize(key_file: Path, authorized_keys: Path) -> None:
    """Make a client key unless there is one, and let it log in."""
    if key_file.exists():
        return
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    authorized_keys.parent.mkdir(mode=0o700, exist_ok=True)
    for path, content in ((authorized_keys, public + b"\n"), (key_file, private)):
        path.touch(mode=0o600)
        with path.open("ab") as file:
            file.write(content)


def _know_hosts(directory: Path, address: str, port: int, known_hosts: Path) -> None:
    """Write the public halves of the host keys in ``directory``."""
    keys = [
        load_ssh_private_key(path.read_bytes(), None).public_key()
        for path in sorted(directory.glob("host_key*"))
    ]
    lines = [key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() for key in keys]
    text = "".join(f"[{address}]:{port} {line}\n" for line in lines)
    known_hosts.write_text(text, encoding="ascii")
