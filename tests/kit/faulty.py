"""Key servers and storage that fail at a chosen moment.

``FaultyKeyServer`` is a real key server that can be told to misbehave::

    server.on("REGISTER", faulty.dies)                  # instead of storing the key
    server.on("REGISTER", faulty.dies_after)            # after storing it, before the answer
    server.on("ACTIVATE", faulty.forgets)               # confirms it, and deletes the key
"""

import errno
import os
import shutil
import signal
import socket
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from filer.host.durable import Storage, StorageError
from filer.keys.authentication_key import MSID, DiskKey
from filer.keys.key_id import MSID_KEY_ID
from filer.keys.keytable import Entry
from filer.keys.pair import KeyPair
from filer.keyserver.engine import Engine
from filer.keyserver.request import Request, integer
from filer.keyserver.server import KeyServer, start_together
from filer.registration.pem import CLIENT
from filer.running.progress import Show, Steps, Tell
from filer.running.progress import Work as LongWork
from pytest_filer.child import PATIENCE
from tests.kit import hostile
from tests.kit.crash_model.tree import Tree
from tests.kit.hostile import Meddle
from tests.kit.house import House
from tests.kit.repeated import repeated_beside

# Key servers

Proceed = Callable[[], Any]
Fault = Callable[["FaultyKeyServer", Proceed], Any]


def pulled_during(what: str, disk: Path, away: Path) -> Show:
    """Return a display of progress that moves the file of a disk ``away`` when ``what`` begins.

    It does so once.
    """
    moves = iter([lambda: disk.rename(away)])

    @contextmanager
    def show(work: LongWork) -> Iterator[Tell]:
        if isinstance(work, Steps) and work.what == what:
            next(moves, disk.exists)()
        yield lambda _done: None

    return show


class FaultyKeyServer(KeyServer):
    """A real key server that misbehaves as ``on`` says; ``heard`` has all requested operations."""

    def __init__(self, directory: Path, address: str, port: int = 0) -> None:
        super().__init__(directory, address, port)
        self.heard: list[str] = []
        self._faults: dict[str, tuple[Fault, int | None]] = {}
        self._released = threading.Event()
        self._vanishing: threading.Thread | None = None
        self._guard = threading.Lock()

    def on(self, operation: str, fault: Fault, *, times: int | None = None) -> None:
        """Apply ``fault`` to ``operation`` ("*": any), always or only ``times`` times."""
        self._faults[operation] = (fault, times)

    def recover(self) -> None:
        """Behave correctly again, and restart if it has died."""
        self._faults.clear()
        with self._guard:
            vanishing, self._vanishing = self._vanishing, None
        if vanishing is not None:
            vanishing.join()
        self._released.set()
        self._released = threading.Event()
        self.start()

    def stop(self) -> None:
        """Stop, even while a client waits for an answer."""
        self._released.set()
        super().stop()
        self._released = threading.Event()

    def vanish(self) -> None:
        """Stop during a request, which is not answered."""
        self._listener.shutdown(socket.SHUT_RDWR)
        for session in tuple(self._sessions):
            session.disconnect()
        with self._guard:  # `recover` must not join it before it is started
            self._vanishing = threading.Thread(target=self.stop)
            self._vanishing.start()

    def wait_for_release(self) -> None:
        """Block until the server recovers or stops."""
        self._released.wait(60)

    def change(self, statement: str, *parameters: object) -> None:
        """Change the store without PyKMIP."""
        with closing(sqlite3.connect(self.store, timeout=10)) as store, store:
            store.execute(statement, parameters)

    def process(self, operations: Sequence[str], proceed: Proceed) -> Any:
        """Process a request, or apply the fault for it."""
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

    def process(self, request: Request, client: str) -> Any:
        from kmip.core.enums import Operation

        requested = [item.operation for item in request.items if item.operation]
        operations = [Operation(integer(each)).name for each in requested]
        # Outside the engine's own lock, so that only this client waits.
        return self._server.process(
            operations, lambda: super(_FaultyEngine, self).process(request, client)
        )


