"""The key servers of the fixture as a program: one request per line on stdin, answers on stdout.

It runs in a separate process, so that the process of the tests imports nothing of `filer` and has
no key server threads; it ends at the end of its input.  A request is a JSON list: the name of a
method of `_Requests` and its arguments.  An answer is a JSON object with ``result`` or ``error``.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from filer.host.durable import Storage
from filer.host.errors import FilerError
from filer.keyserver.authority import prepare
from filer.keyserver.server import KeyServer, start_together
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name
from filer.root import Root


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


class _Requests:
    """The requests to the process; a group of key servers is identified by its directory."""

    def __init__(self) -> None:
        self._groups: dict[str, tuple[ExitStack, list[KeyServer]]] = {}

    def make_authority(self, directory: str, addresses: list[str]) -> None:
        make_authority(Path(directory), addresses)

    def begin(self, authority: str, directory: str, addresses: list[str]) -> int:
        """Start a group at ``addresses`` and return its port."""
        with ExitStack() as stack:
            start = stack.enter_context(key_servers(Path(authority), Path(directory), addresses))
            servers = start(len(addresses))
            self._groups[directory] = stack.pop_all(), servers
        return servers[0].port

    def install_certificates(self, directory: str, root: str) -> None:
        install_certificates(self._groups[directory][1], Path(root))

    def start(self, directory: str, address: str) -> None:
        self._server(directory, address).start()

    def stop(self, directory: str, address: str) -> None:
        self._server(directory, address).stop()

    def end(self, directory: str) -> None:
        """Stop and remove a group."""
        self._groups.pop(directory)[0].close()

    def end_all(self) -> None:
        for directory in list(self._groups):
            self.end(directory)

    def _server(self, directory: str, address: str) -> KeyServer:
        return next(each for each in self._groups[directory][1] if each.address == address)


def main() -> None:
    """Answer requests until the input ends."""
    requests = _Requests()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # send all other output to standard error, so that it is not an answer
        try:
            for line in sys.stdin:
                name, *arguments = json.loads(line)
                answer: dict[str, object]
                try:
                    answer = {"result": getattr(requests, name)(*arguments)}
                except (FilerError, OSError) as problem:
                    answer = {"error": str(problem)}
                print(json.dumps(answer), file=answers, flush=True)
        finally:
            requests.end_all()


if __name__ == "__main__":
    main()
