"""The key pairs on each key server."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from filer.key_servers.ranking import Ranking, rank
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.pair import KeyPair

if TYPE_CHECKING:
    from filer.kmip.failure import KeyServerFailure


def conflict(key_id: str, holders: Sequence[str]) -> str:
    """Return the message about ``holders``, which contradict each other about ``key_id``."""
    if len(holders) == 1:
        return f"key server {holders[0]} holds different keys for key ID {key_id}"
    return f"key servers {', '.join(holders)} hold different keys for key ID {key_id}"


class Mismatch(NamedTuple):
    """Key servers with a wrong key for ``key_id``, or that contradict each other about it."""

    key_id: str
    servers: Sequence[str]
    text: str


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

    def pairs(self) -> list[KeyPair]:
        """Return the key pairs of all servers that answered, in order of registration."""
        return [pair for held in self.by_server.values() for pair in held]

    def key_ids(self) -> set[str]:
        """Return the distinct key IDs on all servers that answered."""
        return set(self._by_key_id)

    def holds(self, key_id: str, key: AuthenticationKey) -> bool:
        """Return whether a boot that reads these servers loads ``key`` for ``key_id``.

        Of a server with many keys under one key ID a boot loads some: see `ranking`.
        """
        return key in self.keys(key_id)

    def keys(self, key_id: str) -> Sequence[AuthenticationKey]:
        """Return the keys that such a boot loads for ``key_id``, in the order of `ranking`."""
        entry = self.ranking.entries.get(key_id)
        return entry.candidates if entry else ()

    def only(self, address: str) -> "Holdings":
        """Return what the one server at ``address`` holds."""
        return Holdings({address: self.by_server[address]}, {})

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

    def mismatches(self, right: Mapping[str, AuthenticationKey | None]) -> Iterator[Mismatch]:
        """Yield each server with a wrong key, and each conflict with no known right key.

        ``right`` maps key IDs to the key that opens their disks, or to None if disks have only
        refused keys.
        """
        contested = self.contradictions()
        for key_id in {**contested, **right}:
            key = right.get(key_id)
            if key is not None:
                for address in self.servers_with_another(key_id, key):
                    text = (
                        f"key server {address} holds another key for key ID {key_id} than the one "
                        "that opens its disks"
                    )
                    yield Mismatch(key_id, [address], text)
            elif key_id in contested:
                holders = contested[key_id]
                yield Mismatch(key_id, holders, conflict(key_id, holders))
            else:
                for address in self.holders(key_id):
                    text = (
                        f"key server {address} holds a key for key ID {key_id} that does not open "
                        "its disks"
                    )
                    yield Mismatch(key_id, [address], text)
