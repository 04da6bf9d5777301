"""TTLV, the encoding of KMIP messages: elements with a tag, a type, a length and a value.

This module parses the answers of key servers instead of PyKMIP, which trusts the lengths it reads,
takes time proportional to their square, and fails on unknown content.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

HEADER_LENGTH = 8
"""Size in bytes of tag, type and length, which precede every value."""

STRUCTURE, INTEGER, ENUMERATION, TEXT_STRING, BYTE_STRING = 1, 2, 5, 7, 8
_TYPES = frozenset(range(STRUCTURE, 12))
_ALIGNMENT = 8

NUMBER_LENGTH = 4
"""Size in bytes of an integer or enumeration, without padding."""

_header = struct.Struct("!II").unpack_from


class MalformedTtlv(ValueError):
    """Invalid TTLV.  The error never contains the bytes, because they may be a key."""


class Ambiguous(MalformedTtlv):
    """A field that must occur at most once occurs twice."""


class Element(NamedTuple):
    """One element; ``value`` has no padding.  ``repr`` does not show it: it may be a key."""

    tag: int
    type: int
    value: bytes

    def __repr__(self) -> str:
        return f"<element {self.tag:#x}>"

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
        tag_and_type, length = _header(value, start)
        start += HEADER_LENGTH
        padded = length + -length % _ALIGNMENT
        if tag_and_type & 0xFF not in _TYPES or padded > end - start:
            raise MalformedTtlv
        found = tag_and_type >> 8, tag_and_type & 0xFF, value[start : start + length]
        yield tuple.__new__(Element, found)  # half the time of Element(...)
        start += padded


Field = tuple[int, bytes]
"""The type and value of an element whose tag is known."""


class Fields:
    """Reads the elements with some tags from a structure, in any order, and ignores all others."""

    def __init__(self, *tags: int) -> None:
        self._places = {tag: place for place, tag in enumerate(tags)}
        self._missing: list[Field | None] = [None] * len(tags)

    def of(self, value: bytes | None) -> list[Field | None]:
        """Return the elements in the value of a structure, in the order of the tags.

        A missing element is None.  Raises Ambiguous if a tag occurs twice, and MalformedTtlv.
        """
        places, found = self._places, self._missing.copy()
        if not value:
            return found
        # The loop of `elements`, without a generator: this runs fifteen times for each key pair.
        start, end = 0, len(value)
        while start < end:
            if end - start < HEADER_LENGTH:
                raise MalformedTtlv
            tag_and_type, length = _header(value, start)
            start += HEADER_LENGTH
            stop = start + length
            padded = stop + -length % _ALIGNMENT
            if tag_and_type & 0xFF not in _TYPES or padded > end:
                raise MalformedTtlv
            if tag_and_type >> 8 in places:
                place = places[tag_and_type >> 8]
                if found[place] is not None:
                    raise Ambiguous
                found[place] = tag_and_type & 0xFF, value[start:stop]
            start = padded
        return found


def value_of(field: Field | None, kind: int) -> bytes | None:
    """Return the value of a field of type ``kind``, or None if it is missing or of another type."""
    return field[1] if field is not None and field[0] == kind else None


def number_of(field: Field | None, kind: int) -> int | None:
    """Return an integer or enumeration, or None if ``field`` is not one (``kind`` says which)."""
    value = value_of(field, kind)
    if value is None or len(value) != NUMBER_LENGTH:
        return None
    return int.from_bytes(value, "big", signed=kind == INTEGER)


def text_of(field: Field | None) -> str | None:
    """Return the text of a text string, or None if ``field`` is not one in UTF-8."""
    value = value_of(field, TEXT_STRING)
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return None


def enumeration_of(field: Field | None) -> int | None:
    """Return an enumeration, or None if ``field`` is not one."""
    return number_of(field, ENUMERATION)
