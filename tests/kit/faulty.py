"""A filer to play with, key servers that fail at a chosen moment, and storage that does.

``FaultyKeyServer`` is a real key server with an ear for what it is asked::

    server.on("REGISTER", faulty.dies)                  # before it has done it
    server.on("REGISTER", faulty.dies_after)            # it has done it, but nobody hears of it
    server.on("ACTIVATE", faulty.forgets)               # it says so, and does not keep it

``House`` is a filer in a root directory, with somebody at its console.
"""

import errno
import os
import shutil
import signal
import socket
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from filer.boot.machine import Machine, boot, power_off
from filer.commands import Command, EndOfAnswers, Result, disk, key_manager, keymgr
from filer.disks.disk import Disk
from filer.host.durable import Storage, StorageError
from filer.key_servers.holdings import Holdings
from filer.keys.authentication_key import MSID, AuthenticationKey, DiskKey
from filer.keys.key_id import MSID_KEY_ID
from filer.keys.keytable import Entry
from filer.keys.pair import KeyPair
from filer.keyserver.authority import Identity
from filer.keyserver.engine import Engine
from filer.keyserver.server import KeyServer, start_together
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name
from filer.registration.registration import Registration
from filer.running.interrupt import Interrupt
from filer.running.progress import show_nothing
from filer.shell.session import OK, Session
from filer.system import Filer
from pytest_filer.console import PATIENCE

# Key servers

Proceed = Callable[[], Any]
Fault = Callable[["FaultyKeyServer", Proceed], Any]


class FaultyKeyServer(KeyServer):
    """A real key server that does as ``on`` says when it is asked for an operation.

    ``heard`` has all operations it was asked for, in order.
    """

    def __init__(self, directory: Path, address: str, port: int = 0) -> None:
        super().__init__(directory, address, port)
        self.heard: list[str] = []
        self._faults: dict[str, tuple[Fault, int | None]] = {}
        self._released = threading.Event()
        self._vanishing: threading.Thread | None = None

    def on(self, operation: str, fault: Fault, *, times: int | None = None) -> None:
        """Do ``fault`` when ``operation`` ("*": any) is asked for, every time or ``times``."""
        self._faults[operation] = (fault, times)

    def recover(self) -> None:
        """Behave again, and start if it has died."""
        self._faults.clear()
        if self._vanishing is not None:
            self._vanishing.join()
            self._vanishing = None
        self._released.set()
        self._released = threading.Event()
        self.start()

    def stop(self) -> None:
        """Stop, silent or not."""
        self._released.set()
        super().stop()
        self._released = threading.Event()

    def vanish(self) -> None:
        """Stop, from within a request: whoever asked hears no more, and nobody is let in."""
        self._listener.shutdown(socket.SHUT_RDWR)
        for session in tuple(self._sessions):
            session.disconnect()
        self._vanishing = threading.Thread(target=self.stop)
        self._vanishing.start()

    def wait_for_release(self) -> None:
        """Do nothing until the server recovers or stops."""
        self._released.wait(60)

    def change(self, statement: str, *parameters: object) -> None:
        """Change what is stored, behind the back of PyKMIP."""
        with closing(sqlite3.connect(self.store, timeout=10)) as store, store:
            store.execute(statement, parameters)

    def process(self, operations: Sequence[str], proceed: Proceed) -> Any:
        """Do what was asked, or what the fault for it wants."""
        self.heard.extend(operations)
        for name in (*operations, "*"):
            fault, times = self._faults.get(name, (None, None))
            if fault is None:
                continue
            if times is not None:
                self._faults[name] = (fault, times - 1)
                if times <= 1:
                    del self._faults[name]
            return fault(self, proceed)
        return proceed()

    def _bind(self) -> socket.socket:
        self._listener = super()._bind()
        return self._listener

    def _engine(self) -> Engine:
        return _FaultyEngine(self)