def obeys(_server: FaultyKeyServer, proceed: Proceed) -> Any:
    """Process the request correctly."""
    return proceed()


def refuses(_server: FaultyKeyServer, _proceed: Proceed) -> Any:
    """Refuse the request."""
    from kmip.core.exceptions import PermissionDenied

    raise PermissionDenied("no")


def dies(server: FaultyKeyServer, _proceed: Proceed) -> None:
    """Stop before processing the request."""
    server.vanish()


def dies_after(server: FaultyKeyServer, proceed: Proceed) -> None:
    """Process the request, and stop before the answer."""
    proceed()
    server.vanish()


def silent(server: FaultyKeyServer, _proceed: Proceed) -> None:
    """Neither process nor answer the request."""
    server.wait_for_release()


def silent_after(server: FaultyKeyServer, proceed: Proceed) -> Any:
    """Process the request, and never answer."""
    answer = proceed()
    server.wait_for_release()
    return answer


def forgets(server: FaultyKeyServer, proceed: Proceed) -> Any:
    """Confirm the request, and delete the newest object."""
    answer = proceed()
    server.change("UPDATE managed_object_names SET name = 'lost' WHERE mo_uid = " + _NEWEST)
    server.change("DELETE FROM managed_objects WHERE uid = " + _NEWEST)
    return answer


def keeps_another_secret(server: FaultyKeyServer, proceed: Proceed) -> Any:
    """Confirm the request, and change the secret of the newest object."""
    answer = proceed()
    server.change("UPDATE managed_objects SET value = ? WHERE uid = " + _NEWEST, b"Another-secret1")
    return answer


def hides_it(server: FaultyKeyServer, proceed: Proceed) -> Any:
    """Confirm the request, and give the newest object to another client."""
    answer = proceed()
    server.change("UPDATE managed_objects SET owner = 'another' WHERE uid = " + _NEWEST)
    return answer


def keeps_a_copy(server: FaultyKeyServer, proceed: Proceed) -> Any:
    """Confirm the request, and restore the store as it was before."""
    copy = server.store.read_bytes()
    answer = proceed()
    server.store.write_bytes(copy)
    return answer


def then(fault: Fault, operation: str, later: Fault, *, times: int | None = None) -> Fault:
    """Return a fault that also applies ``later`` to ``operation`` from then on."""

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


def servers(count: int) -> Any:
    """Return a fixture that runs ``count`` key servers; a test module calls it ``servers``."""

    @pytest.fixture
    def started(authority: Path, tmp_path: Path) -> Iterator[list[FaultyKeyServer]]:
        with running(authority, tmp_path / "key servers", count) as started:
            yield started

    return started


@pytest.fixture
def server(servers: list[FaultyKeyServer]) -> FaultyKeyServer:
    """The only key server of a test module; the module calls it ``server``."""
    (only,) = servers
    return only


class Held:
    """A fault that delays the answer until ``release``."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._released = threading.Event()

    def __call__(self, _server: FaultyKeyServer, proceed: Callable[[], Any]) -> Any:
        self.reached.set()
        self._released.wait(PATIENCE)
        return proceed()

    def release(self) -> None:
        self._released.set()


def put_store(server: KeyServer, content: bytes) -> None:
    """Give a key server, running or not, the store that ``content`` is a copy of."""
    with closing(sqlite3.connect(":memory:")) as copy, closing(sqlite3.connect(server.store)) as to:
        copy.deserialize(content)
        copy.backup(to)


def hold(server: FaultyKeyServer, operation: str) -> Held:
    held = Held()
    server.on(operation, held, times=1)
    return held


def replace_secret(server: KeyServer, key_id: str, secret: bytes) -> None:
    """Replace the secret that a server (running or not) holds under ``key_id``."""
    with closing(sqlite3.connect(server.store, timeout=10)) as store, store:
        changed = store.execute(
            "UPDATE managed_objects SET value = ? WHERE uid IN "
            "(SELECT mo_uid FROM managed_object_names WHERE name = ?)",
            (secret, key_id),
        )
        assert changed.rowcount == 1


def lose(server: KeyServer, key_id: str) -> None:
    """Delete ``key_id`` from a server's store, as restoring an old backup does."""
    with closing(sqlite3.connect(server.store, timeout=10)) as store, store:
        objects = "(SELECT mo_uid FROM managed_object_names WHERE name = ?)"
        store.execute(f"DELETE FROM managed_objects WHERE uid IN {objects}", (key_id,))
        store.execute("DELETE FROM managed_object_names WHERE name = ?", (key_id,))


