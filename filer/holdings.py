"""What the key servers hold: the key pairs of this system, server by server."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from filer.authentication_key import AuthenticationKey
from filer.keytable import KeyPair, merge

if TYPE_CHECKING:
    from filer.key_server_failure import KeyServerFailure


def conflict(key_id: str, holders: Sequence[str]) -> str:
    """Return what to say of key servers that contradict each other."""
    return f"key servers {', '.join(holders)} hold different keys for key ID {key_id}"


class Holdings(NamedTuple):
    """The key pairs of this system as its key servers report them."""

    by_server: Mapping[str, Sequence[KeyPair]]
    failures: Mapping[str, "KeyServerFailure"]

    def pairs(self) -> list[KeyPair]:
        """Return the key pairs of all servers that answered, in their order."""
        return [pair for held in self.by_server.values() for pair in held]

    def key_ids(self) -> set[str]:
        """Return the distinct key IDs on all servers that answered."""
        return {pair.key_id for pair in self.pairs()}

    def holds(self, key_id: str, key: AuthenticationKey) -> bool:
        """Say whether a server that answered has ``key_id`` with this very secret."""
        return any(pair.key_id == key_id and pair.key == key for pair in self.pairs())

    def holders(self, key_id: str) -> list[str]:
        """Return the servers that hold something under ``key_id``."""
        return [
            address
            for address, held in self.by_server.items()
            if any(pair.key_id == key_id for pair in held)
        ]

    def contradictions(self) -> dict[str, list[str]]:
        """Return the key IDs with different secrets, and the servers that hold them."""
        return {
            entry.key_id: self.holders(entry.key_id)
            for entry in merge(self.pairs()).values()
            if entry.contradicted
        }

    def servers_with_another(self, key_id: str, key: AuthenticationKey) -> list[str]:
        """Return the servers that hold a secret other than ``key`` under ``key_id``."""
        return [
            address
            for address, held in self.by_server.items()
            if any(pair.key_id == key_id and pair.key != key for pair in held)
        ]
