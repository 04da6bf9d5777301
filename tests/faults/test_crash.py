"""However an operation is interrupted or refused, no disk is lost.

Each operation of ``tests.kit.operations`` runs in a separate process, which kills itself before,
within, or after one change to a file, or is killed when it sends a request to a key server. Or a
change is refused, as by a full or read-only disk, and the process lives on. Then the filer is
powered on, and must boot with all its disks. A few points of each kind are tried, or all of them
(see ``tests.kit.points``).

Run as a program, this module is the process that forks the ones that die.
"""

import errno
import hashlib
import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from filer.host.durable import Storage
from filer.host.errors import FilerError
from tests.conftest import Count
from tests.kit import faulty, points
from tests.kit.faulty import CrashingStorage, FailingStorage, FaultyKeyServer, Trouble
from tests.kit.house import House
from tests.kit.operations import BOOT, OPERATIONS, SEALED, Laboratory, Operation, Scene, Trial, look
from tests.kit.paths import CHECKOUT
from tests.kit.points import Point, half, sample
from tests.kit.repeated import Remembered, Repeated

READS_ONLY = {"restore"}
CHANGES = [name for name in OPERATIONS if name not in READS_ONLY]


class Crasher:
    """A process that forks others, which do an operation of ``module`` until they die."""

    def __init__(self, module: str = "tests.faults.test_crash") -> None:
        self._pid = 0
        self._victim = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", module],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def crash(self, root: Path, name: str, files: Path, point: Point) -> None:
        assert self._run(root, name, files, point) is None

    def run(self, root: Path, name: str, files: Path) -> tuple[Point, ...]:
        """Do operation ``name`` in ``root``, and return the points where it can crash."""
        kinds = self._run(root, name, files, Point(0, ""))
        assert kinds is not None
        return tuple(
            Point(number, moment) for number, moments in enumerate(kinds, 1) for moment in moments
        )

    def run_to_death(self, root: Path, name: str, files: Path) -> None:
        """Do operation ``name`` in ``root``, while another thread may call ``kill``."""
        self.crash(root, name, files, Point(0, ""))

    def kill(self) -> None:
        """Kill the process that does the operation; called by a key server that it talks to."""
        assert self._victim.wait(10)
        os.kill(self._pid, signal.SIGKILL)

    def close(self) -> None:
        process_in, process_out = self._pipes()
        process_in.close()
        process_out.close()
        assert self._process.wait(10) == 0

    def _run(self, root: Path, name: str, files: Path, point: Point) -> list[list[str]] | None:
        """Return the crash moments of each change, or None if the process died."""
        self._victim.clear()
        process_in, process_out = self._pipes()
        process_in.write(json.dumps([str(root), name, str(files), point]) + "\n")
        process_in.flush()
        self._pid = int(process_out.readline())
        self._victim.set()
        status, kinds = json.loads(process_out.readline())
        assert status in {0, -signal.SIGKILL}, "see the standard error"
        return kinds if status == 0 else None

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin
        assert self._process.stdout
        return self._process.stdin, self._process.stdout


Operate = Callable[[Path, str, Path, Point], object]
"""Does the operation of that name in a root, with a directory of certificates; crashes at a point.

Returns the crash moments of each change.
"""


def serve_crashes(operate: Operate) -> None:
    """Fork for each line of standard input; this process has no threads, so forking is safe.

    What scrypt made for a child that lived is remembered for all later children.
    """
    import filer.kmip.connection  # noqa: F401

    hashlib.scrypt = remembered = Remembered()  # type: ignore[assignment]
    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.close(reading)
                root, name, files, point = json.loads(line)
                kinds = operate(Path(root), name, Path(files), Point(*point))
                with open(writing, "wb") as pipe:  # noqa: PTH123
                    pickle.dump((kinds, remembered.results), pipe)
                status = 0
            finally:
                os._exit(status)
        print(child, flush=True)
        os.close(writing)
        with open(reading, "rb") as pipe:  # noqa: PTH123
            kinds, results = pickle.loads(pipe.read() or pickle.dumps((None, {})))
        remembered.results.update(results)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps([status, kinds]), flush=True)


