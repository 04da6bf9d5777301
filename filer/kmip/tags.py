"""Tags of KMIP, looked up once by name: the enumerations of PyKMIP are slow."""

from filer.kmip.messages import enums
from filer.kmip.ttlv import Fields

SECRET_DATA: int = enums.ObjectType.SECRET_DATA.value
"""The object type of a key pair."""


def tag(name: str) -> int:
    """Return the tag that PyKMIP calls ``name``.  Raises KeyError."""
    return int(enums.Tags[name].value)


def fields(*names: str) -> Fields:
    """Return a reader of the elements that PyKMIP calls ``names``.  Raises KeyError."""
    return Fields(*map(tag, names))
