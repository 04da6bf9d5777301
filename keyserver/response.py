"""A KMIP response, encoded without PyKMIP."""

import struct
from collections.abc import Iterable

from filer.keyserver.request import (
    BATCH_COUNT,
    BATCH_ITEM,
    DATE_TIME,
    ENUMERATION,
    INTEGER,
    MAJOR,
    MINOR,
    PROTOCOL_VERSION,
    STRUCTURE,
    TEXT_STRING,
    TIME_STAMP,
    Refusal,
    Version,
)

RESPONSE_MESSAGE, RESPONSE_HEADER, RESPONSE_PAYLOAD = 0x42007B, 0x42007A, 0x42007C
RESULT_STATUS, RESULT_REASON, RESULT_MESSAGE = 0x42007F, 0x42007E, 0x42007D
_OPERATION_FAILED = 1
_HEAD = struct.Struct("!II")
_PADDING = [bytes(-length % 8) for length in range(8)]


def element(tag: int, kind: int, value: bytes) -> bytes:
    """Return an encoded element, with its padding."""
    length = len(value)
    return _HEAD.pack(tag << 8 | kind, length) + value + _PADDING[length % 8]


def structure(tag: int, *parts: bytes) -> bytes:
    """Return the structure of encoded elements."""
    return element(tag, STRUCTURE, b"".join(parts))


def integer(tag: int, value: int) -> bytes:
    """Return an encoded Integer."""
    return element(tag, INTEGER, struct.pack("!i", value))


def enumeration(tag: int, value: int) -> bytes:
    """Return an encoded Enumeration."""
    return element(tag, ENUMERATION, struct.pack("!I", value))


def text(tag: int, value: str) -> bytes:
    """Return an encoded Text String."""
    return element(tag, TEXT_STRING, value.encode())


def response(version: Version, now: int, items: Iterable[bytes]) -> bytes:
    """Return the response with the encoded ``items``; ``now`` is in seconds since the epoch."""
    encoded = list(items)
    header = structure(
        RESPONSE_HEADER,
        structure(PROTOCOL_VERSION, integer(MAJOR, version[0]), integer(MINOR, version[1])),
        element(TIME_STAMP, DATE_TIME, struct.pack("!q", now)),
        integer(BATCH_COUNT, len(encoded)),
    )
    return structure(RESPONSE_MESSAGE, header, *encoded)


def refusal(refused: Refusal, version: Version, now: int) -> bytes:
    """Return the response to a request that is refused as a whole."""
    item = structure(
        BATCH_ITEM,
        enumeration(RESULT_STATUS, _OPERATION_FAILED),
        enumeration(RESULT_REASON, refused.reason),
        text(RESULT_MESSAGE, str(refused)),
    )
    return response(version, now, [item])
