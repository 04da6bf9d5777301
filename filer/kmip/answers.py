"""Parse the answers of a KMIP server from their TTLV elements.

The parser is strict about structure (sizes, item numbers, operations, identifiers) and tolerant of
content: it reads the elements that the filer asked for and ignores all others, of any type.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import islice
from struct import Struct
from typing import Any, NamedTuple

from filer.host.quoting import quotation
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
    Ambiguous,
    Element,
    Field,
    Fields,
    MalformedTtlv,
    elements,
)

RESPONSE_MESSAGE: int = enums.Tags.RESPONSE_MESSAGE.value

UNKNOWN = "unknown"
"""The state of an object whose state attribute is missing or not defined by KMIP."""

_MAXIMUM_IDENTIFIER = 1024
"""Maximum length of an identifier in bytes."""

_SHOWN_OF_IDENTIFIER = 64
_NUMBER_LENGTH = 4
_LONGEST_REMEMBERED = 96
"""Maximum length in bytes of an attribute that is remembered: less than a Name with a key ID."""


def _tag(name: str) -> int:
    return int(enums.Tags[name].value)


def _fields(*names: str) -> Fields:
    return Fields(*map(_tag, names))


# Looked up once: the enumerations of PyKMIP are slow, and these are needed for every object.
_RESPONSE_HEADER, _RESPONSE_BATCH_ITEM = _tag("RESPONSE_HEADER"), _tag("RESPONSE_BATCH_ITEM")
_PROTOCOL_VERSION, _RESULT_MESSAGE = _tag("PROTOCOL_VERSION"), _tag("RESULT_MESSAGE")
_UNIQUE_IDENTIFIER, _LOCATED_ITEMS = _tag("UNIQUE_IDENTIFIER"), _tag("LOCATED_ITEMS")
_ATTRIBUTE, _ATTRIBUTES = _tag("ATTRIBUTE"), _tag("ATTRIBUTES")
_NAME, _OBJECT_GROUP = _tag("NAME"), _tag("OBJECT_GROUP")
_STATE, _OBJECT_TYPE = _tag("STATE"), _tag("OBJECT_TYPE")
_DESCRIBED_BY: Mapping[bytes | None, int] = {
    kind.value.encode(): _tag(kind.name) for kind in DESCRIBED_BY
}

_SUCCESS: int = enums.ResultStatus.SUCCESS.value
_SECRET: int = enums.ObjectType.SECRET_DATA.value

_HEADER = _fields("PROTOCOL_VERSION", "BATCH_COUNT")
_VERSION = _fields("PROTOCOL_VERSION_MAJOR", "PROTOCOL_VERSION_MINOR")
_ITEM = _fields(
    "OPERATION", "UNIQUE_BATCH_ITEM_ID", "RESULT_STATUS", "RESULT_REASON", "RESPONSE_PAYLOAD"
)

# Two parts of most answers, which are read at once: the head of an item that succeeded, up to the
# length of its payload, and Secret Data up to its key material.  Q is a tag, type and length; the 4
# bytes after a number are padding.
_USUAL_HEAD = Struct("!QI4xQ8sQI4xII")
_USUAL_HEAD_TAGS = (
    _tag("OPERATION") << 40 | ENUMERATION << 32 | 4,
    _tag("UNIQUE_BATCH_ITEM_ID") << 40 | BYTE_STRING << 32 | 8,
    _tag("RESULT_STATUS") << 40 | ENUMERATION << 32 | 4,
    _tag("RESPONSE_PAYLOAD") << 8 | STRUCTURE,
)
_USUAL_SECRET = Struct("!QI4xIIQI4xIIII")
_USUAL_SECRET_TAGS = (
    _tag("SECRET_DATA_TYPE") << 40 | ENUMERATION << 32 | 4,
    _tag("KEY_BLOCK") << 8 | STRUCTURE,
    _tag("KEY_FORMAT_TYPE") << 40 | ENUMERATION << 32 | 4,
    _tag("KEY_VALUE") << 8 | STRUCTURE,
    _tag("KEY_MATERIAL") << 8 | BYTE_STRING,
)
_IDENTIFIED = _fields("UNIQUE_IDENTIFIER")
_GOT = _fields("UNIQUE_IDENTIFIER", "OBJECT_TYPE", "SECRET_DATA")
_SECRET_DATA = _fields("KEY_BLOCK")
_KEY_BLOCK = _fields("KEY_VALUE", "KEY_WRAPPING_DATA", "KEY_COMPRESSION_TYPE")
_KEY_VALUE = _fields("KEY_MATERIAL")
_NAMED_VALUE = _fields("ATTRIBUTE_NAME", "ATTRIBUTE_VALUE")
_NAME_VALUE = _fields("NAME_VALUE")

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
_UNSUPPORTED = frozenset(
    reason.value
    for reason in (
        enums.ResultReason.INVALID_MESSAGE,
        enums.ResultReason.OPERATION_NOT_SUPPORTED,
        enums.ResultReason.INVALID_FIELD,
        enums.ResultReason.FEATURE_NOT_SUPPORTED,
        enums.ResultReason.APPLICATION_NAMESPACE_NOT_SUPPORTED,
        enums.ResultReason.KEY_FORMAT_TYPE_NOT_SUPPORTED,
        enums.ResultReason.ENCODING_OPTION_ERROR,
        enums.ResultReason.INVALID_DATA_TYPE,
        enums.ResultReason.READ_ONLY_ATTRIBUTE,
        enums.ResultReason.UNSUPPORTED_ATTRIBUTE,
        enums.ResultReason.ATTRIBUTE_READ_ONLY,
        enums.ResultReason.CODEC_ERROR,
        enums.ResultReason.INCOMPATIBLE_CRYPTOGRAPHIC_USAGE_MASK,
        enums.ResultReason.INVALID_ATTRIBUTE,
        enums.ResultReason.INVALID_ATTRIBUTE_VALUE,
        enums.ResultReason.UNKNOWN_ENUMERATION,
        enums.ResultReason.UNKNOWN_TAG,
        enums.ResultReason.UNSUPPORTED_PROTOCOL_VERSION,
    )
)
_VAGUE = frozenset(
    reason.value
    for reason in (
        enums.ResultReason.GENERAL_FAILURE,
        enums.ResultReason.INTERNAL_SERVER_ERROR,
        enums.ResultReason.SERVER_LIMIT_EXCEEDED,
    )
)
_OF_MESSAGE = frozenset(
    reason.value
    for reason in (
        enums.ResultReason.INVALID_MESSAGE,
        enums.ResultReason.UNSUPPORTED_PROTOCOL_VERSION,
    )
)
_UNKNOWN_OPERATION = enums.ResultReason.OPERATION_NOT_SUPPORTED.value
_UNAUTHENTICATED = enums.ResultReason.AUTHENTICATION_NOT_SUCCESSFUL.value
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


@dataclass(frozen=True)
class Refusal:
    """The server refused one item, or the whole request."""

    reason: str
    """KMIP's name of the reason, and after it the server's own message if it may be shown."""
    gone: bool = False
    """No such object exists any more, or the server hides it from this client."""
    withheld: bool = False
    """The object is gone, or its state or owner does not allow access."""
    too_large: bool = False
    """The answer would be larger than the server or the request allows."""
    destroyed: bool = False
    """The object existed and was destroyed."""
    unsupported: bool = field(default=False, compare=False)
    """The server does not support a part of the request, its form or its version."""
    vague: bool = field(default=False, compare=False)
    """The reason may be anything."""
    of_message: bool = field(default=False, compare=False)
    """The refusal concerns the message, even if it is that of an item."""
    unknown_operation: bool = field(default=False, compare=False)
    """The server does not have the operation."""
    unauthenticated: bool = field(default=False, compare=False)
    """The server requires a password, or another one."""

    @property
    def may_be_of_form(self) -> bool:
        """Whether the server may accept the request in another form or version."""
        return self.unsupported or self.vague


class RequestRefused(Exception):
    """The server refused a whole request; ``version`` is that of the answer."""

    def __init__(self, refusal: Refusal, version: Version) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal
        self.version = version


@dataclass(frozen=True)
class Description:
    """The attributes of a managed object; a missing or unreadable attribute is empty."""

    names: tuple[str, ...]
    groups: tuple[str, ...]
    state: str
    is_secret_data: bool
    has_unreadable_name: bool = False

    @cached_property
    def key_ids(self) -> tuple[str, ...]:
        """The names that are key IDs; Secret Data with one is a key pair."""
        return tuple(filter(is_key_id, self.names)) if self.is_secret_data else ()

    @property
    def may_be_key_pair(self) -> bool:
        """Whether this is a key pair, or Secret Data with a name that cannot be read."""
        return bool(self.key_ids) or (self.is_secret_data and self.has_unreadable_name)

    def may_be(self, key_id: str, *, any_case: bool = False) -> bool:
        """Return whether this is, or because of an unreadable name may be, that key pair.

        ``any_case``: also if the server has changed the case of the name, as some do.
        """
        if not self.may_be_key_pair:
            return False
        names = map(str.upper, self.names) if any_case else self.names
        return self.has_unreadable_name or key_id in names


class Success(NamedTuple):
    """The result of an item; only the fields of its operation are set.

    ``total`` is the number of objects that a Locate found, if the server returns it.  ``unusable``
    holds the identifiers that cannot be used in a request, made printable and cut to 64 bytes.
    """

    identifiers: tuple[str, ...] = ()
    description: Description | None = None
    key: AuthenticationKey | None = None
    total: int | None = None
    unusable: tuple[str, ...] = ()
    versions: tuple[Version, ...] = ()


Outcome = Success | Refusal


def decode(
    body: bytes, items: Sequence[Item], first: int, *, messages: bool = False
) -> list[Outcome]:
    """Parse the answer to ``encode(items, first)``, without its first eight bytes.

    An answer must be complete: each item once, with its number, its operation and the identifier
    of its object.  Only the answer to a single item may lack the number.  ``messages`` adds the
    server's own messages to the reasons of refusals; it must be false if the server may repeat a
    key in them.  Raises NotKmip if the answer is not complete, and RequestRefused.
    """
    try:
        version, answers = _answers(body, len(items))
        heads = [_head(answer.value, messages) for answer in answers]
        if refusal := _refusal_of_all(heads, len(items)):
            raise RequestRefused(refusal, version)
        by_number = {head.number: head for head in heads}
        numbers: list[bytes | None] = [
            batch_item_id(number) for number in range(first, first + len(items))
        ]
        if len(items) == 1 and None in by_number:
            numbers = [None]
        if len(heads) != len(items) or set(by_number) != set(numbers):
            raise NotKmip
        in_order = [by_number[number] for number in numbers]
        return [_outcome(item, head) for item, head in zip(items, in_order, strict=True)]
    except MalformedTtlv:
        raise NotKmip from None


class _Head(NamedTuple):
    operation: int | None
    number: bytes | None
    refusal: Refusal | None
    payload: bytes | None

    def __repr__(self) -> str:
        return f"<operation {self.operation}>"  # the payload may hold a key


def _refusal_of_all(heads: Sequence[_Head], items: int) -> Refusal | None:
    """Return the refusal of a whole request of ``items``, or None.

    A server refuses a request by one item without an operation, by one item for several, or, as in
    the OASIS test case MSGENC-HTTPS-M-1, by refusing each item of a batch.
    """
    refusals = [head.refusal for head in heads if head.refusal is not None]
    if len(refusals) < len(heads):
        return None
    refusal = refusals[0]
    if len(heads) == 1 and (heads[0].operation is None or items > 1 or refusal.of_message):
        return refusal
    is_of_form = all(each.too_large or each.may_be_of_form for each in refusals)
    return refusal if items > 1 and is_of_form else None


def _answers(body: bytes, most: int) -> tuple[Version, list[Element]]:
    parts = list(islice(elements(body), most + 2))
    tags = [_RESPONSE_HEADER, *[_RESPONSE_BATCH_ITEM] * (len(parts) - 1)]
    if len(parts) > most + 1 or [(part.tag, part.type) for part in parts] != [
        (tag, STRUCTURE) for tag in tags
    ]:
        raise NotKmip
    shown, count = _HEADER.of(parts[0].value)
    version = _version(shown)
    if version is None or len(parts) == 1 or _number(count, INTEGER) != len(parts) - 1:
        raise NotKmip
    return version, parts[1:]


def _head(answer: bytes, messages: bool) -> _Head:
    return _usual_head(answer) or _any_head(answer, messages)


def _usual_head(answer: bytes) -> _Head | None:
    """Return the head of a success that has four fields in KMIP's order, or None.

    This takes a tenth of the time of `_any_head`.
    """
    size = _USUAL_HEAD.size
    if len(answer) < size:
        return None
    found = _USUAL_HEAD.unpack_from(answer)
    operation_tag, operation, id_tag, number, status_tag, status, payload_tag, length = found
    tags = operation_tag, id_tag, status_tag, payload_tag
    if tags != _USUAL_HEAD_TAGS or status != _SUCCESS or length != len(answer) - size:
        return None
    return _Head(operation, number, None, answer[size:])


def _any_head(answer: bytes, messages: bool) -> _Head:
    operation, number, status, reason, payload = _ITEM.of(answer)
    result = _number(status, ENUMERATION)
    refusal = None
    if result != _SUCCESS:
        refusal = _refusal(result, reason, _message(answer) if messages else "")
    return _Head(
        _number(operation, ENUMERATION),
        _value(number, BYTE_STRING),
        refusal,
        _value(payload, STRUCTURE),
    )


def _refusal(status: int | None, reason: Field | None, message: str) -> Refusal:
    if status not in _FAILURES:
        raise NotKmip
    text = _FAILURES[status]
    number = None
    if reason is not None:
        number = int.from_bytes(reason[1][:_NUMBER_LENGTH], "big")
        text = _REASONS.get(number, f"result reason {number:#x}")
    return Refusal(
        f"{text}: {message}" if message else text,
        gone=number in _GONE,
        withheld=number in _WITHHELD,
        too_large=number == _TOO_LARGE,
        destroyed=number == _DESTROYED,
        unsupported=number in _UNSUPPORTED,
        vague=number in _VAGUE,
        of_message=number in _OF_MESSAGE,
        unknown_operation=number == _UNKNOWN_OPERATION,
        unauthenticated=number == _UNAUTHENTICATED,
    )


def _message(answer: bytes) -> str:
    """Return the server's message about a refusal in quotes, or "" if it cannot be shown."""
    for element in elements(answer):
        if element.tag == _RESULT_MESSAGE:
            return quotation(element.value.decode("utf-8", errors="backslashreplace"))
    return ""


