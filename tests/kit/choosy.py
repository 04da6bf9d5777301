"""A KMIP server without PyKMIP that takes only some requests, as real key servers do.

``Habits`` says what it takes; the default is everything from KMIP 1.0 to 2.0::

    with choosy.start(directory, "127.0.0.2", Habits(items=1)) as server:
        ...  # server.address, server.port, server.objects

``directory`` has the certificates of a key server. The keys are in memory.
"""

import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal

from filer.keyserver.authority import AUTHORITY_PRIVATE, Identity, server_name
from filer.kmip.ttlv import Element, elements, structure
from tests.kit import hostile

Version = tuple[int, int]
ALL: tuple[Version, ...] = ((1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (2, 0))

NOT_FOUND, TOO_LARGE, NOT_AUTHENTICATED, INVALID_MESSAGE = 1, 2, 3, 4
OPERATION_NOT_SUPPORTED, INVALID_FIELD, NOT_SUPPORTED = 5, 7, 8
ILLEGAL_OPERATION, PERMISSION_DENIED, FORMAT_NOT_SUPPORTED = 0xB, 0xC, 0x10

Reaction = Literal["once", "each", "first", "closes"]
"""How it refuses a request: by one item, by each item, by the first item, or not in words."""


@dataclass(frozen=True)
class Habits:
    """What a key server takes, and how it refuses the rest."""

    versions: tuple[Version, ...] = ALL
    names_version: bool = True
    """A refusal of a version is in the highest version that it speaks; otherwise in that one."""
    lists: tuple[Version, ...] | None = None
    """The versions that Discover Versions lists, if it is wrong about ``versions``."""
    version_reason: int = INVALID_MESSAGE
    """The result reason for a version that it does not take."""
    shows: Version | None = None
    """The version of its refusals, if it is always the same."""
    discovers_in: tuple[Version, ...] = ()
    """The further versions in which it takes Discover Versions."""
    discovers: bool = True
    """Whether it has Discover Versions."""
    wants_discovery: bool = False
    """Whether each connection must begin with Discover Versions."""
    items: int = 1000
    """The most items of a request."""
    request_size: int = 1 << 20
    answer_size: int = 1 << 20
    refuses: Reaction = "once"
    reason: int = NOT_SUPPORTED
    """The result reason for too many items or bytes of a request."""
    strict: bool = False
    """Whether it refuses what a request of one item must not have."""
    closes: bool = False
    """Whether it closes the connection after each answer."""
    activation: Literal["done", "refused", "automatic"] = "done"
    reads_inactive: bool = True
    """Whether Get returns the key of an object that is not active."""
    refused_attributes: frozenset[str] = frozenset()
    forgotten_attributes: frozenset[str] = frozenset()
    lowers_names: bool = False
    """Whether it stores names in lower case."""
    formats: tuple[int, ...] = (1, 2)
    """Raw, Opaque."""
    types: tuple[int, ...] = (1, 2)
    """Password, Seed."""
    page: int = 1000
    """The most identifiers in an answer to Locate."""
    counts: bool = True
    """Whether it says how many objects there are."""
    filters: tuple[str, ...] = ("Object Type", "Name")
    """The attributes by which Locate can search."""
    ignores_filter: bool = False
    finds_nothing: bool = True
    """Whether a search that finds nothing succeeds."""
    login: tuple[str, str] | None = None
    message: str = "no"


@dataclass(repr=False)
class Stored:
    """An object; attribute values are elements, by name."""

    attributes: list[tuple[str, Element]]
    secret: bytes
    state: int = 1


class _Refused(Exception):
    def __init__(self, reason: int) -> None:
        super().__init__(reason)
        self.reason = reason


class _Closed(Exception):
    """The connection is closed without an answer."""


_NAMES: dict[int, str] = {
    0x420053: "Name",
    0x420056: "Object Group",
    0x420004: "Application Specific Information",
    0x42002C: "Cryptographic Usage Mask",
    0x420057: "Object Type",
    0x42008D: "State",
}
_TAGS = {name: tag for tag, name in _NAMES.items()}
_ATTRIBUTE, _ATTRIBUTES, _TEMPLATE = 0x420008, 0x420125, 0x420091
_ATTRIBUTE_NAME, _ATTRIBUTE_VALUE = 0x42000A, 0x42000B
_SECRET_DATA, _SECRET_TYPE, _KEY_BLOCK, _FORMAT = 0x420085, 0x420086, 0x420040, 0x420042
_BATCH_ITEM, _PAYLOAD, _CONTINUE, _LOGIN = 0x42000F, 0x420079, 0x42000E, 0x42000C
_OPERATIONS = {
    3: "register",
    8: "locate",
    10: "get",
    11: "get_attributes",
    18: "activate",
    19: "revoke",
    20: "destroy",
    24: "query",
    30: "discover_versions",
}


def _inner(value: bytes, *path: int) -> bytes | None:
    """Return the value of the first element at ``path``."""
    for tag in path:
        found = next((each.value for each in elements(value) if each.tag == tag), None)
        if found is None:
            return None
        value = found
    return value


def _number(value: bytes, *path: int) -> int | None:
    found = _inner(value, *path)
    return None if found is None else int.from_bytes(found, "big")


def _integer(tag: int, number: int, kind: int = hostile.INTEGER) -> Element:
    return Element(tag, kind, struct.pack("!I", number))


def _attributes(payload: bytes) -> Iterator[tuple[str, Element]]:
    """Yield the attributes of a request, in the encoding of any version."""
    for each in elements(payload):
        if each.tag == _ATTRIBUTES:
            yield from ((_NAMES[inner.tag], inner) for inner in elements(each.value))
        elif each.tag == _TEMPLATE:
            yield from _attributes(each.value)
        elif each.tag == _ATTRIBUTE:
            name, value = elements(each.value)
            kind = _NAMES_BY_TEXT[name.value]
            yield kind, Element(_TAGS[kind], value.type, value.value)


_NAMES_BY_TEXT = {name.encode(): name for name in _TAGS}


class ChoosyServer(hostile.Server):
    """A key server with `Habits`; ``objects`` are what it holds, by identifier."""

    def __init__(self, directory: Path, address: str, habits: Habits, port: int = 0) -> None:
        self.directory = directory
        self.habits = habits
        self.objects: dict[str, Stored] = {}
        self.versions_used: list[Version] = []
        self._numbers = count(1)
        self._guard = threading.Lock()
        identity = Identity.parse((directory / server_name(address)).read_bytes())
        authority = Identity.parse((directory / AUTHORITY_PRIVATE).read_bytes())
        context = hostile.server_context(identity, clients=authority)
        super().__init__(hostile.tls(context, self._talk), address, port)

    def _talk(self, connection: ssl.SSLSocket, server: hostile.Server) -> None:
        is_discovered = False
        while True:
            request = hostile.read_message(connection)
            self.requests.append(request)
            try:
                with self._guard:
                    answer = self._answer(request, is_discovered)
            except _Closed:
                return
            is_discovered = is_discovered or b"\x42\x00\x5c\x05\0\0\0\4\0\0\0\x1e" in request
            connection.sendall(answer)
            if self.habits.closes:
                connection.unwrap()
                return

    def _answer(self, request: bytes, is_discovered: bool) -> bytes:
        header, *batch = (each.value for each in elements(request[8:]))
        major, minor = (
            _number(header, hostile.PROTOCOL_VERSION, tag) for tag in (hostile.MAJOR, hostile.MINOR)
        )
        version = (major or 0, minor or 0)
        self.versions_used.append(version)
        try:
            self._examine(request, header, batch, version, is_discovered)
            items = [self._item(item, version) for item in batch]
        except _Refused as refused:
            if self.habits.shows:
                version = self.habits.shows
            elif version not in self.habits.versions and self.habits.names_version:
                version = max(self.habits.versions)
            return self._refusal(version, batch, refused.reason)
        answer = self._message(version, items)
        if len(answer) > self.habits.answer_size:
            return self._refusal(version, batch, TOO_LARGE)
        return answer

    def _examine(
        self,
        request: bytes,
        header: bytes,
        batch: Sequence[bytes],
        version: Version,
        is_discovered: bool,
    ) -> None:
        habits = self.habits
        is_discovery = _number(batch[0], hostile.OPERATION) == hostile.DISCOVER_VERSIONS
        if version not in habits.versions + (habits.discovers_in if is_discovery else ()):
            raise _Refused(habits.version_reason)
        if _number(header, hostile.BATCH_COUNT) != len(batch):
            raise _Refused(INVALID_MESSAGE)
        if habits.login is not None:
            value = _inner(header, _LOGIN, 0x420023, 0x420025) or b""
            login = tuple((_inner(value, tag) or b"").decode() for tag in (0x420099, 0x4200A1))
            if login != habits.login:
                raise _Refused(NOT_AUTHENTICATED)
        numbered = [_inner(item, hostile.BATCH_ITEM_ID) is not None for item in batch]
        if habits.strict and (
            (len(batch) == 1 and (numbered[0] or _inner(header, _CONTINUE)))
            or (len(batch) > 1 and not all(numbered))
        ):
            raise _Refused(INVALID_MESSAGE)
        if len(batch) > habits.items or len(request) > habits.request_size:
            raise _Refused(habits.reason)
        if habits.wants_discovery and not is_discovered and not is_discovery:
            raise _Refused(INVALID_MESSAGE)

    def _refusal(self, version: Version, batch: Sequence[bytes], reason: int) -> bytes:
        if self.habits.refuses == "closes":
            raise _Closed
        if self.habits.refuses == "once":
            return self._message(version, [self._failed([], reason)])
        refused = batch if self.habits.refuses == "each" else batch[:1]
        return self._message(version, [self._failed(_head(item), reason) for item in refused])

    def _failed(self, head: list[Element], reason: int) -> list[Element]:
        return hostile.failed(head, reason, self.habits.message)

    def _message(self, version: Version, items: Sequence[list[Element]]) -> bytes:
        header = [
            Element(hostile.PROTOCOL_VERSION, 1, _version(version)),
            Element(0x420092, 9, bytes(8)),
            _integer(hostile.BATCH_COUNT, len(items)),
        ]
        parts = structure(0x42007A, header)
        parts += b"".join(structure(_BATCH_ITEM, item) for item in items)
        return Element(hostile.RESPONSE_MESSAGE, 1, parts).encoding()

    def _item(self, item: bytes, version: Version) -> list[Element]:
        operation = _OPERATIONS[_number(item, hostile.OPERATION) or 0]
        work: Callable[[bytes, Version], list[Element]] = getattr(self, f"_{operation}")
        try:
            payload = work(_inner(item, _PAYLOAD) or b"", version)
        except _Refused as refused:
            return self._failed(_head(item), refused.reason)
        done = b"".join(each.encoding() for each in payload)
        return [
            *_head(item),
            _integer(hostile.RESULT_STATUS, 0, hostile.ENUMERATION),
            Element(hostile.RESULT_MESSAGE, hostile.TEXT, self.habits.message.encode()),
            Element(hostile.RESPONSE_PAYLOAD, 1, done),
        ]

    # Operations

    def _query(self, _payload: bytes, _version: Version) -> list[Element]:
        return []

    def _discover_versions(self, _payload: bytes, _sent: Version) -> list[Element]:
        if not self.habits.discovers:
            raise _Refused(OPERATION_NOT_SUPPORTED)
        listed = self.habits.lists or self.habits.versions
        return [Element(hostile.PROTOCOL_VERSION, 1, _version(each)) for each in listed]

    def _register(self, payload: bytes, _version: Version) -> list[Element]:
        habits = self.habits
        secret = _inner(payload, _SECRET_DATA) or b""
        attributes = list(_attributes(payload))
        if any(name in habits.refused_attributes for name, _ in attributes):
            raise _Refused(INVALID_FIELD)
        if _number(secret, _SECRET_TYPE) not in habits.types:
            raise _Refused(INVALID_FIELD)
        if _number(secret, _KEY_BLOCK, _FORMAT) not in habits.formats:
            raise _Refused(FORMAT_NOT_SUPPORTED)
        kept = [each for each in attributes if each[0] not in habits.forgotten_attributes]
        if habits.lowers_names:
            kept = [(name, _lowered(each) if name == "Name" else each) for name, each in kept]
        identifier = f"object-{next(self._numbers)}"
        state = 2 if habits.activation == "automatic" else 1
        self.objects[identifier] = Stored(kept, secret, state)
        return [_identifier(identifier)]

    def _locate(self, payload: bytes, _version: Version) -> list[Element]:
        habits = self.habits
        wanted = list(_attributes(payload))
        if any(name not in habits.filters for name, _ in wanted):
            raise _Refused(INVALID_FIELD)
        named = [value for name, value in wanted if name == "Name" and not habits.ignores_filter]
        found = [
            identifier
            for identifier, stored in self.objects.items()
            if all(("Name", value) in stored.attributes for value in named)
        ]
        if not found and not habits.finds_nothing:
            raise _Refused(NOT_FOUND)
        start = _number(payload, hostile.OFFSET_ITEMS) or 0
        most = min(habits.page, _number(payload, 0x42004F) or habits.page)
        total = [_integer(hostile.LOCATED_ITEMS, len(found))] if habits.counts else []
        return [*total, *map(_identifier, found[start : start + most])]

    def _get(self, payload: bytes, _version: Version) -> list[Element]:
        identifier, stored = self._find(payload)
        if stored.state != 2 and not self.habits.reads_inactive:
            raise _Refused(PERMISSION_DENIED)
        kind = _integer(_TAGS["Object Type"], 7, hostile.ENUMERATION)
        return [kind, _identifier(identifier), Element(_SECRET_DATA, 1, stored.secret)]

    def _get_attributes(self, payload: bytes, version: Version) -> list[Element]:
        identifier, stored = self._find(payload)
        state = _integer(_TAGS["State"], stored.state, hostile.ENUMERATION)
        kind = _integer(_TAGS["Object Type"], 7, hostile.ENUMERATION)
        attributes = [*stored.attributes, ("State", state), ("Object Type", kind)]
        if version >= (2, 0):
            encoded = b"".join(value.encoding() for _, value in attributes)
            return [_identifier(identifier), Element(_ATTRIBUTES, 1, encoded)]
        return [
            _identifier(identifier),
            *(
                Element(_ATTRIBUTE, 1, _named(name) + _as_value(value))
                for name, value in attributes
            ),
        ]

    def _activate(self, payload: bytes, _version: Version) -> list[Element]:
        identifier, stored = self._find(payload)
        if self.habits.activation == "refused":
            raise _Refused(OPERATION_NOT_SUPPORTED)
        if stored.state != 1:
            raise _Refused(ILLEGAL_OPERATION)
        stored.state = 2
        return [_identifier(identifier)]

    def _revoke(self, payload: bytes, _version: Version) -> list[Element]:
        identifier, stored = self._find(payload)
        stored.state = 3
        return [_identifier(identifier)]

    def _destroy(self, payload: bytes, _version: Version) -> list[Element]:
        identifier, stored = self._find(payload)
        if stored.state == 2:
            raise _Refused(PERMISSION_DENIED)
        del self.objects[identifier]
        return [_identifier(identifier)]

    def _find(self, payload: bytes) -> tuple[str, Stored]:
        identifier = (_inner(payload, hostile.UNIQUE_IDENTIFIER) or b"").decode()
        if identifier not in self.objects:
            raise _Refused(NOT_FOUND)
        return identifier, self.objects[identifier]


def _head(item: bytes) -> list[Element]:
    kept = {hostile.OPERATION, hostile.BATCH_ITEM_ID}
    return [each for each in elements(item) if each.tag in kept]


def _lowered(name: Element) -> Element:
    text, kind = elements(name.value)
    lower = text._replace(value=text.value.lower())
    return name._replace(value=lower.encoding() + kind.encoding())


def _version(version: Version) -> bytes:
    major, minor = version
    return _integer(hostile.MAJOR, major).encoding() + _integer(hostile.MINOR, minor).encoding()


def _identifier(identifier: str) -> Element:
    return Element(hostile.UNIQUE_IDENTIFIER, hostile.TEXT, identifier.encode())


def _named(name: str) -> bytes:
    return Element(_ATTRIBUTE_NAME, hostile.TEXT, name.encode()).encoding()


def _as_value(value: Element) -> bytes:
    return Element(_ATTRIBUTE_VALUE, value.type, value.value).encoding()


@contextmanager
def start(directory: Path, address: str, habits: Habits, port: int = 0) -> Iterator[ChoosyServer]:
    """Run a key server with ``habits`` and the certificates in ``directory``."""
    with ChoosyServer(directory, address, habits, port) as server:
        yield server
