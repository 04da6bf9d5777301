"""Answers of key servers: real ones, hand-made ones that PyKMIP can read, and mutations of both."""

import os
import random
import signal
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kmip.core import enums

from bench import stock
from bench.workshop import free_port
from filer.keyserver.server import KeyServer
from filer.kmip import requests
from filer.kmip.requests import Item, batch_item_id, encode
from filer.kmip.ttlv import Element, elements, structure
from tests.kit import hostile
from tests.kit.pairs import PARENT_TAG, new_pair
from tests.kit.paths import CHECKOUT

STRUCTURE, INTEGER, LONG, ENUMERATION, TEXT, BYTES, DATE = 1, 2, 3, 5, 7, 8, 9


@dataclass(frozen=True)
class Recorded:
    """An answer in the form ``decode`` takes, and its request."""

    name: str
    body: bytes
    items: Sequence[Item]
    first: int = 0


# Real answers


def recorded_from(name: str, server: KeyServer, port: int | None = None) -> list[Recorded]:
    """Return the server's answers to every request that a filer sends, and its refusals.

    ``port`` is that of another server with the same certificates.
    """
    answers: list[Recorded] = []
    sent = 0

    def ask(*items: Item, version: requests.Version = requests.PREFERRED) -> Recorded:
        nonlocal sent
        connection.sendall(encode(items, sent, version))
        body = hostile.read_message(connection)[8:]
        answers.append(Recorded(f"{name}: {items[0].operation.name}", body, items, sent))
        sent += len(items)
        return answers[-1]

    with hostile.connected(server, port) as connection:
        ask(requests.query())
        ask(requests.discover_versions())
        ask(requests.locate_all())
        pairs = [new_pair(tag) for tag in ("filer1", "second", "x" * 64)]
        registered = [ask(requests.register(pair, PARENT_TAG)) for pair in pairs]
        identifiers = [_identifier(each) for each in registered]
        ask(requests.activate(identifiers[0]))
        for version in requests.SPOKEN:
            ask(requests.locate_all(), version=version)
            ask(requests.get_attributes(identifiers[0]), version=version)
            ask(requests.get(identifiers[0]), version=version)
        ask(requests.locate_all(1), version=(1, 4))
        ask(*(requests.locate_name(pair.key_id) for pair in pairs))
        ask(requests.locate_name("0" * 64))
        ask(*map(requests.get_attributes, identifiers))
        ask(*map(requests.get, identifiers))
        ask(*map(requests.get_attributes, identifiers), *map(requests.get, identifiers))
        ask(requests.get("999999"), requests.get_attributes("999999"), requests.get(identifiers[1]))
        ask(requests.activate(identifiers[0]))  # refused: it is already active
        ask(requests.destroy(identifiers[0]))  # refused: it is active
        ask(requests.revoke(identifiers[0]))
        ask(*map(requests.destroy, identifiers))
        ask(*map(requests.get, identifiers))
        # The server does not speak this version, and refuses the whole request.
        unknown = encode([requests.query()], sent).replace(_minor(4), _minor(9))
        connection.sendall(unknown)
        body = hostile.read_message(connection)[8:]
        answers.append(Recorded(f"{name}: version 1.9", body, [requests.query()], sent))
    return answers


def _identifier(answer: Recorded) -> str:
    payload = next(
        each.value
        for each in elements(hostile.Answer.parse(bytes(8) + answer.body).items[0][-1].value)
        if each.tag == hostile.UNIQUE_IDENTIFIER
    )
    return payload.decode()


def _minor(number: int) -> bytes:
    return Element(hostile.MINOR, INTEGER, struct.pack("!I", number)).encoding()


@contextmanager
def stock_server(server: KeyServer, directory: Path) -> Iterator[int]:
    """Run PyKMIP's own server with the certificates of ``server``; yield its port."""
    port = free_port()
    command = stock.command(directory, server.directory, server.address, port)
    with (directory / "errors").open("w+") as errors:
        process = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            if not process.stdout.readline():
                errors.seek(0)
                raise AssertionError(errors.read())
            yield port
        finally:
            # It has a child, and after SIGTERM waits for another connection.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


