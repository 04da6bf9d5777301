"""Key servers that take only some requests: what the filer falls back to, and what it says."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from filer.keys.pair import KeyPair
from filer.keyserver.server import KeyServer
from filer.kmip.client import Credentials, KmipClient
from filer.kmip.failure import IncompleteAnswer, KeyServerFailure, PartlyRead, ServerRefusal
from filer.kmip.login import Login, Password
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name
from tests.kit import choosy
from tests.kit.choosy import ALL, ChoosyServer, Habits
from tests.kit.house import House
from tests.kit.pairs import PARENT_TAG, new_pair
from tests.kit.points import half, paired, some

ADDRESS = "127.0.0.2"
KEYS = 5

GENERAL_FAILURE, UNSUPPORTED_PROTOCOL_VERSION = 0x100, 0x3F
ONE_EACH = {f"only KMIP {major}.{minor}": ((major, minor),) for major, minor in ALL}
LABELS = frozenset({"Application Specific Information", "Object Group"})

HABITS: dict[str, Habits] = {
    "everything": Habits(),
    **{name: Habits(versions) for name, versions in ONE_EACH.items()},
    **{
        f"{name}, and does not say so": Habits(versions, names_version=False)
        for name, versions in some([*ONE_EACH.items()], most=2)
    },
    **{
        f"{name}, and closes otherwise": Habits(versions, refuses="closes")
        for name, versions in some([*ONE_EACH.items()], most=2)
    },
    "no Discover Versions": Habits(discovers=False),
    "no Discover Versions, KMIP 1.0": Habits(((1, 0),), discovers=False),
    "newer versions too": Habits(((1, 2), (3, 0))),
    "no version in common but 2.0": Habits(((2, 0), (2, 1))),
    "Discover Versions first": Habits(wants_discovery=True),
    "Discover Versions first, single items": Habits(wants_discovery=True, items=1),
    "strict single items": Habits(strict=True),
    "strict single items only": Habits(strict=True, items=1),
    "single items": Habits(items=1),
    "single items, refused each": Habits(items=1, refuses="each"),
    "single items, refused by the first": Habits(items=1, refuses="first"),
    "single items, refused by closing": Habits(items=1, refuses="closes"),
    "single items, refused without a reason": Habits(items=1, reason=GENERAL_FAILURE),
    "three items": Habits(items=3),
    "three items, refused each": Habits(items=3, refuses="each", reason=choosy.INVALID_MESSAGE),
    "small requests": Habits(request_size=700),
    "small requests, refused by closing": Habits(request_size=700, refuses="closes"),
    "small answers": Habits(answer_size=700),
    "small answers, refused each": Habits(answer_size=700, refuses="each"),
    "small answers, refused by the first": Habits(answer_size=700, refuses="first"),
    "a connection for each request": Habits(closes=True),
    "a connection for each request, single items": Habits(closes=True, items=1),
    "a connection for each request, KMIP 1.0": Habits(((1, 0),), closes=True, discovers=False),
    "no Activate": Habits(activation="refused"),
    "active at once": Habits(activation="automatic"),
    "no parent tag": Habits(refused_attributes=frozenset({"Application Specific Information"})),
    "no usage mask": Habits(refused_attributes=frozenset({"Cryptographic Usage Mask"})),
    "no Opaque": Habits(formats=(1,)),
    "no Password": Habits(types=(2,)),
    "nothing but the name": Habits(
        refused_attributes=LABELS | {"Cryptographic Usage Mask"}, formats=(1,), types=(2,)
    ),
    "forgets the parent tag": Habits(
        forgotten_attributes=frozenset({"Application Specific Information"})
    ),
    "no key tag": Habits(refused_attributes=frozenset({"Object Group"})),
    "no labels": Habits(refused_attributes=LABELS),
    "pages": Habits(page=2),
    "pages of one, single items": Habits(page=1, items=1),
    "no search by type": Habits(filters=("Name",)),
    "no search by name": Habits(filters=("Object Type",)),
    "no search": Habits(filters=()),
    "searches loosely": Habits(ignores_filter=True),
    "nothing found is an error": Habits(finds_nothing=False),
    "messages in other languages": Habits(message="Schlüssel nicht verfügbar: 鍵", items=1),
    "as little as possible": Habits(
        ((1, 0),),
        names_version=False,
        discovers=False,
        items=1,
        strict=True,
        refuses="each",
        closes=True,
        activation="refused",
        refused_attributes=LABELS,
        formats=(1,),
        page=1,
        filters=(),
        finds_nothing=False,
    ),
    "as little as possible, KMIP 2.0": Habits(
        ((2, 0),),
        items=2,
        strict=True,
        refuses="first",
        wants_discovery=True,
        activation="automatic",
        refused_attributes=LABELS,
        page=2,
        filters=("Object Type",),
        finds_nothing=False,
    ),
}
HAS_NO_TAG = {name for name, each in HABITS.items() if "Object Group" in each.refused_attributes}

Start = Callable[..., ChoosyServer]


@pytest.fixture
def start(authority: Path, tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a key server with some habits."""
    directory = shutil.copytree(authority, tmp_path / "key servers")
    with ExitStack() as running:

        def run(habits: Habits, address: str = ADDRESS, port: int = 0) -> ChoosyServer:
            return running.enter_context(choosy.start(directory, address, habits, port))

        yield run


