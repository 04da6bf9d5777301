"""The throw-away pairs that a run has on a key server, from Register to Destroy."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from filer.keys.authentication_key import AuthenticationKey
from filer.keys.pair import KeyPair
from filer.kmip.failure import KeyServerFailure
from filer.kmip.requests import FULL_FORM, Form, lesser_forms, register
from filer.throw_away.destruction import Destroyer
from filer.throw_away.ledger import Entry, Ledger
from filer.throw_away.line import Batches, Line
from filer.throw_away.message import Answer, Raw
from filer.throw_away.pairs import PARENT_TAG, Mint


class NotStored(Exception):
    """A key server does not take pairs; the text says why."""


class Stored(NamedTuple):
    """A throw-away pair on a key server."""

    pair: KeyPair
    identifier: str


class Stock:
    """The throw-away pairs of one owner on one key server.

    The ledger names a pair before its Register is sent.  `destroy_all` destroys what is left.
    ``form`` is the form in which the server takes pairs, if it is known.  ``identifiers`` has those
    that Register has returned.  ``unanswered`` has the pairs that may still appear on the server:
    it did not answer their Register in time, or the run was interrupted meanwhile.
    """

    def __init__(
        self,
        key_server: str,
        owner: str,
        ledger: Ledger,
        mint: Mint,
        line: Callable[[], Line],
        *,
        form: Form | None = None,
    ) -> None:
        self.mint = mint
        self.secrets: list[AuthenticationKey] = []
        self.form = form or FULL_FORM
        self._form_is_known = form is not None
        self.entries: list[Entry] = []
        self._key_server = key_server
        self.owner = owner
        self._ledger = ledger
        self._line = line
        self._batches = Batches(line)
        self.identifiers: dict[Entry, str] = {}
        self.unanswered: set[Entry] = set()
        self._sent_twice: set[Entry] = set()
        self._crowd: list[tuple[Entry, Stored]] = []

    def announce(self, *pairs: KeyPair) -> list[Entry]:
        """Write ``pairs`` to the ledger, because a Register for them is about to be sent."""
        self.secrets += [pair.key for pair in pairs if pair.key not in self.secrets]
        entries = self._ledger.add(self._key_server, self.owner, pairs)
        self.entries += entries
        return entries

    def settle(self, entry: Entry, identifier: str) -> None:
        """Record the identifier that Register has returned for a pair."""
        if entry not in self._sent_twice:
            self.identifiers[entry] = identifier

    def send(self, pair: KeyPair, item: Raw | None = None) -> Answer:
        """Register ``pair``, by ``item`` if given, and return the answer."""
        with self._line() as line:
            (entry,) = self.announce(pair)
            with self.awaited([entry]):
                answer = line.ask(item or register(pair, PARENT_TAG, self.form))
        if answer.items and answer.items[0].succeeded:
            self.settle(entry, answer.items[0].identifier)
        return answer

    @contextmanager
    def awaited(self, entries: Sequence[Entry]) -> Iterator[None]:
        """Note that Register of ``entries`` is sent in the block.

        They are unanswered unless an answer comes, or an earlier one did not.
        """
        entries = [entry for entry in entries if entry not in self.unanswered]
        self.unanswered.update(entries)
        try:
            yield
        except KeyServerFailure as failure:
            if failure.answered:
                self.unanswered.difference_update(entries)
            raise
        self.unanswered.difference_update(entries)

    def register(self, *pairs: KeyPair) -> list[str]:
        """Register ``pairs`` and return their identifiers.  Raises NotStored if one is refused."""
        self.find_form()
        identifiers = []
        for pair in pairs:
            try:
                answer = self.send(pair)
            except KeyServerFailure as failure:
                raise NotStored(f"Register was not answered: {failure.reason}") from None
            item = answer.items[0] if answer.items else None
            if item is None or not item.succeeded:
                reason = item.outcome(with_message=False) if item else "no answer"
                raise NotStored(f"Register was refused: {reason}")
            identifiers.append(item.identifier)
        return identifiers

    def find_form(self) -> None:
        """Find out, once, in which form the server accepts pairs, by registering one.

        The form is the full one if the server accepts none.
        """
        if self._form_is_known:
            return
        self._form_is_known = True
        for form in (FULL_FORM, *lesser_forms(FULL_FORM)):
            self.form = form
            with suppress(KeyServerFailure):
                answer = self.send(self.mint.pair())
                if answer.items and answer.items[0].succeeded:
                    return
        self.form = FULL_FORM

    @property
    def crowd(self) -> Sequence[Stored]:
        """The pairs that `populate` has registered."""
        return [stored for _, stored in self._crowd]

    def populate(self, size: int) -> Sequence[Stored]:
        """Bring the crowd to ``size`` pairs: register more, or destroy some.  Raises NotStored."""
        self.find_form()
        surplus = [entry for entry, _ in self._crowd[size:]]
        if surplus:
            del self._crowd[size:]
            self._destroy(surplus)
        with self._line() as line:
            while (missing := size - len(self._crowd)) > 0:
                pairs = [self.mint.pair() for _ in range(min(missing, self._batches.at_once))]
                entries = self.announce(*pairs)
                identifiers = self._registered(line, entries, pairs)
                # If it is unknown whether some were registered, others take their place.
                stored = map(Stored, pairs, identifiers or ())
                self._crowd += zip(entries, stored, strict=False)
        return self.crowd

    def add(self, pairs: Sequence[KeyPair], go_on: Callable[[], bool] = lambda: True) -> None:
        """Register these ``pairs``, which other stocks may have too, while ``go_on`` is true.

        Raises NotStored.
        """
        self.find_form()
        entries = self.announce(*pairs)
        done = 0
        with self._line() as line:
            while done < len(pairs) and go_on():
                some = slice(done, done + self._batches.at_once)
                if self._registered(line, entries[some], pairs[some]) is None:
                    self._sent_twice.update(entries[some])
                else:
                    done = some.stop

    def _registered(
        self, line: Line, entries: Sequence[Entry], pairs: Sequence[KeyPair]
    ) -> list[str] | None:
        """Register ``pairs`` in one request and return their identifiers.

        Returns None if the server does not take so many at once.  Whether some were registered is
        unknown then: `destroy_all` looks for them by name.  Raises NotStored.
        """
        items = [register(pair, PARENT_TAG, self.form) for pair in pairs]
        try:
            with self.awaited(entries):
                answers = self._batches.once(line, items)
        except KeyServerFailure as failure:
            raise NotStored(f"the pairs for it cannot be registered: {failure.reason}") from None
        if answers is None:
            self._batches.at_once = len(pairs) // 2
            return None
        identifiers = []
        for entry, answer in zip(entries, answers, strict=True):
            if answer is None or not answer.succeeded:
                reason = answer.outcome(with_message=False) if answer else "no answer"
                raise NotStored(f"the pairs for it cannot be registered: {reason}")
            self.settle(entry, answer.identifier)
            identifiers.append(answer.identifier)
        return identifiers

    def forget(self, entry: Entry) -> None:
        """Leave a pair on the key server; the ledger still names it."""
        self.entries.remove(entry)

    def destroy_all(self) -> list[Entry]:
        """Destroy all pairs; return those that may be left.  Raises KeyServerFailure."""
        self._crowd = []
        return self._destroy(self.entries) if self.entries else []

    def _destroy(self, entries: Sequence[Entry]) -> list[Entry]:
        identifiers = {each: self.identifiers[each] for each in entries if each in self.identifiers}
        destroyer = Destroyer(self._batches.ask, self._ledger.digests)
        left = destroyer.destroy(entries, identifiers, unanswered=self.unanswered)
        destroyed = set(entries) - set(left)
        self.entries = [each for each in self.entries if each not in destroyed]
        return left