# Hand-made answers


def tag(name: str) -> int:
    return int(enums.Tags[name].value)


def struct_(name: str, *parts: Element) -> Element:
    return Element(tag(name), STRUCTURE, b"".join(part.encoding() for part in parts))


def number(name: str, value: int, kind: int = ENUMERATION) -> Element:
    return Element(tag(name), kind, value.to_bytes(4, "big", signed=kind == INTEGER))


def text(name: str, value: str) -> Element:
    return Element(tag(name), TEXT, value.encode())


def octets(name: str, value: bytes) -> Element:
    return Element(tag(name), BYTES, value)


def date(name: str) -> Element:
    return Element(tag(name), DATE, struct.pack("!q", 1_700_000_000))


def attribute(name: str, value: Element, index: int | None = None) -> Element:
    indices = [] if index is None else [number("ATTRIBUTE_INDEX", index, INTEGER)]
    valued = Element(tag("ATTRIBUTE_VALUE"), value.type, value.value)
    return struct_("ATTRIBUTE", text("ATTRIBUTE_NAME", name), *indices, valued)


def name_value(name: str) -> Element:
    return struct_("NAME", text("NAME_VALUE", name), number("NAME_TYPE", 1))


KEY_ID = "080CF0C8000000000100000000000000A948EE8604F4598ADFFB185B5BB7FED3"
NAME, GROUP = name_value(KEY_ID), text("OBJECT_GROUP", "filer1")
STATE, KIND = number("STATE", 2), number("OBJECT_TYPE", 7)
DESCRIBED = [
    attribute("Name", NAME),
    attribute("Object Group", GROUP),
    attribute("State", STATE),
    attribute("Object Type", KIND),
]
IDENTIFIER = text("UNIQUE_IDENTIFIER", "1")


def protocol_version(major: int, minor: int) -> Element:
    numbers = (("PROTOCOL_VERSION_MAJOR", major), ("PROTOCOL_VERSION_MINOR", minor))
    return struct_("PROTOCOL_VERSION", *(number(*each, INTEGER) for each in numbers))


def body(
    *answers: Sequence[Element], version: tuple[int, int] = (1, 2), more: Sequence[Element] = ()
) -> bytes:
    """Return the body of an answer with items; ``more`` goes into the header."""
    count = number("BATCH_COUNT", len(answers), INTEGER)
    header = struct_(
        "RESPONSE_HEADER", protocol_version(*version), date("TIME_STAMP"), *more, count
    )
    batch = (structure(tag("RESPONSE_BATCH_ITEM"), list(each)) for each in answers)
    return header.encoding() + b"".join(batch)


def head(item: Item, count: int | None = 0) -> list[Element]:
    """Return the first elements of an item of an answer; without a number if ``count`` is None."""
    numbers = [] if count is None else [octets("UNIQUE_BATCH_ITEM_ID", batch_item_id(count))]
    return [number("OPERATION", item.operation.value), *numbers]


def done(
    item: Item, *payload: Element, count: int | None = 0, more: Sequence[Element] = ()
) -> list[Element]:
    """Return an item that succeeded; ``more`` comes before its payload."""
    status = number("RESULT_STATUS", 0)
    return [*head(item, count), status, *more, struct_("RESPONSE_PAYLOAD", *payload)]


def failed(
    item: Item,
    *,
    status: int = 1,
    reason: int | None = 1,
    message: str | None = None,
    count: int = 0,
) -> list[Element]:
    return [*head(item, count), *failure(status, reason, message)]


def failure(status: int, reason: int | None = None, message: str | None = None) -> list[Element]:
    reasons = [] if reason is None else [number("RESULT_REASON", reason)]
    messages = [] if message is None else [text("RESULT_MESSAGE", message)]
    return [number("RESULT_STATUS", status), *reasons, *messages]


