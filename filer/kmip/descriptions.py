"""The attributes of managed objects, as the answers to Get Attributes show them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from filer.keys.key_id import is_key_id
from filer.kmip.messages import enums
from filer.kmip.refusals import words
from filer.kmip.requests import DESCRIBED_BY
from filer.kmip.tags import SECRET_DATA, fields, tag
from filer.kmip.ttlv import (
    STRUCTURE,
    TEXT_STRING,
    Ambiguous,
    Field,
    elements,
    enumeration_of,
    text_of,
    value_of,
)

UNKNOWN = "unknown"
"""The state of an object whose state attribute is missing or not defined by KMIP."""

_LONGEST_REMEMBERED = 96
"""Maximum length in bytes of an attribute that is remembered: less than a Name with a key ID."""

_UNIQUE_IDENTIFIER, _NAME, _STATE = tag("UNIQUE_IDENTIFIER"), tag("NAME"), tag("STATE")
_OBJECT_GROUP, _OBJECT_TYPE = tag("OBJECT_GROUP"), tag("OBJECT_TYPE")
_ATTRIBUTE, _ATTRIBUTES = tag("ATTRIBUTE"), tag("ATTRIBUTES")
_DESCRIBED_BY: Mapping[bytes | None, int] = {
    kind.value.encode(): tag(kind.name) for kind in DESCRIBED_BY
}
_NAMED_VALUE = fields("ATTRIBUTE_NAME", "ATTRIBUTE_VALUE")
_NAME_VALUE = fields("NAME_VALUE")

_STATES: dict[int | None, str] = {
    state.value: words(state).replace(" ", "-") for state in enums.State
}


@dataclass(frozen=True)
class Description:
    """The attributes of a managed object; a missing or unreadable attribute is empty."""

    names: tuple[str, ...]
    groups: tuple[str, ...]
    state: str
    is_secret_data: bool
    has_unreadable_name: bool = False

    @cached_property
    def key_ids(self) -> tuple[str, ...]:
        """The names that are key IDs; Secret Data with one is a key pair."""
        return tuple(filter(is_key_id, self.names)) if self.is_secret_data else ()

    @property
    def may_be_key_pair(self) -> bool:
        """Whether this is a key pair, or Secret Data with a name that cannot be read."""
        return bool(self.key_ids) or (self.is_secret_data and self.has_unreadable_name)

    def may_be(self, key_id: str, *, any_case: bool = False) -> bool:
        """Return whether this is, or because of an unreadable name may be, that key pair.

        ``any_case``: also if the server has changed the case of the name, as some do.
        """
        if not self.may_be_key_pair:
            return False
        names = map(str.upper, self.names) if any_case else self.names
        return self.has_unreadable_name or key_id in names


def read_description(payload: bytes) -> tuple[Field | None, Description]:
    """Return the unique identifier and the description of an object from an answer's payload.

    The identifier is None if it is missing.  Raises MalformedTtlv.
    """
    named: Field | None = None
    # The contents of the attributes; one that cannot be read is None.
    found: dict[int, list[Any]] = {_NAME: [], _OBJECT_GROUP: [], _STATE: [], _OBJECT_TYPE: []}
    for of, kind, value in elements(payload):
        if of == _ATTRIBUTE and kind == STRUCTURE:
            read = _remembered_attribute if len(value) <= _LONGEST_REMEMBERED else _attribute
            for attribute, content in read(value):
                found[attribute].append(content)
        elif of == _ATTRIBUTES and kind == STRUCTURE:  # from KMIP 2.0 on
            for each in elements(value):
                if each.tag in found:
                    found[each.tag].append(_CONTENTS[each.tag]((each.type, each.value)))
        elif of == _UNIQUE_IDENTIFIER:
            if named is not None:
                raise Ambiguous
            named = kind, value
    names, states = found[_NAME], found[_STATE]
    description = Description(
        names=_readable(names),
        has_unreadable_name=None in names,
        groups=_readable(found[_OBJECT_GROUP]),
        state=_STATES.get(states[0], UNKNOWN) if states else UNKNOWN,
        is_secret_data={None, SECRET_DATA}.issuperset(found[_OBJECT_TYPE]),
    )
    return named, description


def _readable(contents: Sequence[str | None]) -> tuple[str, ...]:
    return tuple(content for content in contents if content is not None)


def _attribute(structure: bytes) -> Sequence[tuple[int, Any]]:
    """Return the tag and content of an attribute of KMIP 1; empty if it was not requested.

    Its content is None if it cannot be read.  With two names or values, it is all that it may be.
    """
    value: Field | None = None
    try:
        named, value = _NAMED_VALUE.of(structure)
        names = {value_of(named, TEXT_STRING)}
    except Ambiguous:
        names = {value for _tag, kind, value in elements(structure) if kind == TEXT_STRING}
    tags = (_DESCRIBED_BY[name] for name in names if name in _DESCRIBED_BY)
    return [(each, _CONTENTS[each](value)) for each in tags]


_remembered_attribute = lru_cache(maxsize=256)(_attribute)
"""The attributes of most objects are equal, except for their names."""


def _name(field: Field | None) -> str | None:
    """Return the text of a Name attribute, or None if it is unreadable."""
    try:
        (found,) = _NAME_VALUE.of(value_of(field, STRUCTURE))
    except Ambiguous:
        return None
    return text_of(found)


_CONTENTS: Mapping[int, Callable[[Field | None], str | int | None]] = {
    _NAME: _name,
    _OBJECT_GROUP: text_of,
    _STATE: enumeration_of,
    _OBJECT_TYPE: enumeration_of,
}
