"""A filer in this process: its root, its machine, and a console that answers from a list."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest

from filer.boot.machine import Machine, boot, power_off
from filer.commands import Cancelled, Command, EndOfAnswers, Result
from filer.disks.disk import BLOCK_SIZE, Disk
from filer.host.durable import Storage
from filer.key_servers.holdings import Holdings
from filer.keys.authentication_key import AuthenticationKey
from filer.keyserver.authority import Identity
from filer.keyserver.server import KeyServer
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name
from filer.registration.registration import Registration
from filer.running.interrupt import Interrupt
from filer.running.progress import Show, show_nothing
from filer.shell.plugins import Commands
from filer.shell.power_cycle import BootNotices
from filer.shell.session import FAILED, OK, Session
from filer.system import Filer
from tests.kit.repeated import repeated_beside

COMMANDS = Commands(pytest.fail)
SYSTEM_ID, PARTNER_ID = 1573922407, 1573922311

Answer = str | type[EndOfAnswers] | type[Cancelled]
"""The reply to a question: a line, Ctrl-D or Ctrl-C."""

When = Mapping[str, Callable[[], object]]
"""What happens before a question with that text is answered."""


@dataclass
class Told:
    """The messages of a boot."""

    steps: list[str] = field(default_factory=list)
    attempts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    boxes: list[tuple[str, ...]] = field(default_factory=list)

    def progress(self, event: str, text: str) -> None:
        self.steps.append(text)

    def attempt(self, event: str, text: str) -> None:
        self.attempts.append(text)

    def warning(self, event: str, text: str) -> None:
        self.warnings.append(text)

    def banner(self, lines: tuple[str, ...]) -> None:
        self.boxes.append(lines)


@dataclass
class Screen:
    """A console that answers from a list; after the last answer comes the end of input.

    ``out`` has results, questions and answers as they appear, ``err`` failures and warnings.
    """

    answers: deque[Answer] = field(default_factory=deque)
    when: When = field(default_factory=dict)
    progress: Show = show_nothing
    status: int = OK
    out: str = ""
    err: str = ""
    shown: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    secret_questions: list[str] = field(default_factory=list)
    is_terminal: bool = False
    width: int = 80

    @property
    def text(self) -> str:
        """All results and complaints."""
        return "\n".join([*self.shown, *self.warnings, *self.failures])

    def show(self, result: Result) -> None:
        lines = list(result.lines())
        self.shown += lines
        self.out += "".join(f"{line}\n" for line in lines)

    def fail(self, message: str) -> None:
        self.failures.append(message)
        self.err += f"{message}\n"

    def warn(self, message: str) -> None:
        self.warnings.append(message)
        self.err += f"{message}\n"

    def page(self, text: str) -> None:
        self.shown += text.splitlines()
        self.out += text

    def ask(self, question: str) -> str:
        answer = self._answer(question)
        self.out += f"{question}{answer}\n"
        return answer

    def ask_secret(self, question: str) -> str:
        answer = self._answer(question)
        self.secret_questions.append(question)
        self.out += f"{question}\n"
        return answer

    def _answer(self, question: str) -> str:
        self.questions.append(question)
        for part, action in self.when.items():
            if part in question:
                action()
        answer = self.answers.popleft() if self.answers else EndOfAnswers
        if not isinstance(answer, str):
            raise answer
        return answer


class Outcome(NamedTuple):
    """The status of a line, its output with questions and answers, and its complaints."""

    status: int
    out: str
    err: str


def settings(
    *,
    port: int = 5696,
    disks: int = 4,
    timeout: float = 10.0,
    init_maxwait: float = 0.0,
    system_id: int = SYSTEM_ID,
    partner_id: int = PARTNER_ID,
    storage_encryption: bool = True,
    hostname: str = "filer1",
    directory: str = "shelf",
) -> str:
    """Return a filer.toml."""
    return (
        f"[system]\nsystem_id = {system_id}\npartner_id = {partner_id}\n"
        f'hostname = "{hostname}"\n'
        f"storage_encryption = {str(storage_encryption).lower()}\n"
        f'[shelf]\ndisks = {disks}\ndisk_size = "1 MiB"\n'
        f'directory = "{directory}"\n'
        f"[kmip]\nport = {port}\ntimeout = {timeout}\ninit_maxwait = {init_maxwait}\n"
    )


class House:
    """A filer in ``root``, and the key servers in its network; closes it as a context manager.

    ``screen`` is the console of the last command or reboot.  ``overrides``: a boot with a changed
    system ID takes the disks of the old one.
    """

    filer: Filer

    def __init__(
        self,
        root: Path,
        servers: Sequence[KeyServer] = (),
        storage: Storage | None = None,
        interrupt: Interrupt | None = None,
        random: Callable[[int], bytes] | None = None,
    ) -> None:
        self.root = root
        self.servers = servers
        self.screen = Screen()
        self.progress: Show = show_nothing
        self.overrides = True
        self.machine = Machine(
            root, interrupt or Interrupt(), storage, random=random or repeated_beside(root, servers)
        )
        self._session: Session | None = None
        self._closed = False

    @classmethod
    def build(
        cls,
        root: Path,
        servers: Sequence[KeyServer] = (),
        storage: Storage | None = None,
        *,
        installed: bool = True,
        **set_up: Any,
    ) -> Self:
        """Create a root with `settings`, boot it, and install the certificates of ``servers``."""
        root.mkdir(mode=0o700)
        port = {"port": servers[0].port} if servers else {}
        (root / "filer.toml").write_text(settings(**port | set_up))
        house = cls(root, servers, storage)
        house.boot()
        if servers and installed:
            house.install_all()
        return house

    @property
    def session(self) -> Session:
        """The session of all commands."""
        if self._session is None:
            self._session = Session(self.filer, COMMANDS, self.screen)
        elif self._session.filer is not self.filer:
            self._session.begin(self.filer)
        return self._session

    def run(
        self,
        line: str,
        *answers: Answer,
        when: When | None = None,
        commands: Mapping[str, Command] | None = None,
    ) -> Screen:
        """Type a line and its answers; ``commands`` are those of LOADER or maintenance mode."""
        self.screen = Screen(deque(answers), when or {}, self.progress)
        session = Session(self.filer, commands, self.screen) if commands else self.session
        session.console = self.screen
        self.screen.status = session.execute(line)
        return self.screen

    def must(self, line: str, *answers: Answer) -> Screen:
        """Type a line that has to succeed."""
        screen = self.run(line, *answers)
        assert screen.status == OK, screen.text
        return screen

    def execute(self, line: str, *answers: Answer, **more: Any) -> Outcome:
        """Type a line and its answers, all of which must be asked for; ``more`` as for `run`."""
        screen = self.run(line, *answers, **more)
        assert not screen.answers, f"not asked for: {screen.answers}"
        assert (screen.status != OK) <= bool(screen.err), "a failure without a message"
        return Outcome(screen.status, screen.out, screen.err)

    def good(self, line: str, *answers: Answer) -> str:
        """Type a line that must succeed without complaints, and return its output."""
        outcome = self.execute(line, *answers)
        assert (outcome.status, outcome.err) == (OK, "")
        return outcome.out

    def bad(self, line: str, *answers: Answer) -> str:
        """Type a line that must fail without output, and return its complaints."""
        outcome = self.execute(line, *answers)
        assert (outcome.status, outcome.out) == (FAILED, "")
        return outcome.err

    # Power.

    def set(self, **set_up: Any) -> None:
        """Change filer.toml, for the next boot."""
        (self.root / "filer.toml").write_text(settings(**set_up))

    def power_off(self) -> Filer:
        """Remove power and return what is left of the filer."""
        power_off(self.filer)
        return self.filer

    def power_cycle(self) -> None:
        """Remove power, and power on without booting."""
        if hasattr(self, "filer"):
            self.power_off()
        self.filer = self.machine.power_on()

    def boot(self, told: Told | None = None) -> Told:
        """Power on (again) and boot. Raises Panic; ``filer`` is there even then."""
        self.power_cycle()
        return self.boot_now(told or Told())

    def boot_now(self, told: Told) -> Told:
        """Boot a filer that has power."""
        boot(self.filer, told, override=lambda _mismatch: self.overrides)
        return told

    def reboot(self) -> str:
        """Power on again, boot, and return the complaints. Raises Panic."""
        self.screen = Screen()
        self.power_cycle()
        notices = BootNotices(self.screen)
        boot(self.filer, notices, override=lambda _mismatch: self.overrides)
        return self.screen.err

    def close(self) -> None:
        """Remove power and release the root, once."""
        if self._closed:
            return
        self._closed = True
        if hasattr(self, "filer"):
            self.power_off()
        self.machine.unplug()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # The network.

    def stop_servers(self) -> None:
        """Stop all key servers."""
        for server in self.servers:
            server.stop()

    def start_servers(self) -> None:
        """Start all key servers."""
        for server in self.servers:
            server.start()

    # Certificates and registration.

    def install(self, *names: str) -> None:
        """Install certificate files of the key servers' authority."""
        for name in names:
            file = self.servers[0].directory / name
            self.filer.installed.install(file, name, self.filer.now())

    def install_all(self) -> None:
        """Install the client files and the CA file of each key server."""
        self.install(CLIENT, CLIENT_PRIVATE, *(ca_name(each.address) for each in self.servers))

    def install_client(self, identity: Identity) -> None:
        """Install another client certificate, and its private key."""
        # Files that do not match the new ones must be uninstalled first.
        for name in (CLIENT, CLIENT_PRIVATE):
            if name in self.filer.installed.names():
                self.must(f"keymgr delete cert {name}")
        now = self.filer.now()
        self.filer.installed.install(identity.certificate_pem(), CLIENT, now)
        self.filer.installed.install(identity.private_pem(), CLIENT_PRIVATE, now)

    def add(self, *servers: KeyServer) -> Screen:
        """Register key servers (default: all)."""
        options = (f" -key_server {each.address}" for each in servers or self.servers)
        return self.must(f"key_manager add{''.join(options)}")

    @property
    def registered(self) -> Registration:
        """The registration on the boot device."""
        return self.filer.boot_device.load()

    def registered_files(self) -> list[str]:
        """Return the names in /var/kmip/certs."""
        return names_in(self.root / "var" / "kmip" / "certs")

    def installed_files(self) -> list[str]:
        """Return the names in /mroot/etc/keymgr/cert."""
        return names_in(self.root / "mroot" / "etc" / "keymgr" / "cert")

    # Keys and disks.

    def wait_at_most(self, seconds: float) -> None:
        """Change the timeout of key servers, until the next boot."""
        self.filer.hardware = self.filer.hardware._replace(timeout=seconds)

    def rekey(self) -> str:
        """Rekey all disks; return the new key ID."""
        shown = self.must("key_manager rekey").shown
        (key_id,) = [line.removeprefix("Key ID: ") for line in shown if line.startswith("Key ID: ")]
        return key_id

    def lock(self) -> None:
        """Lock all disks."""
        self.must("disk encrypt lock *")

    def encrypt(self) -> str:
        """Register all key servers, rekey and lock all disks, and return the key ID."""
        self.add()
        key_id = self.rekey()
        self.lock()
        return key_id

    def holdings(self) -> Holdings:
        """Return what the key servers hold, as the filer sees them now."""
        return self.filer.key_servers().fetch()

    def secret(self, key_id: str) -> AuthenticationKey:
        """Return the only key that the keytable has under ``key_id``."""
        entry = self.filer.keytable.get(key_id)
        assert entry is not None
        (key,) = entry.candidates
        return key

    def in_keytable(self) -> list[str]:
        """Return the key IDs in the keytable, sorted."""
        return sorted(entry.key_id for entry in self.filer.keytable)

    @property
    def disks(self) -> list[Disk]:
        """All disks."""
        return list(self.filer.shelf)

    @property
    def key_ids(self) -> list[str]:
        """The key ID of each disk."""
        return [disk.key_id for disk in self.disks]

    def key_id(self, disk: str = "0c.00.0") -> str:
        """Return the key ID of a disk."""
        return self.filer.shelf[disk].key_id

    @property
    def failures(self) -> list[int]:
        """The number of failures in a row that each disk has counted."""
        return [disk.failures for disk in self.disks]

    def write(self, disk: str, text: str) -> None:
        """Write a block of data."""
        self.filer.shelf[disk].write_block(1, text.encode().ljust(BLOCK_SIZE, b"\0"))

    def read(self, disk: str) -> str:
        """Read that block of data. Raises DiskLocked."""
        return self.filer.shelf[disk].read_block(1).rstrip(b"\0").decode()


def names_in(directory: Path) -> list[str]:
    """Return the sorted names in a directory; none if it does not exist."""
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []
