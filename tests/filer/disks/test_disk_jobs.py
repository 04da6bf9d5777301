"""Jobs on many disks at the same time: their order, their outcomes, and what disks learn."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from filer.boot.machine import Panic
from filer.disks.bay import disk_name
from filer.disks.derivation import Derivation
from filer.disks.header import RECORD_OFFSETS, SLOT_OFFSETS
from filer.disks.jobs import DiskJobs, DiskReport, FailureKind
from filer.disks.shelf import Shelf
from filer.host.durable import Storage, StorageError
from filer.host.scrypt import STANDARD, Scrypt
from filer.keys.keytable import Entry, Keytable
from filer.running.interrupt import Interrupt
from filer.running.parallel import WORKERS
from filer.running.progress import Show, Tell, Work, show_nothing
from pytest_filer.child import PATIENCE
from tests.kit import faulty
from tests.kit.disk_files import KEY, KEY_ID, NEW_KEY, NEW_KEY_ID, SIZE, head_of
from tests.kit.faulty import FaultyKeyServer
from tests.kit.house import House, Told

servers = faulty.servers(2)
DISKS = 3 * WORKERS
NAMES = [disk_name(index) for index in range(DISKS)]
MANY = 50
ALL = [disk_name(index) for index in range(MANY)]
EVEN = ALL[::2]
WRONG = b"Wrong-secret-under-this-name-1"


class DelayingStorage(Storage):
    """Storage that calls a function before it writes to a disk, and notes the writes."""

    def __init__(self) -> None:
        self.before: Callable[[str], None] = lambda _name: None
        self.written: defaultdict[str, list[int]] = defaultdict(list)
        self.order: list[str] = []

    def overwrite(self, path: Path, offset: int, data: bytes, inode: int = 0) -> None:
        self.before(path.stem)
        super().overwrite(path, offset, data, inode)
        self.written[path.stem].append(offset)
        self.order.append(path.stem)


class Disks:
    """A shelf of disks with KEY, which are to get NEW_KEY."""

    def __init__(self, directory: Path) -> None:
        self.storage = DelayingStorage()
        self.shelf = Shelf(directory, directory / "shelf.toml", self.storage, Derivation())
        self.shelf.populate(DISKS, SIZE)
        self.shelf.load()
        self.shelf.power_on()
        self.keytable = Keytable()
        self.keytable.add([Entry(KEY_ID, "old", (KEY,)), Entry(NEW_KEY_ID, "new", (NEW_KEY,))])
        self.interrupt = Interrupt()
        assert self.rekey(KEY_ID).succeeded == tuple(NAMES)
        self.storage.written.clear()
        self.storage.order.clear()

    def rekey(self, key_id: str = NEW_KEY_ID, show: Show = show_nothing) -> DiskReport:
        jobs = DiskJobs(self.keytable, self.interrupt, show)
        return jobs.rekey(
            self.shelf, key_id, held=lambda _id, _key: True, refusal=lambda _disk: None
        )

    def with_key(self, key_id: str) -> list[str]:
        """Return the disks with this key ID in their files, which have no other header."""
        heads = {disk.name: head_of(disk.path) for disk in self.shelf}
        assert not any(head.unclean for head in heads.values())
        return [name for name, head in heads.items() if head.header.state.key_id == key_id]


@pytest.fixture
def disks(tmp_path: Path) -> Disks:
    return Disks(tmp_path)


def test_disks_are_changed_at_the_same_time_but_each_in_its_order(disks: Disks) -> None:
    all_begun = threading.Barrier(WORKERS)
    first_writes: set[str] = set()

    def wait(name: str) -> None:
        if name in NAMES[:WORKERS] and name not in first_writes:
            first_writes.add(name)
            all_begun.wait(PATIENCE)  # breaks if they come one after the other

    disks.storage.before = wait
    assert disks.rekey().succeeded == tuple(NAMES)
    in_order = disks.storage.written[NAMES[0]]
    assert sorted(in_order) == [*SLOT_OFFSETS, *RECORD_OFFSETS]
    assert disks.storage.written == dict.fromkeys(NAMES, in_order)


def test_ctrl_c_stops_between_disks_and_tells_exactly_which_are_done(disks: Disks) -> None:
    told: list[int] = []

    @contextmanager
    def stop_at_the_sixth(_work: Work) -> Iterator[Tell]:
        def tell(done: int) -> None:
            told.append(done)
            if done == 5:
                disks.interrupt.request()

        yield tell

    report = disks.rekey(show=stop_at_the_sixth)
    reached = WORKERS + 4  # a disk is begun for each of the first four that were done
    assert told == list(range(reached + 1))
    assert report == DiskReport("rekey", tuple(NAMES[:reached]), (), DISKS - reached)
    assert disks.with_key(NEW_KEY_ID) == NAMES[:reached]
    assert disks.with_key(KEY_ID) == NAMES[reached:]
    again = disks.rekey()
    assert (again.succeeded, again.not_reached) == (tuple(NAMES), 0)


def test_a_disk_that_fails_is_the_only_one(disks: Disks) -> None:
    def refuse(name: str) -> None:
        if name == NAMES[4]:
            raise StorageError(f"cannot write {name}")

    disks.storage.before = refuse
    report = disks.rekey()
    assert report.succeeded == (*NAMES[:4], *NAMES[5:])
    assert [(each.disk, each.kind, each.reason) for each in report.failures] == [
        (NAMES[4], FailureKind.OTHER, f"cannot write {NAMES[4]}")
    ]
    assert disks.with_key(KEY_ID) == [NAMES[4]]


def test_failures_are_told_in_the_order_of_the_disks_whichever_is_first(disks: Disks) -> None:
    later_has_failed, later_is_done = threading.Event(), threading.Event()
    first, later = NAMES[1], NAMES[6]

    def refuse(name: str) -> None:
        if name == first:
            assert later_has_failed.wait(PATIENCE)
            raise StorageError("refused last")
        if name == later:
            later_has_failed.set()
            raise StorageError("refused first")
        if name == NAMES[0]:
            assert later_is_done.wait(PATIENCE)
        if name == NAMES[DISKS - 1] and name in disks.storage.order:
            later_is_done.set()

    disks.storage.before = refuse
    report = disks.rekey()
    assert [failure.reason for failure in report.failures] == ["refused last", "refused first"]
    assert report.succeeded == tuple(name for name in NAMES if name not in (first, later))
    assert disks.storage.order.index(NAMES[0]) > disks.storage.order.index(NAMES[DISKS - 1])


def test_threads_that_need_one_key_derive_it_once() -> None:
    runs: list[int] = []
    together = threading.Barrier(WORKERS)

    class Counted(Scrypt):
        def stretch(self, secret: bytes, salt: bytes, size: int) -> bytes:
            runs.append(threading.get_ident())
            return super().stretch(secret, salt, size)

    derivation, cost = Derivation(), Counted(STANDARD.n, STANDARD.r, STANDARD.p)

    def stretch(_number: int) -> bytes:
        together.wait(PATIENCE)
        return derivation.stretch(KEY_ID, KEY, cost).reveal()

    with ThreadPoolExecutor(WORKERS) as pool:
        found = list(pool.map(stretch, range(WORKERS)))
    assert len(runs) == 1
    assert found == [derivation.stretch(KEY_ID, KEY, cost).reveal()] * WORKERS


# What disks learn from each other.


@pytest.fixture
def house(servers: list[FaultyKeyServer], tmp_path: Path) -> Iterator[House]:
    """A filer with 50 disks: the even ones have one key, the others another one."""
    with House.build(tmp_path / "root", servers, disks=MANY, timeout=60.0) as house:
        house.add()
        even = house.rekey()
        house.rekey()
        house.must(f"disk encrypt rekey {even} {' '.join(EVEN)}")
        yield house


def boot(house: House) -> Told:
    house.power_cycle()
    return house.boot_now(Told())


def tags(house: House) -> list[int]:
    return [len(head_of(disk.path).tags) for disk in house.disks]


def test_of_fifty_disks_with_two_candidate_keys_one_stays_locked(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    key_id = house.key_id()
    house.lock()
    faulty.replace_secret(servers[0], key_id, WRONG)
    told = boot(house)
    first_spare = EVEN[2]  # 0c.00.0 and 0c.00.2 are in the root aggregate, and come last
    at_it = [int(name == first_spare) for name in ALL]
    assert [disk.name for disk in house.disks if disk.locked] == [first_spare]
    assert (house.failures, tags(house)) == (at_it, at_it)
    assert told.warnings == [
        f"{first_spare} stay locked: the key that was tried for key ID {key_id} does not open them",
        f"key server 127.0.0.2 holds another key for key ID {key_id} than the one that opens its "
        "disks",
    ]
    assert boot(house).warnings == told.warnings[1:]
    assert (house.failures, tags(house)) == ([0] * MANY, at_it)
    assert not any(disk.locked for disk in house.disks)


@pytest.mark.parametrize("command", ["disk encrypt lock *", "disk encrypt rekey 0x0 *"])
def test_of_fifty_disks_with_two_candidate_keys_a_command_fails_on_one(
    house: House, servers: list[FaultyKeyServer], command: str
) -> None:
    faulty.replace_secret(servers[0], house.key_id(), WRONG)
    boot(house)
    done = house.run(command)
    assert done.failures == ["0c.00.0: authentication failed"]
    assert "50 disks: 49 successes, 1 failures" in done.text
    assert house.failures == [1] + [0] * (MANY - 1)
    house.must(command)
    assert house.failures == [0] * MANY


def test_a_single_wrong_key_is_tried_once_on_each_disk(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    key_id = house.key_id()
    house.lock()
    for server in servers:
        faulty.replace_secret(server, key_id, WRONG)
    refused = [int(name in EVEN) for name in ALL]
    for _ in range(2):  # the second boot tries nothing
        house.power_cycle()
        with suppress(Panic):
            house.boot_now(Told())
        assert (house.failures, tags(house)) == (refused, refused)
        assert [int(disk.locked) for disk in house.disks] == refused
