"""Read the objects on a key server: their attributes, and the keys of key pairs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import TypeGuard

from filer.keys.authentication_key import AuthenticationKey
from filer.keys.key_id import is_key_id
from filer.keys.pair import NO_TAG, KeyPair, is_key_tag
from filer.kmip.abilities import ITEMS_AT_ONCE
from filer.kmip.answers import Outcome, Success
from filer.kmip.descriptions import Description
from filer.kmip.exchange import Exchange
from filer.kmip.failure import KeyServerFailure, ServerRefusal
from filer.kmip.refusals import Refusal
from filer.kmip.requests import get, get_attributes
from filer.kmip.searches import Located

_DESTROYED = ("destroyed", "destroyed-compromised")
_COMPROMISED = "compromised"

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


class ObjectReader:
    """Reads objects over one connection.  Its methods raise KeyServerFailure.

    ``unreadable`` maps the objects that cannot be read to the reason.  ``failure`` is the first
    refusal of an object that the filer should be allowed to read.
    """

    def __init__(self, exchange: Exchange, ignored: Callable[[str], bool]) -> None:
        self.unreadable: dict[str, str] = {}
        self.failure: KeyServerFailure | None = None
        self.is_incomplete = False
        """Whether the server has, or may have, objects that were not read."""
        self._exchange = exchange
        self._ignored = ignored
        self._deadline = exchange.deadline
        self._abilities = exchange.abilities
        self._items_at_once = 1
        self._key_ids: set[str] = set()
        # Objects that the server listed but then did not find: label and refusal by identifier.
        self._missing: dict[str, tuple[str, Refusal]] = {}
        # The key IDs under which an unread object was found, by identifier.
        self._found: dict[str, set[str]] = {}

    def unread(self) -> set[str]:
        """Return the key IDs that the server has but whose key was not read."""
        return set().union(*self._found.values()) - self._key_ids

    def expect(self, key_id: str, identifiers: Iterable[str]) -> None:
        """Remember that a search for ``key_id`` found objects, which may not be readable."""
        for identifier in identifiers:
            self._found.setdefault(identifier, set()).add(key_id)

    def misses_listed(self) -> bool:
        """Return whether the server did not find an object that it had listed."""
        return bool(self._missing)

    def read(
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
        about = description_of(outcome)
        if about and any(map(self._ignored, about.names)):
            names = tuple(name for name in about.names if not self._ignored(name))
            about = replace(about, names=names)
        # The server may have matched loosely, or may have listed all objects instead.
        if about and (about.names or not self._abilities.lists_by_name):
            located_as = self._found.get(identifier, set()) if about.has_unreadable_name else set()
            self._found[identifier] = located_as.union(filter(is_key_id, about.names))
        if is_destroyed(outcome):
            self._found.pop(identifier, None)
        elif is_missing(outcome):
            self._missing[identifier] = f"object {identifier}", outcome
        elif about is None:
            self._note(f"object {identifier}", outcome)
            self.is_incomplete = True
        return None if is_unused(outcome) else about

    def _with_key(self, stored: StoredObject, outcome: Outcome) -> StoredObject | None:
        """Return the object with the key from the outcome of Get, or None if it is gone."""
        if is_missing(outcome):
            self._missing[stored.identifier] = stored.label(), outcome
            return None
        if is_destroyed(outcome):
            self._found.pop(stored.identifier, None)
            return None
        stored = StoredObject(stored.identifier, stored.description, _key(outcome))
        if not stored.pairs():
            self._note(stored.label(), outcome)
        return stored

    def look_again(self, searches: Sequence[Located]) -> None:
        """Note as unreadable the missing objects that ``searches`` list again.

        The server has these but does not show them; the others were destroyed meanwhile.  If
        ``searches`` are incomplete, all missing objects are noted.
        """
        complete = all(located.problem is None for located in searches)
        listed = {identifier for located in searches for identifier in located.identifiers}
        for identifier, (label, refusal) in self._missing.items():
            if identifier in listed or not complete:
                self._note(label, refusal)
                self.is_incomplete = True
            else:
                self._found.pop(identifier, None)
        self._missing.clear()

    def _note(self, label: str, outcome: Outcome) -> None:
        """Record an unreadable object with the reason."""
        reason = "it holds no usable key pair"
        if isinstance(outcome, Refusal):
            reason = outcome.reason
            if not outcome.withheld:
                self.failure = self.failure or ServerRefusal(reason)
        self.unreadable[label] = reason


def description_of(outcome: Outcome) -> Description | None:
    """Return the description that Get Attributes brought, or None if it was refused."""
    return outcome.description if isinstance(outcome, Success) else None


def _key(outcome: Outcome) -> AuthenticationKey | None:
    return outcome.key if isinstance(outcome, Success) else None


def is_missing(outcome: Outcome) -> TypeGuard[Refusal]:
    """Return whether the server does not find an object: it is gone, or hidden from us."""
    return isinstance(outcome, Refusal) and outcome.gone and not outcome.destroyed


def is_destroyed(outcome: Outcome) -> bool:
    """Return whether the server says that the object was destroyed."""
    if isinstance(outcome, Refusal):
        return outcome.destroyed
    return outcome.description is not None and outcome.description.state in _DESTROYED


def is_unused(about: Outcome) -> bool:
    """Return whether an object is destroyed or compromised."""
    description = description_of(about)
    return is_destroyed(about) or (description is not None and description.state == _COMPROMISED)
