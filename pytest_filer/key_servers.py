"""Key servers for a test."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from filer.keyserver.server import KeyServer


ADDRESSES = ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.6")
"""Where key servers are started, in this order."""


class StartKeyServers(Protocol):
    """What ``key_servers`` gives."""

    def __call__(
        self, count: int = 2, *, addresses: tuple[str, ...] | None = None, port: int = 0
    ) -> "list[KeyServer]":
        """Start ``count`` key servers, or one at each of ``addresses``, all on one port."""


def make_authority(directory: Path, addresses: Sequence[str] = ADDRESSES) -> None:
    """Make all certificates for key servers at ``addresses`` in ``directory``, and empty stores.

    That takes its time; ``key_servers`` only copies them.
    """
    from filer.keyserver.authority import prepare
    from filer.keyserver.server import KeyServer

    prepare(directory, addresses)
    with KeyServer(directory, addresses[0], port=0) as first:
        store = first.store
    for address in addresses[1:]:
        shutil.copy(store, KeyServer(directory, address).store)


@contextmanager
def key_servers(authority: Path, directory: Path) -> Iterator[StartKeyServers]:
    """Give a function that starts key servers, each with an empty store of its own.

    They are on 127.0.0.2, 127.0.0.3, ... (or ``addresses``) and share one free port, as all key
    servers of a filer do (or take ``port``).  Each is a ``KeyServer``: it has
    ``address``, ``port``, ``stop()``, ``start()`` (same port, same keys), and ``directory``, where
    client.pem, client_private.pem and IP_CA.pem are: those of ``authority``, copied.  All are
    stopped at the end.
    """
    from filer.keyserver.server import KeyServer, start_together

    with ExitStack() as stop:

        def start(
            count: int = 2, *, addresses: tuple[str, ...] | None = None, port: int = 0
        ) -> list[KeyServer]:
            if not directory.exists():
                shutil.copytree(authority, directory)
            chosen = ADDRESSES[:count] if addresses is None else addresses
            servers = [KeyServer(directory, address, port) for address in chosen]
            start_together(servers)
            for server in servers:
                stop.callback(server.stop)
            return servers

        yield start


def install_certificates(servers: "Sequence[KeyServer]", root: Path) -> None:
    """Install the certificates of key servers in a root that has none, as ``keymgr`` does."""
    from filer.host.durable import Storage
    from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name
    from filer.root import Root

    storage, place = Storage(), Root(root)
    place.claim(storage)
    installed = place.installed_certificates
    storage.make_directory(installed)
    for name in (CLIENT, CLIENT_PRIVATE, *(ca_name(server.address) for server in servers)):
        shutil.copy(servers[0].directory / name, installed)
