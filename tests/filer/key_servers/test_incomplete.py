"""A key server that shows only some of its key pairs is never considered complete."""

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from filer.keys.authentication_key import AuthenticationKey
from filer.keys.pair import KeyPair
from filer.kmip.failure import KeyServerFailure, PartlyRead
from filer.kmip.ttlv import Element, structure
from filer.shell.session import FAILED
from tests.kit import faulty, hostile, pki
from tests.kit.faulty import FaultyKeyServer
from tests.kit.house import House, Told
from tests.kit.pairs import put
from tests.kit.points import paired

servers, server = faulty.servers(1), faulty.server

ADDRESS = "127.0.0.2"
KEYS = 7

LIMITS = {
    "tells how many there are": {"tells": True, "goes_on": False},
    "refuses to go on": {"tells": True, "refuses": True},
    "says nothing": {"tells": False, "goes_on": False},
}


@pytest.fixture
def house(server: FaultyKeyServer, tmp_path: Path) -> Iterator[House]:
    """A filer with KEYS key pairs; its locked disks use the oldest."""
    with faulty.locked_house(tmp_path / "root", [server]) as built:
        pairs = [new_pair(built) for _ in range(KEYS - 1)]
        put(server, *pairs)
        built.filer.keytable.add(map(faulty.entry_of, pairs))
        yield built


def new_pair(house: House) -> KeyPair:
    key = AuthenticationKey(os.urandom(16).hex().encode())
    return house.filer.identity.new_pair("tag", key, os.urandom)


def behind(
    house: House, server: FaultyKeyServer, limits: hostile.CutShort, *more: hostile.Meddle
) -> AbstractContextManager[hostile.Server]:
    """Let the filer see the key server only through ``limits``."""

    def meddle(answer: hostile.Answer, request: bytes) -> hostile.Answer | bytes:
        changed: hostile.Answer | bytes = limits.meddle(answer, request)
        for each in more:
            assert isinstance(changed, hostile.Answer)
            changed = each(changed, request)
        return changed

    return faulty.seen_through(house, server, meddle, ask=limits.ask)


def known(house: House) -> set[str]:
    return {entry.key_id for entry in house.filer.keytable}


def fetch(house: House, key_ids: Sequence[str] = ()) -> list[KeyPair]:
    (client,) = house.filer.key_servers().servers.values()
    return client.fetch(key_ids)


def speaking(*minor_versions: int) -> hostile.Meddle:
    """Answer Discover Versions with only these 1.x versions."""
    versions = [
        structure(
            hostile.PROTOCOL_VERSION,
            [
                Element(hostile.MAJOR, hostile.INTEGER, struct.pack("!I", 1)),
                Element(hostile.MINOR, hostile.INTEGER, struct.pack("!I", minor)),
            ],
        )
        for minor in minor_versions
    ]
    return hostile.only_for(
        hostile.DISCOVER_VERSIONS,
        lambda answer, _: answer.replace(hostile.RESPONSE_PAYLOAD, b"".join(versions)),
    )


def refusing_to_tell(answer: hostile.Answer, _: bytes) -> hostile.Answer:
    """Refuse Discover Versions, as servers before KMIP 1.1 do."""
    items = [
        hostile.failed(item, 5) if hostile.operation_of(item) == hostile.DISCOVER_VERSIONS else item
        for item in answer.items
    ]
    return hostile.Answer(answer.header, items)


@paired(
    (
        "discover, minor",
        [
            (hostile.unchanged, 4),
            (speaking(0, 1, 2, 3), 3),
            (speaking(2), 2),
            (speaking(), 4),
            (refusing_to_tell, 4),
        ],
    ),
    ("page", [1, 3, KEYS - 1, KEYS]),
)
def test_what_a_list_leaves_out_is_requested(
    page: int, discover: hostile.Meddle, minor: int, house: House, server: FaultyKeyServer
) -> None:
    limits = hostile.CutShort(page)
    with behind(house, server, limits, discover):
        assert {pair.key_id for pair in fetch(house)} == known(house)
    assert limits.continued == [(minor, offset) for offset in range(page, KEYS, page)]


@pytest.mark.parametrize("limit", ["tells how many there are", "refuses to go on"])
def test_a_page_without_a_new_identifier_ends_the_list(
    limit: str, house: House, server: FaultyKeyServer
) -> None:
    limits = hostile.CutShort(3, **LIMITS[limit])
    with behind(house, server, limits), pytest.raises(PartlyRead) as caught:
        fetch(house)
    assert len(caught.value.pairs) == 3
    assert (caught.value.reason, caught.value.answered) == ("it listed 3 of 7 objects", True)
    assert limits.continued == [(4, 3)]


def test_a_list_that_shrinks_while_it_is_read_is_not_complete(
    house: House, server: FaultyKeyServer
) -> None:
    limits = hostile.CutShort(3)
    lost = iter(sorted(known(house) - set(house.key_ids)))

    def lose(answer: hostile.Answer, request: bytes) -> hostile.Answer:
        if hostile.operation_of(answer.items[0]) == hostile.LOCATE:
            faulty.lose(server, next(lost))
        return answer

    with behind(house, server, limits, lose), pytest.raises(PartlyRead) as caught:
        fetch(house)
    assert caught.value.reason.startswith("it listed ")


def test_an_empty_page_of_many_is_not_complete(house: House, server: FaultyKeyServer) -> None:
    with behind(house, server, hostile.CutShort(0)), pytest.raises(PartlyRead) as caught:
        fetch(house)
    assert (caught.value.reason, caught.value.pairs) == ("it listed 0 of 7 objects", [])


