"""Requests that only read are answered without PyKMIP's engine, and with the same bytes."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from filer.keyserver.engine import Engine
from filer.keyserver.reading.rights import Scope
from filer.keyserver.reading.rows import Rows
from filer.keyserver.reading.understanding import Filters
from filer.keyserver.request import Request
from filer.keyserver.server import KeyServer
from tests.kit import raw_kmip as raw
from tests.kit.pairs import PARENT_TAG, client_of, new_pair, pykmip
from tests.kit.points import some

CLIENTS = ("a", "b", "c")
TIME_STAMP = b"\x42\x00\x92\x09\x00\x00\x00\x08"


class Slow(Engine):
    """A key server's engine that answers everything with PyKMIP's."""

    def process(self, request: Request, client: str) -> bytes:
        return self.process_with_pykmip(request, client)


class Counting(Engine):
    """A key server's engine that counts the requests for PyKMIP's."""

    slow = 0

    def process_with_pykmip(self, request: Request, client: str) -> bytes:
        self.slow += 1
        return super().process_with_pykmip(request, client)


def timeless(response: bytes) -> bytes:
    """Return ``response`` with its time stamp set to 0."""
    at = response.index(TIME_STAMP) + len(TIME_STAMP)
    return response[:at] + bytes(8) + response[at + 8 :]


# Stores


@dataclass(frozen=True)
class Stored:
    """An object in a store."""

    kind: str
    owner: str | None
    policy: str
    names: Sequence[str]
    groups: Sequence[str]
    applications: Sequence[tuple[str, str]]
    state: int
    date: int
    value: bytes
    data_type: int

    def built(self) -> Any:
        from kmip.core import enums
        from kmip.pie import objects

        made = {
            "secret": lambda: objects.SecretData(self.value, enums.SecretDataType(self.data_type)),
            "key": lambda: objects.SymmetricKey(enums.CryptographicAlgorithm.AES, 128, bytes(16)),
            "opaque": lambda: objects.OpaqueObject(self.value, enums.OpaqueDataType.NONE),
        }[self.kind]()
        made.names = list(self.names)
        made.object_groups = [objects.ObjectGroup(object_group=each) for each in self.groups]
        made.app_specific_info = [
            objects.ApplicationSpecificInformation(
                application_namespace=namespace, application_data=data
            )
            for namespace, data in self.applications
        ]
        made.operation_policy_name = self.policy
        made.initial_date = self.date
        made._owner = self.owner
        if self.kind != "opaque":
            made.state = enums.State(self.state)
        return made


def fill(engine: Engine, objects: Sequence[Stored]) -> None:
    with engine._data_store_session_factory() as session:
        for each in objects:
            session.add(each.built())
            session.commit()


WORDS = ["x", "X", "key 1", "a" * 64, "x\0y", "%", "'"]
ODD_WORDS = [*WORDS, "", "é"]
APPLICATIONS = [("filer", "1"), ("filer", "2"), ("other", "1")]


def stored(rng: Random) -> Stored:
    words = ODD_WORDS if rng.random() < 0.1 else WORDS
    return Stored(
        kind=rng.choices(["secret", "key", "opaque"], [12, 1, 1])[0],
        owner=rng.choices(["a", "b", None], [12, 3, 1])[0],
        policy=rng.choices(["default", "public", "unheard of"], [12, 3, 1])[0],
        names=rng.sample(words, rng.randint(0, 2)),
        groups=rng.choices(words, k=rng.randint(0, 2)),
        applications=rng.choices(APPLICATIONS, k=rng.randint(0, 2)),
        state=rng.randint(1, 6),
        date=rng.randint(0, 3),
        value=rng.randbytes(rng.randint(8, 40)),
        data_type=rng.randint(1, 2),
    )


# Requests

VERSIONS = [(1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (2, 0)]
KNOWN = ["Name", "Object Group", "State", "Object Type", "Application Specific Information"]
UNKNOWN = ["Unique Identifier", "Initial Date", "Sensitive", "x-attribute", "Link", ""]


def rarely(rng: Random, odd: Any, usual: Any) -> Any:
    return odd if rng.random() < 0.04 else usual


def attribute(rng: Random, name: str) -> bytes:
    """The attribute ``name`` to filter by."""
    word = rng.choice(rarely(rng, ODD_WORDS, WORDS))
    named = raw.text(0x55, word), raw.enumeration(0x54, rarely(rng, 2, 1))
    namespace, data = rng.choice(APPLICATIONS)
    application = raw.text(0x03, namespace), raw.text(0x02, data)
    values = {
        "Object Type": raw.enumeration(0x0B, rarely(rng, rng.randint(0, 9), 7)),
        "State": raw.enumeration(0x0B, rarely(rng, 7, rng.randint(1, 6))),
        "Object Group": raw.text(0x0B, word),
        "Name": raw.structure(0x0B, *named),
        "Application Specific Information": raw.structure(0x0B, *application),
    }
    if rng.random() < 0.03:
        return raw.attribute("Initial Date", raw.ttlv(0x0B, raw.DATE, bytes(8)))
    return raw.attribute(name, values[name])


def item(rng: Random, number: int | None) -> bytes:
    """An item that only reads."""
    kind = rng.choice(["get", "get", "attributes", "attributes", "locate", "locate", "other"])
    identifier = rng.choice([str(rng.randint(1, 6)), *rarely(rng, ["", "x", "01", "-1", "é"], [])])
    fields = rarely(rng, [], [raw.text(0x94, identifier)])
    if kind == "get":
        return raw.item(
            raw.GET, *fields, *rarely(rng, [raw.enumeration(0x42, 2)], []), number=number
        )
    if kind == "attributes":
        names = rng.sample(rarely(rng, UNKNOWN, KNOWN), rng.randint(1, 5))
        names += rarely(rng, names[:1], [])
        return raw.item(
            raw.GET_ATTRIBUTES, *fields, *(raw.text(0x0A, each) for each in names), number=number
        )
    if kind == "locate":
        tags = rng.choice([[], [], [0x4F], [0xD4], [0x4F, 0xD4], *rarely(rng, [[0xD4, 0x4F]], [])])
        limits = [raw.integer(tag, rarely(rng, -1, rng.randint(0, 3))) for tag in tags]
        names = [*rng.sample(KNOWN, rng.randint(0, 2)), *rarely(rng, KNOWN, [])]
        filters = [attribute(rng, name) for name in names]
        return raw.item(raw.LOCATE, *limits, *filters, number=number)
    if rng.random() < 0.5:
        functions = rng.sample(range(1, 7), rng.randint(1, 3))
        return raw.query(*rarely(rng, [99], functions), number=number)
    versions = rng.sample([*VERSIONS, (3, 0)], rng.randint(0, 2))
    return raw.item(raw.DISCOVER_VERSIONS, *map(raw.protocol, versions), number=number)


def request(rng: Random) -> bytes:
    """The value of a request that only reads; a few are damaged."""
    number = rng.choice([1, 1, 1, 2, 3, 5])
    batch = [item(rng, rarely(rng, 1, None) if number == 1 else each) for each in range(number)]
    options = [
        *rng.choice([[], [], [raw.integer(0x50, 1 << 20)], [raw.integer(0x50, 250)]]),
        *rarely(rng, [raw.boolean(0x07, True)], []),
        *rng.choice([[], [raw.enumeration(0x0E, 1)], [raw.enumeration(0x0E, 2)]]),
        *rng.choice([[], [], [raw.boolean(0x10, True)]]),
        *rarely(rng, [raw.ttlv(0x10, raw.BOOLEAN, bytes(7) + b"2")], []),
    ]
    version = rng.choice(rarely(rng, VERSIONS, VERSIONS[:-1]))
    value = bytearray(raw.request(batch, version=version, options=options)[8:])
    for _ in range(rng.choices([0, 1, 2], [18, 1, 1])[0]):
        value[rng.randrange(len(value))] ^= 1 << rng.randrange(8)
    return bytes(value)


@contextmanager
def engines(directory: Path, objects: Sequence[Stored]) -> Iterator[tuple[Counting, Engine]]:
    made = Counting(directory / "counting.sqlite"), Slow(directory / "slow.sqlite")
    try:
        for engine in made:
            fill(engine, objects)
        yield made
    finally:
        for engine in made:
            engine.close()


@pytest.mark.sampled
@pytest.mark.parametrize("seed", some(range(8), most=2))
def test_every_answer_has_the_bytes_of_pykmip_s(seed: int, tmp_path: Path) -> None:
    rng = Random(seed)
    objects = [stored(rng) for _ in range(rng.randint(6, 9))]
    with engines(tmp_path, objects) as (counting, slow):
        for number in range(150):
            asked, client = request(rng), rng.choices(CLIENTS, [8, 2, 1])[0]
            answers = [timeless(each.answer(asked, client)) for each in (counting, slow)]
            assert answers[0] == answers[1], (number, asked.hex())
        assert counting.slow < 145  # most of them unusual, damaged, or for objects of others


# The filer's requests


class CountingServer(KeyServer):
    """A key server whose engine counts the requests for PyKMIP's."""

    engine: Counting

    def _engine(self) -> Engine:
        self.engine = Counting(self.store, self._refuse_lost_store)
        return self.engine


