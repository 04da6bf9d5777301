"""The key pairs of all filers on all key servers, from set-up to clean-up."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from filer.host.errors import FilerError
from filer.keys.pair import KeyPair
from filer.kmip.failure import KeyServerFailure
from filer.kmip.requests import Form, locate_name
from filer.kmip.ttlv import MalformedTtlv
from filer.running.parallel import in_parallel
from filer.storm.fleet import Fleet
from filer.storm.plan import Plan
from filer.throw_away.certificates import NoAuthority
from filer.throw_away.destruction import Destroyer, by_place
from filer.throw_away.ledger import Digests, Entry, Ledger
from filer.throw_away.line import Batches, Habits, Line, Tape, Way, verified
from filer.throw_away.pairs import Mint
from filer.throw_away.stock import NotStored, Stock

_TIMEOUT = 60.0
"""Seconds for one answer during set-up and clean-up, whose requests are larger than a filer's."""

GoOn = Callable[[], bool]


@dataclass(frozen=True)
class Lines:
    """Connects to the key servers on ``port`` with the client certificates of the filers."""

    fleet: Fleet
    port: int

    def to(self, address: str, owner: str) -> Callable[[], Line]:
        """Return what makes connections.  Raises KeyServerFailure, NoAuthority, StorageError."""
        credentials = self.fleet.credentials(owner, address)
        way = Way(address, self.port, credentials, _TIMEOUT)
        context = verified(credentials)
        return lambda: Line(way, context, Habits(), Tape())


class Setup:
    """Stores the key pairs of all filers of ``plan`` on all key servers.

    ``entries`` has the pairs that are, or may be, stored, and ``identifiers`` those that the key
    servers gave them.
    """

    def __init__(self, plan: Plan, lines: Lines, ledger: Ledger, mint: Mint) -> None:
        self.identifiers: dict[Entry, str] = {}
        self.entries: list[Entry] = []
        self._plan = plan
        self._lines = lines
        self._ledger = ledger
        self._mint = mint

    def store(self, go_on: GoOn, tell: Callable[[int], None]) -> None:
        """Store the pairs while ``go_on`` is true; ``tell`` gets the number of pairs stored.

        Raises FilerError if a key server does not take them.
        """
        plan, fleet = self._plan, self._lines.fleet
        pairs = {
            number: [self._mint.pair(fleet.tag(number)) for _ in range(plan.pairs)]
            for number in range(plan.filers)
        }
        done = dict.fromkeys(plan.addresses, 0)

        def store_on(address: str) -> None:
            form = self._form_for(address)
            for number, own in pairs.items():
                if not go_on():
                    return
                self._add(address, number, own, form, go_on)
                done[address] += len(own)
                tell(sum(done.values()))

        in_parallel(plan.addresses, store_on, go_on=go_on)

    def _form_for(self, address: str) -> Form:
        """Return the form in which a key server takes pairs; the pair that tells is destroyed."""
        stock = self._stock(address, 0)
        try:
            # Without a connection, nothing can be stored that the ledger would have to name.
            with self._lines.to(address, stock.owner)() as line:
                line.ask(locate_name(self._mint.name()))
            stock.find_form()
            stock.destroy_all()
        except KeyServerFailure as failure:
            raise FilerError(failure.about(address)) from None
        return stock.form

    def _add(
        self, address: str, number: int, pairs: Sequence[KeyPair], form: Form, go_on: GoOn
    ) -> None:
        stock = self._stock(address, number, form)
        try:
            stock.add(pairs, go_on)
        except KeyServerFailure as failure:
            raise FilerError(failure.about(address)) from None
        except (NotStored, MalformedTtlv) as reason:
            raise FilerError(f"key server {address}: {reason}") from None
        finally:
            self.entries += stock.entries
            self.identifiers |= stock.identifiers

    def _stock(self, address: str, number: int, form: Form | None = None) -> Stock:
        owner = self._lines.fleet.owner(number)
        line = self._lines.to(address, owner)
        return Stock(address, owner, self._ledger, self._mint, line, form=form)


def destroy(
    entries: Iterable[Entry],
    lines: Lines,
    digests: Digests,
    identifiers: Mapping[Entry, str],
    go_on: GoOn,
) -> list[Entry]:
    """Destroy the objects of ``entries`` while ``go_on`` is true; return those that may be left."""
    by_server: dict[str, list[tuple[str, list[Entry]]]] = {}
    for (address, owner), some in by_place(entries).items():
        by_server.setdefault(address, []).append((owner, some))

    def destroy_on(address: str) -> list[Entry]:
        left = []
        for owner, some in by_server[address]:
            known = {each: identifiers[each] for each in some if each in identifiers}
            try:
                if not go_on():
                    raise KeyServerFailure("interrupted")
                batches = Batches(lines.to(address, owner))
                left += Destroyer(batches.ask, digests).destroy(some, known)
            except (KeyServerFailure, MalformedTtlv, NoAuthority):
                left += some
        return left

    found = in_parallel(list(by_server), destroy_on)
    return [each for some in found for each in some]