def stored_key_ids(server: KeyServer) -> list[str]:
    """Return the names of all objects in the store that are not destroyed."""
    with closing(sqlite3.connect(server.store, timeout=10)) as store:
        rows = store.execute(
            "SELECT name FROM managed_object_names "
            "JOIN managed_objects ON mo_uid = uid ORDER BY name"
        )
        return [name for (name,) in rows]


# Storage

Work = Callable[[], None]


class WatchedStorage(Storage, ABC):
    """Storage with a hook for each change; ``changes`` counts them.

    Creating what exists, or removing what does not, is not a change.  Threads make their changes
    one after the other, in any order.
    """

    def __init__(self) -> None:
        self.changes = 0
        self._one_at_a_time = threading.RLock()

    @abstractmethod
    def _change(self, work: Work, *torn: Work) -> None:
        """Do ``work``, or one of ``torn``: what an interrupted ``work`` may leave."""

    def _do(self, work: Work, *torn: Work) -> None:
        with self._one_at_a_time:
            self._change(work, *torn)

    def _do_removal(self, work: Work, *torn: Work) -> None:
        """Do ``work``, which frees space."""
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

    def overwrite(self, path: Path, offset: int, data: bytes, inode: int = 0) -> None:
        half = len(data) // 2
        self._do(
            lambda: Storage.overwrite(self, path, offset, data, inode),
            lambda: Storage.overwrite(self, path, offset, data[:half], inode),
            lambda: Storage.overwrite(self, path, offset + half, data[half:], inode),
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
    """How a host refuses changes: with which error, and how much of each change it still makes.

    ``made`` is that part of the first change: 0, 0.5 (torn) or 1 (only its sync failed).  ``then``
    is that part of all later ones; None: they succeed.  A full disk still allows ``removals``.
    """

    error: int = errno.ENOSPC
    made: float = 0
    then: float | None = 0
    removals: bool = False


class FailingStorage(WatchedStorage):
    """Storage that refuses the changes from number ``first`` (from 1) on, as a full disk does.

    Changes of the log and sweeps are not counted, but also refused.
    """

    def __init__(self) -> None:
        super().__init__()
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
        """Refuse changes from ``first`` on, counted from now.

        Without ``trouble`` the error is ENOSPC; ``after``: the change is made, and its sync fails;
        ``only``: later changes succeed.
        """
        made = 1 if after else 0
        self._trouble = trouble or Trouble(made=made, then=None if only else made)
        self.changes, self._first = 0, first

    def disarm(self) -> bool:
        """Refuse nothing, and restart the count; return whether anything was refused."""
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
        """Whether changes have been refused, and all later ones are too."""
        return (
            self._first is not None
            and self.changes >= self._first
            and self._trouble.then is not None
        )

    def _change(self, work: Work, *torn: Work) -> None:
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


class PowerLoss(BaseException):
    """The process is gone."""


def lose_power() -> None:
    raise PowerLoss


def _kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class CrashingStorage(WatchedStorage):
    """Storage that kills its own process "before", within ("torn 1" ...), or "after" a change.

    ``kinds`` lists for each change which of these moments it has.  With a ``crash`` that raises,
    it is raised again at each later change, by whichever thread.
    """

    def __init__(self, crash: Callable[[], None] = _kill_this_process) -> None:
        super().__init__()
        self.kinds: list[tuple[str, ...]] = []
        self._crash = crash
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

    def _change(self, work: Work, *torn: Work) -> None:
        if self._at is not None and self.changes >= self._at:
            self._crash()
        self.changes += 1
        moments = {"before": lambda: None}
        moments |= {f"torn {number}": each for number, each in enumerate(torn, 1)}
        moments["after"] = work
        self.kinds.append(tuple(moments))
        if self.changes != self._at:
            work()
            return
        moments.get(self._moment, moments["before"])()  # not every change can be torn
        self._crash()


class NotedStorage(Storage):
    """Storage that records its calls; with ``unsettling``, nothing that exists can be synced."""

    def __init__(self, *, unsettling: bool = False) -> None:
        self.calls: list[tuple[str, Path]] = []
        self._unsettling = unsettling

    def settle(self, path: Path) -> None:
        self.calls.append(("settle", path))
        if self._unsettling:
            raise StorageError(f"cannot write {path.name}: Input/output error")
        super().settle(path)

    def settle_above(self, path: Path) -> None:
        self.calls.append(("settle_above", path))
        super().settle_above(path)

    def write(self, path: Path, data: bytes) -> None:
        self.calls.append(("write", path))
        super().write(path, data)

    def remove_tree(self, path: Path) -> None:
        self.calls.append(("remove_tree", path))
        super().remove_tree(path)


# A filer


class _Locked(NamedTuple):
    root: Tree
    stores: Sequence[bytes]
    drawn: Counter[int]


_locked: dict[object, _Locked] = {}
"""What the first filer of each kind has left; later ones start with a copy."""


def locked_house(
    root: Path,
    servers: Sequence[KeyServer],
    storage: Storage | None = None,
    *,
    registered: int | None = None,
    **set_up: Any,
) -> House:
    """Boot a filer that has registered ``servers``, and locked its disks with a new key.

    It has the certificates of all, but only the first ``registered`` of them registered.
    """
    client = (servers[0].directory / CLIENT).read_bytes()
    stores = [(server.address, server.store.read_bytes()) for server in servers]
    kind = (client, *stores, registered, *sorted(set_up.items()))
    random = repeated_beside(root, servers)
    if copied := _locked.get(kind):
        for server, store in zip(servers, copied.stores, strict=True):
            put_store(server, store)
        copied.root.store(root)
        random.position = Counter(copied.drawn)
    else:
        with House.build(root, servers, **set_up) as first:
            first.add(*servers[:registered])
            first.rekey()
            first.lock()
        left = [server.store.read_bytes() for server in servers]
        _locked[kind] = _Locked(Tree.load(root), left, Counter(random.position))
    house = House(root, servers, storage)
    house.set(port=servers[0].port, **set_up)
    house.boot()
    return house


@pytest.fixture
def locked(servers: list[FaultyKeyServer], tmp_path: Path) -> Iterator[House]:
    """A filer with locked disks and the module's ``servers``; the module calls it ``house``."""
    with locked_house(tmp_path / "root", servers) as house:
        for server in servers:
            server.heard.clear()
        yield house


@contextmanager
def seen_through(
    house: House, server: KeyServer, meddle: Meddle, **options: Any
) -> Iterator[hostile.Server]:
    """Let the filer see the key server's answers as changed by ``meddle``."""
    with hostile.proxy(server, meddle, **options) as proxy:
        house.set(port=proxy.port)
        house.filer.hardware = house.filer.hardware._replace(port=proxy.port)
        yield proxy


def entry_of(pair: KeyPair) -> Entry:
    """Return the keytable entry of one key pair."""
    return Entry(pair.key_id, pair.tag, (pair.key,))


def check_that_no_key_is_lost(house: House) -> None:
    """Check that every disk opens with a key of the registered key servers, or the MSID.

    The keys are tried on the disks themselves, except destroyed ones.
    """
    _check(house, house.holdings().pairs() if house.filer.registration.servers else [])


def check_that_no_key_is_lost_by(house: House, servers: Sequence[KeyServer]) -> None:
    """Check it with the keys that ``servers`` hold, registered or not."""
    directory = servers[0].directory
    clients = house.filer.key_servers_at(
        [server.address for server in servers], servers[0].port, lambda name: directory / name
    )
    _check(house, clients.fetch().pairs())


def _check(house: House, pairs: Sequence[KeyPair]) -> None:
    house.filer.shelf.look_again()  # its partner may have been checked before
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
