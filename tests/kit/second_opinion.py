"""Read the answers of key servers with PyKMIP, to compare the result with the filer's.

``differences`` lists what the filer reads differently.  What PyKMIP cannot read is never a
difference: it knows no text beyond ASCII, no fields in another order, no vendor's enumerations and
no unknown attributes.  `EXCEPTIONS` lists the answers that PyKMIP reads and that are not compared.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kmip.core import enums
from kmip.core.messages.messages import ResponseMessage
from kmip.core.utils import BytearrayStream

from filer.keys.authentication_key import AuthenticationKey
from filer.kmip.answers import NotKmip, Outcome, Success, decode
from filer.kmip.descriptions import Description
from filer.kmip.refusals import Refusal, RequestRefused
from filer.kmip.requests import Item, batch_item_id

_HEADER_LENGTH = 8
_LONGEST_IDENTIFIER = 1024


class CannotTell(Exception):
    """PyKMIP cannot read this answer."""


class _Refused(Exception):
    """PyKMIP can read the answer, but it does not answer the request."""


@dataclass(frozen=True)
class Excepted:
    """Answers that PyKMIP reads although a filer must refuse them.

    ``applies`` takes the body of an answer, and what PyKMIP reads in it.
    """

    reason: str
    applies: Callable[[bytes, Any], bool]


def _has_wrong_length(value: bytes, _message: Any = None) -> bool:
    """Return whether the elements of a structure, at any depth, do not fill it exactly."""
    at = 0
    while at < len(value):
        if len(value) - at < _HEADER_LENGTH:
            return True
        word, length = struct.unpack_from("!II", value, at)
        at += _HEADER_LENGTH
        inner = value[at : at + length]
        if len(inner) < length:
            return True
        if word & 0xFF == enums.Types.STRUCTURE.value and _has_wrong_length(inner):
            return True
        at += length + -length % 8
    return at > len(value)


def _has_more_items(body: bytes, message: Any) -> bool:
    """Return whether the answer has more items than PyKMIP reads, which is as many as it counts."""
    at = items = 0
    while at < len(body):
        at += _HEADER_LENGTH + int.from_bytes(body[at + 4 : at + _HEADER_LENGTH], "big")
        items += 1
    return items - 1 > len(message.batch_items)


EXCEPTIONS: Sequence[Excepted] = (
    Excepted(
        "an element is longer than its structure, or cut off: PyKMIP reads what there is, but the "
        "next element may then be a part of this one",
        _has_wrong_length,
    ),
    Excepted(
        "the answer has more items than it counts: PyKMIP ignores the rest, which may belong to "
        "another answer",
        _has_more_items,
    ),
)


def excepted(body: bytes) -> Excepted | None:
    """Return why an answer is not compared, or None.  Raises CannotTell."""
    message = _parsed(body)
    return next((each for each in EXCEPTIONS if each.applies(body, message)), None)


def differences(body: bytes, items: Sequence[Item], first: int) -> list[str]:
    """Return what the filer reads differently.  Raises CannotTell.

    ``body`` is the answer to ``encode(items, first)``, without its first eight bytes.
    """
    if excepted(body):
        raise CannotTell
    theirs = reading(body, items, first)
    try:
        ours: Sequence[Outcome] | Refusal | None = decode(body, items, first)
    except RequestRefused as refused:
        ours = refused.refusal
    except NotKmip:
        ours = None
    if not (isinstance(theirs, list) and isinstance(ours, list)):
        return [] if theirs == ours else [f"the whole answer: {theirs!r}, not {ours!r}"]
    return [
        f"{item.operation.name}: {their!r}, not {our!r}"
        for item, their, our in zip(items, theirs, ours, strict=True)
        if their != our
    ]


def reading(body: bytes, items: Sequence[Item], first: int) -> "list[Outcome] | Refusal | None":
    """Return what ``decode`` must return, or the refusal that it must raise.

    Returns None if it must raise NotKmip.  Raises CannotTell if PyKMIP cannot read the answer.
    """
    message = _parsed(body)
    answers = message.batch_items
    if answers and all(map(_failed, answers)) and _is_of_request(answers, len(items)):
        return _refusal(answers[0])
    by_number = {_value(each.unique_batch_item_id): each for each in answers}
    if len(answers) == len(items) == 1 and None in by_number:
        by_number = {batch_item_id(first): answers[0]}
    numbers = [batch_item_id(number) for number, _ in enumerate(items, first)]
    if len(answers) != len(items) or set(by_number) != set(numbers):
        return None
    in_order = [by_number[number] for number in numbers]
    if [_value(each.operation) for each in in_order] != [item.operation for item in items]:
        return None
    try:
        return [
            _refusal(each) if _failed(each) else _success(item, each.response_payload)
            for item, each in zip(items, in_order, strict=True)
        ]
    except _Refused:
        return None


def _parsed(body: bytes) -> Any:
    message = ResponseMessage()
    header = struct.pack("!II", enums.Tags.RESPONSE_MESSAGE.value << 8 | 1, len(body))
    try:
        message.read(BytearrayStream(header + body))
    except Exception:  # PyKMIP raises errors of any type
        raise CannotTell from None
    return message


def _value(field: Any) -> Any:
    return getattr(field, "value", field)


def _failed(answer: Any) -> bool:
    return bool(answer.result_status.value is not enums.ResultStatus.SUCCESS)


def _is_of_request(answers: Sequence[Any], items: int) -> bool:
    """Return whether ``answers``, all of which failed, refuse the whole request."""
    names = [reason and reason.name for reason in (_value(each.result_reason) for each in answers)]
    if len(answers) == 1:
        return items > 1 or answers[0].operation is None or names[0] in _OF_MESSAGE
    return items > 1 and all(name in _OF_REQUEST for name in names)


_OF_MESSAGE = {"INVALID_MESSAGE", "UNSUPPORTED_PROTOCOL_VERSION"}
"""The reasons that concern the message, even in the answer to an item."""

_OF_REQUEST = {
    *("RESPONSE_TOO_LARGE", "INVALID_MESSAGE", "OPERATION_NOT_SUPPORTED", "INVALID_FIELD"),
    *("FEATURE_NOT_SUPPORTED", "APPLICATION_NAMESPACE_NOT_SUPPORTED", "GENERAL_FAILURE"),
    *("KEY_FORMAT_TYPE_NOT_SUPPORTED", "ENCODING_OPTION_ERROR", "INVALID_DATA_TYPE"),
    *("READ_ONLY_ATTRIBUTE", "UNSUPPORTED_ATTRIBUTE", "ATTRIBUTE_READ_ONLY", "CODEC_ERROR"),
    *("INCOMPATIBLE_CRYPTOGRAPHIC_USAGE_MASK", "INVALID_ATTRIBUTE", "INVALID_ATTRIBUTE_VALUE"),
    *("UNKNOWN_ENUMERATION", "UNKNOWN_TAG", "UNSUPPORTED_PROTOCOL_VERSION"),
    *("INTERNAL_SERVER_ERROR", "SERVER_LIMIT_EXCEEDED"),
}
"""The reasons for which a server refuses each item of a request that it would take in parts."""


def _refusal(answer: Any) -> Refusal:
    reason = _value(answer.result_reason)
    if reason is None:
        return Refusal(_words(answer.result_status.value))
    gone = reason.name in {"ITEM_NOT_FOUND", "OBJECT_DESTROYED", "OBJECT_NOT_FOUND"}
    withheld = gone or reason.name in {
        *("PERMISSION_DENIED", "NOT_AUTHORISED", "ILLEGAL_OPERATION", "OBJECT_ARCHIVED"),
        *("KEY_VALUE_NOT_PRESENT", "WRONG_KEY_LIFECYCLE_STATE"),
    }
    return Refusal(
        _words(reason),
        gone,
        withheld,
        too_large=reason.name == "RESPONSE_TOO_LARGE",
        destroyed=reason.name == "OBJECT_DESTROYED",
    )


def _words(member: Any) -> str:
    return str(member.name).lower().replace("_", " ")


def _success(item: Item, payload: Any) -> Success:
    if payload is None:
        raise _Refused
    match item.operation:
        case enums.Operation.QUERY:
            return Success()
        case enums.Operation.DISCOVER_VERSIONS:
            found = ((each.major, each.minor) for each in payload.protocol_versions)
            return Success(versions=tuple(found))
        case enums.Operation.LOCATE:
            located = dict.fromkeys(payload.unique_identifiers)
            usable = tuple(filter(_is_usable, located))
            if len(usable) < len(located):
                raise CannotTell  # PyKMIP does not say how to show the others
            return Success(usable, total=payload.located_items)
    identifier = _value(payload.unique_identifier)
    if item.identifier is None:  # a new object
        if not _is_usable(identifier):
            raise _Refused
    elif identifier != item.identifier:
        raise _Refused
    match item.operation:
        case enums.Operation.GET:
            return Success((identifier,), key=_key(payload))
        case enums.Operation.GET_ATTRIBUTES:
            return Success((identifier,), description=_description(payload.attributes))
    return Success((identifier,))


def _is_usable(identifier: str) -> bool:
    return identifier.isprintable() and 0 < len(identifier) <= _LONGEST_IDENTIFIER


def _description(attributes: Sequence[Any]) -> Description:
    def values(name: str) -> list[Any]:
        return [each.attribute_value for each in attributes if each.attribute_name.value == name]

    states = values("State")
    return Description(
        names=tuple(each.name_value.value for each in values("Name")),
        groups=tuple(each.value for each in values("Object Group")),
        state=_words(states[0].value).replace(" ", "-") if states else "unknown",
        is_secret_data=all(
            each.value is enums.ObjectType.SECRET_DATA for each in values("Object Type")
        ),
    )


def _key(payload: Any) -> AuthenticationKey | None:
    if payload.object_type is not enums.ObjectType.SECRET_DATA:
        return None
    block = payload.secret.key_block
    if block.key_wrapping_data is not None or block.key_compression_type is not None:
        return None
    return AuthenticationKey(block.key_value.key_material.value)
