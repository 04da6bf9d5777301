"""Answers to requests that only read."""

import sqlite3
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from filer.keyserver.reading.rights import Rights
from filer.keyserver.reading.rows import Rows, Secret, Snapshot
from filer.keyserver.reading.understanding import (
    APPLICATION,
    APPLICATION_DATA,
    APPLICATION_NAMESPACE,
    ATTRIBUTE,
    ATTRIBUTE_NAME,
    ATTRIBUTE_VALUE,
    GROUP,
    KIND,
    NAME,
    NAME_TYPE,
    NAME_VALUE,
    OBJECT_TYPE,
    STATE,
    STATES,
    UNINTERPRETED,
    UNIQUE_IDENTIFIER,
    Constant,
    Get,
    GetAttributes,
    Locate,
    Read,
    understood,
)
from filer.keyserver.request import (
    BATCH_ITEM,
    BYTE_STRING,
    TEXT_STRING,
    Item,
    Operation,
    Request,
    Version,
)
from filer.keyserver.response import (
    RESPONSE_PAYLOAD,
    RESULT_STATUS,
    element,
    enumeration,
    integer,
    response,
    structure,
    text,
)

ATTRIBUTE_INDEX = 0x420009
SECRET_DATA, SECRET_DATA_TYPE = 0x420085, 0x420086
KEY_BLOCK, KEY_FORMAT_TYPE, KEY_VALUE, KEY_MATERIAL = 0x420040, 0x420042, 0x420045, 0x420043

_SECRET_DATA = 7
_OPAQUE = 2
_SUCCESS = enumeration(RESULT_STATUS, 0)
_GOT = enumeration(OBJECT_TYPE, _SECRET_DATA)
_FORMAT = enumeration(KEY_FORMAT_TYPE, _OPAQUE)
_CONSTANTS = 64


class _Unanswerable(Exception):
    """The engine must process the request."""


class Reader:
    """Answers requests that only read, with the bytes that PyKMIP's engine would send.

    ``constant`` returns the payload of the engine's answer to an item that does not depend on the
    store, or None if it refuses the item.
    """

    def __init__(
        self,
        store: Path,
        rights: Rights,
        constant: Callable[[Request, Item], bytes | None],
    ) -> None:
        self._rows = Rows(store)
        self._rights = rights
        self._constant = constant
        self._constants: dict[tuple[Version, bytes], bytes] = {}

    def close(self) -> None:
        """Close the store."""
        self._rows.close()

    def answer(self, request: Request, client: str, now: int) -> bytes | None:
        """Return the response to ``request``, or None if the engine must process it.

        ``now`` is in seconds since the epoch.
        """
        reads = understood(request)
        if reads is None or not self._know(request, reads):
            return None
        try:
            with self._rows.snapshot() as snapshot:
                payloads = self._payloads(request.version, reads, client, snapshot)
        except (_Unanswerable, sqlite3.Error):
            return None
        items = (
            structure(
                BATCH_ITEM,
                *(part.encoding() for part in item.parts[:-1]),  # operation and batch item ID
                _SUCCESS,
                structure(RESPONSE_PAYLOAD, payload),
            )
            for item, payload in zip(request.items, payloads, strict=True)
        )
        return response(request.version, now, items)

    def _payloads(
        self, version: Version, reads: Sequence[Read], client: str, snapshot: Snapshot
    ) -> list[bytes]:
        by_number = [read for read in reads if isinstance(read, Get | GetAttributes)]
        described = any(isinstance(read, GetAttributes) for read in by_number)
        secrets = snapshot.secrets({read.number for read in by_number}, described=described)
        payloads = []
        for read in reads:
            match read:
                case Constant():
                    payloads.append(self._constants[_key(version, read.item)])
                case Locate():
                    found = snapshot.located(client, self._rights.locatable, read.filters)
                    payloads.append(_located(read, found))
                case Get():
                    secret = self._readable(secrets, read.number, client, Operation.GET)
                    payloads.append(_got(read, secret))
                case GetAttributes():
                    operation = Operation.GET_ATTRIBUTES
                    secret = self._readable(secrets, read.number, client, operation)
                    payloads.append(_described(read, secret))
        return payloads

    def _know(self, request: Request, reads: Sequence[Read]) -> bool:
        """Ask for the constants among ``reads``; return False if one is refused."""
        # Before a snapshot is taken: the engine may wait for the end of all snapshots.
        for read in reads:
            if not isinstance(read, Constant):
                continue
            key = _key(request.version, read.item)
            if key not in self._constants:
                payload = self._constant(request, read.item)
                if payload is None or len(self._constants) >= _CONSTANTS:
                    return False
                self._constants[key] = payload
        return True

    def _readable(
        self, secrets: dict[int, Secret], number: int, client: str, operation: Operation
    ) -> Secret:
        secret = secrets.get(number)
        if secret is None:
            raise _Unanswerable
        owns = secret.owner == client
        if not self._rights.may(secret.policy, owns, _SECRET_DATA, operation):
            raise _Unanswerable
        return secret


