"""A small KMIP server, written for the tests of filer-qualify, with one defect at a time.

It has its own store in memory, and shares no code with the trial key server: ``filer.kmip.ttlv``
splits and joins elements, and everything else is here. Without a defect it does what the standard
says. ``DEFECTS`` names the check that must find each defect::

    with defective.start(directory, "127.0.0.2", "it strips blanks") as server:
        ...  # server.address, server.port
"""

import socket
import ssl
import struct
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import NamedTuple, Self

from filer.keyserver.authority import server_name
from filer.kmip.ttlv import Element, elements, structure
from filer.registration.pem import CLIENT, ca_name

INTEGER, ENUMERATION, TEXT, BYTES, DATE, STRUCTURE = 2, 5, 7, 8, 9, 1

# Operations
REGISTER, LOCATE, GET, GET_ATTRIBUTES, ADD_ATTRIBUTE = 3, 8, 10, 11, 13
GET_ATTRIBUTE_LIST, ACTIVATE, REVOKE, DESTROY, QUERY, DISCOVER_VERSIONS = 12, 18, 19, 20, 24, 30
OFFERED = (
    REGISTER,
    LOCATE,
    GET,
    GET_ATTRIBUTES,
    GET_ATTRIBUTE_LIST,
    ADD_ATTRIBUTE,
    ACTIVATE,
    REVOKE,
    DESTROY,
    QUERY,
)

# Reasons
NOT_FOUND, TOO_LARGE, INVALID_MESSAGE, NOT_SUPPORTED, INVALID_FIELD = 1, 2, 4, 5, 7
FEATURE, PERMISSION_DENIED, GENERAL_FAILURE = 8, 12, 256

SECRET_DATA, SYMMETRIC_KEY, TEMPLATE = 7, 2, 6
PRE_ACTIVE, ACTIVE, DEACTIVATED = 1, 2, 3
FAILED, SUCCESS = 1, 0
VERSIONS = ((1, 4), (1, 3), (1, 2), (1, 1), (1, 0))
_HOUR = 3600
_REQUESTS_OF_A_CONNECTION = 8
_LONGEST_REQUEST = 32 * 1024
_PAIRS_OF_ITEMS = 3
_IGNORE_DATES = 0x200000  # X509_V_FLAG_NO_CHECK_TIME

DEFECTS: Mapping[str, str] = {
    "it accepts TLS 1.1": "tls-versions",
    "it speaks TLS 1.1 only": "tls-versions",
    "it wants no client certificate": "client-certificate",
    "it accepts expired client certificates": "client-certificate",
    "it speaks KMIP 3.0 only": "versions",
    "it has no Get Attributes in its list": "capabilities",
    "it has no Secret Data in its list": "capabilities",
    "it refuses Query": "capabilities",
    "Activate does nothing": "lifecycle",
    "a second Activate deactivates": "lifecycle",
    "it refuses Revoke": "lifecycle",
    "it refuses Destroy of an active object as a general failure": "lifecycle",
    "it wants an ID for a single item": "single-item",
    "it refuses an empty result": "empty-locate",
    "it changes the last byte of a secret": "register-read-back",
    "it loses the group": "register-read-back",
    "it stores nothing": "register-read-back",
    "it strips blanks": "key-shapes",
    "it fills up short secrets": "key-shapes",
    "it makes names upper-case": "text-limits",
    "it cuts groups to 32 characters": "text-limits",
    "Locate ignores the name": "filters",
    "Locate ignores the group": "filters",
    "Locate ignores the type": "filters",
    "it has a state of its own": "attributes",
    "it does not show the type": "attributes",
    "it lists ten objects at most": "locate-complete",
    "it stops a batch at a failure": "batches",
    "it ignores the maximum response size": "response-limit",
    "it refuses an item as too long with another reason": "response-limit",
    "it drops long requests": "request-limit",
    "it is slow": "pairs-in-time",
    "it mixes up the secrets of a batch": "pairs-in-time",
    "it is slow among objects of others": "crowded-server",
    "it fails on long connections": "connections",
    "it shows objects to everybody": "isolation",
    "it lets everybody destroy": "isolation",
    "it hides the keys from the partner": "ha-partner",
    "it does not replicate": "replication",
    "its clock is an hour slow": "clock",
    "Destroy does nothing": "clean-up",
    "it refuses custom attributes": "oasis-profile",
}
"""The check that finds each defect."""

