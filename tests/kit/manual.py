"""A filer at work in this process, as its manual page describes it, for the tests of that page.

``build, house = manual.build, manual.house`` gives a test module the two fixtures.  A ``House`` is
a booted filer beside real key servers on loopback: ``execute`` types one line, and the answers to
its questions, and returns what came of it.
"""

import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest

from filer.boot.machine import Machine, boot, power_off
from filer.commands import Cancelled, EndOfAnswers, Result
from filer.disks.disk import BLOCK_SIZE
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.key_id import new_key_id
from filer.keys.pair import KeyPair
from filer.keyserver.server import KeyServer
from filer.kmip.client import Credentials, KmipClient
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name
from filer.registration.registration import Registration
from filer.running.interrupt import Interrupt
from filer.running.progress import Show, show_nothing
from filer.shell.plugins import Commands
from filer.shell.power_cycle import BootNotices
from filer.shell.session import FAILED, OK, Session
from filer.system import Filer
from tests.conftest import StartKeyServers
from tests.kit import hostile
from tests.kit.console import PASSPHRASE

SYSTEM_ID, PARTNER_ID = 1573922407, 1573922311
PARENT_TAG = "1573922311-1573922407"

NO_KEY_SERVERS = "No key servers are registered.\n"
GENERATED = "New passphrase generated.\n"
ACCEPTED = "New passphrase accepted.\n"

Answer = str | type[EndOfAnswers] | type[Cancelled]
"""What is typed at a question: a line, or Ctrl-D or Ctrl-C."""


class Outcome(NamedTuple):
    """What came of a line: its status, the screen with questions and answers, the complaints."""

    status: int
    out: str
    err: str


