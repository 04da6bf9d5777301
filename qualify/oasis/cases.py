"""The published test cases: read from XML, encoded as TTLV, compared with answers."""

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any
from xml.etree import ElementTree as Xml

from filer.kmip.messages import enums
from filer.kmip.ttlv import BYTE_STRING, ENUMERATION, INTEGER, STRUCTURE, TEXT_STRING, Element
from filer.throw_away.message import Answer, AnswerItem, Structure, Tags

CASES = ("SASED-M-1-14", "SASED-M-2-14", "SASED-M-3-14")

_ENUMERATIONS: Mapping[str, Any] = {
    "KeyFormatType": enums.KeyFormatType,
    "NameType": enums.NameType,
    "ObjectType": enums.ObjectType,
    "Operation": enums.Operation,
    "QueryFunction": enums.QueryFunction,
    "ResultStatus": enums.ResultStatus,
    "SecretDataType": enums.SecretDataType,
}
_OF_ANY_VALUE = ("ServerInformation", "VendorIdentification")


def read(case: str) -> list[tuple[Xml.Element, Xml.Element]]:
    """Return the requests of a case, each with its published answer."""
    text = (files("filer.qualify.oasis") / f"{case}.xml").read_text(encoding="utf-8")
    messages = list(Xml.fromstring(text))  # noqa: S314  # a file of this package
    return list(zip(messages[::2], messages[1::2], strict=True))


def placeholders(message: Xml.Element) -> set[str]:
    """Return the identifiers that a message takes from an earlier answer."""
    return {value for each in message.iter() if (value := each.get("value", "")).startswith("$U")}


def encoded(request: Xml.Element, names: Mapping[str, str]) -> bytes:
    """Return a request in TTLV, with identifiers from ``names``."""
    return _element(request, names).encoding()


def _element(node: Xml.Element, names: Mapping[str, str], about: str = "") -> Element:
    tag = _tag(node)
    value = node.get("value", "")
    match node.get("type"):
        case "Integer":
            return Element(tag, INTEGER, int(value).to_bytes(4, "big", signed=True))
        case "Enumeration":
            kind = about.replace(" ", "") if node.tag == "AttributeValue" else node.tag
            number = _ENUMERATIONS[kind][_snake(value)].value
            return Element(tag, ENUMERATION, number.to_bytes(4, "big"))
        case "TextString":
            return Element(tag, TEXT_STRING, names.get(value, value).encode())
        case "ByteString":
            return Element(tag, BYTE_STRING, bytes.fromhex(value))
    about = next((each.get("value", "") for each in node if each.tag == "AttributeName"), "")
    inside = b"".join(_element(each, names, about).encoding() for each in node)
    return Element(tag, STRUCTURE, inside)


def _tag(node: Xml.Element) -> int:
    # KMIP names the batch items of requests and answers alike; PyKMIP does not.
    name = "REQUEST_BATCH_ITEM" if node.tag == "BatchItem" else _snake(node.tag)
    return int(enums.Tags[name].value)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()


def learned(expected: Xml.Element, answer: Answer) -> dict[str, str]:
    """Return the identifiers that a Register has returned, by their published names."""
    item = answer.items[0] if answer.items else None
    if item is None or item.operation != enums.Operation.REGISTER.value or not item.succeeded:
        return {}
    return dict.fromkeys(placeholders(expected), item.identifier)


def differences(expected: Xml.Element, answer: Answer, names: Mapping[str, str]) -> list[str]:
    """Return what the published answer has and ``answer`` has not.

    Further elements are fine, but not further identifiers.  Times and texts about the server are
    not compared.
    """
    published = expected.findall("BatchItem")
    if len(published) != len(answer.items):
        return [f"{len(answer.items)} items instead of {len(published)}"]
    found: list[str] = []
    for node, item in zip(published, answer.items, strict=True):
        found += _differences(node, item, names)
    return found


def _differences(node: Xml.Element, item: AnswerItem, names: Mapping[str, str]) -> Iterator[str]:
    for field in node:
        if field.tag == "ResultStatus" and field.get("value") == "Success" and not item.succeeded:
            yield item.outcome(with_message=item.operation != enums.Operation.REGISTER.value)
            return
    payload = node.find("ResponsePayload")
    if payload is not None:
        yield from _missing(payload, item.payload, names)


def _missing(node: Xml.Element, found: Structure, names: Mapping[str, str]) -> Iterator[str]:
    rest = list(found)
    wanted = [each for each in node if each.tag not in _OF_ANY_VALUE]
    about = next((each.get("value", "") for each in node if each.tag == "AttributeName"), "")
    for each in wanted:
        tag = _tag(each)
        if each.get("type") is None:
            inside = [element for element in rest if element.tag == tag]
            lacks = [list(_missing(each, Structure(element.value), names)) for element in inside]
            if [] in lacks:
                rest.remove(inside[lacks.index([])])
            else:
                yield from lacks[0] if lacks else [f"{each.tag} is missing"]
            continue
        element = _element(each, names, about)
        if element in rest:
            rest.remove(element)
        elif each.get("type") == "ByteString":
            yield f"{each.tag} differs"
        else:
            yield f"{each.tag} {each.get('value')} is missing"
    if any(element.tag == Tags.UNIQUE_IDENTIFIER.value for element in rest):
        yield "more identifiers than published"