def _operate(root: Path, name: str, files: Path, point: Point) -> object:
    operation = OPERATIONS[name]
    storage = CrashingStorage()
    house = _house(
        root,
        operation,
        storage,
        lambda: storage.arm(point.number or None, point.moment),
        Repeated("crash"),
    )
    for result in operation.act(house, files):
        assert result.status == 0, result.text
    return storage.kinds


def _house(
    root: Path,
    operation: Operation,
    storage: Storage,
    arm: Callable[[], object],
    random: Repeated | None = None,
) -> House:
    """Return a filer at the start of ``operation``, with the storage armed.

    A boot starts before the root is claimed, so that a first start is armed from its first change.
    """
    if operation.at == BOOT:
        arm()
    house = House(root, storage=storage, random=random)
    operation.prepare(house)
    if operation.at != BOOT:
        arm()
    return house


@pytest.fixture(scope="module")
def crasher() -> Iterator[Crasher]:
    process = Crasher()
    yield process
    process.close()


@pytest.fixture(scope="module")
def laboratory(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    directory = tmp_path_factory.mktemp("laboratory")
    with faulty.running(authority, directory / "key servers", 2) as servers:
        yield Laboratory(directory, servers)


def _trial(laboratory: Laboratory, crasher: Crasher, name: str) -> Trial:
    """Return the trial of an operation, after one undisturbed run."""
    trial = laboratory.trial(OPERATIONS[name])
    if not trial.crashes:
        root = trial.begin()
        trial.crashes = crasher.run(root, name, laboratory.files)
        trial.check(root, done=True)
    return trial


@pytest.mark.parametrize("name", half(CHANGES))
def test_a_crash_at_any_change_of_a_file_loses_no_disk(
    name: str, crasher: Crasher, laboratory: Laboratory, count: Count
) -> None:
    trial = _trial(laboratory, crasher, name)
    assert trial.crashes, "an operation that changes nothing is no test"
    tried = sample(name, trial.crashes, most=1)
    for point in tried:
        root = trial.begin()
        crasher.crash(root, name, laboratory.files, point)
        with _told_on_failure(f"killed {point.moment} change {point.number}"):
            trial.check(root)
            if points.ALL:
                trial.complete(root)
    count(f"killed at a change: {name}", len(tried), len(trial.crashes))


def test_what_only_reads_makes_no_change_at_which_it_could_crash(laboratory: Laboratory) -> None:
    storage = CrashingStorage()
    with House(laboratory.trial(Operation(before=SEALED)).begin(), storage=storage) as house:
        house.boot()
        storage.arm(None, "")
        for line in (
            *("key_manager restore -all", "key_manager restore -key_server 127.0.0.2"),
            *("key_manager query", "key_manager status", "key_manager show"),
            *("disk encrypt show", "disk show", "keymgr list cert"),
        ):
            house.must(line)
            assert storage.kinds == [], line


@pytest.mark.parametrize(
    "name", ["setup", "setup again", "add another", "rekey", "lock", "kmip_setup", "restore"]
)
def test_a_crash_at_any_request_to_a_key_server_loses_no_disk(
    name: str, crasher: Crasher, laboratory: Laboratory, count: Count
) -> None:
    trial = _trial(laboratory, crasher, name)
    requests = dict.fromkeys(laboratory.servers, 0)

    def counted(server: FaultyKeyServer, proceed: faulty.Proceed) -> object:
        requests[server] += 1
        return proceed()

    root = trial.begin()
    for server in requests:
        server.on("*", counted)
    crasher.run(root, name, laboratory.files)
    tried_of_all = 0
    for victim, heard in requests.items():
        found = [
            Point(number, moment)
            for number in range(1, heard + 1)
            for moment in ("before", "after")
        ]
        tried = sample(name + victim.address, found, most=1)
        tried_of_all += len(tried)
        for point in tried:
            laboratory.start()
            root = trial.begin()
            victim.on("*", _killing(crasher, point))
            crasher.run_to_death(root, name, laboratory.files)
            at = f"killed {point.moment} request {point.number} to {victim.address}"
            with _told_on_failure(at):
                trial.check(root)
                if points.ALL:
                    trial.complete(root)
    count(f"killed at a request: {name}", tried_of_all, 2 * sum(requests.values()))


def _killing(crasher: Crasher, point: Point) -> faulty.Fault:
    numbers = itertools.count(1)

    def fault(_server: FaultyKeyServer, proceed: faulty.Proceed) -> object:
        if next(numbers) != point.number:
            return proceed()
        if point.moment == "before":
            crasher.kill()
            return proceed()
        answer = proceed()
        crasher.kill()
        return answer

    return fault


@pytest.mark.parametrize(
    "name", ["rekey", "lock", "add another", "sanitize", "destroy", "boot that panics"]
)
def test_a_crash_of_the_boot_after_a_crash_loses_no_disk(
    name: str, crasher: Crasher, laboratory: Laboratory, count: Count
) -> None:
    trial = _trial(laboratory, crasher, name)
    # Crashing after one change leaves the same files as crashing before the next.
    first = [point for point in trial.crashes if point.moment != "before"]
    recoveries: dict[tuple[Point, ...], Scene] = {}
    for crash in sample(f"{name} first", first, most=1):
        crasher.crash(trial.begin(), name, laboratory.files, crash)
        crashed = laboratory.keep(f"crashed {len(recoveries)}")
        recovery = crasher.run(laboratory.put_back(crashed), "boot", laboratory.files)
        # Boots with the same kinds of changes are tried once.
        recoveries.setdefault(recovery, crashed)
    tried_of_all = 0
    for recovery, crashed in recoveries.items():
        tried = sample(f"{name} then", recovery)
        tried_of_all += len(tried)
        for point in tried:
            root = laboratory.put_back(crashed)
            crasher.crash(root, "boot", laboratory.files, point)
            with _told_on_failure(f"the boot after a crash, killed {point}"):
                trial.check(root, recovering=True)
    count(f"killed again while it recovers: {name}", tried_of_all, sum(map(len, recoveries)))


TROUBLES: Mapping[str, Trouble] = {
    "full": Trouble(errno.ENOSPC, removals=True),
    "full, once": Trouble(errno.ENOSPC, then=None),
    "read-only": Trouble(errno.EROFS),
    "no sync": Trouble(errno.EIO, made=1, then=1),
    "no sync, once": Trouble(errno.EIO, made=1, then=None),
    "torn, once": Trouble(errno.EIO, made=0.5, then=None),
    "no sync, then read-only": Trouble(errno.EIO, made=1, then=0),
}


@pytest.mark.parametrize("name", half(CHANGES, second=True))
def test_a_refused_change_is_reported_in_a_line_and_loses_no_disk(
    name: str, laboratory: Laboratory, count: Count
) -> None:
    trial = laboratory.trial(OPERATIONS[name])
    root, storage = trial.begin(), FailingStorage()
    with _house(root, trial.operation, storage, storage.disarm) as house:
        trial.operation.act(house, laboratory.files)
    if trial.after is None:
        trial.check(root, done=True)
    found = [Point(number, kind) for number in range(1, storage.changes + 1) for kind in TROUBLES]
    tried = sample(f"{name} refused", found, most=1)
    for point in tried:
        with _told_on_failure(f"change {point.number} of {storage.changes}: {point.moment}"):
            _refuse(trial, trial.begin(), point)
    count(f"refused a change: {name}", len(tried), len(found))


def _refuse(trial: Trial, root: Path, point: Point) -> None:
    """Do an operation with one or more refused changes; then power on with working storage."""
    storage, trouble = FailingStorage(), TROUBLES[point.moment]
    failures: list[str] = []
    remembered = None
    house: House | None = None
    try:
        house = _house(root, trial.operation, storage, lambda: storage.arm(point.number, trouble))
        for result in trial.operation.act(house, trial.laboratory.files):
            assert bool(result.failures) == (result.status != 0)
            failures += result.failures
    except FilerError as problem:
        failures.append(str(problem))
    storage.disarm()
    if house:
        with house:
            remembered = look(house) if hasattr(house, "filer") else None
    for failure in failures:
        assert "\n" not in failure
        assert "internal error" not in failure
    if failures and trial.operation.at != BOOT:
        assert any(os.strerror(trouble.error) in failure for failure in failures)
    kept = trial.check(root, done=not failures)
    is_as_remembered = (trouble.made, trouble.then) != (1, 0) and not trial.operation.works
    if remembered and is_as_remembered:
        erased = trial.operation.erased
        assert remembered.without_data(erased) == kept.without_data(erased)


@contextmanager
def _told_on_failure(text: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        print(text)
        raise


if __name__ == "__main__":
    serve_crashes(_operate)
