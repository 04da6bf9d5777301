"""Rows for key servers: many key pairs, distant servers, and servers that do not answer."""

import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from itertools import pairwise
from time import perf_counter

from bench.measuring import cpu_seconds, interleave, peak_memory, seconds
from bench.row import Figure, Row, Unit, at_most, faster
from bench.workshop import (
    IDENTITY,
    Account,
    Booted,
    Code,
    KeyServers,
    Workshop,
    against_earlier,
    free_port,
    processes,
)
from filer.kmip.abilities import Abilities
from filer.kmip.client import KmipClient
from filer.kmip.connection import Deadline, TlsConnection
from filer.kmip.conversation import Conversation
from filer.kmip.exchange import Exchange
from filer.kmip.messages import enums
from filer.kmip.tls import client_context
from filer.kmip.ttlv import HEADER_LENGTH, STRUCTURE, structure_length

_ONE_WAY = 0.010
_RESTORE = "key_manager restore -all"
_END = "filer1\n"
"""The output of hostname."""

_PATIENCE = 120.0
_HEAD = struct.Struct("!II")


class _Recorder(TlsConnection):
    """A connection that records what is sent, one element for each round trip."""

    sent: list[bytes]

    def send(self, data: bytes) -> None:
        self.sent.append(data)
        super().send(data)


@contextmanager
def connected(
    servers: KeyServers, address: str, kind: type[TlsConnection] = TlsConnection
) -> Iterator[TlsConnection]:
    """Connect to a key server by TLS."""
    files = servers.credentials(address)
    context = client_context(files.client, files.client_private, files.ca)
    with kind(address, servers.port, context, Deadline(_PATIENCE)) as connection:
        connection.handshake()
        yield connection


def exchange(connection: TlsConnection, request: bytes) -> bytes:
    """Send a request; return the answer without its first eight bytes."""
    connection.send(request)
    header = connection.receive(HEADER_LENGTH)
    return connection.receive(structure_length(header, enums.Tags.RESPONSE_MESSAGE.value))


def _requests(servers: KeyServers) -> list[bytes]:
    """Return the requests that a filer sends to read all key pairs."""
    with connected(servers, servers.addresses[0], _Recorder) as connection:
        assert isinstance(connection, _Recorder)
        connection.sent = []
        exchange = Exchange(lambda: nullcontext(connection), Deadline(_PATIENCE), Abilities())
        list(Conversation(exchange).key_pairs())
        return connection.sent


def _replay(servers: KeyServers, address: str, requests: list[bytes]) -> list[bytes]:
    with connected(servers, address) as connection:
        return [exchange(connection, request) for request in requests]


def _replay_to_all(servers: KeyServers, requests: list[bytes]) -> None:
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(_replay, servers, each, requests) for each in servers.addresses]:
            done.result()


@contextmanager
def _far_away(servers: KeyServers) -> Iterator[KeyServers]:
    port = free_port()
    command = [sys.executable, "-m", "bench.proxy", str(_ONE_WAY), str(port), str(servers.port)]
    with processes([[*command, *servers.addresses]]) as process_ids:
        yield KeyServers(servers.directory, servers.addresses, port, process_ids)


def restore(shop: Workshop) -> Iterator[Row]:
    """Measure ``restore -all`` from four servers with a round-trip time of 20 ms."""
    pairs = 16 if shop.quick else 128
    what = f"`restore -all`, {pairs} pairs, 4 servers, 20 ms"
    with ExitStack() as stack:
        # The filer requests the first object alone, to measure how fast the server is.
        two_pairs = stack.enter_context(shop.key_servers(1, 2))
        few_trips = len(_requests(two_pairs))
        near = stack.enter_context(shop.key_servers(4, pairs))
        far = stack.enter_context(_far_away(near))
        requests = _requests(near)
        booted = stack.enter_context(shop.account(servers=far).booted())
        ours, together, *alone = interleave(
            shop.times(9),
            partial(seconds, partial(_restore, booted, pairs)),
            partial(seconds, partial(_replay_to_all, far, requests)),
            *(
                partial(seconds, partial(_replay, far, address, requests))
                for address in far.addresses
            ),
        )
        consoles = [stack.enter_context(_console(shop, pairs, code)) for code in shop.versions()]
        piped, *earlier = interleave(
            shop.times(5), *(partial(_restore_by_pipe, each, pairs) for each in consoles)
        )
        one_by_one = Figure.of(
            [seconds(partial(_key_by_key, far, pairs)) for _ in range(shop.times(1))]
        )
    yield Row(
        f"{what}: requests to a server",
        Figure(len(requests), Unit.TRIPS),
        at_most(1),
        Figure(few_trips, Unit.TRIPS),
        "two pairs",
    )
    yield Row(what, ours, faster(20), one_by_one, "ProxyKmipClient, key by key")
    slowest = max(alone, key=lambda figure: figure.value)
    yield Row(what, ours, at_most(1.5), slowest, "slowest server alone, same bytes")
    yield Row(what, ours, at_most(1.15), together, "all four at once, same bytes")
    yield against_earlier(f"{what}, by pipe", piped, faster(4), *earlier)


