"""Key servers with wrong secrets: a boot, or a command, costs a disk at most one attempt."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from filer.boot.machine import Panic
from filer.disks.disk import AlreadyRefused, AuthenticationFailed, Disk, DiskError
from filer.disks.record import MOST_TAGS
from filer.host.durable import Storage, StorageError
from filer.key_servers.ranking import KEPT_OF_ONE_SERVER
from filer.keys.authentication_key import MSID, AuthenticationKey
from filer.keys.pair import KeyPair
from filer.shell.plugins import commands_at_loader
from filer.shell.session import FAILED, OK
from tests.kit import disk_files, faulty, pki, points
from tests.kit.disk_files import KEY, KEY_ID, NEW_KEY, NEW_KEY_ID, head_of, on
from tests.kit.faulty import FaultyKeyServer
from tests.kit.house import House, Screen, Told
from tests.kit.medium import Event, Killed, Medium
from tests.kit.pairs import pairs_on, put

keyed, locking = disk_files.keyed, disk_files.locking
servers = faulty.servers(3)
DISKS = 4
MANY = 1040 if points.ALL else 60
"""Secrets on one server; a boot needs a minute to read 1,040 of them."""


def wrong_key(number: int) -> AuthenticationKey:
    return AuthenticationKey(b"Wrong-secret-under-this-name-%03d" % number)


def locked_house(
    root: Path, servers: Sequence[FaultyKeyServer], storage: Storage | None = None
) -> House:
    return faulty.locked_house(root, servers, storage, disks=DISKS, timeout=60.0)


@pytest.fixture
def pair_house(servers: list[FaultyKeyServer], tmp_path: Path) -> Iterator[House]:
    """A filer with locked disks and two key servers."""
    with locked_house(tmp_path / "root", servers[:2]) as built:
        yield built


def boot(house: House) -> tuple[list[int], int, Told]:
    """Boot; return the attempts per disk, the number of locked disks, and the messages."""
    house.power_cycle()
    before = house.failures
    told = Told()
    with suppress(Panic):
        house.boot_now(told)
    after = house.failures
    cost = [now - then for then, now in zip(before, after, strict=True)]
    assert all(each <= 1 for each in cost)
    return cost, sum(disk.locked for disk in house.disks), told


def tags(house: House) -> list[int]:
    return [len(head_of(disk.path).tags) for disk in house.disks]


# boots


@pytest.mark.parametrize("wrong", [0, 1])
def test_one_wrong_server_of_two_locks_at_most_one_disk_for_one_boot(
    pair_house: House, servers: list[FaultyKeyServer], wrong: int
) -> None:
    key_id = pair_house.key_ids[0]
    faulty.replace_secret(servers[wrong], key_id, wrong_key(1).reveal())
    cost, locked, told = boot(pair_house)
    assert (sum(cost), locked) == ((1, 1) if wrong == 0 else (0, 0))
    assert pair_house.filer.wafl_is_up
    assert told.warnings[-1] == (
        f"key server {servers[wrong].address} holds another key for key ID {key_id} than the one "
        "that opens its disks"
    )
    for _ in range(2):
        _cost, locked, told = boot(pair_house)
        assert locked == 0
        assert pair_house.failures == [0] * DISKS
        assert any(servers[wrong].address in line for line in told.warnings)


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_one_wrong_server_of_three_locks_no_disk(
    servers: list[FaultyKeyServer], tmp_path: Path, wrong: int
) -> None:
    with locked_house(tmp_path / "root", servers) as house:
        faulty.replace_secret(servers[wrong], house.key_ids[0], wrong_key(1).reveal())
        cost, locked, told = boot(house)
        assert (cost, locked) == ([0] * DISKS, 0)
        assert servers[wrong].address in told.warnings[-1]
        assert len(told.warnings) == 1


def test_three_servers_that_all_differ_lock_two_disks_at_most(
    servers: list[FaultyKeyServer], tmp_path: Path
) -> None:
    with locked_house(tmp_path / "root", servers) as house:
        for number in (0, 1):
            faulty.replace_secret(servers[number], house.key_ids[0], wrong_key(number).reveal())
        cost, locked, _told = boot(house)
        assert (sum(cost), locked) == (2, 2)
        while locked:
            _cost, locked, _told = boot(house)
        assert house.failures == [0] * DISKS


def test_on_a_tie_the_server_registered_first_counts_not_the_fastest(
    pair_house: House, servers: list[FaultyKeyServer]
) -> None:
    faulty.replace_secret(servers[1], pair_house.key_ids[0], wrong_key(1).reveal())
    pair_house.set(port=servers[0].port, disks=DISKS, timeout=20.0, init_maxwait=600.0)
    servers[0].on("LOCATE", faulty.refuses, times=1)  # it is asked again, and answers last
    cost, locked, _told = boot(pair_house)
    assert (cost, locked) == ([0] * DISKS, 0)


def hold_many(server: FaultyKeyServer, key_id: str, secrets: int, first: int = 0) -> None:
    """Let a server hold only wrong secrets under ``key_id``."""
    faulty.lose(server, key_id)
    put(
        server,
        *(KeyPair(key_id, "x", wrong_key(number)) for number in range(first, first + secrets)),
    )


def test_a_thousand_wrong_secrets_on_one_server_cost_nothing_beside_a_correct_one(
    pair_house: House, servers: list[FaultyKeyServer]
) -> None:
    key_id = pair_house.key_ids[0]
    hold_many(servers[0], key_id, MANY)
    cost, locked, told = boot(pair_house)
    assert (cost, locked) == ([0] * DISKS, 0)
    assert told.warnings == [
        f"key server 127.0.0.2 holds {MANY} keys for key ID {key_id}; only 16 of them are kept",
        f"key server 127.0.0.2 holds another key for key ID {key_id} than the one that opens its "
        "disks",
    ]
    entry = pair_house.filer.keytable.get(key_id)
    assert entry is not None
    assert len(entry.candidates) == KEPT_OF_ONE_SERVER + 1
    stretched = pair_house.filer.derivation._known
    assert sum(map(len, stretched.values())) == 1  # one scrypt


def hold_last(server: FaultyKeyServer, pair: KeyPair, wrong: int) -> None:
    """Let a server show ``pair`` after so many ``wrong`` secrets under its key ID."""
    hold_many(server, pair.key_id, wrong)
    put(server, pair)
    server.change("UPDATE managed_objects SET initial_date = 1")  # it shows new objects first


@pytest.mark.parametrize("wrong", [KEPT_OF_ONE_SERVER - 1, KEPT_OF_ONE_SERVER])
def test_a_server_counts_as_a_way_to_a_key_only_if_a_boot_loads_it(
    pair_house: House, servers: list[FaultyKeyServer], wrong: int
) -> None:
    key_id = pair_house.key_ids[0]
    hold_last(servers[1], KeyPair(key_id, "x", pair_house.secret(key_id)), wrong)
    asked = pair_house.run(f"key_manager remove -key_server {servers[0].address}")
    assert asked.warnings == ([] if wrong < KEPT_OF_ONE_SERVER else [out_of_reach(key_id)])
    assert len(asked.questions) == len(asked.warnings)


@pytest.mark.parametrize("wrong", [KEPT_OF_ONE_SERVER - 1, KEPT_OF_ONE_SERVER])
def test_no_disk_is_locked_to_a_key_that_a_boot_does_not_load(
    servers: list[FaultyKeyServer], tmp_path: Path, wrong: int
) -> None:
    with House.build(tmp_path / "root", servers[:1], disks=DISKS, timeout=60.0) as house:
        house.add(servers[0])
        key_id = house.rekey()
        hold_last(servers[0], KeyPair(key_id, "x", house.secret(key_id)), wrong)
        house.run("disk encrypt lock *")
        assert [disk.locking for disk in house.disks] == [wrong < KEPT_OF_ONE_SERVER] * DISKS


def test_a_thousand_wrong_secrets_alone_cost_one_try_a_boot(
    pair_house: House, servers: list[FaultyKeyServer]
) -> None:
    key_id = pair_house.key_ids[0]
    hold_many(servers[0], key_id, MANY)
    servers[1].stop()
    for boots in (1, 2, 3):
        cost, locked, _told = boot(pair_house)
        assert (cost, locked) == ([1] * DISKS, DISKS)
        assert tags(pair_house) == [boots] * DISKS
    servers[1].start()
    _cost, locked, _told = boot(pair_house)
    assert locked == 0
    assert pair_house.failures == [0] * DISKS


def test_secrets_that_were_all_refused_cost_nothing_more(
    pair_house: House, servers: list[FaultyKeyServer]
) -> None:
    key_id = pair_house.key_ids[0]
    hold_many(servers[0], key_id, 2)
    servers[1].stop()
    assert [boot(pair_house)[0] for _ in range(4)] == [
        [1] * DISKS,
        [1] * DISKS,
        [0] * DISKS,
        [0] * DISKS,
    ]
    _cost, _locked, told = boot(pair_house)
    assert told.warnings[-2:] == [
        f"0c.00.0, 0c.00.1, 0c.00.2, 0c.00.3 stay locked: every key that key servers hold for key "
        f"ID {key_id} was refused before; none was tried",
        f"key server 127.0.0.2 holds different keys for key ID {key_id}",
    ]
    assert pair_house.failures == [2] * DISKS


def test_a_single_wrong_secret_is_named_with_its_server(
    pair_house: House, servers: list[FaultyKeyServer]
) -> None:
    key_id = pair_house.key_ids[0]
    faulty.replace_secret(servers[1], key_id, wrong_key(1).reveal())
    servers[0].stop()
    for expected in ([1] * DISKS, [0] * DISKS):
        cost, _locked, told = boot(pair_house)
        assert cost == expected
        assert told.warnings[-1] == (
            f"key server 127.0.0.3 holds a key for key ID {key_id} that does not open its disks"
        )


def test_a_disk_with_64_refused_keys_is_left_alone_by_a_boot_but_not_by_a_command(
    pair_house: House,
) -> None:
    key_id = pair_house.key_ids[0]
    disk = pair_house.disks[3]
    fill_tags(disk)
    cost, locked, told = boot(pair_house)
    assert (cost, locked) == ([0] * DISKS, 1)
    assert told.warnings == [
        f"0c.00.3 stay locked: too many keys were refused for key ID {key_id}; a boot tries no more"
    ]
    pair_house.must(f"disk encrypt rekey {key_id} 0c.00.3")
    cost, locked, told = boot(pair_house)
    assert (locked, told.warnings) == (0, [])


def test_kmip_setup_lets_keys_be_tried_again_that_disks_have_refused(
    pair_house: House, servers: list[FaultyKeyServer]
) -> None:
    for disk in pair_house.disks:
        fill_tags(disk)
    assert boot(pair_house)[:2] == ([0] * DISKS, DISKS)
    pair_house.power_cycle()
    done = pair_house.run(
        f"kmip_setup '{servers[0].directory}' 127.0.0.2", "", "", commands=commands_at_loader()
    )
    assert done.failures == []
    assert boot(pair_house)[:2] == ([0] * DISKS, 0)


@pytest.mark.parametrize("failing", range(1, DISKS + 1))
def test_kmip_setup_says_which_disks_still_remember_although_the_servers_are_registered(
    servers: list[FaultyKeyServer], tmp_path: Path, failing: int
) -> None:
    storage = faulty.FailingStorage()
    with locked_house(tmp_path / "root", servers[:1], storage) as house:
        for disk in house.disks:
            fill_tags(disk)
        storage.arm(1 << 30)
        set_up(house, servers[0])
        changes = storage.changes
        storage.disarm()
        assert tags(house) == [0] * DISKS
        for disk in house.disks:
            fill_tags(disk)
        remembers = DISKS - failing
        storage.arm(changes - remembers)
        done = set_up(house, servers[0])
        storage.disarm()
        assert "Registration complete." in done.shown
        assert done.failures == [
            f"kmip_setup: the key servers are registered, but 0c.00.{number} still remembers the "
            "keys that it has refused: cannot write FILE: No space left on device; run kmip_setup "
            "again"
            for number in range(failing - 1, DISKS)
        ]
        assert done.status == FAILED
        assert house.registered.servers == ("127.0.0.2",)
        assert tags(house) == [0] * (failing - 1) + [MOST_TAGS] * (remembers + 1)
        assert set_up(house, servers[0]).status == OK
        assert tags(house) == [0] * DISKS


def set_up(house: House, server: FaultyKeyServer) -> Screen:
    """Register only ``server`` at the boot loader; confirm if asked about lost keys."""
    return house.run(
        f"kmip_setup '{server.directory}' {server.address}", "", "", commands=commands_at_loader()
    )


def test_a_key_that_all_its_disks_have_refused_is_not_missed(
    pair_house: House, servers: list[FaultyKeyServer]
) -> None:
    wrong, honest = servers[:2]
    faulty.replace_secret(wrong, pair_house.key_ids[0], wrong_key(1).reveal())
    honest.stop()
    assert boot(pair_house)[:2] == ([1] * DISKS, DISKS)
    honest.start()
    done = set_up(pair_house, honest)
    assert (done.warnings, done.failures) == ([], [])
    assert boot(pair_house)[1] == 0


def test_a_key_that_all_its_disks_have_refused_is_no_way_to_open_them(
    pair_house: House, servers: list[FaultyKeyServer]
) -> None:
    wrong, honest = servers[:2]
    key_id = pair_house.key_ids[0]
    faulty.replace_secret(wrong, key_id, wrong_key(1).reveal())
    honest.stop()
    boot(pair_house)
    honest.start()
    registered = pair_house.registered
    for keys in ("those of the boot", "none"):
        if keys == "none":
            pair_house.filer.keytable.clear()
        done = set_up(pair_house, wrong)
        assert done.warnings == [out_of_reach(key_id)]
        assert pair_house.registered == registered


def test_kmip_setup_asks_if_the_new_client_is_shown_another_secret(
    pair_house: House, servers: list[FaultyKeyServer], tmp_path: Path
) -> None:
    """The disks have tried no key yet, but the registered client is shown the right one."""
    key_id = pair_house.key_ids[0]
    for secret in (wrong_key(1), pair_house.secret(key_id)):
        directory = tmp_path / ("right" if secret == pair_house.secret(key_id) else "wrong")
        other = pki.client(pki.authority_of(servers[0]), directory.name)
        pki.store_as(other, servers[0], KeyPair(key_id, "x", secret), directory)
        pair_house.power_cycle()
        line = f"kmip_setup '{directory}' {servers[0].address}"
        done = pair_house.run(line, "", "", commands=commands_at_loader())
        if directory.name == "wrong":
            assert (done.warnings, done.status) == ([out_of_reach(key_id)], FAILED)
            assert any("Register anyway?" in question for question in done.questions)
            pair_house.boot()
        else:
            assert (done.warnings, done.status) == ([], OK)
    assert boot(pair_house)[1] == 0


def test_a_wrong_key_server_is_removed_without_a_question(
    pair_house: House, servers: list[FaultyKeyServer]
) -> None:
    wrong, honest = servers[:2]
    key_id = pair_house.key_ids[0]
    faulty.replace_secret(wrong, key_id, wrong_key(1).reveal())
    assert boot(pair_house)[0] == [0, 0, 0, 1]  # the other disks have accepted the right key
    refused = pair_house.run(f"key_manager remove -key_server {honest.address}")
    assert refused.warnings == [out_of_reach(key_id)]
    done = pair_house.must(f"key_manager remove -key_server {wrong.address}")
    assert (done.warnings, done.questions) == ([], [])
    assert boot(pair_house)[1] == 0


def test_a_key_that_one_disk_has_not_tried_may_be_its_key(
    pair_house: House, servers: list[FaultyKeyServer]
) -> None:
    wrong, honest = servers[:2]
    key_id = pair_house.key_ids[0]
    faulty.replace_secret(wrong, key_id, wrong_key(1).reveal())
    fill_tags(pair_house.disks[3])
    boot(pair_house)
    for server in (wrong, honest):
        asked = pair_house.run(f"key_manager remove -key_server {server.address}")
        assert asked.warnings == [out_of_reach(key_id)]
    assert pair_house.registered.servers == (wrong.address, honest.address)


def out_of_reach(key_id: str) -> str:
    return (
        f"WARNING: key ID {key_id} of {DISKS} locked disks would be on no registered key server "
        "that answers."
    )


def test_a_spare_tries_a_wrong_key_before_the_root_aggregate_does(
    pair_house: House, servers: list[FaultyKeyServer]
) -> None:
    for number in range(3):
        faulty.replace_secret(servers[0], pair_house.key_ids[0], wrong_key(number).reveal())
        assert boot(pair_house)[:2] == ([0, 0, 0, 1], 1)
        assert pair_house.filer.wafl_is_up


def fill_tags(disk: Disk) -> None:
    record = tuple(bytes([number]) * 12 for number in range(1, MOST_TAGS + 1))
    disk._powered.write_record(tags=record)
    assert disk.refused_keys_full


def test_in_a_boot_that_tried_a_secret_no_msid_is_tried(
    pair_house: House, servers: list[FaultyKeyServer]
) -> None:
    key_id = pair_house.key_ids[0]
    for server in servers[:2]:
        faulty.replace_secret(server, key_id, wrong_key(1).reveal())
    assert boot(pair_house)[0] == [1] * DISKS
    assert boot(pair_house)[0] == [0] * DISKS  # refused before: no key is tried, not even the MSID
    for server in servers[:2]:
        faulty.lose(server, key_id)
    assert boot(pair_house)[0] == [1] * DISKS  # not in the keytable: the MSID, without a tag
    assert tags(pair_house) == [1] * DISKS


# commands


@pytest.mark.parametrize("command", ["disk encrypt lock *", "disk encrypt rekey 0x0 *"])
def test_a_command_costs_a_disk_one_try_and_the_others_learn(
    servers: list[FaultyKeyServer], tmp_path: Path, command: str
) -> None:
    with House.build(tmp_path / "root", servers[:2], disks=DISKS) as house:
        house.add(*servers[:2])
        house.rekey()
        faulty.replace_secret(servers[0], house.key_ids[0], wrong_key(1).reveal())
        assert boot(house)[1] == 0  # no locking: no key was tried
        done = house.run(command)
        assert done.failures == ["0c.00.0: authentication failed"]
        assert house.failures == [1, 0, 0, 0]
        house.must(command)
        assert house.failures == [0] * DISKS


def test_a_disk_that_is_open_is_rekeyed_with_the_key_that_opened_it(
    pair_house: House, servers: list[FaultyKeyServer]
) -> None:
    faulty.replace_secret(servers[0], pair_house.key_ids[0], wrong_key(1).reveal())
    pair_house.must("key_manager restore -all")
    pair_house.must("disk encrypt rekey 0x0 *")
    assert pair_house.failures == [0] * DISKS


def test_a_command_tries_no_key_that_was_refused_before(
    servers: list[FaultyKeyServer], tmp_path: Path
) -> None:
    with House.build(tmp_path / "root", servers[:1], disks=DISKS) as house:
        house.add(servers[0])
        key_id = house.rekey()
        faulty.replace_secret(servers[0], key_id, wrong_key(1).reveal())
        boot(house)
        for failures in (1, 1, 1):
            done = house.run("disk encrypt rekey 0x0 0c.00.1")
            assert "1 authentication failures" in done.text
            assert house.disks[1].failures == failures
        assert done.failures == [f"0c.00.1: every key known for key ID {key_id} was refused before"]


@pytest.mark.parametrize("command", ["disk encrypt rekey 0x0", "disk encrypt lock"])
def test_a_command_never_tries_the_same_wrong_key_twice_in_a_row(
    servers: list[FaultyKeyServer], tmp_path: Path, command: str
) -> None:
    with House.build(tmp_path / "root", servers[:1], disks=DISKS) as house:
        house.add(servers[0])
        key_id = house.rekey()
        (pair,) = pairs_on(servers[0])
        fill_tags(house.disks[3])
        for number in (1, 2):
            faulty.replace_secret(servers[0], key_id, wrong_key(number).reveal())
            boot(house)
            for _ in range(3):
                assert house.run(f"{command} 0c.00.3").failures
            assert house.disks[3].failures == number
            assert tags(house)[3] == MOST_TAGS
        faulty.replace_secret(servers[0], key_id, pair.key.reveal())
        boot(house)
        house.must(f"{command} 0c.00.3")
        assert house.disks[3].failures == 0


# the tags that a disk remembers


def test_a_refused_key_is_not_tried_again(locking: Disk) -> None:
    disk = on(locking)
    with pytest.raises(AuthenticationFailed):
        disk.authenticate(wrong_key(1))
    for again in (disk, on(locking)):
        assert again.has_refused(wrong_key(1))
        assert not again.has_refused(wrong_key(2))
        refused = pytest.raises(AlreadyRefused, match=r"^0c\.00\.3: has refused this key before")
        with refused:
            again.authenticate(wrong_key(1))
        with refused:
            again.rekey(wrong_key(1), NEW_KEY_ID, NEW_KEY)
        assert again.failures == 1
    disk.authenticate(KEY)
    assert (disk.failures, disk.has_refused(wrong_key(1))) == (0, True)


def test_the_msid_leaves_no_tag(locking: Disk) -> None:
    for failures in (1, 2):
        with pytest.raises(AuthenticationFailed):
            locking.authenticate(MSID)
        assert (locking.failures, head_of(locking.path).tags) == (failures, ())


def test_a_rekey_to_a_key_that_was_once_refused(locking: Disk) -> None:
    with pytest.raises(AuthenticationFailed):
        locking.authenticate(NEW_KEY)
    locking.rekey(KEY, KEY_ID, NEW_KEY)
    disk = on(locking)
    assert (disk.failures, head_of(disk.path).tags) == (0, ())
    disk.authenticate(NEW_KEY)
    with pytest.raises(AuthenticationFailed):
        disk.authenticate(KEY)
    assert (disk.has_refused(KEY), disk.has_refused(NEW_KEY)) == (True, False)


def test_every_commit_voids_the_tags_even_with_the_same_key(keyed: Disk) -> None:
    changes: list[Callable[[Disk], None]] = [
        lambda disk: disk.rekey(KEY, KEY_ID, KEY),
        lambda disk: disk.lock(KEY),
        Disk.sanitize,
    ]
    for change in changes:
        with pytest.raises(AuthenticationFailed):
            keyed.authenticate(wrong_key(1))
        assert keyed.has_refused(wrong_key(1))
        change(keyed)
        assert not keyed.has_refused(wrong_key(1))
        assert head_of(keyed.path).record.tags == ()


def test_a_tag_is_bound_to_its_disk_and_wrap(tmp_path: Path, locking: Disk) -> None:
    with pytest.raises(AuthenticationFailed):
        locking.authenticate(wrong_key(1))
    twin = Disk.create("x", tmp_path / "x", Storage(), locking._derivation, size=1 << 16)
    twin.power_on()
    twin.rekey(MSID, KEY_ID, KEY)
    with pytest.raises(AuthenticationFailed):
        twin.authenticate(wrong_key(1))
    first, second = (head_of(disk.path).tags for disk in (locking, twin))
    assert set(first).isdisjoint(second)


def test_a_disk_remembers_the_last_64_keys_that_it_has_refused(locking: Disk) -> None:
    fill_tags(locking)
    before = head_of(locking.path).tags
    for number in (1, 2):
        with pytest.raises(AuthenticationFailed):
            locking.authenticate(wrong_key(number))
        assert head_of(locking.path).tags[:-number] == before[number:]
        for again in (locking, on(locking)):
            with pytest.raises(AlreadyRefused):
                again.authenticate(wrong_key(number))
        assert (len(head_of(locking.path).tags), locking.failures) == (MOST_TAGS, number)
    on(locking).authenticate(KEY)


@pytest.mark.parametrize("event", Event, ids=lambda each: each.name)
@pytest.mark.parametrize("at", [1, 2])
def test_killed_between_count_refusal_and_tag(locking: Disk, at: int, event: Event) -> None:
    """Change 1 counts the failure, change 2 records the tag."""
    medium = Medium(locking.path)
    disk = on(locking, medium)
    medium.arm(at, event)
    with suppress(Killed, StorageError, DiskError):
        disk.authenticate(wrong_key(1))
    for content in medium.after_power_loss():
        locking.path.write_bytes(content)
        again = on(locking)
        counted = again.failures
        assert counted in ({0, 1} if at == 1 else {1})
        if again.has_refused(wrong_key(1)):
            assert counted == 1
        else:
            with pytest.raises(AuthenticationFailed):
                again.authenticate(wrong_key(1))
            assert again.failures == counted + 1
        again.authenticate(KEY)
        assert again.failures == 0


@pytest.mark.parametrize("moment", ["before", "torn 1", "torn 2", "after"])
@pytest.mark.parametrize("at", [1, 2])
def test_a_crash_while_a_disk_refuses_its_key(locking: Disk, at: int, moment: str) -> None:
    storage = faulty.CrashingStorage(faulty.lose_power)
    disk = on(locking, storage)
    storage.arm(at, moment)
    with pytest.raises(faulty.PowerLoss):
        disk.authenticate(wrong_key(1))
    disk = on(locking)
    assert disk.warnings == []
    # Half a block holds the whole count, and the tag.
    assert disk.failures == (0 if at == 1 and moment in {"before", "torn 2"} else 1)
    assert disk.has_refused(wrong_key(1)) == (at == 2 and moment in {"torn 1", "after"})
    disk.authenticate(KEY)
    assert disk.failures == 0


def test_no_tag_is_written_before_the_refusal(locking: Disk) -> None:
    medium = Medium(locking.path)
    disk = on(locking, medium)
    medium.arm(2, Event.KILLED_BEFORE)
    with pytest.raises(Killed):
        disk.authenticate(wrong_key(1))
    assert (head_of(locking.path).failures, head_of(locking.path).tags) == (1, ())
    disk = on(locking, medium)
    disk.authenticate(KEY)
    assert head_of(locking.path).tags == ()
