"""Restoring key pairs into the keytable: no key that a disk needs is dropped."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filer.disks.disk import Disk
from filer.disks.record import Owner
from filer.key_servers.holdings import Holdings
from filer.key_servers.restore import load
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.keytable import Entry, Keytable, merge
from filer.keys.pair import KeyPair
from filer.kmip.failure import KeyServerFailure
from filer.shell.session import FAILED, OK
from tests.kit import faulty
from tests.kit.faulty import FaultyKeyServer
from tests.kit.house import House
from tests.kit.points import examples

servers, house = faulty.servers(2), faulty.locked
NONE_SPECIAL = "including 0 unknown key and 0 authentication failures."
WRONG_SECRET = b"Another-secret-under-this-name-1"


def known(house: House) -> set[str]:
    return {entry.key_id for entry in house.filer.keytable}


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


@pytest.mark.parametrize("fault", ["unreadable", "pulled"])
def test_the_key_of_a_disk_that_was_not_read_is_kept(
    house: House, servers: list[FaultyKeyServer], fault: str
) -> None:
    old = house.key_ids[0]
    path = house.disks[3].path
    name, elsewhere = path.stem, path.with_suffix(".elsewhere")
    path.rename(elsewhere)
    if fault == "unreadable":
        path.mkdir()  # cannot be opened for writing
    house.boot()

    for line in ("key_manager rekey", "disk encrypt lock *", f"disk encrypt rekey {old} *"):
        result = house.run(line)
        assert result.shown[-1].endswith("on 3 disks: 3 successes, 0 failures, " + NONE_SPECIAL)
        told = result.warnings if fault == "pulled" else result.failures
        assert [text.split(":")[0] for text in told] == [name]
        assert (result.status == OK) is (fault == "pulled")
    assert house.must("disk encrypt lock 0c.00.0").failures == []
    house.run("key_manager rekey")
    new = house.key_ids[0]
    for server in servers:
        faulty.lose(server, old)

    asked = house.run(f"key_manager remove -key_server {servers[0].address}", "no")
    assert any(
        f"key ID {old}, which a disk that was not read may have, " in text
        for text in asked.warnings
    )
    for line in ("key_manager restore -all", "key_manager restore -all -key_tag other"):
        result = house.run(line)
        assert f"kept: {old}, on no key server; {name} may need it" in result.failures
        assert {old, new} <= known(house)


@pytest.fixture
def taken(house: House, tmp_path: Path) -> Disk:
    """A locked disk of the filer, in a bay beyond those of filer.toml; power is off."""
    bay = house.root / "shelf" / "0c.00.9.sed"
    with House.build(tmp_path / "other", disks=5, system_id=4711, partner_id=0) as other:
        spares = [disk.path for disk in other.disks[3:]]
    spares[0].rename(bay)
    spares[1].rename(tmp_path / "another.sed")
    house.boot()
    house.must("disk assign 0c.00.9 -f")
    house.rekey()
    house.lock()
    disk = house.filer.shelf["0c.00.9"]
    assert disk.locking
    return disk


@pytest.mark.parametrize("in_its_bay", ["nothing", "another drive", "no drive"])
def test_an_own_disk_is_missed_wherever_it_was(
    house: House,
    servers: list[FaultyKeyServer],
    tmp_path: Path,
    taken: Disk,
    in_its_bay: str,
) -> None:
    old, name = taken.key_id, taken.name
    pulled = taken.path.rename(tmp_path / "pulled.sed")
    if in_its_bay == "another drive":
        name = f"{taken.name} (S/N {taken.serial})"
        (tmp_path / "another.sed").rename(taken.path)
    elif in_its_bay == "no drive":
        taken.path.write_bytes(b"")
    house.boot()

    rekeyed = house.run("key_manager rekey")
    told = rekeyed.failures if in_its_bay == "no drive" else rekeyed.warnings
    assert [text for text in told if text.startswith(f"{name}: ")] or any(
        f"{name}: not in the shelf; it keeps its key" in text for text in told
    )
    for server in servers:
        faulty.lose(server, old)
    asked = house.run(f"key_manager remove -key_server {servers[0].address}", "no")
    assert any(
        f"key ID {old}, which a disk that was not read may have, " in text
        for text in asked.warnings
    )
    restored = house.run("key_manager restore -all")
    assert f"kept: {old}, on no key server; {name} may need it" in restored.failures
    assert old in known(house)
    taken.path.unlink(missing_ok=True)
    pulled.rename(taken.path)


def test_a_disk_in_another_bay_is_not_missed(house: House) -> None:
    house.disks[1].path.rename(house.root / "shelf" / "0c.00.9.sed")
    house.boot()
    assert house.run("key_manager rekey").warnings == []


def test_the_last_known_key_of_an_absent_disk_is_needed_though_it_was_never_loaded(
    house: House, servers: list[FaultyKeyServer], tmp_path: Path, taken: Disk
) -> None:
    old = taken.key_id
    taken.path.rename(tmp_path / "pulled.sed")
    house.boot()
    house.rekey()
    faulty.lose(servers[0], old)
    servers[1].stop()
    house.boot()
    assert old not in known(house)
    asked = house.run(f"key_manager remove -key_server {servers[1].address}", "no")
    assert len(asked.questions) == 1
    assert any(f"key ID {old}, which a disk that was not read" in text for text in asked.warnings)


@pytest.mark.parametrize("then", ["moves", "is destroyed", "is another system's"])
def test_a_disk_that_is_here_or_needs_no_key_is_not_missed(
    house: House, tmp_path: Path, taken: Disk, then: str
) -> None:
    away = tmp_path / "pulled.sed"
    if then == "is destroyed":
        house.must("disk encrypt destroy 0c.00.9", "destroy disk")
        taken.path.rename(away)
    elif then == "is another system's":
        taken.assign(Owner(4711))
        house.boot()
        house.filer.shelf["0c.00.9"].path.rename(away)
    else:
        taken.path.rename(taken.path.with_name("0c.01.3.sed"))
    house.boot()
    assert house.filer.shelf.absent() == {}


def test_with_a_server_down_a_wrong_secret_of_the_other_replaces_none_in_the_keytable(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    old = house.key_ids[0]
    right = house.secret(old)
    house.rekey()
    faulty.replace_secret(servers[0], old, WRONG_SECRET)
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


def test_a_restore_of_a_wrong_secret_keeps_the_right_key_a_candidate(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    key_id = house.key_ids[0]
    right = house.secret(key_id)
    for server in servers:
        faulty.replace_secret(server, key_id, WRONG_SECRET)
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


def test_a_key_that_only_the_keytable_has_is_no_contradiction_of_key_servers() -> None:
    lie = KeyPair("A" * 64, "tag", AuthenticationKey(WRONG_SECRET))
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
    faulty.replace_secret(servers[0], key_id, WRONG_SECRET)
    faulty.replace_secret(servers[1], key_id, WRONG_SECRET)
    result = house.must("key_manager restore -key_server 127.0.0.3")
    assert result.warnings == [
        f"WARNING: the keytable has another key for key ID {key_id} than 127.0.0.3."
    ]


def test_a_key_in_use_whose_servers_all_hold_another_secret_is_named_and_saved_by_a_rekey(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    key_id = house.key_ids[0]
    for server in servers:
        faulty.replace_secret(server, key_id, WRONG_SECRET)
    result = house.run("key_manager restore -all")
    assert result.failures == [
        f'kept: {key_id}, in use by 4 disks, on no key server; run "key_manager rekey"'
    ]
    house.rekey()
    house.boot()
    faulty.check_that_no_key_is_lost(house)


def test_after_a_rekey_of_some_disks_only_restore_keeps_the_keys_of_all(
    house: House, servers: list[FaultyKeyServer], tmp_path: Path
) -> None:
    stuck = house.disks[2].path
    away = tmp_path / "away"
    house.progress = faulty.pulled_during("rekey", stuck, away)
    assert house.run("key_manager rekey").status == FAILED
    away.rename(stuck)
    house.good("disk show")  # notices it
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


@examples(1000)
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