@contextmanager
def _console(shop: Workshop, pairs: int, code: Code) -> Iterator[subprocess.Popen[str]]:
    """Run a filer that reads commands from a pipe, and its key servers, of version ``code``."""
    with shop.key_servers(4, pairs, code=code) as near, _far_away(near) as servers:
        account = shop.account(servers=servers, code=code)
        with subprocess.Popen(
            account.filer(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=account.environment,
            text=True,
            bufsize=1,
        ) as process:
            yield process
            process.communicate()


def _restore_by_pipe(console: subprocess.Popen[str], pairs: int) -> float:
    """Return how long the command takes in a running console."""
    assert console.stdin is not None
    assert console.stdout is not None
    begun = perf_counter()
    console.stdin.write(f"{_RESTORE}\nhostname\n")
    output = "".join(iter(console.stdout.readline, _END))
    taken = perf_counter() - begun
    if f"Keytable: {pairs} key pairs" not in output:
        raise RuntimeError("not all key pairs were restored")
    return taken


def _restore(booted: Booted, pairs: int) -> None:
    booted.execute(_RESTORE)
    if len(booted.filer.keytable) != pairs:
        raise RuntimeError("not all key pairs were restored")


def _key_by_key(servers: KeyServers, pairs: int) -> None:
    """Read all key pairs of all servers with PyKMIP's own client."""
    from kmip.core.enums import AttributeType
    from kmip.core.factories.attributes import AttributeFactory
    from kmip.pie.client import ProxyKmipClient

    from filer.kmip.requests import NAMESPACE

    wanted = AttributeFactory().create_attribute(
        AttributeType.APPLICATION_SPECIFIC_INFORMATION,
        {"application_namespace": NAMESPACE, "application_data": IDENTITY.parent_tag},
    )
    for address in servers.addresses:
        files = servers.credentials(address)
        with ProxyKmipClient(
            hostname=address,
            port=servers.port,
            cert=str(files.client),
            key=str(files.client_private),
            ca=str(files.ca),
            config_file="/dev/null",
        ) as client:
            found = client.locate(attributes=[wanted])
            if len(found) != pairs:
                raise RuntimeError("not all key pairs were located")
            for identifier in found:
                client.get_attributes(identifier, ["Name", "Object Group", "State"])
                client.get(identifier)


def scaling(shop: Workshop) -> Iterator[Row]:
    """Measure ``restore -all`` with increasing numbers of key pairs on one server."""
    sizes = (1, 16) if shop.quick else (1, 128, 1000, 4000)
    with ExitStack() as stack:
        accounts = [
            shop.account(servers=stack.enter_context(shop.key_servers(1, pairs))) for pairs in sizes
        ]
        used = [Figure(_memory_of_restore(account), Unit.MEGABYTES) for account in accounts]
        all_booted = [stack.enter_context(account.booted()) for account in accounts]
        restored = interleave(
            shop.times(7),
            *(
                partial(seconds, partial(_restore, booted, pairs))
                for booted, pairs in zip(all_booted, sizes, strict=True)
            ),
        )
    times, memory = (dict(zip(sizes, each, strict=True)) for each in (restored, used))
    for fewer, more in pairwise(sizes):
        limit = at_most(more / fewer)
        yield Row(f"`restore -all`, {more} pairs", times[more], limit, times[fewer], f"{fewer}")
    for fewer, more in pairwise(sizes[1:]):
        yield Row(
            f"memory for `restore -all` of {more} pairs",
            _beyond(memory[more], memory[1]),
            at_most(more / fewer),
            _beyond(memory[fewer], memory[1]),
            f"{fewer}",
        )


def _beyond(figure: Figure, base: Figure) -> Figure:
    return Figure(max(figure.value - base.value, 0.1), figure.unit)


def _memory_of_restore(account: Account) -> float:
    return peak_memory(
        account.filer(_RESTORE),
        partial(subprocess.run, env=account.environment, check=True, stdout=subprocess.DEVNULL),
    )


def client(shop: Workshop) -> Iterator[Row]:
    """Measure the processor time of a client that reads all key pairs of one server."""
    for pairs in (1, 16) if shop.quick else (128, 1000):
        with shop.key_servers(1, pairs) as servers:
            (address,) = servers.addresses
            requests = _requests(servers)
            files = servers.credentials(address)
            ours = KmipClient(address, servers.port, files, _PATIENCE)
            mine, theirs = interleave(
                shop.times(9),
                partial(cpu_seconds, partial(_fetch, ours, pairs)),
                partial(cpu_seconds, partial(_split_answers, servers, address, requests)),
            )
        what = f"processor time of a client that reads {pairs} pairs"
        yield Row(what, mine, at_most(2), theirs, "same bytes, only split into elements")


def _fetch(ours: KmipClient, pairs: int) -> None:
    if len(ours.fetch()) != pairs:
        raise RuntimeError("not all key pairs were read")


def _split_answers(servers: KeyServers, address: str, requests: list[bytes]) -> None:
    for answer in _replay(servers, address, requests):
        _split(answer, 0, len(answer))


def _split(data: bytes, at: int, end: int) -> list[object]:
    """Return the elements in a part of a message, at all depths; nothing is checked."""
    found: list[object] = []
    while at < end:
        tag_and_type, length = _HEAD.unpack_from(data, at)
        at += HEADER_LENGTH
        stop = at + length
        is_structure = tag_and_type & 0xFF == STRUCTURE
        found.append((tag_and_type, _split(data, at, stop) if is_structure else data[at:stop]))
        at = stop + -length % 8
    return found


def status(shop: Workshop) -> Iterator[Row]:
    """Measure ``status`` while all servers accept connections but do not answer."""
    timeout = 0.2 if shop.quick else 1.0
    with ExitStack() as stack:
        with shop.key_servers(4, 0) as servers:
            account = shop.account(servers=servers)
            booted = stack.enter_context(account.booted())
        for address in servers.addresses:
            stack.enter_context(socket.create_server((address, servers.port)))
        booted.filer.hardware = booted.filer.hardware._replace(timeout=timeout)
        (ours,) = interleave(
            shop.times(3),
            partial(seconds, partial(booted.execute, "key_manager status", succeeds=False)),
        )
    limit = at_most(1.1)
    yield Row("`status`, 4 silent servers", ours, limit, Figure(timeout), "one timeout")
