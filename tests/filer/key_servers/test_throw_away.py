"""Throw-away pairs of filer-qualify: no filer reads them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filer.key_servers.creation import SystemIdentity
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.key_id import LAST_SYSTEM_ID, is_reserved, new_key_id
from tests.kit import faulty
from tests.kit.faulty import FaultyKeyServer
from tests.kit.house import House

FIRST = LAST_SYSTEM_ID + 1
SECRET = AuthenticationKey(b"Secret-of-a-throw-away-pair-1")


@pytest.fixture
def servers(authority: Path, tmp_path: Path) -> Iterator[list[FaultyKeyServer]]:
    with faulty.running(authority, tmp_path / "key servers", 2) as started:
        yield started


@pytest.fixture
def house(servers: list[FaultyKeyServer], tmp_path: Path) -> Iterator[House]:
    with faulty.locked_house(tmp_path / "root", servers) as built:
        yield built


@given(st.integers(1, 2**32 - 1), st.integers(0, 2**32 - 1), st.binary(min_size=16, max_size=16))
def test_a_key_id_is_throw_away_if_one_of_its_systems_is(
    system: int, partner: int, random: bytes
) -> None:
    key_id = new_key_id(system, partner, lambda size: random)
    assert is_reserved(key_id) == (system >= FIRST or partner >= FIRST)
    assert is_reserved(key_id.lower()) == is_reserved(key_id)


def test_a_filer_reads_no_throw_away_pair(house: House) -> None:
    keys = {entry.key_id for entry in house.filer.keytable}
    throw_away = SystemIdentity(0xFFFFFF01, 0)
    pair = throw_away.new_pair("tag", SECRET, bytes)
    group = house.filer.key_servers()
    assert not group.store(pair, throw_away.parent_tag).failures

    house.must("key_manager restore -all")
    told = house.boot()

    assert told.warnings == []
    assert {entry.key_id for entry in house.filer.keytable} == keys
    assert not any(pair.key_id in line for line in house.must("key_manager query").shown)


def test_the_key_of_a_throw_away_pair_is_never_requested(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    throw_away = SystemIdentity(0xFFFFFF01, 0)
    group = house.filer.key_servers()
    for number in range(3):
        pair = throw_away.new_pair("tag", SECRET, lambda size, n=number: bytes([n]) * size)  # type: ignore[misc]
        assert not group.store(pair, throw_away.parent_tag).failures
    for server in servers:
        server.heard.clear()

    client = group.servers[servers[0].address]
    read = client.fetch()

    assert [pair.key_id for pair in read] == [entry.key_id for entry in house.filer.keytable]
    assert servers[0].heard.count("GET_ATTRIBUTES") == len(read) + 3
    assert servers[0].heard.count("GET") == len(read)
    assert not client.unread
