"""Power on and boot while key servers are up, down, late or wrong, and disks come and go."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from filer.boot.kmip_init import ATTENTION
from filer.boot.machine import Panic
from filer.running.interrupt import Interrupt
from filer.running.progress import Tell, Wait, Work
from tests.kit import faulty
from tests.kit.faulty import FaultyKeyServer, locked_house
from tests.kit.house import House, Told

servers, house = faulty.servers(2), faulty.locked
WRONG_SECRET = b"Another-secret-under-this-name-1"


def panic_of(house: House) -> tuple[str, Told]:
    """Boot, which must panic; return the messages of the panic and of the boot."""
    told = Told()
    with pytest.raises(Panic) as caught:
        house.boot(told)
    return str(caught.value), told


def test_the_box_says_attention() -> None:
    assert len({len(line) for line in ATTENTION}) == 1
    assert any("A T T E N T I O N" in line for line in ATTENTION)
    assert any("System cannot connect to key managers." in line for line in ATTENTION)


def test_a_server_without_the_key_makes_the_boot_panic_until_the_key_is_back(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    key_id = house.key_ids[0]
    whole = [server.store.read_bytes() for server in servers]
    for server in servers:
        faulty.lose(server, key_id)
    text, told = panic_of(house)
    assert "disks locked" in text
    assert told.boxes == []
    assert any(key_id in line and "not in the keytable" in line for line in told.warnings)
    assert house.failures == [1] * 4
    for server, store in zip(servers, whole, strict=True):
        server.stop()
        server.store.write_bytes(store)
        server.start()
    assert house.boot().warnings == []
    assert house.failures == [0] * 4


class _StartsAServer(Interrupt):
    """Starts a key server when the boot begins to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.server: FaultyKeyServer | None = None
        self.waits = 0

    def sleep(self, seconds: float) -> None:
        self.waits += 1
        if self.server is not None and self.waits == 3:
            self.server.start()


class _CtrlC(Interrupt):
    """Presses Ctrl-C when the boot begins to wait."""

    def sleep(self, seconds: float) -> None:
        self.request()
        self.check()


def test_init_maxwait_tries_again_until_a_server_comes_up(
    house: House, servers: list[FaultyKeyServer], tmp_path: Path
) -> None:
    house.set(port=servers[0].port, init_maxwait=600.0)
    house.close()
    servers[0].stop()
    interrupt = _StartsAServer()
    interrupt.server = servers[0]
    with House(tmp_path / "root", interrupt=interrupt) as again:
        told = again.boot()
        assert interrupt.waits == 3
        assert told.warnings == []
        assert [text.split(" for ")[0] for text in told.attempts] == [
            "no answer from 127.0.0.2; trying again"
        ] * 3
        assert all(text.endswith(" s, press Ctrl-C to stop waiting") for text in told.attempts)
        assert not any(disk.locked for disk in again.disks)


def test_a_server_that_has_answered_is_not_asked_again_while_the_boot_waits(
    house: House, servers: list[FaultyKeyServer], tmp_path: Path
) -> None:
    house.set(port=servers[0].port, init_maxwait=600.0)
    house.close()
    servers[0].stop()
    servers[1].heard.clear()
    interrupt = _StartsAServer()
    interrupt.server = servers[0]
    with House(tmp_path / "root", interrupt=interrupt) as again:
        again.boot()
    assert servers[1].heard.count("DISCOVER_VERSIONS") == 1


@pytest.mark.parametrize("down", [1, 2])
def test_ctrl_c_ends_the_wait_with_the_answers_so_far(
    house: House, servers: list[FaultyKeyServer], tmp_path: Path, down: int
) -> None:
    house.set(port=servers[0].port, init_maxwait=600.0)
    house.close()
    for server in servers[:down]:
        server.stop()
    with House(tmp_path / "root", interrupt=_CtrlC()) as again:
        if down == 1:
            told = again.boot()
            assert told.boxes == []
            assert not any(disk.locked for disk in again.disks)
        else:
            _text, told = panic_of(again)
            assert told.boxes == [ATTENTION]
        named = [line for line in told.warnings if "is not responding" in line]
        assert len(named) == down


