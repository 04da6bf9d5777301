"""The answers of a KMIP server, decoded by PyKMIP from pieces that are known to be whole.

PyKMIP's objects stay in here; what is given out is plain data.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from itertools import islice
from typing import Any, TypeVar

from filer.authentication_key import AuthenticationKey
from filer.kmip_requests import DESCRIBED_BY, NAMESPACE, Item, batch_item_id
from filer.pykmip import (
    BytearrayStream,
    ResponsePayloadFactory,
    contents,
    enums,
    messages,
    objects,
)
from filer.ttlv import STRUCTURE, Element, MalformedTtlv, check, elements, structure

T = TypeVar("T")

RESPONSE_MESSAGE: int = enums.Tags.RESPONSE_MESSAGE.value

_MAXIMUM_DECODED = 16 * 1024
"""Bytes of the largest piece given to PyKMIP; no part of a key pair comes near it."""

_REMEMBERED = 16 * 1024
_MOST_REMEMBERED = 512
"""Pieces whose meaning is kept, and bytes of the largest one.

PyKMIP reads slowly, and the same key pairs are read again and again, from one server or several.
None of these pieces is a secret.
"""

_MAXIMUM_FIELDS = 16
"""Elements of a batch item; KMIP has eight."""

_ATTRIBUTE = enums.Tags.ATTRIBUTE.value
_MAXIMUM_KEY = 64
_MAXIMUM_IDENTIFIER = 1024
_ITEM_HEAD = (
    enums.Tags.OPERATION.value,
    enums.Tags.UNIQUE_BATCH_ITEM_ID.value,
    enums.Tags.RESULT_STATUS.value,
)
_MAY_BE_ANYTHING = (
    enums.Operation.GET,
    enums.Operation.GET_ATTRIBUTES,
    enums.Operation.QUERY,
)
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
_TOO_LARGE = enums.ResultReason.RESPONSE_TOO_LARGE.value


class NotKmip(ValueError):
    """An answer that is not what KMIP prescribes.  It never says what it was: it may hold a key."""


@dataclass(frozen=True)
class Refusal:
    """The server did not do what one item asked, or the whole request."""

    reason: str
    gone: bool = False
    """There is no such object, or no more."""
    withheld: bool = False
    """The object is gone, or in a state or of an owner that does not give it out."""
    too_large: bool = False
    """The answer would be larger than the server or the request allows."""


class RequestRefused(Exception):
    """The server refused a whole request."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


@dataclass(frozen=True)
class Description:
    """What the attributes of a managed object say; an attribute it does not have is empty."""

    names: tuple[str, ...]
    groups: tuple[str, ...]
    applications: tuple[tuple[str, str], ...]
    state: str
    is_secret_data: bool

    def belongs_to(self, parent_tag: str | None) -> bool:
        """Say whether this is a key pair of the system ``parent_tag``, of any filer for None."""
        return self.is_secret_data and any(
            namespace == NAMESPACE and parent_tag in {None, data}
            for namespace, data in self.applications
        )


@dataclass(frozen=True)
class Success:
    """What an item brought; of the fields, those that its operation has."""

    identifiers: tuple[str, ...] = ()
    description: Description | None = None
    key: AuthenticationKey | None = field(default=None, repr=False)


Outcome = Success | Refusal


def decode(body: bytes, items: Sequence[Item], first: int) -> Iterator[Outcome]:
    """Read the answer to ``encode(items, first)``, less the first eight bytes.

    An answer has to be complete: each item once, with its number and operation, and the object
    it was about.  Raises NotKmip if it is not, and RequestRefused.  What the items brought is read
    one after the other, when it is wanted; that may raise NotKmip too.
    """
    version, answers = _take_apart(body, len(items))
    heads = [_head(answer, version) for answer in answers]
    if len(heads) == 1 and heads[0].operation is None and heads[0].refusal:
        raise RequestRefused(heads[0].refusal)
    by_number = {head.number: head for head in heads}
    numbers = [batch_item_id(number) for number, _ in enumerate(items, first)]
    if len(heads) != len(items) or set(by_number) != set(numbers):
        raise NotKmip
    in_order = [by_number[number] for number in numbers]
    if [head.operation for head in in_order] != [item.operation for item in items]:
        raise NotKmip
    return (
        head.refusal or _success(item, head.payload, version)
        for item, head in zip(items, in_order, strict=True)
    )


