"""The key pairs of all filers on all key servers, from set-up to clean-up."""

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from filer.host.errors import FilerError
from filer.keys.pair import KeyPair
from filer.kmip.client import KmipClient
from filer.kmip.failure import KeyServerFailure, ServerRefusal
from filer.kmip.requests import SPOKEN, Form, locate_name
from filer.kmip.ttlv import MalformedTtlv
from filer.running.parallel import in_parallel
from filer.storm.fleet import ONE_FOR_ALL, Fleet
from filer.storm.plan import Plan
from filer.throw_away.certificates import NoAuthority
from filer.throw_away.destruction import Destroyer, by_place
from filer.throw_away.ledger import Digests, Entry, Ledger
from filer.throw_away.line import Batches, Habits, Line, Tape, Way, learn_habits, verified
from filer.throw_away.pairs import Mint
from filer.throw_away.stock import NotStored, Stock

_TIMEOUT = 60.0
"""Seconds for one answer during set-up and clean-up, whose requests are larger than a filer's."""

GoOn = Callable[[], bool]


class Lines:
    """Connects to the key servers on ``port`` with the client certificates of the filers."""

    def __init__(self, fleet: Fleet, port: int) -> None:
        self.fleet = fleet
        self._port = port
        self._habits: dict[str, Habits] = {}

    def to(self, address: str, owner: str) -> Callable[[], Line]:
        """Return what makes connections.

        Raises KeyServerFailure, if the first one to a key server fails, and NoAuthority.
        """
        credentials = self.fleet.credentials(owner, address)
        way = Way(address, self._port, credentials, _TIMEOUT)
        context = verified(credentials)
        if address not in self._habits:
            # As a filer does, because a failure has the best reason then.
            KmipClient(address, self._port, credentials, _TIMEOUT).probe()
            self._habits[address] = _learned(lambda habits: Line(way, context, habits, Tape()))
        return lambda: Line(way, context, self._habits[address], Tape())


def _learned(line_with: Callable[[Habits], Line]) -> Habits:
    unknown = locate_name(Mint(os.urandom).name())
    for version in SPOKEN:
        habits = learn_habits(line_with, unknown, version)
        if isinstance(habits, Habits):
            return habits
    raise ServerRefusal(f"it does not answer a Locate: {habits}")


class Setup:
    """Stores the key pairs of all filers of ``plan`` on all key servers.

    ``entries`` has the pairs that are, or may be, stored, and ``identifiers`` those that the key
    servers gave them.  ``unanswered`` are as in `Stock`.
    """

    def __init__(self, plan: Plan, lines: Lines, ledger: Ledger, mint: Mint) -> None:
        self.identifiers: dict[Entry, str] = {}
        self.unanswered: set[Entry] = set()
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
        failed: list[str] = []

        def going() -> bool:
            return go_on() and not failed

        def store_on(address: str) -> None:
            try:
                form = self._form_for(address)
                for number, own in pairs.items():
                    if not going():
                        return
                    self._add(address, number, own, form, going)
                    done[address] += len(own)
                    tell(sum(done.values()))
            except KeyServerFailure as failure:
                failed.append(address)
                raise FilerError(failure.about(address)) from None
            except Exception:
                failed.append(address)
                raise

        in_parallel(plan.addresses, store_on, go_on=going)

    def _form_for(self, address: str) -> Form:
        """Return the form in which a key server takes pairs; the pair that tells is destroyed."""
        stock = self._stock(address, 0)
        stock.find_form()
        stock.destroy_all()
        return stock.form

    def _add(
        self, address: str, number: int, pairs: Sequence[KeyPair], form: Form, go_on: GoOn
    ) -> None:
        stock = self._stock(address, number, form)
        try:
            stock.add(pairs, go_on)
        except (NotStored, MalformedTtlv) as reason:
            raise FilerError(f"key server {address}: {reason}") from None
        finally:
            self.entries += stock.entries
            self.identifiers |= stock.identifiers
            self.unanswered |= stock.unanswered

    def _stock(self, address: str, number: int, form: Form | None = None) -> Stock:
        owner = self._lines.fleet.owner(number)
        line = self._lines.to(address, owner)
        return Stock(address, owner, self._ledger, self._mint, line, form=form)


def destroy(
    entries: Iterable[Entry],
    lines: Lines,
    digests: Digests,
    identifiers: Mapping[Entry, str],
    unanswered: Collection[Entry],
    *,
    go_on: GoOn,
    tell: Callable[[int], None],
    sees_all: bool = True,
) -> list[Entry]:
    """Destroy the objects of ``entries`` while ``go_on`` is true; return those that may be left.

    ``tell`` gets the number of entries that are done.  ``sees_all`` says whether the certificate
    that all filers may share is that of the run.
    """
    by_server: dict[str, list[tuple[str, list[Entry]]]] = {}
    for (address, owner), some in by_place(entries).items():
        by_server.setdefault(address, []).append((owner, some))

    done = dict.fromkeys(by_server, 0)

    def destroy_on(address: str) -> list[Entry]:
        left: list[Entry] = []
        is_silent = False
        for owner, some in by_server[address]:
            if is_silent or not go_on():
                left += some
                continue
            known = {each: identifiers[each] for each in some if each in identifiers}
            try:
                batches = Batches(lines.to(address, owner))
                is_that = sees_all or owner != ONE_FOR_ALL  # the others are issued by name
                destroyer = Destroyer(batches.ask, digests, sees_all=is_that)
                left += destroyer.destroy(some, known, unanswered=unanswered)
                done[address] += len(some)
                tell(sum(done.values()))
            except (KeyServerFailure, MalformedTtlv, NoAuthority) as problem:
                is_silent = isinstance(problem, KeyServerFailure) and not problem.answered
                left += some
        return left

    found = in_parallel(list(by_server), destroy_on)
    return [each for some in found for each in some]