@pytest.fixture
def counted(server: KeyServer) -> Iterator[CountingServer]:
    server.stop()
    with CountingServer(server.directory, server.address, server.port) as counting:
        yield counting


def test_the_filer_reads_without_pykmip_s_engine(counted: CountingServer) -> None:
    client = client_of(counted)
    pairs = [new_pair() for _ in range(20)]
    for pair in pairs:
        client.store(pair, PARENT_TAG)
    client.probe()
    client.fetch()
    counted.engine.slow = 0
    for _ in range(2):
        client.probe()
        assert {pair.key_id for pair in client.fetch()} == {pair.key_id for pair in pairs}
        assert [pair.key for pair in client.find(pairs[3].key_id)] == [pairs[3].key]
        assert client.held([pairs[4].key_id, "0" * 64]) == {pairs[4].key_id}
    assert counted.engine.slow == 0


@pytest.mark.parametrize("version", VERSIONS[:-1])
def test_the_forms_of_locate_need_no_engine(
    version: tuple[int, int], counted: CountingServer
) -> None:
    raw.ask(counted, raw.request([raw.register("key 1")]))
    counted.engine.slow = 0
    batch = []
    for seed in range(40):
        rng = Random(seed)
        names = rng.sample(KNOWN, rng.randint(0, 5))
        filters = [attribute(Unsurprising(seed), name) for name in names]
        limits = [raw.integer(tag, 1) for tag in rng.choice([[], [0x4F], [0xD4], [0x4F, 0xD4]])]
        batch.append(raw.item(raw.LOCATE, *limits, *filters, number=seed + 1))
    outcomes = raw.ask(counted, raw.request(batch, version=version)).items
    assert [each.status for each in outcomes] == [raw.SUCCESS] * len(batch)
    assert counted.engine.slow == 0