def key_block(*more: Element, material: bytes = b"a secret", kind: int = 2) -> Element:
    value = struct_("KEY_VALUE", octets("KEY_MATERIAL", material))
    return struct_("KEY_BLOCK", number("KEY_FORMAT_TYPE", kind), value, *more)


def secret(block: Element, kind: int = 1) -> Element:
    return struct_("SECRET_DATA", number("SECRET_DATA_TYPE", kind), block)


def hand_made() -> Iterator[Recorded]:
    """Yield answers that PyKMIP can read, with everything that a filer reads, in many forms."""
    query, discover = requests.query(), requests.discover_versions()
    located, attributes, get = (
        requests.locate_all(),
        requests.get_attributes("1"),
        requests.get("1"),
    )

    def one(name: str, item: Item, answer: Sequence[Element], **header: Any) -> Recorded:
        return Recorded(name, body(answer, **header), [item])

    for version in (1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (2, 0):
        for item, payload in (
            (located, [IDENTIFIER]),
            (get, [KIND, IDENTIFIER, secret(key_block())]),
            (requests.activate("1"), [IDENTIFIER]),
            (requests.revoke("1"), [IDENTIFIER]),
            (requests.destroy("1"), [IDENTIFIER]),
            (requests.register(new_pair(key=b"k" * 32), PARENT_TAG), [IDENTIFIER]),
        ):
            yield one(
                f"{item.operation.name} of {version}", item, done(item, *payload), version=version
            )
        described = DESCRIBED
        if version >= (2, 0):
            described = [struct_("ATTRIBUTES", NAME, GROUP, STATE, KIND)]
        yield one(
            f"attributes of {version}",
            attributes,
            done(attributes, IDENTIFIER, *described),
            version=version,
        )
    correlation = [text("SERVER_CORRELATION_VALUE", "s-1")]
    yield one(
        "a correlation value", located, done(located, IDENTIFIER), version=(1, 4), more=correlation
    )

    for name, described in {
        "no attributes": [],
        "attributes in reverse": DESCRIBED[::-1],
        "indices": [attribute("Name", NAME, 0), attribute("State", STATE, 7), DESCRIBED[3]],
        "two names": [*DESCRIBED, attribute("Name", name_value("another"), 1)],
        "two groups": [*DESCRIBED, attribute("Object Group", text("OBJECT_GROUP", "second"), 1)],
        "no state": [DESCRIBED[0], DESCRIBED[3]],
        "an empty name": [attribute("Name", name_value("")), *DESCRIBED[1:]],
        "an empty group": [DESCRIBED[0], attribute("Object Group", text("OBJECT_GROUP", ""))],
        "another application's": [attribute("Name", name_value("volume 7")), *DESCRIBED[1:]],
        "a vendor's text": [*DESCRIBED, attribute("x-Server", text("ATTRIBUTE_VALUE", "node 1"))],
        "dates": [*DESCRIBED, attribute("Initial Date", date("INITIAL_DATE"))],
        "a usage mask": [
            *DESCRIBED,
            attribute("Cryptographic Usage Mask", number("CRYPTOGRAPHIC_USAGE_MASK", 64, INTEGER)),
        ],
    }.items():
        yield one(name, attributes, done(attributes, IDENTIFIER, *described))
    for state in enums.State:
        described = [*DESCRIBED[:2], attribute("State", number("STATE", state.value)), DESCRIBED[3]]
        yield one(f"state {state.name}", attributes, done(attributes, IDENTIFIER, *described))
    for kind in enums.ObjectType:
        described = [*DESCRIBED[:3], attribute("Object Type", number("OBJECT_TYPE", kind.value))]
        yield one(f"object {kind.name}", attributes, done(attributes, IDENTIFIER, *described))

    algorithm = [number("CRYPTOGRAPHIC_ALGORITHM", 3), number("CRYPTOGRAPHIC_LENGTH", 64, INTEGER)]
    wrapped = struct_("KEY_WRAPPING_DATA", number("WRAPPING_METHOD", 1))
    with_attributes = struct_("KEY_VALUE", octets("KEY_MATERIAL", b"a secret"), *DESCRIBED)
    formatted = number("KEY_FORMAT_TYPE", 2)
    for name, block in {
        "an empty key": key_block(material=b""),
        "a raw key": key_block(kind=1),
        "a key of 33 bytes": key_block(material=b"x" * 33),
        "a key with an algorithm": key_block(*algorithm),
        "a key with its attributes": struct_("KEY_BLOCK", formatted, with_attributes),
        "a wrapped key": key_block(wrapped),
        "a compressed key": struct_(
            "KEY_BLOCK",
            formatted,
            number("KEY_COMPRESSION_TYPE", 1),
            struct_("KEY_VALUE", octets("KEY_MATERIAL", b"a secret")),
        ),
    }.items():
        yield one(name, get, done(get, KIND, IDENTIFIER, secret(block)))
    yield one("a seed", get, done(get, KIND, IDENTIFIER, secret(key_block(), kind=2)))
    symmetric = struct_("SYMMETRIC_KEY", key_block(*algorithm, kind=1))
    yield one("a symmetric key", get, done(get, number("OBJECT_TYPE", 2), IDENTIFIER, symmetric))
    other = text("UNIQUE_IDENTIFIER", "2")
    yield one("the key of another object", get, done(get, KIND, other, secret(key_block())))
    yield one("the attributes of another object", attributes, done(attributes, other, *DESCRIBED))
    yield one(
        "the activation of another object",
        requests.activate("1"),
        done(requests.activate("1"), other),
    )

    for name, found in {
        "nothing": [],
        "many": [text("UNIQUE_IDENTIFIER", str(each)) for each in range(50)],
        "one twice": [IDENTIFIER, other, IDENTIFIER],
        "a page": [number("LOCATED_ITEMS", 300, INTEGER), IDENTIFIER, other],
        "a total of none": [number("LOCATED_ITEMS", 0, INTEGER)],
        "a negative total": [number("LOCATED_ITEMS", -1, INTEGER), IDENTIFIER],
    }.items():
        yield one(f"located: {name}", located, done(located, *found))
    versions = [protocol_version(2, 0), protocol_version(1, 4), protocol_version(1, 2)]
    yield one("versions", discover, done(discover, *versions))
    yield one("no versions", discover, done(discover))
    yield one("server information", query, done(query, text("VENDOR_IDENTIFICATION", "acme")))

    for reason in enums.ResultReason:
        yield one(f"refused: {reason.name}", get, failed(get, reason=reason.value, message="no"))
        yield Recorded(
            f"all refused: {reason.name}", body(failure(1, reason.value, "no")), [get, attributes]
        )
    for status in 1, 2, 3:
        yield one(f"status {status}", get, failed(get, status=status, reason=None))
    yield one(
        "a message of a success",
        located,
        done(located, IDENTIFIER, more=failure(0, None, "ok")[1:]),
    )
    yield one("no batch item ID", get, done(get, KIND, IDENTIFIER, secret(key_block()), count=None))
    yield one("no payload", get, [*head(get), number("RESULT_STATUS", 0)])
    yield one("another operation", get, done(attributes, IDENTIFIER, *DESCRIBED))
    yield one("another number", get, done(get, KIND, IDENTIFIER, secret(key_block()), count=1))
    key = done(get, KIND, IDENTIFIER, secret(key_block()), count=1)
    described = done(attributes, IDENTIFIER, *DESCRIBED)
    both = [attributes, get]
    for name, batch in {
        "two items": [described, key],
        "two items in reverse": [key, described],
        "one item twice": [key, key],
        "one of two items": [key],
        "one of two items refused": [described, failed(get, count=1)],
        "both too large": [failed(attributes, reason=2), failed(get, reason=2, count=1)],
        "one of two too large": [described, failed(get, reason=2, count=1)],
    }.items():
        yield Recorded(name, body(*batch), both)
    uncounted = body(described, key).replace(
        number("BATCH_COUNT", 2, INTEGER).encoding(), number("BATCH_COUNT", 1, INTEGER).encoding()
    )
    yield Recorded("an item that is not counted", uncounted, [attributes])


# Mutations

EVIL = "\x1b]0;owned\x07\x9b31m\u202e\u2066\x85\u2028\r\x00\x7f\ud800\udcff"
"""Text that changes a terminal, or is invalid."""


def damaged(data: bytes, randomness: random.Random) -> bytes:
    """Change a few places of ``data``: replace, remove, double or insert bytes."""
    changed = bytearray(data)
    for _ in range(randomness.randint(1, 4)):
        where = randomness.randrange(len(changed) + 1)
        noise = randomness.randbytes(randomness.randint(1, 4))
        match randomness.randrange(4):
            case 0:
                changed[where : where + len(noise)] = noise
            case 1:
                changed[where:where] = noise
            case 2:
                del changed[where : where + randomness.randint(1, 64)]
            case _:
                changed[where:where] = changed[where : where + randomness.randint(1, 64)]
    return bytes(changed)


def meddled(found: Sequence[Element], randomness: random.Random, chance: float) -> list[Element]:
    """Return TTLV elements with some changed, removed, doubled or moved, but well-formed."""
    changed: list[Element] = []
    for element in found:
        value = element.value
        if element.type == STRUCTURE:
            inner = meddled(list(elements(value)), randomness, chance)
            value = b"".join(each.encoding() for each in inner)
        whole = Element(element.tag, element.type, value)
        if randomness.random() >= chance:
            changed.append(whole)
            continue
        values = (
            b"",
            EVIL.encode("utf-8", "surrogatepass"),
            struct.pack("!I", randomness.randrange(64)),
            randomness.randbytes(randomness.choice([1, 8, 33])),
        )
        match randomness.randrange(5):
            case 0:
                pass
            case 1:
                changed += [whole, whole]
            case 2:
                other_tag = randomness.choice([*_TAGS, randomness.randrange(2**24)])
                changed.append(Element(other_tag, whole.type, value))
            case 3:
                kind = randomness.randint(2, 10)
                changed.append(Element(whole.tag, kind, randomness.choice(values)))
            case _:
                other = value if whole.type == STRUCTURE else randomness.choice(values)
                changed.append(Element(whole.tag, whole.type, other))
    if randomness.random() < chance:
        randomness.shuffle(changed)
    return changed


_TAGS = [each.value for each in enums.Tags]


def altered(data: bytes, randomness: random.Random) -> bytes:
    """Change values, but no tag, type or length, so that PyKMIP can read most of the results."""
    places = list(_values(data, 0))
    changed = bytearray(data)
    for start, kind, length in randomness.sample(
        places, min(len(places), randomness.randint(1, 3))
    ):
        if kind in (INTEGER, ENUMERATION):
            new = struct.pack("!I", randomness.choice([0, 1, 2, 3, 5, 7, 10, 11, 54, 2**31]))
        elif kind == TEXT:
            new = bytes(randomness.choice(b"ABab01 ~\n\x7f\xc3") for _ in range(length))
        else:
            new = randomness.randbytes(length)
        changed[start : start + length] = new[:length]
    return bytes(changed)


def _values(data: bytes, start: int) -> Iterator[tuple[int, int, int]]:
    """Yield the position, type and length of each value that is not a structure."""
    for element in elements(data):
        start += 8
        if element.type == STRUCTURE:
            yield from _values(element.value, start)
        elif element.value:
            yield start, element.type, len(element.value)
        start += len(element.value) + -len(element.value) % 8


def mutated(answer: Recorded, seed: int) -> bytes:
    """Return the body of ``answer`` changed in a way that depends on ``seed`` alone."""
    randomness = random.Random(seed)
    match randomness.randrange(4):
        case 0:
            return damaged(answer.body, randomness)
        case 1:
            return altered(answer.body, randomness)
        case _:
            chance = randomness.choice([0.005, 0.02, 0.1])
            found = meddled(list(elements(answer.body)), randomness, chance)
            return b"".join(each.encoding() for each in found)
