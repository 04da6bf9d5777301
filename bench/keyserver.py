"""Rows for ``filer-keyserver``, compared with PyKMIP's own server."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

from bench import stock
from bench.measuring import interleave, seconds
from bench.network import connected, exchange
from bench.row import Row, faster
from bench.workshop import KeyServers, Workshop, free_port, processes
from filer.kmip.answers import Success, decode
from filer.kmip.requests import encode, get, locate_all


@contextmanager
def _stock(shop: Workshop, ours: KeyServers) -> Iterator[KeyServers]:
    """Run PyKMIP's server with the same certificates and a copy of the store."""
    directory, port, address = shop.new("pykmip"), free_port(), ours.addresses[0]
    shutil.copy(ours.directory / f"{address}.sqlite", directory / "store")
    with processes([stock.command(directory, ours.directory, address, port)]):
        yield KeyServers(ours.directory, ours.addresses, port)


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
            yield Row(what, mine, faster(1.5), theirs, "PyKMIP's KmipServer")


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