class Unsurprising(Random):
    """Chooses nothing that is rare."""

    def random(self) -> float:
        return 0.5 + super().random() / 2


def test_reading_does_not_wait_for_the_engine(counted: CountingServer) -> None:
    (registered,) = raw.ask(counted, raw.request([raw.register("a")])).items
    (identifier,) = registered.identifiers
    done = threading.Event()
    with counted.engine._lock:  # as while another client's request is processed
        reads = [raw.locate("a", number=1), raw.get(identifier, number=2)]
        outcomes = raw.ask(counted, raw.request(reads)).items
        done.set()
    assert done.is_set()
    assert [each.status for each in outcomes] == [raw.SUCCESS, raw.SUCCESS]


def test_what_is_confirmed_is_read_at_once_and_what_is_destroyed_no_more(
    counted: CountingServer,
) -> None:
    for name in ("a", "b", "c"):
        (registered,) = raw.ask(counted, raw.request([raw.register(name)])).items
        (identifier,) = registered.identifiers
        located = raw.ask(counted, raw.request([raw.locate(name)])).items[0]
        assert located.identifiers == [identifier]
        destroy = raw.item(raw.DESTROY, raw.text(0x94, identifier))
        assert raw.ask(counted, raw.request([destroy])).items[0].status == raw.SUCCESS
        located = raw.ask(counted, raw.request([raw.locate(name)])).items[0]
        assert located.identifiers == []
        read = raw.ask(counted, raw.request([raw.get(identifier)])).items[0]
        assert read.status == raw.FAILED


# Indexes


