"""What the fixture does with parts of the filer: a process for each worker of a pytest session.

It runs key servers and damages disks in a separate process, so that the process of the tests
imports nothing of `filer` and has no key server threads.

The program gets a listening socket.  Each client gets a process by a fork, which ends with its
connection; the program ends at the end of its input.  A request is a line of JSON, a list: the name
of a method of `_Requests` and its arguments.  An answer is a JSON object with ``result`` or
``error``.
"""

import json
import os
import select
import shutil
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from filer.disks import faults
from filer.disks.bay import disk_index
from filer.host.durable import Storage
from filer.host.errors import FilerError
from filer.host.lock import locked
from filer.host.quoting import quoted
from filer.keyserver.authority import (
    AUTHORITY_PRIVATE,
    Identity,
    issue_server,
    prepare,
    server_name,
)
from filer.keyserver.server import KeyServer, start_together
from filer.pair.service import ServiceLock
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name
from filer.root import Root, RootInUse, RootLock


class StartKeyServers(Protocol):
    """The type of the function that ``key_servers`` provides."""

    def __call__(
        self, count: int = 2, *, addresses: tuple[str, ...] | None = None, port: int = 0
    ) -> list[KeyServer]:
        """Start ``count`` key servers, or one at each of ``addresses``, all on one port."""


def make_authority(directory: Path, addresses: Sequence[str]) -> None:
    """Create all certificates for key servers at ``addresses`` in ``directory``, and empty stores.

    This is slow, so it is done once; ``key_servers`` only copies the files.
    """
    prepare(directory, addresses)
    with KeyServer(directory, addresses[0], port=0) as first:
        store = first.store
    for address in addresses[1:]:
        shutil.copy(store, KeyServer(directory, address).store)


def share_authority(directory: Path, addresses: Sequence[str]) -> None:
    """Create an authority as `make_authority` does, unless another process did or does it."""
    lock = directory.with_name(f"{directory.name}.lock")
    with locked(lock, os.O_RDWR | os.O_CREAT, _cannot_share):
        if not directory.exists():
            unfinished = directory.with_name(f"{directory.name}.unfinished")
            make_authority(unfinished, addresses)
            unfinished.rename(directory)


def _cannot_share(error: OSError) -> FilerError:
    return FilerError(f"the key servers' authority cannot be created: {error.strerror}")


@contextmanager
def key_servers(
    authority: Path, directory: Path, addresses: Sequence[str]
) -> Iterator[StartKeyServers]:
    """Provide a function that starts key servers, each with its own empty store.

    By default they use the first of ``addresses`` and one free port (or ``port``), because all key
    servers of a filer have the same port.  Each has ``address``, ``port``, ``stop()``, ``start()``
    (same port, same keys), and ``directory``, which has copies of client.pem, client_private.pem
    and IP_CA.pem from ``authority``.  All are stopped at the end of the context.
    """
    with ExitStack() as stop:
        usual = tuple(addresses)

        def start(
            count: int = 2, *, addresses: tuple[str, ...] | None = None, port: int = 0
        ) -> list[KeyServer]:
            if not directory.exists():
                shutil.copytree(authority, directory)
            chosen = usual[:count] if addresses is None else addresses
            servers = [KeyServer(directory, address, port) for address in chosen]
            start_together(servers)
            for server in servers:
                stop.callback(server.stop)
            return servers

        yield start


def install_certificates(servers: Sequence[KeyServer], root: Path) -> None:
    """Install the certificates of ``servers`` in a root without any, as ``keymgr`` would."""
    storage, place = Storage(), Root(root)
    place.claim(storage)
    installed = place.installed_certificates
    storage.make_directory(installed)
    for name in (CLIENT, CLIENT_PRIVATE, *(ca_name(server.address) for server in servers)):
        shutil.copy(servers[0].directory / name, installed)


