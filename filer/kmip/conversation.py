"""Read, store and destroy key pairs on a key server, over one established connection."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import islice
from typing import TypeGuard

from filer.keys.authentication_key import AuthenticationKey
from filer.keys.key_id import is_key_id
from filer.keys.pair import NO_TAG, KeyPair, is_key_tag
from filer.kmip.abilities import ITEMS_AT_ONCE
from filer.kmip.answers import UNKNOWN, Description, Outcome, Refusal, Success
from filer.kmip.exchange import Exchange
from filer.kmip.failure import IncompleteAnswer, KeyServerFailure, ServerRefusal, not_listed
from filer.kmip.requests import (
    Item,
    activate,
    destroy,
    get,
    get_attributes,
    lesser_forms,
    locate_all,
    locate_name,
    query,
    register,
    revoke,
)

_NAMES_FIRST = 16
"""Key IDs located by name before the list is read; a search may cost as much as the list.

Disks rarely use more than two.  The other key IDs are located by name if the list lacks them.
"""

_MOST_LOCATED = 256 * 1024
"""Maximum number of identifiers that a server may list; limits the memory they use."""

_LONGEST_PAGE = 1024
"""Identifiers requested at a time from a server for which the whole list is too large."""

_ACTIVE = "active"
_DESTROYED = ("destroyed", "destroyed-compromised")
_COMPROMISED = "compromised"
_NO_IDENTIFIER = ""
"""Stands for an object whose identifier the server does not show, or not in a usable form."""

_MAY_APPEAR = "it is not found now, and may appear later"

_MAXIMUM_KEY = 64
"""Maximum length in bytes of an authentication key."""


@dataclass(frozen=True)
class StoredObject:
    """A key pair on a key server; ``key`` is None if it cannot be read."""

    identifier: str
    description: Description
    key: AuthenticationKey | None

    def pairs(self) -> list[KeyPair]:
        """Return a key pair for each key ID; an empty list without a usable key."""
        return self._pairs

    @cached_property
    def _pairs(self) -> list[KeyPair]:
        if self.key is None or not 0 < len(self.key.reveal()) <= _MAXIMUM_KEY:
            return []
        tag = next(filter(is_key_tag, self.description.groups), NO_TAG)
        return [KeyPair(key_id, tag, self.key) for key_id in self.description.key_ids]

    def label(self) -> str:
        """Return its name in messages: the key ID, or the identifier if it has no key ID."""
        key_ids = self.description.key_ids
        return f"key ID {key_ids[0]}" if key_ids else f"object {self.identifier}"


@dataclass
class _Located:
    """The identifiers that a Locate returned; ``problem`` says why some are missing."""

    identifiers: dict[str, None] = field(default_factory=dict)
    unusable: dict[str, None] = field(default_factory=dict)
    problem: KeyServerFailure | None = None
    is_counted: bool = False
    """Whether the server said how many objects there are."""

    def __len__(self) -> int:
        return len(self.identifiers) + len(self.unusable)

    def add(self, page: Success) -> bool:
        """Add the identifiers of a further answer; return whether any of them is new."""
        before = len(self)
        self.identifiers.update(dict.fromkeys(page.identifiers))
        self.unusable.update(dict.fromkeys(page.unusable))
        return len(self) > before


class Conversation:
    """A series of requests to a key server.  All methods raise KeyServerFailure.

    ``unreadable`` maps the objects that the filer cannot read to the reason.  ``located`` has the
    identifiers of all objects that the server listed.  ``refused`` has the key IDs of the pairs
    that the server refused at first, and then took in another form.
    """

    def __init__(
        self,
        exchange: Exchange,
        ignored: Callable[[str], bool] = lambda _: False,
        key_tag: str | None = None,
    ) -> None:
        self.unreadable: dict[str, str] = {}
        self.located: set[str] = set()
        self.refused: set[str] = set()
        self._exchange = exchange
        self._ignored = ignored
        self._key_tag = key_tag
        self._deadline = exchange.deadline
        self._abilities = exchange.abilities
        self._items_at_once = 1
        self._key_ids: set[str] = set()
        self._failure: KeyServerFailure | None = None
        # Objects that the server listed but then did not find: label and refusal by identifier.
        self._missing: dict[str, tuple[str, Refusal]] = {}
        self._incomplete = False  # the server has, or may have, objects that were not read
        # The key IDs under which an unread object was found, by identifier.
        self._found: dict[str, set[str]] = {}

    def unread(self) -> set[str]:
        """Return the key IDs that the server has but whose key was not read."""
        return set().union(*self._found.values()) - self._key_ids

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
        searches: dict[str, _Located] = {}
        yield from self._read_named(names[:_NAMES_FIRST], read, searches)
        listed = self._locate_all()
        others = [each for each in listed.identifiers if each not in read]
        for each in self._read(others, self._is_wanted):
            read[each.identifier] = each
            yield each
        found = _key_ids(read)
        others = [name for name in names[_NAMES_FIRST:] if name not in found]
        yield from self._read_named(others, read, searches)
        if self._missing:
            self._look_again([self._locate_all(), *self._locate_names(names)])
        left_out = (each for each in read.values() if each.identifier not in listed.identifiers)
        found = _key_ids(read)
        self._raise_first(
            self._failure,
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
        searches: dict[str, _Located],
    ) -> Iterator[StoredObject]:
        """Search for ``names`` and yield the key pairs; fill ``read`` and ``searches``."""
        located = self._locate_names(names)
        searches.update(zip(names, located, strict=True))
        for name, search in zip(names, located, strict=True):
            if search.unusable or isinstance(search.problem, IncompleteAnswer):
                self._found.setdefault(_NO_IDENTIFIER, set()).add(name)
            for identifier in search.identifiers:
                self._found.setdefault(identifier, set()).add(name)
        identifiers = dict.fromkeys(
            identifier for each in located for identifier in each.identifiers
        )
        for each in self._read(
            identifiers, lambda about: any(key_id in names for key_id in about.key_ids)
        ):
            read[each.identifier] = each
            yield each

    def objects_named(self, key_id: str) -> list[StoredObject]:
        """Read the key pairs that are, or because of an unreadable name may be, ``key_id``."""
        (located,) = self._locate_names([key_id])
        objects = list(self._read(located.identifiers, lambda about: about.may_be(key_id)))
        if self._missing:
            self._look_again(self._locate_names([key_id]))
        self._raise_first(self._failure, located.problem)
        return objects

    def held(self, key_ids: Collection[str]) -> set[str]:
        """Return those of ``key_ids`` for which the server has a key pair, readable or not.

        Destroyed and compromised objects are ignored.
        """
        named = self._locate_names(key_ids)
        identifiers = [*dict.fromkeys(each for located in named for each in located.identifiers)]
        outcomes = self._exchange.ask([get_attributes(each) for each in identifiers])
        known = dict(zip(identifiers, outcomes, strict=True))
        if any(map(_is_missing, outcomes)):
            # An object that is still listed exists, even if the server does not find it.
            named = self._locate_names(key_ids)
        held = set()
        for key_id, located in zip(key_ids, named, strict=True):
            self._raise_first(located.problem)
            if not (self._abilities.lists_by_name or located.is_counted):
                raise IncompleteAnswer("it does not search by name, and may list too few objects")
            outcomes = [known.get(each, Success()) for each in located.identifiers]
            found = [_description(each) for each in outcomes if not _is_unused(each)]
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
        if _is_unused(before):
            return True
        about = _description(before)
        if about and about.names and not about.may_be(key_id, any_case=True):
            return False
        refusal, destroyed = self._destroy({identifier: about.state if about else UNKNOWN})
        (after,) = self._exchange.ask([get_attributes(identifier)])
        if _is_unused(after):
            return True
        if not _is_missing(after):
            self._raise_first(
                refusal, ServerRefusal(after.reason) if isinstance(after, Refusal) else None
            )
            return False
        (located,) = self._locate_names([key_id])
        self._raise_first(located.problem)
        if identifier in located.identifiers:
            return False
        if _is_missing(before) and not (was_listed or destroyed):
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
        gone = not left and not self._incomplete
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
        return refusal, all(isinstance(each, Success) or _is_destroyed(each) for each in destroyed)

    @staticmethod
    def _raise_first(*problems: KeyServerFailure | None) -> None:
        for problem in problems:
            if problem is not None:
                raise problem

    def _locate_all(self) -> _Located:
        is_cut = False
        search = partial(locate_all, filtered=self._abilities.lists_by_type, tag=self._key_tag)
        (page,) = self._exchange.ask([search()])
        if isinstance(page, Refusal) and page.unsupported and self._abilities.lists_by_type:
            search = partial(locate_all, filtered=False, tag=self._key_tag)
            (without_type,) = self._exchange.ask([search()])
            if isinstance(without_type, Success) or without_type.gone:
                self._abilities.lists_by_type = False
                page = without_type
        most = _LONGEST_PAGE
        while isinstance(page, Refusal) and page.too_large and most:
            is_cut, search = True, partial(search, most=most)
            (page,) = self._exchange.ask([search()])
            most //= 4
        return self._continued(search, page, is_cut=is_cut)

    def _locate_names(self, key_ids: Collection[str]) -> list[_Located]:
        """Search for each of ``key_ids`` by name, all in one request.

        If the server has no search by name, each result has all objects.
        """
        if key_ids and not self._abilities.lists_by_name:
            return [self._locate_all()] * len(key_ids)
        searches = [partial(locate_name, key_id) for key_id in key_ids]
        pages = self._exchange.ask(search() for search in searches)
        if any(isinstance(page, Refusal) and page.unsupported for page in pages):
            listed = self._locate_all()
            if listed.problem is None:
                self._abilities.lists_by_name = False
                return [listed] * len(pages)
        return [self._continued(search, page) for search, page in zip(searches, pages, strict=True)]

    def _continued(
        self, search: Callable[[int], Item], page: Outcome, *, is_cut: bool = False
    ) -> _Located:
        """Request further pages until all objects are known, or a page has no new object.

        ``search`` takes the number of objects to skip; ``is_cut``: it asks for a part of the list.
        """
        located = _Located()
        largest = 0
        while True:
            if isinstance(page, Refusal) and page.gone:
                page = Success()  # some servers refuse a search that finds nothing
            if isinstance(page, Refusal):
                break
            brought = located.add(page)
            self.located.update(page.identifiers)
            located.is_counted = page.total is not None
            total = page.total or 0
            for identifier in page.unusable:
                self.unreadable[f"object {identifier}"] = "its identifier cannot be used"
                self._incomplete = True
            # A smaller total means that an object was removed, which shifts the pages.
            largest = max(largest, total)
            is_last = not (is_cut and page.total is None and brought)
            if largest <= len(located) and is_last:
                return located
            if total < largest or not brought or len(located) > _MOST_LOCATED:
                break
            (page,) = self._exchange.ask([search(len(located))])
        if isinstance(page, Refusal) and not largest and not len(located):
            located.problem = ServerRefusal(page.reason)
        else:
            of_all = f"of {largest} objects" if largest else "objects, and may have more"
            located.problem = IncompleteAnswer(f"it listed {len(located)} {of_all}")
        return located

    def _read(
        self, identifiers: Iterable[str], wanted: Callable[[Description], bool]
    ) -> Iterator[StoredObject]:
        """Yield the objects whose description is ``wanted``.

        A key is requested only if the attributes show a key pair; the same request asks for the
        attributes of the next objects.  The first request has one item.  Each later request has as
        many as the server can deliver in half a timeout at the speed of the last request, so that a
        slow server can answer in time and a fast server needs few requests.
        """
        unknown = list(identifiers)
        described: list[StoredObject] = []
        while unknown or described:
            pairs = described[: self._items_at_once]
            others = unknown[: self._items_at_once - len(pairs)]
            del described[: len(pairs)], unknown[: len(others)]
            begun = self._deadline.elapsed()
            items = [*(get(each.identifier) for each in pairs), *map(get_attributes, others)]
            outcomes = iter(self._exchange.ask(items))
            spent = self._deadline.elapsed() - begun
            in_time = int(len(items) * self._deadline.seconds / 2 / spent) if spent else len(items)
            # At least one key and the attributes of the next object.
            self._items_at_once = min(max(in_time, 2), ITEMS_AT_ONCE)
            for each, content in zip(pairs, islice(outcomes, len(pairs)), strict=True):
                pair = self._with_key(each, content)
                if pair is not None:
                    self._count_new(pair.pairs())
                    yield pair
            for identifier, about in zip(others, outcomes, strict=True):
                description = self._described(identifier, about)
                if description is None or not wanted(description):
                    continue
                stored = StoredObject(identifier, description, None)
                if description.key_ids:
                    described.append(stored)
                else:
                    self._note(stored.label(), about)
                    yield stored

    def _count_new(self, pairs: Sequence[KeyPair]) -> None:
        """Extend the conversation by one timeout if ``pairs`` has a new key ID."""
        new = {pair.key_id for pair in pairs} - self._key_ids
        if new:
            self._key_ids |= new
            self._exchange.extend()

    def _described(self, identifier: str, outcome: Outcome) -> Description | None:
        """Return the description from the outcome of Get Attributes.

        Returns None if the object is no longer used, or if its attributes cannot be read.
        """
        self._missing.pop(identifier, None)
        about = _description(outcome)
        if about and any(map(self._ignored, about.names)):
            names = tuple(name for name in about.names if not self._ignored(name))
            about = replace(about, names=names)
        # The server may have matched loosely, or may have listed all objects instead.
        if about and (about.names or not self._abilities.lists_by_name):
            located_as = self._found.get(identifier, set()) if about.has_unreadable_name else set()
            self._found[identifier] = located_as.union(filter(is_key_id, about.names))
        if _is_destroyed(outcome):
            self._found.pop(identifier, None)
        elif _is_missing(outcome):
            self._missing[identifier] = f"object {identifier}", outcome
        elif about is None:
            self._note(f"object {identifier}", outcome)
            self._incomplete = True
        return None if _is_unused(outcome) else about

    def _with_key(self, stored: StoredObject, outcome: Outcome) -> StoredObject | None:
        """Return the object with the key from the outcome of Get, or None if it is gone."""
        if _is_missing(outcome):
            self._missing[stored.identifier] = stored.label(), outcome
            return None
        if _is_destroyed(outcome):
            self._found.pop(stored.identifier, None)
            return None
        stored = StoredObject(stored.identifier, stored.description, _key(outcome))
        if not stored.pairs():
            self._note(stored.label(), outcome)
        return stored

    def _look_again(self, searches: Sequence[_Located]) -> None:
        """Note as unreadable the missing objects that ``searches`` list again.

        The server has these but does not show them; the others were destroyed meanwhile.  If
        ``searches`` are incomplete, all missing objects are noted.
        """
        complete = all(located.problem is None for located in searches)
        listed = {identifier for located in searches for identifier in located.identifiers}
        for identifier, (label, refusal) in self._missing.items():
            if identifier in listed or not complete:
                self._note(label, refusal)
                self._incomplete = True
            else:
                self._found.pop(identifier, None)
        self._missing.clear()

    def _note(self, label: str, outcome: Outcome) -> None:
        """Record an unreadable object with the reason."""
        reason = "it holds no usable key pair"
        if isinstance(outcome, Refusal):
            reason = outcome.reason
            if not outcome.withheld:
                self._failure = self._failure or ServerRefusal(reason)
        self.unreadable[label] = reason


def _key_ids(objects: Mapping[str, StoredObject]) -> set[str]:
    return {key_id for each in objects.values() for key_id in each.description.key_ids}


def _description(outcome: Outcome) -> Description | None:
    return outcome.description if isinstance(outcome, Success) else None


def _key(outcome: Outcome) -> AuthenticationKey | None:
    return outcome.key if isinstance(outcome, Success) else None


def _is_missing(outcome: Outcome) -> TypeGuard[Refusal]:
    """Return whether the server does not find an object: it is gone, or hidden from us."""
    return isinstance(outcome, Refusal) and outcome.gone and not outcome.destroyed


def _is_destroyed(outcome: Outcome) -> bool:
    if isinstance(outcome, Refusal):
        return outcome.destroyed
    return outcome.description is not None and outcome.description.state in _DESTROYED


def _is_unused(about: Outcome) -> bool:
    """Return whether an object is destroyed or compromised."""
    description = _description(about)
    return _is_destroyed(about) or (description is not None and description.state == _COMPROMISED)
