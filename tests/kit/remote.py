"""A filer served over SSH: the installed program, and OpenSSH's own client.

``serving`` starts ``filer --ssh`` on a free port; its ``Remote`` can log in by key and by password,
and trusts the reported host key.
"""

import asyncio
import re
import signal
import socket
import subprocess
import threading
from _thread import interrupt_main
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import asyncssh
import pytest

from filer.commands import Leave
from filer.host.durable import Storage
from filer.keyserver.server import KeyServer
from filer.root import Root
from filer.running.interrupt import Interrupt
from filer.shell.batch.inputs import LineInput
from filer.shell.batch.script import ScriptConsole
from filer.shell.plugins import Commands
from filer.shell.session import Session
from filer.shell.signals import Signals
from filer.shell.ssh.access import HOST_KEYS, passwords_below
from filer.shell.ssh.limits import Limits
from filer.shell.ssh.server import SshHost
from tests.kit.console import PATIENCE, Account, Outcome, Terminal
from tests.kit.house import House
from tests.kit.screen import Screen

if TYPE_CHECKING:
    from pexpect.popen_spawn import PopenSpawn

PASSWORD = "open-sesame-7"
_P = ParamSpec("_P")
_LISTENING = (
    r"filer: listening on (\S+) port (\d+) \(host key (SHA256:\S+)\)\r?\n"
    r"((?:filer: host key \S+ SHA256:\S+\r?\n){2})"
)


