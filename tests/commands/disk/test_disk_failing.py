"""disk fail, disk unfail, disk zero spares: texts, refusals, and what they leave on the disks."""

import pytest

from filer.boot.machine import Panic
from filer.boot.raid import Raid
from filer.commands import Cancelled, EndOfAnswers
from filer.disks import faults
from filer.disks.disk import BLOCK_SIZE
from filer.disks.record import Mark
from filer.host.durable import Storage
from filer.shell.plugins import commands_in_maintenance
from filer.shell.session import OK
from tests.kit import manual
from tests.kit.house import Answer, House
from tests.kit.manual import Build

build = manual.build

MEMBER, SPARE = "0c.00.1", "0c.00.3"
PLACE = "0c    0   {0}   SA:A   0  SED    N/A 1/2048            1/2048"


@pytest.fixture
def house(build: Build) -> House:
    """A filer with two spares beside its root aggregate."""
    return build(0, disks=5)


def row(first: str, bay: int, more: str = "") -> str:
    return f"{first:<9} 0c.00.{bay}         {PLACE.format(bay)}{more}\n"


def tick(house: House, times: int = 1) -> None:
    raid = Raid(house.filer, lambda _line: None)
    for _ in range(times):
        raid.tick()


def test_disk_fail_asks_and_prefails_a_member(house: House) -> None:
    assert house.good(f"disk fail {MEMBER}", "maybe", "y") == (
        f"Really prefail disk {MEMBER}? maybe\n"
        "Please answer yes or no.\n"
        f"Really prefail disk {MEMBER}? y\n"
        f"disk fail: The following disk was prefailed: {MEMBER}\n"
    )
    tick(house, 2)
    for line in ("sysconfig -r", "aggr status -r", "vol status -r"):
        shown = house.good(line)
        assert row("parity", 1, " (prefail, copy in progress)") in shown
        assert row("-> copy", 3, " (copy 10% completed)") in shown
        assert "(online, raid_dp) (block checksums)" in shown
    assert "FAILED" not in house.good("disk show -v")
    Raid(house.filer, lambda _line: None).work()
    assert " FAILED " in house.good("disk show -v").splitlines()[3]


def test_a_failed_disk_is_erased_only_by_name_and_not_before_it_is_replaced(house: House) -> None:
    for line in ("disk fail -f 0c.00.4", f"disk fail -i -f {MEMBER}", f"disk fail -f {SPARE}"):
        house.good(line)
    assert house.bad("disk encrypt sanitize -all") == "disk: there is no spare disk\n"
    sanitize = house.run(f"disk encrypt sanitize {MEMBER}")
    assert sanitize.failures == [f"{MEMBER}: belongs to aggregate aggr0"]
    assert house.run(f"disk encrypt sanitize {SPARE}", "sanitize disk").status == 0
    assert f"admin failed    {SPARE}" in house.good("aggr status -f")


def test_disk_fail_i_degrades_the_aggregate_at_once(house: House) -> None:
    assert house.good(f"disk fail -i {MEMBER}", "y") == (
        f"Really fail disk {MEMBER}? y\ndisk fail: The following disk was failed: {MEMBER}\n"
    )
    shown = house.good("aggr status -r")
    assert "Aggregate aggr0 (online, raid_dp, degraded) (block checksums)\n" in shown
    assert "RAID group /aggr0/plex0/rg0 (degraded, block checksums)\n" in shown
    assert "      parity    FAILED          N/A " in shown
    tick(house, 2)
    shown = house.good("aggr status -r")
    assert "Aggregate aggr0 (online, raid_dp, reconstruct) (block checksums)\n" in shown
    assert "/aggr0/plex0/rg0 (reconstruction 10% completed, block checksums)\n" in shown
    assert row("parity", 3, " (reconstruction 10% completed)") in shown
    assert "reconstruct\n" in house.good("aggr status")
    assert "spare           0c.00.3" not in house.good("aggr status -s")


@pytest.mark.parametrize("command", ["aggr status -f", "vol status -f"])
def test_failed_disks_are_listed(house: House, command: str) -> None:
    assert house.good(command) == "\nBroken disks (empty)\n"
    house.good(f"disk fail -f {SPARE}")
    assert house.good(command).endswith(f"\nadmin failed    {SPARE}         {PLACE.format(3)}\n")
    assert SPARE not in house.good(command.replace("-f", "-s"))
    house.reboot()
    assert f"admin failed    {SPARE}" in house.good(command)


@pytest.mark.parametrize("answer", ["n", EndOfAnswers, Cancelled])
def test_without_a_yes_nothing_is_failed(house: House, answer: Answer) -> None:
    assert house.run(f"disk fail {MEMBER}", answer).status == 1
    assert house.filer.shelf[MEMBER].marks == Mark(0)


def test_disk_unfail_makes_a_spare_that_is_not_zeroed(house: House) -> None:
    house.good(f"disk fail -f {MEMBER}")
    Raid(house.filer, lambda _line: None).work()
    assert house.good(f"disk unfail {MEMBER}") == f"disk unfail: unfailing disk {MEMBER}...\n"
    assert f"spare           {MEMBER}" in house.good("aggr status -s")
    assert "(not zeroed)" in house.good("sysconfig -r")


