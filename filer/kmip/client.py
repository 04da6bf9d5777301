"""One key server on the wire: KMIP over TLS with certificates on both sides.

A key pair is one Secret Data object, as in the OASIS profile *Storage Array with Self-Encrypting
Drives*.  Its Name is the key ID, its Object Group the key tag, and its key material the
authentication key itself.  Its Application Specific Information has the parent tag of the system
for administrators.  Reading does not need it: a filer sees the key pairs of every system that the
server shows to its client certificate.
"""

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from filer.keys.authentication_key import AuthenticationKey
from filer.keys.pair import KeyPair
from filer.kmip.failure import (
    CLIENT_CERTIFICATE_REJECTED,
    IncompleteAnswer,
    KeyServerFailure,
    PartlyRead,
    ServerRefusal,
)
from filer.kmip.login import Login

if TYPE_CHECKING:
    from ssl import SSLContext

    from filer.kmip.abilities import Abilities
    from filer.kmip.connection import Deadline, TlsConnection, Watch
    from filer.kmip.conversation import Conversation
    from filer.kmip.interface import Interface

__all__ = ["Credentials", "KeyServerFailure", "KmipClient"]

_ANOTHER_IDENTIFIER = "it gave the new key pair the identifier of another object"


@dataclass(frozen=True)
class Credentials:
    """The certificate files for one key server (man key_manager, CERTIFICATES)."""

    client: Path
    client_private: Path
    ca: Path


def _time_of_day() -> datetime:
    return datetime.now(UTC)