class _FaultyEngine(Engine):
    def __init__(self, server: FaultyKeyServer) -> None:
        super().__init__(server.store, server._refuse_lost_store)
        self._server = server

    def process_request(self, request: Any, credential: Any = None) -> Any:
        operations = [item.operation.value.name for item in request.batch_items]
        # Kept out of the engine's own lock: only this one client waits.
        return self._server.process(
            operations, lambda: super(_FaultyEngine, self).process_request(request, credential)
        )


def obeys(_server: FaultyKeyServer, proceed: Proceed) -> Any:
    """Do it, and say so."""
    return proceed()


def refuses(_server: FaultyKeyServer, _proceed: Proceed) -> Any:
    """Refuse the request."""
    from kmip.core.exceptions import PermissionDenied

    raise PermissionDenied("no")


def dies(server: FaultyKeyServer, _proceed: Proceed) -> None:
    """Stop before anything is done."""
    server.vanish()


def dies_after(server: FaultyKeyServer, proceed: Proceed) -> None:
    """Do it, and stop before that is said."""
    proceed()
    server.vanish()


def silent(server: FaultyKeyServer, _proceed: Proceed) -> None:
    """Neither do it nor answer."""
    server.wait_for_release()


def silent_after(server: FaultyKeyServer, proceed: Proceed) -> Any:
    """Do it, and never answer."""
    answer = proceed()
    server.wait_for_release()
    return answer


def forgets(server: FaultyKeyServer, proceed: Proceed) -> Any:
    """Do it, say so, and do not keep it."""
    answer = proceed()
    server.change("UPDATE managed_object_names SET name = 'lost' WHERE mo_uid = " + _NEWEST)
    server.change("DELETE FROM managed_objects WHERE uid = " + _NEWEST)
    return answer


def keeps_another_secret(server: FaultyKeyServer, proceed: Proceed) -> Any:
    """Do it, say so, and keep something else under that name."""
    answer = proceed()
    server.change("UPDATE managed_objects SET value = ? WHERE uid = " + _NEWEST, b"Another-secret1")
    return answer


def hides_it(server: FaultyKeyServer, proceed: Proceed) -> Any:
    """Do it, and give the object to another client."""
    answer = proceed()
    server.change("UPDATE managed_objects SET owner = 'another' WHERE uid = " + _NEWEST)
    return answer


def keeps_a_copy(server: FaultyKeyServer, proceed: Proceed) -> Any:
    """Do it, say so, and have everything again as it was before."""
    copy = server.store.read_bytes()
    answer = proceed()
    server.store.write_bytes(copy)
    return answer


def then(fault: Fault, operation: str, later: Fault, *, times: int | None = None) -> Fault:
    """Return what does ``fault``, and from then on ``later`` when ``operation`` is asked for."""

    def begin(server: FaultyKeyServer, proceed: Proceed) -> Any:
        server.on(operation, later, times=times)
        return fault(server, proceed)

    return begin


_NEWEST = "(SELECT max(uid) FROM managed_objects)"


@contextmanager
def running(authority: Path, directory: Path, count: int = 2) -> Iterator[list[FaultyKeyServer]]:
    """Run key servers with empty stores, on one free port, in a copy of ``authority``."""
    shutil.copytree(authority, directory)
    servers = [FaultyKeyServer(directory, f"127.0.0.{2 + number}") for number in range(count)]
    start_together(servers)
    try:
        yield servers
    finally:
        for server in servers:
            server.stop()