def client_of(server: ChoosyServer, login: Login | None = None) -> KmipClient:
    directory = server.directory
    files = Credentials(
        directory / CLIENT, directory / CLIENT_PRIVATE, directory / ca_name(server.address)
    )
    return KmipClient(server.address, server.port, files, 60.0, login=login)


def in_order(pairs: list[KeyPair]) -> list[KeyPair]:
    return sorted(pairs, key=lambda pair: pair.key_id)


@paired(("learned", [False, True]), ("name", half([*HABITS])))
def test_what_a_server_takes_is_enough(name: str, learned: bool, start: Start) -> None:
    server = start(HABITS[name])
    only = client_of(server)

    def client() -> KmipClient:
        return only if learned else client_of(server)

    client().probe()
    assert client().fetch() == []
    # A new client learns again what the server takes.
    stored = in_order([new_pair() for _ in range(KEYS if learned else 2)])
    identifiers = [client().store(pair, PARENT_TAG) for pair in stored]
    assert sorted(server.objects) == sorted(identifiers)
    seen = [pair._replace(tag="-") if name in HAS_NO_TAG else pair for pair in stored]
    assert in_order(client().fetch()) == seen
    assert in_order(client().fetch([pair.key_id for pair in stored[:2]])) == seen
    assert client().find(stored[0].key_id) == [seen[0]]
    missing = new_pair().key_id
    assert client().find(missing) == []
    assert client().held([stored[1].key_id, missing]) == {stored[1].key_id}
    for pair in stored[1:]:
        assert client().take_back(pair.key_id, pair.key)
    assert client().fetch() == [seen[0]]
    assert [*server.objects] == [identifiers[0]]


@pytest.mark.parametrize(
    ("versions", "used"),
    [(ALL, (1, 4)), (((1, 0), (1, 3), (2, 0)), (1, 3)), (((1, 2), (2, 0)), (2, 0))],
)
def test_the_best_version_in_common_is_used(
    versions: tuple[choosy.Version, ...], used: choosy.Version, start: Start
) -> None:
    server = start(Habits(versions))
    client = client_of(server)
    client.fetch()
    client.fetch()
    assert set(server.versions_used[-2:]) == {used}


@pytest.mark.parametrize("takes_discovery", [False, True])
@pytest.mark.parametrize("shows", [(1, 2), (1, 3)])
def test_a_version_that_is_listed_and_refused_is_not_used(
    shows: choosy.Version, takes_discovery: bool, start: Start
) -> None:
    habits = Habits(
        ((1, 0), (1, 1), (1, 2)),
        lists=ALL,
        shows=shows,
        discovers_in=ALL if takes_discovery else (),
    )
    server = start(habits)
    client, pair = client_of(server), new_pair()
    client.probe()
    client.store(pair, PARENT_TAG)
    before = len(server.requests)
    assert client.fetch() == [pair]
    assert set(server.versions_used[before:]) == {(1, 2)}
    assert client_of(server).fetch([pair.key_id]) == [pair]


