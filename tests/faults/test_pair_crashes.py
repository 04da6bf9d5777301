"""However a takeover, a giveback or a boot of a pair is interrupted, no disk is lost.

Each operation runs in a process that kills itself before, within or after one change to a file.
The kernel then frees its locks. Afterwards each node serves its own disks, the operation can be
done again, and every disk opens with a key that is on the key servers.

Run as a program, this module is the process that forks the ones that die.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from filer.boot.machine import power_off
from filer.boot.takeover import give_back, stand_down
from filer.host.durable import Storage
from filer.pair.mailbox import State
from tests.conftest import Count
from tests.faults.test_crash import Crasher, serve_crashes
from tests.kit import faulty
from tests.kit.faulty import CrashingStorage, FaultyKeyServer
from tests.kit.house import House
from tests.kit.pair_document import record
from tests.kit.pair_site import Site, after_crashes, check_boots, check_takeover, pair_of, taken
from tests.kit.points import Point, sample
from tests.kit.repeated import Repeated

Arm = Callable[[], object]


def _takeover(pair: Path, storage: Storage, arm: Arm) -> None:
    with House(pair / "filer1", storage=storage, random=Repeated("takeover")) as house:
        house.boot()
        arm()
        taken(house)


def _giveback(pair: Path, storage: Storage, arm: Arm) -> None:
    with House(pair / "filer1", storage=storage, random=Repeated("giveback")) as house:
        house.boot()
        taken(house)
        arm()
        give_back(house.filer, pair_of(house))


def _halt_of_the_survivor(pair: Path, storage: Storage, arm: Arm) -> None:
    with House(pair / "filer1", storage=storage, random=Repeated("halt of the survivor")) as house:
        house.boot()
        taken(house)
        arm()
        power_off(house.filer)
        stand_down(house.filer, State.NOTAKEOVER)


def _boot(pair: Path, storage: Storage, arm: Arm) -> None:
    arm()
    with House(pair / "filer2", storage=storage, random=Repeated("boot")) as house:
        house.boot()


def _halt(pair: Path, storage: Storage, arm: Arm) -> None:
    with House(pair / "filer2", storage=storage, random=Repeated("halt")) as house:
        house.boot()
        arm()
        power_off(house.filer)
        stand_down(house.filer, State.HALTED)


def _rekey(pair: Path, storage: Storage, arm: Arm) -> None:
    with House(pair / "filer2", storage=storage, random=Repeated("rekey")) as house:
        house.boot()
        arm()
        house.must("key_manager rekey")


def _rekey_by_the_survivor(pair: Path, storage: Storage, arm: Arm) -> None:
    with House(pair / "filer1", storage=storage, random=Repeated("rekey by the survivor")) as house:
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


def check(pair: Path, servers: Sequence[FaultyKeyServer], point: Point) -> tuple[str, str]:
    """Check the pair, in either order, and return what `check_boots` and `check_takeover` do."""
    if point.number % 2:
        boots = check_boots(pair, servers)
        takeover = check_takeover(pair, servers)
    else:
        takeover = check_takeover(pair, servers)
        boots = check_boots(pair, servers)
    assert not list(pair.rglob(".new-*"))
    return boots, takeover


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
    pair = site.begin()
    crashes = crasher.run(pair, name, files)
    assert crashes, "an operation that changes nothing is no test"
    found = {check(pair, site.servers, crashes[0])}
    tried = sample(name, crashes, most=1)
    for point in tried:
        pair = site.begin()
        crasher.crash(pair, name, files, point)
        found.add(check(pair, site.servers, point))
    record(f"killed in a {name}", after_crashes(found))
    count(f"killed at a change of a pair: {name}", len(tried), len(crashes))


def test_a_crash_of_a_takeover_that_finishes_the_changes_of_the_partner_loses_no_disk(
    crasher: Crasher, site: Site, count: Count
) -> None:
    """The partner was killed while it rekeyed, and the survivor while it took over."""
    files = site.servers[0].directory
    first = [
        point
        for point in crasher.run(site.begin(), "rekey of the partner", files)
        if point.moment != "before"
    ]
    tried_of_all = total = 0
    for crash in sample("rekey first", first, most=1):
        killed = site.begin()
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
