"""The registered key servers, asked all at the same time."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from filer.holdings import Holdings
from filer.interrupt import Interrupt
from filer.key_server_failure import PartlyRead
from filer.keytable import KeyPair
from filer.kmip import KeyServer, KeyServerFailure
from filer.progress import Show, Wait, show_nothing
from filer.text import listed

T = TypeVar("T")


@dataclass(frozen=True)
class Answers(Generic[T]):
    """What the key servers said, and why others did not; both in the order registered."""

    answers: Mapping[str, T]
    failures: Mapping[str, KeyServerFailure]


@dataclass
class KeyServers:
    """The key servers one command talks to.

    A server that failed once is not asked again by the same command; taking a key pair back is
    the exception, since the pair may have arrived on a server that fell silent.  Whether each
    answered when it was last asked is noted in ``last_heard``, which outlives the command.
    """

    servers: Mapping[str, KeyServer]
    interrupt: Interrupt
    failed: dict[str, KeyServerFailure] = field(default_factory=dict)
    last_heard: dict[str, bool] = field(default_factory=dict)
    show: Show = show_nothing

    def __len__(self) -> int:
        return len(self.servers)

    def probe(self) -> Answers[None]:
        """Make one KMIP exchange with each server."""
        return self._ask(lambda server: server.probe(), interruptible=True)

    def fetch(
        self, parent_tag: str, key_ids: Collection[str] = (), *, interruptible: bool = True
    ) -> Holdings:
        """Read all key pairs that carry ``parent_tag``; those with ``key_ids`` first, by name.

        A server that showed only some of its key pairs is among the failures, and its key pairs
        are among the others.
        """
        heard = self._ask(
            lambda server: server.fetch(parent_tag, key_ids), interruptible=interruptible
        )
        shown = dict(heard.answers)
        for address, failure in heard.failures.items():
            if isinstance(failure, PartlyRead):
                shown[address] = [*failure.pairs]
        return Holdings(
            {each: shown[each] for each in self.servers if each in shown}, heard.failures
        )

    def held(self, key_ids: Collection[str], parent_tag: str) -> Answers[dict[str, bool]]:
        """Ask every server which of ``key_ids`` it has; see ``KeyServer.held``."""
        return self._ask(lambda server: server.held(key_ids, parent_tag), interruptible=True)

    def store(self, pair: KeyPair, parent_tag: str) -> Answers[str]:
        """Store ``pair`` on every server; the answers are the identifiers it has there."""
        return self._ask(lambda server: server.store(pair, parent_tag))

    def confirm(self, pair: KeyPair, parent_tag: str) -> Answers[bool]:
        """Read ``pair`` back from every server; True where it is there, once and unchanged.

        It is looked for by its name, as kmip_init looks for the key of a disk.
        """
        return self._ask(lambda server: server.find(pair.key_id, parent_tag) == [pair])

    def take_back(self, pair: KeyPair) -> Answers[bool]:
        """Destroy ``pair`` wherever it may have arrived, silent servers included."""
        self.failed.clear()
        return self._ask(lambda server: server.take_back(pair.key_id, pair.key))

    def warnings(self) -> list[str]:
        """Return what users should know of the servers although it was tolerated."""
        tolerated = [
            f"key server {address}: {warning}"
            for address, server in self.servers.items()
            for warning in dict.fromkeys(server.warnings)
        ]
        return tolerated + self.unreadable()

    def unreadable(self) -> list[str]:
        """Return which objects could not be read, a line for each server and reason."""
        lines = []
        for address, server in self.servers.items():
            for reason in dict.fromkeys(server.unreadable.values()):
                names = [each for each, why in server.unreadable.items() if why == reason]
                lines.append(f"key server {address}: cannot read {listed(names)}: {reason}")
        return lines

    def _ask(
        self, operation: Callable[[KeyServer], T], *, interruptible: bool = False
    ) -> Answers[T]:
        """Run ``operation`` on all servers at once, one thread each.

        Every operation has deadlines of its own, so this ends.  Only what changes nothing may
        be ``interruptible``: a change that was sent must be known to have arrived or not.
        """
        import threading
        from queue import Empty, SimpleQueue

        asked = [server for address, server in self.servers.items() if address not in self.failed]
        done: SimpleQueue[tuple[str, T | KeyServerFailure]] = SimpleQueue()

        def work(server: KeyServer) -> None:
            try:
                done.put((server.address, operation(server)))
            except KeyServerFailure as failure:
                done.put((server.address, failure))
            except Exception as defect:  # one server must not cost what others have said
                reason = f"internal error: {type(defect).__name__}"
                done.put((server.address, KeyServerFailure(reason)))

        for server in asked:
            try:
                threading.Thread(target=work, args=(server,), daemon=True).start()
            except RuntimeError:
                done.put((server.address, KeyServerFailure("internal error: no thread")))
        heard: dict[str, T | KeyServerFailure] = {}
        with self.show(Wait("key servers", len(asked), interruptible)) as tell:
            while len(heard) < len(asked):
                try:
                    address, outcome = done.get(timeout=0.1)
                    heard[address] = outcome
                except Empty:
                    pass
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