@pytest.mark.parametrize("slow", [1, 2])
def test_ctrl_c_ends_the_wait_for_a_slow_server(
    house: House, servers: list[FaultyKeyServer], tmp_path: Path, slow: int
) -> None:
    house.set(port=servers[0].port, timeout=600.0)
    house.close()
    for server in servers[:slow]:
        server.on("*", faulty.silent)
    interrupt, told = Interrupt(), Told()

    @contextmanager
    def press(work: Work) -> Iterator[Tell]:
        def tell(done: int) -> None:
            if isinstance(work, Wait) and done == len(servers) - slow:
                interrupt.request()

        yield tell

    with House(tmp_path / "root", interrupt=interrupt) as again:
        again.power_cycle()
        with again.filer.progress.shown(press):
            if slow == 1:
                again.boot_now(told)
            else:
                with pytest.raises(Panic):
                    again.boot_now(told)
        assert all(disk.locked == (slow == 2) for disk in again.disks)
        assert again.failures == [0] * 4
        assert interrupt.requested
    named = [f"key server {each.address} is not responding: interrupted" for each in servers[:slow]]
    assert told.warnings[:slow] == named
    held_back = "kmip_init was interrupted; no MSID is tried"
    assert (held_back in told.warnings) == (slow == 2)


def test_two_wrong_servers_open_nothing_until_one_is_corrected(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    key_id = house.key_ids[0]
    right = house.secret(key_id).reveal()
    for number, server in enumerate(servers):
        faulty.replace_secret(server, key_id, WRONG_SECRET + bytes([48 + number]))
    panic_of(house)
    assert house.failures == [1] * 4
    faulty.replace_secret(servers[0], key_id, right)
    house.boot()
    assert not any(disk.locked for disk in house.disks)


@pytest.mark.parametrize("pulled", ["0c.00.0", "0c.00.1", "0c.00.2"])
def test_aggr0_comes_up_with_two_of_its_three_disks(
    house: House, tmp_path: Path, pulled: str
) -> None:
    house.filer.shelf[pulled].path.rename(tmp_path / "pulled")
    told = house.boot()
    assert pulled not in house.filer.shelf.disks
    assert "aggr0 is degraded: 0 of 3 disks locked, 1 missing" in told.warnings
    assert house.filer.wafl_is_up


def test_aggr0_does_not_come_up_with_one_of_its_three_disks(house: House, tmp_path: Path) -> None:
    for name in ("0c.00.0", "0c.00.2"):
        house.filer.shelf[name].path.rename(tmp_path / name)
    text, _told = panic_of(house)
    assert text.startswith(
        "PANIC: raid: root aggregate aggr0 cannot be brought online: 0 of 3 disks locked"
    )
    assert not house.filer.wafl_is_up


def test_a_pulled_disk_is_not_made_again_and_comes_back_as_it_was(
    house: House, tmp_path: Path
) -> None:
    disk = house.filer.shelf["0c.00.3"]
    serial, key_id, path = disk.serial, disk.key_id, disk.path
    path.rename(tmp_path / "pulled")
    for _ in range(2):
        house.boot()
        assert not path.exists()
        assert len(house.disks) == 3
    (tmp_path / "pulled").rename(path)
    house.boot()
    back = house.filer.shelf["0c.00.3"]
    assert (back.serial, back.key_id, back.locked) == (serial, key_id, False)


def test_a_disk_that_was_away_during_rekeys_still_finds_its_key(
    house: House, tmp_path: Path
) -> None:
    path = house.filer.shelf["0c.00.3"].path
    old = house.key_ids[3]
    path.rename(tmp_path / "pulled")
    house.boot()
    house.rekey()
    house.rekey()
    house.must("key_manager restore -all")
    (tmp_path / "pulled").rename(path)
    house.boot()
    assert house.key_ids[3] == old
    assert not house.disks[3].locked
    house.rekey()
    assert len(set(house.key_ids)) == 1
    faulty.check_that_no_key_is_lost(house)


def test_more_disks_in_filer_toml_are_factory_new_spares(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    old = [(disk.serial, disk.key_id) for disk in house.disks]
    house.set(port=servers[0].port, disks=6)
    assert house.boot().warnings == []
    assert [(disk.serial, disk.key_id) for disk in house.disks[:4]] == old
    for disk in house.disks[4:]:
        assert (disk.key_id, disk.locking, disk.locked) == ("0x0", False, False)
        assert house.filer.assembled().role(disk) == "spare"
    house.rekey()
    house.lock()
    house.boot()
    assert not any(disk.locked for disk in house.disks)


def test_a_disk_moved_to_another_root_is_left_alone_and_opens_when_it_is_back(
    house: House, servers: list[FaultyKeyServer], tmp_path: Path
) -> None:
    disk = house.filer.shelf["0c.00.3"]
    home, moved = disk.path, tmp_path / "other" / "shelf" / "0c.00.9.sed"
    before = home.read_bytes()
    with House.build(tmp_path / "other", servers, system_id=77) as other:
        other.add(*servers)
        other.rekey()
        other.lock()
        home.rename(moved)
        told = other.boot()
        assert told.warnings == ["0c.00.9 stay locked: they belong to another system (1573922407)"]
        result = other.must("key_manager rekey")
        assert "Completed rekey on 4 disks: 4 successes" in result.text
        assert moved.read_bytes() == before
    moved.rename(home)
    house.boot()
    assert not house.disks[3].locked
    assert house.failures == [0] * 4


def test_a_second_root_with_the_same_disks_file_has_no_data_without_the_key(
    house: House, tmp_path: Path
) -> None:
    root = tmp_path / "stolen"
    shutil.copytree(tmp_path / "root", root, symlinks=True)
    shutil.rmtree(root / "var")
    with House(root) as stolen:
        panic_of(stolen)
        assert all(disk.locked for disk in stolen.disks)


def test_the_log_of_a_boot_is_written_once_wafl_is_up(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    servers[0].stop()
    house.boot()
    log = (house.root / "mroot" / "etc" / "messages").read_text()
    assert "kmip.init.noresponse:warning" in log
    assert "kmip.init.done:info" in log
    secret = house.secret(house.key_ids[0]).reveal().decode()
    assert secret not in log


def test_a_full_disk_neither_unlocks_nor_harms_the_disks(house: House, tmp_path: Path) -> None:
    house.close()
    storage = faulty.FailingStorage()
    with House(tmp_path / "root", storage=storage) as full:
        full.power_cycle()
        storage.arm(1)
        with pytest.raises(Panic):
            full.boot_now(Told())
        storage.disarm()
    with House(tmp_path / "root") as again:
        again.boot()
        assert not any(disk.locked for disk in again.disks)
        faulty.check_that_no_key_is_lost(again)


def test_a_server_that_falls_silent_after_the_keys_of_the_disks_costs_one_warning(
    servers: list[FaultyKeyServer], tmp_path: Path
) -> None:
    with locked_house(tmp_path / "root", servers[:1]) as house:
        house.rekey()
        # After the keys that disks name.
        servers[0].on("GET", faulty.then(faulty.obeys, "LOCATE", faulty.silent))
        house.set(port=servers[0].port, timeout=5.0)
        told = house.boot()
        assert house.filer.wafl_is_up
        assert house.failures == [0] * 4
        assert told.boxes == []
        assert told.warnings == [
            "key server 127.0.0.2 has not shown all key pairs: no answer in 5 s"
        ]


def test_a_boot_may_take_longer_than_the_timeout_if_each_answer_is_quick(
    servers: list[FaultyKeyServer], tmp_path: Path
) -> None:
    def dawdle(_server: FaultyKeyServer, proceed: faulty.Proceed) -> object:
        time.sleep(1.5)
        return proceed()

    with locked_house(tmp_path / "root", servers[:1]) as house:
        for _ in range(3):
            house.rekey()
        servers[0].on("*", dawdle)
        house.set(port=servers[0].port, timeout=5.0)
        told = house.boot()
        assert house.filer.wafl_is_up
        assert (told.warnings, len(house.filer.keytable)) == ([], 4)