class Held:
    """What a key server does when it is to take its time: until ``release``."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._released = threading.Event()

    def __call__(self, _server: FaultyKeyServer, proceed: Callable[[], Any]) -> Any:
        self.reached.set()
        self._released.wait(PATIENCE)
        return proceed()

    def release(self) -> None:
        self._released.set()


def hold(server: FaultyKeyServer, operation: str) -> Held:
    held = Held()
    server.on(operation, held, times=1)
    return held


def lie_about(server: KeyServer, key_id: str, secret: bytes) -> None:
    """Make a server that runs or not hold ``secret`` under ``key_id``."""
    with closing(sqlite3.connect(server.store, timeout=10)) as store, store:
        changed = store.execute(
            "UPDATE managed_objects SET value = ? WHERE uid IN "
            "(SELECT mo_uid FROM managed_object_names WHERE name = ?)",
            (secret, key_id),
        )
        assert changed.rowcount == 1


def lose(server: KeyServer, key_id: str) -> None:
    """Make a server hold ``key_id`` no more, as one restored from an old backup."""
    with closing(sqlite3.connect(server.store, timeout=10)) as store, store:
        objects = "(SELECT mo_uid FROM managed_object_names WHERE name = ?)"
        store.execute(f"DELETE FROM managed_objects WHERE uid IN {objects}", (key_id,))
        store.execute("DELETE FROM managed_object_names WHERE name = ?", (key_id,))


def stored_key_ids(server: KeyServer) -> list[str]:
    """Return the names of all objects in the store, destroyed ones excepted."""
    with closing(sqlite3.connect(server.store, timeout=10)) as store:
        rows = store.execute(
            "SELECT name FROM managed_object_names "
            "JOIN managed_objects ON mo_uid = uid ORDER BY name"
        )
        return [name for (name,) in rows]


# Storage

Work = Callable[[], None]


class WatchedStorage(Storage, ABC):
    """Storage that has a say in each change; ``changes`` counts them.

    What is there, or gone, already is not a change.
    """

    changes = 0

    @abstractmethod
    def _do(self, work: Work, *torn: Work) -> None:
        """Do ``work``, or one of what an interrupted ``work`` may leave behind."""

    def _do_removal(self, work: Work, *torn: Work) -> None:
        """Do ``work``, which makes room."""
        self._do(work, *torn)

    def make_directory(self, path: Path) -> None:
        if path.is_dir():
            Storage.make_directory(self, path)
        else:
            self._do(lambda: Storage.make_directory(self, path))

    def write(self, path: Path, data: bytes) -> None:
        self._do(
            lambda: Storage.write(self, path, data),
            lambda: _leave_new_file(path, data[: len(data) // 2]),
        )

    def overwrite(self, path: Path, offset: int, data: bytes) -> None:
        half = len(data) // 2
        self._do(
            lambda: Storage.overwrite(self, path, offset, data),
            lambda: Storage.overwrite(self, path, offset, data[:half]),
            lambda: Storage.overwrite(self, path, offset + half, data[half:]),
        )

    def create(self, path: Path, head: bytes, size: int) -> None:
        self._do(
            lambda: Storage.create(self, path, head, size),
            lambda: _leave_new_file(path, head[: len(head) // 2]),
            lambda: _leave_two_names(lambda: Storage.create(self, path, head, size), path),
        )

    def link(self, path: Path, target: str) -> None:
        self._do(
            lambda: Storage.link(self, path, target),
            lambda: _new_name(path).symlink_to(target),
        )

    def remove(self, path: Path) -> None:
        if os.path.lexists(path):
            self._do_removal(lambda: Storage.remove(self, path))

    def remove_tree(self, path: Path) -> None:
        def files() -> list[Path]:
            return [each for each in sorted(path.rglob("*")) if each.is_file()]

        self._do_removal(
            lambda: Storage.remove_tree(self, path),
            lambda: _unlink(files()[:1]),
            lambda: _unlink(files()),
        )


def _new_name(path: Path) -> Path:
    return path.parent / ".new-0123456789abcdef"


def _leave_new_file(path: Path, data: bytes) -> None:
    _new_name(path).write_bytes(data)


def _leave_two_names(create: Work, path: Path) -> None:
    create()
    _new_name(path).hardlink_to(path)


def _unlink(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink()


@dataclass(frozen=True)
class Trouble:
    """How a host refuses changes: with which error, and what it has made of them all the same.

    ``made`` is the part of the first one that was made: 0, 0.5 (torn) or 1 (only its sync failed).
    ``then`` is that part of all later ones; None: they succeed.  A full disk still allows
    ``removals``.
    """

    error: int = errno.ENOSPC
    made: float = 0
    then: float | None = 0
    removals: bool = False


class FailingStorage(WatchedStorage):
    """Storage that refuses the changes from number ``first`` on (from 1), as a full disk does.

    The log and the sweep are not counted, but refused with the others.
    """

    def __init__(self) -> None:
        self._first: int | None = None
        self._trouble = Trouble()

    def arm(
        self,
        first: int,
        trouble: Trouble | None = None,
        *,
        after: bool = False,
        only: bool = False,
    ) -> None:
        """Refuse from change ``first``, counted from now.

        Without a ``trouble``: with ENOSPC; ``after`` the change was made, and its sync failed;
        ``only`` one is refused, or all from there on.
        """
        made = 1 if after else 0
        self._trouble = trouble or Trouble(made=made, then=None if only else made)
        self.changes, self._first = 0, first

    def disarm(self) -> bool:
        """Work again, and count anew; return whether anything was refused since ``arm``."""
        refused = self._first is not None and self.changes >= self._first
        self._first, self.changes = None, 0
        return refused

    def settle(self, path: Path) -> None:
        self._do(lambda: Storage.settle(self, path))

    def settle_above(self, path: Path) -> None:
        self._do(lambda: Storage.settle_above(self, path))

    def append(self, path: Path, data: bytes) -> None:
        self._refuse_at(self._in_trouble)
        super().append(path, data)

    def sweep(self, directory: Path) -> None:
        self._refuse_at(
            self._in_trouble and not self._trouble.removals and any(directory.glob(".new-*"))
        )
        super().sweep(directory)

    @property
    def _in_trouble(self) -> bool:
        """Whether changes have been refused, and are refused for good."""
        return (
            self._first is not None
            and self.changes >= self._first
            and self._trouble.then is not None
        )

    def _do(self, work: Work, *torn: Work) -> None:
        self.changes += 1
        made: float | None = None
        if self._first is not None and self.changes >= self._first:
            made = self._trouble.made if self.changes == self._first else self._trouble.then
        if made is None or made == 1:
            work()
        elif made and torn:
            torn[0]()
        self._refuse_at(made is not None)

    def _do_removal(self, work: Work, *torn: Work) -> None:
        if self._trouble.removals:
            self.changes += 1
            work()
        else:
            self._do(work, *torn)

    def _refuse_at(self, moment: bool) -> None:
        if moment:
            raise StorageError(f"cannot write FILE: {os.strerror(self._trouble.error)}")


class CrashingStorage(WatchedStorage):
    """Storage that kills its own process "before", within ("torn 1" ...), or "after" one change.

    ``kinds`` says of each change so far which of these there are.
    """

    def __init__(self) -> None:
        self.kinds: list[tuple[str, ...]] = []
        self._at: int | None = None
        self._moment = ""

    def arm(self, at: int | None, moment: str) -> None:
        """Crash at change ``at`` (from 1; None: never), counted from now."""
        self.changes, self._at, self._moment = 0, at, moment
        self.kinds.clear()

    def append(self, path: Path, data: bytes) -> None:
        self._do(
            lambda: Storage.append(self, path, data),
            lambda: Storage.append(self, path, data[: len(data) // 2]),
        )

    def sweep(self, directory: Path) -> None:
        left = sorted(directory.glob(".new-*"))
        if left:
            self._do(lambda: Storage.sweep(self, directory), lambda: _unlink(left[:1]))

    def _do(self, work: Work, *torn: Work) -> None:
        self.changes += 1
        moments = {"before": lambda: None}
        moments |= {f"torn {number}": each for number, each in enumerate(torn, 1)}
        moments["after"] = work
        self.kinds.append(tuple(moments))
        if self.changes != self._at:
            work()
            return
        moments[self._moment]()
        os.kill(os.getpid(), signal.SIGKILL)


# A filer


@dataclass
class Told:
    """What a boot tells."""

    steps: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    boxes: list[tuple[str, ...]] = field(default_factory=list)

    def progress(self, event: str, text: str) -> None:
        self.steps.append(text)

    def warning(self, event: str, text: str) -> None:
        self.warnings.append(text)

    def banner(self, lines: tuple[str, ...]) -> None:
        self.boxes.append(lines)


@dataclass
class Operator:
    """Somebody at the console, who has ``answers`` and does what ``when`` says at a question."""

    answers: deque[str] = field(default_factory=deque)
    when: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    status: int = OK
    is_terminal: bool = False
    width: int = 80

    @property
    def text(self) -> str:
        """What was printed, failures and all."""
        return "\n".join([*self.shown, *self.warnings, *self.failures])

    def show(self, result: Result) -> None:
        self.shown.extend(result.lines())

    def fail(self, message: str) -> None:
        self.failures.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def ask(self, question: str) -> str:
        self.questions.append(question)
        for part, action in self.when.items():
            if part in question:
                action()
        if not self.answers:
            raise EndOfAnswers
        return self.answers.popleft()

    def ask_secret(self, question: str) -> str:
        return self.ask(question)

    def page(self, text: str) -> None:
        self.shown.extend(text.splitlines())

    progress = staticmethod(show_nothing)


COMMANDS: Mapping[str, Command] = {
    command.name: command for command in (*key_manager.COMMANDS, *disk.COMMANDS, *keymgr.COMMANDS)
}


def settings(
    *,
    port: int = 5696,
    disks: int = 4,
    timeout: float = 10.0,
    init_maxwait: float = 0.0,
    system_id: int = 1573922407,
    partner_id: int = 1573922311,
) -> str:
    """Return a filer.toml."""
    return (
        f"[system]\nsystem_id = {system_id}\npartner_id = {partner_id}\n"
        f'[shelf]\ndisks = {disks}\ndisk_size = "1 MiB"\n'
        f"[kmip]\nport = {port}\ntimeout = {timeout}\ninit_maxwait = {init_maxwait}\n"
    )


class House:
    """A filer in ``root``, and its machine; a context that gives the root back."""

    filer: Filer

    def __init__(
        self, root: Path, storage: Storage | None = None, interrupt: Interrupt | None = None
    ) -> None:
        self.root = root
        self._closed = False
        self.machine = Machine(root, interrupt or Interrupt(), storage)

    @classmethod
    def build(
        cls,
        root: Path,
        servers: Sequence[KeyServer] = (),
        storage: Storage | None = None,
        **set_up: Any,
    ) -> Self:
        """Make a root for the port of ``servers``, boot it, and install their certificates."""
        root.mkdir(mode=0o700)
        port = {"port": servers[0].port} if servers else {}
        (root / "filer.toml").write_text(settings(**port | set_up))
        house = cls(root, storage)
        house.boot()
        if servers:
            house.install(servers[0].directory, *(ca_name(server.address) for server in servers))
        return house

    @property
    def disks(self) -> list[Disk]:
        """All disks."""
        return list(self.filer.shelf)

    @property
    def key_ids(self) -> list[str]:
        """The key ID of each disk."""
        return [disk.key_id for disk in self.disks]

    @property
    def registered(self) -> Registration:
        """What is registered on the boot device, whatever the filer believes."""
        return self.filer.boot_device.load()

    def set(self, **set_up: Any) -> None:
        """Change filer.toml, for the next boot."""
        (self.root / "filer.toml").write_text(settings(**set_up))

    def wait_at_most(self, seconds: float) -> None:
        """Give each key server this long to answer, until the next boot."""
        self.filer.hardware = self.filer.hardware._replace(timeout=seconds)

    def off(self) -> Filer:
        """Take power away, and give it back, but do not boot."""
        if hasattr(self, "filer"):
            power_off(self.filer)
        return self.machine.power_on()

    def boot(self, told: Told | None = None) -> Told:
        """Power on (again) and boot.  Raises Panic; ``filer`` is there all the same."""
        self.filer = self.off()
        return self.boot_now(told or Told())

    def boot_now(self, told: Told) -> Told:
        """Boot what has power."""
        boot(self.filer, told)
        return told

    def install(self, directory: Path, *names: str) -> None:
        """Install the client files and ``names`` from ``directory``."""
        for name in (CLIENT, CLIENT_PRIVATE, *names):
            self.filer.installed.install(directory / name, name, self.filer.now())

    def install_client(self, identity: Identity) -> None:
        """Install another client certificate, and its private key."""
        # As somebody would who changes both: what does not fit is uninstalled first.
        for name in (CLIENT, CLIENT_PRIVATE):
            if name in self.filer.installed.names():
                self.must(f"keymgr delete cert {name}")
        now = self.filer.now()
        self.filer.installed.install(identity.certificate_pem(), CLIENT, now)
        self.filer.installed.install(identity.private_pem(), CLIENT_PRIVATE, now)

    def run(
        self,
        line: str,
        *answers: str,
        when: Mapping[str, Callable[[], object]] | None = None,
        commands: Mapping[str, Command] = COMMANDS,
    ) -> Operator:
        """Type a line, and answer what it asks."""
        operator = Operator(deque(answers), when or {})
        operator.status = Session(self.filer, commands, operator).execute(line)
        return operator

    def must(self, line: str, *answers: str) -> Operator:
        """Type a line that has to succeed."""
        operator = self.run(line, *answers)
        assert operator.status == OK, operator.text
        return operator

    def add(self, *servers: KeyServer) -> Operator:
        """Register key servers."""
        return self.must(
            "key_manager add" + "".join(f" -key_server {server.address}" for server in servers)
        )

    def rekey(self) -> str:
        """Rekey all disks; return the new key ID."""
        shown = self.must("key_manager rekey").shown
        (key_id,) = [line.removeprefix("Key ID: ") for line in shown if line.startswith("Key ID: ")]
        return key_id

    def lock(self) -> None:
        """Lock all disks."""
        self.must("disk encrypt lock *")

    def holdings(self) -> Holdings:
        """Return what the key servers hold, as the filer sees them now."""
        return self.filer.key_servers().fetch(self.filer.identity.parent_tag)

    def secret(self, key_id: str) -> AuthenticationKey:
        """Return the one key that the keytable has under ``key_id``."""
        entry = self.filer.keytable.get(key_id)
        assert entry is not None
        (key,) = entry.candidates
        return key

    def close(self) -> None:
        """Take power away, and give the root back; once."""
        if self._closed:
            return
        self._closed = True
        if hasattr(self, "filer"):
            power_off(self.filer)
        self.machine.unplug()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def locked_house(root: Path, servers: Sequence[KeyServer], **set_up: Any) -> House:
    """Build a filer that has registered ``servers``, and has locked its disks with a new key."""
    house = House.build(root, servers, **set_up)
    house.add(*servers)
    house.rekey()
    house.lock()
    return house


def entry_of(pair: KeyPair) -> Entry:
    """Return the keytable's entry of one key pair."""
    return Entry(pair.key_id, pair.tag, (pair.key,))


def check_that_no_key_is_lost(house: House) -> None:
    """Make sure that every disk opens with a key of the registered key servers, or the MSID.

    Each is really tried, on the disk itself, but for those that are destroyed.
    """
    _check(house, house.holdings().pairs() if house.filer.registration.servers else [])


def check_that_no_key_is_lost_by(house: House, servers: Sequence[KeyServer]) -> None:
    """Make sure of it with what ``servers`` hold, registered or not."""
    directory = servers[0].directory
    clients = house.filer.key_servers_at(
        [server.address for server in servers], servers[0].port, lambda name: directory / name
    )
    _check(house, clients.fetch(house.filer.identity.parent_tag).pairs())


def _check(house: House, pairs: Sequence[KeyPair]) -> None:
    for each in house.disks:
        if each.destroyed:
            continue
        keys: list[DiskKey] = (
            [MSID]
            if each.key_id == MSID_KEY_ID
            else [pair.key for pair in pairs if pair.key_id == each.key_id]
        )
        assert keys, f"{each.name}: its key is on no key server"
        each.authenticate(keys[0])
        each.read_block(0)