class KmipClient:
    """A client of one key server.

    Every method makes a connection of its own.  What the server can do is learned once.
    ``timeout`` is in seconds: one deadline for connecting and the handshake, and one for each
    request with its whole answer.  ``login`` is sent with each request.  Connections come from
    ``interface`` if there is one.  Key pairs whose key ID is ``ignored`` are not read.  With
    ``key_tag``, `fetch` lists only the key pairs with this tag.  Methods raise KeyServerFailure,
    whose ``reason`` is what ``key_manager status`` shows.  An instance may be used by one thread at
    a time.  ``warnings`` collects irregularities that were tolerated, and ``unreadable`` the
    objects that could not be read, with the reason.  ``unread`` has the key IDs that the server
    has, but whose key the last conversation did not read.  ``watch`` sees the requests and answers.
    """

    def __init__(
        self,
        address: str,
        port: int,
        credentials: Credentials,
        timeout: float,
        *,
        login: Login | None = None,
        interface: "Interface | None" = None,
        ignored: Callable[[str], bool] = lambda _: False,
        key_tag: str | None = None,
        watch: "Watch | None" = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = _time_of_day,
    ) -> None:
        self.address = address
        self.port = port
        self.timeout = timeout
        self.warnings: list[str] = []
        self.unreadable: dict[str, str] = {}
        self.unread: Collection[str] = ()
        self._registered: dict[str, str] = {}
        self._refused: set[str] = set()
        # Identifiers that a fetch located: no pair that is stored later has one of them.
        self._fetched: set[str] = set()
        self._unanswered: set[str] = set()  # key IDs that were registered without an answer
        self._misnamed: set[str] = set()
        self._listed: set[str] = set()  # key IDs of pairs that the server showed after Register
        self._abilities: Abilities | None = None
        self._login = login
        self._interface = interface
        self._ignored = ignored
        self._key_tag = key_tag
        self._watch = watch
        self._arrived: list[KeyPair] = []
        self._credentials = credentials
        self._clock = clock
        self._now = now

    def probe(self) -> None:
        """Check that the server answers, by a request that changes nothing."""
        with self._conversation() as conversation:
            conversation.query()

    def fetch(self, key_ids: Collection[str] = ()) -> list[KeyPair]:
        """Read all key pairs that the server shows, those with ``key_ids`` first.

        Key pairs with ``key_ids`` are located by name.  Servers filter loosely, so the attributes
        of each object are checked; objects that are not key pairs, or that are destroyed or
        compromised, are ignored.  Raises PartlyRead if some key pairs arrived and others did not,
        or may not have.
        """
        self._arrived = []
        try:
            with self._conversation() as conversation:
                try:
                    for each in conversation.key_pairs(key_ids):
                        self._arrived += each.pairs()
                finally:
                    self._fetched |= conversation.located
        except KeyServerFailure as failure:
            raise self.with_arrived(failure) from None
        return self._arrived

    def with_arrived(self, failure: KeyServerFailure) -> KeyServerFailure:
        """Return the ``failure`` of a fetch, as PartlyRead if key pairs arrived before it.

        Any thread may call this, even while the fetch is still running in another thread.
        """
        arrived = self._arrived.copy()
        if arrived or isinstance(failure, IncompleteAnswer):
            return PartlyRead(failure, arrived)
        return failure

    def find(self, key_id: str) -> list[KeyPair]:
        """Read the key pairs that are named ``key_id``."""
        with self._conversation() as conversation:
            return [
                pair
                for each in conversation.objects_named(key_id)
                for pair in each.pairs()
                if pair.key_id == key_id
            ]

    def held(self, key_ids: Collection[str]) -> set[str]:
        """Return those of ``key_ids`` for which the server has a key pair, readable or not."""
        with self._conversation() as conversation:
            return conversation.held(key_ids)

    def store(self, pair: KeyPair, parent_tag: str) -> str:
        """Register and activate ``pair``; return its identifier on the server.

        Raises ServerRefusal if the server returns the identifier of an object that a fetch has
        located: that object holds another key.  After a failure the pair may or may not be on the
        server: see ``take_back``.
        """
        with self._conversation() as conversation:
            try:
                identifier = conversation.register(pair, parent_tag)
            except KeyServerFailure as failure:
                if not failure.answered:
                    self._unanswered.add(pair.key_id)
                raise
            if identifier in self._fetched:
                self._misnamed.add(pair.key_id)
                raise ServerRefusal(_ANOTHER_IDENTIFIER)
            self._registered[pair.key_id] = identifier
            if identifier in conversation.located:
                self._listed.add(pair.key_id)
            self._refused |= conversation.refused
            conversation.activate(identifier)
        return identifier

    def take_back(self, key_id: str, key: AuthenticationKey, identifier: str | None = None) -> bool:
        """Destroy the object that was registered as ``key_id``, activated or not.

        The object is the one with ``identifier``, by default the one that ``store`` received; it
        need not be readable.  If both are unknown, all objects with that name and the same ``key``
        are destroyed.  Active objects are revoked first.  Returns False if an object still exists
        although the server reported success, or if it may belong to another owner.  Raises
        ServerRefusal if a pair that ``store`` sent may appear later, or, after destroying
        what the search found, if ``store`` received the identifier of another object.
        """
        known = identifier or self._registered.get(key_id)
        with self._conversation() as conversation:
            was_listed = identifier is not None or key_id in self._listed
            gone = not known or conversation.take_back(key_id, known, was_listed=was_listed)
            # A server that refused the pair at first may have kept it nevertheless.
            if not known or key_id in self._refused:
                may_appear = key_id in self._unanswered
                is_gone = conversation.take_back_by_key(key_id, key, may_appear=may_appear)
                gone = is_gone and gone
            if gone and key_id in self._misnamed:
                raise ServerRefusal(_ANOTHER_IDENTIFIER)
            return gone

    def context(self) -> "SSLContext":
        """Return the TLS context of a conversation, with the certificate files as they are now."""
        from filer.kmip.tls import client_context

        files = self._credentials
        return client_context(files.client, files.client_private, files.ca)

    @contextmanager
    def _conversation(self) -> Iterator["Conversation"]:
        # Slow to import, and needed only to connect to a key server.
        from filer.kmip.abilities import Abilities
        from filer.kmip.connection import Deadline
        from filer.kmip.conversation import Conversation
        from filer.kmip.exchange import Exchange

        context = self.context()
        deadline = Deadline(self.timeout, self._clock)
        abilities = self._abilities = self._abilities or Abilities()
        with (
            self._rejection_explained(),
            Exchange(
                partial(self._connection, context, deadline), deadline, abilities, self._login
            ) as exchange,
        ):
            conversation = Conversation(exchange, self._ignored, self._key_tag)
            try:
                yield conversation
            finally:
                # A new dict, because another thread may be reading the old one.
                self.unreadable = {**self.unreadable, **conversation.unreadable()}
                self.unread = conversation.unread()

    @contextmanager
    def _connection(self, context: "SSLContext", deadline: "Deadline") -> Iterator["TlsConnection"]:
        """Connect to the server, and check its certificate."""
        from filer.kmip.connection import TlsConnection
        from filer.kmip.tls import check_address, check_dates, is_in_file

        ca = self._credentials.ca
        with TlsConnection(
            self.address, self.port, context, deadline, self._watch, interface=self._interface
        ) as connection:
            connection.handshake()
            certificate, der = connection.peer_certificate()
            check_dates(certificate, context.get_ca_certs(), self._now())
            warning = check_address(
                certificate, self.address, is_in_ca_file=lambda: is_in_file(der, ca)
            )
            if warning is not None and warning not in self.warnings:
                self.warnings.append(warning)
            yield connection

    @contextmanager
    def _rejection_explained(self) -> Iterator[None]:
        """Let the failure say if a rejected client certificate has expired."""
        try:
            yield
        except KeyServerFailure as failure:
            if failure.reason != CLIENT_CERTIFICATE_REJECTED:
                raise
            from filer.kmip.tls import rejection

            raise rejection(self._credentials.client, self._now()) from None
