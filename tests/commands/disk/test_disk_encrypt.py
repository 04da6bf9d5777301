"""man disk: disk encrypt show, lock and rekey."""

import pytest

from filer.boot.machine import Panic
from filer.disks.disk import DiskLocked
from filer.disks.label import Label
from tests.kit import manual
from tests.kit.house import House
from tests.kit.manual import Build, completed
from tests.kit.pairs import lose, lose_everywhere, new_pair, pairs_on, put

build, house = manual.build, manual.house

HEADER = "Disk       Key ID                                                           Locked?\n"
ALL = ("0c.00.0", "0c.00.1", "0c.00.2", "0c.00.3")
UNKNOWN = "A" * 64
NO_DISK = 'disk: no disk matches "{}"\n'


def row(disk: str, key_id: str, locked: str) -> str:
    return f"{disk}    {key_id.ljust(64)} {locked}\n"


def unknown(key_id: str = UNKNOWN, *disks: str) -> str:
    return "".join(f"{disk}: key ID {key_id} is not in the keytable\n" for disk in disks or ALL)


def not_held(key_id: str, *disks: str) -> str:
    return "".join(
        f"{disk}: no registered key server that answers holds the key for {key_id}\n"
        for disk in disks or ALL
    )


def rekeyed(house: House) -> str:
    """Register the key servers, give all disks a new key, and return its key ID."""
    house.add()
    house.good("key_manager rekey")
    return house.key_id()


# show


def test_show_of_new_disks(house: House) -> None:
    printed = house.good("disk encrypt show")
    assert printed == HEADER + "".join(row(disk, "0x0", "No") for disk in ALL)
    assert printed.splitlines()[1] == f"0c.00.0    0x0{' ' * 62}No"


def test_show_tells_key_ids_and_which_disks_are_locked(house: House) -> None:
    key_id = rekeyed(house)
    house.good("disk encrypt lock 0c.00.1")
    house.good("disk encrypt rekey 0x0 0c.00.2")
    house.filer.shelf["0c.00.3"].destroy()
    assert house.good("disk encrypt show") == (
        HEADER
        + row("0c.00.0", key_id, "No")
        + row("0c.00.1", key_id, "Yes")
        + row("0c.00.2", "0x0", "No")
        + row("0c.00.3", "(destroyed)", "Yes")
    )


def test_show_does_not_widen_for_longer_names(build: Build) -> None:
    house = build(1, disks=26)
    lines = house.good("disk encrypt show").splitlines()
    assert len(lines) == 27
    assert lines[11] == f"0c.00.10   0x0{' ' * 62}No"
    assert lines[25] == f"0c.01.0    0x0{' ' * 62}No"
    assert {line.index("0x0") for line in lines[1:]} == {HEADER.index("Key ID")}


def test_show_of_a_disk_list(house: House) -> None:
    for disk_list, disks in {
        "*": ALL,
        "0c.00.*": ALL,
        "0c.00.1": ["0c.00.1"],
        "0c.00.3 0c.00.0": ["0c.00.0", "0c.00.3"],
        "0c.00.[12]": ["0c.00.1", "0c.00.2"],
        "*.? 0c.00.1": ALL,
        "0c.00.2 0c.00.2": ["0c.00.2"],
    }.items():
        rows = [row(disk, "0x0", "No") for disk in disks]
        assert house.good(f"disk encrypt show {disk_list}") == HEADER + "".join(rows), disk_list


def test_show_passes_over_destroyed_disks_unless_they_are_named(house: House) -> None:
    house.filer.shelf["0c.00.3"].destroy()
    destroyed = row("0c.00.3", "(destroyed)", "Yes")
    assert house.execute("disk encrypt show 0c.00.[23]") == (
        0,
        HEADER + row("0c.00.2", "0x0", "No"),
        "0c.00.3: is destroyed; skipped\n",
    )
    assert house.good("disk encrypt show 0c.00.3") == HEADER + destroyed
    assert house.good("disk encrypt show").endswith(destroyed)