def _outcome(item: Item, head: _Head) -> Outcome:
    if head.operation is None or head.operation != item.operation.value:
        raise NotKmip
    if head.refusal is not None:
        return head.refusal
    if head.payload is None:
        raise NotKmip
    return _PAYLOADS.get(head.operation, _about_object)(item, head.payload)


def _about_object(item: Item, payload: bytes) -> Success:
    (named,) = _IDENTIFIED.of(payload)
    identifier = _text(named)
    if identifier is None or not _is_usable(identifier):
        raise NotKmip
    if item.identifier not in {None, identifier}:
        raise NotKmip
    return Success((identifier,))


def _queried(_item: Item, payload: bytes) -> Success:
    # The server information is not used, but must be well-formed.
    for _ in elements(payload):
        pass
    return Success()


def _spoken(_item: Item, payload: bytes) -> Success:
    versions = (
        _version((kind, value))
        for tag, kind, value in elements(payload)
        if tag == _PROTOCOL_VERSION
    )
    return Success(versions=tuple(each for each in versions if each))


def _located(_item: Item, payload: bytes) -> Success:
    total = None
    identifiers: dict[str, None] = {}
    unusable: dict[str, None] = {}
    for tag, kind, value in elements(payload):
        if tag == _UNIQUE_IDENTIFIER:
            identifier = _text((kind, value))
            if identifier is not None and _is_usable(identifier):
                identifiers[identifier] = None
            else:
                unusable[printable(value[:_SHOWN_OF_IDENTIFIER])] = None
        elif tag == _LOCATED_ITEMS:
            total = _number((kind, value), INTEGER)
    return Success(tuple(identifiers), total=total, unusable=tuple(unusable))