@dataclass(frozen=True, repr=False)
class _Head:
    operation: Any
    number: bytes | None
    refusal: Refusal | None
    payload: bytes | None


def _remembering(read: Callable[[bytes, Any], T]) -> Callable[[bytes, Any], T]:
    remembered = lru_cache(_REMEMBERED)(read)

    @wraps(read)
    def look_up(encoding: bytes, version: Any) -> T:
        small = len(encoding) <= _MOST_REMEMBERED
        return remembered(encoding, version) if small else read(encoding, version)

    return look_up


def _read(thing: Any, encoding: bytes, version: Any) -> bool:
    # PyKMIP raises anything at all on bad input, now and then with the input in the text; so its
    # exceptions end here, and are not even the context of another.
    if len(encoding) > _MAXIMUM_DECODED:
        return False
    try:
        thing.read(BytearrayStream(encoding), version)
    except Exception:
        return False
    return True


def _take_apart(body: bytes, expected: int) -> tuple[Any, list[list[Element]]]:
    parts = _at_most(expected + 1, body)
    answers = [_at_most(_MAXIMUM_FIELDS, part.value) for part in parts[1:]]
    tags = [enums.Tags.RESPONSE_HEADER.value]
    tags += [enums.Tags.RESPONSE_BATCH_ITEM.value] * len(answers)
    if [part.tag for part in parts] != tags:
        raise NotKmip
    header = messages.ResponseHeader()
    if not _read(header, parts[0].encoding(), enums.KMIPVersion.KMIP_1_2):
        raise NotKmip
    version = contents.protocol_version_to_kmip_version(header.protocol_version)
    if version is None or header.batch_count.value != len(answers):
        raise NotKmip
    return version, answers


def _at_most(number: int, value: bytes) -> list[Element]:
    try:
        found = list(islice(elements(value), number + 1))
    except MalformedTtlv:
        raise NotKmip from None
    if len(found) > number:
        raise NotKmip
    return found


def _head(answer: list[Element], version: Any) -> _Head:
    head = [element for element in answer if element.tag in _ITEM_HEAD]
    operation, number, status = _item_head(
        structure(enums.Tags.RESPONSE_BATCH_ITEM.value, head), version
    )
    refusal = None
    if status is not enums.ResultStatus.SUCCESS:
        refusal = _refusal(answer, status)
    found = [each for each in answer if each.tag == enums.Tags.RESPONSE_PAYLOAD.value]
    if len(found) > 1:
        raise NotKmip
    return _Head(operation, number, refusal, found[0].value if found else None)


@_remembering
def _item_head(encoding: bytes, version: Any) -> tuple[Any, bytes | None, Any]:
    """Return operation, number and status of a batch item.  Raises NotKmip."""
    batch_item = messages.ResponseBatchItem()
    if not _read(batch_item, encoding, version):
        raise NotKmip
    return (
        batch_item.operation and batch_item.operation.value,
        batch_item.unique_batch_item_id and batch_item.unique_batch_item_id.value,
        batch_item.result_status.value,
    )


def _refusal(answer: list[Element], status: Any) -> Refusal:
    # The result message beside the reason is not shown: it is the server's own free text, and the
    # key that it was sent, or has sent, could be in it.
    reason = None
    text = _words(status)
    for element in answer:
        if element.tag == enums.Tags.RESULT_REASON.value:
            # PyKMIP does not read reasons that it has no name for.
            reason = int.from_bytes(element.value[:4], "big")
            known = enums.is_enum_value(enums.ResultReason, reason)
            text = _words(enums.ResultReason(reason)) if known else f"result reason {reason:#x}"
    return Refusal(
        text,
        gone=reason in _GONE,
        withheld=reason in _WITHHELD,
        too_large=reason == _TOO_LARGE,
    )


def _words(member: Any) -> str:
    return str(member.name).lower().replace("_", " ")


