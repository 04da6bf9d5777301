"""The order in which disks try different secrets under one key ID.

If key servers hold different secrets under a key ID, it is contested, and at most one secret is
right.  The order:

1. secrets of servers that hold one secret under the key ID: the one that most servers hold first;
   on a tie, that of the server registered first
2. secrets that only servers with several of them hold, at most `KEPT_OF_ONE_SERVER` of each, which
   bounds the memory and the scrypt runs that a server can cost

The time grows linearly with the number of key pairs, however many share a key ID.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from filer.keys.authentication_key import AuthenticationKey
from filer.keys.keytable import Entry
from filer.keys.pair import NO_TAG, KeyPair

KEPT_OF_ONE_SERVER = 16
"""Secrets kept of each key server that holds several under one key ID."""


class Surplus(NamedTuple):
    """A key server that holds more secrets under one key ID than are kept."""

    server: str
    key_id: str
    secrets: int

    def __str__(self) -> str:
        return (
            f"key server {self.server} holds {self.secrets} keys for key ID {self.key_id}; only "
            f"{KEPT_OF_ONE_SERVER} of them are kept"
        )


class Ranking(NamedTuple):
    """The entries of a keytable, and the servers whose secrets are not all in them."""

    entries: Mapping[str, Entry]
    surplus: Sequence[Surplus]


class KeySet:
    """Distinct keys in the order of addition, with lookup in constant time."""

    def __init__(self, keys: Iterable[AuthenticationKey] = ()) -> None:
        self.all: list[AuthenticationKey] = []
        self._buckets: dict[int, list[AuthenticationKey]] = {}
        for key in keys:
            self.add(key)

    def __contains__(self, key: AuthenticationKey) -> bool:
        return key in self._bucket(key)

    def add(self, key: AuthenticationKey) -> None:
        bucket = self._bucket(key)
        if key not in bucket:
            bucket.append(key)
            self.all.append(key)

    def _bucket(self, key: AuthenticationKey) -> list[AuthenticationKey]:
        # Python randomises the hash of bytes, so a server cannot fill one bucket.
        return self._buckets.setdefault(hash(key.reveal()), [])


def rank(by_server: Mapping[str, Iterable[KeyPair]]) -> Ranking:
    """Group key pairs by key ID; ``by_server`` is in order of registration."""
    tags: dict[str, str] = {}
    held: dict[str, dict[str, KeySet]] = {}
    for server, pairs in by_server.items():
        for pair in pairs:
            if tags.get(pair.key_id, NO_TAG) == NO_TAG:
                tags[pair.key_id] = pair.tag
            held.setdefault(pair.key_id, {}).setdefault(server, KeySet()).add(pair.key)
    entries = {
        key_id: Entry(key_id, tags[key_id], tuple(_in_order(list(servers.values()))))
        for key_id, servers in held.items()
    }
    surplus = [
        Surplus(server, key_id, len(secrets.all))
        for key_id, servers in held.items()
        for server, secrets in servers.items()
        if len(secrets.all) > KEPT_OF_ONE_SERVER
    ]
    return Ranking(entries, surplus)


def _in_order(servers: Sequence[KeySet]) -> Iterable[AuthenticationKey]:
    single = KeySet(server.all[0] for server in servers if len(server.all) == 1)
    several = KeySet(
        # round-robin, so that one server's secrets are not all tried before those of another
        key
        for position in range(KEPT_OF_ONE_SERVER)
        for server in servers
        for key in server.all[position : position + 1]
        if key not in single
    )

    def most_held_first(keys: Iterable[AuthenticationKey]) -> list[AuthenticationKey]:
        return sorted(keys, key=lambda key: -sum(key in server for server in servers))

    return [*most_held_first(single.all), *most_held_first(several.all)]