def _is_usable(identifier: str) -> bool:
    """Return whether a request can use ``identifier``, and a message can show it."""
    return identifier.isprintable() and 0 < len(identifier.encode()) <= _MAXIMUM_IDENTIFIER


def _names_object(item: Item, named: Field | None) -> bool:
    """Return whether an answer names the object of ``item``.

    Without a readable identifier the item number names the object, but its content is not used.
    Raises NotKmip if the answer names another object.
    """
    identifier = _text(named)
    if identifier is not None and identifier != item.identifier:
        raise NotKmip
    return identifier is not None


def _got(item: Item, payload: bytes) -> Success:
    try:
        named, kind, secret = _GOT.of(payload)
        key = _key(kind, secret)
    except MalformedTtlv:
        (named,) = _IDENTIFIED.of(payload)
        key = None
    return Success((item.text,), key=key) if _names_object(item, named) else Success()


def _key(kind: Field | None, secret: Field | None) -> AuthenticationKey | None:
    """Return the key in a Secret Data object, or None if it cannot be read (it may be wrapped)."""
    content = _value(secret, STRUCTURE)
    if content is None or _number(kind, ENUMERATION) != _SECRET:
        return None
    material = _usual_material(content) or _any_material(content)
    return None if material is None else AuthenticationKey(material)


