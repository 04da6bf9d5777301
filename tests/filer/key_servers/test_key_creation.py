"""A new key pair: stored on every key server, read back, put into the keytable, used by disks."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from filer.disks.disk import Disk
from filer.keys.key_id import MSID_KEY_ID
from filer.shell.session import FAILED, OK
from tests.kit import faulty
from tests.kit.faulty import Fault, FaultyKeyServer, House, Operator
from tests.kit.points import some

MANUAL = "Correct-horse-battery-1"


@pytest.fixture
def servers(authority: Path, tmp_path: Path) -> Iterator[list[FaultyKeyServer]]:
    with faulty.running(authority, tmp_path / "key servers", 3) as started:
        yield started


@pytest.fixture
def house(servers: list[FaultyKeyServer], tmp_path: Path) -> Iterator[House]:
    """A filer whose disks are locked, with three key servers."""
    with faulty.locked_house(tmp_path / "root", servers) as built:
        for server in servers:
            server.heard.clear()
        yield built


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
            [disk.failures for disk in house.disks],
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


def named_as_left(result: Operator) -> list[str]:
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


@pytest.mark.parametrize("bad", [0, 2])
@pytest.mark.parametrize(
    ("operation", "fault"),
    [
        ("REGISTER", faulty.refuses),
        ("ACTIVATE", faulty.refuses),
        ("REGISTER", faulty.forgets),
        ("ACTIVATE", faulty.forgets),
        ("ACTIVATE", faulty.keeps_another_secret),
        ("ACTIVATE", faulty.hides_it),
    ],
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
    # An object that is hidden from us cannot be destroyed, and is reported.
    left = (servers[bad],) if fault is faulty.hides_it else ()
    assert named_as_left(result) == [server.address for server in left]
    before.check(left_on=left)


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


def test_a_server_that_dies_between_register_and_read_back_stops_the_rekey(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    before = Before(house, servers)

    servers[2].on("ACTIVATE", faulty.then(faulty.obeys, "*", faulty.dies))
    result = house.run("key_manager rekey")

    assert result.status == FAILED
    assert f"could not be read back from {servers[2].address}: " in result.failures[-1]
    assert named_as_left(result) == [servers[2].address]
    before.check(left_on=(servers[2],))


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


def test_a_pair_on_a_server_that_stays_silent_is_named_with_its_key_id(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    before = Before(house, servers)
    house.wait_at_most(1.0)
    servers[0].on("REGISTER", faulty.then(faulty.silent_after, "*", faulty.silent))

    result = house.run("key_manager rekey")

    assert result.status == FAILED
    servers[0].recover()
    before.check(left_on=(servers[0],))
    (left,) = set(faulty.stored_key_ids(servers[0])) - set(house.key_ids)
    assert (
        f"key_manager: key ID {left} may remain on key server {servers[0].address}: "
        "no answer in 1 s"
    ) in result.failures


@pytest.mark.parametrize("operation", ["REVOKE", "DESTROY"])
@pytest.mark.parametrize("fault", [faulty.refuses, faulty.dies])
def test_a_pair_that_cannot_be_taken_back_is_named(
    house: House, servers: list[FaultyKeyServer], operation: str, fault: Fault
) -> None:
    before = Before(house, servers)

    servers[0].on("ACTIVATE", faulty.then(faulty.obeys, operation, fault))
    servers[1].on("ACTIVATE", faulty.refuses)
    result = house.run("key_manager rekey")

    assert result.status == FAILED
    assert named_as_left(result) == [servers[0].address]
    before.check(left_on=(servers[0],))


def test_a_server_that_only_says_that_it_destroyed_the_pair_is_named(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    before = Before(house, servers)

    servers[0].on("DESTROY", faulty.keeps_a_copy)
    servers[1].on("REGISTER", faulty.refuses)
    result = house.run("key_manager rekey")

    assert result.status == FAILED
    assert named_as_left(result) == [servers[0].address]
    assert any(line.endswith("it is still there") for line in result.failures)
    before.check(left_on=(servers[0],))


def test_only_the_new_pair_is_ever_taken_back(house: House, servers: list[FaultyKeyServer]) -> None:
    in_use = house.key_ids[0]
    servers[1].on("ACTIVATE", faulty.refuses)
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


def test_with_one_server_down_no_pair_is_made_anywhere(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    before = Before(house, servers)
    servers[2].stop()
    result = house.run("key_manager rekey")
    assert result.status == FAILED
    assert result.failures == [
        f"key_manager: key server {servers[2].address} is not responding: connection refused; "
        "no key pair was created"
    ]
    assert all("REGISTER" not in server.heard for server in servers)
    before.check()


def test_without_key_servers_no_pair_is_made(tmp_path: Path) -> None:
    with House.build(tmp_path / "root") as house:
        result = house.run("key_manager rekey -manual", MANUAL, MANUAL)
        assert (result.status, result.failures) == (FAILED, ["No key servers are registered."])
        assert result.questions == []
        assert house.key_ids == [MSID_KEY_ID] * 4


def test_what_can_be_refused_is_refused_before_a_passphrase_is_asked_for(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    servers[0].stop()
    result = house.run("key_manager rekey -manual", MANUAL, MANUAL)
    assert result.status == FAILED
    assert result.questions == []


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


def test_a_server_that_dies_while_the_passphrase_is_typed_changes_nothing(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    before = Before(house, servers)
    result = house.run(
        "key_manager rekey -manual", MANUAL, MANUAL, when={"reenter": servers[1].stop}
    )
    assert result.status == FAILED
    assert servers[1].address in result.failures[-1]
    before.check()


def test_a_manual_passphrase_is_the_key_itself(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    house.must("key_manager rekey -manual", MANUAL, MANUAL)
    (key_id,) = set(house.key_ids)
    assert house.secret(key_id).reveal() == MANUAL.encode()
    assert all(house.holdings().by_server[each.address] for each in servers)
    faulty.check_that_no_key_is_lost(house)


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


def test_a_disk_whose_key_is_unknown_is_left_as_it_is_and_not_tried(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    old = house.key_ids[0]
    for server in servers:
        faulty.lose(server, old)
    house.filer.keytable.clear()
    result = house.run("key_manager rekey")
    assert result.status == FAILED
    assert result.shown[-1] == (
        "Completed rekey on 4 disks: 0 successes, 4 failures, including 4 unknown key and "
        "0 authentication failures."
    )
    assert house.key_ids == [old] * 4
    assert [disk.failures for disk in house.disks] == [0] * 4


def test_a_key_lost_by_all_servers_is_saved_by_a_rekey_from_the_keytable(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    for server in servers:
        faulty.lose(server, house.key_ids[0])
    house.rekey()
    house.boot()
    faulty.check_that_no_key_is_lost(house)


def test_a_disk_that_cannot_be_written_keeps_its_key_and_the_others_get_the_new_one(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    old = house.key_ids[0]
    stuck = house.disks[1]
    away = stuck.path.rename(stuck.path.with_name("away"))
    result = house.run("key_manager rekey")
    assert result.status == FAILED
    away.rename(stuck.path)
    (new,) = set(house.key_ids) - {old}
    assert house.key_ids == [new, old, new, new]
    told = house.boot()
    assert told.warnings == []
    assert house.key_ids == [new, old, new, new]
    faulty.check_that_no_key_is_lost(house)


def test_two_secrets_under_one_key_id_stop_a_rekey(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    before = Before(house, servers)
    faulty.lie_about(servers[1], house.key_ids[0], b"Another-secret-1")
    result = house.run("key_manager rekey")
    assert result.status == FAILED
    assert house.key_ids[0] in result.failures[0]
    assert "no key pair was created" in result.failures[0]
    assert all("REGISTER" not in server.heard for server in servers)
    before.check()


def test_more_than_128_key_pairs_are_not_created(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    from filer.key_servers.creation import SystemIdentity
    from filer.keys.keytable import CREATION_LIMIT
    from filer.keys.passphrase import generate

    identity: SystemIdentity = house.filer.identity
    for _ in range(CREATION_LIMIT - 2):
        pair = identity.new_pair("tag", generate(os.urandom), os.urandom)
        house.filer.keytable.add([faulty.entry_of(pair)])
    house.rekey()
    before = Before(house, servers)
    result = house.run("key_manager rekey")
    assert result.status == FAILED
    assert result.failures == ["key_manager: the limit of 128 key pairs is reached"]
    before.check()


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


def test_setup_locks_only_what_it_has_rekeyed(
    servers: list[FaultyKeyServer], tmp_path: Path
) -> None:
    with House.build(tmp_path / "root", servers) as house:
        stuck: Disk = house.disks[3]
        addresses = [server.address for server in servers]

        def pull() -> None:
            stuck.path.rename(tmp_path / "pulled")

        result = house.run(
            "key_manager setup",
            *addresses,
            "q",
            "",
            "",
            "",
            "",
            "yes",
            when={"rekey and lock": pull},
        )
        assert result.status == FAILED
        (tmp_path / "pulled").rename(stuck.path)
        house.boot()
        assert [disk.locking for disk in house.disks] == [True, True, True, False]
        assert house.key_ids[3] == MSID_KEY_ID
        faulty.check_that_no_key_is_lost(house)


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
        servers[0].on("ACTIVATE", fault)
        assert house.run("key_manager rekey").status == FAILED
        servers[0].recover()
        for left in set(faulty.stored_key_ids(servers[0])) - set(house.key_ids):
            faulty.lose(servers[0], left)
    assert house.run("key_manager rekey").status == OK
    house.boot()
    faulty.check_that_no_key_is_lost(house)


@pytest.mark.sampled
@pytest.mark.parametrize("after", [False, True], ids=["not written", "written, not synced"])
@pytest.mark.parametrize("only", [True, False], ids=["once", "for good"])
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
