"""filer-shelf: drives pulled and inserted by hand, also while the filer runs."""

import os
import re
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from filer.drives.__main__ import main
from filer.host.durable import Storage
from filer.keyserver.server import KeyServer
from filer.root import Root, RootLock
from filer.running.heartbeat import INTERVAL
from pytest_filer.child import PATIENCE
from tests.kit import nodes
from tests.kit.console import Account, Terminal, editing
from tests.kit.house import House

BAY = "0c.00.3"
INSERTED = "has been inserted into the system"


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A filer that is off, with one spare disk."""
    house = House.build(tmp_path / "root")
    house.close()
    return house


class Program:
    """Runs the program on the root of ``house``."""

    def __init__(self, house: House, capsys: pytest.CaptureFixture[str]) -> None:
        self._root = house.root
        self._capsys = capsys

    def __call__(self, *words: str) -> str:
        """Return the output of a call that has to succeed."""
        assert main(["--root", str(self._root), *words]) == 0
        return self._capsys.readouterr().out

    def refusal(self, *words: str) -> str:
        """Return the error of a call that has to fail, with no output."""
        assert main(["--root", str(self._root), *words]) == 1
        out, err = self._capsys.readouterr()
        assert out == ""
        return err


@pytest.fixture
def shelf(house: House, capsys: pytest.CaptureFixture[str]) -> Program:
    return Program(house, capsys)


def contents(house: House) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (house.root / "shelf").rglob("*.sed")}


def test_a_pulled_drive_is_whole_and_returns_to_any_bay(house: House, shelf: Program) -> None:
    before = contents(house)
    assert shelf("pull", BAY) == f"{BAY}: pulled; filer-shelf insert BAY {BAY} puts it back\n"
    assert contents(house) == before
    listed = shelf("list")
    assert listed.splitlines()[-2] == "Pulled drives:"
    assert listed.splitlines()[-1].startswith(BAY)
    serial = listed.split()[-4]
    assert shelf("insert", "0c.00.9", BAY) == (
        f"0c.00.9: inserted drive with S/N {serial} and key ID 0x0\n"
        "0c.00.9: unprotected until it is rekeyed and locked (man filer-shelf)\n"
    )
    assert contents(house)["0c.00.9.sed"] == before[f"{BAY}.sed"]
    assert "Pulled" not in shelf("list")


def test_drives_that_were_pulled_from_the_same_bay_are_told_apart(shelf: Program) -> None:
    shelf("pull", BAY)
    shelf("insert", BAY)
    assert shelf("pull", BAY) == f"{BAY}: pulled; filer-shelf insert BAY {BAY}-2 puts it back\n"
    shelf("insert", BAY, f"{BAY}-2")
    shelf("insert", "0c.01.0", BAY)
    assert len(shelf("list").splitlines()) == 1 + 5


def test_a_new_drive_is_factory_new(house: House, shelf: Program) -> None:
    shelf("insert", "0c.00.12")
    with House(house.root) as now:
        now.boot()
        disk = now.filer.shelf["0c.00.12"]
        assert (disk.key_id, disk.locked, disk.blocks) == ("0x0", False, 256)
        assert disk.owner.name == "filer1"


def test_a_failed_drive_is_listed_as_such(house: House, shelf: Program) -> None:
    assert shelf("fail", BAY) == f"{BAY}: failed; its data is gone for good\n"
    assert f"{BAY}      damaged header: empty" in shelf("list")
    with House(house.root) as now:
        now.boot()
        assert f"failed          {BAY}" in now.good("aggr status -f")


def test_a_drive_is_locked_out_only_while_the_filer_is_off(house: House, shelf: Program) -> None:
    lock = RootLock(Root(house.root), Storage())
    assert "is in use by process" in shelf.refusal("lock-out", BAY)
    lock.release()
    assert shelf("lock-out", BAY) == f"{BAY}: locked out, as after 1024 failed authentications\n"
    with House(house.root) as now:
        now.boot()
        assert now.filer.shelf[BAY].locked_out


def test_what_is_not_a_drive_stays_where_it_is(house: House, shelf: Program) -> None:
    shelf("pull", BAY)
    pulled = house.root / "shelf" / "pulled"
    (pulled / "link.sed").symlink_to(house.root / "filer.toml")
    (pulled / "directory.sed").mkdir()
    os.mkfifo(pulled / "fifo.sed")
    (pulled / f"{BAY}.sed").rename(pulled / "\x1b[31mred.sed")
    listed = shelf("list")
    assert "red" in listed
    assert "\x1b" not in listed
    for name in ("link", "directory", "fifo"):
        assert name not in listed
        assert "no pulled drive" in shelf.refusal("insert", BAY, name)
    shelf("insert", BAY, "\x1b[31mred")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("pull", "0c.00.20"), 'there is no drive in bay "0c.00.20"'),
        (("fail", "../filer"), 'there is no drive in bay "../filer"'),
        (("lock-out", "x"), 'there is no drive in bay "x"'),
        (("insert", BAY), f"{BAY} is not free"),
        (("insert", "0c.00.24"), '"0c.00.24" is not a bay; they are named as 0c.00.12 is'),
        (("insert", "0c.00.5", "../0c.00.0"), 'no pulled drive is called "../0c.00.0"'),
    ],
)
def test_a_refusal_is_one_line_and_changes_nothing(
    words: tuple[str, ...], reason: str, house: House, shelf: Program
) -> None:
    before = contents(house)
    assert shelf.refusal(*words) == f"filer-shelf: {reason}\n"
    assert contents(house) == before


def test_without_a_filer_there_is_no_shelf(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "nothing"
    assert main(["--root", str(root), "insert", BAY]) == 1
    assert capsys.readouterr().err == f"filer-shelf: {root} has no shelf; start filer there first\n"
    assert not root.exists()


def test_help_fits_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--help", "--version"):
        with pytest.raises(SystemExit, match=r"^0$"):
            main([option])
        assert len(capsys.readouterr().out.splitlines()) < 24


# while the filer runs


@pytest.fixture
def running(account: Account) -> Account:
    """A filer with one spare disk, which has booted before."""
    account.commands("hostname")
    return account


def at_the_shelf(running: Account, *words: str) -> None:
    program = (sys.executable, "-m", "filer.drives")
    assert running.run("--root", running.root, *words, program=program).status == 0


def times_read(terminal: Terminal, text: str) -> int:
    """Read the system log until it has ``text``; return how often that was printed by it."""
    read = ""
    while text not in read:
        read += terminal.enter("rdfile /etc/messages")
    return read.count(text)


def test_a_pulled_drive_appears_above_the_line_that_is_being_typed(running: Account) -> None:
    with editing(running) as terminal:
        terminal.booted()
        terminal.type("hostna")
        at_the_shelf(running, "pull", BAY)
        terminal.shows(f"raid.config.spare.disk.missing:info]: Spare Disk {BAY}")
        terminal.type("me\r")
        terminal.shows("filer1")
        terminal.wait_for_prompt()
        assert BAY not in terminal.enter("disk show")


@pytest.mark.parametrize("start", [Account.terminal, editing])
def test_no_line_appears_where_none_is_wanted(
    running: Account, start: Callable[[Account], AbstractContextManager[Terminal]]
) -> None:
    """A program that drives the console gets none unless it asks for them."""
    with start(running) as terminal:
        terminal.booted()
        if start is editing:
            terminal.enter("options console.messages off")
        at_the_shelf(running, "insert", "0c.00.7")
        read = times_read(terminal, INSERTED)
        terminal.enter("hostname")
        assert terminal.transcript().count(INSERTED) == read
        assert terminal.enter("options console.messages on") == ""
        at_the_shelf(running, "pull", "0c.00.7")
        terminal.shows("raid.config.spare.disk.missing:info]: Spare Disk 0c.00.7")


def test_a_script_sees_no_line_and_finds_them_in_the_log(running: Account) -> None:
    at_the_shelf(running, "pull", "0c.00.1")
    outcome = running.commands("disk fail -f 0c.00.3", "rdfile /etc/messages", "aggr status")
    assert "raid.config" not in outcome.err
    assert "raid.config.spare.disk.admin.failed:info" in outcome.out


def test_the_rebuild_of_a_pulled_member_goes_on_in_the_background(running: Account) -> None:
    with running.terminal() as terminal:
        terminal.booted()
        at_the_shelf(running, "pull", "0c.00.1")
        status = terminal.enter_until("aggr status -r", "parity    0c.00.3")
        assert "parity    0c.00.1" not in status
        terminal.enter_until("aggr status -r", "(online, raid_dp)")
    done = running.commands("aggr status -r")
    assert "parity    0c.00.3" in done.out
    assert "degraded" not in done.err


def test_a_survivor_rebuilds_the_aggregate_of_its_partner(
    servers: list[KeyServer], tmp_path: Path
) -> None:
    pair = nodes.make(tmp_path, servers)
    pair.second.commands("hostname")
    with pair.first.terminal() as first:
        first.booted()
        assert "has taken over" in first.enter("cf takeover -f", timeout=60)
        found = re.search(r"parity +(0c[0-9.]+)", first.enter("partner aggr status -r"))
        assert found
        at_the_shelf(pair.first, "pull", found[1])
        status = found[0]
        while found[1] in status or "(online, raid_dp)" not in status:
            time.sleep(0.2)
            status = first.enter("partner aggr status -r")
        assert first.enter("cf giveback -f") == "giveback completed\n"
    done = pair.second.commands("aggr status -r", "disk encrypt show")
    assert "(online, raid_dp)" in done.out
    assert found[1] not in done.out
    assert " No" not in done.out.partition("Locked?")[2]
    assert done.err == ""


LOST = "PANIC: aggr aggr0: raid volfsm, fatal multi-disk error: 0 of 3 disks locked, "
"""Then: 2 missing, or 1 missing and 1 unreadable if the filer looks just when that is pulled."""


def test_a_filer_that_loses_two_members_panics_at_its_prompt(running: Account) -> None:
    with running.terminal() as terminal:
        terminal.booted()
        for spare in ((BAY,), ()):  # without a spare disk nothing is rebuilt in between
            for name in (*spare, "0c.00.1", "0c.00.2"):
                at_the_shelf(running, "pull", name)
            terminal.shows(LOST)
            terminal.wait_for_prompt()
            assert terminal.prompt == "LOADER>"
            assert "cannot be brought online" in terminal.enter("boot_ontap")
            for name in ("0c.00.1", "0c.00.2"):
                at_the_shelf(running, "insert", name, name)
            terminal.enter("boot_ontap")
            assert terminal.prompt == "filer1>"
            assert "online" in terminal.enter("aggr status")


def test_a_script_of_a_filer_that_loses_two_members_ends_with_status_3(running: Account) -> None:
    with running.pipe() as script:
        script.sendline("hostname")
        script.expect("filer1")
        for name in (BAY, "0c.00.1", "0c.00.2"):
            at_the_shelf(running, "pull", name)
        script.expect_exact(LOST)
        assert script.proc.wait(PATIENCE) == 3


def test_commands_in_a_row_leave_the_filer_time_to_panic(running: Account) -> None:
    script = running.home / "script"
    lines = ["hostname", *["options disk.auto_assign on"] * 100_000, "version"]
    script.write_text("\n".join(lines), encoding="utf-8")
    with running.pipe(script) as output:
        output.expect("filer1")
        for name in (BAY, "0c.00.1", "0c.00.2"):
            at_the_shelf(running, "pull", name)
        output.expect_exact(LOST)
        assert "NetApp" not in str(output.before)
        assert output.proc.wait(PATIENCE) == 3


def test_the_last_look_at_the_disks_may_lead_to_a_panic(running: Account) -> None:
    """The drives are pulled while the last command runs."""
    with running.pipe() as script:
        script.sendline("disk encrypt sanitize 0c.00.3")
        script.expect_exact("enter sanitize disk: ")
        for name in ("0c.00.1", "0c.00.2"):
            at_the_shelf(running, "pull", name)
        time.sleep(2 * INTERVAL)
        script.sendline("no")
        script.sendeof()
        script.expect_exact(LOST)
        assert script.proc.wait(PATIENCE) == 3


def test_a_script_that_has_failed_does_not_go_on_after_a_panic(running: Account) -> None:
    text = running.settings.read_text(encoding="utf-8")
    running.settings.write_text(f"{text}\n[boot]\nautoboot = true\n", encoding="utf-8")
    with running.pipe("-e") as script:
        script.sendline("hostname")
        script.expect_exact("filer1")
        time.sleep(2 * INTERVAL)
        for name in (BAY, "0c.00.1", "0c.00.2"):
            at_the_shelf(running, "pull", name)
        script.write("nosuch\nversion\n")
        script.sendeof()
        script.expect_exact(LOST)
        for name in ("0c.00.1", "0c.00.2"):
            at_the_shelf(running, "insert", name, name)
        assert script.proc.wait(PATIENCE) == 1
        assert "NetApp" not in script.read()


def test_a_node_whose_aggregate_is_lost_is_not_taken_over(
    servers: list[KeyServer], tmp_path: Path
) -> None:
    pair = nodes.make(tmp_path, servers)
    with pair.first.terminal() as first, pair.second.terminal() as second:
        for terminal in (first, second):
            terminal.booted()
            terminal.enter_until("cf status", "Interconnect is up")
        for name in re.findall(r"(?:parity|data) +(0c[0-9.]+)", second.enter("aggr status -r"))[:2]:
            at_the_shelf(pair.second, "pull", name)
        second.shows("fatal multi-disk error")
        first.enter_until("rdfile /etc/messages", "takeover failed: the root aggregate aggr0 of")
        assert first.prompt == "filer1>"
        assert "filer2 may be down" in first.enter("cf status")


def test_a_node_that_has_lost_a_member_halts_as_any_other(
    servers: list[KeyServer], tmp_path: Path
) -> None:
    pair = nodes.make(tmp_path, servers)
    with pair.first.terminal() as first:
        first.booted()
        at_the_shelf(pair.first, "pull", "0c.00.1")
        first.enter_until("rdfile /etc/messages", "disk.missing")
        first.enter("halt -f")
        assert first.prompt == "LOADER>"
