"""Requests and answers over one connection, within the limits of size and time."""

from collections.abc import Iterable, Sequence

from filer.kmip.answers import (
    RESPONSE_MESSAGE,
    NotKmip,
    Outcome,
    Refusal,
    RequestRefused,
    Success,
    decode,
)
from filer.kmip.connection import Deadline, TlsConnection
from filer.kmip.failure import NOT_A_KMIP_SERVER, KeyServerFailure, ServerRefusal, not_done
from filer.kmip.requests import (
    MAXIMUM_ANSWER,
    SPOKEN,
    WITH_OFFSET,
    Item,
    Version,
    discover_versions,
    encode,
)
from filer.kmip.ttlv import HEADER_LENGTH, MalformedTtlv, structure_length

ITEMS_AT_ONCE = 1024
"""Items of one request: 512 objects make a response of about 0.5 MiB; PyKMIP's limit is 1 MiB."""

_PATIENCE = 4
"""Number of timeouts after which another request is sent only while new key pairs arrive."""

_LONGEST = 24
"""Number of timeouts after which no request is sent, even if key pairs still arrive.

At the default timeout of 5 s this is 2 minutes: 128 key pairs, at 0.9 s each.
"""


class Exchange:
    """The requests of one conversation.  All methods raise KeyServerFailure.

    Each request with its complete answer has its own deadline.  After four timeouts another request
    is sent only if the last one returned a new key pair; after 24 timeouts, none is sent.

    The reason of a refusal includes the server's own message, unless the server may repeat a key in
    it: after a request that carried one, or if ``sent_key`` says that an earlier conversation did.
    """

    def __init__(
        self, connection: TlsConnection, deadline: Deadline, *, sent_key: bool = False
    ) -> None:
        self._connection = connection
        self._deadline = deadline
        self._sent_key = sent_key
        self._items_sent = 0
        self._items_at_once = ITEMS_AT_ONCE
        self._end = _PATIENCE * deadline.seconds
        self._best_version: Version | None = None

    def extend(self) -> None:
        """Allow another timeout from now on, because new key pairs have arrived."""
        self._end = max(self._end, self._deadline.elapsed() + self._deadline.seconds)

    def best_version(self) -> Version:
        """Return the best version for Locate, or `SPOKEN` if Discover Versions is refused."""
        if self._best_version is None:
            self._best_version = SPOKEN
            (outcome,) = self.ask([discover_versions()])
            if isinstance(outcome, Success):
                spoken = (each for each in WITH_OFFSET if each in outcome.versions)
                self._best_version = next(spoken, SPOKEN)
        return self._best_version

    def succeed(self, item: Item) -> Success:
        """Send one item; raise ServerRefusal if the server refuses it."""
        (outcome,) = self.ask([item])
        if isinstance(outcome, Refusal):
            raise ServerRefusal(outcome.reason)
        return outcome

    def ask(self, items: Iterable[Item], version: Version = SPOKEN) -> list[Outcome]:
        """Send ``items`` in as few requests as the server allows.

        A request that is refused as a whole is repeated in halves.  A single item that is refused
        gets the refusal as its outcome.
        """
        waiting = list(items)
        outcomes: list[Outcome] = []
        while waiting:
            some = waiting[: self._items_at_once]
            try:
                outcomes += self._request(some, version)
            except RequestRefused as error:
                if len(some) > 1:
                    self._items_at_once = len(some) // 2
                    continue
                outcomes.append(error.refusal)
                self._items_at_once = ITEMS_AT_ONCE
            del waiting[: len(some)]
        return outcomes

    def _request(self, items: Sequence[Item], version: Version) -> list[Outcome]:
        elapsed = self._deadline.elapsed()
        longest = _LONGEST * self._deadline.seconds
        if elapsed > longest:
            raise not_done(longest)
        if elapsed > self._end:
            raise not_done(_PATIENCE * self._deadline.seconds)
        self._deadline.restart()
        first = self._items_sent
        self._items_sent += len(items)
        self._sent_key = self._sent_key or any(item.carries_key for item in items)
        self._connection.send(encode(items, first, version))
        try:
            length = structure_length(self._connection.receive(HEADER_LENGTH), RESPONSE_MESSAGE)
            if length > MAXIMUM_ANSWER:
                raise KeyServerFailure(NOT_A_KMIP_SERVER)
            body = self._connection.receive(length)
            self._connection.expect_silence()
            return decode(body, items, first, messages=not self._sent_key)
        except (NotKmip, MalformedTtlv):
            raise KeyServerFailure(NOT_A_KMIP_SERVER) from None
