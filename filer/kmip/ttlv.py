"""TTLV, the encoding of KMIP messages: elements with a tag, a type, a length and a value.

The answers of a key server are read with this module rather than with PyKMIP, which trusts the
lengths it reads, takes time in proportion to their square, and fails on content it does not know.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

HEADER_LENGTH = 8
"""Bytes of tag, type and length, which precede every value."""

STRUCTURE, INTEGER, ENUMERATION, TEXT_STRING, BYTE_STRING = 1, 2, 5, 7, 8
_TYPES = range(STRUCTURE, 12)
_ALIGNMENT = 8


class MalformedTtlv(ValueError):
    """Bytes that are not TTLV.  It never says which, for they may be a key."""


@dataclass(frozen=True, repr=False, slots=True)
class Element:
    """One tag, type, length and value."""

    tag: int
    type: int
    value: bytes

    def encoding(self) -> bytes:
        """Return the element as it is on the wire."""
        header = struct.pack("!II", self.tag << 8 | self.type, len(self.value))
        return header + self.value + bytes(-len(self.value) % _ALIGNMENT)


def structure(tag: int, elements: Iterator[Element] | list[Element]) -> bytes:
    """Return the encoding of the structure ``tag`` that consists of ``elements``."""
    return Element(tag, STRUCTURE, b"".join(element.encoding() for element in elements)).encoding()


def structure_length(header: bytes, tag: int) -> int:
    """Return how many bytes follow the first eight of the structure ``tag``.

    Raises MalformedTtlv for anything that is not the header of one.
    """
    tag_and_type, length = struct.unpack("!II", header)
    if tag_and_type != tag << 8 | STRUCTURE:
        raise MalformedTtlv
    return int(length)


def elements(value: bytes) -> Iterator[Element]:
    """Take apart what is in a structure.  Raises MalformedTtlv on the way."""
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
