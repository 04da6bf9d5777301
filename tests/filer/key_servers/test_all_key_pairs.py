"""Key pairs belong to whoever may read them: changed system IDs, shared certificates, partners."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filer.boot.machine import Panic
from filer.key_servers.creation import SystemIdentity
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.key_id import LAST_SYSTEM_ID, is_reserved, new_key_id
from filer.keys.keytable import CREATION_LIMIT
from filer.keys.pair import KeyPair
from filer.shell.session import FAILED
from pytest_filer.child import PATIENCE
from tests.kit import faulty
from tests.kit.faulty import FaultyKeyServer
from tests.kit.house import House, Told
from tests.kit.pairs import put
from tests.kit.points import paired

OTHER = SystemIdentity(77, 0)
THROW_AWAY = SystemIdentity(LAST_SYSTEM_ID + 1, 0)
servers, house = faulty.servers(2), faulty.locked


def new_pair(identity: SystemIdentity) -> KeyPair:
    return identity.new_pair("theirs", AuthenticationKey(os.urandom(16).hex().encode()), os.urandom)


def store(house: House, identity: SystemIdentity, number: int = 1) -> list[KeyPair]:
    """Store new key pairs of a system on the key servers of ``house``."""
    pairs = [new_pair(identity) for _ in range(number)]
    for pair in pairs:
        assert not house.filer.key_servers().store(pair, identity.parent_tag).failures
    return pairs


def loaded(house: House) -> set[str]:
    return {entry.key_id for entry in house.filer.keytable}


@pytest.mark.parametrize("partner_id", [0, 1573922300, 4026531839])
def test_a_changed_partner_id_hides_no_key(
    partner_id: int, house: House, servers: list[FaultyKeyServer]
) -> None:
    (old,) = set(house.key_ids)
    house.set(port=servers[0].port, partner_id=partner_id)
    told = house.boot()
    assert told.warnings == []
    assert not any(disk.locked or disk.failures for disk in house.disks)
    shown = house.must("key_manager query").shown
    assert sum(old in line for line in shown) == 2
    house.must("key_manager restore -all")
    new = house.rekey()
    house.boot()
    assert house.key_ids == [new] * 4
    assert not any(disk.locked for disk in house.disks)


def test_a_changed_system_id_hides_no_key_and_costs_no_try(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    keys = loaded(house)
    house.set(port=servers[0].port, system_id=99)
    house.boot()
    assert loaded(house) == keys
    assert {disk.owner.system_id for disk in house.disks} == {99}
    assert [disk.failures for disk in house.disks] == [0] * 4


def test_two_systems_with_one_client_certificate_share_their_keys(
    house: House, servers: list[FaultyKeyServer], tmp_path: Path
) -> None:
    with faulty.locked_house(tmp_path / "other", servers, system_id=77, partner_id=0) as other:
        for each in house, other:
            each.must("key_manager restore -all")
            each.boot()
            assert loaded(each) == {*house.key_ids, *other.key_ids}
            assert not any(disk.locked or disk.failures for disk in each.disks)
        new = other.rekey()
        house.must("key_manager restore -all")
        assert new in loaded(house)


def test_the_keys_of_the_partner_are_loaded(house: House) -> None:
    partner = SystemIdentity(house.filer.identity.partner_id, house.filer.identity.system_id)
    alone = SystemIdentity(partner.system_id, 0)
    pairs = [*store(house, partner), *store(house, alone)]
    told = house.boot()
    assert told.warnings == []
    assert loaded(house) == {*house.key_ids, *(pair.key_id for pair in pairs)}


def test_the_limit_counts_key_ids_with_this_system_s_id(house: House) -> None:
    ours = house.filer.identity
    for server in house.servers:
        put(server, *(new_pair(OTHER) for _ in range(CREATION_LIMIT)))
    house.must("key_manager restore -all")
    # One is in use; a key ID counts whoever is the partner in it.
    for identity in ours, SystemIdentity(ours.system_id, 0), SystemIdentity(77, ours.system_id):
        pairs = [new_pair(identity) for _ in range(42)]
        house.filer.keytable.add(map(faulty.entry_of, pairs))
    house.must("key_manager rekey")
    refused = house.run("key_manager rekey")
    assert refused.failures == ["key_manager: the limit of 128 key pairs is reached"]


def test_no_msid_is_tried_while_a_server_has_an_object_of_that_name(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    compromised = 4
    for server in servers:
        server.change("UPDATE crypto_objects SET state = ?", compromised)
    told = Told()
    with pytest.raises(Panic):
        house.boot(told)
    assert [disk.failures for disk in house.disks] == [0] * 4
    assert told.warnings[-1].endswith("but cannot be read; no MSID was tried")


# Two addresses of one key server


class SecondAddress(FaultyKeyServer):
    """Another address of a key server: the same objects."""

    def __init__(self, first: FaultyKeyServer) -> None:
        super().__init__(first.directory, "127.0.0.4", first.port)
        self._first = first

    @property
    def store(self) -> Path:
        return self._first.store

    @contextmanager
    def _exclusive_store(self) -> Iterator[None]:
        self._opened = self.store.stat()
        yield


def refusing_a_known_name(server: FaultyKeyServer) -> faulty.Fault:
    """Refuse a second object of one name, as a server with unique names does."""
    before = len(faulty.stored_key_ids(server))

    def refuse(server: FaultyKeyServer, proceed: faulty.Proceed) -> object:
        wait_until(lambda: len(faulty.stored_key_ids(server)) > before)
        return faulty.refuses(server, proceed)

    return refuse


def wait_until(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.005)


class Twins(NamedTuple):
    """A filer that has registered both addresses of one key server, and another key server."""

    house: House
    first: FaultyKeyServer
    second: FaultyKeyServer
    other: FaultyKeyServer


@pytest.fixture(params=["names may be used twice", "names are unique"])
def twins(
    request: pytest.FixtureRequest, servers: list[FaultyKeyServer], tmp_path: Path
) -> Iterator[Twins]:
    first, other = servers
    with (
        SecondAddress(first) as second,
        House.build(tmp_path / "twins", [first, second, other]) as house,
    ):
        house.add(first, second, other)
        house.rekey()
        house.lock()
        if request.param == "names are unique":
            second.on("REGISTER", refusing_a_known_name(first), times=1)
        yield Twins(house, first, second, other)


def test_two_addresses_of_one_key_server_are_no_obstacle(twins: Twins) -> None:
    old, new = twins.house.key_ids[0], twins.house.rekey()
    told = twins.house.boot()
    assert told.warnings == []
    assert not any(disk.locked or disk.failures for disk in twins.house.disks)
    assert set(faulty.stored_key_ids(twins.first)) == {old, new}
    shown = twins.house.must("key_manager query").shown
    assert sum(line.endswith("reports 2 keys.") for line in shown) == 3
    assert twins.house.must("key_manager restore -all").warnings == []


def wait_for(server: FaultyKeyServer, *operations: str) -> faulty.Fault:
    """Do what is asked once ``server`` has been asked for one of ``operations``."""

    def wait(_server: FaultyKeyServer, proceed: faulty.Proceed) -> object:
        wait_until(lambda: not set(operations).isdisjoint(server.heard))
        return proceed()

    return wait


def first_destroys_last(twins: Twins) -> None:
    twins.first.on("REVOKE", wait_for(twins.second, "DESTROY"))
    # The first address must show its object before it is destroyed at the second.
    twins.second.on("DESTROY", wait_for(twins.first, "REVOKE", "DESTROY"))


def both_revoke_before_either_destroys(twins: Twins) -> None:
    twins.first.on("DESTROY", wait_for(twins.second, "REVOKE", "DESTROY"))
    twins.second.on("DESTROY", wait_for(twins.first, "REVOKE"))


@paired(
    ("order", [first_destroys_last, both_revoke_before_either_destroys]),
    ("knows_its_identifier", [True, False]),
)
def test_a_pair_is_taken_back_at_both_addresses(
    knows_its_identifier: bool, order: Callable[[Twins], None], twins: Twins
) -> None:
    old = twins.house.key_ids
    before = faulty.stored_key_ids(twins.first)
    if not knows_its_identifier:
        twins.house.wait_at_most(8.0)
        twins.second.on("REGISTER", faulty.silent_after, times=1)
    twins.other.on("REGISTER", faulty.refuses)
    twins.first.heard.clear()
    twins.second.heard.clear()
    order(twins)
    result = twins.house.run("key_manager rekey")
    assert result.status == FAILED
    assert not [line for line in result.failures if "may remain" in line]
    assert faulty.stored_key_ids(twins.first) == before
    twins.first.recover()
    twins.second.recover()
    assert twins.house.key_ids == old
    twins.house.boot()
    assert not any(disk.locked or disk.failures for disk in twins.house.disks)


# Throw-away pairs of filer-qualify: no filer reads them.


@given(st.integers(1, 2**32 - 1), st.integers(0, 2**32 - 1), st.binary(min_size=16, max_size=16))
def test_a_key_id_is_throw_away_if_one_of_its_systems_is(
    system: int, partner: int, random: bytes
) -> None:
    key_id = new_key_id(system, partner, lambda size: random)
    assert is_reserved(key_id) == (max(system, partner) > LAST_SYSTEM_ID)
    assert is_reserved(key_id.lower()) == is_reserved(key_id)


def test_a_filer_reads_no_throw_away_pair(house: House) -> None:
    keys = {entry.key_id for entry in house.filer.keytable}
    (pair,) = store(house, THROW_AWAY)

    house.must("key_manager restore -all")
    told = house.boot()

    assert told.warnings == []
    assert {entry.key_id for entry in house.filer.keytable} == keys
    assert not any(pair.key_id in line for line in house.must("key_manager query").shown)


def test_the_key_of_a_throw_away_pair_is_never_requested(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    store(house, THROW_AWAY, 3)
    for server in servers:
        server.heard.clear()

    client = house.filer.key_servers().servers[servers[0].address]
    read = client.fetch()

    assert [pair.key_id for pair in read] == [entry.key_id for entry in house.filer.keytable]
    assert servers[0].heard.count("GET_ATTRIBUTES") == len(read) + 3
    assert servers[0].heard.count("GET") == len(read)
    assert not client.unread
