"""Two key servers in a process of their own, and runs of filer-storm."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from filer.keyserver.stored_keys import StoredKey, stores_in
from pytest_filer.child import PATIENCE
from tests.kit.leaks import STORES, Secrets, stored_secrets
from tests.kit.paths import CHECKOUT
from tests.kit.trial_servers import Program

SERVERS = ("127.0.0.2", "127.0.0.3")
UNSERVED = "127.0.0.4"
"""An address with a certificate, but without a key server."""


@dataclass(frozen=True)
class Site:
    """Key servers with their certificates."""

    certs: Path
    port: int

    def stored(self) -> list[StoredKey]:
        """Return what is on the key servers."""
        stores = stores_in(self.certs, SERVERS)
        return [key for store in stores for key in store.listed()]

    def secrets(self) -> Secrets:
        """Return the authentication keys that are on the key servers."""
        found = set[bytes]().union(*map(stored_secrets, self.certs.glob(STORES)))
        assert found
        return Secrets(found)


@pytest.fixture(scope="module")
def running(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("site")
    certs = home / "certs"
    shutil.copytree(authority, certs)
    with socket.create_server(("", 0)) as free:
        port = free.getsockname()[1]
    addresses = [word for address in SERVERS for word in ("--address", address)]
    with Program(home, "--dir", str(certs), "--port", str(port), *addresses) as program:
        for _ in SERVERS:
            assert "listens on port" in program.line()
        yield Site(certs, port)


@pytest.fixture
def site(running: Site) -> Iterator[Site]:
    """The key servers, on which nothing is left by a test."""
    yield running
    assert running.stored() == []


@dataclass
class Ended:
    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@dataclass
class Storms:
    """Runs filer-storm with a home directory of its own."""

    home: Path
    site: Site
    started: list["subprocess.Popen[str]"] = field(default_factory=list)

    def start(self, *arguments: object, certs: Path | None = None) -> "subprocess.Popen[str]":
        target = ("--certs", certs or self.site.certs, "--port", self.site.port)
        return self.begin(*target, *arguments)

    def begin(self, *arguments: object) -> "subprocess.Popen[str]":
        """Start the program with just these arguments."""
        self.started.append(
            subprocess.Popen(
                [sys.executable, "-m", "filer.storm", *map(str, arguments)],
                cwd=CHECKOUT,
                env={"PATH": os.defpath, "HOME": str(self.home), "TMPDIR": str(self.home)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return self.started[-1]

    def run(self, *arguments: object, certs: Path | None = None) -> Ended:
        return ended(self.start("--timeout", PATIENCE, *arguments, *SERVERS, certs=certs))

    @property
    def ledgers(self) -> list[Path]:
        return list(self.home.rglob("*.ledger"))

    def left(self) -> list[Path]:
        """Return the files that the runs have left in the home directory, without reports."""
        scratch = list(self.home.glob("filer-storm-*"))
        return [*scratch, *self.ledgers]


def ended(process: "subprocess.Popen[str]", with_signal: int | None = None) -> Ended:
    if with_signal is not None:
        process.send_signal(with_signal)
    out, err = process.communicate()
    return Ended(process.returncode, out, err)


@pytest.fixture
def storms(tmp_path: Path, site: Site) -> Iterator[Storms]:
    runs = Storms(tmp_path / "home", site)
    runs.home.mkdir()
    yield runs
    for process in runs.started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.communicate()


def generators(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Return the processes of the load generator, the leader first."""
    children = psutil.Process(process.pid).children(recursive=True)
    return sorted(children, key=psutil.Process.create_time)
