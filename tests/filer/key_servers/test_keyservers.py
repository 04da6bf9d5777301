"""The set of key servers: queried in parallel, each failure reported, no server asked twice."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from filer.key_servers.group import Answers, KeyServers
from filer.key_servers.holdings import Holdings
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.pair import KeyPair
from filer.kmip.client import Credentials, KeyServerFailure, KmipClient
from filer.running.interrupt import Interrupt, Interrupted
from filer.running.progress import Tell, Work
from tests.kit import faulty, pki
from tests.kit.faulty import FaultyKeyServer
from tests.kit.pairs import PARENT_TAG, client_of, new_pair

servers = faulty.servers(3)


def clients_of(
    servers: list[FaultyKeyServer], timeout: float = 10.0, interrupt: Interrupt | None = None
) -> KeyServers:
    """Return the clients of one command."""
    clients = {server.address: client_of(server, timeout) for server in servers}
    return KeyServers(clients, interrupt or Interrupt())


def pairs(holdings: Holdings, server: FaultyKeyServer) -> list[KeyPair]:
    return list(holdings.by_server[server.address])


def test_a_pair_is_stored_on_every_server_and_read_back_from_each(
    servers: list[FaultyKeyServer],
) -> None:
    clients, pair = clients_of(servers), new_pair()
    addresses = [server.address for server in servers]
    stored = clients.store(pair, PARENT_TAG)
    assert (list(stored.answers), dict(stored.failures)) == (addresses, {})
    confirmed = clients.confirm(pair)
    assert dict(confirmed.answers) == dict.fromkeys(addresses, True)
    holdings = clients.fetch()
    assert all(pairs(holdings, server) == [pair] for server in servers)
    assert holdings.key_ids() == {pair.key_id}
    assert holdings.holders(pair.key_id) == addresses


@pytest.mark.parametrize("fault", [faulty.forgets, faulty.keeps_another_secret, faulty.hides_it])
def test_what_was_not_really_kept_is_not_confirmed(
    servers: list[FaultyKeyServer], fault: faulty.Fault
) -> None:
    clients, pair = clients_of(servers), new_pair()
    servers[1].on("ACTIVATE", fault)
    clients.store(pair, PARENT_TAG)
    assert list(clients.confirm(pair).answers.values()) == [True, False, True]


def test_what_is_there_twice_is_one_pair(servers: list[FaultyKeyServer]) -> None:
    pair = new_pair()
    for command in range(2):
        clients = clients_of(servers[: 1 + command])
        clients.store(pair, PARENT_TAG)
    clients = clients_of(servers[:2])
    assert list(clients.confirm(pair).answers.values()) == [True, True]
    assert clients.fetch().contradictions() == {}


def test_another_secret_of_the_same_name_is_not_confirmed(servers: list[FaultyKeyServer]) -> None:
    pair = new_pair()
    for each in pair, pair._replace(key=AuthenticationKey(b"another secret")):
        clients_of(servers[:1]).store(each, PARENT_TAG)
    assert list(clients_of(servers[:1]).confirm(pair).answers.values()) == [False]


def test_all_servers_are_asked_at_the_same_time(servers: list[FaultyKeyServer]) -> None:
    meeting = threading.Barrier(len(servers), timeout=8)

    def meet(_server: FaultyKeyServer, proceed: faulty.Proceed) -> object:
        meeting.wait()
        return proceed()

    asks: dict[str, Callable[[KeyServers], Answers[None] | Answers[str] | Holdings]] = {
        "QUERY": lambda clients: clients.probe(),
        "LOCATE": lambda clients: clients.fetch(),
        "REGISTER": lambda clients: clients.store(new_pair(), PARENT_TAG),
    }
    for operation, ask in asks.items():
        for server in servers:
            server.on(operation, meet, times=1)
        assert not ask(clients_of(servers)).failures


def test_a_server_that_failed_is_not_asked_again_by_the_same_command(
    servers: list[FaultyKeyServer],
) -> None:
    clients = clients_of(servers, timeout=1.0)
    servers[1].on("*", faulty.silent, times=1)
    first = clients.fetch()
    assert first.failures[servers[1].address].reason == "no answer in 1 s"
    heard = len(servers[1].heard)
    again = clients.fetch()
    stored = clients.store(new_pair(), PARENT_TAG)
    assert len(servers[1].heard) == heard
    for answers in (again, stored):
        assert list(answers.failures) == [servers[1].address]
    assert list(stored.answers) == [servers[0].address, servers[2].address]


def test_taking_back_asks_the_silent_server_again(servers: list[FaultyKeyServer]) -> None:
    clients, pair = clients_of(servers, timeout=4.0), new_pair()
    servers[2].on("REGISTER", faulty.silent_after, times=1)
    stored = clients.store(pair, PARENT_TAG)
    assert list(stored.failures) == [servers[2].address]
    assert faulty.stored_key_ids(servers[2]) == [pair.key_id]
    taken = clients.take_back(pair)
    assert (list(taken.answers.values()), dict(taken.failures)) == ([True] * 3, {})
    assert all(faulty.stored_key_ids(server) == [] for server in servers)


def test_taking_back_leaves_every_other_pair_alone(servers: list[FaultyKeyServer]) -> None:
    clients, kept, pair = clients_of(servers), new_pair(), new_pair()
    clients.store(kept, PARENT_TAG)
    clients.store(pair, PARENT_TAG)
    clients.take_back(pair)
    assert all(faulty.stored_key_ids(server) == [kept.key_id] for server in servers)


def test_taking_back_leaves_another_secret_under_the_same_name_alone(
    servers: list[FaultyKeyServer],
) -> None:
    theirs = new_pair(key=b"their-secret")
    ours = KeyPair(theirs.key_id, "tag", AuthenticationKey(b"our-secret"))
    clients_of(servers).store(theirs, PARENT_TAG)
    clients = clients_of(servers)
    clients.store(ours, PARENT_TAG)
    taken = clients.take_back(ours)
    assert all(taken.answers.values())
    holdings = clients_of(servers).fetch()
    assert all(pairs(holdings, server) == [theirs] for server in servers)


def test_taking_back_without_knowing_the_identifier_leaves_another_secret_alone(
    servers: list[FaultyKeyServer],
) -> None:
    theirs = new_pair(key=b"their-secret")
    ours = KeyPair(theirs.key_id, "tag", AuthenticationKey(b"our-secret"))
    clients_of(servers).store(theirs, PARENT_TAG)
    assert all(clients_of(servers).take_back(ours).answers.values())
    holdings = clients_of(servers).fetch()
    assert all(pairs(holdings, server) == [theirs] for server in servers)


@pytest.mark.parametrize("refusing", ["REVOKE", "DESTROY"])
def test_what_cannot_be_taken_back_is_a_failure_of_that_server_alone(
    servers: list[FaultyKeyServer], refusing: str
) -> None:
    clients, pair = clients_of(servers), new_pair()
    clients.store(pair, PARENT_TAG)
    servers[0].on(refusing, faulty.refuses)
    taken = clients.take_back(pair)
    assert list(taken.failures) == [servers[0].address]
    assert [bool(faulty.stored_key_ids(server)) for server in servers] == [True, False, False]


def test_failures_and_answers_stand_in_the_order_registered(
    servers: list[FaultyKeyServer],
) -> None:
    reordered = [servers[2], servers[0], servers[1]]
    servers[2].stop()
    servers[1].stop()
    holdings = clients_of(reordered).fetch()
    assert list(holdings.by_server) == [servers[0].address]
    assert list(holdings.failures) == [servers[2].address, servers[1].address]


def test_an_interrupt_ends_the_reading_but_never_a_change(
    servers: list[FaultyKeyServer],
) -> None:
    interrupt = Interrupt()

    def press(_server: FaultyKeyServer, proceed: faulty.Proceed) -> object:
        interrupt.request()
        return proceed()

    clients, pair = clients_of(servers, interrupt=interrupt), new_pair()
    servers[0].on("*", press)
    stored = clients.store(pair, PARENT_TAG)
    confirmed = clients.confirm(pair)
    taken = clients.take_back(pair)
    assert len(stored.answers) == len(confirmed.answers) == len(taken.answers) == 3
    for ask in (clients.probe, clients.fetch):
        with pytest.raises(Interrupted):
            ask()


def test_an_interrupt_does_not_wait_for_a_silent_server(servers: list[FaultyKeyServer]) -> None:
    interrupt = Interrupt()

    def press_and_hang(server: FaultyKeyServer, _proceed: faulty.Proceed) -> None:
        interrupt.request()
        server.wait_for_release()

    servers[1].on("*", press_and_hang)
    with pytest.raises(Interrupted):
        clients_of(servers, timeout=600.0, interrupt=interrupt).fetch()


@dataclass
class BootWait:
    """A boot that waits for the second of three servers, which holds back all but one key pair.

    ``step`` is called repeatedly once the other two have finished.
    """

    clients: KeyServers
    pairs: list[KeyPair]
    held: faulty.Held
    step: Callable[[], object] = lambda: None

    @contextmanager
    def show(self, _work: Work) -> Iterator[Tell]:
        def tell(done: int) -> None:
            if done == 2 and self.held.reached.is_set():
                self.step()

        yield tell

    def fetch(self, *key_ids: str) -> Holdings:
        return self.clients.fetch_for_boot(key_ids)


@pytest.fixture
def boot_wait(servers: list[FaultyKeyServer]) -> Iterator[BootWait]:
    clients, held = clients_of(servers, timeout=600.0), faulty.Held()
    wait = BootWait(clients, [new_pair() for _ in range(3)], held)
    for pair in wait.pairs:
        clients.store(pair, PARENT_TAG)
    servers[1].on("GET", faulty.then(faulty.obeys, "GET", held), times=1)
    clients.show = wait.show
    yield wait
    held.release()


def test_an_interrupted_boot_keeps_what_has_arrived(
    servers: list[FaultyKeyServer], boot_wait: BootWait
) -> None:
    interrupt = boot_wait.clients.interrupt
    boot_wait.step = interrupt.request
    holdings = boot_wait.fetch(new_pair().key_id)
    assert interrupt.requested
    assert [len(pairs(holdings, server)) for server in servers] == [3, 1, 3]
    assert pairs(holdings, servers[1])[0] in boot_wait.pairs
    ((address, failure),) = holdings.failures.items()
    assert (address, failure.reason) == (servers[1].address, "interrupted")


def test_a_boot_that_has_the_keys_of_the_disks_waits_four_timeouts_for_the_rest(
    servers: list[FaultyKeyServer], boot_wait: BootWait
) -> None:
    now = 0.0

    def pass_time() -> None:
        nonlocal now
        now += 400

    boot_wait.step, boot_wait.clients.clock = pass_time, lambda: now
    holdings = boot_wait.fetch(*(pair.key_id for pair in boot_wait.pairs))
    assert 4 * 600 <= now <= 6 * 600
    assert [len(pairs(holdings, server)) for server in servers] == [3, 1, 3]
    ((address, failure),) = holdings.failures.items()
    assert (address, failure.reason) == (servers[1].address, "not done in 2400 s")


def test_a_boot_waits_for_a_slow_server_while_a_disk_has_no_key(
    servers: list[FaultyKeyServer], boot_wait: BootWait
) -> None:
    now = 0.0

    def pass_time() -> None:
        nonlocal now
        now += 400
        if now > 20 * 600:
            boot_wait.held.release()

    boot_wait.step, boot_wait.clients.clock = pass_time, lambda: now
    holdings = boot_wait.fetch(new_pair().key_id)
    assert [len(pairs(holdings, server)) for server in servers] == [3, 3, 3]
    assert not holdings.failures


def test_a_defect_in_one_thread_costs_that_server_only(servers: list[FaultyKeyServer]) -> None:
    class Defect(Exception):
        pass

    class Broken(KmipClient):
        def probe(self) -> None:
            raise Defect

    clients = clients_of(servers)
    files = Credentials(Path(), Path(), Path())
    broken = Broken(servers[0].address, 1, files, 1.0)
    heard = KeyServers({**clients.servers, servers[0].address: broken}, Interrupt()).probe()
    assert {address: failure.reason for address, failure in heard.failures.items()} == {
        servers[0].address: "internal error: Defect"
    }
    assert servers[1].address in heard.answers


def test_warnings_name_the_server_and_are_said_once(servers: list[FaultyKeyServer]) -> None:
    authority = pki.authority_of(servers[0])
    pki.serve_as(servers[0], pki.server(authority, common_name=servers[0].address))
    clients = clients_of(servers)
    clients.probe()
    clients.fetch()
    (warning,) = clients.warnings()
    assert warning.startswith(f"key server {servers[0].address}: accepted without subjectAltName")


def test_no_servers_give_no_answers() -> None:
    nobody = KeyServers({}, Interrupt())
    assert len(nobody) == 0
    assert dict(nobody.probe().answers) == {}
    assert nobody.fetch().pairs() == []


# Comparing what servers hold

A, B = new_pair(key=b"one"), new_pair(key=b"two")
WRONG = KeyPair(A.key_id, "tag", AuthenticationKey(b"a lie"))


def holdings(**held: list[KeyPair]) -> Holdings:
    return Holdings(held, {"down": KeyServerFailure("connection refused")})


def test_the_same_secret_on_several_servers_or_twice_on_one_is_no_contradiction() -> None:
    same = holdings(one=[A, A, B], two=[A])
    assert same.contradictions() == {}
    assert same.servers_with_another(A.key_id, A.key) == []
    assert same.holds(A.key_id, A.key)
    assert same.key_ids() == {A.key_id, B.key_id}
    assert same.holders(B.key_id) == ["one"]


def test_different_secrets_on_two_servers_contradict_each_other() -> None:
    different = holdings(one=[A, B], two=[WRONG], three=[B])
    assert different.contradictions() == {A.key_id: ["one", "two"]}
    assert different.servers_with_another(A.key_id, A.key) == ["two"]
    assert different.servers_with_another(A.key_id, WRONG.key) == ["one"]


def test_different_secrets_on_one_server_contradict_each_other() -> None:
    different = holdings(one=[A, WRONG])
    assert different.contradictions() == {A.key_id: ["one"]}
    assert different.servers_with_another(A.key_id, A.key) == ["one"]


def test_a_key_is_held_only_under_its_own_key_id_with_its_own_secret() -> None:
    held = holdings(one=[WRONG], two=[B])
    assert not held.holds(A.key_id, A.key)
    assert not held.holds(A.key_id, B.key)
    assert held.holds(A.key_id, WRONG.key)
