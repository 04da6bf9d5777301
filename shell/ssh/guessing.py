"""Slows the guessing of passwords: the longer, the more an address has failed for a user."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from heapq import heappop, heappush
from ipaddress import ip_address
from itertools import count

Pair = tuple[str, str]
"""The network of an address, and a user."""

Rank = tuple[int, int]
"""What speaks against a try: the failures of its network, then those of its pair."""

_MOST_PAIRS = 1024


def network_of(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 of an IPv6 address.

    The owner of an IPv6 network has all addresses of a /64.
    """
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return ip.exploded[:19] if ip.version == 6 else str(ip)


class Delays:
    """How long each pair of network and user has to wait for its next try.

    The tries of a pair follow one another, so many connections gain nothing.  After each failure
    the wait doubles, from ``first`` to ``longest`` seconds.  A pair is forgotten after a success,
    ``forgotten`` seconds after its last failure, or, when there are too many pairs, if it has
    failed less often than the others.
    """

    def __init__(
        self,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        *,
        first: float = 1.0,
        longest: float = 60.0,
        forgotten: float = 3600.0,
        most: int = _MOST_PAIRS,
    ) -> None:
        self._now = now
        self._sleep = sleep
        self._first = first
        self._longest = longest
        self._forgotten = forgotten
        self._most = most
        self._pairs: dict[Pair, _Failures] = {}

    def __len__(self) -> int:
        return len(self._pairs)

    @asynccontextmanager
    async def try_of(self, pair: Pair) -> "AsyncIterator[Try]":
        """Wait until ``pair`` may try, and count a failure unless the try is marked as a success.

        A try that is broken off counts as a failure: its check may go on in another thread.
        """
        failures = self._failures_of(pair)
        failures.tries += 1
        try:
            async with failures.turn:
                wait = failures.last + self._delay(failures.count) - self._now()
                if wait > 0:
                    await self._sleep(wait)
                attempt = Try((self._failures_of_network(pair[0]), failures.count))
                try:
                    yield attempt
                finally:
                    failures.count = 0 if attempt.succeeded else failures.count + 1
                    failures.last = self._now()
        finally:
            failures.tries -= 1

    def _delay(self, count: int) -> float:
        """Return how long a pair waits after ``count`` failures in a row."""
        return min(self._longest, self._first * 2.0 ** min(count - 1, 30)) if count else 0.0

    def _failures_of_network(self, network: str) -> int:
        """Return the failures of all users from ``network``, with the tries that are under way.

        Guesses under ever new names are pairs that have never failed.  A success takes away the
        failures of its own pair only, or an account would be enough to go on guessing.
        """
        since = self._now() - self._forgotten
        return sum(
            each.tries + (each.count if each.last > since else 0)
            for (other, _), each in self._pairs.items()
            if other == network
        )

    def _failures_of(self, pair: Pair) -> "_Failures":
        now = self._now()
        known = self._pairs.get(pair)
        if known is not None and (known.tries or now - known.last < self._forgotten):
            return known
        if len(self._pairs) >= self._most:
            self._forget(now)
        self._pairs[pair] = _Failures(now)
        return self._pairs[pair]

    def _forget(self, now: float) -> None:
        """Make room: forget what is old, else the pair that has failed least often."""
        free = {pair: each for pair, each in self._pairs.items() if not each.tries}
        old = [
            pair
            for pair, each in free.items()
            if not each.count or now - each.last >= self._forgotten
        ]
        least = min(free, key=lambda pair: (free[pair].count, free[pair].last), default=None)
        for pair in old or ([least] if least else []):
            del self._pairs[pair]


class Try:
    """One try of a password."""

    def __init__(self, rank: Rank) -> None:
        self.rank = rank
        self.succeeded = False


class _Failures:
    """The failures of a pair in a row, the last of them at ``last``, and its tries under way."""

    def __init__(self, now: float) -> None:
        self.count = 0
        self.last = now
        self.tries = 0
        self.turn = asyncio.Lock()


class Checks:
    """Checks passwords in other threads; of those that wait, who has failed least goes first.

    Among equals the newest goes first: under a flood of guesses, the oldest would be served just
    before they give up, and no one in time.
    """

    def __init__(self, executor: Executor, most: int) -> None:
        """Let ``most`` checks run at the same time, in as many threads of ``executor``."""
        self._executor = executor
        self._free = most
        self._order = count()
        self._waiting: list[tuple[Rank, int, asyncio.Future[None]]] = []

    async def run(self, rank: Rank, check: Callable[[], bool]) -> bool:
        """Return what ``check`` returns, once it is the turn of one with this rank."""
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
        return await asyncio.shield(work)  # a thread cannot be stopped, so its turn goes on

    def _finished(self, work: "asyncio.Future[bool]") -> None:
        if not work.cancelled():
            work.exception()  # if its client has gone, no one else looks at it
        self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting:
            *_, turn = heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
