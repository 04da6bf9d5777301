"""The keys in the stores of a directory, for their administrator; never the key material.

A running key server may use a store at the same time: SQLite isolates the transactions.
"""

import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.utils import CryptographyDeprecationWarning
from sqlalchemy import Integer, delete, select, type_coerce

with (
    warnings.catch_warnings(action="ignore", category=DeprecationWarning),
    warnings.catch_warnings(action="ignore", category=CryptographyDeprecationWarning),
):
    from kmip.core.enums import State
    from kmip.pie.objects import CryptographicObject, ManagedObject, ObjectGroup, object_group_map
    from kmip.pie.sqltypes import ManagedObjectName
from filer.host.own_files import objection
from filer.host.text import printable
from filer.keyserver.authority import addresses_of, store_name
from filer.keyserver.store import StoreError, open_store, store_errors
from filer.kmip.address import parse_address

_OBJECTS, _WITH_STATE = ManagedObject.__table__.c, CryptographicObject.__table__.c
_NAMES, _GROUPS = ManagedObjectName.__table__.c, ObjectGroup.__table__.c

_KEYS = (
    select(
        _OBJECTS.uid,
        _OBJECTS.owner,
        _OBJECTS.initial_date,
        # PyKMIP's own type fails for an object without a state.
        type_coerce(_WITH_STATE.state, Integer),
    )
    .select_from(ManagedObject.__table__.outerjoin(CryptographicObject.__table__))
    .order_by(_OBJECTS.uid)
)
_KEY_IDS = select(_NAMES.mo_uid, _NAMES.name).order_by(_NAMES.id)
_TAGS = (
    select(object_group_map.c.managed_object_id, _GROUPS.object_group)
    .select_from(object_group_map.join(ObjectGroup.__table__))
    .order_by(_GROUPS.id)
)


class StoredKey(NamedTuple):
    """What describes an object in a store; "" stands for what a client did not give."""

    address: str
    identifier: int
    """Its KMIP unique identifier, which no other object of the store ever has."""
    key_id: str
    tag: str
    owner: str
    """The common name of the client that registered it."""
    state: str
    registered: datetime


@dataclass(frozen=True)
class KeyStore:
    """The store of the key server at ``address``; the methods raise StoreError."""

    address: str
    path: Path

    def listed(self) -> list[StoredKey]:
        """Return all objects, in the order of their registration."""
        with self._opened() as database, database.connect() as connection:
            connection.exec_driver_sql("BEGIN")  # the three queries see the same objects
            rows = list(connection.execute(_KEYS))
            key_ids = _joined(connection.execute(_KEY_IDS))
            tags = _joined(connection.execute(_TAGS))
        try:
            return [
                StoredKey(
                    self.address,
                    identifier,
                    key_ids.get(identifier, ""),
                    tags.get(identifier, ""),
                    owner or "",
                    "" if state in (None, -1) else State(state).name.lower().replace("_", "-"),
                    datetime.fromtimestamp(registered or 0, UTC),
                )
                for identifier, owner, registered, state in rows
            ]
        except (ValueError, OverflowError, OSError, TypeError) as error:
            raise StoreError(f"{printable(str(self.path))}: damaged: {error}") from error

    def destroy(self, identifiers: Collection[int]) -> None:
        """Destroy the objects with ``identifiers``, whatever their state, durably: all or none."""
        objects = ManagedObject.__table__
        wanted = delete(objects).where(objects.c.uid.in_(identifiers))
        with self._opened(for_changes=True) as database, database.begin() as connection:
            destroyed = connection.execute(wanted).rowcount
            if destroyed != len(set(identifiers)):
                raise StoreError(
                    f"{printable(str(self.path))}: a key was destroyed by another program; "
                    "nothing was destroyed here"
                )

    @contextmanager
    def _opened(self, *, for_changes: bool = False) -> Iterator[Any]:
        database = open_store(self.path, for_changes=for_changes)
        try:
            with store_errors(self.path):
                yield database
        finally:
            database.dispose()


def stores_in(directory: Path, addresses: Iterable[str] = ()) -> list[KeyStore]:
    """Return the stores of the key servers at ``addresses``, or else all in ``directory``.

    Raises StoreError if there is none, and AuthorityError for an unreadable directory.
    """
    chosen = [parse_address(address) for address in addresses]
    stores = [
        KeyStore(address, directory / store_name(address))
        for address in chosen or addresses_of(directory, store_name(""))
    ]
    if not stores:
        raise StoreError(f"{printable(str(directory))}: no store of a key server")
    for store in stores:
        problem = objection(store.path) or (None if store.path.is_file() else "no such store")
        if problem:
            raise StoreError(f"{printable(str(store.path))}: {problem}")
    return stores


def find(stores: Sequence[KeyStore], words: Iterable[str]) -> list[StoredKey]:
    """Return the keys that ``words``, key IDs or identifiers, name.

    A key ID names one key of each store.  Raises StoreError for a word that names none, or that
    does not say which.
    """
    keys = [key for store in stores for key in store.listed()]
    found: dict[StoredKey, None] = {}
    for word in words:
        matches = [key for key in keys if word in (key.key_id, str(key.identifier))] or [
            key for key in keys if key.key_id and word.upper() == key.key_id.upper()
        ]
        if not matches:
            raise StoreError(f"{printable(word)}: no such key; nothing was destroyed")
        by_identifier = any(word == str(key.identifier) for key in matches)
        if by_identifier and len(stores) > 1:
            raise StoreError(
                f"{printable(word)}: several key servers use this identifier; choose one with "
                "--address"
            )
        if len(matches) > len({key.address for key in matches}):
            numbers = ", ".join(str(key.identifier) for key in matches)
            raise StoreError(
                f"{printable(word)}: several keys have this key ID; choose by identifier: {numbers}"
            )
        found.update(dict.fromkeys(matches))
    return list(found)


def _joined(rows: Iterable[Any]) -> dict[int, str]:
    """Return the texts for each identifier, separated by commas."""
    found: dict[int, list[str]] = {}
    for identifier, text in rows:
        found.setdefault(identifier, []).append(text or "")
    return {identifier: ",".join(texts) for identifier, texts in found.items()}
