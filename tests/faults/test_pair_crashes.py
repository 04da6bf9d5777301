"""However a takeover, a giveback or a boot of a pair is interrupted, no disk is lost.

Each operation runs in a process that kills itself before, within or after one change to a file.
The kernel then frees its locks. Afterwards each node serves its own disks, the operation can be
done again, and every disk opens with a key that is on the key servers.

Run as a program, this module is the process that forks the ones that die.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from filer.boot.machine import power_off
from filer.boot.takeover import give_back, stand_down, take_over
from filer.disks.disk import BLOCK_SIZE
from filer.host.durable import Storage
from filer.pair.mailbox import State
from filer.pair.making import make_pair
from filer.pair.pair import Pair
from filer.system import Filer
from tests.conftest import Count
from tests.faults.test_crash import Crasher, serve_crashes
from tests.kit import faulty
from tests.kit.faulty import CrashingStorage, FaultyKeyServer
from tests.kit.house import House, Told
from tests.kit.points import Point, sample

MARKED_BLOCK = 7
ODD = ["0c.00.1", "0c.00.3", "0c.00.5", "0c.00.7"]  # filer1 has the higher system ID
EVEN = ["0c.00.0", "0c.00.2", "0c.00.4", "0c.00.6"]

Arm = Callable[[], object]


def pair_of(house: House) -> Pair:
    assert house.filer.pair
    return house.filer.pair


def taken(house: House) -> Filer:
    """Take the partner of ``house`` over."""
    take_over(house.filer, pair_of(house), Told(), "a test")
    assert house.filer.partner
    return house.filer.partner


def _takeover(pair: Path, storage: Storage, arm: Arm) -> None:
    with House(pair / "filer1", storage=storage, random=os.urandom) as house:
        house.boot()
        arm()
        taken(house)


def _giveback(pair: Path, storage: Storage, arm: Arm) -> None:
    with House(pair / "filer1", storage=storage, random=os.urandom) as house:
        house.boot()
        taken(house)
        arm()
        give_back(house.filer, pair_of(house))


def _halt_of_the_survivor(pair: Path, storage: Storage, arm: Arm) -> None:
    with House(pair / "filer1", storage=storage, random=os.urandom) as house:
        house.boot()
        taken(house)
        arm()
        power_off(house.filer)
        stand_down(house.filer, State.NOTAKEOVER)


def _boot(pair: Path, storage: Storage, arm: Arm) -> None:
    arm()
    with House(pair / "filer2", storage=storage, random=os.urandom) as house:
        house.boot()


def _halt(pair: Path, storage: Storage, arm: Arm) -> None:
    with House(pair / "filer2", storage=storage, random=os.urandom) as house:
        house.boot()
        arm()
        power_off(house.filer)
        stand_down(house.filer, State.HALTED)


def _rekey(pair: Path, storage: Storage, arm: Arm) -> None:
    with House(pair / "filer2", storage=storage, random=os.urandom) as house:
        house.boot()
        arm()
        house.must("key_manager rekey")


def _rekey_by_the_survivor(pair: Path, storage: Storage, arm: Arm) -> None:
    with House(pair / "filer1", storage=storage, random=os.urandom) as house:
        house.boot()
        house.must("key_manager rekey")
        key_id = house.key_id("0c.00.1")
        partner = taken(house)
        arm()
        house.session.state.in_partner = True
        house.must(f"disk encrypt rekey {key_id} *")
        assert {disk.key_id for disk in partner.ownership().own(partner.shelf)} == {key_id}


OPERATIONS: Mapping[str, Callable[[Path, Storage, Arm], None]] = {
    "takeover": _takeover,
    "giveback": _giveback,
    "halt of the survivor": _halt_of_the_survivor,
    "boot of the partner": _boot,
    "halt of the partner": _halt,
    "rekey of the partner": _rekey,
    "rekey of the partner by the survivor": _rekey_by_the_survivor,
}


def _operate(pair: Path, name: str, _files: Path, point: Point) -> object:
    storage = CrashingStorage()
    OPERATIONS[name](pair, storage, lambda: storage.arm(point.number or None, point.moment))
    return storage.kinds


class Site:
    """A pair with key servers, and copies of it."""

    def __init__(self, directory: Path, servers: Sequence[FaultyKeyServer]) -> None:
        self.servers = servers
        self._directory = directory
        self._sealed = directory / "sealed"
        roots = make_pair(self._sealed, Storage())
        for root in roots:
            text = (root / "filer.toml").read_text(encoding="utf-8")
            for old, new in (
                ('"64 MiB"', '"1 MiB"'),
                ("disks = 12", "disks = 8"),
                ("port = 5696", f"port = {servers[0].port}"),
                ("timeout = 5.0", "timeout = 20.0"),
            ):
                assert old in text
                text = text.replace(old, new)
            (root / "filer.toml").write_text(text, encoding="utf-8")
        for root in roots:
            with House(root, servers) as house:
                house.boot()
                house.install_all()
                house.encrypt()
                for disk in house.filer.ownership().own(house.filer.shelf):
                    disk.write_block(MARKED_BLOCK, _mark(disk.name))

    def copy(self, source: Path | None = None, name: str = "pair") -> Path:
        """Return a copy of ``source``, by default of the pair with encrypted and locked disks."""
        copy = self._directory / name
        shutil.rmtree(copy, ignore_errors=True)
        ignore = shutil.ignore_patterns("run")
        return shutil.copytree(source or self._sealed, copy, symlinks=True, ignore=ignore)


def _mark(name: str) -> bytes:
    return name.encode().ljust(BLOCK_SIZE, b".")


def check_boots(pair: Path, servers: Sequence[FaultyKeyServer]) -> None:
    """Boot both nodes at once; each serves its own disks, and no other."""
    with House(pair / "filer1", servers) as first, House(pair / "filer2", servers) as second:
        for house, own in ((first, ODD), (second, EVEN)):
            told = house.boot()
            assert told.warnings == []
            _check_disks(house.filer, own)
            faulty.check_that_no_key_is_lost_by(house, list(servers))
            assert house.filer.panics.in_a_row == 0


def check_takeover(pair: Path, servers: Sequence[FaultyKeyServer]) -> None:
    """Take the partner over, and give it back."""
    with House(pair / "filer1", servers) as first:
        first.boot()
        partner = taken(first)
        _check_disks(first.filer, ODD)
        _check_disks(partner, EVEN)
        assert partner.wafl_is_up
        assert pair_of(first).other_service.held
        give_back(first.filer, pair_of(first))
        assert not pair_of(first).other_service.held


def _check_disks(filer: Filer, own: Sequence[str]) -> None:
    disks = filer.ownership().own(filer.shelf)
    assert [disk.name for disk in disks] == own
    for disk in disks:
        assert not disk.locked
        assert disk.failures == 0
        assert disk.read_block(MARKED_BLOCK) == _mark(disk.name)


def check(pair: Path, servers: Sequence[FaultyKeyServer], point: Point) -> None:
    steps = [check_boots, check_takeover]
    for step in steps if point.number % 2 else reversed(steps):
        step(pair, servers)
    assert not list(pair.rglob(".new-*"))


@pytest.fixture(scope="module")
def crasher() -> Iterator[Crasher]:
    process = Crasher("tests.faults.test_pair_crashes")
    yield process
    process.close()


@pytest.fixture(scope="module")
def site(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    with faulty.running(authority, directory / "key servers", 2) as servers:
        yield Site(directory, servers)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_crash_of_either_node_at_any_change_loses_no_disk(
    name: str, crasher: Crasher, site: Site, count: Count
) -> None:
    files = site.servers[0].directory
    pair = site.copy()
    crashes = crasher.run(pair, name, files)
    assert crashes, "an operation that changes nothing is no test"
    check(pair, site.servers, crashes[0])
    tried = sample(name, crashes)
    for point in tried:
        pair = site.copy()
        crasher.crash(pair, name, files, point)
        check(pair, site.servers, point)
    count(f"killed at a change of a pair: {name}", len(tried), len(crashes))


def test_a_crash_of_a_takeover_that_finishes_the_changes_of_the_partner_loses_no_disk(
    crasher: Crasher, site: Site, count: Count
) -> None:
    """The partner was killed while it rekeyed, and the survivor while it took over."""
    files = site.servers[0].directory
    first = [
        point
        for point in crasher.run(site.copy(), "rekey of the partner", files)
        if point.moment != "before"
    ]
    tried_of_all = total = 0
    for crash in sample("rekey first", first):
        killed = site.copy()
        crasher.crash(killed, "rekey of the partner", files, crash)
        crashed = site.copy(killed, "crashed")
        crashes = crasher.run(site.copy(crashed), "takeover", files)
        total += len(crashes)
        for point in sample(f"takeover after {crash}", crashes):
            tried_of_all += 1
            pair = site.copy(crashed)
            crasher.crash(pair, "takeover", files, point)
            check(pair, site.servers, point)
    count("killed at a takeover after a kill of the partner", tried_of_all, total)


if __name__ == "__main__":
    serve_crashes(_operate)
