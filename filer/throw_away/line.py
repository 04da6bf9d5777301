"""Connections to a key server, for requests that a filer does not send, or not in this form."""

import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Self

from filer.kmip.client import Credentials
from filer.kmip.connection import Deadline, TlsConnection
from filer.kmip.failure import NOT_A_KMIP_SERVER, KeyServerFailure
from filer.kmip.login import Login
from filer.kmip.requests import MAXIMUM_ANSWER, PREFERRED, Item, Version, discover_versions
from filer.kmip.tls import check_address, client_context, is_in_file
from filer.kmip.ttlv import HEADER_LENGTH, MalformedTtlv, structure_length
from filer.throw_away.message import Answer, AnswerItem, Raw, Reason, Tags, answer, request

_AT_ONCE = 64


class Tape:
    """Records what a connection sends and receives: a `Watch` of `filer.kmip.connection`."""

    def __init__(self) -> None:
        self.exchanges: list[tuple[bytes, bytearray]] = []

    def sent(self, data: bytes) -> None:
        self.exchanges.append((data, bytearray()))

    def received(self, data: bytes) -> None:
        if self.exchanges:
            self.exchanges[-1][1].extend(data)

    @property
    def answered(self) -> bool:
        """Whether any byte of an answer to the last request has arrived."""
        return bool(self.exchanges and self.exchanges[-1][1])


@dataclass
class Habits:
    """What all connections to a key server must respect."""

    version: Version = PREFERRED
    closes: bool = False
    """The server closes the connection after each answer."""
    greets: bool = False
    """The server wants Discover Versions before anything else."""
    numbers: bool = False
    """The server wants a Unique Batch Item ID in a request with one item."""

    def plain(self) -> "Habits":
        """Return the same without IDs for single items."""
        return replace(self, numbers=False)


@dataclass(frozen=True)
class Way:
    """How to connect to a key server."""

    address: str
    port: int
    credentials: Credentials
    timeout: float
    login: Login | None = None


class Line:
    """A connection to a key server, made by the first request.  Raises KeyServerFailure."""

    def __init__(self, way: Way, context: ssl.SSLContext, habits: Habits, tape: Tape) -> None:
        self.way = way
        self.tape = tape
        self._context = context
        self._habits = habits
        self._connection: TlsConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next request makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.__exit__()

    def connect(self) -> TlsConnection:
        """Connect and check the server's certificate, unless that is done."""
        if self._connection is None:
            way = self.way
            deadline = Deadline(way.timeout)
            connection = TlsConnection(way.address, way.port, self._context, deadline, self.tape)
            self._connection, self._deadline = connection, deadline
            connection.handshake()
            if self._context.verify_mode is ssl.CERT_REQUIRED:
                certificate, der = connection.peer_certificate()
                check_address(
                    certificate,
                    way.address,
                    is_in_ca_file=lambda: is_in_file(der, way.credentials.ca),
                )
            if self._habits.greets:
                greeting = request([discover_versions()], self._habits.version, login=way.login)
                self._exchange(connection, greeting)
        return self._connection

    def ask(
        self,
        *items: Item | Raw,
        version: Version | None = None,
        most: int = MAXIMUM_ANSWER,
    ) -> Answer:
        """Send ``items`` in one request; ``most`` is its Maximum Response Size in bytes."""
        habits = self._habits
        return self.send(
            request(
                items,
                version or habits.version,
                most=most,
                numbers=habits.numbers,
                login=self.way.login,
            )
        )

    def send(self, data: bytes) -> Answer:
        """Send an encoded request."""
        if self._habits.closes:
            self.close()
        return self._exchange(self.connect(), data)

    def _exchange(self, connection: TlsConnection, data: bytes) -> Answer:
        try:
            self._deadline.restart()
            connection.send(data)
            head = connection.receive(HEADER_LENGTH)
            size = structure_length(head, Tags.RESPONSE_MESSAGE.value)
            if size > 2 * MAXIMUM_ANSWER:
                raise MalformedTtlv
            # With a login, each request carries the password.
            return answer(head + connection.receive(size), messages=self.way.login is None)
        except MalformedTtlv:
            self.close()
            raise KeyServerFailure(NOT_A_KMIP_SERVER) from None
        except KeyServerFailure:
            self.close()
            raise


class Batches:
    """Requests with many items, as many at once as the server takes."""

    def __init__(self, line: Callable[[], Line]) -> None:
        self._line = line
        self.at_once = _AT_ONCE

    def ask(self, items: Sequence[Item]) -> list[AnswerItem | None]:
        """Send ``items``, which may be sent twice; return their answers, None for a missing one.

        Raises KeyServerFailure if the server does not answer a single item.
        """
        answers: list[AnswerItem | None] = []
        if not items:
            return answers
        with self._line() as line:
            while len(answers) < len(items):
                some = items[len(answers) :][: self.at_once]
                found = self.once(line, some)
                if found is None:
                    self.at_once = len(some) // 2
                else:
                    answers += found
        return answers

    def once(self, line: Line, items: Sequence[Item]) -> list[AnswerItem | None] | None:
        """Send ``items`` in one request; return None if the server does not take so many."""
        try:
            got = line.ask(*items)
        except KeyServerFailure:
            if len(items) > 1:
                return None
            raise
        if len(items) > 1 and (got.refusal or len(got.items) != len(items)):
            return None
        return got.in_order(len(items))


def verified(credentials: Credentials) -> ssl.SSLContext:
    """Return the context of a filer.  Raises KeyServerFailure."""
    return client_context(credentials.client, credentials.client_private, credentials.ca)


def learn_habits(line_with: Callable[[Habits], Line], item: Item, version: Version) -> Habits | str:
    """Return what a server needs to answer the Locate ``item`` in ``version``, or its refusal.

    ``line_with`` returns a new connection.
    """
    refusal = ""
    for greets, numbers in ((False, False), (True, False), (False, True)):
        habits = Habits(version, greets=greets, numbers=numbers)
        try:
            with line_with(habits) as line:
                got = line.ask(item)
                if understands(got):
                    habits.closes = _closes(line)
                    return habits
        except KeyServerFailure as failure:
            reason = failure.reason
        else:
            reason = got.items[0].outcome() if got.items else "an answer without an item"
        refusal = refusal or reason
    return refusal


def _closes(line: Line) -> bool:
    """Return whether the server closes the connection after an answer."""
    with suppress(KeyServerFailure):
        line.ask(discover_versions())
    return not line.tape.answered


def understands(answer: Answer) -> bool:
    """Return whether a Locate was understood, if it has found anything or not."""
    return any(
        item.succeeded or item.refused_with(Reason.ITEM_NOT_FOUND, Reason.OBJECT_NOT_FOUND)
        for item in answer.items
    )
