"""The SQLite file with the objects of a key server, in the tables of PyKMIP.

This module is slow to import, because it loads SQLAlchemy.
"""

import os
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cryptography.utils import CryptographyDeprecationWarning

from filer.host.errors import FilerError
from filer.host.text import printable

with (
    warnings.catch_warnings(action="ignore", category=DeprecationWarning),
    warnings.catch_warnings(action="ignore", category=CryptographyDeprecationWarning),
):
    from kmip.pie.sqltypes import Base, EnumType, UsageMaskType
    from sqlalchemy import create_engine, event
    from sqlalchemy.engine import URL
    from sqlalchemy.exc import DBAPIError

# If these are not set, SQLAlchemy prints a warning at the first request.
EnumType.cache_ok = UsageMaskType.cache_ok = False


class StoreError(FilerError):
    """A file cannot be used as the store of a key server."""


def open_store(store: Path, *, may_create: bool = False, for_changes: bool = False) -> Any:
    """Return the database in the existing file ``store``; each commit is durable when it returns.

    If it ``may_create`` them, missing tables are created.  A database ``for_changes`` also gets the
    indexes for the module ``reading``, and triggers that remove all rows of a deleted object: the
    engine and its ORM leave most of them behind.  Raises StoreError, and changes nothing, if the
    file is not the store of a key server.
    """
    query = {"uri": "true", "mode": "rw"}  # does not create a file
    url = URL.create("sqlite", database=_uri(store), query=query)
    database = create_engine(url, connect_args={"check_same_thread": False})
    event.listen(database, "connect", _configure)
    with store_errors(store):
        if problem := _problem(database, may_create=may_create):
            database.dispose()
            raise StoreError(
                f"{printable(str(store))}: not the store of a key server ({problem}); "
                "put the store back, or move this file away"
            )
        if may_create:
            Base.metadata.create_all(database)
        if for_changes:
            with database.begin() as connection:
                for statement in (*_INDEXES, *_TRIGGERS):
                    connection.exec_driver_sql(statement)
    return database


def reading_connection(store: Path) -> sqlite3.Connection:
    """Return a connection to ``store`` that any one thread at a time may read with.

    It can write only to finish what a killed process has begun.  Raises sqlite3.Error.
    """
    connection = sqlite3.connect(
        f"{_uri(store)}?mode=rw", uri=True, isolation_level=None, check_same_thread=False
    )
    _configure(connection, None)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _uri(store: Path) -> str:
    # A quoted file: URI can represent any path.
    return f"file:{quote(os.fsencode(store.absolute()))}"


@contextmanager
def store_errors(store: Path) -> Iterator[None]:
    """Raise what SQLite reports about ``store`` as a StoreError."""
    try:
        yield
    except DBAPIError as error:
        raise StoreError(f"{printable(str(store))}: {printable(str(error.orig))}") from error


def _problem(database: Any, *, may_create: bool) -> str | None:
    """Return why ``database`` is not a store, or None.

    A store has all tables of PyKMIP, and may have more; while it is created, only some of them.
    """
    found: dict[str, set[str]] = {}
    with database.connect() as connection:
        for table, column in connection.exec_driver_sql(_COLUMNS):
            found.setdefault(table, set()).add(column)
    expected = {table.name: {column.name for column in table.columns} for table in _TABLES}
    for name in expected.keys() & found.keys():
        if lacking := expected[name] - found[name]:
            return f'its table "{printable(name)}" has no column "{min(lacking)}"'
    missing = expected.keys() - found.keys()
    others = found.keys() - expected.keys()
    if missing and others:
        return f'it has the table "{printable(min(others))}"'
    if missing and not may_create:
        return f'it has no table "{min(missing)}"'
    return None


_TABLES = Base.metadata.tables.values()
_COLUMNS = """
    SELECT tables.name, columns.name
    FROM sqlite_master AS tables JOIN pragma_table_info(tables.name) AS columns
    WHERE tables.type IN ('table', 'view') AND tables.name NOT LIKE 'sqlite~_%' ESCAPE '~'
"""


_INDEXED = (
    "managed_objects(operation_policy_name, owner, object_type)",
    "managed_object_names(name)",
    "managed_object_names(mo_uid)",
    "app_specific_info(application_data, application_namespace)",
    "app_specific_info_map(app_specific_info_id)",
    "app_specific_info_map(managed_object_id)",
    "object_groups(object_group)",
    "object_group_map(object_group_id)",
    "object_group_map(managed_object_id)",
)
_INDEXES = [
    f"CREATE INDEX IF NOT EXISTS filer_index_{number} ON {columns}"
    for number, columns in enumerate(_INDEXED)
]

_SHARED = (
    ("app_specific_info", "app_specific_info_map", "app_specific_info_id"),
    ("object_groups", "object_group_map", "object_group_id"),
)
"""Tables whose rows several objects may share, through a map."""

_REMOVALS = [
    *(
        f"DELETE FROM {table} WHERE "
        f"id IN (SELECT {key} FROM {mapped} WHERE managed_object_id = OLD.uid) AND NOT EXISTS "
        f"(SELECT 1 FROM {mapped} WHERE {key} = {table}.id AND managed_object_id <> OLD.uid)"
        for table, mapped, key in _SHARED
    ),
    *(f"DELETE FROM {mapped} WHERE managed_object_id = OLD.uid" for _, mapped, _ in _SHARED),
    "DELETE FROM managed_object_names WHERE mo_uid = OLD.uid",
    *(
        f"DELETE FROM {table.name} WHERE uid = OLD.uid"
        for table in _TABLES
        if "uid" in table.columns and table.name != "managed_objects"
    ),
]
_TRIGGERS = [
    "CREATE TRIGGER IF NOT EXISTS filer_removal AFTER DELETE ON managed_objects "
    f"BEGIN {'; '.join(_REMOVALS)}; END"
]


def _configure(connection: Any, _record: object) -> None:
    # With FULL, the default, the removal of the journal is not synced: after a power loss the
    # journal may reappear and undo the last transaction although it was confirmed.
    connection.execute("PRAGMA synchronous = EXTRA")
    # The bytes of a destroyed key are overwritten; otherwise they stay in the file.
    connection.execute("PRAGMA secure_delete = ON")
