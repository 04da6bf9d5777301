"""Reading objects from answers, in KMIP 1 and 2."""

from typing import Any

from filer.keys.authentication_key import AuthenticationKey
from filer.kmip.messages import enums
from filer.kmip.requests import Version
from filer.kmip.ttlv import BYTE_STRING, ENUMERATION, STRUCTURE, Element
from filer.throw_away.message import Raw, Reason, Structure, Tags, structure, text

NAME, GROUP, STATE, TYPE, APPLICATION = (
    "Name",
    "Object Group",
    "State",
    "Object Type",
    "Application Specific Information",
)
GONE = (Reason.ITEM_NOT_FOUND, Reason.OBJECT_DESTROYED, Reason.OBJECT_NOT_FOUND)
"""The reasons with which a server refuses a request for an object that is not there."""

TAGS = {
    Tags.NAME.value: NAME,
    Tags.OBJECT_GROUP.value: GROUP,
    Tags.STATE.value: STATE,
    Tags.OBJECT_TYPE.value: TYPE,
    Tags.APPLICATION_SPECIFIC_INFORMATION.value: APPLICATION,
}


def get_five(identifier: str, version: Version) -> Raw:
    """Ask for the attributes of an object that a filer sets or reads."""
    asked = [text(Tags.ATTRIBUTE_NAME, name) for name in TAGS.values()]
    if version >= (2, 0):
        reference = Tags.ATTRIBUTE_REFERENCE.value
        asked = [Element(reference, ENUMERATION, tag.to_bytes(4, "big")) for tag in TAGS]
    named = text(Tags.UNIQUE_IDENTIFIER, identifier)
    return Raw(enums.Operation.GET_ATTRIBUTES, structure(Tags.REQUEST_PAYLOAD, named, *asked))


def attributes(payload: Structure) -> dict[str, list[Element]]:
    """Return the values of the attributes in the answer to Get Attributes, by their names."""
    found: dict[str, list[Element]] = {}
    for attribute in payload.all(Tags.ATTRIBUTE):
        fields = Structure(attribute.value)
        name = fields.text(Tags.ATTRIBUTE_NAME) or ""
        found.setdefault(name, []).extend(fields.all(Tags.ATTRIBUTE_VALUE)[:1])
    for element in payload.within(Tags.ATTRIBUTES):  # KMIP 2
        name = TAGS.get(element.tag, f"{element.tag:#x}")
        found.setdefault(name, []).append(element)
    return found


def name_of(value: Element) -> str | None:
    """Return the text of a Name, or None if it is not one."""
    return Structure(value.value).text(Tags.NAME_VALUE) if value.type == STRUCTURE else None


def names(found: dict[str, list[Element]]) -> list[str]:
    """Return the readable names among attributes."""
    return [name for value in found.get(NAME, ()) if (name := name_of(value)) is not None]


def number_of(found: dict[str, list[Element]], name: str) -> int | None:
    """Return the value of an Enumeration among attributes."""
    values = found.get(name)
    return int.from_bytes(values[0].value, "big") if values else None


def state(found: dict[str, list[Element]]) -> Any:
    """Return the State among attributes, or None."""
    value = number_of(found, STATE)
    return next((each for each in enums.State if each.value == value), None)


DESTROYED = (enums.State.DESTROYED, enums.State.DESTROYED_COMPROMISED)


def key(payload: Structure) -> AuthenticationKey | None:
    """Return the key in the answer to Get, of an object of any type, or None."""
    for kind in (Tags.SECRET_DATA, Tags.SYMMETRIC_KEY):
        block = payload.within(kind, Tags.KEY_BLOCK)
        for value in block.all(Tags.KEY_VALUE):
            inside = Structure(value.value)
            for material in inside.all(Tags.KEY_MATERIAL):
                if material.type == BYTE_STRING:
                    return AuthenticationKey(material.value)
    return None
