"""The registered key servers, queried in parallel."""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from filer.host.text import listed
from filer.key_servers.holdings import Holdings
from filer.keys.pair import NO_TAG, KeyPair
from filer.kmip.client import KeyServerFailure, KmipClient
from filer.kmip.failure import PartlyRead, ServerRefusal, interrupted, not_done
from filer.running.interrupt import Interrupt
from filer.running.progress import Show, Wait, show_nothing

T = TypeVar("T")

_FOR_THE_REST = 4
"""Timeouts that a boot waits for the other servers, once it has the keys of all disks."""


@dataclass(frozen=True)
class Answers(Generic[T]):
    """The results of some servers and the failures of the others, both in order of registration."""

    answers: Mapping[str, T]
    failures: Mapping[str, KeyServerFailure]


@dataclass
class KeyServers:
    """The key servers that one command uses.

    A command does not query a server again that has failed, except to take a key pair back, which
    may have arrived there.  ``last_heard`` outlives the command: whether each server answered its
    last query.
    """

    servers: Mapping[str, KmipClient]
    interrupt: Interrupt
    failed: dict[str, KeyServerFailure] = field(default_factory=dict)
    last_heard: dict[str, bool] = field(default_factory=dict)
    untagged: list[str] = field(default_factory=list)
    show: Show = show_nothing
    clock: Callable[[], float] = time.monotonic

    def __len__(self) -> int:
        return len(self.servers)

    def probe(self) -> Answers[None]:
        """Make one KMIP exchange with each server."""
        return self._ask(lambda server: server.probe(), interruptible=True)

    def fetch(self, key_ids: Collection[str] = ()) -> Holdings:
        """Read all key pairs, whichever system made them; those with ``key_ids`` first, by name.

        A server that returned only some of its key pairs is among the failures; those pairs count.
        """
        return self._holdings(self._ask(lambda server: server.fetch(key_ids), interruptible=True))

    def fetch_for_boot(self, key_ids: Collection[str]) -> Holdings:
        """Read as `fetch` does, but return early with what has arrived.

        The wait ends when a stop is requested (the request stays pending), and four timeouts after
        the finished servers have returned all ``key_ids`` and at least one key pair.  Unfinished
        servers are among the failures, with the key pairs that they have sent.
        """
        patience = _FOR_THE_REST * max((each.timeout for each in self.servers.values()), default=0)
        end: float | None = None

        def give_up(
            heard: Mapping[str, list[KeyPair] | KeyServerFailure],
        ) -> KeyServerFailure | None:
            nonlocal end
            if self.interrupt.requested:
                return interrupted()
            if end is None:
                shown = {pair.key_id for each in heard.values() for pair in _pairs(each) or ()}
                if shown and shown.issuperset(key_ids):
                    end = self.clock() + patience
            elif self.clock() >= end:
                return not_done(patience)
            return None

        return self._holdings(self._ask(lambda server: server.fetch(key_ids), give_up=give_up))

    def _holdings(self, heard: Answers[list[KeyPair]]) -> Holdings:
        outcomes: dict[str, list[KeyPair] | KeyServerFailure]
        outcomes = {**heard.answers, **heard.failures}
        shown = {each: _pairs(outcomes[each]) for each in self.servers if each in outcomes}
        return Holdings(
            {each: pairs for each, pairs in shown.items() if pairs is not None},
            heard.failures,
            {address: server.unread for address, server in self.servers.items()},
        )

    def held(self, key_ids: Collection[str]) -> Answers[set[str]]:
        """Query which of ``key_ids`` each server has; see `KmipClient.held`."""
        return self._ask(lambda server: server.held(key_ids), interruptible=True)

    def store(self, pair: KeyPair, parent_tag: str) -> Answers[str]:
        """Store ``pair`` on every server; the answers are its unique identifiers there."""
        return self._ask(lambda server: server.store(pair, parent_tag))

    def confirm(self, pair: KeyPair) -> Answers[bool]:
        """Read ``pair`` back from every server by name, as kmip_init does.

        The answer is True for a server that has it unchanged, and nothing else of that name.  Two
        addresses of one server show it twice.  A server that has it but does not show its key has
        failed.  A server may have it without its key tag; its address is added to ``untagged``.
        """

        def has_it(server: KmipClient) -> bool:
            found = server.find(pair.key_id)
            reason = server.unreadable.get(f"key ID {pair.key_id}")
            if reason and not found:
                raise ServerRefusal(reason)
            if any(each.tag == NO_TAG != pair.tag for each in found):
                self.untagged.append(server.address)
            return bool(found) and all(map(pair.matches, found))

        return self._ask(has_it)

    def take_back(self, pair: KeyPair) -> Answers[bool]:
        """Destroy ``pair`` on every server, including those that have failed."""
        self.failed.clear()
        return self._ask(lambda server: server.take_back(pair.key_id, pair.key))

    def warnings(self) -> list[str]:
        """Return the tolerated irregularities and the unreadable objects, a line each."""
        tolerated = [
            f"key server {address}: {warning}"
            for address, server in self.servers.items()
            for warning in dict.fromkeys(server.warnings)
        ]
        return tolerated + self.unreadable()

    def unreadable(self) -> list[str]:
        """Return the objects that could not be read, a line for each server and reason."""
        lines = []
        for address, server in self.servers.items():
            for reason in dict.fromkeys(server.unreadable.values()):
                names = [each for each, why in server.unreadable.items() if why == reason]
                lines.append(f"key server {address}: cannot read {listed(names)}: {reason}")
        return lines

    def _ask(
        self,
        operation: Callable[[KmipClient], T],
        *,
        interruptible: bool = False,
        give_up: Callable[[Mapping[str, T | KeyServerFailure]], KeyServerFailure | None]
        | None = None,
    ) -> Answers[T]:
        """Run ``operation`` on all servers at once, one thread each.

        Every operation has its own deadlines, so this ends.  Pass ``interruptible`` or ``give_up``
        only for an operation that changes nothing: the outcome of a change must be known.
        ``give_up`` is called with the outcomes so far while no new one arrives; it returns the
        failure of the unfinished servers, or None to go on waiting.
        """
        asked = [server for address, server in self.servers.items() if address not in self.failed]
        done: SimpleQueue[tuple[str, T | KeyServerFailure]] = SimpleQueue()

        def work(server: KmipClient) -> None:
            try:
                done.put((server.address, operation(server)))
            except KeyServerFailure as failure:
                done.put((server.address, failure))
            except Exception as defect:  # keep the answers of the other servers
                reason = f"internal error: {type(defect).__name__}"
                done.put((server.address, KeyServerFailure(reason)))

        for server in asked:
            try:
                threading.Thread(target=work, args=(server,), daemon=True).start()
            except RuntimeError:
                done.put((server.address, KeyServerFailure("internal error: no thread")))
        heard: dict[str, T | KeyServerFailure] = {}
        can_end = interruptible or give_up is not None
        with self.show(Wait("key servers", len(asked), can_end)) as tell:
            while len(heard) < len(asked):
                try:
                    address, outcome = done.get(timeout=0.1)
                    heard[address] = outcome
                except Empty:
                    failure = give_up(heard) if give_up else None
                    if failure is not None:
                        for server in asked:
                            heard.setdefault(server.address, server.with_arrived(failure))
                tell(len(heard))
                if interruptible:
                    self.interrupt.check()
        return self._sort(heard)

    def _sort(self, heard: Mapping[str, T | KeyServerFailure]) -> Answers[T]:
        answers: dict[str, T] = {}
        for address in self.servers:
            if address not in heard:
                continue
            outcome = heard[address]
            failed = isinstance(outcome, KeyServerFailure) and not outcome.answered
            self.last_heard[address] = not failed
            if isinstance(outcome, KeyServerFailure):
                self.failed[address] = outcome
            else:
                answers[address] = outcome
        failures = {
            address: self.failed[address] for address in self.servers if address in self.failed
        }
        return Answers(answers, failures)


def _pairs(outcome: Sequence[KeyPair] | KeyServerFailure) -> Sequence[KeyPair] | None:
    """Return the key pairs of an outcome, which may be incomplete; None if there was no answer."""
    if isinstance(outcome, PartlyRead):
        return outcome.pairs
    return None if isinstance(outcome, KeyServerFailure) else outcome