def _usual_material(secret: bytes) -> bytes | None:
    """Return the key material of Secret Data that has nothing but what KMIP requires, or None."""
    size = _USUAL_SECRET.size
    if len(secret) < size:
        return None
    found = _USUAL_SECRET.unpack_from(secret)
    type_tag, _, block_tag, block, format_tag, _, value_tag, value, material_tag, length = found
    tags = type_tag, block_tag, format_tag, value_tag, material_tag
    padded = length + -length % 8
    lengths = len(secret) - 24, len(secret) - 48, len(secret) - size
    if tags != _USUAL_SECRET_TAGS or (block, value, padded) != lengths:
        return None
    return secret[size : size + length]


def _any_material(secret: bytes) -> bytes | None:
    (block,) = _SECRET_DATA.of(secret)
    value, wrapping, compression = _KEY_BLOCK.of(_value(block, STRUCTURE))
    if wrapping is not None or compression is not None:
        return None
    # Some servers encode the structure as a byte string although it is not wrapped.
    encoded = _value(value, STRUCTURE) or _value(value, BYTE_STRING)
    (found,) = _KEY_VALUE.of(encoded)
    return _value(found, BYTE_STRING)


def _described(item: Item, payload: bytes) -> Success:
    named: Field | None = None
    # The contents of the attributes; one that cannot be read is None.
    found: dict[int, list[Any]] = {_NAME: [], _OBJECT_GROUP: [], _STATE: [], _OBJECT_TYPE: []}
    for tag, kind, value in elements(payload):
        if tag == _ATTRIBUTE and kind == STRUCTURE:
            read = _remembered_attribute if len(value) <= _LONGEST_REMEMBERED else _attribute
            for attribute, content in read(value):
                found[attribute].append(content)
        elif tag == _ATTRIBUTES and kind == STRUCTURE:  # from KMIP 2.0 on
            for each in elements(value):
                if each.tag in found:
                    found[each.tag].append(_CONTENTS[each.tag]((each.type, each.value)))
        elif tag == _UNIQUE_IDENTIFIER:
            if named is not None:
                raise NotKmip
            named = kind, value
    if not _names_object(item, named):
        return Success()
    names, states = found[_NAME], found[_STATE]
    description = Description(
        names=_readable(names),
        has_unreadable_name=None in names,
        groups=_readable(found[_OBJECT_GROUP]),
        state=_STATES.get(states[0], UNKNOWN) if states else UNKNOWN,
        is_secret_data={None, _SECRET}.issuperset(found[_OBJECT_TYPE]),
    )
    return Success((item.text,), description)