class Screen:
    """A console that records all it is told and answers from a list."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.err: list[str] = []
        self.answers: list[Answer] = []
        self.secret_questions: list[str] = []
        self.before_answer: Callable[[str], None] = lambda question: None
        self.progress: Show = show_nothing

    @property
    def is_terminal(self) -> bool:
        return False

    @property
    def width(self) -> int:
        return 80

    def show(self, result: Result) -> None:
        self.out += [f"{line}\n" for line in result.lines()]

    def fail(self, message: str) -> None:
        self.err.append(f"{message}\n")

    def warn(self, message: str) -> None:
        self.err.append(f"{message}\n")

    def page(self, text: str) -> None:
        self.out.append(text)

    def ask(self, question: str) -> str:
        answer = self._answer(question)
        self.out.append(f"{question}{answer}\n")
        return answer

    def ask_secret(self, question: str) -> str:
        answer = self._answer(question)
        self.secret_questions.append(question)
        self.out.append(f"{question}\n")
        return answer

    def _answer(self, question: str) -> str:
        self.before_answer(question)
        assert self.answers, f"unexpected question: {question}"
        answer = self.answers.pop(0)
        if not isinstance(answer, str):
            raise answer
        return answer


class House:
    """A booted filer, its root, and the key servers in its network."""

    def __init__(self, root: Path, servers: Sequence[KeyServer]) -> None:
        self.root = root
        self.servers = servers
        self.screen = Screen()
        self.machine = Machine(root, Interrupt())
        self.filer = self.machine.power_on()
        self._boot()
        self.session = Session(self.filer, Commands(pytest.fail), self.screen)

    def execute(self, line: str, *answers: Answer) -> Outcome:
        """Type ``line``, and ``answers`` at its questions; every answer has to be asked for."""
        screen = self.screen
        screen.out, screen.err, screen.answers = [], [], list(answers)
        screen.secret_questions = []
        status = self.session.execute(line)
        assert not screen.answers, f"not asked for: {screen.answers}"
        assert (status != OK) <= bool(screen.err), "a failure without a word"
        return Outcome(status, "".join(screen.out), "".join(screen.err))

    def good(self, line: str, *answers: Answer) -> str:
        """Type ``line``, which is to succeed without any complaint, and return what it prints."""
        outcome = self.execute(line, *answers)
        assert (outcome.status, outcome.err) == (OK, "")
        return outcome.out

    def bad(self, line: str, *answers: Answer) -> str:
        """Type ``line``, which is to fail without any result, and return its complaints."""
        outcome = self.execute(line, *answers)
        assert (outcome.status, outcome.out) == (FAILED, "")
        return outcome.err

    def power_off(self) -> Filer:
        """Remove power and return what is left of the filer."""
        power_off(self.filer)
        return self.filer

    def reboot(self) -> str:
        """Remove power, boot again, and return what the boot complained of.

        Raises Panic as the boot does; ``filer`` is then the one that did not come up.
        """
        self.power_off()
        self.screen.out, self.screen.err = [], []
        self.filer = self.machine.power_on()
        self.session.begin(self.filer)
        self._boot()
        return "".join(self.screen.err)

    def _boot(self) -> None:
        boot(self.filer, BootNotices(self.screen))

    def close(self) -> None:
        """Remove power, and give the root back."""
        self.power_off()
        self.machine.unplug()

    # Certificates and registration.

    def install(self, *names: str) -> None:
        """Install certificate files of the key servers' authority."""
        for name in names:
            self.good(f"keymgr install cert '{self.servers[0].directory / name}'")

    def install_all(self) -> None:
        """Install the client files and the CA file of each key server."""
        self.install(CLIENT, CLIENT_PRIVATE, *(ca_name(each.address) for each in self.servers))

    def add(self, *servers: KeyServer) -> None:
        """Register key servers; without any, all."""
        options = " ".join(f"-key_server {each.address}" for each in servers or self.servers)
        self.good(f"key_manager add {options}")

    def encrypt(self) -> str:
        """Register all key servers, rekey and lock all disks, and return the key ID."""
        self.add()
        self.good("key_manager rekey")
        self.good("disk encrypt lock *")
        return self.key_id()

    @property
    def registration(self) -> Registration:
        """What is registered, read from the boot device."""
        return self.filer.boot_device.load()

    def registered_files(self) -> list[str]:
        """Return the names in /var/kmip/certs."""
        return names_in(self.root / "var" / "kmip" / "certs")

    def installed_files(self) -> list[str]:
        """Return the names in /mroot/etc/keymgr/cert."""
        return names_in(self.root / "mroot" / "etc" / "keymgr" / "cert")

    # Keys and disks.

    def key_id(self, disk: str = "0c.00.0") -> str:
        """Return the key ID that a disk names."""
        return self.filer.shelf[disk].key_id

    def key_ids(self) -> set[str]:
        """Return the key IDs that the disks name."""
        return {disk.key_id for disk in self.filer.shelf}

    def in_keytable(self) -> list[str]:
        """Return the key IDs in the keytable, sorted."""
        return sorted(entry.key_id for entry in self.filer.keytable)

    def write(self, disk: str, text: str) -> None:
        """Write a block of data."""
        self.filer.shelf[disk].write_block(1, text.encode().ljust(BLOCK_SIZE, b"\0"))

    def read(self, disk: str) -> str:
        """Read that block of data.  Raises DiskLocked."""
        return self.filer.shelf[disk].read_block(1).rstrip(b"\0").decode()


def names_in(directory: Path) -> list[str]:
    """Return the names in a directory, sorted; none if it is not there."""
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


def query_line(tag: str, key_id: str, mark: str = " ") -> str:
    """Return a line of ``key_manager query``."""
    return f"{tag:<31} {mark}{key_id}\n"


def query_block(address: str, *lines: str) -> str:
    """Return the block of ``key_manager query`` for one key server."""
    head = f"Key server {address} reports {len(lines)} keys.\n"
    if not lines:
        return head
    return (
        f"{head}\n"
        "Key tag                          Key ID\n"
        "-------                          ------\n"
        f"{''.join(lines)}"
    )


HINT = 'Use "key_manager restore" to load the key IDs marked "*" into the internal keytable.\n'


def created(how: str, key_id: str, tag: str, *addresses: str) -> str:
    """Return the block that tells of a new key pair."""
    return (
        f"{how}Key ID: {key_id}\nKey tag: {tag}\n"
        "Passphrase, key ID, and key tag synchronized with the following key server(s):\n"
        + "".join(f"    {address}\n" for address in addresses)
    )


def completed(
    verb: str, disks: int, *, failures: int = 0, unknown: int = 0, authentication: int = 0
) -> str:
    """Return the last line of an operation on ``disks`` disks."""
    return (
        f"Completed {verb} on {disks} disks: {disks - failures} successes, {failures} failures, "
        f"including {unknown} unknown key and {authentication} authentication failures.\n"
    )


