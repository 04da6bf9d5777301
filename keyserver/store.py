"""The SQLite file with the objects of a key server, in the tables of PyKMIP.

This module is slow to import, because it loads SQLAlchemy.
"""

import os
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


def open_store(store: Path, *, may_create: bool = False) -> Any:
    """Return the database in the existing file ``store``; each commit is durable when it returns.

    If it ``may_create`` them, missing tables are created.  Raises StoreError, and changes nothing,
    if the file is not the store of a key server.
    """
    # A quoted file: URI can represent any path.
    uri = f"file:{quote(os.fsencode(store.absolute()))}"
    query = {"uri": "true", "mode": "rw"}  # does not create a file
    url = URL.create("sqlite", database=uri, query=query)
    database = create_engine(url, connect_args={"check_same_thread": False})
    event.listen(database, "connect", _configure)
    with store_errors(store):
        if problem := _problem(database, may_create=may_create):
            database.dispose()
            raise StoreError(
                f"{printable(str(store))}: not the store of a key server ({problem}); "
                "put the store back, or move this file away"
            )
        Base.metadata.create_all(database)
    return database


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


def _configure(connection: Any, _record: object) -> None:
    # With FULL, the default, the removal of the journal is not synced: after a power loss the
    # journal may reappear and undo the last transaction although it was confirmed.
    connection.execute("PRAGMA synchronous = EXTRA")
    # The bytes of a destroyed key are overwritten; otherwise they stay in the file.
    connection.execute("PRAGMA secure_delete = ON")
