"""Requests to a key server and its answers, over one connection that is ready."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from filer.authentication_key import AuthenticationKey
from filer.key_id import is_key_id
from filer.key_server_failure import NOT_A_KMIP_SERVER, KeyServerFailure
from filer.keytable import KeyPair, is_key_tag
from filer.kmip_answers import (
    RESPONSE_MESSAGE,
    Description,
    NotKmip,
    Outcome,
    Refusal,
    RequestRefused,
    Success,
    decode,
)
from filer.kmip_requests import (
    MAXIMUM_ANSWER,
    Item,
    activate,
    destroy,
    encode,
    get,
    get_attributes,
    locate_name,
    locate_system,
    query,
    register,
    revoke,
)
from filer.tls_connection import Deadline, TlsConnection
from filer.ttlv import HEADER_LENGTH, MalformedTtlv, structure_length

_ITEMS_AT_ONCE = 1024
"""Items of one request: 512 objects are about half a MiB to answer, of PyKMIP's one."""

_ACTIVE = "active"
_NO_LONGER_USED = ("compromised", "destroyed", "destroyed-compromised")
_NO_TAG = "-"
"""Shown for an object that another program has put there without a key tag."""


@dataclass(frozen=True)
class StoredObject:
    """A filer's object on a key server; ``key`` is None if the server does not give one out."""

    identifier: str
    description: Description
    key: AuthenticationKey | None

    def pairs(self) -> list[KeyPair]:
        """Return the key pair that it is, under each of its names that is a key ID."""
        if self.key is None:
            return []
        tag = next(filter(is_key_tag, self.description.groups), _NO_TAG)
        return [KeyPair(name, tag, self.key) for name in self.description.names if is_key_id(name)]


class Conversation:
    """What a filer says to a key server.  All methods raise KeyServerFailure."""

    def __init__(self, connection: TlsConnection, deadline: Deadline) -> None:
        self._connection = connection
        self._deadline = deadline
        self._items_sent = 0
        self._items_at_once = _ITEMS_AT_ONCE

    def query(self) -> None:
        """Ask who the server is."""
        self._succeed(query())

    def objects_of_system(self, parent_tag: str) -> list[StoredObject]:
        """Read the objects that belong to the system ``parent_tag``."""
        return list(self._read(self._succeed(locate_system(parent_tag)).identifiers, parent_tag))

    def objects_named(self, key_id: str, identifier: str | None) -> list[StoredObject]:
        """Read the objects of any filer that are named ``key_id``.

        ``identifier`` is looked at even if the server does not find it by that name.
        """
        located = self._succeed(locate_name(key_id)).identifiers
        identifiers = dict.fromkeys([*located, *([identifier] if identifier else [])])
        return [each for each in self._read([*identifiers]) if key_id in each.description.names]

    def register(self, pair: KeyPair, parent_tag: str) -> str:
        """Put ``pair`` on the server; return the identifier it gets."""
        (identifier,) = self._succeed(register(pair, parent_tag)).identifiers
        return identifier

    def activate(self, identifier: str) -> None:
        """Activate an object."""
        self._succeed(activate(identifier))

    def is_in_use(self, identifier: str) -> bool:
        """Say whether there is an object ``identifier``, whatever it says of itself."""
        (outcome,) = self._ask([get_attributes(identifier)])
        if isinstance(outcome, Success):
            about = outcome.description
            return about is None or about.state not in _NO_LONGER_USED
        if outcome.gone:
            return False
        raise KeyServerFailure(outcome.reason)

    def remove(self, objects: Sequence[StoredObject]) -> None:
        """Revoke those that are active, then destroy all."""
        active = [each for each in objects if each.description.state == _ACTIVE]
        changes = [revoke(each.identifier) for each in active]
        for items in changes, [destroy(each.identifier) for each in objects]:
            for outcome in self._ask(items):
                if isinstance(outcome, Refusal) and not outcome.gone:
                    raise KeyServerFailure(outcome.reason)

    def _succeed(self, item: Item) -> Success:
        (outcome,) = self._ask([item])
        if isinstance(outcome, Refusal):
            raise KeyServerFailure(outcome.reason)
        return outcome

    def _read(
        self, identifiers: Sequence[str], parent_tag: str | None = None
    ) -> Iterator[StoredObject]:
        # Between Locate and Get an object may be destroyed by somebody else; it is passed over.
        outcomes = self._ask(ask(each) for each in identifiers for ask in (get_attributes, get))
        for identifier, about, content in zip(identifiers, outcomes, outcomes, strict=True):
            if isinstance(about, Refusal):
                if about.withheld:
                    continue
                raise KeyServerFailure(about.reason)
            description = about.description
            if (
                description is None
                or not description.belongs_to(parent_tag)
                or description.state in _NO_LONGER_USED
            ):
                continue
            if isinstance(content, Success):
                yield StoredObject(identifier, description, content.key)
            elif content.withheld:
                yield StoredObject(identifier, description, None)
            else:
                raise KeyServerFailure(content.reason)

    def _ask(self, items: Iterable[Item]) -> Iterator[Outcome]:
        """Send ``items`` in as few requests as the server allows.

        What an answer brought is read while the server works on the next request.  A request whose
        answer would be too large is made again in halves, down to a single item, which then is
        refused for what it is.
        """
        remaining = iter(items)
        unread: Iterator[Outcome] = iter(())
        while waiting := list(islice(remaining, _ITEMS_AT_ONCE)):
            while waiting:
                some = waiting[: self._items_at_once]
                first = self._send(some)
                yield from unread
                try:
                    unread = self._receive(some, first)
                except RequestRefused as error:
                    refusal = error.refusal
                    if not refusal.too_large:
                        raise KeyServerFailure(refusal.reason) from None
                    if len(some) > 1:
                        self._items_at_once = len(some) // 2
                        continue
                    unread = iter([refusal])
                    self._items_at_once = _ITEMS_AT_ONCE
                del waiting[: len(some)]
        yield from unread

    def _send(self, items: Sequence[Item]) -> int:
        first = self._items_sent
        self._items_sent += len(items)
        self._connection.send(encode(items, first))
        return first

    def _receive(self, items: Sequence[Item], first: int) -> Iterator[Outcome]:
        try:
            length = structure_length(self._connection.receive(HEADER_LENGTH), RESPONSE_MESSAGE)
            if length > MAXIMUM_ANSWER:
                raise KeyServerFailure(NOT_A_KMIP_SERVER)
            body = self._connection.receive(length)
            self._connection.expect_silence()
            outcomes = decode(body, items, first)
        except (NotKmip, MalformedTtlv):
            raise KeyServerFailure(NOT_A_KMIP_SERVER) from None
        return self._in_time(outcomes)

    def _in_time(self, outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
        try:
            for outcome in outcomes:
                yield outcome
                self._deadline.remaining()
        except NotKmip:
            raise KeyServerFailure(NOT_A_KMIP_SERVER) from None
