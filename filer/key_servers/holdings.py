"""What the key servers hold: the key pairs of this system, server by server."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from filer.key_servers.candidates import KeySet, Ranking, rank
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.pair import KeyPair

if TYPE_CHECKING:
    from filer.kmip.failure import KeyServerFailure


def conflict(key_id: str, holders: Sequence[str]) -> str:
    """Return what to say of key servers that contradict each other."""
    if len(holders) == 1:
        return f"key server {holders[0]} holds different keys for key ID {key_id}"
    return f"key servers {', '.join(holders)} hold different keys for key ID {key_id}"


@dataclass(frozen=True)
class Holdings:
    """The key pairs of this system as its key servers report them.

    ``by_server`` is in the order in which the servers are registered.  ``unread`` has, for each
    server, the key IDs that it is known to have, but whose key could not be read.
    """

    by_server: Mapping[str, Sequence[KeyPair]]
    failures: Mapping[str, "KeyServerFailure"]
    unread: Mapping[str, Collection[str]] = field(default_factory=dict)

    @cached_property
    def ranking(self) -> Ranking:
        """The entries that make a keytable of all key pairs."""
        return rank(self.by_server)

    @cached_property
    def _by_key_id(self) -> Mapping[str, Sequence[tuple[str, AuthenticationKey]]]:
        found: dict[str, list[tuple[str, AuthenticationKey]]] = {}
        for address, held in self.by_server.items():
            for pair in held:
                found.setdefault(pair.key_id, []).append((address, pair.key))
        return found

    @cached_property
    def _keys(self) -> Mapping[str, KeySet]:
        return {
            key_id: KeySet(key for _address, key in held)
            for key_id, held in self._by_key_id.items()
        }

    def pairs(self) -> list[KeyPair]:
        """Return the key pairs of all servers that answered, in their order."""
        return [pair for held in self.by_server.values() for pair in held]

    def key_ids(self) -> set[str]:
        """Return the distinct key IDs on all servers that answered."""
        return set(self._by_key_id)

    def holds(self, key_id: str, key: AuthenticationKey) -> bool:
        """Say whether a server that answered has ``key_id`` with this very secret."""
        return key_id in self._keys and key in self._keys[key_id]

    def holders(self, key_id: str, key: AuthenticationKey | None = None) -> list[str]:
        """Return the servers that hold ``key``, or anything, under ``key_id``."""
        held = self._by_key_id.get(key_id, ())
        return list(dict.fromkeys(address for address, each in held if key is None or each == key))

    def withheld_by(self, key_id: str) -> list[str]:
        """Return the servers that have ``key_id``, but whose key for it could not be read."""
        return [address for address, key_ids in self.unread.items() if key_id in key_ids]

    def contradictions(self) -> dict[str, list[str]]:
        """Return the key IDs with different secrets, and the servers that hold them."""
        return {
            key_id: self.holders(key_id)
            for key_id, held in self._by_key_id.items()
            if any(key != held[0][1] for _address, key in held)
        }

    def servers_with_another(self, key_id: str, key: AuthenticationKey) -> list[str]:
        """Return the servers that hold a secret other than ``key`` under ``key_id``."""
        held = self._by_key_id.get(key_id, ())
        return list(dict.fromkeys(address for address, each in held if each != key))