def _readable(contents: Sequence[str | None]) -> tuple[str, ...]:
    return tuple(content for content in contents if content is not None)


def _attribute(structure: bytes) -> Sequence[tuple[int, Any]]:
    """Return the tag and content of an attribute of KMIP 1; empty if it was not requested.

    Its content is None if it cannot be read.  With two names or values, it is all that it may be.
    """
    value: Field | None = None
    try:
        named, value = _NAMED_VALUE.of(structure)
        names = {_value(named, TEXT_STRING)}
    except Ambiguous:
        names = {value for _tag, kind, value in elements(structure) if kind == TEXT_STRING}
    tags = (_DESCRIBED_BY[name] for name in names if name in _DESCRIBED_BY)
    return [(tag, _CONTENTS[tag](value)) for tag in tags]


_remembered_attribute = lru_cache(maxsize=256)(_attribute)
"""The attributes of most objects are equal, except for their names."""


# Elements


def _value(field: Field | None, kind: int) -> bytes | None:
    return field[1] if field is not None and field[0] == kind else None


def _number(field: Field | None, kind: int) -> int | None:
    value = _value(field, kind)
    if value is None or len(value) != _NUMBER_LENGTH:
        return None
    return int.from_bytes(value, "big", signed=kind == INTEGER)


def _text(field: Field | None) -> str | None:
    value = _value(field, TEXT_STRING)
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _name(field: Field | None) -> str | None:
    """Return the text of a Name attribute, or None if it is unreadable."""
    try:
        (found,) = _NAME_VALUE.of(_value(field, STRUCTURE))
    except Ambiguous:
        return None
    return _text(found)


def _version(field: Field | None) -> Version | None:
    """Return the content of a protocol version, or None if it cannot be read."""
    numbers = _VERSION.of(_value(field, STRUCTURE))
    major, minor = (_number(each, INTEGER) for each in numbers)
    return None if major is None or minor is None else (major, minor)


def _enumeration(field: Field | None) -> int | None:
    return _number(field, ENUMERATION)


# Tables

_PAYLOADS: Mapping[int, Callable[[Item, bytes], Success]] = {
    enums.Operation.QUERY.value: _queried,
    enums.Operation.DISCOVER_VERSIONS.value: _spoken,
    enums.Operation.LOCATE.value: _located,
    enums.Operation.GET.value: _got,
    enums.Operation.GET_ATTRIBUTES.value: _described,
}

_CONTENTS: Mapping[int, Callable[[Field | None], str | int | None]] = {
    _NAME: _name,
    _OBJECT_GROUP: _text,
    _STATE: _enumeration,
    _OBJECT_TYPE: _enumeration,
}
