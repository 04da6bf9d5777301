"""The setup for the rows: roots of filers, and key servers in separate processes."""

import gc
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from compileall import compile_dir
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO, StringIO
from itertools import count
from pathlib import Path

from bench.row import Figure, Limit, Row
from filer.boot.machine import Machine, boot, power_off
from filer.host.durable import Storage
from filer.key_servers.creation import SystemIdentity
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.key_id import new_key_id
from filer.keys.pair import KeyPair
from filer.kmip.client import Credentials
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name
from filer.running.interrupt import Interrupt
from filer.shell.batch.inputs import LineInput
from filer.shell.batch.script import ScriptConsole
from filer.shell.plugins import Commands
from filer.shell.power_cycle import BootNotices
from filer.shell.session import OK, Session
from filer.shell.signals import Signals
from filer.system import Filer

ADDRESSES = ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")
IDENTITY = SystemIdentity(1573922407, 1573922311)
"""The default system IDs of filer.toml."""

TAGS = 200
_CHECKOUT = Path(__file__).parent.parent

EARLIER = "7b036db831712b2e9010dafeb7ef1533614a95d8"
"""The last commit before the work on speed at scale; some rows compare with it."""


@dataclass(frozen=True)
class Code:
    """A version of the programs: that of this environment, or the one in ``directory``."""

    directory: Path | None = None

    def command(self, name: str, module: str) -> list[str]:
        """Return the command line of the program ``name``, whose main module is ``module``."""
        if self.directory is None:
            return [str(Path(sys.executable).with_name(name))]
        return [sys.executable, "-P", "-m", module]

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables from which Python knows where the code is."""
        return {} if self.directory is None else {"PYTHONPATH": str(self.directory)}


INSTALLED = Code()


@dataclass(frozen=True)
class Account:
    """A separate home directory with a filer's root in it; ``code`` is the version it runs."""

    home: Path
    code: Code = INSTALLED

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
            **self.code.environment,
        }

    def filer(self, *commands: str) -> list[str]:
        """Return a command line that runs ``commands``."""
        program = self.code.command("filer", "filer")
        return [*program, *(f"--command={command}" for command in commands)]

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
    def booted(self, storage: Storage | None = None) -> "Iterator[Booted]":
        """Boot this filer in this process, with the code of this environment."""
        interrupt = Interrupt()
        out, err = StringIO(), StringIO()
        console = ScriptConsole(LineInput(()), Signals(interrupt), out=out, err=err)
        machine = Machine(self.root, interrupt, storage=storage)
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


def against_earlier(what: str, ours: Figure, limit: Limit, earlier: Figure | None = None) -> Row:
    """Return a row that compares with the commit `EARLIER`; skipped without its figure."""
    against = f"commit {EARLIER[:8]}"
    if earlier is None:
        return Row(what, ours, limit, against=f"{against}: no git history", skipped=True)
    return Row(what, ours, limit, earlier, against)


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

    @cached_property
    def earlier(self) -> Code | None:
        """The code of the commit `EARLIER`, or None if this checkout has no such history."""
        directory = self.new("earlier")
        try:
            archive = subprocess.run(
                ["git", "-C", _CHECKOUT, "archive", "--format=tar", EARLIER],
                capture_output=True,
                check=True,
            ).stdout
        except (OSError, subprocess.CalledProcessError):
            return None
        with tarfile.open(fileobj=BytesIO(archive)) as files:
            files.extractall(directory, filter="data")
        compile_dir(directory, quiet=2, workers=0)  # as the code of this environment is
        return Code(directory)

    def versions(self) -> Sequence[Code]:
        """Return the code of this environment, and the earlier one if there is any."""
        return [INSTALLED, *([self.earlier] if self.earlier else [])]

    def account(
        self, settings: str = "", servers: KeyServers | None = None, code: Code = INSTALLED
    ) -> Account:
        """Create a filer that has booted once, with ``servers`` registered."""
        account = Account(self.new("account"), code)
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
    def key_servers(
        self, number: int, pairs: int, filers: int = 1, code: Code = INSTALLED
    ) -> Iterator[KeyServers]:
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
        program = code.command("filer-keyserver", "filer.keyserver")
        commands: list[list[str | Path]] = [
            [*program, "--dir", directory, "--address", address, "--port", str(port)]
            for address in addresses
        ]
        with processes(commands, {**os.environ, **code.environment}) as process_ids:
            yield KeyServers(directory, addresses, port, process_ids)


@contextmanager
def processes(
    commands: Sequence[Sequence[str | Path]], environment: Mapping[str, str] | None = None
) -> Iterator[Sequence[int]]:
    """Run servers during the context; each must print a line when it is ready."""
    running = [
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment)
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
