"""Parse the answers of a KMIP server from their TTLV elements.

The parser is strict about structure (sizes, item numbers, operations, identifiers) and tolerant of
content: it reads the elements that the filer asked for and ignores all others, of any type.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from filer.host.text import printable
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.key_id import is_key_id
from filer.kmip.messages import enums
from filer.kmip.requests import DESCRIBED_BY, Item, Version, batch_item_id
from filer.kmip.ttlv import (
    BYTE_STRING,
    ENUMERATION,
    INTEGER,
    STRUCTURE,
    TEXT_STRING,
    Element,
    MalformedTtlv,
    elements,
)

RESPONSE_MESSAGE: int = enums.Tags.RESPONSE_MESSAGE.value

UNKNOWN = "unknown"
"""The state of an object whose state attribute is missing or not defined by KMIP."""

_TAGS = enums.Tags
_MAXIMUM_IDENTIFIER = 1024
_SHOWN_OF_IDENTIFIER = 64
_NUMBER_LENGTH = 4
_GONE = frozenset(
    reason.value
    for reason in (
        enums.ResultReason.ITEM_NOT_FOUND,
        enums.ResultReason.OBJECT_DESTROYED,
        enums.ResultReason.OBJECT_NOT_FOUND,
    )
)
_WITHHELD = _GONE | frozenset(
    reason.value
    for reason in (
        enums.ResultReason.PERMISSION_DENIED,
        enums.ResultReason.NOT_AUTHORISED,
        enums.ResultReason.ILLEGAL_OPERATION,
        enums.ResultReason.OBJECT_ARCHIVED,
        enums.ResultReason.KEY_VALUE_NOT_PRESENT,
        enums.ResultReason.WRONG_KEY_LIFECYCLE_STATE,
    )
)
_DESTROYED = enums.ResultReason.OBJECT_DESTROYED.value
_TOO_LARGE = enums.ResultReason.RESPONSE_TOO_LARGE.value


def _words(member: Any) -> str:
    return str(member.name).lower().replace("_", " ")


_STATES: dict[int | None, str] = {
    state.value: _words(state).replace(" ", "-") for state in enums.State
}
_REASONS: dict[int, str] = {reason.value: _words(reason) for reason in enums.ResultReason}
_FAILURES: dict[int | None, str] = {
    status.value: _words(status)
    for status in enums.ResultStatus
    if status is not enums.ResultStatus.SUCCESS
}


class NotKmip(ValueError):
    """An answer that violates KMIP.  The error has no text, because the answer may hold a key."""


class _Ambiguous(NotKmip):
    """A field that occurs twice."""


@dataclass(frozen=True)
class Refusal:
    """The server refused one item, or the whole request."""

    reason: str
    gone: bool = False
    """No such object exists any more, or the server hides it from this client."""
    withheld: bool = False
    """The object is gone, or its state or owner does not allow access."""
    too_large: bool = False
    """The answer would be larger than the server or the request allows."""
    destroyed: bool = False
    """The object existed and was destroyed."""


class RequestRefused(Exception):
    """The server refused a whole request."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


