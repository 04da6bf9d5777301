"""man key_manager, LIMITATIONS, and the limit of 128 key pairs."""

from contextlib import suppress
from pathlib import Path

import pytest

from filer.boot.machine import Panic
from filer.disks.disk import LOCKOUT_LIMIT, AuthenticationFailed, DiskLocked, LockedOut
from filer.keys.authentication_key import MSID
from filer.keys.pair import KeyPair
from tests.kit import manual
from tests.kit.house import House
from tests.kit.manual import Build, completed
from tests.kit.pairs import lose, new_pair, pairs_on, put

build, house = manual.build, manual.house

LIMIT = "key_manager: the limit of 128 key pairs is reached\n"
LOCKED_PANIC = "PANIC: raid: root aggregate aggr0 cannot be brought online: 3 of 3 disks locked"


def many(count: int) -> list[KeyPair]:
    return [new_pair() for _ in range(count)]


# 128 key pairs.


def test_a_system_creates_up_to_128_key_pairs(build: Build) -> None:
    house = build(1)
    house.add()
    put(house.servers[0], *many(127))
    house.good("key_manager rekey")
    assert len(pairs_on(house.servers[0])) == 128
    key_id = house.key_id()
    assert house.bad("key_manager rekey") == LIMIT
    assert (set(house.key_ids), len(pairs_on(house.servers[0]))) == ({key_id}, 128)


def test_the_limit_is_looked_at_before_a_passphrase_is_asked_for(build: Build) -> None:
    house = build(1)
    house.add()
    put(house.servers[0], *many(128))
    assert house.bad("key_manager rekey -manual") == LIMIT


def test_the_limit_counts_the_key_ids_of_all_key_servers(house: House) -> None:
    house.add()
    pairs = many(128)
    put(house.servers[0], *pairs[:64])
    put(house.servers[1], *pairs[64:])
    assert house.bad("key_manager rekey") == LIMIT


def test_the_limit_counts_a_key_id_on_two_key_servers_once(house: House) -> None:
    house.add()
    pairs = many(127)
    for server in house.servers:
        put(server, *pairs)
    house.good("key_manager rekey")


def test_the_limit_counts_the_keytable_too(build: Build) -> None:
    house = build(1)
    house.add()
    pairs = many(128)
    put(house.servers[0], *pairs)
    house.good("key_manager restore -all")
    lose(house.servers[0], *pairs[:4])
    assert house.bad("key_manager rekey") == LIMIT
    house.good("key_manager restore -all")
    house.good("key_manager rekey")


def test_the_limit_does_not_count_the_keys_of_other_systems(build: Build) -> None:
    house = build(1)
    house.add()
    put(house.servers[0], *(new_pair(system_id=7) for _ in range(128)))
    house.good("key_manager restore -all")
    put(house.servers[0], *many(127))
    house.good("key_manager rekey")
    assert house.bad("key_manager rekey") == LIMIT


def test_the_keytable_grows_beyond_128_key_ids_with_a_warning(build: Build) -> None:
    house = build(1)
    house.add()
    put(house.servers[0], *many(128))
    house.good("key_manager restore -all")
    put(house.servers[0], new_pair())
    assert house.execute("key_manager restore -key_server 127.0.0.2") == (
        0,
        "Key server 127.0.0.2: 129 key pairs read.\nKeytable: 129 key pairs, 1 added, 0 removed.\n",
        "WARNING: the keytable holds 129 key pairs; a key management policy should keep it to "
        "128 or less.\n",
    )
    assert len(house.in_keytable()) == 129


def test_kmip_init_loads_more_than_128_key_pairs_with_a_warning(build: Build) -> None:
    house = build(1)
    house.add()
    put(house.servers[0], *many(128))
    assert house.reboot() == ""
    put(house.servers[0], new_pair())
    warning = house.reboot()
    assert len(house.in_keytable()) == 129
    assert warning.startswith("WARNING: kmip_init: the keytable holds 129 key pairs")


# LIMITATIONS.


