"""Both nodes of a pair lose power at once: whatever is left on the medium, no disk is lost.

The states that POSIX allows on the medium are computed by ``tests.kit.crash_model``, as in
``test_crash_states.py``.  After some of them no key server answers at first.
"""

import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from filer.boot.machine import Panic
from filer.boot.takeover import give_back
from tests.conftest import Count
from tests.kit import faulty, points
from tests.kit.crash_model.states import State, crash_points, crash_states
from tests.kit.crash_model.trace import Recorder
from tests.kit.faulty import FaultyKeyServer
from tests.kit.house import House, Told
from tests.kit.pair_document import record
from tests.kit.pair_site import (
    EVEN,
    ODD,
    Site,
    after_crashes,
    check_boots,
    check_takeover,
    pair_of,
    taken,
)
from tests.kit.repeated import Repeated

NOT_VARIED = [
    f"{node}/{name}"
    for node in ("filer1", "filer2")
    for name in ("power", "service", "mroot/etc/messages")
]
"""Files that nothing depends on: the locks, and the log, which is never synced."""

STATES = 2
"""The states that are tried of each operation, unless all are."""

MOMENTS = 3
"""The losses of power whose states are computed, unless all are."""


def _takeover(first: House, second: House) -> None:
    second.close()
    taken(first)


def _giveback(first: House, _second: House) -> None:
    give_back(first.filer, pair_of(first))


def _rekey(first: House, second: House) -> None:
    first.must("key_manager rekey")
    second.must("key_manager rekey")


OPERATIONS: Mapping[str, Callable[[House, House], None]] = {
    "takeover": _takeover,
    "giveback": _giveback,
    "rekey on both nodes": _rekey,
}


@pytest.fixture(scope="module")
def site(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    with faulty.running(authority, directory / "key servers", 2) as servers:
        yield Site(directory, servers)


def states_of(name: str, site: Site) -> Sequence[State]:
    """Record an operation, and return the distinct states after a loss of power."""
    pair = site.begin()

    def stores() -> tuple[bytes, ...]:
        return tuple(server.store.read_bytes() for server in site.servers)

    with (
        House(pair / "filer1", site.servers, random=Repeated("filer1")) as first,
        House(pair / "filer2", site.servers, random=Repeated("filer2")) as second,
    ):
        for house in (first, second):
            house.boot()
            pair_of(house).interconnect.stop()  # its socket is no file that is kept
        if name == "giveback":
            _takeover(first, second)
        recorder = Recorder(pair, stores)
        with recorder:
            OPERATIONS[name](first, second)
        recorder.check(NOT_VARIED)
    at = crash_points(recorder.events)
    if not points.ALL:
        at = random.Random(name).sample(at, min(MOMENTS, len(at)))
    distinct = {
        (state.tree.digest(NOT_VARIED), state.outside, state.moment == "block lost"): state
        for state in crash_states(recorder.before, recorder.events, at, NOT_VARIED)
    }
    return list(distinct.values())


def check_without_key_servers(pair: Path, servers: Sequence[FaultyKeyServer]) -> None:
    """Boot both nodes while no key server answers: neither comes up.

    An own disk is tried once, with the MSID, and a disk of the partner not at all.
    """
    for server in servers:
        server.stop()
    for node, own in (("filer1", ODD), ("filer2", EVEN)):
        with House(pair / node, servers) as house:
            house.power_cycle()
            before = house.failures
            with pytest.raises(Panic):
                house.boot_now(Told())
            for disk, failures in zip(house.disks, before, strict=True):
                assert disk.failures - failures == (disk.name in own)
    for server in servers:
        server.start()


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_loss_of_power_of_both_nodes_loses_no_disk(name: str, site: Site, count: Count) -> None:
    states = states_of(name, site)
    tried = states if points.ALL else random.Random(name).sample(states, STATES)
    found = set()
    for number, state in enumerate(tried):
        pair = site.begin(state.outside)  # type: ignore[arg-type]
        shutil.rmtree(pair)
        state.tree.store(pair)
        if number % 2:
            check_without_key_servers(pair, site.servers)
            takeover = check_takeover(pair, site.servers)
            boots = check_boots(pair, site.servers, damaged=True)
        else:
            boots = check_boots(pair, site.servers, damaged=state.moment == "block lost")
            takeover = check_takeover(pair, site.servers)
        found.add((boots, takeover))
    record(f"power lost in a {name}", after_crashes(found))
    count(f"power lost by a pair: {name}", len(tried), len(states))