@pytest.mark.parametrize("refuses", ["once", "each"])
@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (choosy.INVALID_MESSAGE, "invalid message"),
        (UNSUPPORTED_PROTOCOL_VERSION, "unsupported protocol version"),
    ],
)
def test_a_server_that_takes_no_version_that_it_lists_is_not_working(
    number: int, reason: str, refuses: choosy.Reaction, start: Start
) -> None:
    habits = Habits((), lists=ALL, shows=(1, 2), discovers_in=ALL, refuses=refuses)
    server = start(replace(habits, version_reason=number))
    for ask in (KmipClient.probe, KmipClient.fetch):
        with pytest.raises(ServerRefusal, match=reason):
            ask(client_of(server))


def test_what_was_learned_of_a_server_costs_no_request_again(start: Start) -> None:
    server = start(Habits(((1, 1),), items=2, refuses="closes"))
    client = client_of(server)
    for _ in range(KEYS):
        client.store(new_pair(), PARENT_TAG)
    client.fetch()
    before = len(server.requests)
    client.fetch()
    # One list, then the attributes and the keys of five objects, two at a time.
    assert len(server.requests) - before <= 1 + KEYS + 1
    assert set(server.versions_used[before:]) == {(1, 1)}


def test_a_list_that_is_too_large_is_requested_in_parts(start: Start) -> None:
    server = start(Habits(answer_size=1000, counts=False, items=1))
    client = client_of(server)
    stored = in_order([new_pair() for _ in range(50)])
    for pair in stored:
        client.store(pair, PARENT_TAG)
    assert in_order(client.fetch()) == stored


def test_a_server_that_lists_too_few_is_not_believed(start: Start) -> None:
    server = start(Habits(page=2, counts=False))
    pairs = [new_pair() for _ in range(KEYS)]
    for pair in pairs:
        client_of(server).store(pair, PARENT_TAG)
    with pytest.raises(PartlyRead) as caught:
        client_of(server).fetch([pairs[-1].key_id])
    assert {pair.key_id for pair in caught.value.pairs} >= {pairs[-1].key_id}


def test_without_a_search_by_name_only_a_counted_list_shows_that_a_key_is_gone(
    start: Start,
) -> None:
    server = start(Habits(filters=("Object Type",), counts=False))
    client, pair = client_of(server), new_pair()
    client.store(pair, PARENT_TAG)
    assert client.fetch([pair.key_id]) == [pair]
    with pytest.raises(IncompleteAnswer, match="does not search by name"):
        client.held([new_pair().key_id])


def refusal_of(server: ChoosyServer, login: Login | None = None) -> str:
    reasons = set()
    asks: list[Callable[[KmipClient], object]] = [
        lambda client: client.probe(),
        lambda client: client.fetch(),
        lambda client: client.store(new_pair(), PARENT_TAG),
    ]
    for ask in asks:
        with pytest.raises(KeyServerFailure) as caught:
            ask(client_of(server, login))
        failure = caught.value
        assert isinstance(failure, ServerRefusal)
        assert failure.answered
        assert failure.about(ADDRESS) == (
            f"key server {ADDRESS} is responding, but cannot be used: {failure.reason}"
        )
        reasons.add(failure.reason)
    (reason,) = reasons
    return reason


def test_a_server_without_a_version_in_common_is_named_with_its_versions(start: Start) -> None:
    assert refusal_of(start(Habits(((3, 0),)))) == "it speaks KMIP 3.0 only"


def test_a_server_that_requires_a_password_says_what_to_set(start: Start) -> None:
    secret = os.urandom(8).hex()
    server = start(Habits(login=("storage", secret)))
    assert refusal_of(server) == (
        'authentication not successful: "no"; '
        "if it requires a password, set user and password_file in filer.toml, [kmip]"
    )
    wrong = Login("storage", Password(b"wrong"))
    assert refusal_of(server, wrong) == (
        'authentication not successful; check user "storage" and password_file in filer.toml, '
        "[kmip]"
    )
    right = Login("storage", Password(secret.encode()))
    assert secret not in repr(right)
    client = client_of(server, right)
    pair = new_pair()
    client.store(pair, PARENT_TAG)
    assert client.fetch() == [pair]


