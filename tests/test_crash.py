"""SIGKILL at every change to a file: whatever was cut short, no disk is lost with it.

Each operation runs in a process of its own, which kills itself right before, half-way through, or
right after one change.  Then the filer is powered on, and has to come up with all its disks.  By
default every eighth point is tried; all of them with FILER_TEST_ALL=1 in the environment.  The same
is done whenever a key server is asked for something.

Run as a program, this module is the process that forks the ones that die.
"""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import pytest

from filer.bootdevice import Registration
from filer.certificates import CLIENT, CLIENT_PRIVATE
from filer.disk import BLOCK_SIZE
from filer.key_id import MSID_KEY_ID
from tests import faulty
from tests.faulty import CrashingStorage, FaultyKeyServer, House

EVERY = 1 if os.environ.get("FILER_TEST_ALL") else 8
MARKED_BLOCK = 7

Line = tuple[str, ...]
"""A command, and the answers to its questions."""

BOOT: Line = ("boot",)
"""Not a command: the crash is in the boot itself."""

ADD_ONE: Line = ("key_manager add -key_server 127.0.0.2",)
ADD_BOTH: Line = ("key_manager add -key_server 127.0.0.2 -key_server 127.0.0.3",)
REKEY: Line = ("key_manager rekey",)
LOCK: Line = ("disk encrypt lock *",)


@dataclass(frozen=True)
class Operation:
    """What is cut short, and what went before it."""

    line: Line
    before: tuple[Line, ...] = ()
    certificates: bool = True


OPERATIONS: Mapping[str, Operation] = {
    "first boot": Operation(BOOT, certificates=False),
    "install": Operation(("install",), certificates=False),
    "setup": Operation(("key_manager setup", "127.0.0.2", "127.0.0.3", "q", "", "", "", "", "yes")),
    "setup again": Operation(
        ("key_manager setup", "127.0.0.3", "q", "", "", "", "", "yes"), (ADD_BOTH, REKEY, LOCK)
    ),
    "add": Operation(ADD_BOTH),
    "add another": Operation(ADD_BOTH, (ADD_ONE, REKEY, LOCK)),
    "remove": Operation(("key_manager remove -key_server 127.0.0.3",), (ADD_BOTH, REKEY, LOCK)),
    "remove all": Operation(
        ("key_manager remove -key_server 127.0.0.2 -key_server 127.0.0.3",), (ADD_BOTH, REKEY)
    ),
    "first rekey": Operation(REKEY, (ADD_BOTH,)),
    "rekey": Operation(REKEY, (ADD_BOTH, REKEY, LOCK)),
    "lock": Operation(LOCK, (ADD_BOTH, REKEY)),
    "back to the MSID": Operation(
        (f"disk encrypt rekey {MSID_KEY_ID} *",), (ADD_BOTH, REKEY, LOCK)
    ),
    "boot": Operation(BOOT, (ADD_BOTH, REKEY, LOCK)),
}


class Crasher:
    """A process that forks others, which do an operation until they die."""

    def __init__(self) -> None:
        self._pid = 0
        self._victim = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.test_crash"],
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, root: Path, operation: Operation, files: Path, at: int | None, moment: str
    ) -> list[list[str]] | None:
        """Do ``operation`` in ``root``; None if it died, else the moments of each change."""
        self._victim.clear()
        task = [str(root), operation.line, str(files), at, moment]
        process_in, process_out = self._pipes()
        process_in.write(json.dumps(task) + "\n")
        process_in.flush()
        self._pid = int(process_out.readline())
        self._victim.set()
        status, kinds = json.loads(process_out.readline())
        assert status in {0, -signal.SIGKILL}, "see the standard error"
        return kinds if status == 0 else None

    def kill(self) -> None:
        """Kill the process that does the operation; called by a key server that it talks to."""
        assert self._victim.wait(10)
        os.kill(self._pid, signal.SIGKILL)

    def close(self) -> None:
        """End it."""
        process_in, process_out = self._pipes()
        process_in.close()
        process_out.close()
        assert self._process.wait(10) == 0

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin
        assert self._process.stdout
        return self._process.stdin, self._process.stdout