def test_a_name_that_fits_no_disk_is_refused(house: House) -> None:
    for command in ("show", "lock", "rekey 0x0"):
        for name in ("0c.00.4", "1c.*", "0C.00.0", "0c.00.00"):
            refused = house.bad(f"disk encrypt {command} 0c.00.1 {name}")
            assert refused == NO_DISK.format(name), command


def test_without_storage_encryption_it_is_refused(build: Build) -> None:
    house = build(1, storage_encryption=False)
    reason = "disk: Storage Encryption is not enabled on this system\n"
    for command in ("show", "show *", "lock *", "rekey 0x0 *"):
        assert house.bad(f"disk encrypt {command}") == reason, command


@pytest.mark.parametrize("command", ["lock", "rekey", "rekey 0x0"])
def test_lock_and_rekey_want_a_disk_list(command: str, house: House) -> None:
    said = house.bad(f"disk encrypt {command}")
    assert said.startswith("disk: incomplete; expected ")
    assert f"usage: disk encrypt {command.split(maxsplit=1)[0]} " in said


# lock


def test_lock_sets_locking(house: House) -> None:
    rekeyed(house)
    assert house.good("disk encrypt lock *") == completed("lock", 4)
    assert all(disk.locking for disk in house.filer.shelf)


def test_lock_works_on_the_disks_named(house: House) -> None:
    rekeyed(house)
    assert house.good("disk encrypt lock 0c.00.[01] 0c.00.3") == completed("lock", 3)
    assert [disk.locking for disk in house.filer.shelf] == [True, True, False, True]


def test_lock_of_a_locked_disk_succeeds_with_nothing_to_do(house: House) -> None:
    house.encrypt()
    lose_everywhere(house)
    house.execute("key_manager restore -all")
    assert house.good("disk encrypt lock *") == completed("lock", 4)


def test_lock_refuses_the_factory_key(house: House) -> None:
    house.add()
    house.good("key_manager rekey")
    house.good("disk encrypt rekey 0x0 0c.00.0 0c.00.1")
    assert house.execute("disk encrypt lock *") == (
        1,
        completed("lock", 4, failures=2),
        "0c.00.0: has key ID 0x0; rekey it before locking it\n"
        "0c.00.1: has key ID 0x0; rekey it before locking it\n",
    )
    assert [disk.locking for disk in house.filer.shelf] == [False, False, True, True]


def test_lock_refuses_a_key_that_is_on_no_key_server(house: House) -> None:
    key_id = rekeyed(house)
    lose_everywhere(house)
    assert house.execute("disk encrypt lock *") == (
        1,
        completed("lock", 4, failures=4),
        not_held(key_id),
    )
    assert not any(disk.locking for disk in house.filer.shelf)
    assert house.failures == [0, 0, 0, 0]


def test_lock_refuses_a_key_whose_key_servers_do_not_answer(house: House) -> None:
    key_id = rekeyed(house)
    house.stop_servers()
    assert house.execute("disk encrypt lock 0c.00.0") == (
        1,
        completed("lock", 1, failures=1),
        "WARNING: Key server 127.0.0.2 is not responding: connection refused.\n"
        "WARNING: Key server 127.0.0.3 is not responding: connection refused.\n"
        + not_held(key_id, "0c.00.0"),
    )


def test_lock_needs_the_key_on_one_key_server_only(house: House) -> None:
    rekeyed(house)
    lose(house.servers[0])
    assert house.good("disk encrypt lock *") == completed("lock", 4)


def test_lock_refuses_another_secret_under_the_same_key_id(house: House) -> None:
    key_id = rekeyed(house)
    for server in house.servers:
        lose(server)
        put(server, new_pair(key_id=key_id))
    assert house.execute("disk encrypt lock *") == (
        1,
        completed("lock", 4, failures=4),
        not_held(key_id),
    )


def test_lock_without_key_servers_is_refused(house: House) -> None:
    key_id = rekeyed(house)
    house.good("key_manager remove -key_server 127.0.0.2 -key_server 127.0.0.3")
    assert house.execute("disk encrypt lock 0c.00.0") == (
        1,
        completed("lock", 1, failures=1),
        not_held(key_id, "0c.00.0"),
    )