def replace_certificate(server: KeyServer, *, expired: bool) -> None:
    """Give ``server`` another certificate of its authority, and start it again if it runs."""
    authority = Identity.parse((server.directory / AUTHORITY_PRIVATE).read_bytes())
    now = datetime.now(UTC)
    new = issue_server(authority, server.address, now)
    if expired:
        lifetime = new.certificate.not_valid_after_utc - now
        new = issue_server(authority, server.address, now - lifetime - timedelta(days=1))
    Storage().write(server.directory / server_name(server.address), new.private_pem())
    if server.running:
        server.stop()
        server.start()


class _Requests:
    """The requests to the process; a group of key servers is identified by its directory."""

    def __init__(self) -> None:
        self._groups: dict[str, tuple[ExitStack, list[KeyServer]]] = {}

    def begin(self, authority: str, directory: str, addresses: list[str], count: int) -> int:
        """Start a group at the first ``count`` of ``addresses`` and return its port."""
        share_authority(Path(authority), addresses)
        with ExitStack() as stack:
            start = stack.enter_context(key_servers(Path(authority), Path(directory), addresses))
            servers = start(count)
            self._groups[directory] = stack.pop_all(), servers
        return servers[0].port

    def install_certificates(self, directory: str, root: str) -> None:
        install_certificates(self._groups[directory][1], Path(root))

    def start(self, directory: str, address: str) -> None:
        self._server(directory, address).start()

    def stop(self, directory: str, address: str) -> None:
        self._server(directory, address).stop()

    def expire(self, directory: str, address: str) -> None:
        replace_certificate(self._server(directory, address), expired=True)

    def renew(self, directory: str, address: str) -> None:
        replace_certificate(self._server(directory, address), expired=False)

    def lock_out(self, root: str, disk: str) -> None:
        path, storage = _disk(root, disk), Storage()
        try:
            lock = RootLock(Root(Path(root)), storage)
        except RootInUse as running:
            raise FilerError(
                f"{running}; power the filer off before a disk is locked out"
            ) from None
        try:
            if not ServiceLock(Path(root)).is_free():
                raise FilerError(
                    "the partner has taken this filer over; let it give the disks back before one "
                    "is locked out"
                )
            faults.lock_out(path, storage)
        finally:
            lock.release()

    def fail(self, root: str, disk: str) -> None:
        faults.fail(_disk(root, disk), Storage())

    def end(self, directory: str) -> None:
        """Stop and remove a group."""
        self._groups.pop(directory)[0].close()

    def end_all(self) -> None:
        for directory in list(self._groups):
            self.end(directory)

    def _server(self, directory: str, address: str) -> KeyServer:
        return next(each for each in self._groups[directory][1] if each.address == address)


def _disk(root: str, name: str) -> Path:
    """Return the file of a disk.  Raises FilerError if there is no such disk."""
    path = Root(Path(root)).shelf / f"{name}.sed"
    if disk_index(name) is None or not path.exists():
        raise FilerError(f"there is no disk {quoted(name)} in the shelf")
    return path


def serve(connection: socket.socket) -> None:
    """Tell the process ID, and answer requests until the connection ends."""
    requests = _Requests()
    with connection, connection.makefile("rw", encoding="utf-8") as stream:
        answer: dict[str, object] = {"result": os.getpid()}
        try:
            print(json.dumps(answer), file=stream, flush=True)
            for line in stream:
                name, *arguments = json.loads(line)
                try:
                    answer = {"result": getattr(requests, name)(*arguments)}
                except (FilerError, OSError) as problem:
                    answer = {"error": str(problem)}
                print(json.dumps(answer), file=stream, flush=True)
        finally:
            requests.end_all()


def main() -> None:
    """Fork for each client of the listening socket, until the input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # leaves no zombies
    with socket.socket(fileno=int(sys.argv[1])) as listener:
        while listener in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            if os.fork() == 0:  # without harm: this process has no threads
                listener.close()
                serve(connection)
                return
            connection.close()


if __name__ == "__main__":
    main()
