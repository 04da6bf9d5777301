"""Read, store and destroy key pairs on a key server, over one established connection."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress

from filer.keys.authentication_key import AuthenticationKey
from filer.keys.pair import KeyPair
from filer.kmip.answers import Outcome, Success
from filer.kmip.descriptions import UNKNOWN, Description
from filer.kmip.exchange import Exchange
from filer.kmip.failure import IncompleteAnswer, KeyServerFailure, ServerRefusal, not_listed
from filer.kmip.objects import (
    ObjectReader,
    StoredObject,
    description_of,
    is_destroyed,
    is_missing,
    is_unused,
)
from filer.kmip.refusals import Refusal
from filer.kmip.requests import (
    activate,
    destroy,
    get_attributes,
    lesser_forms,
    query,
    register,
    revoke,
)
from filer.kmip.searches import Located, Searches

_NAMES_FIRST = 16
"""Key IDs located by name before the list is read; a search may cost as much as the list.

Disks rarely use more than two.  The other key IDs are located by name if the list lacks them.
"""

_ACTIVE = "active"
_NO_IDENTIFIER = ""
"""Stands for an object whose identifier the server does not show, or not in a usable form."""

_UNUSABLE = "its identifier cannot be used"
_MAY_APPEAR = "it is not found now, and may appear later"


class Conversation:
    """A series of requests to a key server.  All methods raise KeyServerFailure.

    ``refused`` has the key IDs of the pairs that the server refused at first, and then took in
    another form.
    """

    def __init__(
        self,
        exchange: Exchange,
        ignored: Callable[[str], bool] = lambda _: False,
        key_tag: str | None = None,
    ) -> None:
        self.refused: set[str] = set()
        self._exchange = exchange
        self._abilities = exchange.abilities
        self._key_tag = key_tag
        self._searches = Searches(exchange, key_tag)
        self._reader = ObjectReader(exchange, ignored)

    @property
    def located(self) -> set[str]:
        """The identifiers of all objects that the server listed."""
        return self._searches.listed

    def unreadable(self) -> dict[str, str]:
        """Return the objects that the filer cannot read, with the reason."""
        unusable = {f"object {each}": _UNUSABLE for each in self._searches.unusable}
        return unusable | self._reader.unreadable

    def unread(self) -> set[str]:
        """Return the key IDs that the server has but whose key was not read."""
        return self._reader.unread()

    def query(self) -> None:
        """Ask for the server information, to see that the server works.

        It works if it does not support this query, but not if it refuses our messages.
        """
        (outcome,) = self._exchange.ask([query()])
        if isinstance(outcome, Refusal) and (outcome.of_message or not outcome.unsupported):
            raise ServerRefusal(outcome.reason)

    def key_pairs(self, key_ids: Collection[str] = ()) -> Iterator[StoredObject]:
        """Yield all key pairs as they arrive, whichever system made them.

        Those named ``key_ids`` come first; they are located by name.
        Raises IncompleteAnswer at the end if the server left out an object.
        """
        names = list(key_ids)
        read: dict[str, StoredObject] = {}
        searches: dict[str, Located] = {}
        yield from self._read_named(names[:_NAMES_FIRST], read, searches)
        listed = self._searches.all_objects()
        others = [each for each in listed.identifiers if each not in read]
        for each in self._reader.read(others, self._is_wanted):
            read[each.identifier] = each
            yield each
        found = _key_ids(read)
        others = [name for name in names[_NAMES_FIRST:] if name not in found]
        yield from self._read_named(others, read, searches)
        if self._reader.misses_listed():
            self._reader.look_again([self._searches.all_objects(), *self._searches.by_names(names)])
        left_out = (each for each in read.values() if each.identifier not in listed.identifiers)
        found = _key_ids(read)
        self._raise_first(
            self._reader.failure,
            listed.problem,
            *(not_listed(each.label()) for each in left_out),
            *(located.problem for name, located in searches.items() if name not in found),
        )

    def _is_wanted(self, about: Description) -> bool:
        return about.may_be_key_pair and (self._key_tag is None or self._key_tag in about.groups)

    def _read_named(
        self,
        names: Sequence[str],
        read: dict[str, StoredObject],
        searches: dict[str, Located],
    ) -> Iterator[StoredObject]:
        """Search for ``names`` and yield the key pairs; fill ``read`` and ``searches``."""
        located = self._searches.by_names(names)
        searches.update(zip(names, located, strict=True))
        for name, search in zip(names, located, strict=True):
            is_incomplete = search.unusable or isinstance(search.problem, IncompleteAnswer)
            self._reader.expect(
                name, [*search.identifiers, *[_NO_IDENTIFIER] * bool(is_incomplete)]
            )
        identifiers = dict.fromkeys(
            identifier for each in located for identifier in each.identifiers
        )
        for each in self._reader.read(
            identifiers, lambda about: any(key_id in names for key_id in about.key_ids)
        ):
            read[each.identifier] = each
            yield each

    def objects_named(self, key_id: str) -> list[StoredObject]:
        """Read the key pairs that are, or because of an unreadable name may be, ``key_id``."""
        (located,) = self._searches.by_names([key_id])
        objects = list(self._reader.read(located.identifiers, lambda about: about.may_be(key_id)))
        if self._reader.misses_listed():
            self._reader.look_again(self._searches.by_names([key_id]))
        self._raise_first(self._reader.failure, located.problem)
        return objects

    def held(self, key_ids: Collection[str]) -> set[str]:
        """Return those of ``key_ids`` for which the server has a key pair, readable or not.

        Destroyed and compromised objects are ignored.
        """
        named = self._searches.by_names(key_ids)
        identifiers = [*dict.fromkeys(each for located in named for each in located.identifiers)]
        outcomes = self._exchange.ask([get_attributes(each) for each in identifiers])
        known = dict(zip(identifiers, outcomes, strict=True))
        if any(map(is_missing, outcomes)):
            # An object that is still listed exists, even if the server does not find it.
            named = self._searches.by_names(key_ids)
        held = set()
        for key_id, located in zip(key_ids, named, strict=True):
            self._raise_first(located.problem)
            if not (self._abilities.lists_by_name or located.is_counted):
                raise IncompleteAnswer("it does not search by name, and may list too few objects")
            outcomes = [known.get(each, Success()) for each in located.identifiers]
            found = [description_of(each) for each in outcomes if not is_unused(each)]
            if located.unusable or any(about is None or about.may_be(key_id) for about in found):
                held.add(key_id)
        return held

    def register(self, pair: KeyPair, parent_tag: str) -> str:
        """Store ``pair`` on the server; return its identifier.  Raises ServerRefusal.

        If the server refuses an attribute, the pair is stored without it.  A refusal does not say
        reliably what was refused, so the possible forms are tried in turn.  A server with unique
        names refuses a pair that it has received at another of its addresses; that is a success.
        """
        accepted = self._abilities.form
        (outcome,) = self._exchange.ask([register(pair, parent_tag, accepted)])
        if isinstance(outcome, Success):
            return outcome.identifiers[0]
        stored = self.identifier_of(pair)
        if stored is not None:
            return stored
        self.refused.add(pair.key_id)
        again: Outcome = outcome
        for form in lesser_forms(accepted):
            if isinstance(again, Success) or not again.may_be_of_form:
                break
            (again,) = self._exchange.ask([register(pair, parent_tag, form)])
            if isinstance(again, Success):
                self._abilities.form = form
                return again.identifiers[0]
        raise ServerRefusal(outcome.reason)

    def identifier_of(self, pair: KeyPair) -> str | None:
        """Return the identifier of ``pair``, or None if the server does not show it."""
        with suppress(KeyServerFailure):
            for each in self.objects_named(pair.key_id):
                if any(map(pair.matches, each.pairs())):
                    return each.identifier
        return None

    def activate(self, identifier: str) -> None:
        """Activate an object, if the server allows it.

        The object may be active already, and some servers do not have the operation.  Whether the
        key can be read in the state that it has now, shows when it is read back.
        """
        (outcome,) = self._exchange.ask([activate(identifier)])
        if isinstance(outcome, Refusal) and outcome.gone:
            raise ServerRefusal(outcome.reason)

    def take_back(self, key_id: str, identifier: str, *, was_listed: bool = True) -> bool:
        """Destroy the object ``identifier``, which was registered with the name ``key_id``.

        Its attributes need not be readable.  Returns False if the object still exists afterwards,
        or has another name, because it may then belong to another owner.  If the server has never
        shown the object (not ``was_listed``), and neither shows nor destroys it now, it may show it
        later, as a cluster does; raises ServerRefusal then.
        """
        (before,) = self._exchange.ask([get_attributes(identifier)])
        if is_unused(before):
            return True
        about = description_of(before)
        if about and about.names and not about.may_be(key_id, any_case=True):
            return False
        refusal, destroyed = self._destroy({identifier: about.state if about else UNKNOWN})
        (after,) = self._exchange.ask([get_attributes(identifier)])
        if is_unused(after):
            return True
        if not is_missing(after):
            self._raise_first(
                refusal, ServerRefusal(after.reason) if isinstance(after, Refusal) else None
            )
            return False
        (located,) = self._searches.by_names([key_id])
        self._raise_first(located.problem)
        if identifier in located.identifiers:
            return False
        if is_missing(before) and not (was_listed or destroyed):
            raise ServerRefusal(_MAY_APPEAR)
        return True

    def take_back_by_key(
        self, key_id: str, key: AuthenticationKey, *, may_appear: bool = False
    ) -> bool:
        """Destroy the objects named ``key_id`` that hold ``key``.

        Returns False if such an object exists afterwards, or may exist (an unreadable object).
        Raises ServerRefusal if there is none at all, but one ``may_appear``: the server has not
        answered Register.
        """
        states = {
            each.identifier: each.description.state
            for each in self.objects_named(key_id)
            if each.key == key
        }
        refusal, _ = self._destroy(states)
        left = [each for each in self.objects_named(key_id) if each.key in (None, key)]
        if left:
            self._raise_first(refusal)
        gone = not left and not (self._reader.is_incomplete or self._searches.unusable)
        if gone and may_appear and not states:
            raise ServerRefusal(_MAY_APPEAR)
        return gone

    def _destroy(self, states: Mapping[str, str]) -> tuple[ServerRefusal | None, bool]:
        """Revoke the objects that are or may be active, then destroy all.

        Returns the first refusal, and whether the server says that it has destroyed all.  Whether
        an object is left shows only afterwards: if the server has another registered address, the
        pair is being taken back there at the same time.
        """
        active = [each for each, state in states.items() if state in {_ACTIVE, UNKNOWN}]
        revoked = self._exchange.ask(map(revoke, active))
        refusals = [
            outcome
            for identifier, outcome in zip(active, revoked, strict=True)
            if states[identifier] == _ACTIVE
        ]
        destroyed = self._exchange.ask(map(destroy, states))
        refusal = next(
            (
                ServerRefusal(outcome.reason)
                for outcome in refusals + destroyed
                if isinstance(outcome, Refusal) and not outcome.gone
            ),
            None,
        )
        return refusal, all(isinstance(each, Success) or is_destroyed(each) for each in destroyed)

    @staticmethod
    def _raise_first(*problems: KeyServerFailure | None) -> None:
        for problem in problems:
            if problem is not None:
                raise problem


def _key_ids(objects: Mapping[str, StoredObject]) -> set[str]:
    return {key_id for each in objects.values() for key_id in each.description.key_ids}
