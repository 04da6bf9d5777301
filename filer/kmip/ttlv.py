"""TTLV, the encoding of KMIP messages: elements with a tag, a type, a length and a value.

This module parses the answers of key servers instead of PyKMIP, which trusts the lengths it reads,
takes time proportional to their square, and fails on unknown content.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

HEADER_LENGTH = 8
"""Size in bytes of tag, type and length, which precede every value."""

STRUCTURE, INTEGER, ENUMERATION, TEXT_STRING, BYTE_STRING = 1, 2, 5, 7, 8
_TYPES = range(STRUCTURE, 12)
_ALIGNMENT = 8


class MalformedTtlv(ValueError):
    """Invalid TTLV.  The error never contains the bytes, because they may be a key."""


@dataclass(frozen=True, repr=False, slots=True)
class Element:
    """One element; ``value`` has no padding."""

    tag: int
    type: int
    value: bytes

    def encoding(self) -> bytes:
        """Return the encoded element."""
        header = struct.pack("!II", self.tag << 8 | self.type, len(self.value))
        return header + self.value + bytes(-len(self.value) % _ALIGNMENT)


def structure(tag: int, elements: Iterator[Element] | list[Element]) -> bytes:
    """Return the encoded structure ``tag`` that consists of ``elements``."""
    return Element(tag, STRUCTURE, b"".join(element.encoding() for element in elements)).encoding()


def structure_length(header: bytes, tag: int) -> int:
    """Return the number of bytes that follow ``header``, the first eight bytes of a structure.

    Raises MalformedTtlv unless ``header`` is that of a structure ``tag``.
    """
    tag_and_type, length = struct.unpack("!II", header)
    if tag_and_type != tag << 8 | STRUCTURE:
        raise MalformedTtlv
    return int(length)


def elements(value: bytes) -> Iterator[Element]:
    """Yield the elements in the value of a structure.  Raises MalformedTtlv during iteration."""
    start, end = 0, len(value)
    while start < end:
        if end - start < HEADER_LENGTH:
            raise MalformedTtlv
        tag_and_type, length = struct.unpack_from("!II", value, start)
        start += HEADER_LENGTH
        padded = length + -length % _ALIGNMENT
        if tag_and_type & 0xFF not in _TYPES or padded > end - start:
            raise MalformedTtlv
        yield Element(tag_and_type >> 8, tag_and_type & 0xFF, value[start : start + length])
        start += padded
