"""Panics in a row and their cost to the disks: counts, hold-back, AUTOBOOT, lockout."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filer.boot.machine import Panic
from filer.boot_device.panics import LIMIT, Panics
from filer.disks.disk import LOCKOUT_LIMIT, AuthenticationFailed, LockedOut
from filer.host.durable import Storage
from filer.host.toml_file import ConfigError
from filer.keys.authentication_key import MSID
from filer.running.interrupt import Interrupt, Interrupted
from filer.shell.power_cycle import LONGEST_WAIT, PANICKED, wait_before_boot
from tests.kit import manual
from tests.kit.console import Account
from tests.kit.house import House, Screen
from tests.kit.manual import Build, completed
from tests.kit.pairs import lose, lose_everywhere, pairs_on
from tests.kit.power import power_cycle

build, house = manual.build, manual.house

HELD_BACK = "WARNING: disk: {} panics in a row and no key server answers; no MSID is tried.\n"


def panicking(house: House, boots: int = 1) -> str:
    """Boot repeatedly in vain, and return the complaints of the last boot."""
    for _ in range(boots):
        with pytest.raises(Panic):
            house.reboot()
    return house.screen.err


# The count.


@pytest.fixture
def panics(tmp_path: Path) -> Panics:
    return Panics(tmp_path / "panics.toml", Storage())


def test_there_is_no_panic_before_the_first(panics: Panics, tmp_path: Path) -> None:
    assert (panics.in_a_row, panics.at_limit) == (0, False)
    panics.clear()
    assert list(tmp_path.iterdir()) == []


def test_the_tenth_panic_in_a_row_is_the_limit(panics: Panics, tmp_path: Path) -> None:
    for count in range(1, 13):
        panics.add()
        again = Panics(tmp_path / "panics.toml", Storage())
        assert (again.in_a_row, again.at_limit) == (count, count >= LIMIT)
    assert LIMIT == 10
    panics.clear()
    assert (panics.in_a_row, panics.at_limit) == (0, False)
    assert (tmp_path / "panics.toml").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "var/panics.toml:1: in_a_row must be the number of panics"),
        (b"in_a_row = -1\n", "var/panics.toml:1: in_a_row must be the number of panics"),
        (b"\n\nin_a_row = true\n", "var/panics.toml:3: in_a_row must be the number of panics"),
        (b'# a\nin_a_row = "3"\n', "var/panics.toml:2: in_a_row must be the number of panics"),
        (b"in_a_row = \n", "var/panics.toml:1: "),
        (b"in_a_row = 1\n= 2\n", "var/panics.toml:2: "),
        (b"in_a_row = 1\0", "var/panics.toml:1: "),
        (b"\xff", "var/panics.toml:1: "),
    ],
)
def test_a_damaged_count_is_named_with_its_line_and_kept(
    content: bytes, complaint: str, panics: Panics, tmp_path: Path
) -> None:
    path = tmp_path / "panics.toml"
    path.write_bytes(content)
    for ask in (lambda: panics.in_a_row, lambda: panics.at_limit, panics.add, panics.clear):
        with pytest.raises(ConfigError) as problem:
            ask()
        assert str(problem.value).startswith(complaint)
        assert path.read_bytes() == content


@given(st.binary(max_size=40))
def test_any_count_is_a_number_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("var") / "panics.toml"
    path.write_bytes(content)
    try:
        count, complaint = Panics(path, Storage()).in_a_row, ""
    except ConfigError as problem:
        count, complaint = 0, str(problem)
    assert count >= 0
    assert not complaint or complaint.startswith("var/panics.toml:")


def test_a_damaged_count_ends_the_program_in_one_line(account: Account) -> None:
    assert account.commands("hostname").status == 0
    damaged = account.root / "var" / "panics.toml"
    damaged.write_text("in_a_row = many\n")
    outcome = account.commands("hostname")
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith("filer: var/panics.toml:1: ")
    assert outcome.err.count("\n") == 1
    assert damaged.read_text() == "in_a_row = many\n"


# Boots without keys.


def test_boots_cost_the_disks_ten_tries_and_then_none(house: House) -> None:
    house.encrypt()
    house.stop_servers()
    for count in range(1, LIMIT + 1):
        assert "panics in a row" not in panicking(house)
        assert house.failures == [count] * 4
        assert house.filer.panics.in_a_row == count
    for count in (LIMIT, LIMIT + 1):
        assert HELD_BACK.format(count) in panicking(house)
        assert house.failures == [LIMIT] * 4
        assert house.filer.panics.in_a_row == count + 1


def test_a_machine_started_anew_is_held_back_too(house: House) -> None:
    house.encrypt()
    house.stop_servers()
    panicking(house, LIMIT)
    house.close()
    for _ in range(3):
        with House(house.root) as again:
            with pytest.raises(Panic, match="3 of 3 disks locked"):
                again.reboot()
            assert "no MSID is tried" in again.screen.err
            assert again.failures == [LIMIT] * 4


def test_a_key_server_that_has_the_keys_ends_the_panics(house: House) -> None:
    house.encrypt()
    house.write("0c.00.3", "data")
    house.stop_servers()
    panicking(house, LIMIT + 1)
    house.start_servers()
    assert house.reboot() == ""
    assert house.read("0c.00.3") == "data"
    assert (house.filer.panics.in_a_row, house.failures) == (0, [0] * 4)
    house.stop_servers()
    panicking(house)
    assert house.failures == [1] * 4


def test_a_key_server_that_answers_ends_the_hold_back_even_without_the_keys(
    house: House,
) -> None:
    house.encrypt()
    house.stop_servers()
    panicking(house, LIMIT + 1)
    house.start_servers()
    lose_everywhere(house)
    assert "panics in a row" not in panicking(house)
    assert house.failures == [LIMIT + 1] * 4


def test_a_key_server_that_has_lost_the_keys_does_not_end_the_hold_back_while_another_is_silent(
    house: House,
) -> None:
    house.encrypt()
    house.stop_servers()
    panicking(house, LIMIT)
    house.servers[0].start()
    kept = pairs_on(house.servers[0])
    lose(house.servers[0])
    said = HELD_BACK.replace("no key server", "not every key server")
    assert said.format(LIMIT + 1) in panicking(house, 2)
    assert house.failures == [LIMIT] * 4
    house.servers[1].start()
    assert house.reboot() == ""
    assert pairs_on(house.servers[1]) == kept


def test_no_key_server_at_all_is_held_back_too(house: House) -> None:
    house.encrypt()
    house.power_off()
    for entry in (house.root / "var").glob("kmip*"):
        entry.rename(house.root / entry.name)
    panicking(house, LIMIT + 2)
    assert house.failures == [LIMIT] * 4


def test_a_boot_that_comes_up_ends_the_count(house: House) -> None:
    house.encrypt()
    assert not (house.root / "var" / "panics.toml").exists()
    house.stop_servers()
    panicking(house, 3)
    house.start_servers()
    house.reboot()
    assert (house.root / "var" / "panics.toml").read_text() == "in_a_row = 0\n"


def test_a_disk_without_locking_counts_nothing(house: House) -> None:
    house.encrypt()
    house.good("disk encrypt rekey 0x0 0c.00.3")
    house.stop_servers()
    panicking(house, 2)
    assert house.failures == [2, 2, 2, 0]


def test_a_hold_back_does_not_keep_disks_without_locking_from_a_boot(house: House) -> None:
    house.encrypt()
    house.good("disk encrypt rekey 0x0 0c.00.0 0c.00.1")
    (house.root / "var" / "panics.toml").write_text(f"in_a_row = {LIMIT}\n")
    house.stop_servers()
    warnings = house.reboot()
    assert HELD_BACK.format(LIMIT) in warnings
    assert "0c.00.2, 0c.00.3 stay locked: key ID" in warnings
    assert house.failures == [0] * 4
    assert house.filer.panics.in_a_row == 0


def test_snaplock_stops_a_boot_before_key_servers_and_disks(house: House) -> None:
    house.encrypt()
    house.stop_servers()
    toml = house.root / "filer.toml"
    toml.write_text(toml.read_text().replace("[system]", "[system]\nsnaplock = true"))
    assert panicking(house, 2) == ""
    assert (house.failures, house.filer.panics.in_a_row) == ([0] * 4, 2)
    assert not house.filer.wafl_is_up


# AUTOBOOT.


@given(st.integers(1, 1000))
def test_each_wait_is_twice_the_one_before_up_to_a_minute(panics: int) -> None:
    wait, following = wait_before_boot(panics), wait_before_boot(panics + 1)
    assert 1 <= wait <= LONGEST_WAIT == 60
    assert following == min(2 * wait, LONGEST_WAIT)


def test_the_first_wait_is_a_second() -> None:
    assert wait_before_boot(1) == 1


class Impatient(Interrupt):
    """Does not sleep, but records the time, and runs a hook meanwhile."""

    def __init__(self, meanwhile: Callable[[int], None] = lambda number: None) -> None:
        super().__init__()
        self.waits: list[float] = []
        self._meanwhile = meanwhile

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self._meanwhile(len(self.waits))
        self.check()


AtTerminal = partial(Screen, is_terminal=True)


@pytest.fixture
def sealed(house: House) -> House:
    """A filer with AUTOBOOT, locked disks and silent key servers."""
    house.encrypt()
    house.filer.loader.set("AUTOBOOT", "true")
    house.filer.loader.save()
    house.close()
    house.stop_servers()
    return house


def counted(root: Path) -> list[int]:
    """Return the failures that the disks have counted, without changing anything."""
    with House(root) as house:
        house.power_cycle()
        return house.failures


@pytest.mark.parametrize("console", [Screen, AtTerminal])
def test_autoboot_waits_longer_each_time_and_gives_up_after_ten_panics(
    console: Callable[[], Screen], sealed: House
) -> None:
    interrupt, screen = Impatient(), console()
    status, prompts = power_cycle(sealed.root, interrupt, screen)
    assert interrupt.waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert (status, prompts) == (PANICKED, ["LOADER>"] if screen.is_terminal else [])
    said = screen.err
    assert said.count("PANIC: raid: root aggregate aggr0 cannot be brought online") == LIMIT
    assert (
        "autoboot: the next boot begins in 16 s.\nStarting AUTOBOOT press Ctrl-C to abort...\n"
    ) in said
    assert said.endswith("AUTOBOOT gives up after 10 panics in a row.\n")
    assert counted(sealed.root) == [LIMIT] * 4
    # The next start is held back, and does not boot automatically.
    interrupt = Impatient()
    assert power_cycle(sealed.root, interrupt, console())[0] == PANICKED
    assert interrupt.waits == []
    assert counted(sealed.root) == [LIMIT] * 4


def test_autoboot_comes_up_once_a_key_server_is_back(sealed: House) -> None:
    def back(wait: int) -> None:
        if wait == 3:
            sealed.servers[1].start()

    interrupt, screen = Impatient(back), Screen()
    assert power_cycle(sealed.root, interrupt, screen) == (0, ["filer1>"])
    assert interrupt.waits == [1, 2, 4]
    assert counted(sealed.root) == [0] * 4
    assert Panics(sealed.root / "var" / "panics.toml", Storage()).in_a_row == 0


def test_ctrl_c_ends_autoboot_at_loader(sealed: House) -> None:
    interrupt = Impatient(lambda wait: interrupt.request())
    assert power_cycle(sealed.root, interrupt, AtTerminal()) == (PANICKED, ["LOADER>"])
    assert interrupt.waits == [1]
    with pytest.raises(Interrupted):
        interrupt.sleep(0)


def test_without_autoboot_the_first_panic_is_the_last(sealed: House) -> None:
    (sealed.root / "var" / "loader.toml").write_text('AUTOBOOT = "false"\n')
    interrupt = Impatient()
    assert power_cycle(sealed.root, interrupt, AtTerminal()) == (PANICKED, ["LOADER>"])
    assert interrupt.waits == []
    assert counted(sealed.root) == [1] * 4


# Lockout.


def fail(house: House, disk: str, times: int) -> None:
    """Try the MSID on a disk that has another key."""
    for _ in range(times):
        with pytest.raises(AuthenticationFailed):
            house.filer.shelf[disk].authenticate(MSID)


def test_a_lost_key_of_a_spare_costs_a_try_a_boot_up_to_the_lockout(house: House) -> None:
    lost = house.encrypt()
    spare = "0c.00.3"
    house.good("key_manager rekey")
    kept = house.key_id()
    house.good(f"disk encrypt rekey {lost} {spare}")
    for server in house.servers:
        lose(server, *(pair for pair in pairs_on(server) if pair.key_id == lost))
    fail(house, spare, LOCKOUT_LIMIT - 2)
    for count in (LOCKOUT_LIMIT - 1, LOCKOUT_LIMIT):
        assert f"{spare} stay locked: key ID {lost} is not in the keytable" in house.reboot()
        assert house.filer.shelf[spare].failures == count
    assert house.reboot() == (
        f"WARNING: disk: {spare} stay locked: locked out after too many failed authentications.\n"
    )
    assert house.filer.shelf[spare].failures == LOCKOUT_LIMIT
    assert house.good(f"disk encrypt show {spare} 0c.00.0").splitlines()[1:] == [
        f"0c.00.0    {kept} Yes",
        f"{spare}    {lost} Locked out",
    ]


def test_a_locked_out_disk_tries_no_key_and_comes_back_by_sanitize_alone(house: House) -> None:
    spare = "0c.00.3"
    key_id = house.encrypt()
    house.write(spare, "data")
    fail(house, spare, LOCKOUT_LIMIT)
    house.reboot()
    disk = house.filer.shelf[spare]
    (pair,) = pairs_on(house.servers[0])
    for key in (pair.key, MSID):
        with pytest.raises(LockedOut):
            disk.authenticate(key)
    out = f"{spare}: is locked out\n"
    locked_out = completed("{}", 1, failures=1, authentication=1)
    for verb in ("lock", "rekey 0x0", f"rekey {key_id}"):
        assert house.execute(f"disk encrypt {verb} {spare}") == (
            1,
            locked_out.format(verb.split()[0]),
            out,
        )
    assert disk.failures == LOCKOUT_LIMIT
    house.good(f"disk encrypt sanitize {spare}", "sanitize disk")
    assert house.good(f"disk encrypt show {spare}").splitlines()[1] == f"{spare}    {'0x0':<64} No"
    assert disk.failures == 0
    house.write(spare, "new data")
    house.good(f"disk encrypt rekey {key_id} {spare}")
    house.good(f"disk encrypt lock {spare}")
    assert house.reboot() == ""
    assert house.read(spare) == "new data"


def test_a_panic_loop_stops_short_of_the_lockout(build: Build) -> None:
    house = build(1)
    house.encrypt()
    house.stop_servers()
    fail(house, "0c.00.3", LOCKOUT_LIMIT - LIMIT - 1)
    panicking(house, LIMIT + 5)
    assert house.failures == [*[LIMIT] * 3, LOCKOUT_LIMIT - 1]
    house.start_servers()
    assert house.reboot() == ""
