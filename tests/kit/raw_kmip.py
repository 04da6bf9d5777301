"""KMIP by the bytes: a codec that shares nothing with the filer's and with PyKMIP's.

``request`` builds any message, valid or not, and ``ask`` returns the outcome of each item::

    answer = raw_kmip.ask(server, raw_kmip.request([raw_kmip.query(1, 2)], version=(1, 4)))
    assert answer.items[0].status == raw_kmip.SUCCESS
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from filer.keyserver.server import KeyServer
from tests.kit import hostile

STRUCTURE, INTEGER, ENUMERATION, BOOLEAN, TEXT, BYTES, DATE = 1, 2, 5, 6, 7, 8, 9

SUCCESS, FAILED = 0, 1
TOO_LARGE, INVALID_MESSAGE, NOT_SUPPORTED, INVALID_FIELD, FEATURE = 2, 4, 5, 7, 8

REGISTER, LOCATE, GET, GET_ATTRIBUTES, ACTIVATE = 3, 8, 10, 11, 18
DESTROY, QUERY, DISCOVER_VERSIONS = 20, 24, 30

VERSION = (1, 4)


def ttlv(tag: int, kind: int, value: bytes) -> bytes:
    """Return one element; ``tag`` is without its first byte, 0x42."""
    return struct.pack("!BHBI", 0x42, tag, kind, len(value)) + value + bytes(-len(value) % 8)


def structure(tag: int, *parts: bytes) -> bytes:
    return ttlv(tag, STRUCTURE, b"".join(parts))


def integer(tag: int, value: int) -> bytes:
    return ttlv(tag, INTEGER, struct.pack("!i", value))


def enumeration(tag: int, value: int) -> bytes:
    return ttlv(tag, ENUMERATION, struct.pack("!I", value))


def boolean(tag: int, value: bool) -> bytes:
    return ttlv(tag, BOOLEAN, struct.pack("!Q", value))


def text(tag: int, value: str) -> bytes:
    return ttlv(tag, TEXT, value.encode())


# Requests


def protocol(version: tuple[int, int]) -> bytes:
    return structure(0x69, integer(0x6A, version[0]), integer(0x6B, version[1]))


def item(operation: int, *fields: bytes, number: int | None = None, after: bytes = b"") -> bytes:
    """Return a batch item with the ``fields`` of its payload; ``after`` follows the payload."""
    ubid = b"" if number is None else ttlv(0x93, BYTES, struct.pack("!I", number))
    return structure(0x0F, enumeration(0x5C, operation), ubid, structure(0x79, *fields), after)


def message(header: Sequence[bytes], items: Sequence[bytes]) -> bytes:
    return structure(0x78, structure(0x77, *header), *items)


def request(
    items: Sequence[bytes],
    *,
    version: tuple[int, int] = VERSION,
    count: int | None = None,
    options: Sequence[bytes] = (),
) -> bytes:
    """Return a request; ``options`` are the header fields between version and batch count."""
    number = len(items) if count is None else count
    return message([protocol(version), *options, integer(0x0D, number)], items)


def query(*functions: int, number: int | None = None) -> bytes:
    return item(QUERY, *(enumeration(0x74, each) for each in functions), number=number)


def get(identifier: str | None, number: int | None = None) -> bytes:
    return item(GET, *([] if identifier is None else [text(0x94, identifier)]), number=number)


def attribute(name: str, value: bytes) -> bytes:
    return structure(0x08, text(0x0A, name), value)


def register(name: str, secret: bytes = b"Secret of a test", *, number: int | None = None) -> bytes:
    """Return an item that registers a password, in KMIP 1."""
    attributes = (
        attribute("Name", structure(0x0B, text(0x55, name), enumeration(0x54, 1))),
        attribute("Cryptographic Usage Mask", integer(0x0B, 0x40)),
    )
    block = structure(0x40, enumeration(0x42, 2), structure(0x45, ttlv(0x43, BYTES, secret)))
    data = structure(0x85, enumeration(0x86, 1), block)
    return item(REGISTER, enumeration(0x57, 7), structure(0x91, *attributes), data, number=number)


def locate(name: str | None = None, *fields: bytes, number: int | None = None) -> bytes:
    named = structure(0x0B, text(0x55, name or ""), enumeration(0x54, 1))
    filters = [] if name is None else [attribute("Name", named)]
    return item(LOCATE, *fields, *filters, number=number)


# Responses


@dataclass(frozen=True)
class Field:
    """An element of a response."""

    tag: int
    kind: int
    value: bytes

    def parts(self) -> list["Field"]:
        return list(fields(self.value))

    def all(self, tag: int) -> list["Field"]:
        return [each for each in self.parts() if each.tag == tag]

    def number(self) -> int:
        return int.from_bytes(self.value, "big")

    def text(self) -> str:
        return self.value.decode()


def fields(data: bytes) -> Iterator[Field]:
    while data:
        first, tag, kind, length = struct.unpack("!BHBI", data[:8])
        assert first == 0x42
        yield Field(tag, kind, data[8 : 8 + length])
        data = data[8 + length + -length % 8 :]


@dataclass(frozen=True)
class Outcome:
    """What a response says of one item."""

    operation: int | None
    number: int | None
    status: int
    reason: int | None
    words: str
    payload: Field | None

    def texts(self, tag: int) -> list[str]:
        assert self.payload is not None, self.words
        return [each.text() for each in self.payload.all(tag)]

    def numbers(self, tag: int) -> list[int]:
        assert self.payload is not None, self.words
        return [each.number() for each in self.payload.all(tag)]

    @property
    def identifiers(self) -> list[str]:
        return self.texts(0x94)


@dataclass(frozen=True)
class Answer:
    """A whole response."""

    version: tuple[int, int]
    count: int
    items: list[Outcome]

    @property
    def refusal(self) -> tuple[int | None, str]:
        """The reason and the words of a response that refuses the whole request."""
        (only,) = self.items
        assert (only.operation, only.number, only.status, only.payload) == (
            None,
            None,
            FAILED,
            None,
        )
        return only.reason, only.words


def answer(data: bytes) -> Answer:
    (whole,) = fields(data)
    assert whole.tag == 0x7B
    header, *items = whole.parts()
    version, _, count = header.parts()
    major, minor = (each.number() for each in version.parts())
    return Answer((major, minor), count.number(), [_outcome(each) for each in items])


def _outcome(item: Field) -> Outcome:
    found = {each.tag: each for each in item.parts()}
    return Outcome(
        found[0x5C].number() if 0x5C in found else None,
        found[0x93].number() if 0x93 in found else None,
        found[0x7F].number(),
        found[0x7E].number() if 0x7E in found else None,
        found[0x7D].text() if 0x7D in found else "",
        found.get(0x7C),
    )


def ask(server: KeyServer, *requests: bytes) -> Answer:
    """Send requests over one connection; return the last answer."""
    with hostile.connected(server) as connection:
        for each in requests:
            connection.sendall(each)
            received = hostile.read_message(connection)
    return answer(received)