def serve_crashes() -> None:
    """Fork for each line of standard input; this process has no threads, so it may."""
    import filer.kmip_conversation  # what would be imported again in each
    import filer.tls_connection  # noqa: F401

    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.close(reading)
                kinds = _operate(*json.loads(line))
                os.write(writing, json.dumps(kinds).encode())
                status = 0
            finally:
                os._exit(status)
        print(child, flush=True)
        os.close(writing)
        with open(reading, "rb") as pipe:  # noqa: PTH123
            kinds = json.loads(pipe.read() or "null")
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps([status, kinds]), flush=True)


def _operate(root: str, line: Sequence[str], files: str, at: int | None, moment: str) -> object:
    storage = CrashingStorage()
    if tuple(line) == BOOT:
        storage.arm(at, moment)
        House(Path(root), storage).boot()
        return storage.kinds
    house = House(Path(root), storage)
    house.boot()
    storage.arm(at, moment)
    if line[0] == "install":
        for name in (CLIENT, CLIENT_PRIVATE, "127.0.0.2_CA.pem", "127.0.0.3_CA.pem"):
            house.must(f"keymgr install cert '{files}/{name}'")
    else:
        house.must(*line)
    return storage.kinds


@pytest.fixture(scope="module")
def crasher() -> Iterator[Crasher]:
    process = Crasher()
    yield process
    process.close()


@pytest.fixture
def servers(authority: Path, tmp_path: Path) -> Iterator[list[FaultyKeyServer]]:
    with faulty.running(authority, tmp_path / "key servers", 2) as started:
        yield started


class Trials:
    """One operation, again and again from the same beginning."""

    def __init__(
        self, directory: Path, operation: Operation, servers: Sequence[FaultyKeyServer]
    ) -> None:
        self._directory, self._operation, self._servers = directory, operation, servers
        self._template = directory / "template"
        self._prepare()
        self._stores = [server.store.read_bytes() for server in servers]
        self.before = self._registration(self._template)

    def _prepare(self) -> None:
        if self._operation.line == BOOT and not self._operation.before:
            self._template.mkdir(mode=0o700)
            port = self._servers[0].port
            (self._template / "filer.toml").write_text(faulty.settings(port=port))
            return
        with House.build(self._template, self._servers) as house:
            for disk in house.disks:
                disk.write_block(MARKED_BLOCK, _mark(disk.name))
            for line in self._operation.before:
                house.must(*line)
        if not self._operation.certificates:
            shutil.rmtree(self._template / "mroot" / "etc" / "keymgr")

    def begin(self) -> Path:
        """Return a root, and put the key servers, as they were before the operation."""
        for server, store in zip(self._servers, self._stores, strict=True):
            server.stop()
            server.store.write_bytes(store)
            server.start()
        root = self._directory / "root"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self._template, root, symlinks=True)
        return root

    def check(self, root: Path, allowed: Sequence[Registration]) -> None:
        """Power on, and make sure that nothing is lost."""
        with House(root) as house:
            told = house.boot()
            assert told.warnings == []
            assert not any(disk.locked for disk in house.disks)
            assert len(house.disks) == 4
            faulty.check_that_no_key_is_lost_by(house, self._servers)
            assert house.filer.registration in allowed
            if self._template.joinpath("shelf").exists():
                for disk in house.disks:
                    assert disk.read_block(MARKED_BLOCK) == _mark(disk.name)
            for name in house.filer.installed.names():
                files = self._servers[0].directory
                assert house.filer.installed.read(name) == (files / name).read_bytes()
            # What the crash left in /var/kmip and in the shelf is gone.
            assert len(list((root / "var").glob("kmip.*"))) <= 1
            for directory in ("var", "shelf"):
                assert not list((root / directory).glob(".new-*"))

    def complete(self, root: Path) -> None:
        """Do what was cut short once more; it has to succeed."""
        with House(root) as house:
            house.boot()
            if self._operation.line[0].split()[0] in {"key_manager", "disk"}:
                result = house.run(*self._operation.line)
                done = self._operation.line[0].startswith("key_manager remove")
                assert result.status == 0 or done, result.text
                faulty.check_that_no_key_is_lost_by(house, self._servers)

    def _registration(self, root: Path) -> Registration:
        with House(shutil.copytree(root, self._directory / "look", symlinks=True)) as house:
            house.boot()
            registration = house.filer.registration
        shutil.rmtree(self._directory / "look")
        return registration


