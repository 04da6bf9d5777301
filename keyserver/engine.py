"""PyKMIP's engine with a SQLite store for each key server.

This module is slow to import, because it loads SQLAlchemy.  It suppresses PyKMIP's deprecation
warnings, which users cannot act on, and its log, which contains secrets in plain text at DEBUG.
"""

import copy
import logging
import os
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
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
    from kmip.core.enums import KMIPVersion, ResultReason, ResultStatus
    from kmip.core.exceptions import ItemNotFound, KmipError, PermissionDenied
    from kmip.core.messages.messages import ResponseMessage
    from kmip.core.policy import policies
    from kmip.core.primitives import Struct
    from kmip.core.utils import BytearrayStream
    from kmip.pie.objects import ManagedObject
    from kmip.pie.sqltypes import Base, EnumType, UsageMaskType
    from kmip.services.server.engine import KmipEngine
    from sqlalchemy import create_engine, event
    from sqlalchemy.engine import URL
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.orm import selectin_polymorphic, selectinload, sessionmaker
    from sqlalchemy.orm.exc import ObjectDeletedError

# If these are not set, SQLAlchemy prints a warning at the first request.
EnumType.cache_ok = UsageMaskType.cache_ok = False

logging.getLogger("kmip.server").setLevel(logging.CRITICAL + 1)


class _Response(ResponseMessage):  # type: ignore[misc]  # PyKMIP has no types
    """An answer; PyKMIP's own class copies its whole buffer for each part."""

    def write(
        self, ostream: BytearrayStream, kmip_version: KMIPVersion = KMIPVersion.KMIP_1_0
    ) -> None:
        parts = bytearray()
        for part in (self.response_header, *self.batch_items):
            stream = BytearrayStream()
            part.write(stream, kmip_version=kmip_version)
            parts += stream.buffer
        self.length = len(parts)
        Struct.write(self, ostream, kmip_version=kmip_version)
        ostream.write(bytes(parts))


class StoreError(FilerError):
    """A file cannot be used as the store of a key server."""


class StoreLost(KmipError):  # type: ignore[misc]  # PyKMIP has no types
    """The store was removed or replaced while it was open."""

    def __init__(self, message: str) -> None:
        super().__init__(
            status=ResultStatus.OPERATION_FAILED,
            reason=ResultReason.GENERAL_FAILURE,
            message=message,
        )


class Engine(KmipEngine):  # type: ignore[misc]  # PyKMIP has no types
    """PyKMIP's engine with its own store; several sessions may use it at the same time.

    PyKMIP's built-in policies apply: only clients with the common name of the client that
    registered an object can read and change it.
    """

    def __init__(
        self,
        store: Path,
        refuse_lost_store: Callable[[], None] = lambda: None,
        *,
        may_create: bool = True,
    ) -> None:
        """Open ``store``; if it ``may_create`` one, a missing or incomplete one is created.

        ``refuse_lost_store`` is called before a request is processed and again before it is
        answered; it raises `StoreLost` if ``store`` is no longer the file that was opened.
        Raises StoreError, and changes nothing, if ``store`` is something else.
        """
        if may_create:
            os.close(os.open(store, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._refuse_lost_store = refuse_lost_store
        database = open_store(store, may_create=may_create)
        store.chmod(0o600)
        # PyKMIP accesses all ciphers, including deprecated ones that cause warnings.
        with warnings.catch_warnings(action="ignore", category=CryptographyDeprecationWarning):
            super().__init__(
                policies=copy.deepcopy(policies),
                database_path=database.url.render_as_string().removeprefix("sqlite:///"),
            )
        self._data_store.dispose()
        self._data_store: Any = database
        self._data_store_session_factory = sessionmaker(bind=database)

    def close(self) -> None:
        """Close the store."""
        self._data_store.dispose()

    def process_request(self, request: Any, credential: Any = None) -> Any:
        """Process a request as PyKMIP does, but refuse it once the store is lost."""
        self._refuse_lost_store()
        answer = super().process_request(request, credential)
        self._refuse_lost_store()  # the request may have written to a file that was removed
        return answer

    # PyKMIP loads an object and each of its lists lazily: about six queries for an operation.  Here
    # all objects of a request are loaded at once.

    def _process_batch(self, request_batch: Any, *options: Any) -> Any:
        asked = (getattr(item.request_payload, "unique_identifier", None) for item in request_batch)
        self._to_read = {number for number in map(_number, asked) if number is not None}
        self._in_use: list[Any] = []  # references that keep the objects in the session's cache
        return super()._process_batch(request_batch, *options)

    def _build_response(self, version: Any, batch_items: list[Any]) -> ResponseMessage:
        response = super()._build_response(version, batch_items)
        return _Response(response.response_header, response.batch_items)

    def _get_object_with_access_controls(self, uid: Any, operation: Any) -> Any:
        number = _number(uid)
        if number in self._to_read:
            numbers, self._to_read = self._to_read, set()
            self._in_use = self._read(numbers)
        found = None
        with suppress(ObjectDeletedError):  # by an earlier item of the request
            if number is not None:
                found = self._data_session.get(ManagedObject, number)
        if found is None:
            raise ItemNotFound(f"Could not locate object: {uid}")
        if not self._is_allowed(found, operation):
            raise PermissionDenied(f"Could not locate object: {uid}")
        return found

    def _list_objects_with_access_controls(self, operation: Any) -> list[Any]:
        return [found for found in self._read() if self._is_allowed(found, operation)]

    def _is_allowed(self, found: Any, operation: Any) -> bool:
        return bool(
            self._is_allowed_by_operation_policy(
                found.operation_policy_name,
                self._client_identity,
                found._owner,
                found.object_type,
                operation,
            )
        )

    def _read(self, numbers: Collection[int] | None = None) -> list[Any]:
        """Load the objects with ``numbers``, or all objects, but only with the lists for Locate."""
        lists = (ManagedObject._names, ManagedObject.app_specific_info, ManagedObject.object_groups)
        query = self._data_session.query(ManagedObject).options(*map(selectinload, lists))
        if numbers is not None:
            kinds = [mapper.class_ for mapper in ManagedObject.__mapper__.self_and_descendants]
            query = query.options(selectin_polymorphic(ManagedObject, kinds))
            query = query.filter(ManagedObject.unique_identifier.in_(numbers))
        return list(query)


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


def _number(identifier: Any) -> int | None:
    """Return the object's number in the store, or None if ``identifier`` is not a number."""
    is_number = isinstance(identifier, str) and identifier.isascii() and identifier.isdecimal()
    return int(identifier) if is_number and len(identifier) < 19 else None
