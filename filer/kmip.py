"""One key server on the wire: KMIP 1.2 over TLS with certificates on both sides.

A key pair is one Secret Data object, as in the OASIS profile *Storage Array with Self-Encrypting
Drives*.  Its Name is the key ID, its Object Group the key tag, its Application Specific
Information the parent tag of the system, and its key material the authentication key itself.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filer.authentication_key import AuthenticationKey
from filer.key_server_failure import KeyServerFailure
from filer.keytable import KeyPair

if TYPE_CHECKING:
    from filer.kmip_conversation import Conversation, StoredObject

__all__ = ["Credentials", "KeyServer", "KeyServerFailure"]


@dataclass(frozen=True)
class Credentials:
    """The certificate files for one key server (man key_manager, CERTIFICATES)."""

    client: Path
    client_private: Path
    ca: Path


class KeyServer:
    """A key server as a filer talks to it.

    Every method is a connection of its own, and one deadline, ``timeout`` seconds away, for all of
    it: connecting, the handshake, all requests and the whole of their answers.  It raises
    KeyServerFailure, whose ``reason`` is what ``key_manager status`` shows.  An instance may be
    used by one thread at a time; ``warnings`` collects what was accepted but should be told.
    """

    def __init__(
        self,
        address: str,
        port: int,
        credentials: Credentials,
        timeout: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address = address
        self.port = port
        self.timeout = timeout
        self.warnings: list[str] = []
        self._credentials = credentials
        self._clock = clock

    def probe(self) -> None:
        """Make one KMIP exchange that changes nothing."""
        with self._conversation() as conversation:
            conversation.query()

    def fetch(self, parent_tag: str) -> list[KeyPair]:
        """Read all key pairs of the system ``parent_tag``.

        Servers filter loosely, so each object is looked at again; what is no key pair of this
        system is left alone, and so is one that is destroyed or compromised.
        """
        with self._conversation() as conversation:
            return [
                pair for each in conversation.objects_of_system(parent_tag) for pair in each.pairs()
            ]

    def store(self, pair: KeyPair, parent_tag: str) -> str:
        """Register and activate ``pair``; return the identifier it has there.

        After a failure it may have arrived, or not: see ``take_back``.
        """
        with self._conversation() as conversation:
            identifier = conversation.register(pair, parent_tag)
            conversation.activate(identifier)
        return identifier

    def take_back(self, key_id: str, key: AuthenticationKey, identifier: str | None) -> bool:
        """Destroy the objects named ``key_id`` that are ``identifier`` or hold this very ``key``.

        An active one is revoked first.  Returns False if one is still there afterwards, although
        the server said otherwise, or if ``identifier`` is there and is not the object that was
        stored: whose it is then is not known.
        """
        with self._conversation() as conversation:

            def ours() -> "list[StoredObject]":
                return [
                    each
                    for each in conversation.objects_named(key_id, identifier)
                    if each.identifier == identifier or each.key == key
                ]

            found = ours()
            if not found:
                return identifier is None or not conversation.is_in_use(identifier)
            conversation.remove(found)
            return not ours()

    @contextmanager
    def _conversation(self) -> Iterator["Conversation"]:
        # Slow to import, and not needed before a key server is talked to.
        from filer.kmip_conversation import Conversation
        from filer.tls import check_address, client_context, is_in_file
        from filer.tls_connection import Deadline, TlsConnection

        files = self._credentials
        context = client_context(files.client, files.client_private, files.ca)
        deadline = Deadline(self.timeout, self._clock)
        with TlsConnection(self.address, self.port, context, deadline) as connection:
            connection.handshake()
            certificate, der = connection.peer_certificate()
            warning = check_address(
                certificate, self.address, is_in_ca_file=lambda: is_in_file(der, files.ca)
            )
            if warning is not None and warning not in self.warnings:
                self.warnings.append(warning)
            yield Conversation(connection, deadline)