def _mark(name: str) -> bytes:
    return name.encode().ljust(BLOCK_SIZE, b".")


class Trial:
    """The first, undisturbed run of an operation, and what may be registered after a crash."""

    def __init__(self, trials: Trials, crasher: Crasher, operation: Operation, files: Path) -> None:
        root = trials.begin()
        kinds = crasher.run(root, operation, files, None, "")
        assert kinds, "the operation itself must succeed, and change something"
        self.kinds = kinds
        with House(root) as house:
            house.boot()
            after = house.filer.registration
        before = trials.before
        clients = {name: (files / name).read_bytes() for name in (CLIENT, CLIENT_PRIVATE)}
        client_only = replace(before, certificates={**before.certificates, **clients})
        setting_up = "setup" in operation.line[0]
        self.allowed = [before, after, *([client_only] if setting_up else [])]
        trials.check(root, [after])


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_crash_at_any_change_of_a_file_loses_no_disk(
    name: str,
    crasher: Crasher,
    servers: list[FaultyKeyServer],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    operation, files = OPERATIONS[name], servers[0].directory
    trials = Trials(tmp_path, operation, servers)
    trial = Trial(trials, crasher, operation, files)
    points = [
        (number, moment) for number, moments in enumerate(trial.kinds, 1) for moment in moments
    ]
    tried = points[sum(name.encode()) % EVERY :: EVERY]
    for number, moment in tried:
        root = trials.begin()
        assert crasher.run(root, operation, files, number, moment) is None
        with _told_on_failure(f"killed {moment} change {number} of {len(trial.kinds)}"):
            trials.check(root, trial.allowed)
            if EVERY == 1:
                trials.complete(root)
    with capsys.disabled():
        print(f" [{name}: {len(tried)} of {len(points)} points]", end="")


@pytest.mark.parametrize("name", ["setup", "setup again", "add another", "rekey", "lock"])
def test_a_crash_at_any_request_to_a_key_server_loses_no_disk(
    name: str,
    crasher: Crasher,
    servers: list[FaultyKeyServer],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    operation, files = OPERATIONS[name], servers[0].directory
    trials = Trials(tmp_path, operation, servers)
    requests = dict.fromkeys(servers, 0)

    def count(server: FaultyKeyServer, proceed: faulty.Proceed) -> object:
        requests[server] += 1
        return proceed()

    trial = Trial(trials, crasher, operation, files)
    root = trials.begin()
    for server in servers:
        server.on("*", count)
    assert crasher.run(root, operation, files, None, "")
    points = [
        (server, number, moment)
        for server in servers
        for number in range(1, requests[server] + 1)
        for moment in ("before", "after")
    ]
    tried = points[sum(name.encode()) % EVERY :: EVERY]
    for victim, number, moment in tried:
        root = trials.begin()
        for server in servers:
            server.recover()
        victim.on("*", _killing(crasher, number, moment))
        assert crasher.run(root, operation, files, None, "") is None
        victim.recover()
        with _told_on_failure(f"killed {moment} request {number} to {victim.address}"):
            trials.check(root, trial.allowed)
            if EVERY == 1:
                trials.complete(root)
    with capsys.disabled():
        print(f" [{name}: {len(tried)} of {len(points)} points]", end="")


def _killing(crasher: Crasher, at: int, moment: str) -> faulty.Fault:
    numbers = itertools.count(1)

    def fault(_server: FaultyKeyServer, proceed: faulty.Proceed) -> object:
        if next(numbers) != at:
            return proceed()
        if moment == "before":
            crasher.kill()
            return proceed()
        answer = proceed()
        crasher.kill()
        return answer

    return fault


@contextmanager
def _told_on_failure(text: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        print(text)
        raise


if __name__ == "__main__":
    serve_crashes()
