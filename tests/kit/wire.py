"""KMIP requests as lines of text, from TTLV and from the XML of the OASIS test cases.

Both give the same lines for the same request. A line is the path of a field and its value. Values
that differ from run to run, such as identifiers, are ``...``.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from xml.etree import ElementTree as Xml

from kmip.core import enums

from filer.kmip.ttlv import BYTE_STRING, ENUMERATION, INTEGER, STRUCTURE, TEXT_STRING, elements
from filer.qualify.oasis import cases

_BATCH_ITEM, _NUMBER = 0x42000F, "UniqueBatchItemID"
_VARYING = frozenset(
    {
        "ApplicationData",
        "BatchCount",
        "KeyMaterial",
        "MaximumItems",
        "NameValue",
        "OffsetItems",
        "Password",
        _NUMBER,
        "UniqueIdentifier",
        "Username",
    }
)
_VARYING_ATTRIBUTES = frozenset({"Object Group"})


class Field(NamedTuple):
    """A field of a message; a structure has fields instead of a value."""

    name: str
    value: str
    fields: "Sequence[Field]" = ()

    def __repr__(self) -> str:
        return f"<{self.name}>"  # the value may be a key

    def get(self, name: str) -> str | None:
        """Return the value of the first field ``name``."""
        return next((each.value for each in self.fields if each.name == name), None)

    def lines(self, path: str = "", attribute: str = "") -> Iterator[str]:
        """Yield a line for each field that has a value."""
        if self.name == "Attribute":
            attribute = self.get("AttributeName") or ""
            path += f"{attribute} "
        elif self.name != "AttributeValue":
            path += f"{self.name} "
        for each in self.fields:
            if each.name != "AttributeName" or self.name != "Attribute":
                yield from each.lines(path, attribute)
        if not self.value:
            return
        is_attribute = self.name == "AttributeValue"
        varies = attribute in _VARYING_ATTRIBUTES if is_attribute else self.name in _VARYING
        value = "..." if varies else self.value
        yield f"{path}= {value}"


@dataclass(frozen=True)
class Request:
    """A request: the fields of its header, and of each of its items."""

    header: Field
    items: Sequence[Field]

    @classmethod
    def from_ttlv(cls, message: bytes) -> "Request":
        (whole,) = elements(message)
        header, *items = elements(whole.value)
        return cls(_field(*header), [_field(*item) for item in items])

    @classmethod
    def from_xml(cls, message: Xml.Element) -> "Request":
        header, *items = map(_published, message)
        return cls(header, items)

    def envelope(self) -> list[str]:
        """Return the lines of the header, and of what the items have for the header's sake."""
        numbers = (each for item in self.items for each in item.fields if each.name == _NUMBER)
        return _lines([*self.header.fields, *list(numbers)[:1]])


def item_lines(item: Field) -> list[str]:
    """Return the lines of an item, without its number."""
    return _lines([each for each in item.fields if each.name != _NUMBER])


def _lines(fields: Sequence[Field]) -> list[str]:
    return [line for each in fields for line in each.lines()]


def published() -> dict[str, list[Request]]:
    """Return the requests of each published test case."""
    return {
        case: [Request.from_xml(request) for request, _ in cases.read(case)] for case in cases.CASES
    }


def _published(node: Xml.Element) -> Field:
    value = node.get("value", "")
    if node.get("type") in {"Integer", "Enumeration"}:
        value = value if value.isdigit() else _words(value)
    return Field(node.tag, value, [_published(each) for each in node])


def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)


def _field(tag: int, kind: int, value: bytes, attribute: str = "") -> Field:
    name = "BatchItem" if tag == _BATCH_ITEM else _camel(enums.Tags(tag).name)
    if kind == STRUCTURE:
        fields: list[Field] = []
        for each in elements(value):
            fields.append(_field(*each, attribute))
            if fields[-1].name == "AttributeName":
                attribute = fields[-1].value
        return Field(name, "", fields)
    of = attribute.replace(" ", "") if name == "AttributeValue" else name
    return Field(name, _text(of, kind, value))


def _text(name: str, kind: int, value: bytes) -> str:
    match kind:
        case _ if kind == TEXT_STRING:
            return value.decode()
        case _ if kind == BYTE_STRING:
            return value.hex()
        case _ if kind == ENUMERATION or name == "CryptographicUsageMask":
            return _words(_camel(getattr(enums, name)(int.from_bytes(value, "big")).name))
        case _ if kind == INTEGER:
            return str(int.from_bytes(value, "big", signed=True))
    raise AssertionError(f"type {kind} of {name}")


def _camel(name: str) -> str:
    return "".join("ID" if word == "ID" else word.capitalize() for word in name.split("_"))
