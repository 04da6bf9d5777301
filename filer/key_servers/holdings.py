"""The key pairs on each key server."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from filer.key_servers.ranking import KeySet, Ranking, rank
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.pair import KeyPair

if TYPE_CHECKING:
    from filer.kmip.failure import KeyServerFailure


def conflict(key_id: str, holders: Sequence[str]) -> str:
    """Return the message about ``holders``, which contradict each other about ``key_id``."""
    if len(holders) == 1:
        return f"key server {holders[0]} holds different keys for key ID {key_id}"
    return f"key servers {', '.join(holders)} hold different keys for key ID {key_id}"


@dataclass(eq=False, repr=False)
class Holdings:
    """The key pairs as the key servers report them, whichever system made them.

    ``by_server`` is in order of registration.  ``unread`` has, for each server, the key IDs that it
    has but whose keys could not be read.
    """

    by_server: Mapping[str, Sequence[KeyPair]]
    failures: Mapping[str, "KeyServerFailure"]
    unread: Mapping[str, Collection[str]] = field(default_factory=dict)

    @cached_property
    def ranking(self) -> Ranking:
        """All key pairs as keytable entries."""
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
        """Return the key pairs of all servers that answered, in order of registration."""
        return [pair for held in self.by_server.values() for pair in held]

    def key_ids(self) -> set[str]:
        """Return the distinct key IDs on all servers that answered."""
        return set(self._by_key_id)

    def holds(self, key_id: str, key: AuthenticationKey) -> bool:
        """Say whether any server that answered holds ``key`` under ``key_id``."""
        return key_id in self._keys and key in self._keys[key_id]

    def holders(self, key_id: str, key: AuthenticationKey | None = None) -> list[str]:
        """Return the servers that hold ``key``, or with None any key, under ``key_id``."""
        held = self._by_key_id.get(key_id, ())
        return list(dict.fromkeys(address for address, each in held if key is None or each == key))

    def withheld_by(self, key_id: str) -> list[str]:
        """Return the servers that have ``key_id``, but whose key could not be read."""
        return [address for address, key_ids in self.unread.items() if key_id in key_ids]

    def contradictions(self) -> dict[str, list[str]]:
        """Return the contested key IDs, each with all servers that hold it."""
        return {
            key_id: self.holders(key_id)
            for key_id, held in self._by_key_id.items()
            if any(key != held[0][1] for _address, key in held)
        }

    def servers_with_another(self, key_id: str, key: AuthenticationKey) -> list[str]:
        """Return the servers that hold a key other than ``key`` under ``key_id``."""
        held = self._by_key_id.get(key_id, ())
        return list(dict.fromkeys(address for address, each in held if each != key))