TALKATIVE = "it repeats the secret in every text"
"""Not a defect that a check is there for."""


class Refused(Exception):
    """An item, or with ``whole`` the request, is refused."""

    def __init__(self, reason: int, text: str = "refused", *, whole: bool = False) -> None:
        super().__init__(text)
        self.reason, self.text, self.whole = reason, text, whole


class Attribute(NamedTuple):
    name: str
    value: Element


@dataclass(repr=False)
class Stored:
    owner: str
    kind: int
    content: Element
    attributes: list[Attribute]
    state: int = PRE_ACTIVE

    def material(self) -> bytes:
        (block,) = _all(self.content.value, 0x420040)
        return _one(_one(block.value, 0x420045).value, 0x420043).value


@dataclass
class Store:
    """The objects of one or several addresses."""

    objects: dict[str, Stored] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    secrets: list[bytes] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    """The secrets and names that were ever registered."""


@dataclass
class Server:
    """A key server at ``address``; ``spent`` is the simulated time that its requests took."""

    directory: Path
    address: str
    defect: str = ""
    port: int = 0
    store: Store = field(default_factory=Store)
    spent: float = 0.0
    on_register: Callable[[str], None] = lambda name: None
    on_request: Callable[[], None] = lambda: None
    _mixes: bool = False
    _previous: bytes = b""
    _open: set[socket.socket] = field(default_factory=set)
    _guard: threading.RLock = field(default_factory=threading.RLock)

    def __enter__(self) -> Self:
        self._context = self._tls()
        self._listener = socket.create_server((self.address, self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    # TLS

    def _tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.directory / server_name(self.address), password="")
        context.load_verify_locations(self.directory / ca_name(self.address))
        context.verify_mode = ssl.CERT_REQUIRED
        context.num_tickets = 0
        if "TLS 1.1" in self.defect:
            context.set_ciphers("DEFAULT:@SECLEVEL=0")
            with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
                context.minimum_version = ssl.TLSVersion.TLSv1_1
        if self.defect == "it speaks TLS 1.1 only":
            with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
                context.maximum_version = ssl.TLSVersion.TLSv1_1
        if self.defect == "it wants no client certificate":
            context.verify_mode = ssl.CERT_OPTIONAL
        if self.defect == "it accepts expired client certificates":
            context.verify_flags |= ssl.VerifyFlags(_IGNORE_DATES)
        return context

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        self._open.add(plain)
        try:
            plain.settimeout(120)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            with plain, self._context.wrap_socket(plain, server_side=True) as connection:
                subject = (connection.getpeercert() or {}).get("subject", ())
                client = dict(each[0] for each in subject).get("commonName", "")  # type: ignore[misc]
                for number in count(1):
                    head = _exactly(connection, 8)
                    (length,) = struct.unpack("!I", head[4:])
                    body = _exactly(connection, length)
                    if self.defect == "it drops long requests" and length > _LONGEST_REQUEST:
                        return
                    self.on_request()
                    answer = self.answer(body, client)
                    long = number > _REQUESTS_OF_A_CONNECTION
                    if long and self.defect == "it fails on long connections":
                        answer = b"no KMIP" * 10
                    connection.sendall(answer)
        except (OSError, EOFError, ValueError):
            pass
        finally:
            self._open.discard(plain)

    # Requests

    def answer(self, body: bytes, client: str) -> bytes:
        header, *items = elements(body)
        version = _one(header.value, 0x420069)
        shown = version
        limit = next((_number(each) for each in _all(header.value, 0x420050)), 0)
        try:
            shown = self._accepted(header, items, version)
            answers = self._batch(items, client)
        except Refused as whole:
            answers = [_structure(0x42000F, *_failure(whole))]
        message = self._message(shown, answers)
        if limit and len(message) > limit and self.defect != "it ignores the maximum response size":
            other = self.defect == "it refuses an item as too long with another reason"
            refused = Refused(GENERAL_FAILURE if other else TOO_LARGE, "too large")
            message = self._message(shown, [_structure(0x42000F, *_failure(refused))])
        return message

    def _accepted(self, header: Element, items: list[Element], version: Element) -> Element:
        """Check the form of a request; return the version of the answer."""
        spoken = (_number(each) for each in elements(version.value))
        if self.defect == "it speaks KMIP 3.0 only":
            raise Refused(INVALID_MESSAGE, "protocol version", whole=True)
        if tuple(spoken) not in VERSIONS:
            raise Refused(INVALID_MESSAGE, "protocol version", whole=True)
        several = len(items) > 1
        continues = bool(_all(header.value, 0x42000E))
        if _number(_one(header.value, 0x42000D)) != len(items) or (continues and not several):
            raise Refused(INVALID_MESSAGE, "header", whole=True)
        numbered = [bool(_all(each.value, 0x420093)) for each in items]
        if several and not all(numbered):
            raise Refused(INVALID_MESSAGE, "batch item IDs", whole=True)
        if self.defect == "it wants an ID for a single item" and not all(numbered):
            raise Refused(INVALID_MESSAGE, "batch item ID", whole=True)
        return version

    def _batch(self, items: list[Element], client: str) -> list[Element]:
        answers = []
        for item in items:
            operation = _one(item.value, 0x42005C)
            head = [operation, *_all(item.value, 0x420093)]
            try:
                with self._guard:
                    self._mixes = "mixes up" in self.defect and len(items) > _PAIRS_OF_ITEMS
                    payload = self._do(_number(operation), _one(item.value, 0x420079), client)
                tail = [_enum(0x42007F, SUCCESS), _structure(0x42007C, *payload)]
            except Refused as refused:
                tail = _failure(refused)
            answers.append(_structure(0x42000F, *head, *tail))
            failed = _number(tail[0]) == FAILED
            if failed and self.defect == "it stops a batch at a failure":
                break
        return answers

    def _message(self, version: Element, answers: list[Element]) -> bytes:
        slow = _HOUR if self.defect == "its clock is an hour slow" else 0
        now = struct.pack("!q", int(time.time()) - slow)
        head = [version, Element(0x420092, DATE, now), _integer(0x42000D, len(answers))]
        return structure(0x42007B, [_structure(0x42007A, *head), *answers])

    def _do(self, operation: int, payload: Element, client: str) -> list[Element]:
        if operation == QUERY:
            return self._query(payload)
        if operation == DISCOVER_VERSIONS:
            return [
                _structure(0x420069, _integer(0x42006A, major), _integer(0x42006B, minor))
                for major, minor in VERSIONS
            ]
        if operation == REGISTER:
            return self._register(payload, client)
        if operation == LOCATE:
            return self._locate(payload, client)
        doing = {
            GET: self._get,
            GET_ATTRIBUTES: self._get_attributes,
            ACTIVATE: self._activate,
            REVOKE: self._revoke,
            DESTROY: self._destroy,
        }.get(operation)
        if doing is None:
            raise Refused(NOT_SUPPORTED)
        identifier = _one(payload.value, 0x420094)
        name = identifier.value.decode()
        found = self.store.objects.get(name)
        everybody = operation == DESTROY and self.defect == "it lets everybody destroy"
        if found is None or not (everybody or self._may_see(found, client)):
            raise Refused(NOT_FOUND)
        return [identifier, *doing(name, found, payload)]

    def _may_see(self, found: Stored, client: str) -> bool:
        if self.defect == "it shows objects to everybody":
            return True
        if "partner" in client and self.defect != "it hides the keys from the partner":
            return found.owner == "filer"
        return found.owner == client

    # Operations

    def _query(self, payload: Element) -> list[Element]:
        if self.defect == "it refuses Query":
            raise Refused(NOT_SUPPORTED)
        asked = [_number(each) for each in _all(payload.value, 0x420074)]
        operations = [each for each in OFFERED if 1 in asked]
        kinds = [each for each in (SECRET_DATA, SYMMETRIC_KEY, TEMPLATE) if 2 in asked]
        if self.defect == "it has no Get Attributes in its list" and operations:
            operations.remove(GET_ATTRIBUTES)
        if self.defect == "it has no Secret Data in its list" and kinds:
            kinds.remove(SECRET_DATA)
        return [
            *(_enum(0x42005C, each) for each in operations),
            *(_enum(0x420057, each) for each in kinds),
            Element(0x42009D, TEXT, b"defective"),
        ]

    def _register(self, payload: Element, client: str) -> list[Element]:
        kind = _number(_one(payload.value, 0x420057))
        (content,) = _all(payload.value, 0x420085 if kind == SECRET_DATA else 0x42008F)
        given = [
            Attribute(_one(each.value, 0x42000A).value.decode(), _one(each.value, 0x42000B))
            for each in _all(_one(payload.value, 0x420091).value, 0x420008)
        ]
        (named,) = (each.value.value for each in given if each.name == "Name")
        name = _one(named, 0x420055).value.decode()
        self.on_register(name)
        if self.defect == TALKATIVE and len(self.store.names) % 2:
            self.store.secrets.append(Stored(client, kind, content, []).material())
            self.store.names.append(name)
            raise Refused(INVALID_FIELD, self.store.secrets[-1].decode())
        custom = any(each.name.startswith("x-") for each in given)
        if custom and self.defect == "it refuses custom attributes":
            raise Refused(INVALID_FIELD, "custom attribute")
        identifier = f"object-{next(self.store.numbers):090}"
        found = Stored(client, kind, content, list(filter(None, map(self._kept, given))))
        self.store.secrets.append(found.material())
        self.store.names.append(name)
        if self.defect != "it stores nothing":
            self.store.objects[identifier] = found
        return [_text(0x420094, identifier)]

    def _kept(self, given: Attribute) -> Attribute | None:
        name, value = given
        if name == "Object Group":
            if self.defect == "it loses the group":
                return None
            if self.defect == "it cuts groups to 32 characters":
                return Attribute(name, Element(value.tag, TEXT, value.value[:32]))
        if name == "Name" and self.defect == "it makes names upper-case":
            parts = [
                Element(
                    each.tag, each.type, each.value.upper() if each.type == TEXT else each.value
                )
                for each in elements(value.value)
            ]
            return Attribute(name, _structure(value.tag, *parts))
        return given

    def _locate(self, payload: Element, client: str) -> list[Element]:
        wanted = [
            Attribute(_one(each.value, 0x42000A).value.decode(), _one(each.value, 0x42000B))
            for each in _all(payload.value, 0x420008)
        ]
        found = [
            name
            for name, each in reversed(self.store.objects.items())
            if self._may_see(each, client) and all(self._fits(each, one) for one in wanted)
        ]
        if self.defect == "it is slow among objects of others":
            self.spent += sum(each.owner != client for each in self.store.objects.values())
        if not found and self.defect == "it refuses an empty result":
            raise Refused(NOT_FOUND)
        if self.defect == "it lists ten objects at most":
            del found[10:]
        return [_text(0x420094, name) for name in found]

    def _fits(self, found: Stored, wanted: Attribute) -> bool:
        ignored = {
            "Locate ignores the name": "Name",
            "Locate ignores the group": "Object Group",
            "Locate ignores the type": "Object Type",
        }.get(self.defect)
        if wanted.name == ignored:
            return True
        if wanted.name == "Object Type":
            return _number(wanted.value) == found.kind
        return wanted in found.attributes

    def _get(self, name: str, found: Stored, _payload: Element) -> list[Element]:
        if self.defect == "it is slow":
            self.spent += 5
        secret = found.material()
        if self._mixes:
            secret, self._previous = self._previous or secret, secret
        changed = {
            "it changes the last byte of a secret": secret[:-1] + bytes([secret[-1] ^ 1]),
            "it strips blanks": secret.strip(),
            "it fills up short secrets": secret.ljust(32, b"\0"),
        }.get(self.defect, secret)
        (block,) = _all(found.content.value, 0x420040)
        value = _structure(0x420045, Element(0x420043, BYTES, changed))
        parts = [value if each.tag == 0x420045 else each for each in elements(block.value)]
        inside = [
            _structure(0x420040, *parts) if each.tag == 0x420040 else each
            for each in elements(found.content.value)
        ]
        return [_enum(0x420057, found.kind), _structure(found.content.tag, *inside)]

    def _get_attributes(self, _name: str, found: Stored, payload: Element) -> list[Element]:
        asked = [each.value.decode() for each in _all(payload.value, 0x42000A)]
        state = 77 if self.defect == "it has a state of its own" else found.state
        attributes = [*found.attributes, Attribute("State", _enum(0x42000B, state))]
        if self.defect != "it does not show the type":
            attributes.append(Attribute("Object Type", _enum(0x42000B, found.kind)))
        if self.defect == TALKATIVE:
            text = _text(0x42000B, found.material().decode())
            attributes.append(Attribute("x-Comment", text))
            asked.append("x-Comment")
        return [
            _structure(0x420008, _text(0x42000A, each.name), each.value)
            for each in attributes
            if not asked or each.name in asked
        ]

    def _activate(self, _name: str, found: Stored, _payload: Element) -> list[Element]:
        if found.state == ACTIVE and self.defect == "a second Activate deactivates":
            found.state = DEACTIVATED
        if found.state != PRE_ACTIVE:
            raise Refused(PERMISSION_DENIED, "not pre-active")
        if self.defect != "Activate does nothing":
            found.state = ACTIVE
        return []

    def _revoke(self, _name: str, found: Stored, _payload: Element) -> list[Element]:
        if self.defect == "it refuses Revoke":
            raise Refused(PERMISSION_DENIED)
        found.state = DEACTIVATED
        return []

    def _destroy(self, name: str, found: Stored, _payload: Element) -> list[Element]:
        if found.state == ACTIVE:
            general = "general failure" in self.defect
            raise Refused(GENERAL_FAILURE if general else PERMISSION_DENIED, "active")
        if self.defect != "Destroy does nothing":
            del self.store.objects[name]
        return []


def _exactly(connection: ssl.SSLSocket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return data


def _all(value: bytes, tag: int) -> list[Element]:
    return [each for each in elements(value) if each.tag == tag]


def _one(value: bytes, tag: int) -> Element:
    (found,) = _all(value, tag)
    return found


def _number(element: Element) -> int:
    return int.from_bytes(element.value, "big")


def _structure(tag: int, *parts: Element) -> Element:
    return Element(tag, STRUCTURE, b"".join(part.encoding() for part in parts))


def _text(tag: int, text: str) -> Element:
    return Element(tag, TEXT, text.encode())


def _integer(tag: int, number: int) -> Element:
    return Element(tag, INTEGER, struct.pack("!i", number))


def _enum(tag: int, number: int) -> Element:
    return Element(tag, ENUMERATION, struct.pack("!I", number))


def name_of(text: str) -> Element:
    """Return the value of a Name attribute."""
    return _structure(0x42000B, _text(0x420055, text), _enum(0x420054, 1))


def _failure(refused: Refused) -> list[Element]:
    return [
        _enum(0x42007F, FAILED),
        _enum(0x42007E, refused.reason),
        _text(0x42007D, refused.text),
    ]


@contextmanager
def start(directory: Path, address: str, defect: str = "", **more: object) -> Iterator[Server]:
    """Run a server with the certificates in ``directory`` (of ``authority.prepare``)."""
    assert not defect or defect in DEFECTS
    assert (directory / CLIENT).exists()
    with Server(directory, address, defect, **more) as server:  # type: ignore[arg-type]
        yield server
