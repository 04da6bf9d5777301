"""What a filer that is up does about its disks: replacing members, drives that come and go."""

import os
from collections.abc import Callable, Iterator, Sequence
from errno import EIO
from pathlib import Path

import pytest

from filer.boot.machine import Panic
from filer.boot.raid import Raid
from filer.disks import faults
from filer.disks.aggregate import POSITIONS
from filer.disks.disk import BLOCK_SIZE, Disk, DiskError
from filer.disks.header import DATA_OFFSET
from filer.disks.label import LABEL_BLOCK, Composition, Label
from filer.disks.record import Mark
from filer.drives.bays import Bays
from filer.host.durable import Storage, StorageError
from tests.kit import manual
from tests.kit.house import House
from tests.kit.manual import Build

build = manual.build

MEMBER, SPARE, OTHER_SPARE = "0c.00.1", "0c.00.3", "0c.00.4"
LABEL_OFFSET = DATA_OFFSET + LABEL_BLOCK * BLOCK_SIZE


class Attended:
    """A filer with two spare disks, its bays, and what it logs about its disks."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.bays = Bays(house.root, Storage())
        self.lines: list[str] = []
        self.begin()

    def begin(self) -> None:
        """Attend to the disks of the filer, which has just booted."""
        self.raid = Raid(self.house.filer, self.lines.append)
        self.raid.tick()

    def reboot(self) -> str:
        """Boot again, and return the complaints."""
        complaints = self.house.reboot()
        self.begin()
        return complaints

    def disk(self, name: str) -> Disk:
        return self.house.filer.shelf[name]

    def members(self) -> list[str | None]:
        """Return the disks that are in use."""
        members = self.house.filer.assembled().members
        assert [each.position for each in members] == list(POSITIONS)
        return [each.in_use.name if each.in_use else None for each in members]

    def events(self) -> list[str]:
        """Return the names of the events since the last call."""
        found = [line.partition("[filer1:")[2].partition("]")[0] for line in self.lines]
        self.lines.clear()
        return found

    def role(self, name: str) -> str:
        return self.house.filer.assembled().role(self.disk(name))


@pytest.fixture
def filer(build: Build) -> Attended:
    return Attended(build(1, disks=5))


@pytest.fixture
def sealed(build: Build) -> Attended:
    """A filer whose disks are locked with a key."""
    house = build(1, disks=5)
    house.encrypt()
    house.reboot()
    return Attended(house)


def test_a_failed_member_is_rebuilt_on_a_spare(filer: Attended) -> None:
    filer.disk("0c.00.0").write_block(9, b"x" * BLOCK_SIZE)
    filer.house.good(f"disk fail -i -f {MEMBER}")
    assert filer.members() == ["0c.00.0", None, "0c.00.2"]
    filer.raid.work()
    assert filer.members() == ["0c.00.0", SPARE, "0c.00.2"]
    assert filer.disk(SPARE).read_block(9) == b"x" * BLOCK_SIZE
    assert filer.events() == [
        "raid.rg.recons.start:notice",
        *["raid.rg.recons.progress:info"] * 3,
        "raid.rg.recons.done:notice",
    ]
    assert filer.reboot() == ""
    assert filer.members() == ["0c.00.0", SPARE, "0c.00.2"]
    assert filer.role(MEMBER) == "broken"


def test_a_rebuild_on_a_spare_that_is_sanitized_begins_anew(filer: Attended) -> None:
    source = filer.disk("0c.00.0")
    for number in range(LABEL_BLOCK + 1, source.blocks):
        source.write_block(number, number.to_bytes(2, "big") * (BLOCK_SIZE // 2))
    filer.house.good(f"disk fail -i -f {MEMBER}")
    for _ in range(5):
        filer.raid.tick()
    assert filer.house.run(f"disk encrypt sanitize {SPARE}", "sanitize disk").failures == []
    filer.raid.work()
    (_, rebuilt, _) = filer.members()
    assert rebuilt
    assert [filer.disk(rebuilt).read_block(each) for each in range(1, source.blocks)] == [
        source.read_block(each) for each in range(1, source.blocks)
    ]


def test_an_unfailed_disk_is_a_spare_though_all_members_were_replaced(build: Build) -> None:
    filer = Attended(build(1, disks=6))
    members = filer.members()
    for name in members:
        filer.house.good(f"disk fail -f {name}")
        filer.raid.work()
    assert not set(filer.members()) & set(members)
    for name in members:
        assert name
        assert filer.role(name) == "broken"
        filer.house.good(f"disk unfail {name}")
        assert filer.role(name) == "spare"
    assert filer.reboot() == ""
    assert {filer.role(str(name)) for name in members} == {"spare"}


def test_a_prefailed_member_is_in_use_until_it_is_copied(filer: Attended) -> None:
    filer.disk(MEMBER).write_block(9, b"x" * BLOCK_SIZE)
    filer.house.good(f"disk fail -f {MEMBER}")
    filer.raid.tick()
    assert filer.members() == ["0c.00.0", MEMBER, "0c.00.2"]
    assert not filer.house.filer.assembled().degraded
    filer.raid.work()
    assert filer.members() == ["0c.00.0", SPARE, "0c.00.2"]
    assert filer.disk(SPARE).read_block(9) == b"x" * BLOCK_SIZE
    assert filer.disk(MEMBER).marks == Mark.FAILED | Mark.NOT_ZEROED
    filer.events()
    filer.bays.pull(MEMBER)
    filer.raid.work()
    assert filer.events() == ["raid.config.spare.disk.missing:info"]


def test_a_reboot_resumes_a_rebuild(filer: Attended) -> None:
    filer.house.good(f"disk fail -i -f {MEMBER}")
    filer.raid.tick()
    assert "aggr0 is degraded: 0 of 3 disks locked, 1 failed" in filer.reboot()
    filer.raid.work()
    assert filer.members() == ["0c.00.0", OTHER_SPARE, "0c.00.2"]  # zeroed


def next_label(filer: Attended, serials: Sequence[str]) -> Label:
    """Return the label of aggr0 after a replacement that leaves it with ``serials``."""
    root = filer.house.filer.ownership().root
    after = Composition(tuple(serials), root.generation + 1, root.uuid)
    return Label(filer.house.filer.hardware.system_id, "aggr0", *after)


def test_a_boot_completes_a_replacement_once_the_spare_is_labelled(filer: Attended) -> None:
    filer.house.good(f"disk fail -i -f {MEMBER}")
    members = filer.house.filer.assembled().members
    serials = [each.serial for each in members]
    serials[1] = filer.disk(SPARE).serial
    label = next_label(filer, serials)
    filer.disk(SPARE).write_block(LABEL_BLOCK, label.pack())
    assert filer.reboot() == ""
    assert filer.members() == ["0c.00.0", SPARE, "0c.00.2"]
    for name in ("0c.00.0", SPARE, "0c.00.2"):
        assert Label.parse(filer.disk(name).read_block(LABEL_BLOCK)) == label
    assert filer.house.filer.shelf.record.aggr0.members == tuple(serials)


def test_a_replaced_disk_is_a_spare_when_it_returns_even_on_a_new_boot_device(
    filer: Attended,
) -> None:
    name = filer.bays.pull(MEMBER)
    filer.raid.work()
    assert filer.members() == ["0c.00.0", SPARE, "0c.00.2"]
    filer.bays.insert(MEMBER, name)
    filer.raid.work()
    assert filer.role(MEMBER) == "spare"
    (filer.house.root / "var" / "shelf.toml").unlink()
    assert filer.reboot() == ""
    assert filer.members() == ["0c.00.0", SPARE, "0c.00.2"]
    assert filer.role(MEMBER) == "spare"
    assert "(not zeroed)" in filer.house.good("aggr status -s")


def test_a_member_that_returns_in_time_is_not_replaced(filer: Attended) -> None:
    name = filer.bays.pull(MEMBER)
    filer.raid.tick()
    assert filer.members() == ["0c.00.0", None, "0c.00.2"]
    filer.bays.insert("0c.00.9", name)
    filer.raid.work()
    assert filer.members() == ["0c.00.0", "0c.00.9", "0c.00.2"]
    assert filer.events() == [
        "raid.config.filesystem.disk.missing:error",
        "raid.rg.recons.start:notice",
        "raid.disk.inserted:info",
        "raid.rg.recons.aborted:notice",
    ]


def test_a_prefailed_member_that_is_pulled_is_rebuilt_instead(filer: Attended) -> None:
    filer.house.good(f"disk fail -f {MEMBER}")
    filer.raid.tick()
    filer.bays.pull(MEMBER)
    assert " (copy 5% completed)" not in filer.house.good("aggr status -r")
    filer.raid.work()
    assert filer.members() == ["0c.00.0", OTHER_SPARE, "0c.00.2"]  # zeroed
    assert filer.events() == [
        "raid.rg.diskcopy.start:notice",
        "raid.config.filesystem.disk.missing:error",
        "raid.rg.recons.start:notice",
        *["raid.rg.recons.progress:info"] * 3,
        "raid.rg.recons.done:notice",
    ]


def test_a_spare_that_is_pulled_during_a_rebuild_makes_room_for_the_next(filer: Attended) -> None:
    filer.house.good(f"disk fail -i -f {MEMBER}")
    filer.raid.tick()
    filer.bays.pull(SPARE)
    assert "      parity    FAILED" in filer.house.good("aggr status -r")
    filer.raid.work()
    assert filer.members() == ["0c.00.0", OTHER_SPARE, "0c.00.2"]
    assert not [event for event in filer.events() if "failure" in event or "failed" in event]


def test_a_spare_that_is_pulled_while_it_is_zeroed_is_no_failure(filer: Attended) -> None:
    for line in (f"disk fail -f {SPARE}", f"disk unfail {SPARE}", "disk zero spares"):
        filer.house.good(line)
    filer.raid.tick()
    name = filer.bays.pull(SPARE)
    filer.house.good("aggr status -r")
    filer.raid.work()
    filer.bays.insert(SPARE, name)
    assert "(not zeroed)" in filer.house.good("aggr status -s")
    filer.raid.work()
    assert "(not zeroed)" not in filer.house.good("aggr status -s")
    assert not [event for event in filer.events() if "failure" in event or "failed" in event]


def test_without_a_spare_a_rebuild_waits_for_a_new_drive(filer: Attended) -> None:
    for spare in (SPARE, OTHER_SPARE):
        filer.bays.pull(spare)
    filer.bays.pull(MEMBER)
    filer.raid.work()
    assert filer.members() == ["0c.00.0", None, "0c.00.2"]
    assert "raid.rg.recons.cantStart:error" in filer.events()
    filer.bays.insert(MEMBER)
    filer.raid.work()
    assert filer.members() == ["0c.00.0", MEMBER, "0c.00.2"]


def test_a_drive_that_breaks_is_replaced(filer: Attended) -> None:
    filer.bays.fail(MEMBER)
    filer.raid.work()
    assert filer.members() == ["0c.00.0", SPARE, "0c.00.2"]
    assert "raid.config.filesystem.disk.failed:error" in filer.events()
    assert f"failed          {MEMBER}" in filer.house.good("vol status -f")


def test_a_locked_member_is_not_replaced(sealed: Attended) -> None:
    sealed.house.power_cycle()
    assert sealed.disk(MEMBER).locked
    Raid(sealed.house.filer, sealed.lines.append).work()
    assert sealed.events() == ["raid.failure:error"] or not sealed.house.filer.repairs


def test_no_disk_loses_its_key_in_a_rebuild(sealed: Attended) -> None:
    keys = {disk.serial: (disk.key_id, disk.locking) for disk in sealed.house.filer.shelf}
    for line in (f"disk fail -f {MEMBER}", "disk fail -i -f 0c.00.0"):
        sealed.house.good(line)
        sealed.raid.work()
    sealed.house.good(f"disk unfail {MEMBER}")
    sealed.house.good("disk zero spares")
    sealed.raid.work()
    assert sealed.reboot() == ""
    disks = sealed.house.disks
    assert {disk.serial: (disk.key_id, disk.locking) for disk in disks} == keys
    assert not any(disk.locked for disk in disks)
    assert sealed.members() == [OTHER_SPARE, SPARE, "0c.00.2"]


def test_a_new_drive_has_its_msid_and_the_console_warns(sealed: Attended) -> None:
    sealed.bays.insert("0c.00.7")
    sealed.raid.work()
    assert sealed.events() == ["raid.disk.inserted:info", "disk.encrypt.unprotected:warning"]
    disk = sealed.disk("0c.00.7")
    assert (disk.key_id, disk.owner.name) == ("0x0", "filer1")
    key_id = sealed.house.key_id()
    sealed.house.good(f"disk encrypt rekey {key_id} 0c.00.7")
    sealed.house.good("disk encrypt lock 0c.00.7")
    assert sealed.reboot() == ""
    assert not sealed.disk("0c.00.7").locked


def test_a_protected_spare_is_preferred(sealed: Attended) -> None:
    sealed.house.good(f"disk encrypt rekey 0x0 {SPARE}")
    sealed.house.good(f"disk fail -f {MEMBER}")
    sealed.raid.work()
    assert sealed.members() == ["0c.00.0", OTHER_SPARE, "0c.00.2"]
    sealed.house.good(f"disk fail -f {OTHER_SPARE}")
    sealed.raid.work()
    assert sealed.members() == ["0c.00.0", SPARE, "0c.00.2"]
    assert sealed.events().count("disk.encrypt.unprotected:warning") == 1


def test_a_locked_drive_that_returns_is_opened_with_its_key(sealed: Attended) -> None:
    sealed.house.write(SPARE, "kept")
    sealed.bays.insert("0c.01.0", sealed.bays.pull(SPARE))
    sealed.raid.work()
    assert sealed.house.read("0c.01.0") == "kept"
    assert sealed.disk("0c.01.0").failures == 0


def test_a_drive_whose_key_is_unknown_stays_locked_and_counts_no_failure(sealed: Attended) -> None:
    name = sealed.bays.pull(SPARE)
    sealed.raid.work()
    sealed.house.filer.keytable.clear()
    sealed.bays.insert(SPARE, name)
    sealed.events()
    sealed.raid.work()
    assert sealed.events() == ["raid.disk.inserted:info", "disk.encrypt.locked:warning"]
    assert (sealed.disk(SPARE).locked, sealed.disk(SPARE).failures) == (True, 0)


def test_a_drive_is_opened_when_its_key_arrives(sealed: Attended) -> None:
    sealed.house.write(SPARE, "kept")
    name = sealed.bays.pull(SPARE)
    sealed.raid.work()
    sealed.house.filer.keytable.clear()
    sealed.bays.insert(SPARE, name)
    sealed.raid.work()
    sealed.events()
    sealed.house.good("key_manager restore -all")
    sealed.raid.work()
    assert sealed.events() == ["disk.encrypt.unlocked:notice"]
    assert sealed.house.read(SPARE) == "kept"
    sealed.raid.work()
    assert sealed.events() == []


def test_a_member_that_was_erased_is_rebuilt(filer: Attended) -> None:
    filer.house.write("0c.00.0", "data")
    filer.house.write(MEMBER, "data")
    filer.house.power_cycle()
    filer.disk(MEMBER).sanitize()
    for name in (SPARE, OTHER_SPARE):
        filer.bays.pull(name)
    assert "degraded" in filer.reboot()
    assert MEMBER not in filer.members()
    filer.raid.work()
    assert filer.members() == ["0c.00.0", MEMBER, "0c.00.2"]
    assert filer.house.read(MEMBER) == "data"
    assert filer.reboot() == ""


@pytest.fixture
def erased(filer: Attended) -> Attended:
    """A filer with a member that was erased in maintenance mode; it has not booted since."""
    for name in ("0c.00.0", MEMBER, "0c.00.2"):
        filer.house.write(name, "data")
    filer.house.power_cycle()
    filer.disk(MEMBER).sanitize()
    return filer


@pytest.mark.parametrize("while_it_is", ["off", "up"])
def test_nothing_is_copied_from_an_erased_member(erased: Attended, while_it_is: str) -> None:
    """Not even if another member is lost before it is rebuilt."""
    if while_it_is == "up":
        erased.reboot()
    erased.bays.pull("0c.00.0")
    if while_it_is == "off":
        erased.reboot()
    erased.raid.work()
    assert "0c.00.0" not in erased.members()
    for name in erased.members():
        assert name
        assert erased.house.read(name) == "data"


def test_an_erased_member_is_of_no_use_without_another_one(erased: Attended) -> None:
    for name in ("0c.00.0", "0c.00.2"):
        erased.bays.pull(name)
    with pytest.raises(Panic, match="3 missing"):
        erased.house.boot()
    erased.bays.insert("0c.00.7", "0c.00.2")
    erased.reboot()
    erased.raid.work()
    assert erased.house.read(SPARE) == "data"


def test_an_erased_member_is_not_zeroed(erased: Attended) -> None:
    for name in (SPARE, OTHER_SPARE):
        erased.bays.pull(name)
    erased.reboot()
    erased.house.good("disk zero spares")
    erased.raid.work()
    assert erased.house.read(MEMBER) == "data"


def test_a_root_aggregate_that_was_erased_as_a_whole_is_in_use_again(erased: Attended) -> None:
    for name in ("0c.00.0", "0c.00.2"):
        erased.disk(name).sanitize()
    assert erased.reboot() == ""
    assert erased.members() == ["0c.00.0", MEMBER, "0c.00.2"]


class FullForAWhile(Storage):
    """Storage of a shelf whose drives cannot be written while ``is_full``."""

    is_full = False

    def overwrite(self, path: Path, offset: int, data: bytes, inode: int = 0) -> None:
        if self.is_full and path.stem in (SPARE, OTHER_SPARE):
            raise StorageError(f"cannot write {path.name}: No space left on device")
        super().overwrite(path, offset, data, inode)


def test_a_spare_that_could_not_be_written_is_tried_again_after_a_minute(tmp_path: Path) -> None:
    storage = FullForAWhile()
    now = 0.0
    with House.build(tmp_path / "root", storage=storage, disks=5) as house:
        house.filer.monotonic = lambda: now
        filer = Attended(house)
        house.good(f"disk fail -i -f {MEMBER}")
        storage.is_full = True
        filer.raid.work()
        filer.raid.tick()
        assert filer.events()[-1] == "raid.rg.recons.cantStart:error"
        storage.is_full = False
        now = 59.0
        filer.raid.work()
        assert filer.events() == []
        now = 61.0
        filer.raid.tick()
        filer.raid.work()
        assert filer.members() == ["0c.00.0", SPARE, "0c.00.2"]


def test_zeroing_that_failed_is_tried_again_after_a_minute(filer: Attended) -> None:
    now = 0.0
    filer.house.filer.monotonic = lambda: now
    filer.disk(SPARE).write_block(9, b"x" * BLOCK_SIZE)
    filer.disk(SPARE).mark(Mark.NOT_ZEROED)
    filer.house.good("disk zero spares")
    filer.disk(SPARE)._storage = _ReadOnly()
    for seconds in (0.0, 30.0, 59.0):
        now = seconds
        filer.raid.tick()
    assert filer.events() == ["raid.disk.zero.failed:error"]
    filer.disk(SPARE)._storage = Storage()
    now = 61.0
    filer.raid.work()
    assert filer.house.filer.assembled().is_zeroed(filer.disk(SPARE))


def larger_drive(filer: Attended, bay: str) -> Disk:
    settings = filer.house.root / "filer.toml"
    text = settings.read_text()
    settings.write_text(text.replace('"1 MiB"', '"1100 KiB"'))
    Bays(filer.house.root, Storage()).insert(bay)
    settings.write_text(text)
    filer.raid.work()
    return filer.disk(bay)


@pytest.mark.parametrize("option", ["", "-i "])
def test_a_larger_spare_gets_the_blocks_of_the_members(filer: Attended, option: str) -> None:
    large = larger_drive(filer, "0c.00.7")
    last = filer.disk(MEMBER).blocks - 1
    for number in range(large.blocks):  # no holes
        for name in ("0c.00.0", MEMBER, "0c.00.2", large.name):
            if number < filer.disk(name).blocks and number != LABEL_BLOCK:
                filer.disk(name).write_block(number, bytes([number % 251]) * BLOCK_SIZE)
    for name in (SPARE, OTHER_SPARE):
        filer.bays.pull(name)
    filer.house.good(f"disk fail -f {option}{MEMBER}")
    filer.raid.work()
    assert filer.members() == ["0c.00.0", large.name, "0c.00.2"]
    assert large.read_block(last) == filer.disk("0c.00.0").read_block(last)
    # A member that is larger than the others asks for no larger spares.
    filer.bays.insert(SPARE, SPARE)
    filer.raid.work()
    filer.house.good("disk fail -i -f 0c.00.0")
    filer.raid.work()
    assert filer.members() == [SPARE, large.name, "0c.00.2"]
    assert filer.reboot() == ""


def test_the_smallest_spare_that_is_large_enough_is_used(filer: Attended) -> None:
    larger_drive(filer, "0c.00.7")
    for member, spare in ((MEMBER, SPARE), ("0c.00.2", OTHER_SPARE), ("0c.00.0", "0c.00.7")):
        filer.house.good(f"disk fail -i -f {member}")
        filer.raid.work()
        assert spare in filer.members()


def test_what_is_left_of_an_interrupted_replacement_is_a_spare(filer: Attended) -> None:
    """The new label was written to the spare only, which was pulled before the next boot."""
    found = filer.house.filer.assembled()
    serials = [member.serial for member in found.members]
    serials[1] = filer.disk(SPARE).serial
    label = next_label(filer, serials)
    filer.disk(SPARE).write_block(LABEL_BLOCK, label.pack())
    name = filer.bays.pull(SPARE)
    filer.reboot()
    filer.house.good(f"disk fail -i -f {MEMBER}")
    filer.raid.work()
    assert filer.members() == ["0c.00.0", OTHER_SPARE, "0c.00.2"]
    filer.bays.insert(SPARE, name)
    filer.raid.work()
    assert filer.role(SPARE) == "spare"
    assert filer.reboot() == ""
    assert filer.members() == ["0c.00.0", OTHER_SPARE, "0c.00.2"]


def test_a_drive_of_another_system_is_left_alone(filer: Attended, build: Build) -> None:
    name = filer.bays.pull(SPARE)
    filer.raid.work()
    pulled = filer.house.root / "shelf" / "pulled" / f"{name}.sed"
    disk = Disk(SPARE, pulled, Storage(), filer.house.filer.derivation)
    disk.power_on()
    disk.assign(filer.disk("0c.00.0").owner._replace(system_id=77, name="filer7"))
    before = pulled.read_bytes()
    filer.bays.insert(SPARE, name)
    filer.raid.work()
    assert "diskown.foreign:warning" in filer.events()
    assert (filer.house.root / "shelf" / f"{SPARE}.sed").read_bytes() == before


def test_a_drive_that_is_copied_to_its_bay_is_taken_when_it_is_complete(filer: Attended) -> None:
    pulled = filer.house.root / "shelf" / "pulled" / f"{filer.bays.pull(SPARE)}.sed"
    filer.raid.work()
    content, bay = pulled.read_bytes(), filer.house.root / "shelf" / f"{SPARE}.sed"
    for end in (1, len(content) // 2, None):
        bay.write_bytes(content[:end])
        filer.raid.work()
    assert filer.role(SPARE) == "spare"
    assert [each for each in filer.events() if "insert" in each] == ["raid.disk.inserted:info"] * 2


def test_a_drive_that_has_two_names_while_it_is_moved_is_taken(filer: Attended) -> None:
    old, new = (filer.house.root / "shelf" / f"{bay}.sed" for bay in (MEMBER, "0c.00.9"))
    new.hardlink_to(old)
    filer.raid.tick()
    old.unlink()
    filer.raid.work()
    assert filer.members() == ["0c.00.0", "0c.00.9", "0c.00.2"]


def test_a_file_that_is_no_drive_is_left_out_with_a_line(filer: Attended) -> None:
    (filer.house.root / "shelf" / "0c.00.8.sed").write_bytes(b"no drive")
    filer.raid.work()
    assert filer.events() == ["raid.disk.inserted:info", "disk.init.failure:error"]
    filer.raid.work()
    assert filer.events() == []


def test_a_write_never_reaches_a_drive_that_was_put_into_the_bay(filer: Attended) -> None:
    old = filer.disk(SPARE)
    filer.bays.pull(SPARE)
    filer.bays.insert(SPARE)
    path = filer.house.root / "shelf" / f"{SPARE}.sed"
    before = path.read_bytes()
    attempts: list[Callable[[], None]] = [
        lambda: old.mark(Mark.FAILED),
        lambda: old.write_block(3, bytes(BLOCK_SIZE)),
        old.sanitize,
        old.destroy,
    ]
    for attempt in attempts:
        with pytest.raises((DiskError, StorageError)):
            attempt()
    assert path.read_bytes() == before


def test_a_spare_that_cannot_be_written_makes_room_for_the_next(filer: Attended) -> None:
    filer.house.good(f"disk fail -i -f {MEMBER}")
    filer.raid.tick()
    filer.disk(SPARE)._storage = _ReadOnly()
    filer.raid.work()
    assert filer.members() == ["0c.00.0", OTHER_SPARE, "0c.00.2"]
    assert "raid.rg.recons.failed:error" in filer.events()


class _ReadOnly(Storage):
    def overwrite(self, path: Path, offset: int, data: bytes, inode: int = 0) -> None:
        raise StorageError("cannot write: read-only")


class _BadSectors(Storage):
    """Storage of a drive whose ``blocks`` cannot be read."""

    def __init__(self, blocks: range) -> None:
        self._bytes = range(
            DATA_OFFSET + blocks.start * BLOCK_SIZE, DATA_OFFSET + blocks.stop * BLOCK_SIZE
        )

    def read(self, path: Path, offset: int, size: int) -> bytes:
        if offset in self._bytes:
            raise OSError(EIO, os.strerror(EIO))
        return super().read(path, offset, size)


def fill(filer: Attended, *members: str) -> None:
    """Write to the last third of the blocks of ``members``, all the same."""
    blocks = filer.disk(MEMBER).blocks
    for name in members:
        for number in range(blocks - blocks // 3, blocks):
            filer.disk(name).write_block(number, bytes([number % 251]) * BLOCK_SIZE)


@pytest.mark.parametrize(
    ("option", "members"),
    [("", ["0c.00.0", SPARE, "0c.00.2"]), ("-i ", [OTHER_SPARE, SPARE, "0c.00.2"])],
)
def test_blocks_that_a_member_cannot_read_come_from_another_one(
    filer: Attended, option: str, members: list[str]
) -> None:
    """The two other members have lost different blocks; the one that was read from is replaced."""
    fill(filer, "0c.00.0", MEMBER, "0c.00.2")
    blocks = filer.disk(MEMBER).blocks
    whole = [filer.disk(MEMBER).read_block(number) for number in range(1, blocks)]
    filer.disk(MEMBER if not option else "0c.00.0")._storage = _BadSectors(
        range(blocks - 40, blocks)
    )
    filer.disk("0c.00.2")._storage = _BadSectors(range(blocks - 80, blocks - 40))
    filer.house.good(f"disk fail -f {option}{MEMBER}")
    filer.raid.work()
    assert filer.members() == members
    assert filer.events().count("disk.ioMediumError:error") == bool(option)
    for spare in {SPARE, OTHER_SPARE}.intersection(members):
        assert [filer.disk(spare).read_block(number) for number in range(1, blocks)] == whole
    assert filer.reboot() == ""


class _BadLabel(Storage):
    """Storage of drives of which those in ``bad`` cannot write their label, or not read it."""

    def __init__(self) -> None:
        self.bad: set[str] = set()
        self.reads = True

    def overwrite(self, path: Path, offset: int, data: bytes, inode: int = 0) -> None:
        if path.stem in self.bad and offset == LABEL_OFFSET:
            raise StorageError(f"cannot write {path.name}: {os.strerror(EIO)}")
        super().overwrite(path, offset, data, inode)

    def read(self, path: Path, offset: int, size: int) -> bytes:
        if path.stem in self.bad and offset == LABEL_OFFSET and not self.reads:
            raise OSError(EIO, os.strerror(EIO))
        return super().read(path, offset, size)


@pytest.fixture
def labels() -> _BadLabel:
    return _BadLabel()


@pytest.fixture
def bad(tmp_path: Path, labels: _BadLabel) -> Iterator[Attended]:
    """A filer whose ``labels`` can be bad."""
    with House.build(tmp_path / "root", storage=labels, disks=6) as house:
        yield Attended(house)


def test_a_member_whose_label_cannot_be_written_is_replaced(
    bad: Attended, labels: _BadLabel
) -> None:
    labels.bad.add("0c.00.2")
    bad.house.good(f"disk fail -i -f {MEMBER}")
    bad.raid.work()
    events = bad.events()
    assert events.count("raid.rg.recons.done:notice") == 1
    assert events.count("disk.ioMediumError:error") == 1
    assert bad.members() == ["0c.00.0", SPARE, OTHER_SPARE]


def test_a_boot_goes_on_without_the_label_of_a_member(bad: Attended, labels: _BadLabel) -> None:
    bad.house.good(f"disk fail -i -f {MEMBER}")
    bad.raid.tick()
    rebuild = bad.house.filer.repairs.rebuild
    assert rebuild
    for number in range(rebuild.done, rebuild.aggregate.blocks):
        rebuild._change(range(number, number + 1))
    labels.bad.add("0c.00.2")
    rebuild._finish()  # and the power is lost before anything is noted
    assert "0c.00.2.sed: Input/output error" in bad.reboot()
    assert bad.members() == ["0c.00.0", SPARE, "0c.00.2"]
    bad.raid.work()
    assert bad.members() == ["0c.00.0", SPARE, OTHER_SPARE]
    assert bad.reboot() == ""


def test_a_member_whose_label_cannot_be_read_is_replaced(bad: Attended, labels: _BadLabel) -> None:
    labels.reads = False
    labels.bad.add(MEMBER)
    assert "degraded: 0 of 3 disks locked, 1 unreadable" in bad.reboot()
    bad.raid.work()
    assert bad.members() == ["0c.00.0", SPARE, "0c.00.2"]
    assert bad.role(MEMBER) == "broken"
    assert bad.reboot() == ""


def test_no_member_is_in_step_while_the_only_one_with_data_cannot_be_read(
    bad: Attended, labels: _BadLabel
) -> None:
    bad.house.write("0c.00.2", "data")
    bad.house.power_cycle()
    for name in ("0c.00.0", MEMBER):
        bad.disk(name).sanitize()
    labels.reads = False
    labels.bad.add("0c.00.2")
    with pytest.raises(Panic, match="2 missing, 1 unreadable"):
        bad.house.boot()
    labels.bad.clear()
    bad.reboot()
    bad.raid.work()
    assert {bad.house.read(str(name)) for name in bad.members()} == {"data"}


def test_no_spare_is_blamed_for_blocks_that_no_member_can_read(filer: Attended) -> None:
    now = 0.0
    filer.house.filer.monotonic = lambda: now
    fill(filer, "0c.00.0", "0c.00.2")
    blocks = filer.disk(MEMBER).blocks
    for name in ("0c.00.0", "0c.00.2"):
        filer.disk(name)._storage = _BadSectors(range(blocks - 40, blocks))
    filer.house.good(f"disk fail -i -f {MEMBER}")
    filer.raid.work()
    filer.raid.tick()
    events = filer.events()
    assert events.count("raid.rg.recons.failed:error") == 1
    assert events[-1] == "raid.rg.recons.cantStart:error"
    filer.disk("0c.00.2")._storage = Storage()
    now = 61.0
    filer.raid.tick()
    filer.raid.work()
    assert SPARE in filer.members()


def test_a_command_that_changes_the_filer_is_not_disturbed(filer: Attended) -> None:
    filer.bays.pull(SPARE)
    with filer.house.filer.changes.turn("disk encrypt rekey", "root"):
        filer.raid.tick()
        assert filer.events() == []
    filer.raid.tick()
    assert filer.events() == ["raid.config.spare.disk.missing:info"]


def test_commands_see_drives_before_the_heartbeat_does(filer: Attended) -> None:
    filer.bays.pull(SPARE)
    filer.bays.insert("0c.00.6")
    assert SPARE not in filer.house.good("disk show")
    assert "0c.00.6" in filer.house.good("sysconfig")
    filer.raid.tick()
    assert filer.events() == ["raid.config.spare.disk.missing:info", "raid.disk.inserted:info"]


def test_a_record_with_the_count_of_a_lockout_is_replaced_by_none(filer: Attended) -> None:
    faults.lock_out(filer.house.root / "shelf" / f"{MEMBER}.sed", Storage())
    filer.raid.work()
    assert filer.members() == ["0c.00.0", SPARE, "0c.00.2"]


@pytest.mark.parametrize("notice", ["heartbeat", "command"])
def test_a_drive_copied_over_another_one_is_an_exchange(filer: Attended, notice: str) -> None:
    shelf = filer.house.root / "shelf"
    old = filer.disk(SPARE)
    other = filer.bays.insert("0c.00.9")
    other_file = shelf / "0c.00.9.sed"
    content = other_file.read_bytes()
    other_file.unlink()
    inode = (shelf / f"{SPARE}.sed").stat().st_ino
    (shelf / f"{SPARE}.sed").write_bytes(content)
    assert (shelf / f"{SPARE}.sed").stat().st_ino == inode
    if notice == "command":
        filer.house.good("disk show -v")
    filer.raid.tick()
    assert filer.events() == ["raid.config.spare.disk.missing:info", "raid.disk.inserted:info"]
    assert other.head is not None
    assert filer.disk(SPARE).serial == other.head.header.state.serial
    with pytest.raises(DiskError):
        old.write_block(7, bytes(BLOCK_SIZE))