def plans(server: KeyServer) -> list[str]:
    """Return the steps of all statements of the reader, as SQLite plans them."""
    rights = [Scope("default", [7], of_all=False), Scope("public", range(1, 9), of_all=True)]
    every = Filters(None, "a", ("filer", "1"), "g", 2)
    one = [Filters(name="a"), Filters(application=("filer", "1")), Filters(group="g")]
    statements: list[str] = []
    rows = Rows(server.store)
    with rows.snapshot() as snapshot:
        snapshot._connection.set_trace_callback(statements.append)
        for filters in (Filters(), *one, Filters(state=2), every):
            snapshot.located("filer", rights, filters)
            snapshot.located("filer", rights, filters._replace(kind=7))
        snapshot.secrets([1, 2], described=True)
        snapshot._connection.set_trace_callback(None)
    rows.close()
    with closing(sqlite3.connect(server.store)) as store:
        steps = [store.execute(f"EXPLAIN QUERY PLAN {each}") for each in statements]
        return [str(detail) for rows in steps for *_, detail in rows]


def test_no_statement_scans_a_table(server: KeyServer) -> None:
    def scans() -> list[str]:
        return [step for step in plans(server) if step.startswith("SCAN ") and "(" not in step]

    assert len(plans(server)) > 30
    assert scans() == []
    with closing(sqlite3.connect(server.store)) as store, store:
        for name in schema(server.store) - {"filer_removal"}:
            store.execute(f"DROP INDEX {name}")
    assert scans() != []


def schema(store: Path) -> set[str]:
    with closing(sqlite3.connect(store)) as connection:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE name LIKE 'filer_%'")
        return {name for (name,) in rows}


def test_an_old_store_gets_its_indexes_at_the_next_start(server: KeyServer) -> None:
    pair = new_pair()
    client_of(server).store(pair, PARENT_TAG)
    expected = schema(server.store)
    assert len(expected) == 10
    server.stop()
    with closing(sqlite3.connect(server.store)) as connection, connection:
        for name in expected:
            kind = "TRIGGER" if name == "filer_removal" else "INDEX"
            connection.execute(f"DROP {kind} {name}")
    assert schema(server.store) == set()
    server.start()
    assert schema(server.store) == expected
    assert [each.key_id for each in client_of(server).fetch()] == [pair.key_id]
    before = server.store.read_bytes()
    server.stop()
    server.start()
    assert server.store.read_bytes() == before


# Destroy


def counts(store: Path) -> dict[str, int]:
    """Return how many rows each table has."""
    with closing(sqlite3.connect(store)) as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        )
        return {
            name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
            for (name,) in tables
        }


def test_destroy_leaves_no_row(server: KeyServer) -> None:
    client = client_of(server)
    kept, pair = new_pair(), new_pair()
    client.store(kept, PARENT_TAG)
    before = counts(server.store)
    identifier = client.store(pair, PARENT_TAG)
    assert counts(server.store) != before
    assert client.take_back(pair.key_id, pair.key, identifier)
    assert counts(server.store) == before


def test_destroy_leaves_no_row_of_any_type(server: KeyServer) -> None:
    from tests.keyserver.test_conformance import every_object

    before = counts(server.store)
    with pykmip(server) as client:
        identifiers = [client.register(make()) for make in every_object().values()]
        assert counts(server.store) != before
        for identifier in identifiers:
            client.destroy(identifier)
    assert counts(server.store) == before


def test_a_group_that_another_object_has_too_is_kept(server: KeyServer) -> None:
    identifiers = [client_of(server).store(new_pair(), PARENT_TAG) for _ in range(2)]
    with closing(sqlite3.connect(server.store)) as connection, connection:
        connection.execute("UPDATE object_group_map SET object_group_id = 1")
        connection.execute("DELETE FROM managed_objects WHERE uid = ?", identifiers[:1])
        assert connection.execute("SELECT id FROM object_groups").fetchall() == [(1,), (2,)]
        connection.execute("DELETE FROM managed_objects WHERE uid = ?", identifiers[1:])
        assert connection.execute("SELECT id FROM object_groups").fetchall() == [(2,)]


def test_a_snapshot_is_of_one_moment_and_its_connection_is_used_again(server: KeyServer) -> None:
    client_of(server).store(new_pair(), PARENT_TAG)
    rows = Rows(server.store)
    for _ in range(3):
        with rows.snapshot() as snapshot:
            found = snapshot.secrets([1], described=True)
            assert snapshot.located("filer", [], Filters()) == []
            assert found[1].names
    assert rows._idle.qsize() == 1
    with rows.snapshot() as snapshot:
        rows.close()
    assert rows._idle.qsize() == 0