def _success(item: Item, payload: bytes | None, version: Any) -> Success:
    if payload is None:
        raise NotKmip
    try:
        if item.operation is enums.Operation.LOCATE:
            return Success(tuple(_located(payload)))
        check(payload)
    except MalformedTtlv:
        raise NotKmip from None
    attributes = []
    if item.operation is enums.Operation.GET_ATTRIBUTES and len(payload) <= _MAXIMUM_DECODED:
        parts = list(elements(payload))
        attributes = [part for part in parts if part.tag == _ATTRIBUTE]
        payload = b"".join(part.encoding() for part in parts if part.tag != _ATTRIBUTE)
    answer = ResponsePayloadFactory().create(item.operation)
    encoding = Element(enums.Tags.RESPONSE_PAYLOAD.value, STRUCTURE, payload).encoding()
    if not _read(answer, encoding, version):
        return _beyond_pykmip(item)
    if item.operation is enums.Operation.QUERY:
        return Success()
    identifier = _plain(answer.unique_identifier)
    if item.identifier not in {None, identifier} or not _is_identifier(identifier):
        raise NotKmip
    if item.operation is enums.Operation.GET_ATTRIBUTES:
        return Success((identifier,), description=_description(attributes, version))
    if item.operation is enums.Operation.GET:
        return Success((identifier,), key=_key(answer))
    return Success((identifier,))


def _beyond_pykmip(item: Item) -> Success:
    # Well-formed, yet PyKMIP does not understand it: text beyond ASCII, a kind of object or of
    # key it does not know.  A filer writes nothing of the kind, so the object is another's.
    # Nor does it matter what exactly a server tells of itself.
    if item.operation in _MAY_BE_ANYTHING:
        return Success()
    raise NotKmip


def _located(payload: bytes) -> Iterator[str]:
    # Of all answers this one grows with the server, and PyKMIP would take minutes for a long one.
    seen = set()
    for element in elements(payload):
        if element.tag == enums.Tags.UNIQUE_IDENTIFIER.value and element.value not in seen:
            seen.add(element.value)
            identifier = element.value.decode("ascii", errors="replace")
            if not _is_identifier(identifier):
                raise NotKmip
            yield identifier


def _is_identifier(text: str) -> bool:
    return 0 < len(text) <= _MAXIMUM_IDENTIFIER and text.isascii() and text.isprintable()


def _plain(value: Any) -> str:
    return str(getattr(value, "value", value) or "")


def _description(attributes: Sequence[Element], version: Any) -> Description | None:
    """Return what attributes say, or None if PyKMIP does not understand one."""
    values: dict[str, list[Any]] = {kind.value: [] for kind in DESCRIBED_BY}
    for encoded in attributes:
        attribute = _attribute(encoded.encoding(), version)
        if attribute is None:
            return None
        name, value = attribute
        values.setdefault(name, []).append(value)
    names, groups, applications, states, types = (values[kind.value] for kind in DESCRIBED_BY)
    return Description(
        names=tuple(names),
        groups=tuple(groups),
        applications=tuple(applications),
        state=states[0] if states else "unknown",
        is_secret_data=all(kind is enums.ObjectType.SECRET_DATA for kind in types),
    )


@_remembering
def _attribute(encoding: bytes, version: Any) -> tuple[str, Any] | None:
    """Return the name of an attribute and, of those in DESCRIBED_BY, the value as plain data."""
    attribute = objects.Attribute()
    if not _read(attribute, encoding, version):
        return None
    name, value = attribute.attribute_name.value, attribute.attribute_value
    match name:
        case enums.AttributeType.NAME.value:
            return name, value.name_value.value
        case enums.AttributeType.APPLICATION_SPECIFIC_INFORMATION.value:
            return name, (value.application_namespace, value.application_data)
        case enums.AttributeType.STATE.value:
            return name, _words(value.value).replace(" ", "-")
        case enums.AttributeType.OBJECT_GROUP.value | enums.AttributeType.OBJECT_TYPE.value:
            return name, value.value
    return name, None


def _key(answer: Any) -> AuthenticationKey | None:
    if answer.object_type is not enums.ObjectType.SECRET_DATA:
        return None
    block = answer.secret.key_block
    if block.key_wrapping_data is not None or block.key_compression_type is not None:
        return None
    material = block.key_value.key_material.value
    return AuthenticationKey(material) if 0 < len(material) <= _MAXIMUM_KEY else None