@dataclass(frozen=True)
class Description:
    """The attributes of a managed object; a missing or unreadable attribute is empty."""

    names: tuple[str, ...]
    groups: tuple[str, ...]
    state: str
    is_secret_data: bool
    has_unreadable_name: bool = False

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The names that are key IDs; Secret Data with one is a key pair."""
        return tuple(filter(is_key_id, self.names)) if self.is_secret_data else ()

    @property
    def may_be_key_pair(self) -> bool:
        """Whether this is a key pair, or Secret Data with a name that cannot be read."""
        return bool(self.key_ids) or (self.is_secret_data and self.has_unreadable_name)

    def may_be(self, key_id: str) -> bool:
        """Return whether this is, or because of an unreadable name may be, that key pair."""
        return self.may_be_key_pair and (self.has_unreadable_name or key_id in self.names)


@dataclass(frozen=True)
class Success:
    """The result of an item; only the fields of its operation are set.

    ``total`` is the number of objects that a Locate found, if the server returns it.  ``unusable``
    holds the identifiers that cannot be used in a request, made printable and cut to 64 bytes.
    """

    identifiers: tuple[str, ...] = ()
    description: Description | None = None
    key: AuthenticationKey | None = field(default=None, repr=False)
    total: int | None = None
    unusable: tuple[str, ...] = ()
    versions: tuple[Version, ...] = ()


Outcome = Success | Refusal


def decode(body: bytes, items: Sequence[Item], first: int) -> list[Outcome]:
    """Parse the answer to ``encode(items, first)``, without its first eight bytes.

    An answer must be complete: each item once, with its number, its operation and the identifier
    of its object.  Raises NotKmip if it is not, and RequestRefused.
    """
    try:
        heads = [_head(answer.value) for answer in _answers(body, len(items))]
        if len(heads) == 1 and heads[0].operation is None and heads[0].refusal:
            raise RequestRefused(heads[0].refusal)
        if len(heads) > 1 and all(head.refusal and head.refusal.too_large for head in heads):
            raise RequestRefused(heads[0].refusal or Refusal(""))
        by_number = {head.number: head for head in heads}
        numbers = [batch_item_id(number) for number, _ in enumerate(items, first)]
        if len(heads) != len(items) or set(by_number) != set(numbers):
            raise NotKmip
        in_order = [by_number[number] for number in numbers]
        if [head.operation for head in in_order] != [item.operation.value for item in items]:
            raise NotKmip
        return [
            head.refusal or _success(item, head.payload)
            for item, head in zip(items, in_order, strict=True)
        ]
    except MalformedTtlv:
        raise NotKmip from None


@dataclass(frozen=True, repr=False)
class _Head:
    operation: int | None
    number: bytes | None
    refusal: Refusal | None
    payload: bytes | None


def _answers(body: bytes, most: int) -> list[Element]:
    parts = list(islice(elements(body), most + 2))
    tags = [_TAGS.RESPONSE_HEADER.value, *[_TAGS.RESPONSE_BATCH_ITEM.value] * (len(parts) - 1)]
    if len(parts) > most + 1 or [(part.tag, part.type) for part in parts] != [
        (tag, STRUCTURE) for tag in tags
    ]:
        raise NotKmip
    version, count = _fields(parts[0].value, _TAGS.PROTOCOL_VERSION, _TAGS.BATCH_COUNT)
    if _version(version) is None or _number(count, INTEGER) != len(parts) - 1:
        raise NotKmip
    return parts[1:]


def _head(answer: bytes) -> _Head:
    operation, number, status, reason, payload = _fields(
        answer,
        _TAGS.OPERATION,
        _TAGS.UNIQUE_BATCH_ITEM_ID,
        _TAGS.RESULT_STATUS,
        _TAGS.RESULT_REASON,
        _TAGS.RESPONSE_PAYLOAD,
    )
    result = _number(status, ENUMERATION)
    refusal = None
    if result != enums.ResultStatus.SUCCESS.value:
        refusal = _refusal(result, reason)
    return _Head(
        _number(operation, ENUMERATION),
        _value(number, BYTE_STRING),
        refusal,
        _value(payload, STRUCTURE),
    )


def _refusal(status: int | None, reason: Element | None) -> Refusal:
    # Do not show the result message next to the reason: it is free text of the server, and may
    # contain a key.
    if status not in _FAILURES:
        raise NotKmip
    text = _FAILURES[status]
    number = None
    if reason is not None:
        number = int.from_bytes(reason.value[:4], "big")
        text = _REASONS.get(number, f"result reason {number:#x}")
    return Refusal(
        text,
        gone=number in _GONE,
        withheld=number in _WITHHELD,
        too_large=number == _TOO_LARGE,
        destroyed=number == _DESTROYED,
    )


def _success(item: Item, payload: bytes | None) -> Success:
    if payload is None:
        raise NotKmip
    match item.operation:
        case enums.Operation.QUERY:
            # The server information is not used, but must be well-formed.
            for _ in elements(payload):
                pass
            return Success()
        case enums.Operation.DISCOVER_VERSIONS:
            versions = (_version(each) for each in elements(payload))
            return Success(versions=tuple(each for each in versions if each))
        case enums.Operation.LOCATE:
            return _located(payload)
    return _about_object(item, payload)


def _about_object(item: Item, payload: bytes) -> Success:
    (named,) = _fields(payload, _TAGS.UNIQUE_IDENTIFIER)
    identifier = _text(named)
    if item.operation in {enums.Operation.GET, enums.Operation.GET_ATTRIBUTES}:
        if identifier is None:
            return Success()  # the item number identifies the object, but its content is unknown
        if identifier != item.identifier:
            raise NotKmip
        if item.operation is enums.Operation.GET:
            return Success((identifier,), key=_key(payload))
        return Success((identifier,), description=_description(payload))
    if identifier is None or not _is_usable(identifier):
        raise NotKmip
    if item.identifier not in {None, identifier}:
        raise NotKmip
    return Success((identifier,))


def _located(payload: bytes) -> Success:
    total = None
    identifiers: dict[str, None] = {}
    unusable: dict[str, None] = {}
    for element in elements(payload):
        if element.tag == _TAGS.UNIQUE_IDENTIFIER.value:
            identifier = _text(element)
            if identifier is not None and _is_usable(identifier):
                identifiers[identifier] = None
            else:
                unusable[printable(element.value[:_SHOWN_OF_IDENTIFIER])] = None
        elif element.tag == _TAGS.LOCATED_ITEMS.value:
            total = _number(element, INTEGER)
    return Success(tuple(identifiers), total=total, unusable=tuple(unusable))


def _is_usable(identifier: str) -> bool:
    """Return whether a request can use ``identifier``; PyKMIP encodes only ASCII text."""
    return (
        0 < len(identifier) <= _MAXIMUM_IDENTIFIER
        and identifier.isascii()
        and identifier.isprintable()
    )


def _description(payload: bytes) -> Description:
    values: dict[str, list[Element]] = {}
    for attribute in elements(payload):
        if (attribute.tag, attribute.type) != (_TAGS.ATTRIBUTE.value, STRUCTURE):
            continue
        try:
            name, value = _fields(attribute.value, _TAGS.ATTRIBUTE_NAME, _TAGS.ATTRIBUTE_VALUE)
        except _Ambiguous:
            continue
        text = _text(name)
        if text is not None and value is not None:
            values.setdefault(text, []).append(value)
    named, groups, states, types = (values.get(kind.value, []) for kind in DESCRIBED_BY)
    names = tuple(text for each in named if (text := _name(each)) is not None)
    state = _number(states[0], ENUMERATION) if states else None
    return Description(
        names=names,
        has_unreadable_name=len(names) < len(named),
        groups=tuple(text for each in groups if (text := _text(each)) is not None),
        state=_STATES.get(state, UNKNOWN),
        is_secret_data=all(
            _number(kind, ENUMERATION) == enums.ObjectType.SECRET_DATA.value for kind in types
        ),
    )


def _key(payload: bytes) -> AuthenticationKey | None:
    """Return the key in a Secret Data object, or None if it is wrapped or not a byte string."""
    try:
        kind, secret = _fields(payload, _TAGS.OBJECT_TYPE, _TAGS.SECRET_DATA)
        (block,) = _fields(_value(secret, STRUCTURE), _TAGS.KEY_BLOCK)
        value, wrapping, compression = _fields(
            _value(block, STRUCTURE),
            _TAGS.KEY_VALUE,
            _TAGS.KEY_WRAPPING_DATA,
            _TAGS.KEY_COMPRESSION_TYPE,
        )
        (found,) = _fields(_value(value, STRUCTURE), _TAGS.KEY_MATERIAL)
    except _Ambiguous:
        return None
    material = _value(found, BYTE_STRING)
    if (
        _number(kind, ENUMERATION) != enums.ObjectType.SECRET_DATA.value
        or wrapping is not None
        or compression is not None
        or material is None
    ):
        return None
    return AuthenticationKey(material)


# Elements


def _fields(structure: bytes | None, *tags: Any) -> Iterator[Element | None]:
    """Return the elements of a structure that have ``tags``, in that order; None if missing.

    Elements with other tags are ignored.  Raises _Ambiguous if one of ``tags`` occurs twice.
    """
    wanted = {tag.value for tag in tags}
    found: dict[int, Element] = {}
    for element in elements(structure or b""):
        if element.tag in wanted:
            if element.tag in found:
                raise _Ambiguous
            found[element.tag] = element
    return (found.get(tag.value) for tag in tags)


def _value(element: Element | None, kind: int) -> bytes | None:
    return element.value if element is not None and element.type == kind else None


def _number(element: Element | None, kind: int) -> int | None:
    value = _value(element, kind)
    if value is None or len(value) != _NUMBER_LENGTH:
        return None
    return int.from_bytes(value, "big", signed=kind == INTEGER)


def _text(element: Element | None) -> str | None:
    value = _value(element, TEXT_STRING)
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _name(element: Element) -> str | None:
    """Return the text of a Name attribute, or None if it is unreadable."""
    try:
        (found,) = _fields(_value(element, STRUCTURE), _TAGS.NAME_VALUE)
    except _Ambiguous:
        return None
    return _text(found)


def _version(element: Element | None) -> Version | None:
    """Return the protocol version in an element, or None if it has no valid one."""
    if element is None or element.tag != _TAGS.PROTOCOL_VERSION.value:
        return None
    major, minor = (
        _number(each, INTEGER)
        for each in _fields(
            _value(element, STRUCTURE),
            _TAGS.PROTOCOL_VERSION_MAJOR,
            _TAGS.PROTOCOL_VERSION_MINOR,
        )
    )
    return None if major is None or minor is None else (major, minor)
