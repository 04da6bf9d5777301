"""The keytable: all key pairs of this system, in main memory only (man key_manager, KEYTABLE)."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from filer.keys.authentication_key import AuthenticationKey
from filer.keys.pair import KeyPair

CREATION_LIMIT = 128
"""Key pairs a system may create (man key_manager, setup); the keytable itself may grow beyond."""


class Entry(NamedTuple):
    """What the keytable knows of one key ID.

    ``candidates`` holds more than one key only while key servers contradict each other, in the
    order in which disks try them.
    """

    key_id: str
    tag: str
    candidates: tuple[AuthenticationKey, ...]

    @property
    def contradicted(self) -> bool:
        """Whether key servers hold different secrets under this key ID."""
        return len(self.candidates) > 1


def recommended_limit(pairs: int) -> str:
    """Return what to say of a keytable that has grown too long (man key_manager, KEYTABLE)."""
    return (
        f"the keytable holds {pairs} key pairs; a key management policy should keep it to "
        f"{CREATION_LIMIT} or less"
    )


def merge(pairs: Iterable[KeyPair]) -> dict[str, Entry]:
    """Gather ``pairs`` by key ID; equal secrets are one, different ones are candidates."""
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
        # A copy: somebody may look at the table while somebody else loads it.
        return iter(tuple(self._entries.values()))

    def get(self, key_id: str) -> Entry | None:
        """Return what is known of ``key_id``, or None."""
        return self._entries.get(key_id)

    def add(self, entries: Iterable[Entry]) -> int:
        """Load ``entries``; a known key ID is replaced.  Return how many are new."""
        before = len(self._entries)
        for entry in entries:
            self._entries[entry.key_id] = entry
        return len(self._entries) - before

    def replace(self, entries: Iterable[Entry]) -> None:
        """Discard the table and take ``entries`` for the new one (man key_manager, restore)."""
        self._entries = {entry.key_id: entry for entry in entries}

    def prefer(self, key_id: str, key: AuthenticationKey) -> None:
        """Put ``key``, which has just opened a disk, before the other candidates."""
        entry = self._without(key_id, key)
        self._entries[key_id] = entry._replace(candidates=(key, *entry.candidates))

    def defer(self, key_id: str, key: AuthenticationKey) -> None:
        """Put ``key``, which a disk has refused, behind the other candidates."""
        entry = self._without(key_id, key)
        self._entries[key_id] = entry._replace(candidates=(*entry.candidates, key))

    def _without(self, key_id: str, key: AuthenticationKey) -> Entry:
        entry = self._entries[key_id]
        others = tuple(candidate for candidate in entry.candidates if candidate != key)
        return entry._replace(candidates=others)

    def clear(self) -> None:
        """Forget everything, as the loss of power does."""
        self._entries.clear()
