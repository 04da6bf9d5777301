"""A KMIP request, checked as a whole before any item is processed (KMIP 1.4, sections 6 to 12).

PyKMIP ignores items beyond the batch count, notices a missing batch item ID after it has processed
the items before it, and refuses all items for one that it cannot read, in KMIP 1.0 and without a
reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import NamedTuple

from filer.kmip.ttlv import Element, MalformedTtlv, elements

Version = tuple[int, int]

VERSIONS: Sequence[Version] = ((1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (2, 0))
"""The versions of KMIP that PyKMIP's engine speaks."""

STRUCTURE, INTEGER, ENUMERATION, BOOLEAN = 1, 2, 5, 6
TEXT_STRING, BYTE_STRING, DATE_TIME = 7, 8, 9

REQUEST_HEADER, PROTOCOL_VERSION, MAJOR, MINOR = 0x420077, 0x420069, 0x42006A, 0x42006B
MAXIMUM_RESPONSE_SIZE, ASYNCHRONOUS_INDICATOR, AUTHENTICATION = 0x420050, 0x420007, 0x42000C
CONTINUATION_OPTION, ORDER_OPTION = 0x42000E, 0x420010
TIME_STAMP, BATCH_COUNT = 0x420092, 0x42000D
BATCH_ITEM, OPERATION, EPHEMERAL, BATCH_ITEM_ID = 0x42000F, 0x42005C, 0x420154, 0x420093
REQUEST_PAYLOAD, MESSAGE_EXTENSION, CRITICALITY_INDICATOR = 0x420079, 0x420051, 0x420026
_CLIENT_CORRELATION_VALUE, _SERVER_CORRELATION_VALUE = 0x420105, 0x420106
_ATTESTATION_CAPABLE_INDICATOR, _ATTESTATION_TYPE = 0x4200D3, 0x4200C7

_HEADER_FIELDS = {
    PROTOCOL_VERSION: {STRUCTURE},
    MAXIMUM_RESPONSE_SIZE: {INTEGER},
    _CLIENT_CORRELATION_VALUE: {TEXT_STRING},
    _SERVER_CORRELATION_VALUE: {TEXT_STRING},
    ASYNCHRONOUS_INDICATOR: {BOOLEAN, ENUMERATION},  # KMIP 1, KMIP 2
    _ATTESTATION_CAPABLE_INDICATOR: {BOOLEAN},
    _ATTESTATION_TYPE: {ENUMERATION},
    AUTHENTICATION: {STRUCTURE},
    CONTINUATION_OPTION: {ENUMERATION},
    ORDER_OPTION: {BOOLEAN},
    TIME_STAMP: {DATE_TIME},
    BATCH_COUNT: {INTEGER},
}
"""The fields of a request header in their order, with their types."""

_ITEM_FIELDS = {
    OPERATION: {ENUMERATION},
    EPHEMERAL: {BOOLEAN},  # KMIP 2
    BATCH_ITEM_ID: {BYTE_STRING},
    REQUEST_PAYLOAD: {STRUCTURE},
    MESSAGE_EXTENSION: {STRUCTURE},
}

_REPEATABLE = {_ATTESTATION_TYPE}

_NOT_FOR_PYKMIP = {
    _CLIENT_CORRELATION_VALUE,
    _SERVER_CORRELATION_VALUE,
    ASYNCHRONOUS_INDICATOR,
    _ATTESTATION_CAPABLE_INDICATOR,
    _ATTESTATION_TYPE,
}
"""Fields that ask nothing of a server without asynchronous operations, attestation and logs."""

CONTINUE, STOP, _UNDO = 1, 2, 3
_ASYNCHRONOUS_ONLY = 1


class Operation(IntEnum):
    """The operations of PyKMIP's engine."""

    CREATE = 0x01
    CREATE_KEY_PAIR = 0x02
    REGISTER = 0x03
    DERIVE_KEY = 0x05
    LOCATE = 0x08
    GET = 0x0A
    GET_ATTRIBUTES = 0x0B
    GET_ATTRIBUTE_LIST = 0x0C
    MODIFY_ATTRIBUTE = 0x0E
    DELETE_ATTRIBUTE = 0x0F
    ACTIVATE = 0x12
    REVOKE = 0x13
    DESTROY = 0x14
    QUERY = 0x18
    DISCOVER_VERSIONS = 0x1E
    ENCRYPT = 0x1F
    DECRYPT = 0x20
    SIGN = 0x21
    SIGNATURE_VERIFY = 0x22
    MAC = 0x23
    SET_ATTRIBUTE = 0x31

    @property
    def since(self) -> Version:
        """The first version of KMIP with this operation."""
        if self is Operation.SET_ATTRIBUTE:
            return 2, 0
        if self >= Operation.ENCRYPT:
            return 1, 2
        return (1, 1) if self is Operation.DISCOVER_VERSIONS else (1, 0)