# On the key servers.


def client_of(server: KeyServer, timeout: float = 20.0) -> KmipClient:
    """Return a client of a key server that needs no registration."""
    directory = server.directory
    files = Credentials(
        directory / CLIENT, directory / CLIENT_PRIVATE, directory / ca_name(server.address)
    )
    return KmipClient(server.address, server.port, files, timeout)


def new_pair(tag: str = "elsewhere", key: str = PASSPHRASE, key_id: str | None = None) -> KeyPair:
    """Make a key pair as the partner, or an earlier boot, would."""
    import os

    made = key_id or new_key_id(SYSTEM_ID, PARTNER_ID, os.urandom)
    return KeyPair(made, tag, AuthenticationKey(key.encode()))


def put(server: KeyServer, *pairs: KeyPair, parent_tag: str = PARENT_TAG) -> None:
    """Store key pairs on a key server, in few messages."""
    from filer.kmip.requests import encode, register

    with hostile.connected(server) as connection:
        for start in range(0, len(pairs), 100):
            some = pairs[start : start + 100]
            connection.sendall(encode([register(pair, parent_tag) for pair in some], 0))
            answer = hostile.Answer.parse(hostile.read_message(connection))
            assert len(answer.items) == len(some)


def lose(server: KeyServer, *pairs: KeyPair) -> None:
    """Delete key pairs from a key server; without any, all of them."""
    client = client_of(server)
    for pair in pairs or pairs_on(server):
        assert client.take_back(pair.key_id, pair.key, None)


def pairs_on(server: KeyServer) -> list[KeyPair]:
    """Return the key pairs of the filer on a key server."""
    return client_of(server).fetch(PARENT_TAG)


@contextmanager
def pykmip(server: KeyServer) -> Iterator[Any]:
    """Connect PyKMIP's own client, which knows nothing of a filer."""
    from kmip.pie.client import ProxyKmipClient

    client = ProxyKmipClient(
        hostname=server.address,
        port=server.port,
        cert=str(server.directory / CLIENT),
        key=str(server.directory / CLIENT_PRIVATE),
        ca=str(server.directory / ca_name(server.address)),
        ssl_version="PROTOCOL_TLS",
    )
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning), client:
        yield client


@contextmanager
def silence(server: KeyServer) -> Iterator[None]:
    """Put somebody who never says a word in the place of a key server."""
    server.stop()
    with socket.create_server((server.address, server.port)):
        yield
    server.start()


# Fixtures.


class Build(Protocol):
    """What the fixture ``build`` gives to a test."""

    def __call__(
        self,
        servers: int = 2,
        *,
        disks: int = 4,
        partner_id: int = PARTNER_ID,
        storage_encryption: bool = True,
        timeout: float = 20.0,
        port: int | None = None,
        installed: bool = True,
    ) -> House:
        """Boot a filer; with ``installed``, its certificates are installed.

        ``port`` is what filer.toml says; that of the key servers, if it is not given.
        """


@pytest.fixture
def build(tmp_path: Path, key_servers: StartKeyServers) -> Iterator[Build]:
    """Give a function that boots a new filer beside ``servers`` new key servers."""
    with ExitStack() as stack:

        def boot_one(
            servers: int = 2,
            *,
            disks: int = 4,
            partner_id: int = PARTNER_ID,
            storage_encryption: bool = True,
            timeout: float = 20.0,
            port: int | None = None,
            installed: bool = True,
        ) -> House:
            running = key_servers(servers)
            root = tmp_path / "root"
            root.mkdir()
            (root / "filer.toml").write_text(
                f"[system]\npartner_id = {partner_id}\n"
                f"storage_encryption = {str(storage_encryption).lower()}\n"
                f'[shelf]\ndisks = {disks}\ndisk_size = "1 MiB"\n'
                f"[kmip]\nport = {port or running[0].port}\ntimeout = {timeout}\n",
                encoding="utf-8",
            )
            house = House(root, running)
            stack.callback(house.close)
            if installed:
                house.install_all()
            return house

        yield boot_one


@pytest.fixture
def house(build: Build) -> House:
    """Give a filer with two key servers, their certificates installed, none registered."""
    return build()
