"""The boot menu: Ctrl-C at the beginning of a boot, and what its items do."""

from collections.abc import Callable

import pytest

from filer.boot.machine import Panic
from filer.commands import Leave, Next
from filer.disks import faults
from filer.disks.record import Owner
from filer.drives.bays import Bays
from filer.host.durable import Storage
from filer.shell.plugins import commands_in_boot_menu
from filer.shell.session import FAILED
from tests.kit import manual
from tests.kit.console import Account, Terminal
from tests.kit.house import Answer, House, Screen
from tests.kit.manual import Build
from tests.kit.pairs import pairs_on

build, house = manual.build, manual.house

MENU = """\
Please choose one of the following:

(1) Normal Boot.
(2) Boot without /etc/rc.
(3) Change password.
(4) Clean configuration and initialize all disks.
(5) Maintenance mode boot.
(6) Update flash from backup config.
(7) Install new software first.
(8) Reboot node.
"""
SELECTION = "Selection (1-8)?"
PRESS = "Press Ctrl-C for Boot Menu."
ZERO = "Zero disks, reset config and install a new file system?: "
SURE = "This will erase all the data on the disks, are you sure?: "


def at_menu(terminal: Terminal) -> None:
    """Go to the menu from the console."""
    terminal.enter("halt")
    assert terminal.enter("boot_ontap menu") == MENU
    assert terminal.prompt == SELECTION


# At a terminal.


def test_ctrl_c_at_the_beginning_of_a_boot_leads_to_the_menu(account: Account) -> None:
    with account.terminal() as terminal:
        terminal.booted()
        assert PRESS not in terminal.seen  # a start of the program does not wait
        for boots, last in enumerate(("reboot", "boot_ontap"), 1):
            if last == "boot_ontap":
                terminal.enter("halt")
            terminal.type(f"{last}\r")
            terminal.shows(PRESS)
            terminal.type("\x03")
            assert terminal.wait_for_prompt().endswith(MENU)
            assert terminal.prompt == SELECTION
            assert "aggr0 online" in terminal.enter("1")
            assert terminal.prompt == "filer1>"
            assert terminal.seen.count(PRESS) == boots
        assert terminal.leave() == 0
    assert PRESS not in account.script("reboot", "hostname").out


def test_the_items_of_the_menu(account: Account) -> None:
    with account.terminal() as terminal:
        terminal.booted()
        at_menu(terminal)
        for number, title in (
            (2, "Boot without /etc/rc"),
            (3, "Change password"),
            (6, "Update flash from backup config"),
            (7, "Install new software first"),
        ):
            assert terminal.enter(f"{number}") == f"({number}) {title} is not emulated.\n"
            assert terminal.prompt == SELECTION
        assert terminal.enter("9").startswith("9 not found.")
        assert terminal.enter("5") == ""
        assert terminal.prompt == "*>"
        terminal.enter("halt")
        assert terminal.enter("boot_ontap menu") == MENU
        assert "aggr0 online" in terminal.enter("8")
        assert terminal.prompt == "filer1>"

        at_menu(terminal)  # Ctrl-D leaves the menu and the filer
        assert terminal.leave() == 0


# Item 4.


def chosen(house: House, number: str, *answers: Answer) -> tuple[Screen, Next | None]:
    """Choose an item before a boot; return what it says, and what follows."""
    house.power_cycle()
    try:
        return house.run(number, *answers, commands=commands_in_boot_menu()), None
    except Leave as leave:
        return house.screen, leave.next


def test_item_4_erases_the_disks_and_needs_no_key_of_them(house: House) -> None:
    key_id = house.encrypt()
    house.write("0c.00.3", "data")
    house.good("options disk.auto_assign off; logger before")
    screen, following = chosen(house, "4", "yes", "y")
    assert following is Next.BOOT
    assert screen.questions == [ZERO, SURE]
    assert "The data on 4 disks (0c.00.0, 0c.00.1, 0c.00.2, 0c.00.3) will be lost" in screen.text
    assert "Completed sanitize on 4 disks: 4 successes, 0 failures" in screen.text
    house.stop_servers()
    house.boot()  # needs no key
    assert house.key_ids == ["0x0"] * 4
    assert not any(disk.locking for disk in house.disks)
    assert house.installed_files() == []
    assert "on\n" in house.good("options disk.auto_assign")
    assert "before" not in house.good("rdfile /etc/messages")
    # The keys are where they were.
    assert house.registered.servers == tuple(each.address for each in house.servers)
    house.start_servers()
    assert [pair.key_id for pair in pairs_on(house.servers[0])] == [key_id]
    house.boot()
    assert house.in_keytable() == [key_id]


def test_item_4_makes_a_new_aggregate_of_the_disks_that_are_left(build: Build) -> None:
    house = build(0, disks=5)
    house.close()
    for name in ("0c.00.0", "0c.00.1"):
        faults.fail(house.root / "shelf" / f"{name}.sed", Storage())
    with House(house.root) as now:
        with pytest.raises(Panic, match="2 missing"):
            now.boot()
        assert chosen(now, "4", "yes", "yes")[1] is Next.BOOT
        now.reboot()
        assert "(online, raid_dp)" in now.good("aggr status -r")