def test_disk_unfail_returns_a_member_that_was_not_replaced(house: House) -> None:
    for line in (f"disk fail -f {SPARE}", "disk fail -f 0c.00.4", f"disk fail -i -f {MEMBER}"):
        house.good(line)
    assert "degraded" in house.good("aggr status")
    house.good(f"disk unfail {MEMBER}")
    assert "degraded" not in house.good("aggr status")


def test_disk_zero_spares_zeroes_what_was_used(house: House) -> None:
    disk = house.filer.shelf[SPARE]
    disk.write_block(7, b"x" * BLOCK_SIZE)
    house.good(f"disk fail -f {SPARE}")
    house.good(f"disk unfail {SPARE}")
    assert house.good("disk zero spares") == ""
    tick(house)
    assert "(zeroing, 5% done)" in house.good("aggr status -s")
    house.reboot()  # a crash would do the same
    Raid(house.filer, lambda _line: None).work()
    assert "zero" not in house.good("aggr status -s")
    assert house.filer.shelf[SPARE].read_block(7) == bytes(BLOCK_SIZE)
    data = (house.root / "shelf" / f"{SPARE}.sed").read_bytes()
    assert not any(data[16384:])


def test_a_sanitized_disk_is_not_zeroed(house: House) -> None:
    house.good(f"disk encrypt sanitize {SPARE}", "sanitize disk")
    assert "(not zeroed)" in house.good("vol status -s")


@pytest.mark.parametrize(
    ("before", "line", "reason"),
    [
        ((), "disk fail 0c.00.9", 'there is no disk "0c.00.9"'),
        ((), f"disk unfail {SPARE}", f"{SPARE}: has not failed"),
        ((f"disk fail -f {SPARE}",), f"disk fail {SPARE}", f"{SPARE}: has failed already"),
        (
            (f"disk fail -f {MEMBER}",),
            f"disk fail {MEMBER}",
            f"{MEMBER}: is prefailed already; disk fail -i fails it at once",
        ),
        (
            (f"disk fail -i -f {MEMBER}",),
            "disk fail -i 0c.00.0",
            "0c.00.0: aggregate aggr0 would go offline without it",
        ),
    ],
)
def test_a_refusal_is_one_line(
    house: House, before: tuple[str, ...], line: str, reason: str
) -> None:
    for earlier in before:
        house.good(earlier)
    assert house.bad(line) == f"disk: {reason}\n"


def test_a_disk_of_another_system_is_refused(house: House) -> None:
    disk = house.filer.shelf[SPARE]
    disk.assign(disk.owner._replace(system_id=77, name="filer7"))
    for line in (f"disk fail {SPARE}", f"disk unfail {SPARE}"):
        assert "belongs to another system (77)" in house.bad(line)
    assert disk.marks == Mark(0)


def test_what_failed_is_in_the_log(house: House) -> None:
    house.good(f"disk fail -f {MEMBER}")
    logged = house.good("rdfile /etc/messages")
    assert "raid.config.filesystem.disk.admin.failed:info]: Disk /aggr0/plex0/rg0/0c.00.1" in logged


def test_disk_fail_i_counts_the_members_after_its_answer(house: House) -> None:
    other = house.root / "shelf" / f"{MEMBER}.sed"
    fails = {"Really": lambda: faults.fail(other, Storage())}
    outcome = house.run("disk fail -i 0c.00.0", "y", when=fails)
    assert outcome.failures == ["disk: 0c.00.0: aggregate aggr0 would go offline without it"]
    assert house.filer.shelf["0c.00.0"].marks == Mark(0)


def test_disk_fail_fails_no_drive_that_is_inserted_while_it_asks(house: House) -> None:
    bay, pulled = (house.root / "shelf" / name for name in (f"{SPARE}.sed", "pulled.sed"))

    def exchange() -> None:
        bay.rename(pulled)
        (house.root / "shelf" / "0c.00.4.sed").rename(bay)

    outcome = house.run(f"disk fail {SPARE}", "y", when={"Really": exchange})
    assert outcome.failures == [f"disk: {SPARE}: has just changed; repeat the command"]
    assert house.filer.shelf[SPARE].marks == Mark(0)


def test_maintenance_mode_brings_back_the_member_that_a_boot_needs(build: Build) -> None:
    house = build(1, disks=5)
    house.encrypt()
    for line in (f"disk fail -f {SPARE}", "disk fail -f 0c.00.4", f"disk fail -i -f {MEMBER}"):
        house.good(line)
    house.power_off()
    faults.fail(house.root / "shelf" / "0c.00.0.sed", Storage())
    with pytest.raises(Panic, match="1 missing, 1 failed"):
        house.reboot()
    house.power_cycle()
    assert house.execute(f"disk unfail {SPARE}", commands=commands_in_maintenance()).err == (
        f"disk: {SPARE}: is locked, and no member; boot the filer first\n"
    )
    outcome = house.execute(f"disk unfail {MEMBER}", commands=commands_in_maintenance())
    assert outcome == (OK, f"disk unfail: unfailing disk {MEMBER}...\n", "")
    house.reboot()
    assert "degraded" in house.good("aggr status")
