"""PyKMIP's engine with a SQLite store for each key server.

This module is slow to import, because it loads SQLAlchemy.  It suppresses PyKMIP's deprecation
warnings, which users cannot act on, and its log, which contains secrets in plain text at DEBUG.
"""

import copy
import logging
import os
import time
import warnings
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.utils import CryptographyDeprecationWarning

from filer.keyserver.pykmip import encoded, message_of
from filer.keyserver.reading.reader import Reader
from filer.keyserver.reading.rights import Rights
from filer.keyserver.request import (
    Item,
    Operation,
    Reason,
    Refusal,
    Request,
    RequestRefused,
    operations,
    read_request,
)
from filer.keyserver.response import RESPONSE_PAYLOAD, refusal
from filer.keyserver.store import open_store
from filer.kmip.ttlv import elements

with (
    warnings.catch_warnings(action="ignore", category=DeprecationWarning),
    warnings.catch_warnings(action="ignore", category=CryptographyDeprecationWarning),
):
    from kmip.core import enums
    from kmip.core.exceptions import ItemNotFound, KmipError, PermissionDenied
    from kmip.core.policy import policies
    from kmip.pie.objects import ManagedObject
    from kmip.services.server.engine import KmipEngine
    from sqlalchemy.orm import selectin_polymorphic, selectinload, sessionmaker
    from sqlalchemy.orm.exc import ObjectDeletedError

logging.getLogger("kmip.server").setLevel(logging.CRITICAL + 1)


class StoreLost(Refusal):
    """The store was removed or replaced while it was open."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.GENERAL_FAILURE, message)


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
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open ``store``; if it ``may_create`` one, a missing or incomplete one is created.

        ``refuse_lost_store`` is called before a request is processed and again before it is
        answered; it raises `StoreLost` if ``store`` is no longer the file that was opened.
        Raises StoreError, and changes nothing, if ``store`` is something else.
        """
        if may_create:
            os.close(os.open(store, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._refuse_lost_store = refuse_lost_store
        self._clock = clock
        database = open_store(store, may_create=may_create, for_changes=True)
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
        self._reader = Reader(store, Rights(self._may, policies), self._constant)

    def close(self) -> None:
        """Close the store."""
        self._reader.close()
        self._data_store.dispose()

    def answer(self, message: bytes, client: str | None) -> bytes:
        """Return the response to the request with the value ``message``.

        ``client`` is the common name in the client's certificate, None if this is unusable.
        """
        now = int(self._clock())
        try:
            request = read_request(message)
        except RequestRefused as refused:
            return refusal(refused, refused.version, now)
        try:
            if client is None:
                raise Refusal(
                    Reason.AUTHENTICATION_NOT_SUCCESSFUL,
                    "the client certificate needs one common name and the extended key usage "
                    "clientAuth",
                )
            response = self.process(request, client)
            if len(response) > request.maximum:
                raise Refusal(
                    Reason.RESPONSE_TOO_LARGE,
                    f"the response has {len(response)} bytes; the limit is {request.maximum}",
                )
        except Exception as error:
            return refusal(self._refusal(error), request.version, now)
        return response

    def process(self, request: Request, client: str) -> bytes:
        """Return the response to ``request``.  Raises Refusal or KmipError if it is refused."""
        self._refuse_lost_store()
        response = self._reader.answer(request, client, int(self._clock()))
        if response is None:
            response = self.process_with_pykmip(request, client)
        self._refuse_lost_store()  # the request may have written to a file that was removed
        return response

    def process_with_pykmip(self, request: Request, client: str) -> bytes:
        """Return PyKMIP's response, one request after the other.  Raises Refusal or KmipError."""
        response, *_ = self.process_request(message_of(request), (client, None))
        return encoded(response, request)

    def _constant(self, request: Request, item: Item) -> bytes | None:
        """Return the payload of the response to ``item`` of ``request``, or None if refused."""
        alone = self.process_with_pykmip(replace(request, items=[item]), "")
        (response,) = elements(alone)
        _, answer = elements(response.value)
        payloads = [each for each in elements(answer.value) if each.tag == RESPONSE_PAYLOAD]
        return payloads[0].value if payloads else None

    def _may(self, policy: str, owns: bool, kind: int, operation: Operation) -> bool:
        """Return what PyKMIP's policies say of a client that ``owns`` an object or not."""
        owner = "client" if owns else "another client"
        return bool(
            self._is_allowed_by_operation_policy(
                policy,
                ("client", None),
                owner,
                enums.ObjectType(kind),
                enums.Operation[operation.name],
            )
        )

    # PyKMIP loads an object and each of its lists lazily: about six queries for an operation.  Here
    # all objects of a request are loaded at once.

    def _process_batch(self, request_batch: Any, *options: Any) -> Any:
        asked = (getattr(item.request_payload, "unique_identifier", None) for item in request_batch)
        self._to_read = {number for number in map(_number, asked) if number is not None}
        self._in_use: list[Any] = []  # references that keep the objects in the session's cache
        self._id_placeholder = None  # PyKMIP keeps that of an earlier request, of any client
        return super()._process_batch(request_batch, *options)

    def _process_operation(self, operation: Any, payload: Any) -> Any:
        if isinstance(payload, Refusal):
            raise KmipError(reason=enums.ResultReason(payload.reason), message=str(payload))
        return super()._process_operation(operation, payload)

    def _process_query(self, payload: Any) -> Any:
        answer = super()._process_query(payload)
        # PyKMIP leaves out three operations, and all objects.
        if enums.QueryFunction.QUERY_OPERATIONS in payload.query_functions:
            version = self._protocol_version
            names = (each.name for each in operations((version.major, version.minor)))
            answer.operations = [enums.Operation[name] for name in names]
        if enums.QueryFunction.QUERY_OBJECTS in payload.query_functions:
            answer.object_types = [kind for kind, made in self._object_map.items() if made]
        return answer

    def _process_locate(self, payload: Any) -> Any:
        maximum, offset = payload.maximum_items, payload.offset_items or 0
        payload.maximum_items = payload.offset_items = None
        answer = super()._process_locate(payload)
        found = answer.unique_identifiers
        # PyKMIP does not keep the only object for later items.
        self._id_placeholder = found[0] if len(found) == 1 else None
        end = None if maximum is None else offset + maximum
        answer.unique_identifiers = found[offset:end]
        return answer

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

    def _refusal(self, error: Exception) -> Refusal:
        if isinstance(error, Refusal):
            return error
        if isinstance(error, KmipError):
            return Refusal(error.reason.value, str(error))
        self._logger.exception(error)
        return Refusal(Reason.GENERAL_FAILURE, "the request cannot be processed")

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
        return list(query.order_by(ManagedObject.unique_identifier))


def _number(identifier: Any) -> int | None:
    """Return the object's number in the store, or None if ``identifier`` is not a number."""
    is_number = isinstance(identifier, str) and identifier.isascii() and identifier.isdecimal()
    return int(identifier) if is_number and len(identifier) < 19 else None
