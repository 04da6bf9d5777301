"""A new key pair: stored on every key server, read back, put into the keytable, used by disks."""

from pathlib import Path

import pytest

from filer.keys.key_id import MSID_KEY_ID
from filer.shell.session import FAILED, OK
from tests.kit import faulty
from tests.kit.faulty import Fault, FaultyKeyServer
from tests.kit.house import House, Screen
from tests.kit.points import paired, some

servers, house = faulty.servers(3), faulty.locked
MANUAL = "Correct-horse-battery-1"


class Before:
    """The state that a failed rekey must leave unchanged."""

    def __init__(self, house: House, servers: list[FaultyKeyServer]) -> None:
        self._house, self._servers = house, servers
        self._state = self._look()
        self._stored = [faulty.stored_key_ids(server) for server in servers]

    def _look(self) -> object:
        house = self._house
        return (
            house.key_ids,
            house.failures,
            [disk.path.read_bytes()[:16384] for disk in house.disks],
            [(entry.key_id, entry.candidates) for entry in house.filer.keytable],
            house.filer.registration,
            house.registered,
        )

    def check(self, *, left_on: tuple[FaultyKeyServer, ...] = ()) -> None:
        """Check that nothing changed, except the key pair left on some servers."""
        assert self._look() == self._state
        for server, stored in zip(self._servers, self._stored, strict=True):
            extra = 1 if server in left_on else 0
            assert len(faulty.stored_key_ids(server)) == len(stored) + extra, server.address


def named_as_left(result: Screen) -> list[str]:
    """Return the servers on which, according to the failures, a key pair may remain."""
    return [
        line.split(" may remain on key server ")[1].split(":")[0]
        for line in result.failures
        if "may remain" in line
    ]