@pytest.mark.parametrize("limit", LIMITS)
def test_a_server_that_lists_too_few_is_named_and_nothing_is_removed(
    limit: str, house: House, server: FaultyKeyServer
) -> None:
    (in_use,) = set(house.key_ids)
    before = known(house)
    unknown = new_pair(house)
    house.filer.keytable.add([faulty.entry_of(unknown)])
    reason = f"it left out key ID {in_use}, which it holds"
    if limit != "says nothing":
        reason = f"it listed 3 of {KEYS} objects"
    named = f"Key server {ADDRESS} has not shown all key pairs: {reason}."
    with behind(house, server, hostile.CutShort(3, **LIMITS[limit])):
        queried = house.run("key_manager query")
        restored = house.run("key_manager restore -all")
        rekeyed = house.run("key_manager rekey")
    assert [queried.status, restored.status, rekeyed.status] == [FAILED] * 3
    assert queried.failures == [named]
    assert f"Key server {ADDRESS} reports 4 keys." in queried.shown
    assert restored.failures == [
        named,
        "key_manager: not every key server showed all key pairs; no key pairs were removed",
    ]
    assert known(house) == before | {unknown.key_id}
    assert rekeyed.failures == [
        f"key_manager: key server {ADDRESS} has not shown all key pairs: {reason}; "
        "no key pair was created"
    ]
    assert len(faulty.stored_key_ids(server)) == KEYS


def test_a_key_that_no_list_has_is_looked_for_by_name_before_it_is_dropped(
    house: House, server: FaultyKeyServer
) -> None:
    # The key of the disks is listed, the newest is not; the list does not show that it was cut.
    house.rekey()
    old = known(house) - set(house.key_ids)
    dropped = new_pair(house)
    house.filer.keytable.add([faulty.entry_of(dropped)])
    with behind(house, server, hostile.CutShort(3, tells=False)):
        restored = house.run("key_manager restore -all")
        assert restored.status == FAILED
        assert known(house) > old
        named, kept = restored.failures
        assert named.startswith(f"Key server {ADDRESS} has not shown all key pairs: it left out")
        assert kept.endswith("; no key pairs were removed")
    house.filer.hardware = house.filer.hardware._replace(port=server.port)
    house.must("key_manager restore -all")
    assert dropped.key_id not in known(house)
    assert known(house) > old


def test_a_key_with_another_parent_tag_is_restored(house: House, server: FaultyKeyServer) -> None:
    pair = new_pair(house)
    assert not house.filer.key_servers().store(pair, "1-2").failures
    house.must("key_manager restore -all")
    assert pair.key_id in known(house)


@paired(("page", [1, 3]), ("limit", LIMITS))
def test_a_disk_whose_key_no_list_has_is_opened_all_the_same(
    page: int, limit: str, house: House, server: FaultyKeyServer
) -> None:
    told = Told()
    with behind(house, server, hostile.CutShort(page, **LIMITS[limit])):
        house.boot(told)
        assert house.filer.wafl_is_up
        assert not any(disk.locked or disk.failures for disk in house.disks)
        locked = house.run("disk encrypt lock *")
    assert locked.failures == []
    (warning,) = told.warnings
    assert warning.startswith(f"key server {ADDRESS} has not shown all key pairs: ")


def test_any_number_of_key_ids_is_looked_for_by_name(house: House, server: FaultyKeyServer) -> None:
    # More than are located before the list is read; the existing one comes last, or not at all.
    wanted = [f"{number:064X}" for number in range(40)] + sorted(known(house))
    limits = hostile.CutShort(3, tells=False, goes_on=False)
    with behind(house, server, limits) as proxy, pytest.raises(PartlyRead) as caught:
        fetch(house, wanted)
    assert {pair.key_id for pair in caught.value.pairs} == known(house)
    assert caught.value.reason.endswith(", which it holds")
    assert len(proxy.requests) < 12


def test_a_new_key_that_no_list_has_is_read_back_by_name(
    house: House, server: FaultyKeyServer
) -> None:
    # So far the server has shown everything; the newest is beyond its limit.
    limits = hostile.CutShort(KEYS, tells=False, goes_on=False, newest_first=False)
    with behind(house, server, limits):
        new = house.rekey()
        assert house.key_ids == [new] * 4
        house.boot()
        assert not any(disk.locked for disk in house.disks)


def test_init_maxwait_is_not_spent_on_a_server_that_has_answered(
    house: House, server: FaultyKeyServer
) -> None:
    with behind(house, server, hostile.CutShort(3, goes_on=False)) as proxy:
        house.set(port=proxy.port, init_maxwait=3600.0)
        house.boot()
    assert house.filer.wafl_is_up


def test_pages_end_after_four_timeouts(house: House, server: FaultyKeyServer) -> None:
    (client,) = house.filer.key_servers().servers.values()
    now = 0.0
    answers = 0

    def dawdle(answer: hostile.Answer, _: bytes) -> hostile.Answer:
        nonlocal now, answers
        now += 0.9 * client.timeout
        answers += 1
        return answer

    client._clock = lambda: now
    with behind(house, server, hostile.CutShort(1), dawdle) as proxy:
        client.port = proxy.port
        with pytest.raises(KeyServerFailure) as caught:
            client.fetch()
    assert caught.value.reason == "not done in 40 s"
    assert answers == 5


@pytest.mark.parametrize("limit", LIMITS)
def test_a_changed_client_certificate_has_to_show_the_keys_in_use_only(
    limit: str, house: House, server: FaultyKeyServer
) -> None:
    with behind(house, server, hostile.CutShort(3, **LIMITS[limit])):
        house.install_client(pki.client(pki.authority_of(server)))
        before = house.registered.certificates
        house.must(f"key_manager add -key_server {ADDRESS}")
    assert house.registered.certificates != before
