"""Delays against password guessing, which grow with the failures of a network and user."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import KW_ONLY, dataclass, field
from heapq import heappop, heappush
from ipaddress import ip_address
from itertools import count

Pair = tuple[str, str]
"""The network of an address, and a user."""

Rank = tuple[int, int]
"""The failures of the network of a try, then those of its pair; the lowest rank goes first."""


def network_of(address: str) -> str:
    """Return the part of an address that identifies a client: an IPv4 address, or an IPv6 /64.

    An IPv6 client usually has all addresses of a /64.
    """
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return ip.exploded[:19] if ip.version == 6 else str(ip)


@dataclass(eq=False, repr=False)
class Delays:
    """The delays before the next try of each pair of network and user.

    The tries of a pair run one at a time, so many connections gain nothing.  After each failure
    the delay doubles, from ``first`` to ``longest`` seconds.  A pair is forgotten after a success,
    ``forgotten`` seconds after its last failure, or, if there are more than ``most`` pairs, when it
    has failed least often.
    """

    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    _: KW_ONLY
    first: float = 1.0
    longest: float = 60.0
    forgotten: float = 3600.0
    most: int = 1024
    _pairs: "dict[Pair, _Failures]" = field(default_factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._pairs)

    @asynccontextmanager
    async def try_of(self, pair: Pair) -> "AsyncIterator[Try]":
        """Wait until ``pair`` may try; count a failure unless the block marks the try as a success.

        A cancelled try counts as a failure: its check may go on in another thread.
        """
        failures = self._failures_of(pair)
        failures.tries += 1
        try:
            async with failures.turn:
                wait = failures.last + self._delay(failures.count) - self.now()
                if wait > 0:
                    await self.sleep(wait)
                attempt = Try((self._failures_of_network(pair[0]), failures.count))
                try:
                    yield attempt
                finally:
                    failures.count = 0 if attempt.succeeded else failures.count + 1
                    failures.last = self.now()
        finally:
            failures.tries -= 1

    def _delay(self, count: int) -> float:
        """Return the seconds that a pair waits after ``count`` failures in a row."""
        return min(self.longest, self.first * 2.0 ** min(count - 1, 30)) if count else 0.0

    def _failures_of_network(self, network: str) -> int:
        """Return the failures of all users from ``network``, including running tries.

        Guesses with ever new user names are pairs without failures, so they count together.  A
        success clears only its own pair; otherwise one account would suffice to go on guessing.
        """
        since = self.now() - self.forgotten
        return sum(
            each.tries + (each.count if each.last > since else 0)
            for (other, _), each in self._pairs.items()
            if other == network
        )

    def _failures_of(self, pair: Pair) -> "_Failures":
        now = self.now()
        known = self._pairs.get(pair)
        if known is not None and (known.tries or now - known.last < self.forgotten):
            return known
        if len(self._pairs) >= self.most:
            self._forget(now)
        self._pairs[pair] = _Failures(now)
        return self._pairs[pair]

    def _forget(self, now: float) -> None:
        """Make room: forget old pairs, or else the pair that has failed least often."""
        free = {pair: each for pair, each in self._pairs.items() if not each.tries}
        old = [
            pair
            for pair, each in free.items()
            if not each.count or now - each.last >= self.forgotten
        ]
        least = min(free, key=lambda pair: (free[pair].count, free[pair].last), default=None)
        for pair in old or ([least] if least else []):
            del self._pairs[pair]


@dataclass
class Try:
    """One try of a password."""

    rank: Rank
    succeeded: bool = False


@dataclass(eq=False)
class _Failures:
    """The failures of a pair in a row, the time of the last, and the number of running tries."""

    last: float
    count: int = 0
    tries: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Checks:
    """Checks passwords in threads; the waiting check with the fewest failures goes first.

    Among equals the newest goes first: under a flood of guesses, the oldest ones would be served
    just before their clients give up, so all would be too late.
    """

    def __init__(self, executor: Executor, most: int) -> None:
        """Allow ``most`` checks at a time; ``executor`` must have that many threads."""
        self._executor = executor
        self._free = most
        self._order = count()
        self._waiting: list[tuple[Rank, int, asyncio.Future[None]]] = []

    async def run(self, rank: Rank, check: Callable[[], bool]) -> bool:
        """Run ``check`` when its ``rank`` is the lowest of those that wait; return its result."""
        loop = asyncio.get_running_loop()
        if self._free:
            self._free -= 1
        else:
            turn = loop.create_future()
            heappush(self._waiting, (rank, -next(self._order), turn))
            try:
                await turn
            except asyncio.CancelledError:
                if not turn.cancelled():
                    self._pass_on()
                raise
        work = loop.run_in_executor(self._executor, check)
        work.add_done_callback(self._finished)
        return await asyncio.shield(work)  # a thread cannot be stopped, so it keeps its turn

    def _finished(self, work: "asyncio.Future[bool]") -> None:
        if not work.cancelled():
            work.exception()  # the client may have gone; asyncio would log the exception
        self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting:
            *_, turn = heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