def test_a_server_that_cannot_answer_at_all_gives_its_reason(start: Start) -> None:
    client = client_of(start(Habits(answer_size=250)))
    with pytest.raises(ServerRefusal, match="response too large"):
        client.store(new_pair(), PARENT_TAG)


def test_a_refused_pair_that_was_kept_is_taken_back_too(start: Start) -> None:
    """A server that refuses a pair and keeps it ends up with two objects of one name."""
    server = start(Habits(refused_attributes=frozenset({"Object Group"})))
    client, pair = client_of(server), new_pair()
    identifier = client.store(pair, PARENT_TAG)
    server.objects["kept"] = replace(server.objects[identifier])
    assert client.take_back(pair.key_id, pair.key)
    assert not server.objects


def test_a_refused_rekey_leaves_nothing_on_a_server_that_changes_names(
    start: Start, tmp_path: Path
) -> None:
    server = start(Habits(lowers_names=True))
    with House.build(tmp_path / "root", cast(list[KeyServer], [server])) as house:
        house.add()
        refused = house.run("key_manager rekey")
        assert refused.failures == [
            f"key_manager: the new key pair read back from {ADDRESS} is not what was stored; "
            "nothing was changed"
        ]
        assert not server.objects


def test_a_key_that_is_refused_when_it_is_read_back_is_refused_in_those_words(
    start: Start, tmp_path: Path
) -> None:
    server = start(Habits(activation="refused", reads_inactive=False))
    with House.build(tmp_path / "root", cast(list[KeyServer], [server])) as house:
        house.add()
        refused = house.run("key_manager rekey")
        assert refused.failures == [
            f"key_manager: the new key pair could not be read back from {ADDRESS}: "
            "permission denied; nothing was changed"
        ]
        assert not server.objects


@pytest.mark.parametrize("system_id", [0xFFFFFF00, 0xFFFFFFFF])
def test_throw_away_key_pairs_are_ignored(system_id: int, start: Start, tmp_path: Path) -> None:
    server = start(Habits())
    with House.build(tmp_path / "root", cast(list[KeyServer], [server])) as house:
        house.add()
        thrown_away, last = new_pair(system_id=system_id), new_pair(system_id=0xFFFFFEFF)
        for pair in (thrown_away, last):
            client_of(server).store(pair, PARENT_TAG)
        assert client_of(server).find(thrown_away.key_id) == [thrown_away]
        shown = house.must("key_manager query").out
        assert last.key_id in shown
        assert thrown_away.key_id not in shown
        house.must("key_manager restore -all")
        assert [entry.key_id for entry in house.filer.keytable] == [last.key_id]


@pytest.mark.parametrize("habits", [HABITS["no key tag"], Habits(forgotten_attributes=LABELS)])
def test_a_key_server_that_keeps_no_key_tag_is_named(
    habits: Habits, start: Start, tmp_path: Path
) -> None:
    first = start(habits)
    second = start(HABITS["everything"], "127.0.0.3", first.port)
    servers = cast(list[KeyServer], [first, second])
    with House.build(tmp_path / "root", servers) as house:
        house.add(*servers)
        result = house.must("key_manager rekey -key_tag blue")
        (key_id,) = set(house.key_ids)
        warning = f"WARNING: key server {ADDRESS} keeps no key tag with key ID {key_id}."
        assert result.warnings == [warning]
        house.boot()
        (entry,) = house.filer.keytable
        assert entry.tag == "blue"


@pytest.mark.parametrize("name", ["everything", *(each for each in HABITS if "as little" in each)])
def test_a_filer_works_with_it(name: str, start: Start, tmp_path: Path) -> None:
    first = start(HABITS[name])
    second = start(HABITS[name], "127.0.0.3", first.port)
    servers = cast(list[KeyServer], [first, second])
    with House.build(tmp_path / "root", servers) as house:
        house.add(*servers)
        house.must("key_manager status")
        house.rekey()
        house.lock()
        new = house.rekey()
        query = house.must("key_manager query")
        assert f"Key server {ADDRESS} reports 2 keys." in query.shown
        told = house.boot()
        assert not told.warnings
        assert not any(disk.locked for disk in house.disks)
        house.must("key_manager restore -all")
        assert house.key_ids == [new] * 4
        assert len(first.objects) == len(second.objects) == 2
