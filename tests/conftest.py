"""Fixtures for all tests: real key servers on loopback, with certificates and stores of their own.

Everything is made once a session and copied, so that a test pays a few milliseconds for a server.
"""

import functools
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
from pytest_filer.console import default_signals
from pytest_filer.key_server_process import StartKeyServers, make_authority
from pytest_filer.key_server_process import key_servers as key_servers_of
from pytest_filer.key_servers import ADDRESSES
from tests.kit.console import Account, having_added
from tests.kit.leak_guard import LeakGuard

__all__ = ["ADDRESSES", "IPV6", "StartKeyServers"]

# How long an example takes says how busy the machine is, and nothing of the program.
settings.register_profile("filer", deadline=None)
settings.load_profile("filer")

IPV6 = "::1"

_MEMORY = Path("/dev/shm")
"""The file system in memory of Linux."""

_ROOM = 4 << 30
"""Bytes that have to be free there; a run needs less than half of them, a failed one keeps them."""


def pytest_configure(config: pytest.Config) -> None:
    """Have every run look for secrets in all it leaves behind, and keep that in memory."""
    config.pluginmanager.register(LeakGuard(_MEMORY), "leak guard")
    if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _ROOM:
        # Each command syncs what it changes, which costs a disk more time than all the rest.
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the tests that report how many of their points they tried."""
    if "count" in getattr(item, "fixturenames", ()):
        item.add_marker("sampled")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run two tests a processor: half of their time they wait for programs and timeouts."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(scope="session", autouse=True)
def any_parent() -> Iterator[None]:
    """Start programs with the default action of signals, whatever the parent of pytest ignores."""
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
    """Stretch each key once in this process: each boot of a filer needs the same few again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashlib, "scrypt", functools.cache(hashlib.scrypt))
        yield


@pytest.fixture(scope="session")
def derivation() -> Derivation:
    """Give what stretches keys, which remembers them."""
    return Derivation()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory with all certificates for ``ADDRESSES`` and ``IPV6``, and empty stores.

    It is shared by the tests of a session: read and copy it, but change nothing in it.
    """
    directory = tmp_path_factory.mktemp("authority")
    make_authority(directory, (*ADDRESSES, IPV6))
    return directory


@pytest.fixture
def key_servers(authority: Path, tmp_path: Path) -> Iterator[StartKeyServers]:
    """Give a function that starts key servers, with the same files (`pytest_filer`).

    ``tests.kit.pki`` spoils their certificates.
    """
    with key_servers_of(authority, tmp_path / "key servers", ADDRESSES) as start:
        yield start


@pytest.fixture
def account(tmp_path: Path) -> Account:
    """Give somebody with a home of their own, who has started no filer yet."""
    return Account(tmp_path / "home")


@pytest.fixture
def servers(key_servers: StartKeyServers) -> list[KeyServer]:
    """Give two key servers."""
    return key_servers(2)


@pytest.fixture
def registered(tmp_path: Path, servers: list[KeyServer]) -> Account:
    """Give a filer that has registered its two key servers."""
    return having_added(servers, tmp_path / "home")


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