class Reason(IntEnum):
    """The Result Reasons that this server gives without PyKMIP."""

    RESPONSE_TOO_LARGE = 2
    AUTHENTICATION_NOT_SUCCESSFUL = 3
    INVALID_MESSAGE = 4
    OPERATION_NOT_SUPPORTED = 5
    INVALID_FIELD = 7
    FEATURE_NOT_SUPPORTED = 8
    GENERAL_FAILURE = 0x100


class Refusal(Exception):
    """A request, or an item of one, is refused, with a Result Reason and a Result Message."""

    def __init__(self, reason: int, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class RequestRefused(Refusal):
    """A request is refused as a whole, in an answer of ``version``."""

    def __init__(self, reason: int, message: str, version: Version = VERSIONS[0]) -> None:
        super().__init__(reason, message)
        self.version = version


class Item(NamedTuple):
    """One item of a request; ``refusal`` is set if it cannot be processed."""

    operation: Element | None
    number: Element | None
    """The Unique Batch Item ID."""
    parts: Sequence[Element]
    """All fields but the message extension, which has no effect."""
    value: bytes
    """The encoded fields."""
    refusal: Refusal | None


@dataclass(frozen=True)
class Request:
    """A request with at least one item."""

    version: Version
    header: Sequence[Element]
    """The fields that PyKMIP reads."""
    header_value: bytes
    """All encoded fields."""
    maximum: int
    """How many bytes the response may have."""
    items: Sequence[Item]


@cache
def operations(version: Version) -> Sequence[Operation]:
    """Return the operations that the server has in ``version``."""
    return tuple(each for each in Operation if each.since <= version)


def integer(element: Element) -> int:
    """Return the value of an Integer, an Enumeration or a Date-Time."""
    return int.from_bytes(element.value, "big", signed=element.type != ENUMERATION)


def read_request(message: bytes) -> Request:
    """Read the value of a Request Message.  Raises RequestRefused."""
    parts = _parts(message, "message")
    if not parts or (parts[0].tag, parts[0].type) != (REQUEST_HEADER, STRUCTURE):
        raise RequestRefused(_INVALID, "the message does not begin with a request header")
    header = _parts(parts[0].value, "request header")
    version = _version(header)
    spoken = max((each for each in VERSIONS if each <= version), default=VERSIONS[0])
    try:
        if spoken != version:
            supported = ", ".join(f"{major}.{minor}" for major, minor in VERSIONS)
            asked = ".".join(map(str, version))
            raise Refusal(_INVALID, f"KMIP {asked} is not supported, only {supported}")
        return _request(version, parts[0], header, parts[1:])
    except Refusal as refusal:
        raise RequestRefused(refusal.reason, str(refusal), spoken) from None


_MAXIMUM_RESPONSE = 1024 * 1024
_INVALID = Reason.INVALID_MESSAGE
_INVALID_FIELD = Reason.INVALID_FIELD
_UNSUPPORTED = Reason.FEATURE_NOT_SUPPORTED
_LENGTHS = {INTEGER: 4, ENUMERATION: 4, BOOLEAN: 8, DATE_TIME: 8}


def _parts(value: bytes, what: str) -> list[Element]:
    try:
        return list(elements(value))
    except MalformedTtlv:
        raise RequestRefused(_INVALID, f"the {what} is not TTLV") from None


def _version(header: Sequence[Element]) -> Version:
    if header and (header[0].tag, header[0].type) == (PROTOCOL_VERSION, STRUCTURE):
        numbers = _parts(header[0].value, "protocol version")
        if [(each.tag, each.type, len(each.value)) for each in numbers] == [
            (MAJOR, INTEGER, 4),
            (MINOR, INTEGER, 4),
        ]:
            return integer(numbers[0]), integer(numbers[1])
    raise RequestRefused(_INVALID, "the request header does not begin with a protocol version")


def _request(
    version: Version, whole: Element, header: Sequence[Element], parts: Sequence[Element]
) -> Request:
    _check_fields(header, _HEADER_FIELDS, "request header")
    fields = {each.tag: each for each in header}
    if BATCH_COUNT not in fields:
        raise Refusal(_INVALID, "the request header has no batch count")
    for each in parts:
        if (each.tag, each.type) != (BATCH_ITEM, STRUCTURE):
            raise Refusal(_INVALID, f"{_name(each)} of the message is not a batch item")
    if not parts:
        raise Refusal(_INVALID, "the message has no batch item")
    count = integer(fields[BATCH_COUNT])
    if count != len(parts):
        raise Refusal(_INVALID, f"the batch count is {count}, but there are {len(parts)} items")
    indicator = fields.get(ASYNCHRONOUS_INDICATOR)
    if indicator and indicator.type == ENUMERATION and integer(indicator) == _ASYNCHRONOUS_ONLY:
        raise Refusal(_UNSUPPORTED, "asynchronous operations are not supported")
    option = integer(fields[CONTINUATION_OPTION]) if CONTINUATION_OPTION in fields else STOP
    if option not in (CONTINUE, STOP, _UNDO):
        raise Refusal(_INVALID_FIELD, f"{_name(fields[CONTINUATION_OPTION])} has no known value")
    left_out = set(_NOT_FOR_PYKMIP)
    if len(parts) == 1:
        left_out.add(CONTINUATION_OPTION)
    elif option == _UNDO:
        raise Refusal(_UNSUPPORTED, "the batch error continuation option Undo is not supported")
    items = [_item(each, version) for each in parts]
    if len(items) > 1 and any(each.number is None for each in items):
        raise Refusal(_INVALID, "each item of a batch needs a unique batch item ID")
    maximum = integer(fields[MAXIMUM_RESPONSE_SIZE]) if MAXIMUM_RESPONSE_SIZE in fields else 0
    return Request(
        version,
        [each for each in header if each.tag not in left_out],
        whole.value,
        maximum or _MAXIMUM_RESPONSE,
        items,
    )


def _item(element: Element, version: Version) -> Item:
    parts = _parts(element.value, "batch item")
    fields = {each.tag: each for each in parts if _fits(each, _ITEM_FIELDS.get(each.tag, set()))}
    refusal = None
    try:
        _check_item(parts, fields, version)
    except Refusal as error:
        refusal = error
    return Item(
        fields.get(OPERATION),
        fields.get(BATCH_ITEM_ID),
        [each for each in parts if each.tag != MESSAGE_EXTENSION],
        element.value,
        refusal,
    )


def _check_item(parts: Sequence[Element], fields: dict[int, Element], version: Version) -> None:
    if OPERATION not in fields:
        raise Refusal(_INVALID, "the batch item has no operation")
    operation = integer(fields[OPERATION])
    if operation not in operations(version):
        major, minor = version
        raise Refusal(
            Reason.OPERATION_NOT_SUPPORTED,
            f"operation 0x{operation:08X} is not supported in KMIP {major}.{minor}",
        )
    _check_fields(parts, _ITEM_FIELDS, "batch item")
    if REQUEST_PAYLOAD not in fields:
        raise Refusal(_INVALID, "the batch item has no request payload")
    if MESSAGE_EXTENSION in fields:
        for each in _parts(fields[MESSAGE_EXTENSION].value, "message extension"):
            if each.tag == CRITICALITY_INDICATOR and any(each.value):
                raise Refusal(_UNSUPPORTED, "the critical message extension is unknown")


def _check_fields(fields: Sequence[Element], known: dict[int, set[int]], where: str) -> None:
    order = list(known)
    last = -1
    for each in fields:
        name = f"{_name(each)} of the {where}"
        if each.tag not in known:
            raise Refusal(_INVALID_FIELD, f"{name} is unknown")
        if not _fits(each, known[each.tag]):
            raise Refusal(_INVALID, f"{name} has the wrong type or length")
        here = order.index(each.tag)
        if here < last or (here == last and each.tag not in _REPEATABLE):
            raise Refusal(_INVALID, f"{name} is repeated or out of order")
        last = here


def _fits(element: Element, types: set[int]) -> bool:
    length = len(element.value)
    return element.type in types and length == _LENGTHS.get(element.type, length)


def _name(element: Element) -> str:
    return f"field 0x{element.tag:06X}"
