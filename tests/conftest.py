"""Fixtures for all tests: real key servers on loopback, with certificates and stores of their own.

Everything is made once a session and copied, so that a test pays a few milliseconds for a server.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
from hypothesis import settings

from tests.leak_guard import LeakGuard

if TYPE_CHECKING:
    from keyserver.server import KeyServer

# How long an example takes says how busy the machine is, and nothing of the program.
settings.register_profile("filer", deadline=None)
settings.load_profile("filer")

ADDRESSES = ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.6")
IPV6 = "::1"


def pytest_configure(config: pytest.Config) -> None:
    """Have every run look for secrets in all it leaves behind."""
    config.pluginmanager.register(LeakGuard(), "leak guard")


@pytest.fixture(scope="session", autouse=True)
def watched(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tell the leak guard where this process of the run leaves its files."""
    guard = pytestconfig.pluginmanager.get_plugin("leak guard")
    assert isinstance(guard, LeakGuard)
    guard.watch(tmp_path_factory.getbasetemp())


class StartKeyServers(Protocol):
    """What the fixture ``key_servers`` gives to a test."""

    def __call__(
        self, count: int = 2, *, addresses: tuple[str, ...] | None = None, port: int = 0
    ) -> list["KeyServer"]:
        """Start ``count`` key servers, or one at each of ``addresses``, all on one port."""


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory with all certificates for ``ADDRESSES`` and ``IPV6``, and empty stores.

    It is shared by the tests of a session: read and copy it, but change nothing in it.
    """
    from keyserver.authority import prepare
    from keyserver.server import KeyServer

    directory = tmp_path_factory.mktemp("authority")
    prepare(directory, (*ADDRESSES, IPV6))
    with KeyServer(directory, ADDRESSES[0], port=0) as first:
        store = first.store
    for address in (*ADDRESSES[1:], IPV6):
        shutil.copy(store, KeyServer(directory, address).store)
    return directory


@pytest.fixture
def key_servers(authority: Path, tmp_path: Path) -> Iterator[StartKeyServers]:
    """Give a function that starts key servers, each with an empty store of its own.

    They are on 127.0.0.2, 127.0.0.3, ... (or ``addresses``) and share one free port, as all key
    servers of a filer do (or take ``port``).  Each is a ``keyserver.server.KeyServer``: it has
    ``address``, ``port``, ``stop()``, ``start()`` (same port, same keys), and ``directory``, where
    client.pem, client_private.pem and IP_CA.pem are, the same directory for all servers of a test.
    All are stopped when the test ends.  ``tests.pki`` spoils their certificates.
    """
    from keyserver.server import KeyServer, start_together

    directory = tmp_path / "key servers"
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


class Count(Protocol):
    """What the fixture ``count`` gives to a test."""

    def __call__(self, name: str, tried: int, of: int) -> None:
        """Have the end of the run tell that ``tried`` points were tried ``of`` all there are."""


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Count:
    """Give a function that reports points tried; those of one name are added up."""

    def report(name: str, tried: int, of: int) -> None:
        record_property("points", [name, tried, of])

    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the points tried, from whichever process of the run."""
    points: dict[str, list[tuple[int, int]]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call":
                for key, value in report.user_properties:
                    if key == "points":
                        name, *numbers = value
                        points.setdefault(name, []).append(numbers)
    if points:
        sums = {name: list(map(sum, zip(*each, strict=True))) for name, each in points.items()}
        total = map(sum, zip(*sums.values(), strict=True))
        terminalreporter.section("points tried (all of them: make test-all)")
        for name, (tried, of) in [*sorted(sums.items()), ("total", total)]:
            terminalreporter.line(f"{name}: {tried} of {of}")