def _key(version: Version, item: Item) -> tuple[Version, bytes]:
    return version, b"".join(part.encoding() for part in item.parts if part is not item.number)


def _located(read: Locate, found: Sequence[int]) -> bytes:
    end = None if read.maximum is None else read.offset + read.maximum
    return b"".join(text(UNIQUE_IDENTIFIER, str(number)) for number in found[read.offset : end])


def _got(read: Get, secret: Secret) -> bytes:
    if not isinstance(secret.value, bytes) or not secret.value or secret.data_type not in (1, 2):
        raise _Unanswerable
    material = element(KEY_MATERIAL, BYTE_STRING, secret.value)
    return b"".join(
        (
            _GOT,
            element(UNIQUE_IDENTIFIER, TEXT_STRING, read.identifier),
            structure(
                SECRET_DATA,
                enumeration(SECRET_DATA_TYPE, secret.data_type),
                structure(KEY_BLOCK, _FORMAT, structure(KEY_VALUE, material)),
            ),
        )
    )


def _described(read: GetAttributes, secret: Secret) -> bytes:
    parts = [element(UNIQUE_IDENTIFIER, TEXT_STRING, read.identifier)]
    for name in read.names:
        if name == KIND:
            parts.append(_attribute(name, enumeration(ATTRIBUTE_VALUE, _SECRET_DATA)))
        elif name == STATE:
            if secret.state not in STATES:
                raise _Unanswerable
            parts.append(_attribute(name, enumeration(ATTRIBUTE_VALUE, secret.state)))
        else:
            values = map(_VALUES[name], _LISTS[name](secret))
            parts += [_attribute(name, value, index) for index, value in enumerate(values)]
    return b"".join(parts)


def _attribute(name: str, value: bytes, index: int | None = None) -> bytes:
    return structure(ATTRIBUTE, _attribute_head(name, index), value)


@lru_cache(256)
def _attribute_head(name: str, index: int | None) -> bytes:
    numbered = b"" if index is None else integer(ATTRIBUTE_INDEX, index)
    return text(ATTRIBUTE_NAME, name) + numbered


def _name(value: Any) -> bytes:
    return structure(ATTRIBUTE_VALUE, _text(NAME_VALUE, value), _UNINTERPRETED)


def _group(value: Any) -> bytes:
    return _text(ATTRIBUTE_VALUE, value)


def _application(value: Any) -> bytes:
    namespace, data = value
    return structure(
        ATTRIBUTE_VALUE, _text(APPLICATION_NAMESPACE, namespace), _text(APPLICATION_DATA, data)
    )


def _text(tag: int, value: Any) -> bytes:
    """Encode a text of the store, if PyKMIP can."""
    if not isinstance(value, str) or not value or not value.isascii():
        raise _Unanswerable
    return text(tag, value)


_UNINTERPRETED = enumeration(NAME_TYPE, UNINTERPRETED)
_LISTS: dict[str, Callable[[Secret], list[Any]]] = {
    NAME: lambda secret: secret.names,
    GROUP: lambda secret: secret.groups,
    APPLICATION: lambda secret: secret.applications,
}
_VALUES: dict[str, Callable[[Any], bytes]] = {
    NAME: _name,
    GROUP: _group,
    APPLICATION: _application,
}