def test_storage_encryption_and_snaplock_exclude_each_other(house: House) -> None:
    house.encrypt()
    toml = house.root / "filer.toml"
    toml.write_text(toml.read_text().replace("[system]", "[system]\nsnaplock = true"))
    with pytest.raises(Panic) as panic:
        house.reboot()
    assert str(panic.value) == (
        "PANIC: SnapLock and Storage Encryption cannot be used on the same system"
    )
    assert house.failures == [0, 0, 0, 0]


def test_snaplock_alone_is_no_problem(build: Build) -> None:
    house = build(1, storage_encryption=False)
    toml = house.root / "filer.toml"
    toml.write_text(toml.read_text().replace("[system]", "[system]\nsnaplock = true"))
    assert house.reboot() == ""


def test_data_of_a_removed_disk_is_not_in_its_file(house: House) -> None:
    house.write("0c.00.3", "unmistakable content of a block")
    house.encrypt()
    for path in (house.root / "shelf").iterdir():
        assert b"unmistakable" not in path.read_bytes()
    assert house.read("0c.00.3") == "unmistakable content of a block"


def test_a_disk_moved_to_another_system_is_locked_there(house: House, tmp_path: Path) -> None:
    house.encrypt()
    house.write("0c.00.3", "secret")
    house.power_off()
    with House.build(tmp_path / "thief", disks=3, system_id=7) as thief:
        stolen = thief.root / "shelf" / "0c.00.9.sed"
        stolen.write_bytes((house.root / "shelf" / "0c.00.3.sed").read_bytes())
        with suppress(Panic):
            thief.boot()
        disk = thief.filer.shelf["0c.00.9"]
        assert disk.locked
        with pytest.raises(DiskLocked):
            disk.read_block(1)


def test_a_boot_without_keys_panics_and_counts_a_failure_on_each_locked_disk(
    house: House,
) -> None:
    house.encrypt()
    house.stop_servers()
    for boots in (1, 2, 3):
        with pytest.raises(Panic, match=LOCKED_PANIC):
            house.reboot()
        assert house.failures == [boots] * 4
        assert all(disk.locked for disk in house.filer.shelf)


def test_an_authentication_that_succeeds_ends_the_count_of_failures(house: House) -> None:
    house.encrypt()
    house.stop_servers()
    with pytest.raises(Panic):
        house.reboot()
    house.start_servers()
    assert house.reboot() == ""
    assert house.failures == [0] * 4


def test_after_1024_failures_in_a_row_a_disk_ignores_even_its_own_key(house: House) -> None:
    key_id = house.encrypt()
    disk = house.filer.shelf["0c.00.3"]
    assert LOCKOUT_LIMIT == 1024
    for _ in range(1024):
        with pytest.raises(AuthenticationFailed):
            disk.authenticate(MSID)
    with pytest.raises(LockedOut):
        disk.authenticate(pairs_on(house.servers[0])[0].key)
    (warning,) = house.reboot().splitlines()
    assert "0c.00.3" in warning
    assert "locked out" in warning
    assert house.good("disk encrypt show 0c.00.3").splitlines()[1] == (
        f"0c.00.3    {key_id} Locked out"
    )
    assert house.execute("disk encrypt rekey 0x0 *") == (
        1,
        completed("rekey", 4, failures=1, authentication=1),
        "0c.00.3: is locked out\n",
    )
    assert house.filer.shelf["0c.00.3"].failures == 1024
    assert house.filer.shelf["0c.00.3"].locked


def test_key_servers_in_service_before_the_boot_make_it_succeed(house: House) -> None:
    house.encrypt()
    house.write("0c.00.3", "data")
    house.servers[0].stop()
    assert house.reboot() == (
        "WARNING: kmip_init: key server 127.0.0.2 is not responding: connection refused.\n"
    )
    assert house.read("0c.00.3") == "data"


def test_a_silent_set_of_key_servers_is_announced_in_a_box(house: House) -> None:
    house.encrypt()
    house.stop_servers()
    with pytest.raises(Panic):
        house.reboot()
    said = house.screen.err
    assert said.count("is not responding") == 2
    assert "*                 A T T E N T I O N                    *\n" in said
    assert "*       System cannot connect to key managers.         *\n" in said