def make_key(path: Path) -> Path:
    """Write a client key and its public half, and return the path of the key."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    path.write_bytes(key.export_private_key())
    path.chmod(0o600)
    path.with_suffix(".pub").write_bytes(key.export_public_key())
    return path


def give_access(account: Account, user: str = "root") -> Path:
    """Give ``user`` the password PASSWORD and root a key, and return the key."""
    key = make_key(account.home / "key")
    root, storage = Root(account.root), Storage()
    root.claim(storage)
    _allow(root.ssh, storage, user)
    keys = root.ssh / "authorized_keys"
    keys.write_bytes(b"# of the tests\n" + key.with_suffix(".pub").read_bytes())
    return key


def _allow(directory: Path, storage: Storage, user: str) -> None:
    """Set the password of ``user``, and add the host keys that a first start would make."""
    passwords_below(directory, storage).set(user, PASSWORD, bytes)
    for name, pem in _host_keys().items():
        if not (directory / name).exists():
            storage.write(directory / name, pem)


@cache
def _host_keys() -> Mapping[str, bytes]:
    """Return files of host keys, made once: that of RSA takes a second.

    Each start checks that key, which takes three times as long with the 3,072 bits of the program.
    """
    size: dict[str, Any] = {"key_size": 2048}
    keys = {
        name: asyncssh.generate_private_key(kind, **(size if kind == "ssh-rsa" else {}))
        for name, kind in HOST_KEYS.items()
    }
    return {name: key.export_private_key() for name, key in keys.items()}


@dataclass
class Remote:
    """A running filer, and how to log in."""

    account: Account
    child: "PopenSpawn[str]"
    address: str
    port: int
    announced: str
    """The lines with the other host keys."""

    fingerprint: str
    key: Path

    def client(self, *options: str, key: Path | None = None, user: str = "root") -> list[str]:
        """Return the command line of OpenSSH's client, up to the host.

        It asks no questions, unless ``options`` overrule that: of two equal options, the first
        counts.
        """
        return [
            *("ssh", "-F", "none", "-p", str(self.port), "-i", str(key or self.key), *options),
            *("-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"),
            *("-o", f"UserKnownHostsFile={self.account.home / 'known_hosts'}"),
            f"{user}@{self.address}",
        ]

    def run(
        self,
        *command: str,
        options: Sequence[str] = (),
        input: str | bytes = "",  # noqa: A002  (as subprocess.run has it)
        key: Path | None = None,
        user: str = "root",
    ) -> Outcome:
        """Run a command, or a script from ``input``, to its end."""
        ended = subprocess.run(
            [*self.client(*options, key=key, user=user), *command],
            input=input.encode() if isinstance(input, str) else input,
            capture_output=True,
            check=False,
            env=self.account.environment(),
            timeout=PATIENCE,
        )
        return Outcome(ended.stdout.decode(), ended.stderr.decode(), ended.returncode)

    @contextmanager
    def terminal(
        self, *command: str, rows: int = 24, columns: int = 80, term: str = "xterm"
    ) -> Iterator[Terminal]:
        """Log in from a terminal."""
        program = [*self.client("-tt"), *command]
        with self.account.terminal(
            program=program, rows=rows, columns=columns, environment={"TERM": term}
        ) as terminal:
            yield terminal

    @contextmanager
    def screen(
        self, *command: str, rows: int = 24, columns: int = 80, term: str = "xterm-256color"
    ) -> Iterator[Screen]:
        """Log in from the terminal of a person."""
        with self.terminal(*command, rows=rows, columns=columns, term=term) as terminal:
            yield Screen(terminal.child, rows, columns)

    @property
    def log(self) -> str:
        """The system log."""
        return (self.account.root / "mroot" / "etc" / "messages").read_text(encoding="utf-8")

    @property
    def login(self) -> Mapping[str, Any]:
        """Arguments for paramiko and netmiko; they must not look for keys of this user."""
        return {"port": self.port, "username": "root", "password": PASSWORD}

    def again(self) -> None:
        """Wait until it listens again on the same port."""
        self.child.expect(_LISTENING)
        assert isinstance(self.child.match, re.Match)
        assert self.child.match[2] == str(self.port)
        assert self.child.match[3] == self.fingerprint

    def trust(self) -> None:
        """Let the client trust the host keys; a test compares them with the reported ones."""
        lines = [
            f"[{self.address}]:{self.port} {key.export_public_key().decode()}"
            for key in self.host_keys
        ]
        (self.account.home / "known_hosts").write_text("".join(lines), encoding="ascii")

    @property
    def host_keys(self) -> list[asyncssh.SSHKey]:
        return [
            _parsed(path.read_bytes())
            for path in sorted((self.account.root / "ssh").glob("host_key*"))
        ]


@cache
def _parsed(pem: bytes) -> asyncssh.SSHKey:
    return asyncssh.import_private_key(pem)


@contextmanager
def serving(account: Account, address: str = "127.0.0.1", *, port: int = 0) -> Iterator[Remote]:
    key = account.home / "key"
    if not key.exists():
        give_access(account)
    place = f"[{address}]" if ":" in address else address
    with account.pipe("--ssh", f"{place}:{port}") as child:
        child.expect(_LISTENING)
        assert isinstance(child.match, re.Match)
        told = child.match
        remote = Remote(account, child, told[1], int(told[2]), told[4], told[3], key)
        remote.trust()
        yield remote


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT interrupt this process, even if its parent ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def house_of_root(directory: Path, servers: Sequence[KeyServer] = ()) -> Iterator[House]:
    """A filer in ``directory`` whose root has the password PASSWORD."""
    with House.build(directory / "root", servers) as house:
        _allow(house.filer.root.ssh, house.filer.storage, "root")
        yield house


def asynchronous(test: Callable[_P, Coroutine[Any, Any, None]]) -> Callable[_P, None]:
    """Run a test in an event loop."""

    @wraps(test)
    def run(*arguments: _P.args, **more: _P.kwargs) -> None:
        asyncio.run(test(*arguments, **more))

    return run


def clients_of(
    house: House, work: Callable[[int], Coroutine[Any, Any, None] | None], **limits: Any
) -> None:
    """Serve ``house`` within ``limits`` to ``work``; afterwards a client can still halt it."""
    signals = Signals(Interrupt())
    console = ScriptConsole(LineInput(()), signals)
    session = Session(house.filer, Commands(pytest.fail), console)
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]

    def work_or_stop() -> None:
        try:
            connect(port).close()
            done = work(port)
            if done is not None:
                asyncio.run(done)
            with closing(logged_in(port)) as transport:
                command(transport, "halt")
        except BaseException:
            if not ended.is_set():
                interrupt_main()  # otherwise the server would run forever
            raise

    with ThreadPoolExecutor() as pool, interruptible():
        ended = threading.Event()
        worked = pool.submit(work_or_stop)
        with pytest.raises((Leave, KeyboardInterrupt)):
            SshHost("127.0.0.1", port, signals, limits=Limits(**limits)).run(session)
        ended.set()
        worked.result()


def connect(port: int) -> socket.socket:
    for _ in range(PATIENCE * 100):
        with suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port), PATIENCE)
        threading.Event().wait(0.01)
    pytest.fail("no server listens")


def logged_in(port: int) -> Any:
    import paramiko

    transport = paramiko.Transport(connect(port))
    transport.connect(username="root", password=PASSWORD)
    return transport


def command(transport: Any, line: str) -> bytes:
    channel = transport.open_session()
    channel.exec_command(line)
    output: bytes = channel.makefile().read()
    return output


def soon(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds."""
    for _ in range(PATIENCE * 20):
        if condition():
            return
        threading.Event().wait(0.05)
    pytest.fail("the condition never held")


HAS_PROC = Path("/proc/self/status").exists()
needs_proc = pytest.mark.skipif(not HAS_PROC, reason="this host has no /proc")


def memory_of(remote: Remote) -> int:
    """Return the resident memory of the filer in MiB."""
    status = Path(f"/proc/{remote.child.proc.pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmRSS:\s+(\d+)", status)
    assert found
    return int(found[1]) // 1024
