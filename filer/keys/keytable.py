"""The keytable: all key pairs, in main memory only (man key_manager, KEYTABLE)."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from filer.keys.authentication_key import AuthenticationKey
from filer.keys.pair import KeyPair

CREATION_LIMIT = 128
"""Key pairs that a system may create (man key_manager, setup); the keytable may hold more."""


class Entry(NamedTuple):
    """The keys known under one key ID.

    ``candidates`` is in the order in which disks try the keys.  It has more than one only while
    key servers hold different keys under this key ID.
    """

    key_id: str
    tag: str
    candidates: tuple[AuthenticationKey, ...]

    @property
    def contradicted(self) -> bool:
        """Whether key servers hold different keys under this key ID."""
        return len(self.candidates) > 1


def recommended_limit(pairs: int) -> str:
    """Return the warning for a keytable that has grown too long (man key_manager, KEYTABLE)."""
    return (
        f"the keytable holds {pairs} key pairs; a key management policy should keep it to "
        f"{CREATION_LIMIT} or less"
    )


def merge(pairs: Iterable[KeyPair]) -> dict[str, Entry]:
    """Group ``pairs`` by key ID; different keys under one key ID become its candidates."""
    entries: dict[str, Entry] = {}
    for pair in pairs:
        known = entries.get(pair.key_id)
        if known is None:
            entries[pair.key_id] = Entry(pair.key_id, pair.tag, (pair.key,))
        elif pair.key not in known.candidates:
            entries[pair.key_id] = Entry(pair.key_id, known.tag, (*known.candidates, pair.key))
    return entries


class Keytable:
    """Key pairs by key ID, without duplicates."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key_id: object) -> bool:
        return key_id in self._entries

    def __iter__(self) -> Iterator[Entry]:
        # A copy, because another thread may load the table during the iteration.
        return iter(tuple(self._entries.values()))

    def get(self, key_id: str) -> Entry | None:
        """Return the entry for ``key_id``, or None."""
        return self._entries.get(key_id)

    def add(self, entries: Iterable[Entry]) -> int:
        """Add ``entries``, replacing known key IDs; return the number of new key IDs."""
        before = len(self._entries)
        for entry in entries:
            self._entries[entry.key_id] = entry
        return len(self._entries) - before

    def replace(self, entries: Iterable[Entry]) -> None:
        """Replace the whole table by ``entries`` (man key_manager, restore)."""
        self._entries = {entry.key_id: entry for entry in entries}

    def prefer(self, key_id: str, key: AuthenticationKey) -> None:
        """Move ``key``, which has just unlocked a disk, before the other candidates."""
        entry = self._without(key_id, key)
        self._entries[key_id] = entry._replace(candidates=(key, *entry.candidates))

    def defer(self, key_id: str, key: AuthenticationKey) -> None:
        """Move ``key``, which a disk has refused, behind the other candidates."""
        entry = self._without(key_id, key)
        self._entries[key_id] = entry._replace(candidates=(*entry.candidates, key))

    def _without(self, key_id: str, key: AuthenticationKey) -> Entry:
        entry = self._entries[key_id]
        others = tuple(candidate for candidate in entry.candidates if candidate != key)
        return entry._replace(candidates=others)

    def clear(self) -> None:
        """Forget everything, as at power-off."""
        self._entries.clear()