def test_lock_of_a_disk_whose_key_was_lost_is_an_unknown_key_failure(house: House) -> None:
    key_id = rekeyed(house)
    lose_everywhere(house)
    house.reboot()
    assert house.execute("disk encrypt lock *") == (
        1,
        completed("lock", 4, failures=4, unknown=4),
        "".join(f"{disk}: its key ID {key_id} is not in the keytable\n" for disk in ALL),
    )
    assert house.failures == [0, 0, 0, 0]


def test_a_destroyed_disk_by_name_is_a_failure(house: House) -> None:
    rekeyed(house)
    house.filer.shelf["0c.00.3"].destroy()
    for verb, words in (("lock", "lock"), ("rekey", "rekey 0x0")):
        assert house.execute(f"disk encrypt {words} 0c.00.2 0c.00.3") == (
            1,
            completed(verb, 2, failures=1),
            "0c.00.3: is destroyed\n",
        )
    assert house.execute("disk encrypt rekey 0x0 *") == (
        0,
        completed("rekey", 3),
        "0c.00.3: is destroyed; skipped\n",
    )


# rekey


def test_rekey_gives_the_disks_named_another_key(house: House) -> None:
    old = rekeyed(house)
    house.good("key_manager rekey")
    new = house.key_id()
    assert house.good(f"disk encrypt rekey {old} 0c.00.1 0c.00.2") == completed("rekey", 2)
    assert [disk.key_id for disk in house.filer.shelf] == [new, old, old, new]


def test_rekey_keeps_the_data(house: House) -> None:
    house.write("0c.00.3", "written before")
    rekeyed(house)
    house.good("disk encrypt rekey 0x0 *")
    assert house.read("0c.00.3") == "written before"


def test_rekey_to_the_factory_key_ends_locking(house: House) -> None:
    house.encrypt()
    assert house.good("disk encrypt rekey 0x0 *") == completed("rekey", 4)
    assert house.good("disk encrypt show") == (
        HEADER + "".join(row(disk, "0x0", "No") for disk in ALL)
    )
    house.stop_servers()
    house.reboot()
    assert not any(disk.locked for disk in house.filer.shelf)


def test_rekey_to_another_key_leaves_locking_as_it_is(house: House) -> None:
    old = house.encrypt()
    house.good("disk encrypt rekey 0x0 0c.00.3")
    house.good("key_manager rekey")
    assert old not in set(house.key_ids)
    assert [disk.locking for disk in house.filer.shelf] == [True, True, True, False]


def test_rekey_to_the_factory_key_needs_no_key_server(house: House) -> None:
    house.encrypt()
    house.stop_servers()
    assert house.good("disk encrypt rekey 0x0 *") == completed("rekey", 4)


def test_rekey_to_a_key_id_that_is_not_in_the_keytable_tries_nothing(house: House) -> None:
    key_id = house.encrypt()
    assert house.execute(f"disk encrypt rekey {UNKNOWN} *") == (
        1,
        completed("rekey", 4, failures=4, unknown=4),
        unknown(),
    )
    assert (set(house.key_ids), house.failures) == ({key_id}, [0, 0, 0, 0])


def test_rekey_of_a_disk_whose_key_is_not_in_the_keytable_tries_nothing(house: House) -> None:
    old = rekeyed(house)
    house.good("disk encrypt rekey 0x0 0c.00.0")
    lose_everywhere(house)
    house.reboot()
    pair = new_pair()
    put(house.servers[0], pair)
    house.execute("key_manager restore -key_server 127.0.0.2")
    assert house.execute(f"disk encrypt rekey {pair.key_id} *") == (
        1,
        completed("rekey", 4, failures=3, unknown=3),
        "".join(f"{disk}: its key ID {old} is not in the keytable\n" for disk in ALL[1:]),
    )
    assert (house.key_id("0c.00.0"), house.key_id("0c.00.1")) == (pair.key_id, old)
    assert house.failures == [0, 0, 0, 0]


def test_rekey_refuses_a_key_that_is_on_no_key_server(house: House) -> None:
    rekeyed(house)
    key_id = house.key_id()
    house.good("disk encrypt rekey 0x0 *")
    lose_everywhere(house)
    assert house.execute(f"disk encrypt rekey {key_id} *") == (
        1,
        completed("rekey", 4, failures=4),
        not_held(key_id),
    )
    assert set(house.key_ids) == {"0x0"}


