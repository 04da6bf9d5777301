"""Two systems with disks in one shelf: each takes, shows and changes its own disks only."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filer.boot.machine import BootAborted, Panic
from filer.disks.bay import disk_name
from filer.disks.derivation import Derivation
from filer.disks.disk import Disk
from filer.disks.head import HeadFile
from filer.disks.header import RECORD_OFFSETS
from filer.disks.label import read_labels
from filer.disks.ownership import Node
from filer.disks.record import NO_OWNER, Mark, Owner
from filer.host.durable import Storage, StorageError
from filer.shell.plugins import commands_in_maintenance
from tests.conftest import StartKeyServers
from tests.kit import disk_files
from tests.kit.disk_files import KEY_ID, SIZE, keyed, locking, make_old, on
from tests.kit.faulty import CrashingStorage, PowerLoss, lose_power
from tests.kit.house import PARTNER_ID, SYSTEM_ID, House, Outcome
from tests.kit.manual import completed
from tests.kit.pairs import lose

__all__ = ["keyed", "locking"]

FILER1, FILER2 = Owner(SYSTEM_ID, "filer1"), Owner(PARTNER_ID, "filer2")
ODD = [disk_name(index) for index in (1, 3, 5, 7)]  # filer1 has the higher system ID
EVEN = [disk_name(index) for index in (0, 2, 4, 6)]


class Pair:
    """Two systems, ``first`` and ``second``, which share a shelf and key servers."""

    def __init__(self, directory: Path, start: StartKeyServers) -> None:
        self.directory = directory
        self.servers = start(1)
        self.first = self.system("filer1", SYSTEM_ID, PARTNER_ID)
        self.second = self.system("filer2", PARTNER_ID, SYSTEM_ID)

    def system(self, name: str, system_id: int, partner_id: int) -> House:
        return House.build(
            self.directory / name,
            self.servers,
            disks=8,
            hostname=name,
            system_id=system_id,
            partner_id=partner_id,
            directory="../shelf",
        )

    @property
    def systems(self) -> tuple[House, House]:
        return self.first, self.second

    def contents(self, *names: str) -> list[bytes]:
        return [(self.directory / "shelf" / f"{name}.sed").read_bytes() for name in names]


@pytest.fixture
def pair(tmp_path: Path, key_servers: StartKeyServers) -> Iterator[Pair]:
    pair = Pair(tmp_path, key_servers)
    yield pair
    for house in pair.systems:
        house.close()


def listed(house: House, line: str) -> list[str]:
    """Return the disks that a table lists."""
    return list(re.findall(r"^(0c\S+)", house.good(line), re.MULTILINE))


def maintenance(house: House) -> Callable[..., Outcome]:
    """Start maintenance mode, and return a function that executes its commands."""
    house.power_cycle()
    return partial(house.execute, commands=commands_in_maintenance())


# Who takes a new disk.


@given(st.integers(1, 2**31), st.integers(1, 2**31), st.integers(0, 2399))
def test_one_of_two_partners_takes_each_disk(one: int, other: int, index: int) -> None:
    if one == other:
        other += 1
    name = disk_name(index)
    first = Node(one, partner_id=other, shares_shelf=True).takes(name)
    second = Node(other, partner_id=one, shares_shelf=True).takes(name)
    assert first != second
    assert first == ((index % 24 % 2 == 0) == (one < other))
    assert Node(one).takes(name)
    assert Node(one, partner_id=other).takes(name)


def test_each_system_takes_its_bays_and_makes_its_own_root_aggregate(pair: Pair) -> None:
    shelf = pair.directory / "shelf"
    assert len(list(shelf.glob("*.sed"))) == 8
    assert not (pair.first.root / "shelf").exists()
    for house, own, others in ((pair.first, ODD, EVEN), (pair.second, EVEN, ODD)):
        house.reboot()
        assert listed(house, "disk show") == own
        assert listed(house, "disk show -v") == sorted([*own, *others])
        rows = re.findall(r"^ *(\w+) +(0c\.\d+\.\d+) ", house.good("sysconfig -r"), re.MULTILINE)
        assert [disk for role, disk in rows if role in ("dparity", "parity", "data")] == own[:3]
        assert [disk for role, disk in rows if role == "partner"] == others
        assert "\nPartner disks\n" in house.good("aggr status -r")
    assert pair.first.good("disk show -o filer2 ") == pair.first.good(f"disk show -s {PARTNER_ID}")
    assert f"filer2    ({PARTNER_ID})" in pair.first.good("disk show -o filer2")


def test_a_system_that_starts_later_makes_no_disk_in_a_bay_that_was_emptied(
    tmp_path: Path, key_servers: StartKeyServers
) -> None:
    with House.build(tmp_path / "filer1", disks=8, partner_id=0, directory="../shelf"):
        (tmp_path / "shelf" / "0c.00.5.sed").unlink()
    with pytest.raises(Panic):  # all disks belong to the other system
        House.build(
            tmp_path / "filer2",
            disks=8,
            hostname="filer2",
            system_id=PARTNER_ID,
            partner_id=SYSTEM_ID,
            directory="../shelf",
        )
    assert not (tmp_path / "shelf" / "0c.00.5.sed").exists()


def test_without_auto_assign_new_disks_stay_unowned(tmp_path: Path) -> None:
    with House.build(tmp_path / "root", disks=4) as house:
        house.good("options disk.auto_assign off")
        house.set(disks=6)
        assert house.reboot() == ""
        assert listed(house, "disk show -n") == ["0c.00.4", "0c.00.5"]
        assert [disk.owner.system_id for disk in house.filer.shelf] == [SYSTEM_ID] * 4 + [0, 0]
        refused = house.execute("disk encrypt sanitize 0c.00.4")
        assert refused.err == "0c.00.4: has no owner; disk assign makes it one of this system\n"
        house.good("disk assign 0c.00.4")
        house.good("disk assign auto")
        assert listed(house, "disk show") == [disk_name(index) for index in range(6)]
        assert "disk show: No disks match option -n." in house.good("disk show -n")


# Every command, and disks without an owner.


@pytest.fixture
def released(tmp_path: Path, key_servers: StartKeyServers) -> Iterator[House]:
    """A filer that has released its locked disk 0c.00.4."""
    with House.build(tmp_path / "root", key_servers(1), disks=5) as house:
        house.encrypt()
        assert house.good("disk assign 0c.00.4 -s unowned") == ""
        yield house


def test_no_command_and_no_boot_touches_a_disk_without_an_owner(released: House) -> None:
    path = released.root / "shelf" / "0c.00.4.sed"
    before = path.read_bytes()
    told = "WARNING: disk: 0c.00.4 stay locked: they have no owner.\n"
    assert released.reboot() == told
    key_id = released.key_id()
    skipped = "0c.00.4: has no owner; skipped\n"
    for line, verb in {
        "key_manager rekey": "rekey",
        f"disk encrypt rekey {key_id} *": "rekey",
        "disk encrypt lock *": "lock",
        "disk encrypt rekey 0x0 0c.*": "rekey",
    }.items():
        outcome = released.execute(line)
        assert (outcome.status, outcome.err) == (0, skipped)
        assert completed(verb, 4) in outcome.out
    assert "1 disks (0c.00.3)" in released.good("disk encrypt sanitize -all", "sanitize disk")
    for line in ("lock", f"rekey {key_id}", "rekey 0x0", "sanitize", "destroy"):
        refused = released.execute(f"disk encrypt {line} 0c.00.4")
        assert refused.err == "0c.00.4: has no owner; disk assign makes it one of this system\n"
    destroyed = maintenance(released)("disk encrypt destroy *", "destroy disk")
    assert "4 disks (0c.00.0, 0c.00.1, 0c.00.2, 0c.00.3)" in destroyed.out
    assert path.read_bytes() == before


def test_the_key_of_a_disk_without_an_owner_stays_in_reach(released: House) -> None:
    """Another system, or this one, may need it when it becomes the owner."""
    key_id = released.key_id("0c.00.4")
    released.good("disk encrypt rekey 0x0 0c.00.0 0c.00.1 0c.00.2 0c.00.3")
    asked = released.execute("key_manager remove -key_server 127.0.0.2", "no")
    assert f"{key_id}" in asked.out + asked.err
    lose(released.servers[0])
    kept = released.execute("key_manager restore -all")
    assert f"kept: {key_id}, in use by 1 disks" in kept.err


def test_a_released_disk_comes_back_with_assign(released: House) -> None:
    released.good("disk assign all")
    assert released.reboot() == ""
    assert not any(disk.locked for disk in released.disks)


@pytest.mark.parametrize("line", ["disk assign 0c.00.0 -s unowned", "disk assign * -s 77"])
def test_a_member_of_the_root_aggregate_is_not_given_away(released: House, line: str) -> None:
    refused = released.execute(line)
    assert refused.status == 1
    assert "0c.00.0: belongs to aggregate aggr0\n" in refused.err
    assert released.filer.shelf["0c.00.0"].owner == FILER1


def test_assign_refuses_owners_that_it_cannot_find(released: House) -> None:
    for options, error in {
        "-o nosuch": 'no system here is called "nosuch"; give its system ID with -s',
        "-o filer2 -s unowned": "-o and -s unowned exclude each other",
        "-s 0": '"0" is not a system ID; it is a number, as disk show -v shows',
        "-s 78 -o 'a b'": '"a b" is not the name of a system',
    }.items():
        assert released.bad(f"disk assign 0c.00.4 {options}") == f"disk: {error}\n"


# Every command, and the disks of the partner.


def test_every_command_touches_own_disks_only(pair: Pair) -> None:
    for house in pair.systems:
        house.add()
    before = pair.contents(*EVEN)
    first = pair.first
    assert completed("rekey", 4) in first.good("key_manager rekey")
    assert first.good("disk encrypt lock *") == completed("lock", 4)
    assert first.good("disk encrypt rekey 0x0 *") == completed("rekey", 4)
    answers = ("", "", "", "", "", "", "yes")
    setup = first.execute("key_manager setup", *answers)
    assert completed("rekey", 4) + completed("lock", 4) in setup.out
    assert "1 disks (0c.00.7)" in first.good("disk encrypt sanitize -all", "sanitize disk")
    assert first.good("disk assign all") == ""
    assert first.reboot() == ""
    assert pair.contents(*EVEN) == before
    own = pair.contents(*ODD)
    execute = maintenance(pair.second)
    assert f"({', '.join(EVEN)})" in execute("disk encrypt sanitize -all", "sanitize disk").out
    assert pair.contents(*ODD) == own


@pytest.mark.parametrize(
    "line",
    [
        "disk encrypt rekey {key_id} 0c.00.0",
        "disk encrypt rekey 0x0 0c.00.0",
        "disk encrypt lock 0c.00.0",
        "disk encrypt sanitize 0c.00.0",
        "disk encrypt destroy 0c.00.0",
        "disk assign 0c.00.0",
        "disk assign 0c.00.0 -f",
        "disk assign 0c.00.0 -s unowned -f",
    ],
)
def test_by_name_a_disk_of_the_partner_is_refused(line: str, pair: Pair) -> None:
    key_id = pair.first.encrypt()
    before = pair.contents(*EVEN)
    refused = pair.first.execute(line.format(key_id=key_id))
    assert refused.status == 1
    assert refused.err.startswith(f"0c.00.0: belongs to the partner ({PARTNER_ID}); ")
    assert pair.contents(*EVEN) == before


def test_completion_offers_own_disks(pair: Pair) -> None:
    (lock,) = (
        row
        for row in pair.first.session.commands["disk"].subcommands
        if "encrypt lock" in str(row.synopsis)
    )
    offered = [name for name, _help in lock.values["disk_list"](pair.first.filer)]
    assert offered == ODD


def test_both_rekey_lock_and_boot_by_themselves(pair: Pair) -> None:
    for house in pair.systems:
        house.encrypt()
    for house in (*pair.systems, *reversed(pair.systems)):
        assert house.reboot() == ""
        own = house.filer.ownership().own(house.filer.shelf)
        assert len(own) == 4
        assert not any(disk.locked for disk in own)
    assert pair.first.key_id("0c.00.1") != pair.second.key_id("0c.00.0")


def test_restore_keeps_the_keys_of_the_partner_that_were_made_after_the_boot(pair: Pair) -> None:
    for house in pair.systems:
        house.encrypt()
    theirs = pair.second.key_id("0c.00.0")
    pair.first.good("key_manager restore -all")
    lose(pair.servers[0])
    outcome = pair.first.execute("key_manager restore -all")
    assert outcome.status == 1
    assert theirs in pair.first.in_keytable()
    assert pair.first.filer.key_ids_in_use()[theirs] == 4


# What the partner does meanwhile.


def test_nothing_about_the_partners_disks_is_cached(pair: Pair) -> None:
    pair.second.add()
    key_id = pair.second.rekey()
    shown = pair.first.good("disk encrypt show 0c.00.0")
    assert key_id in shown
    pair.second.good("disk assign 0c.00.6 -s unowned")
    assert listed(pair.first, "disk show -n") == ["0c.00.6"]
    pair.first.good("disk assign 0c.00.6")
    assert "its owner has just changed" not in pair.second.good("disk show")
    assert listed(pair.second, "disk show") == EVEN[:3]
    assert listed(pair.second, "disk show -o filer1") == [*ODD[:3], "0c.00.6", "0c.00.7"]
    refused = pair.second.execute(f"disk encrypt rekey {key_id} 0c.00.6")
    assert refused.err.startswith(f"0c.00.6: belongs to the partner ({SYSTEM_ID})")


def test_a_disk_that_changes_hands_during_a_command_is_left_alone(pair: Pair) -> None:
    pair.second.add()
    key_id = pair.second.rekey()
    ownership = pair.second.filer.ownership()
    other = Disk("0c.00.6", pair.directory / "shelf" / "0c.00.6.sed", Storage(), Derivation())
    other.power_on(finish=False)
    other.assign(FILER1)
    before = pair.contents("0c.00.6")
    disk = pair.second.filer.shelf["0c.00.6"]
    report = pair.second.filer.disk_jobs().sanitize([disk], refusal=ownership.refusal)
    assert [failure.reason for failure in report.failures] == [
        "0c.00.6: its owner has just changed; repeat the command"
    ]
    assert key_id == disk.key_id
    assert pair.contents("0c.00.6") == before


class LookingStorage(Storage):
    """Storage that calls ``look`` after each write, before the writer knows that it is done."""

    look = staticmethod(lambda: None)

    def overwrite(self, path: Path, offset: int, data: bytes, inode: int = 0) -> None:
        super().overwrite(path, offset, data, inode)
        self.look()


def test_a_session_that_looks_at_a_disk_does_not_disturb_one_that_changes_it(
    locking: Disk,
) -> None:
    """What this process is writing is not mistaken for a change by the partner."""
    storage = LookingStorage()
    disk = on(locking, storage)
    storage.look = disk.look_again
    disk.authenticate(disk_files.KEY)
    disk.rekey(disk_files.KEY, disk_files.NEW_KEY_ID, disk_files.NEW_KEY)
    disk.assign(FILER1)
    assert (disk.locked, disk.accepted_key, disk.owner) == (False, disk_files.NEW_KEY, FILER1)
    assert disk.read_block(3) == disk_files.PLAIN


class StoppedStorage(Storage):
    """Storage of a process that is stopped before it reads for the time number ``at``."""

    def __init__(self, at: int, meanwhile: Callable[[], object]) -> None:
        self.reads, self.writes = 0, 0
        self._at, self._meanwhile = at, meanwhile

    def read(self, path: Path, offset: int, size: int) -> bytes:
        self.reads += not self.writes
        if self.reads == self._at and not self.writes:
            self._meanwhile()
        return super().read(path, offset, size)

    def overwrite(self, path: Path, offset: int, data: bytes, inode: int = 0) -> None:
        self.writes += 1
        super().overwrite(path, offset, data, inode)


@pytest.mark.parametrize(
    "change",
    [
        lambda disk: disk.authenticate(disk_files.KEY),
        lambda disk: disk.rekey(disk_files.KEY, disk_files.NEW_KEY_ID, disk_files.NEW_KEY),
        lambda disk: disk.lock(disk_files.KEY),
        Disk.sanitize,
        Disk.destroy,
        lambda disk: disk.assign(FILER1),
        Disk.release,
        lambda disk: disk.mark(Mark.FAILED),
    ],
)
def test_a_process_that_was_stopped_takes_no_disk_back(
    keyed: Disk, change: Callable[[Disk], object]
) -> None:
    """Another system became the owner before the first write; the writer had read the disk."""
    content = keyed.path.read_bytes()

    def changed(at: int, meanwhile: Callable[[], object]) -> int:
        """Change the disk, and return how often it was read before the first write."""
        storage = StoppedStorage(at, meanwhile)
        disk = on(keyed, storage)
        storage.reads = 0
        change(disk)
        assert storage.writes
        return storage.reads

    reads = changed(0, lambda: None)
    keyed.path.write_bytes(content)
    with pytest.raises(StorageError, match="another system has just changed it"):
        changed(reads, lambda: on(keyed).assign(FILER2))
    assert on(keyed).owner == FILER2


def test_a_power_on_finishes_no_change_of_the_partner(pair: Pair) -> None:
    """The partner may be in the middle of it: between a new header and the old one."""
    path = pair.directory / "shelf" / "0c.00.0.sed"
    HeadFile(path, Storage()).write_record(unfinished=True)
    before = pair.contents("0c.00.0")
    pair.first.reboot()
    assert pair.contents("0c.00.0") == before
    pair.second.reboot()
    assert pair.contents("0c.00.0") != before


# Disks without a record, in a shared shelf.


def forget_owner(path: Path) -> None:
    """Make the disk one of version 0.1, whose record has no owner."""
    make_old(path, (None, None))


def test_in_a_shared_shelf_a_disk_whose_record_was_lost_is_not_taken(pair: Pair) -> None:
    pair.second.encrypt()
    spare = pair.directory / "shelf" / "0c.00.7.sed"
    with spare.open("r+b") as file:
        file.seek(8192)
        file.write(bytes(8192))
    for house in pair.systems:
        house.reboot()
    known = listed(pair.first, "disk show")
    assert known == ODD  # it is in the record of this system
    (pair.first.root / "var" / "shelf.toml").unlink()
    with spare.open("r+b") as file:
        file.seek(8192)
        file.write(bytes(8192))
    pair.first.reboot()
    assert listed(pair.first, "disk show -n") == ["0c.00.7"]


def test_disks_of_version_0_1_still_open(tmp_path: Path, key_servers: StartKeyServers) -> None:
    with House.build(tmp_path / "root", key_servers(1)) as house:
        house.encrypt()
        house.power_off()
        for path in (tmp_path / "root" / "shelf").glob("*.sed"):
            forget_owner(path)
        house.reboot()
        assert not any(disk.locked for disk in house.disks)
        assert {disk.owner for disk in house.disks} == {FILER1}


# Moved disks.


@pytest.fixture
def moved(tmp_path: Path, key_servers: StartKeyServers) -> Iterator[House]:
    """A filer with the locked disks of another one in its second shelf."""
    servers = key_servers(1)
    old = tmp_path / "old"
    with House.build(old, servers, hostname="old", system_id=77, partner_id=0) as other:
        other.encrypt()
    with House.build(tmp_path / "root", servers) as house:
        house.add()
        for path in (old / "shelf").glob("*.sed"):
            path.rename(house.root / "shelf" / path.name.replace("0c.00", "0c.01"))
        yield house


MOVED = [f"0c.01.{bay}" for bay in range(4)]


def test_a_shelf_of_another_system_is_shown_and_left_alone(moved: House) -> None:
    before = [path.read_bytes() for path in sorted((moved.root / "shelf").glob("0c.01.*"))]
    assert moved.reboot() == (
        f"WARNING: disk: {', '.join(MOVED)} stay locked: they belong to another system (77).\n"
    )
    assert listed(moved, "disk show -o old") == MOVED
    assert len(listed(moved, "disk show")) == 4
    assert moved.good("disk assign all -f") == ""
    refused = moved.execute("disk assign 0c.01.* -f")
    assert refused.err.count("sanitize it there before you use it here") == 4
    assert before == [path.read_bytes() for path in sorted((moved.root / "shelf").glob("0c.01.*"))]


@pytest.mark.parametrize("option", ["-s 77", "-o old", f"-s 77 -d {SYSTEM_ID}"])
def test_reassign_takes_a_whole_shelf(moved: House, option: str) -> None:
    execute = maintenance(moved)
    kept = execute(f"disk reassign {option}", "no")
    assert (kept.status, kept.err) == (
        1,
        "disk: reassign: not confirmed; nothing was changed\n",
    )
    taken = execute(f"disk reassign {option}", "maybe", "y")
    assert taken.out == (
        f"The owner of 4 disks changes from system 77 to system {SYSTEM_ID}.\n"
        "Do you want to continue (y/n)? maybe\nPlease answer yes or no.\n"
        "Do you want to continue (y/n)? y\n"
        f"disk reassign: 4 disks were reassigned to system {SYSTEM_ID}.\n"
    )
    assert moved.reboot() == ""
    assert not any(disk.locked for disk in moved.disks)
    assert len(listed(moved, "disk show")) == 8
    # They keep the label of their old aggregate, so they are not spares.
    refused = moved.execute("disk encrypt sanitize 0c.01.0")
    assert refused.err == "0c.01.0: belongs to another aggregate\n"
    assert completed("rekey", 8) in moved.good("key_manager rekey")


def test_reassign_refuses_what_it_cannot_mean(moved: House) -> None:
    execute = maintenance(moved)
    for line, error in {
        "disk reassign -s 78": "no disk belongs to system 78",
        f"disk reassign -s {SYSTEM_ID}": f"both are system {SYSTEM_ID}",
        "disk reassign -o nosuch": 'no system here is called "nosuch"; give its system ID with -s',
        "disk reassign -s x": '"x" is not a system ID; it is a number, as disk show -v shows',
    }.items():
        assert execute(line) == Outcome(1, "", f"disk: {error}\n")


def test_reassign_takes_nothing_that_gets_another_owner_while_it_asks(moved: House) -> None:
    name = "0c.01.2"
    elsewhere = Disk(name, moved.root / "shelf" / f"{name}.sed", Storage(), Derivation())
    elsewhere.power_on(finish=False)
    assigned = {"continue": lambda: elsewhere.assign(Owner(78, "filer78"))}
    outcome = maintenance(moved)("disk reassign -s 77", "y", when=assigned)
    assert outcome.err == ("disk: the disks of system 77 have just changed; repeat the command\n")
    assert moved.filer.shelf[name].owner.system_id == 78


def test_the_disks_of_the_partner_are_reassigned_on_the_partner(pair: Pair) -> None:
    execute = maintenance(pair.first)
    assert "which may use its disks now" in execute(f"disk reassign -s {PARTNER_ID}").err


def test_maintenance_mode_returns_disks_to_the_msid(moved: House) -> None:
    execute = maintenance(moved)
    assert execute("disk reassign -s 77", "y").status == 0
    assert execute("disk encrypt rekey 0x0 0c.01.*").out == completed("rekey", 4)
    assert "only has disk encrypt rekey 0x0" in execute(f"disk encrypt rekey {'A' * 64} *").err
    assert execute("aggr status").status == execute("sysconfig -r").status == 0
    moved.reboot()
    assert {moved.key_id(name) for name in MOVED} == {"0x0"}


# A changed system ID.


def test_an_overridden_system_id_takes_all_disks_and_their_aggregate(
    tmp_path: Path, key_servers: StartKeyServers
) -> None:
    servers = key_servers(1)
    with House.build(tmp_path / "root", servers, disks=5) as house:
        key_id = house.encrypt()
        house.set(port=servers[0].port, disks=5, system_id=77)
        house.overrides = False
        before = [disk.path.read_bytes() for disk in house.disks]
        with pytest.raises(BootAborted):
            house.reboot()
        assert [disk.path.read_bytes() for disk in house.disks] == before
        house.overrides = True
        assert house.reboot() == ""
        assert {disk.owner for disk in house.disks} == {Owner(77, "filer1")}
        assert not house.filer.assembled().degraded
        house.overrides = False
        assert house.reboot() == ""  # asked once
        assert house.key_ids == [key_id] * 5
        assert house.good(f"disk encrypt rekey {key_id} *") == completed("rekey", 5)
        log = (house.root / "mroot" / "etc" / "messages").read_text()
        assert f"from filer1 (ID {SYSTEM_ID}) to filer1 (ID 77)" in log
        labels = {label for label in read_labels(house.filer.shelf).values() if label}
        assert [label.system_id for label in labels] == [77]


def test_after_reassign_a_changed_system_id_is_not_asked_about(
    tmp_path: Path, key_servers: StartKeyServers
) -> None:
    servers = key_servers(1)
    with House.build(tmp_path / "root", servers) as house:
        house.encrypt()
        house.set(port=servers[0].port, system_id=77)
        house.overrides = False
        assert maintenance(house)(f"disk reassign -s {SYSTEM_ID} -d 77", "y").status == 0
        assert house.reboot() == ""


# The record.


owners = st.builds(
    Owner,
    st.integers(1, 2**32 - 1),
    st.from_regex(r"([A-Za-z0-9][A-Za-z0-9_-]{0,62})?", fullmatch=True),
)


@pytest.mark.parametrize("change", ["assign", "release"])
def test_a_crash_at_any_write_leaves_the_old_owner_or_the_new(
    locking: Disk, change: str, derivation: Derivation
) -> None:
    locking.assign(FILER1)
    locking.assign(FILER2)
    original = locking.path.read_bytes()
    changes = {"assign": lambda disk: disk.assign(FILER1), "release": Disk.release}
    new = FILER1 if change == "assign" else NO_OWNER
    found = []
    for moment in ("before", "torn 1", "torn 2", "after"):
        locking.path.write_bytes(original)
        storage = CrashingStorage(lose_power)
        disk = on(locking, storage)
        storage.arm(1, moment)
        with pytest.raises(PowerLoss):
            changes[change](disk)
        again = on(locking)
        assert (again.key_id, again.locking, again.failures) == (KEY_ID, True, 0)
        found.append(again.owner)
    assert found[0] == FILER2
    assert set(found[1:-1]) <= {FILER2, new}
    assert found[-1] == new


@pytest.mark.parametrize("offset", RECORD_OFFSETS)
def test_a_block_that_is_lost_leaves_the_old_owner_or_the_new(locking: Disk, offset: int) -> None:
    locking.assign(FILER1)
    locking.assign(FILER2)
    disk_files.damage(locking.path, offset, size=4096)
    assert on(locking).owner in (FILER1, FILER2)


@given(names=st.lists(owners | st.none(), min_size=1, max_size=6))
def test_the_last_owner_counts_and_the_home_stays(
    tmp_path_factory: pytest.TempPathFactory, names: list[Owner | None]
) -> None:
    path = tmp_path_factory.mktemp("disk") / "0c.00.0.sed"
    disk = Disk.create("0c.00.0", path, Storage(), Derivation(), size=SIZE)
    disk.power_on()
    home = 0
    for owner in names:
        if owner:
            disk.assign(owner)
            home = owner.system_id
        else:
            disk.release()
        read = on(disk)
        assert (read.owner, read.home) == (owner or NO_OWNER, home)
        assert not read.locked
