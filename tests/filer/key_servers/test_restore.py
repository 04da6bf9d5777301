"""Restoring key pairs into the keytable: no key that a disk needs is dropped."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filer.key_servers.holdings import Holdings
from filer.key_servers.restore import load
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.keytable import Entry, Keytable, merge
from filer.keys.pair import KeyPair
from filer.kmip.failure import KeyServerFailure
from filer.shell.session import FAILED
from tests.kit import faulty
from tests.kit.faulty import FaultyKeyServer, House

LIE = b"Another-secret-under-this-name-1"


@pytest.fixture
def servers(authority: Path, tmp_path: Path) -> Iterator[list[FaultyKeyServer]]:
    with faulty.running(authority, tmp_path / "key servers", 2) as started:
        yield started


@pytest.fixture
def house(servers: list[FaultyKeyServer], tmp_path: Path) -> Iterator[House]:
    """A filer whose disks are locked, with two key servers."""
    with faulty.locked_house(tmp_path / "root", servers) as built:
        yield built


def known(house: House) -> set[str]:
    return {entry.key_id for entry in house.filer.keytable}


def store_another(house: House, tag: str = "filer1") -> str:
    """Store another key pair of this system on every key server, but not in the keytable."""
    pair = house.filer.identity.new_pair(
        tag, AuthenticationKey(os.urandom(16).hex().encode()), os.urandom
    )
    answers = house.filer.key_servers().store(pair, house.filer.identity.parent_tag)
    assert not answers.failures
    return pair.key_id


def test_restore_all_loads_what_the_key_servers_have(house: House) -> None:
    in_use, another = house.key_ids[0], store_another(house)
    shown = house.must("key_manager restore -all").shown
    assert shown == [
        "Key server 127.0.0.2: 2 key pairs read.",
        "Key server 127.0.0.3: 2 key pairs read.",
        "Keytable: 2 key pairs, 1 added, 0 removed.",
    ]
    assert known(house) == {in_use, another}
    assert house.must("key_manager restore -all").shown[-1] == (
        "Keytable: 2 key pairs, 0 added, 0 removed."
    )


def test_restore_all_drops_what_no_server_has_and_no_disk_uses(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    old, new = house.key_ids[0], house.rekey()
    for server in servers:
        faulty.lose(server, old)
    assert house.must("key_manager restore -all").shown[-1] == (
        "Keytable: 1 key pairs, 0 added, 1 removed."
    )
    assert known(house) == {new}


def test_a_key_in_use_that_no_server_has_is_kept_and_named_and_saved_by_a_rekey(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    key_id = house.key_ids[0]
    for server in servers:
        faulty.lose(server, key_id)
    for line in ("key_manager restore -all", "key_manager restore -all -key_tag other"):
        result = house.run(line)
        assert result.status == FAILED
        assert result.failures == [
            f'kept: {key_id}, in use by 4 disks, on no key server; run "key_manager rekey"'
        ]
        assert result.shown[-1] == "Keytable: 1 key pairs, 0 added, 0 removed."
    house.rekey()
    house.boot()
    faulty.check_that_no_key_is_lost(house)


@pytest.mark.parametrize("down", [0, 1])
def test_with_a_server_down_nothing_is_removed_and_restore_all_fails(
    house: House, servers: list[FaultyKeyServer], down: int
) -> None:
    old, new, another = house.key_ids[0], house.rekey(), store_another(house)
    for server in servers:
        faulty.lose(server, old)
    servers[down].stop()
    result = house.run("key_manager restore -all")
    assert result.status == FAILED
    assert "key_manager: not every key server answered; no key pairs were removed" in (
        result.failures
    )
    assert known(house) == {old, new, another}


def test_with_a_server_down_a_lie_of_the_other_takes_no_secret_from_the_keytable(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    old = house.key_ids[0]
    right = house.secret(old)
    house.rekey()
    faulty.lie_about(servers[0], old, LIE)
    servers[1].stop()
    assert house.run("key_manager restore -all").status == FAILED
    entry = house.filer.keytable.get(old)
    assert entry is not None
    assert right in entry.candidates


def test_with_all_servers_down_the_keytable_stays(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    before = known(house)
    for server in servers:
        server.stop()
    assert house.run("key_manager restore -all").status == FAILED
    assert house.run("key_manager restore -key_server 127.0.0.2").status == FAILED
    assert known(house) == before


def test_restore_from_one_server_only_adds(house: House, servers: list[FaultyKeyServer]) -> None:
    in_use, another = house.key_ids[0], store_another(house)
    faulty.lose(servers[1], in_use)
    shown = house.must("key_manager restore -key_server 127.0.0.3").shown
    assert shown == [
        "Key server 127.0.0.3: 1 key pairs read.",
        "Keytable: 2 key pairs, 1 added, 0 removed.",
    ]
    assert known(house) == {in_use, another}


def test_restore_all_of_a_tag_has_that_tag_and_the_keys_in_use(house: House) -> None:
    in_use = house.key_ids[0]
    mine, _others = store_another(house, "mine"), store_another(house, "others")
    house.must("key_manager restore -all -key_tag mine")
    assert known(house) == {in_use, mine}


def test_restore_of_a_tag_from_one_server_adds_that_tag_only(house: House) -> None:
    in_use = house.key_ids[0]
    mine, _others = store_another(house, "mine"), store_another(house, "others")
    house.must("key_manager restore -key_server 127.0.0.2 -key_tag mine")
    assert known(house) == {in_use, mine}


def test_a_restore_of_a_lie_leaves_the_true_key_a_candidate(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    key_id = house.key_ids[0]
    right = house.secret(key_id)
    for server in servers:
        faulty.lie_about(server, key_id, LIE)
    for line in (
        "key_manager restore -key_server 127.0.0.2",
        "key_manager restore -all",
        "key_manager restore -all -key_tag other",
    ):
        house.run(line)
        entry = house.filer.keytable.get(key_id)
        assert entry is not None
        assert right in entry.candidates
    house.rekey()
    house.boot()
    faulty.check_that_no_key_is_lost(house)


def test_restore_names_the_servers_that_contradict_each_other(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    key_id = house.key_ids[0]
    faulty.lie_about(servers[0], key_id, LIE)
    result = house.must("key_manager restore -all")
    assert result.warnings == [
        f"WARNING: key servers 127.0.0.2, 127.0.0.3 hold different keys for key ID {key_id}."
    ]


def test_a_key_that_only_the_keytable_has_is_no_contradiction_of_key_servers() -> None:
    lie = KeyPair("A" * 64, "tag", AuthenticationKey(LIE))
    truth = lie._replace(key=AuthenticationKey(b"The-secret-that-servers-have-001"))
    keytable = Keytable()
    keytable.add(merge([lie]).values())
    holdings = holdings_of({"127.0.0.2": [truth], "127.0.0.3": [truth]})
    in_use = {truth.key_id: 4}

    restored = load(keytable, holdings, in_use, {}, None, discard=False)
    assert restored.contradictions == {}
    assert restored.differences == {truth.key_id: ["127.0.0.2", "127.0.0.3"]}
    assert restored.kept == {}

    restored = load(keytable, holdings, in_use, {truth.key_id: [truth.key]}, None, discard=True)
    assert (restored.contradictions, restored.differences, restored.kept) == ({}, {}, {})

    restored = load(keytable, holdings, in_use, {truth.key_id: [lie.key]}, None, discard=True)
    assert (restored.contradictions, restored.differences) == ({}, {})
    assert restored.kept == in_use


def test_a_difference_of_keytable_and_key_servers_is_a_warning(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    key_id = house.key_ids[0]
    faulty.lie_about(servers[0], key_id, LIE)
    faulty.lie_about(servers[1], key_id, LIE)
    result = house.must("key_manager restore -key_server 127.0.0.3")
    assert result.warnings == [
        f"WARNING: the keytable has another key for key ID {key_id} than 127.0.0.3."
    ]


def test_a_key_in_use_whose_servers_all_hold_another_secret_is_named_and_saved_by_a_rekey(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    key_id = house.key_ids[0]
    for server in servers:
        faulty.lie_about(server, key_id, LIE)
    result = house.run("key_manager restore -all")
    assert result.failures == [
        f'kept: {key_id}, in use by 4 disks, on no key server; run "key_manager rekey"'
    ]
    house.rekey()
    house.boot()
    faulty.check_that_no_key_is_lost(house)


def test_more_than_128_key_pairs_are_restored_with_a_warning(house: House) -> None:
    for _ in range(128):
        store_another(house)
    result = house.must("key_manager restore -all")
    assert len(known(house)) == 129
    assert any("129 key pairs" in line for line in result.warnings)


def test_after_a_rekey_of_some_disks_only_restore_keeps_the_keys_of_all(
    house: House, servers: list[FaultyKeyServer], tmp_path: Path
) -> None:
    stuck = house.disks[2].path
    away = stuck.rename(tmp_path / "away")
    assert house.run("key_manager rekey").status == FAILED
    away.rename(stuck)
    before = set(house.key_ids)
    assert len(before) == 2
    for server in servers:
        for key_id in before:
            faulty.lose(server, key_id)
    assert house.run("key_manager restore -all").status == FAILED
    assert known(house) == before
    house.rekey()
    house.boot()
    faulty.check_that_no_key_is_lost(house)


# The decision itself, for any servers and disks

KEY_IDS = [f"{number:064X}" for number in range(4)]
PAIRS = st.builds(
    KeyPair,
    st.sampled_from(KEY_IDS),
    st.sampled_from(["a", "b"]),
    st.sampled_from([b"one", b"two", b"three"]).map(AuthenticationKey),
)
SERVERS = st.dictionaries(
    st.sampled_from(["127.0.0.2", "127.0.0.3", "127.0.0.4"]),
    st.none() | st.lists(PAIRS, max_size=5),
    max_size=3,
)


def holdings_of(servers: dict[str, list[KeyPair] | None]) -> Holdings:
    return Holdings(
        {address: held for address, held in servers.items() if held is not None},
        {
            address: KeyServerFailure("connection refused")
            for address, held in servers.items()
            if held is None
        },
    )


def secrets(entry: Entry | None) -> set[bytes]:
    return {key.reveal() for key in entry.candidates} if entry else set()


@settings(max_examples=1000)
@given(
    st.lists(PAIRS, max_size=6),
    SERVERS,
    st.dictionaries(st.sampled_from(KEY_IDS), st.integers(1, 12)),
    st.none() | st.sampled_from(["a", "b"]),
    st.booleans(),
)
def test_no_restore_drops_a_secret_that_a_disk_may_need(
    before: list[KeyPair],
    servers: dict[str, list[KeyPair] | None],
    in_use: dict[str, int],
    tag: str | None,
    discard: bool,
) -> None:
    keytable = Keytable()
    keytable.add(merge(before).values())
    old = {entry.key_id: secrets(entry) for entry in keytable}
    holdings = holdings_of(servers)

    restored = load(keytable, holdings, in_use, {}, tag, discard=discard)

    for key_id in in_use:
        assert secrets(keytable.get(key_id)) >= old.get(key_id, set())
    if not discard or holdings.failures:
        for key_id, candidates in old.items():
            assert secrets(keytable.get(key_id)) >= candidates
        assert restored.removed == 0
    for pair in holdings.pairs():
        if tag in {None, pair.tag} or (discard and pair.key_id in in_use):
            assert pair.key.reveal() in secrets(keytable.get(pair.key_id))
    wanted = set(old) | holdings.key_ids()
    assert {entry.key_id for entry in keytable} <= wanted
    assert restored.total == len(keytable)
    assert restored.total == len(old) + restored.added - restored.removed
    assert set(restored.kept) <= set(in_use) - holdings.key_ids()
    assert restored.complete == (not holdings.failures)


@given(st.lists(PAIRS, max_size=6), SERVERS, st.sampled_from(["a", "b"]))
def test_restore_all_of_a_tag_has_nothing_else(
    before: list[KeyPair], servers: dict[str, list[KeyPair] | None], tag: str
) -> None:
    keytable = Keytable()
    keytable.add(merge(before).values())
    holdings = holdings_of(servers)
    if holdings.failures:
        return
    load(keytable, holdings, {}, {}, tag, discard=True)
    assert {entry.key_id: secrets(entry) for entry in keytable} == {
        key_id: {
            pair.key.reveal()
            for pair in holdings.pairs()
            if (pair.key_id, pair.tag) == (key_id, tag)
        }
        for key_id in {pair.key_id for pair in holdings.pairs() if pair.tag == tag}
    }