def test_item_4_depends_on_no_disk_that_is_not_initialized(build: Build) -> None:
    """Neither on a locked one of another system, nor on members of the old aggregate."""
    house = build(1, disks=6)
    key_id = house.encrypt()
    foreign = house.filer.shelf["0c.00.5"]
    foreign.assign(Owner(77, "filer77"))
    house.close()
    bays = Bays(house.root, Storage())
    for name in ("0c.00.0", "0c.00.1"):
        bays.pull(name)
    with House(house.root) as now:
        assert chosen(now, "4", "yes", "yes")[1] is Next.BOOT
        now.boot()
        assert "(online, raid_dp)" in now.good("aggr status -r")
    bays.insert("0c.00.0", "0c.00.0")
    with House(house.root, house.servers) as now:
        now.boot()
        assert "(online, raid_dp)" in now.good("aggr status -r")
        assert now.filer.shelf["0c.00.0"].key_id == key_id


def test_item_4_without_consent_changes_nothing(house: House) -> None:
    key_id = house.encrypt()
    house.write("0c.00.3", "data")
    for answers in ("no",), ("",), ("yes", "no"), ("yes", "perhaps", ""):
        screen, following = chosen(house, "4", *answers)
        assert (screen.status, following) == (FAILED, None)
        assert screen.failures[-1] == "4: not confirmed; nothing was changed"
        house.boot()
        assert (house.key_ids, house.read("0c.00.3")) == ([key_id] * 4, "data"), answers
        assert house.installed_files() != []


def test_item_4_erases_only_the_disks_of_this_system(build: Build) -> None:
    house = build(1, disks=6)
    house.encrypt()
    house.filer.shelf["0c.00.4"].assign(Owner(77))
    house.good("disk encrypt destroy 0c.00.5", "destroy disk")
    before = (house.root / "shelf" / "0c.00.4.sed").read_bytes()
    screen, following = chosen(house, "4", "yes", "yes")
    assert following is Next.BOOT
    assert "Completed sanitize on 4 disks: 4 successes" in screen.text
    assert (house.root / "shelf" / "0c.00.4.sed").read_bytes() == before
    assert house.filer.shelf["0c.00.5"].destroyed


def test_item_4_names_the_disks_that_were_not_read_and_fails(build: Build) -> None:
    house = build(1, disks=6)
    house.close()
    left_out, pulled = (house.root / "shelf" / f"0c.00.{bay}.sed" for bay in (3, 4))
    left_out.write_bytes(b"")
    pulled.unlink()
    with House(house.root) as now:
        now.power_cycle()
        with pytest.raises(Leave) as leave:
            now.run("4", "yes", "yes", commands=commands_in_boot_menu())
        assert (leave.value.next, leave.value.after_failure) == (Next.BOOT, True)
        assert [text.partition(":")[0] for text in now.screen.failures] == ["0c.00.3"]
        assert now.screen.warnings == ["0c.00.4: not in the shelf; it keeps its data"]
        assert "Completed sanitize on 4 disks: 4 successes, 0 failures" in now.screen.text
        assert now.installed_files() == []


def test_item_4_goes_on_without_a_disk_that_it_cannot_erase(build: Build) -> None:
    house = build(1, disks=4)
    house.encrypt()
    house.power_cycle()
    (unwritten,) = _lose(house, "0c.00.1")
    with pytest.raises(Leave) as leave:
        house.run("4", "yes", "yes", when={SURE: unwritten}, commands=commands_in_boot_menu())
    assert (leave.value.next, leave.value.after_failure) == (Next.BOOT, True)
    assert [text.partition(":")[0] for text in house.screen.failures] == ["0c.00.1"]
    house.boot()
    members = house.filer.assembled().members
    assert [each.disk and each.disk.name for each in members] == ["0c.00.0", "0c.00.2", "0c.00.3"]


def test_item_4_keeps_the_configuration_if_too_few_disks_were_erased(house: House) -> None:
    house.encrypt()
    house.power_cycle()
    loses = _lose(house, "0c.00.3", "0c.00.1")

    def lose() -> None:
        for each in loses:
            each()

    screen = house.run("4", "yes", "yes", when={SURE: lose}, commands=commands_in_boot_menu())
    assert screen.status == FAILED
    assert screen.failures[-1] == "4: not all disks were initialized; the configuration stays"
    assert house.installed_files() != []


def _lose(house: House, *names: str) -> list[Callable[[], None]]:
    """Return a function for each disk that pulls it."""
    return [(house.root / "shelf" / f"{name}.sed").unlink for name in names]


def test_item_4_erases_nothing_if_too_few_disks_can_be_used(house: House) -> None:
    house.good("disk fail -f 0c.00.3; disk fail -i -f 0c.00.1")
    before = {path: path.read_bytes() for path in (house.root / "shelf").iterdir()}
    screen, following = chosen(house, "4")
    assert (screen.status, following) == (FAILED, None)
    assert screen.failures == [
        "4: aggr0 needs 3 disks, and 2 can be used; 2 have failed: disk unfail in maintenance mode "
        "lets them be used"
    ]
    assert {path: path.read_bytes() for path in before} == before


def test_item_4_does_not_use_a_failed_disk(build: Build) -> None:
    house = build(1, disks=5)
    house.good("disk fail -f 0c.00.4; disk fail -i -f 0c.00.0")
    screen, following = chosen(house, "4", "yes", "yes")
    assert (screen.failures, following) == ([], Next.BOOT)
    assert "Completed sanitize on 5 disks: 5 successes" in screen.text
    house.boot()
    assert house.good("aggr status -f").count("admin failed") == 2
    assert "(online, raid_dp)" in house.good("aggr status -r")
