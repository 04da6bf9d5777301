"""Checks of speed and of many connections."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from filer.kmip.failure import KeyServerFailure
from filer.kmip.requests import locate_name, query
from filer.qualify.outcome import BLOCKER, WARNING, NotTested, Problem, Statements, check
from filer.qualify.server import Server
from filer.throw_away.message import Tags

_TIMES = 10
_TIMES_BESIDE_OTHERS = 3
_AT_ONCE = (8, 32)
_ON_ONE = 10
_SLOWER = 2
_FAST = 0.1
"""A fetch in this part of the timeout is fast enough, whatever it is compared with."""


@check(BLOCKER, "register-read-back", "key-shapes", "locate-complete", "batches", "single-item")
def pairs_in_time(server: Server) -> Statements:
    """128 key pairs are read in time

    The filer's own client reads 128 pairs as kmip_init does, ten times. Passes if all arrive, and
    in 95 of 100 cases within half the timeout.

    This is a boot. If it takes longer than the timeout, disks stay locked.
    """
    try:
        server.times = _fetched(server, _TIMES)
    except _Incomplete as error:
        yield Problem(BLOCKER, str(error))
        return
    slowest = max(server.times)  # the 95th percentile of ten
    if slowest > server.settings.timeout / 2:
        words = f"{slowest:.2f} s, of a timeout of {server.settings.timeout:g} s"
        yield Problem(BLOCKER, f"reading them takes {words}")
    else:
        yield f"{_median(server.times):.2f} s, {slowest:.2f} s at most"


class _Incomplete(Exception):
    """Not all pairs were read; the text says what was."""


def _fetched(server: Server, times: int) -> list[float]:
    """Read 128 pairs several times and return the seconds of each.  Raises _Incomplete."""
    stored = {
        each.pair.key_id: each.pair.key for each in server.own.populate(server.settings.scale.pairs)
    }
    taken: list[float] = []
    client = server.client(wanted=stored.__contains__)
    for _ in range(times):
        begun = server.clock()
        try:
            read = client.fetch()
        except KeyServerFailure as failure:
            raise _Incomplete(f"they cannot be read: {failure.reason}") from None
        taken.append(server.clock() - begun)
        wrong = [each for each in read if each.key != stored[each.key_id]]
        if wrong or len(read) != len(stored):
            raise _Incomplete(
                f"{len(read)} of {len(stored)} pairs are read, {len(wrong)} with a wrong secret"
            )
    return taken


def _median(times: Sequence[float]) -> float:
    return sorted(times)[len(times) // 2]


@check(WARNING, "pairs-in-time")
def crowded_server(server: Server) -> Statements:
    """Objects of other clients do not slow a filer down

    128 pairs are read beside 1,000 objects that a second client certificate has registered. Passes
    if it takes at most twice as long as without them, or less than a tenth of the timeout.

    A server that searches all objects of all clients becomes slower with every system that uses it.
    """
    if not server.times:
        raise NotTested("the time without others is not known: it needs the check pairs-in-time")
    *_, other = server.foreign.populate(server.settings.scale.others)
    located = server.item(locate_name(other.pair.key_id)).payload.texts(Tags.UNIQUE_IDENTIFIER)
    if other.identifier in located:
        raise NotTested("the server shows the objects of one client to another (isolation)")
    try:
        before, now = _median(server.times), _median(_fetched(server, _TIMES_BESIDE_OTHERS))
    except _Incomplete as error:
        yield Problem(WARNING, str(error))
        return
    words = f"{now:.2f} s beside objects of another client, {before:.2f} s without"
    if now > max(_SLOWER * before, _FAST * server.settings.timeout):
        yield Problem(WARNING, words)
    else:
        yield words


@check(WARNING)
def connections(server: Server) -> Statements:
    """Many connections at once, many requests on one, and one that was idle

    8 connections at once, then 32; ten requests on one connection; one that is idle for 30 s (or
    --idle) and is used again. Passes if every request is answered; a connection may be closed
    between two requests.

    After a power cut all filers of a site boot at once. A server that runs out of connections
    leaves disks locked.
    """
    server.idle()
    for count in _AT_ONCE:
        with ThreadPoolExecutor(count) as pool:
            failures = [each for each in pool.map(_asked, [server] * count) if each]
        if failures:
            yield Problem(WARNING, f"{len(failures)} of {count} at once fail: {failures[0]}")
        else:
            yield f"{count} at once"
    with server.line() as line:
        for request in range(_ON_ONE):
            try:
                line.ask(query())
            except KeyServerFailure as failure:
                if request and not line.tape.answered:
                    yield f"it closes a connection after {request} requests"
                else:
                    yield Problem(WARNING, f"request {request + 1} on one: {failure.reason}")
                break
        else:
            yield f"{_ON_ONE} requests on one"
    yield from _idle(server)


def _asked(server: Server) -> str | None:
    """Return why a request failed, or None."""
    try:
        server.ask(query())
    except KeyServerFailure as failure:
        return failure.reason
    return None


def _idle(server: Server) -> Statements:
    seconds = server.settings.idle
    line, since = server.idle()
    server.recorder.add(line.tape)
    server.pause(max(0.0, since + seconds - server.clock()))
    try:
        line.ask(query())
        yield f"still open after {seconds:g} s"
    except KeyServerFailure as failure:
        if failure.reason.startswith("no answer"):
            yield Problem(WARNING, f"after {seconds:g} s of silence: {failure.reason}")
        else:
            yield f"closed within {seconds:g} s of silence"
