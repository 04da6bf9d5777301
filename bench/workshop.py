"""The setup for the rows: roots of filers, and key servers in separate processes."""

import gc
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import StringIO
from itertools import count
from pathlib import Path

from filer.boot.machine import Machine, boot, power_off
from filer.key_servers.creation import SystemIdentity
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.key_id import new_key_id
from filer.keys.pair import KeyPair
from filer.kmip.client import Credentials
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name
from filer.running.interrupt import Interrupt
from filer.shell.batch.script import LineInput, ScriptConsole
from filer.shell.plugins import Commands
from filer.shell.power_cycle import BootNotices
from filer.shell.session import OK, Session
from filer.shell.signals import Signals
from filer.system import Filer

ADDRESSES = ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")
IDENTITY = SystemIdentity(1573922407, 1573922311)
"""The default system IDs of filer.toml."""

TAGS = 200
_PROGRAM = Path(sys.executable).with_name("filer")
_KEY_SERVER = Path(sys.executable).with_name("filer-keyserver")


@dataclass(frozen=True)
class Account:
    """A separate home directory with a filer's root in it."""

    home: Path

    @property
    def root(self) -> Path:
        """The root of the filer."""
        return self.home / "root"

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of a program; only PATH is inherited from this process."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "FILER_ROOT": str(self.root),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "XDG_DATA_HOME": str(self.home / "data"),
            "XDG_STATE_HOME": str(self.home / "state"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
        }

    def filer(self, *commands: str) -> list[str]:
        """Return a command line that runs ``commands`` with the installed program."""
        return [str(_PROGRAM), *(f"--command={command}" for command in commands)]

    def run(self, *commands: str) -> None:
        """Run commands.  Raises CalledProcessError if one fails."""
        subprocess.run(
            self.filer(*commands),
            env=self.environment,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    @contextmanager
    def booted(self) -> "Iterator[Booted]":
        """Boot this filer in this process."""
        interrupt = Interrupt()
        out, err = StringIO(), StringIO()
        console = ScriptConsole(LineInput(()), Signals(interrupt), out=out, err=err)
        machine = Machine(self.root, interrupt)
        filer = machine.power_on()
        try:
            boot(filer, BootNotices(console))
            gc.freeze()  # do not measure garbage collection of what this process loaded before
            yield Booted(filer, Session(filer, Commands(console.warn), console), out, err)
        finally:
            power_off(filer)
            machine.unplug()


@dataclass(frozen=True)
class Booted:
    """A booted filer in this process; its output is discarded."""

    filer: Filer
    session: Session
    out: StringIO
    err: StringIO

    def execute(self, line: str, *, succeeds: bool = True) -> None:
        """Run a line.  Raises RuntimeError unless its success is ``succeeds``."""
        for stream in (self.out, self.err):
            stream.seek(0)
            stream.truncate()
        status = self.session.execute(line)
        if (status == OK) != succeeds:
            raise RuntimeError(f"{line}: {self.err.getvalue()}")


@dataclass(frozen=True)
class KeyServers:
    """Running key servers on one port, and the directory with their certificates."""

    directory: Path
    addresses: Sequence[str]
    port: int
    process_ids: Sequence[int]

    def credentials(self, address: str) -> Credentials:
        """Return the certificate files for the key server at ``address``."""
        return Credentials(
            self.directory / CLIENT,
            self.directory / CLIENT_PRIVATE,
            self.directory / ca_name(address),
        )


class Workshop:
    """Creates accounts and key servers for the rows, below one directory.

    ``quick`` is for a check that everything runs; its figures are not meaningful.  ``peers`` is the
    directory with the programs of the peers.
    """

    def __init__(self, directory: Path, peers: Path, *, quick: bool = False) -> None:
        self.directory = directory
        self.peers = peers
        self.quick = quick
        self._numbers = count()

    def times(self, number: int) -> int:
        """Return the number of rounds: ``number``, or 1 if ``quick``."""
        return 1 if self.quick else number

    def new(self, name: str) -> Path:
        """Create a directory with a unique name."""
        path = self.directory / f"{name}-{next(self._numbers)}"
        path.mkdir()
        return path

    def account(self, settings: str = "", servers: KeyServers | None = None) -> Account:
        """Create a filer that has booted once, with ``servers`` registered."""
        account = Account(self.new("account"))
        account.root.mkdir(mode=0o700)
        if servers is not None:
            settings += f"[kmip]\nport = {servers.port}\ntimeout = 60.0\n"
        (account.root / "filer.toml").write_text(settings, encoding="utf-8")
        commands = ["hostname"]
        if servers is not None:
            names = [CLIENT, CLIENT_PRIVATE, *map(ca_name, servers.addresses)]
            commands = [f"keymgr install cert '{servers.directory / name}'" for name in names]
            options = [f"-key_server {address}" for address in servers.addresses]
            commands.append(f"key_manager add {' '.join(options)}")
        account.run(*commands)
        return account

    @contextmanager
    def key_servers(self, number: int, pairs: int, filers: int = 1) -> Iterator[KeyServers]:
        """Run ``number`` key servers, each in its own process, all with the same ``pairs``.

        Each of the other ``filers``, which have other client certificates, has as many.
        """
        from filer.keyserver.authority import prepare

        directory, addresses, port = self.new("keyservers"), ADDRESSES[:number], free_port()
        prepare(directory, addresses)
        store = directory / f"{addresses[0]}.sqlite"
        put_into_store(store, new_pairs(pairs))
        put_for_others(store, pairs, filers - 1)
        for address in addresses[1:]:
            shutil.copyfile(store, directory / f"{address}.sqlite")
        commands: list[list[str | Path]] = [
            [_KEY_SERVER, "--dir", directory, "--address", address, "--port", str(port)]
            for address in addresses
        ]
        with processes(commands) as process_ids:
            yield KeyServers(directory, addresses, port, process_ids)


@contextmanager
def processes(commands: Sequence[Sequence[str | Path]]) -> Iterator[Sequence[int]]:
    """Run servers during the context; each must print a line when it is ready."""
    running = [
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        for command in commands
    ]
    try:
        for process in running:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise RuntimeError("a server did not start")
        yield [process.pid for process in running]
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.communicate()


def free_port() -> int:
    """Return a port that is free at all addresses."""
    with socket.create_server(("", 0)) as listener:
        return int(listener.getsockname()[1])


def new_pairs(number: int) -> list[KeyPair]:
    """Create ``number`` key pairs of the system `IDENTITY`, which use `TAGS` tags in turn."""
    return [
        KeyPair(
            new_key_id(IDENTITY.system_id, IDENTITY.partner_id, os.urandom),
            f"tag{index % TAGS}",
            AuthenticationKey(os.urandom(16).hex().encode("ascii")),
        )
        for index in range(number)
    ]


def put_into_store(store: Path, pairs: Sequence[KeyPair]) -> None:
    """Write key pairs to a store as Register and Activate would, in one transaction."""
    from kmip.core import enums
    from kmip.pie import objects

    from filer.keyserver.authority import CLIENT_NAME
    from filer.keyserver.engine import Engine
    from filer.kmip.requests import NAMESPACE

    engine = Engine(store)
    with engine._data_store_session_factory() as session:
        for pair in pairs:
            secret = objects.SecretData(
                pair.key.reveal(),
                enums.SecretDataType.PASSWORD,
                [enums.CryptographicUsageMask.EXPORT],
                pair.key_id,
            )
            secret.object_groups.append(objects.ObjectGroup(object_group=pair.tag))
            secret.app_specific_info.append(
                objects.ApplicationSpecificInformation(NAMESPACE, IDENTITY.parent_tag)
            )
            secret.state = enums.State.ACTIVE
            secret.initial_date = 1
            secret._owner = CLIENT_NAME
            session.add(secret)
        session.commit()
    engine.close()


def put_for_others(store: Path, pairs: int, filers: int) -> None:
    """Copy the ``pairs`` in a store for other ``filers``, with other owners and key IDs."""
    with closing(sqlite3.connect(store)) as connection, connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        )
        for (table,) in tables.fetchall():
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            copied = ", ".join(_COPIED.get(column, column) for column in columns)
            own = f"{columns[0]} <= :pairs"
            statement = f"INSERT INTO {table} SELECT {copied} FROM {table} WHERE {own}"
            for filer in range(1, filers + 1):
                changes = {"more": filer * pairs, "pairs": pairs, "owner": f"filer{filer}"}
                connection.execute(statement, changes)


_NUMBERS = ("uid", "id", "mo_uid", "managed_object_id", "app_specific_info_id", "object_group_id")
_COPIED = {
    **{column: f"{column} + :more" for column in _NUMBERS},
    "owner": ":owner",
    "name": "substr(name, 1, 32) || printf('%032X', mo_uid + :more)",
}
