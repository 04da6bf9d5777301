"""Which requests PyKMIP's engine is not needed for.

A request is understood only if it is encoded exactly as this module would encode it.  So whatever
is unusual, down to the padding, goes to the engine, which may refuse it.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from filer.keyserver.request import (
    BATCH_COUNT,
    CONTINUATION_OPTION,
    MAXIMUM_RESPONSE_SIZE,
    ORDER_OPTION,
    PROTOCOL_VERSION,
    TEXT_STRING,
    Item,
    Operation,
    Request,
)
from filer.keyserver.request import integer as number_in
from filer.keyserver.response import enumeration, integer, structure, text
from filer.kmip.ttlv import Element, elements

UNIQUE_IDENTIFIER, OBJECT_TYPE, NAME_VALUE, NAME_TYPE = 0x420094, 0x420057, 0x420055, 0x420054
ATTRIBUTE, ATTRIBUTE_NAME, ATTRIBUTE_VALUE = 0x420008, 0x42000A, 0x42000B
APPLICATION_NAMESPACE, APPLICATION_DATA = 0x420003, 0x420002
MAXIMUM_ITEMS, OFFSET_ITEMS = 0x42004F, 0x4200D4

NAME, GROUP, STATE, KIND = "Name", "Object Group", "State", "Object Type"
APPLICATION = "Application Specific Information"

KINDS = range(1, 9)
"""The object types of KMIP 1, from Certificate to Opaque Data."""
STATES = range(1, 7)
"""From Pre-Active to Destroyed Compromised."""
UNINTERPRETED = 1
"""The only Name Type that PyKMIP returns."""

_LAST_VERSION = (1, 4)
_HEADER = {
    PROTOCOL_VERSION,
    MAXIMUM_RESPONSE_SIZE,
    CONTINUATION_OPTION,
    ORDER_OPTION,
    BATCH_COUNT,
}
_LONGEST_NUMBER = 18
_IDENTIFIER_HEAD = struct.pack("!I", UNIQUE_IDENTIFIER << 8 | TEXT_STRING)


class Filters(NamedTuple):
    """What a Locate asks for; None: anything."""

    kind: int | None = None
    name: str | None = None
    application: tuple[str, str] | None = None
    """Namespace and data."""
    group: str | None = None
    state: int | None = None


class Locate(NamedTuple):
    """Ask for the identifiers of objects; ``maximum`` None: all from ``offset`` on."""

    filters: Filters
    maximum: int | None
    offset: int


class Get(NamedTuple):
    """Ask for the object ``number``, which the client has written as ``identifier``."""

    number: int
    identifier: bytes


class GetAttributes(NamedTuple):
    """Ask for attributes of an object, as `Get` does for the object."""

    number: int
    identifier: bytes
    names: Sequence[str]


class Constant(NamedTuple):
    """Ask what does not depend on the store: Query or Discover Versions."""

    item: Item


Read = Locate | Get | GetAttributes | Constant


def understood(request: Request) -> list[Read] | None:
    """Return what the items of ``request`` ask for, or None if the engine must process it."""
    if request.version > _LAST_VERSION or not _is_plain(request.header_value):
        return None
    reads = []
    for item in request.items:
        read = _read(item)
        if read is None:
            return None
        reads.append(read)
    return reads


@lru_cache(256)
def _is_plain(header: bytes) -> bool:
    """Return whether PyKMIP accepts ``header`` and its fields change no answer."""
    fields = list(elements(header))
    version, *others = fields
    major, minor = elements(version.value)
    return (
        all(field.tag in _HEADER for field in fields)
        and b"".join(field.encoding() for field in (major, minor)) == version.value
        and all(number_in(field) in (0, 1) for field in others if field.tag == ORDER_OPTION)
    )


def _read(item: Item) -> Read | None:
    parts = item.parts
    if item.refusal is not None or len(parts) != (2 if item.number is None else 3):
        return None
    if b"".join([part.encoding() for part in parts]) != item.value:
        return None
    payload = parts[-1].value
    operation = number_in(parts[0])
    if operation in (Operation.GET, Operation.GET_ATTRIBUTES):
        return _read_one(operation, payload)
    if operation == Operation.LOCATE:
        return _locate(payload)
    if operation in (Operation.QUERY, Operation.DISCOVER_VERSIONS):
        return Constant(item)
    return None


def _read_one(operation: int, payload: bytes) -> Get | GetAttributes | None:
    length = int.from_bytes(payload[4:8], "big")
    end = 8 + length
    start = end + -length % 8
    identifier = payload[8:end]
    if (
        payload[:4] != _IDENTIFIER_HEAD
        or length > _LONGEST_NUMBER
        or not identifier.isdigit()
        or any(payload[end:start])
    ):
        return None
    if operation == Operation.GET:
        return Get(int(identifier), identifier) if start == len(payload) else None
    names = _names(payload[start:])
    return None if names is None else GetAttributes(int(identifier), identifier, names)


@lru_cache(256)
def _names(encoded: bytes) -> Sequence[str] | None:
    """Return the attributes with the ``encoded`` names, if each is known and named once."""
    try:
        names = [each.value.decode("ascii") for each in elements(encoded)]
    except ValueError:
        return None
    known = (NAME, GROUP, STATE, KIND, APPLICATION)
    if not names or len(set(names)) < len(names) or not set(names).issubset(known):
        return None
    if b"".join(text(ATTRIBUTE_NAME, name) for name in names) != encoded:
        return None
    return names


@lru_cache(1024)
def _locate(payload: bytes) -> Locate | None:
    try:
        fields = list(elements(payload))
        limits = {each.tag: number_in(each) for each in fields if each.tag != ATTRIBUTE}
        filters = dict(_filter(each) for each in fields if each.tag == ATTRIBUTE)
        maximum, offset = limits.get(MAXIMUM_ITEMS), limits.get(OFFSET_ITEMS)
        encoded = [
            *([] if maximum is None else [integer(MAXIMUM_ITEMS, maximum)]),
            *([] if offset is None else [integer(OFFSET_ITEMS, offset)]),
            *(_encoded(name, value) for name, value in filters.items()),
        ]
    except ValueError:  # malformed, unknown, or not ASCII
        return None
    if b"".join(encoded) != payload or (maximum or 0) < 0 or (offset or 0) < 0:
        return None
    return Locate(
        Filters(
            filters.get(KIND),
            filters.get(NAME),
            filters.get(APPLICATION),
            filters.get(GROUP),
            filters.get(STATE),
        ),
        maximum,
        offset or 0,
    )


def _filter(attribute: Element) -> tuple[str, Any]:
    """Return the name and the value of an attribute.  Raises ValueError for an unknown one."""
    label, value = elements(attribute.value)
    name = label.value.decode("ascii")
    if name == GROUP:
        return name, value.value.decode("ascii")
    if name == KIND and number_in(value) in KINDS:
        return name, number_in(value)
    if name == STATE and number_in(value) in STATES:
        return name, number_in(value)
    first, second = elements(value.value)
    if name == NAME:
        return name, first.value.decode("ascii")
    if name == APPLICATION:
        return name, (first.value.decode("ascii"), second.value.decode("ascii"))
    raise ValueError(name)


def _encoded(name: str, value: Any) -> bytes:
    if name == GROUP:
        encoded = text(ATTRIBUTE_VALUE, value)
    elif name == NAME:
        encoded = structure(
            ATTRIBUTE_VALUE, text(NAME_VALUE, value), enumeration(NAME_TYPE, UNINTERPRETED)
        )
    elif name == APPLICATION:
        namespace, data = value
        encoded = structure(
            ATTRIBUTE_VALUE, text(APPLICATION_NAMESPACE, namespace), text(APPLICATION_DATA, data)
        )
    else:
        encoded = enumeration(ATTRIBUTE_VALUE, value)
    return structure(ATTRIBUTE, text(ATTRIBUTE_NAME, name), encoded)
