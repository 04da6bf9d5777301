"""Fixtures for all tests: real key servers on loopback, with certificates and stores of their own.

They are made once per session and copied, so that a server costs a test a few milliseconds.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import settings

from filer.disks.derivation import Derivation
from filer.keyserver.server import KeyServer
from pytest_filer.child import default_signals
from pytest_filer.key_server_process import StartKeyServers, make_authority
from pytest_filer.key_server_process import key_servers as key_servers_of
from pytest_filer.key_servers import ADDRESSES
from tests.kit.console import Account, beside, having_added
from tests.kit.leak_guard import LeakGuard
from tests.kit.points import examples
from tests.kit.repeated import Remembered

__all__ = ["ADDRESSES", "IPV6", "StartKeyServers"]

# The duration of an example depends on the load of the machine, not on the program.
settings.register_profile("filer", examples(100), deadline=None)
settings.load_profile("filer")

IPV6 = "::1"

_MEMORY = Path("/dev/shm")
"""Linux's file system in memory."""

_ROOM = 4 << 30
"""Bytes that must be free there: a run needs less than half of them, a failed run keeps them."""


def pytest_configure(config: pytest.Config) -> None:
    """Search everything that a run leaves for secrets, and keep it in memory."""
    config.pluginmanager.register(LeakGuard(_MEMORY), "leak guard")
    if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _ROOM:
        # Each command syncs its changes, which on a disk takes more time than everything else.
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the tests that report how many of their points they tried."""
    if "count" in getattr(item, "fixturenames", ()):
        item.add_marker("sampled")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run three tests a processor: most of their time they wait for programs and timeouts."""
    return 3 * (os.cpu_count() or 1)


@pytest.fixture(scope="session", autouse=True)
def any_parent() -> Iterator[None]:
    """Start programs with the default signal actions, even if pytest's parent ignores signals."""
    with default_signals():
        yield


@pytest.fixture(scope="session", autouse=True)
def watched(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tell the leak guard where this process of the run leaves its files."""
    guard = pytestconfig.pluginmanager.get_plugin("leak guard")
    assert isinstance(guard, LeakGuard)
    guard.watch(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session", autouse=True)
def remembered_scrypt() -> Iterator[None]:
    """Compute each scrypt key once per process: every boot of a filer needs the same few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashlib, "scrypt", Remembered())
        yield


@pytest.fixture(scope="session")
def derivation() -> Derivation:
    return Derivation()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with certificates for ``ADDRESSES`` and ``IPV6``, and empty stores.

    All tests of a session share it: copy it, but never change it.
    """
    directory = tmp_path_factory.mktemp("authority")
    make_authority(directory, (*ADDRESSES, IPV6))
    return directory


@pytest.fixture
def key_servers(authority: Path, tmp_path: Path) -> Iterator[StartKeyServers]:
    """Return a function that starts key servers from copies of ``authority`` (`pytest_filer`).

    ``tests.kit.pki`` makes their certificates invalid.
    """
    with key_servers_of(authority, tmp_path / "key servers", ADDRESSES) as start:
        yield start


@pytest.fixture
def account(tmp_path: Path) -> Account:
    """A user with a separate home directory, whose filer has never been started."""
    return Account(tmp_path / "home")


@pytest.fixture
def servers(key_servers: StartKeyServers) -> list[KeyServer]:
    return key_servers(2)


@pytest.fixture
def unregistered(tmp_path: Path, servers: list[KeyServer]) -> Account:
    """A filer with the certificates of its key servers, none of which is registered."""
    return beside(servers, tmp_path / "home")


@pytest.fixture
def server(key_servers: StartKeyServers) -> KeyServer:
    return key_servers(1)[0]


@pytest.fixture
def registered(tmp_path: Path, servers: list[KeyServer]) -> Account:
    """A filer that has registered its two key servers."""
    return having_added(servers, tmp_path / "home")


class Count(Protocol):
    """The fixture ``count``."""

    def __call__(self, name: str, tried: int, of: int) -> None:
        """Report ``tried`` points out of ``of``; the end of the run prints the sums by ``name``."""


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Count:
    def report(name: str, tried: int, of: int) -> None:
        record_property("points", [name, tried, of])

    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the points tried by all processes of the run."""
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
