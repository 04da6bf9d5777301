"""Rows for ``filer-keyserver``, compared with PyKMIP's own server."""

import resource
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

from bench import stock
from bench.measuring import BARE_PYTHON, interleave, process_cpu_seconds, seconds
from bench.network import connected, exchange
from bench.row import Row, at_most, faster
from bench.workshop import KeyServers, Workshop, free_port, processes
from filer.kmip.answers import Success, decode
from filer.kmip.client import KmipClient
from filer.kmip.connection import TlsConnection
from filer.kmip.requests import encode, get, locate_all

_PATIENCE = 120.0
_DESCRIPTORS = 256


@contextmanager
def _stock(shop: Workshop, ours: KeyServers) -> Iterator[KeyServers]:
    """Run PyKMIP's server with the same certificates and a copy of the store."""
    directory, port, address = shop.new("pykmip"), free_port(), ours.addresses[0]
    shutil.copy(ours.directory / f"{address}.sqlite", directory / "store")
    command = stock.command(directory, ours.directory, address, port)
    with processes([command]) as process_ids:
        yield KeyServers(ours.directory, ours.addresses, port, process_ids)


def keyserver(shop: Workshop) -> Iterator[Row]:
    """Measure Locate and a batched Get of a thousand objects."""
    objects = 16 if shop.quick else 1000
    with ExitStack() as stack:
        ours = stack.enter_context(shop.key_servers(1, objects))
        stock = stack.enter_context(_stock(shop, ours))
        located = _identifiers(ours)
        for what, requests in (
            (
                f"`filer-keyserver`: Locate of {objects}",
                [encode([locate_all()], 0)],
            ),
            (
                f"`filer-keyserver`: Get of {objects} in a batch",
                [encode([get(each) for each in located], 0)],
            ),
        ):
            mine, theirs = interleave(
                shop.times(5),
                partial(seconds, partial(_ask, ours, requests)),
                partial(seconds, partial(_ask, stock, requests)),
            )
            yield Row(what, mine, faster(5), theirs, "PyKMIP's KmipServer")


def keyserver_boot(shop: Workshop) -> Iterator[Row]:
    """Measure the CPU time of the server for a filer's boot, with many filers in its store."""
    filers = 2 if shop.quick else 200
    python = partial(process_cpu_seconds, BARE_PYTHON)
    for pairs, times in ((14, 1.0), (128, 2.0)):
        with shop.key_servers(1, pairs, filers) as many, shop.key_servers(1, pairs) as one:
            ours, alone, bare = interleave(
                shop.times(9), partial(_boot, many), partial(_boot, one), python
            )
        what = f"`filer-keyserver`: CPU for a boot of {pairs} pairs"
        yield Row(f"{what}, {filers} filers", ours, at_most(times), bare, "bare Python's start")
        yield Row(f"{what}, {filers} filers", ours, at_most(1.2), alone, "store of one filer")


def keyserver_idle(shop: Workshop) -> Iterator[Row]:
    """Measure a client beside idle ones, which need more descriptors than the server may have."""
    with ExitStack() as servers:
        crowded, quiet = (servers.enter_context(shop.key_servers(1, 14)) for _ in range(2))
        (process,) = crowded.process_ids
        resource.prlimit(process, resource.RLIMIT_NOFILE, (_DESCRIPTORS, _DESCRIPTORS))
        beside, alone = (
            servers.enter_context(connected(each, each.addresses[0])) for each in (crowded, quiet)
        )
        for idle in (10,) if shop.quick else (500, 1000):
            with ExitStack() as clients:
                for number in range(idle):
                    address = (crowded.addresses[0], crowded.port)
                    clients.enter_context(socket.create_connection(address, _PATIENCE))
                    if number % 50 == 0:
                        _locate(beside)  # it is not idle
                ours, theirs = interleave(
                    shop.times(9),
                    partial(seconds, partial(_locate, beside, 50)),
                    partial(seconds, partial(_locate, alone, 50)),
                )
            what = f"`filer-keyserver`: 50 requests beside {idle} idle clients"
            yield Row(what, ours, at_most(1.5), theirs, "no idle client")


def _locate(connection: TlsConnection, times: int = 1) -> None:
    for _ in range(times):
        exchange(connection, encode([locate_all()], 0))


def _boot(servers: KeyServers) -> float:
    """Return the CPU time of the key server for one boot of a filer."""
    (process,) = servers.process_ids
    address = servers.addresses[0]
    client = KmipClient(address, servers.port, servers.credentials(address), _PATIENCE)
    before = _cpu_seconds(process)
    client.fetch()
    return _cpu_seconds(process) - before


def _cpu_seconds(process: int) -> float:
    """Return the CPU time that a running process has used, its ended threads included."""
    return time.clock_gettime((~process << 3) | 2)  # as clock_getcpuclockid(3) does on Linux


def _identifiers(servers: KeyServers) -> Sequence[str]:
    item = locate_all()
    with connected(servers, servers.addresses[0]) as connection:
        (outcome,) = decode(exchange(connection, encode([item], 0)), [item], 0)
    assert isinstance(outcome, Success)
    return outcome.identifiers


def _ask(servers: KeyServers, requests: Sequence[bytes]) -> None:
    with connected(servers, servers.addresses[0]) as connection:
        for request in requests:
            exchange(connection, request)