def test_rekey_counts_a_wrong_key_as_an_authentication_failure(house: House) -> None:
    key_id = rekeyed(house)
    wrong = new_pair(key_id=key_id)
    for server in house.servers:
        lose(server)
        put(server, wrong)
    house.reboot()
    assert house.execute("disk encrypt rekey 0x0 *") == (
        1,
        completed("rekey", 4, failures=4, authentication=4),
        "".join(f"{disk}: authentication failed\n" for disk in ALL),
    )
    assert house.failures == [1, 1, 1, 1]


def test_rekey_refuses_what_is_no_key_id(house: House) -> None:
    reason = "disk: a key ID is 0x0 or 64 hexadecimal digits\n"
    for key_id in ("0x1", "0", "abc", "a" * 63, "A" * 63, "A" * 65, "G" * 64):
        assert house.bad(f"disk encrypt rekey {key_id} *") == reason, key_id


def test_rekey_takes_any_64_digits_for_a_key_id(house: House) -> None:
    house.add()
    pair = new_pair(key_id=UNKNOWN)
    put(house.servers[0], pair)
    house.good("key_manager restore -all")
    assert house.good(f"disk encrypt rekey {UNKNOWN} *") == completed("rekey", 4)
    assert set(house.key_ids) == {UNKNOWN}


# Power.


def test_a_locked_disk_is_locked_without_power_and_read_after_a_boot_with_keys(
    house: House,
) -> None:
    house.encrypt()
    house.write("0c.00.0", "payroll")
    label = house.filer.shelf["0c.00.0"].read_block(0)
    house.power_off()
    filer = house.machine.power_on()
    for disk in filer.shelf:
        assert disk.locked
        with pytest.raises(DiskLocked):
            disk.read_block(0)
    assert house.reboot() == ""
    assert house.read("0c.00.0") == "payroll"
    assert house.filer.shelf["0c.00.0"].read_block(0) == label
    parsed = Label.parse(label)
    assert parsed is not None
    assert parsed.aggregate == "aggr0"
    assert parsed.members == tuple(house.filer.shelf[name].serial for name in ALL[:3])


def test_a_disk_without_locking_is_read_without_any_key(house: House) -> None:
    rekeyed(house)
    house.write("0c.00.3", "public")
    for server in house.servers:
        lose(server)
        server.stop()
    house.reboot()
    assert house.read("0c.00.3") == "public"


def test_without_key_servers_at_boot_the_filer_panics_and_no_data_is_read(house: House) -> None:
    house.encrypt()
    house.write("0c.00.3", "payroll")
    house.stop_servers()
    with pytest.raises(Panic) as panic:
        house.reboot()
    assert str(panic.value) == (
        "PANIC: raid: root aggregate aggr0 cannot be brought online: 3 of 3 disks locked"
    )
    assert not house.filer.wafl_is_up
    assert house.in_keytable() == []
    for name in ALL:
        with pytest.raises(DiskLocked):
            house.read(name)
    house.start_servers()
    assert house.reboot() == ""
    assert house.read("0c.00.3") == "payroll"


def test_two_of_three_disks_of_the_root_aggregate_are_enough(house: House) -> None:
    rekeyed(house)
    house.good("disk encrypt lock 0c.00.0")
    house.stop_servers()
    assert "0c.00.0" in house.reboot()
    assert house.filer.wafl_is_up
    assert [disk.locked for disk in house.filer.shelf] == [True, False, False, False]


def test_a_disk_that_is_added_is_new(house: House) -> None:
    key_id = house.encrypt()
    toml = house.root / "filer.toml"
    toml.write_text(toml.read_text().replace("disks = 4", "disks = 5"))
    assert house.reboot() == ""
    assert house.good("disk encrypt show 0c.00.3 0c.00.4") == (
        HEADER + row("0c.00.3", key_id, "Yes") + row("0c.00.4", "0x0", "No")
    )
    assert pairs_on(house.servers[0])[0].key_id == key_id
