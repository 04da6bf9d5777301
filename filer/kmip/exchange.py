"""Requests and answers, in the version, size and form that the server accepts."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Self

from filer.kmip.abilities import Abilities, best_of, next_to_try
from filer.kmip.answers import RESPONSE_MESSAGE, NotKmip, Outcome, Success, decode
from filer.kmip.connection import Deadline, TlsConnection
from filer.kmip.failure import (
    NOT_A_KMIP_SERVER,
    ConnectionClosed,
    KeyServerFailure,
    ServerRefusal,
    not_done,
    speaks_only,
    unauthenticated,
)
from filer.kmip.login import Login
from filer.kmip.refusals import Refusal, RequestRefused
from filer.kmip.requests import (
    MAXIMUM_ANSWER,
    PREFERRED,
    SPOKEN,
    Item,
    Version,
    discover_versions,
    encode,
    query,
)
from filer.kmip.ttlv import HEADER_LENGTH, MalformedTtlv, structure_length

_PATIENCE = 4
"""Number of timeouts after which another request is sent only while new key pairs arrive."""

_LONGEST = 24
"""Number of timeouts after which no request is sent, even if key pairs still arrive.

At the default timeout of 5 s this is 2 minutes: 128 key pairs, at 0.9 s each.
"""

Connect = Callable[[], AbstractContextManager[TlsConnection]]


def _carry_key(items: Iterable[Item]) -> bool:
    return any(item.carries_key for item in items)


class Exchange:
    """The requests of one conversation.  All methods raise KeyServerFailure.

    Each request with its complete answer has its own deadline, which includes a new connection if
    the server has closed the old one.  After four timeouts another request is sent only if the last
    one returned a new key pair; after 24 timeouts, none is sent.  ``abilities`` is what is known of
    the server, and is updated from its answers.

    The reason of a refusal includes the server's own message, unless the server may repeat a key or
    a password in it: if it was sent one.
    """

    def __init__(
        self,
        connect: Connect,
        deadline: Deadline,
        abilities: Abilities,
        login: Login | None = None,
    ) -> None:
        self._connect = connect
        self.deadline = deadline
        self.abilities = abilities
        self._login = login
        self._open = ExitStack()
        self._connection: TlsConnection | None = None
        self._answers = 0  # on this connection
        self._discovered = False  # on this connection
        self._items_sent = 0
        self._end = _PATIENCE * deadline.seconds

    def __enter__(self) -> Self:
        self._connected()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._hang_up()

    def extend(self) -> None:
        """Allow another timeout from now on, because new key pairs have arrived."""
        self._end = max(self._end, self.deadline.elapsed() + self.deadline.seconds)

    def ask(self, items: Iterable[Item]) -> list[Outcome]:
        """Send ``items`` in as few requests as the server allows.

        A request that is refused as a whole, or that the server does not answer but closes the
        connection, is repeated in halves.  A single item that is refused gets the refusal as its
        outcome.
        """
        waiting = list(items)
        if waiting and self.abilities.version is None:
            self._negotiate()
        outcomes: list[Outcome] = []
        batch = self.abilities.batch
        while waiting:
            some = waiting[: batch.now]
            try:
                outcomes += self._accepted(some)
                batch.accepted(len(some))
            except (RequestRefused, ConnectionClosed) as error:
                batch.refused(len(some))
                if len(some) > 1:
                    continue
                if isinstance(error, ConnectionClosed):
                    raise
                outcomes.append(error.refusal)
            del waiting[: len(some)]
        return outcomes

    def _accepted(self, items: Sequence[Item]) -> list[Outcome]:
        """Send one request.  Raises RequestRefused and ConnectionClosed.

        A server may list versions in which it refuses requests; its refusals show another version.
        Until it has accepted a request, that version is tried, and then those below it.
        """
        abilities = self.abilities
        version = abilities.version or PREFERRED
        tried: list[Version] = []
        first: RequestRefused | None = None
        while True:
            tried.append(version)
            try:
                outcomes = self._sent(items, version)
            except RequestRefused as error:
                first = first or error
                is_of_items = first.version == tried[0] or not error.refusal.may_be_of_form
                other = next_to_try(tried, error.version)
                # A key is never sent twice; a fetch has found the version before.
                if abilities.has_accepted or is_of_items or other is None or _carry_key(items):
                    raise first from None
                version = other
            else:
                abilities.version, abilities.has_accepted = version, True
                return outcomes

    def _sent(self, items: Sequence[Item], version: Version) -> list[Outcome]:
        """Send one request in ``version``.  Raises RequestRefused and ConnectionClosed."""
        self._begin()
        if self.abilities.wants_discovery and not self._discovered:
            self._discover(version)
        try:
            return self._request(items, version)
        except RequestRefused:
            if self._discovered:
                raise
        except ConnectionClosed:
            if self._discovered or _carry_key(items):
                raise
        # Some servers want Discover Versions first on each connection.
        self._discover(version)
        outcomes = self._request(items, version)
        self.abilities.wants_discovery = True
        return outcomes

    def _negotiate(self) -> None:
        """Find the best version that the server speaks, by Discover Versions or by trying.

        All attempts together have one deadline.
        """
        self._begin()
        tried: list[Version] = []
        failure: KeyServerFailure = KeyServerFailure(NOT_A_KMIP_SERVER)
        version: Version | None = PREFERRED
        while version is not None:
            tried.append(version)
            shown = None
            try:
                versions = self._discover(version)
            except ConnectionClosed:
                pass
            except RequestRefused as error:
                shown = error.version
                if shown == version and not error.refusal.may_be_of_form:
                    raise ServerRefusal(error.refusal.reason) from None
                if shown == version and self._takes_query(version):
                    self.abilities.version = version
                    return
                failure = (
                    ServerRefusal(error.refusal.reason) if shown in SPOKEN else speaks_only([shown])
                )
            else:
                self.abilities.version = best_of(versions) if versions else version
                if self.abilities.version is None:
                    raise speaks_only(versions)
                return
            version = next_to_try(tried, shown)
        raise failure

    def _discover(self, version: Version) -> Sequence[Version]:
        """Return the versions that the server lists; an empty list if it lists none.

        Raises RequestRefused and ConnectionClosed.
        """
        (outcome,) = self._request([discover_versions()], version)
        self._discovered = self._connection is not None
        if isinstance(outcome, Success):
            return outcome.versions
        if outcome.may_be_of_form and not outcome.unknown_operation:
            raise RequestRefused(outcome, version)
        return ()

    def _takes_query(self, version: Version) -> bool:
        """Return whether the server takes a Query, which KMIP 1.0 has too, in ``version``."""
        with suppress(RequestRefused, ConnectionClosed):
            (outcome,) = self._request([query()], version)
            return isinstance(outcome, Success) or outcome.unknown_operation
        return False

    def _begin(self) -> None:
        """Start the deadline of the next request."""
        elapsed = self.deadline.elapsed()
        longest = _LONGEST * self.deadline.seconds
        if elapsed > longest:
            raise not_done(longest)
        if elapsed > self._end:
            raise not_done(_PATIENCE * self.deadline.seconds)
        self.deadline.restart()

    def _request(self, items: Sequence[Item], version: Version) -> list[Outcome]:
        """Send one request; if the server has closed the connection before it, on a new one.

        A key is never sent twice, because the server may have stored it.  So it is sent on a new
        connection, unless a Query shows that the server keeps connections open.
        """
        carry_key = _carry_key(items)
        if carry_key and self._answers and not self.abilities.keeps_connections:
            self._takes_query(version)
            if not self.abilities.keeps_connections:
                self._hang_up()
        while True:
            is_first = not self._answers
            try:
                return self._transmit(items, version)
            except ConnectionClosed:
                if is_first or carry_key:
                    raise

    def _transmit(self, items: Sequence[Item], version: Version) -> list[Outcome]:
        first = self._items_sent
        self._items_sent += len(items)
        try:
            connection = self._connected()
            self.abilities.knows_key |= _carry_key(items)
            connection.send(encode(items, first, version, self._login))
            header = connection.receive(HEADER_LENGTH)
            body = self._body(connection, header)
            messages = not self.abilities.knows_key and self._login is None
            outcomes = decode(body, items, first, messages=messages)
        except RequestRefused as error:
            self._raise_if_unauthenticated([error.refusal])
            raise
        except (NotKmip, MalformedTtlv):
            self._hang_up()
            raise KeyServerFailure(NOT_A_KMIP_SERVER) from None
        except KeyServerFailure:
            # A late answer must not be taken for the answer to another request.
            self._hang_up()
            raise
        self._raise_if_unauthenticated(outcomes)
        return outcomes

    def _raise_if_unauthenticated(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Refusal) and outcome.unauthenticated:
                raise unauthenticated(outcome.reason, self._login.user if self._login else None)

    def _body(self, connection: TlsConnection, header: bytes) -> bytes:
        """Receive an answer whose ``header`` has arrived; return the rest."""
        length = structure_length(header, RESPONSE_MESSAGE)
        if length > MAXIMUM_ANSWER:
            raise KeyServerFailure(NOT_A_KMIP_SERVER)
        try:
            body = connection.receive(length)
        except ConnectionClosed:
            raise KeyServerFailure(NOT_A_KMIP_SERVER) from None
        is_open = connection.is_open()
        self._answers += 1
        if self._answers > 1:
            self.abilities.keeps_connections = True
        if not is_open:
            self._hang_up()
        return body

    def _connected(self) -> TlsConnection:
        """Return the connection; open a new one if it was closed."""
        if self._connection is None:
            self._connection = self._open.enter_context(self._connect())
        return self._connection

    def _hang_up(self) -> None:
        self._open.close()
        self._connection = None
        self._answers = 0
        self._discovered = False