def test_a_rekey_stores_on_all_reads_back_from_all_and_then_changes_the_disks(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    old = house.key_ids[0]
    seen: list[tuple[list[str], bool]] = []

    def look(server: FaultyKeyServer, proceed: faulty.Proceed) -> object:
        seen.append((house.key_ids, len(house.filer.keytable) == 1))
        return proceed()

    for server in servers:
        server.on("*", look)
    new = house.rekey()

    assert seen
    assert all(key_ids == [old] * 4 and before for key_ids, before in seen)
    assert house.key_ids == [new] * 4
    for server in servers:
        order = [name for name in server.heard if name in {"REGISTER", "ACTIVATE", "GET"}]
        assert order == ["GET", "REGISTER", "ACTIVATE", "GET"]
        assert new in faulty.stored_key_ids(server)
    faulty.check_that_no_key_is_lost(house)


@paired(
    ("bad", [0, 2]),
    (
        "operation, fault",
        [
            ("REGISTER", faulty.refuses),
            ("REGISTER", faulty.forgets),
            ("ACTIVATE", faulty.forgets),
            ("ACTIVATE", faulty.keeps_another_secret),
            ("ACTIVATE", faulty.hides_it),
        ],
    ),
)
def test_a_server_that_does_not_keep_the_pair_stops_the_rekey_and_nothing_changes(
    house: House, servers: list[FaultyKeyServer], operation: str, fault: Fault, bad: int
) -> None:
    before = Before(house, servers)
    servers[bad].on(operation, fault)

    result = house.run("key_manager rekey")

    assert result.status == FAILED
    assert servers[bad].address in result.failures[-1]
    assert "nothing was changed" in result.failures[-1]
    # An object that is hidden from us cannot be destroyed, one that is not found may appear later.
    unproven = fault in (faulty.hides_it, faulty.forgets)
    assert named_as_left(result) == ([servers[bad].address] if unproven else [])
    before.check(left_on=(servers[bad],) if fault is faulty.hides_it else ())


def test_a_pair_that_a_server_does_not_activate_is_used_pre_active(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    servers[1].on("ACTIVATE", faulty.refuses)
    new = house.rekey()
    assert house.key_ids == [new] * 4
    assert all(new in faulty.stored_key_ids(server) for server in servers)
    faulty.check_that_no_key_is_lost(house)


@pytest.mark.parametrize(
    ("operation", "fault"),
    [
        ("REGISTER", faulty.dies),
        ("REGISTER", faulty.dies_after),
        ("ACTIVATE", faulty.dies),
        ("ACTIVATE", faulty.dies_after),
    ],
)
def test_a_server_that_dies_while_storing_is_named_with_the_pair_it_may_have(
    house: House, servers: list[FaultyKeyServer], operation: str, fault: Fault
) -> None:
    before = Before(house, servers)
    servers[1].on(operation, fault)

    result = house.run("key_manager rekey")

    assert result.status == FAILED
    assert f"could not be stored on {servers[1].address}: " in result.failures[-1]
    assert named_as_left(result) == [servers[1].address]
    arrived = (operation, fault) != ("REGISTER", faulty.dies)
    before.check(left_on=(servers[1],) if arrived else ())


@pytest.mark.parametrize("operation", ["REGISTER", "ACTIVATE"])
def test_the_pair_is_taken_back_from_a_silent_server_that_answers_again(
    house: House, servers: list[FaultyKeyServer], operation: str
) -> None:
    before = Before(house, servers)
    house.wait_at_most(1.0)
    servers[0].on(operation, faulty.silent_after, times=1)

    result = house.run("key_manager rekey")

    assert result.status == FAILED
    assert result.failures == [
        f"key_manager: the new key pair could not be stored on {servers[0].address}: "
        "no answer in 1 s; nothing was changed"
    ]
    before.check()


@paired(("operation", ["REVOKE", "DESTROY"]), ("fault", [faulty.refuses, faulty.dies]))
def test_a_pair_that_cannot_be_taken_back_is_named(
    house: House, servers: list[FaultyKeyServer], operation: str, fault: Fault
) -> None:
    before = Before(house, servers)

    servers[0].on("ACTIVATE", faulty.then(faulty.obeys, operation, fault))
    servers[1].on("REGISTER", faulty.refuses)
    result = house.run("key_manager rekey")

    assert result.status == FAILED
    assert named_as_left(result) == [servers[0].address]
    before.check(left_on=(servers[0],))


def test_only_the_new_pair_is_ever_taken_back(house: House, servers: list[FaultyKeyServer]) -> None:
    in_use = house.key_ids[0]
    servers[1].on("REGISTER", faulty.refuses)
    assert house.run("key_manager rekey").status == FAILED
    assert all(faulty.stored_key_ids(server) == [in_use] for server in servers)
    house.boot()
    faulty.check_that_no_key_is_lost(house)


def test_every_server_failing_is_no_worse_than_one(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    before = Before(house, servers)
    for server in servers:
        server.on("REGISTER", faulty.dies_after)
    result = house.run("key_manager rekey")
    assert result.status == FAILED
    assert named_as_left(result) == [server.address for server in servers]
    before.check(left_on=tuple(servers))
    for server in servers:
        server.recover()
    house.boot()
    faulty.check_that_no_key_is_lost(house)


@pytest.mark.parametrize("answers", [(), (MANUAL,), (MANUAL, MANUAL + "x") * 3, ("short",) * 6])
def test_a_passphrase_that_never_comes_or_breaks_a_rule_changes_nothing(
    house: House, servers: list[FaultyKeyServer], answers: tuple[str, ...]
) -> None:
    before = Before(house, servers)
    result = house.run("key_manager rekey -manual", *answers)
    assert result.status == FAILED
    assert all(passphrase not in result.text for passphrase in answers)
    assert all("REGISTER" not in server.heard for server in servers)
    before.check()


def test_an_interrupt_before_the_pair_is_stored_changes_nothing(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    before = Before(house, servers)
    result = house.run(
        "key_manager rekey -manual",
        MANUAL,
        MANUAL,
        when={"reenter": house.filer.interrupt.request},
    )
    assert (result.status, result.failures) == (FAILED, ["key_manager: interrupted"])
    before.check()


def test_an_interrupt_while_the_pair_is_stored_waits_until_it_is_known_where_it_is(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    def interrupt(_server: FaultyKeyServer, proceed: faulty.Proceed) -> object:
        house.filer.interrupt.request()
        return proceed()

    old = house.key_ids
    servers[0].on("REGISTER", interrupt)
    result = house.run("key_manager rekey")
    assert result.status == FAILED
    assert result.failures == ["rekey: interrupted; 4 disks were not reached"]
    (new,) = {entry.key_id for entry in house.filer.keytable} - set(old)
    assert all(new in faulty.stored_key_ids(server) for server in servers)
    assert house.key_ids == old
    house.boot()
    faulty.check_that_no_key_is_lost(house)


def test_a_key_lost_by_all_servers_is_saved_by_a_rekey_from_the_keytable(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    for server in servers:
        faulty.lose(server, house.key_ids[0])
    house.rekey()
    house.boot()
    faulty.check_that_no_key_is_lost(house)


def test_a_disk_that_cannot_be_written_keeps_its_key_and_the_others_get_the_new_one(
    house: House,
) -> None:
    old = house.key_ids[0]
    stuck = house.disks[1]
    away = stuck.path.with_name("away")
    house.progress = faulty.pulled_during("rekey", stuck.path, away)
    result = house.run("key_manager rekey")
    assert result.status == FAILED
    away.rename(stuck.path)
    house.good("disk show")  # notices it
    (new,) = set(house.key_ids) - {old}
    assert house.key_ids == [new, old, new, new]
    told = house.boot()
    assert told.warnings == []
    assert house.key_ids == [new, old, new, new]
    faulty.check_that_no_key_is_lost(house)


def test_setup_that_cannot_store_the_pair_keeps_the_servers_and_touches_no_disk(
    servers: list[FaultyKeyServer], tmp_path: Path
) -> None:
    with House.build(tmp_path / "root", servers) as house:
        servers[1].on("REGISTER", faulty.refuses)
        addresses = [server.address for server in servers]
        result = house.run("key_manager setup", *addresses, "q", "", "", "", "", "yes")
        assert result.status == FAILED
        assert list(house.registered.servers) == addresses
        assert house.filer.registration == house.registered
        assert house.key_ids == [MSID_KEY_ID] * 4
        assert not any(disk.locking for disk in house.disks)
        assert all(faulty.stored_key_ids(server) == [] for server in servers)


def test_setup_locks_no_disk_to_a_key_that_was_lost_while_it_asked(
    servers: list[FaultyKeyServer], tmp_path: Path
) -> None:
    """The question may wait for hours, so the earlier read-back does not count."""
    with House.build(tmp_path / "root", servers) as house:
        addresses = [server.address for server in servers]

        def lose_it() -> None:
            for server in servers:
                (key_id,) = faulty.stored_key_ids(server)
                faulty.lose(server, key_id)

        result = house.run(
            "key_manager setup",
            *addresses,
            "q",
            "",
            "",
            "",
            "",
            "yes",
            when={"rekey and lock": lose_it},
        )
        assert result.status == FAILED
        house.boot()
        assert not any(disk.locked for disk in house.disks)
        faulty.check_that_no_key_is_lost(house)


def test_end_of_input_at_the_last_question_of_setup_touches_no_disk(
    servers: list[FaultyKeyServer], tmp_path: Path
) -> None:
    with House.build(tmp_path / "root", servers) as house:
        addresses = [server.address for server in servers]
        result = house.run("key_manager setup", *addresses, "q", "", "", "", "")
        assert result.status == FAILED
        assert result.failures == ["key_manager: end of input"]
        assert house.key_ids == [MSID_KEY_ID] * 4
        (key_id,) = {entry.key_id for entry in house.filer.keytable}
        assert all(faulty.stored_key_ids(server) == [key_id] for server in servers)


def test_a_rekey_after_any_failure_succeeds_once_the_servers_are_well(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    for fault in (faulty.refuses, faulty.dies_after, faulty.keeps_another_secret):
        servers[0].on("REGISTER", fault)
        assert house.run("key_manager rekey").status == FAILED
        servers[0].recover()
        for left in set(faulty.stored_key_ids(servers[0])) - set(house.key_ids):
            faulty.lose(servers[0], left)
    assert house.run("key_manager rekey").status == OK
    house.boot()
    faulty.check_that_no_key_is_lost(house)


@paired(("after", [False, True]), ("only", [True, False]))
def test_a_full_disk_in_the_middle_of_a_rekey_or_lock_loses_no_key(
    servers: list[FaultyKeyServer], tmp_path: Path, after: bool, only: bool
) -> None:
    storage = faulty.FailingStorage()
    with House.build(tmp_path / "root", servers, storage, disks=3) as house:
        house.add(servers[0])
        house.rekey()
        for first in some(range(1, 9 if only else 5), most=3):
            for line in ("disk encrypt lock *", "key_manager rekey"):
                storage.arm(first, after=after, only=only)
                result = house.run(line)
                assert storage.disarm()
                assert "internal error" not in result.text
                for disk in house.disks:
                    assert disk.key_id in house.filer.keytable
            told = house.boot()
            assert told.warnings == []
            faulty.check_that_no_key_is_lost(house)
            house.must(f"disk encrypt rekey {MSID_KEY_ID} *")
            house.must(f"disk encrypt rekey {faulty.stored_key_ids(servers[0])[0]} *")
        house.must("key_manager rekey")
        house.must("disk encrypt lock *")
        house.boot()
        faulty.check_that_no_key_is_lost(house)
