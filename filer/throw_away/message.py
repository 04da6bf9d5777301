"""KMIP requests of any version, some of them wrong on purpose, and answers element by element."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from filer.host.text import printable
from filer.kmip.login import Login
from filer.kmip.messages import BytearrayStream, enums
from filer.kmip.requests import MAXIMUM_ANSWER, SPOKEN, Item, Version, batch_item_id, encode
from filer.kmip.ttlv import (
    BYTE_STRING,
    ENUMERATION,
    HEADER_LENGTH,
    INTEGER,
    STRUCTURE,
    TEXT_STRING,
    Element,
    MalformedTtlv,
    elements,
    structure_length,
)

LONG_INTEGER, DATE_TIME = 3, 9

Tags = enums.Tags
Reason = enums.ResultReason

NEWER: tuple[Version, ...] = ((2, 1),)
"""Versions that a filer does not speak; they are tried in the last encoding that it knows."""

LAST_ENCODING: Version = max(SPOKEN)


def integer(tag: Any, value: int) -> Element:
    """Return an element of the type Integer."""
    return Element(tag.value, INTEGER, value.to_bytes(4, "big", signed=True))


def enumeration(tag: Any, member: Any) -> Element:
    """Return an element of the type Enumeration."""
    return Element(tag.value, ENUMERATION, member.value.to_bytes(4, "big"))


def text(tag: Any, value: str) -> Element:
    """Return an element of the type Text String."""
    return Element(tag.value, TEXT_STRING, value.encode())


def structure(tag: Any, *parts: Element) -> Element:
    """Return an element of the type Structure."""
    return Element(tag.value, STRUCTURE, b"".join(part.encoding() for part in parts))


def protocol_version(version: Version) -> Element:
    """Return a protocol version."""
    return structure(
        Tags.PROTOCOL_VERSION,
        integer(Tags.PROTOCOL_VERSION_MAJOR, version[0]),
        integer(Tags.PROTOCOL_VERSION_MINOR, version[1]),
    )


@dataclass(frozen=True, repr=False)
class Raw:
    """An operation that a filer does not send, alone in its request: PyKMIP's payload, or ours."""

    operation: Any
    payload: Any

    def encoded(self, version: Version) -> Element:
        """Return the batch item in the encoding of ``version``."""
        payload = self.payload
        if not isinstance(payload, Element):
            stream = BytearrayStream()
            payload.write(stream, enums.KMIPVersion["KMIP_{}_{}".format(*version)])
            (payload,) = elements(bytes(stream.buffer))
        return structure(
            Tags.REQUEST_BATCH_ITEM, enumeration(Tags.OPERATION, self.operation), payload
        )


def request(
    items: Sequence[Item | Raw],
    version: Version,
    *,
    most: int = MAXIMUM_ANSWER,
    numbers: bool = False,
    login: Login | None = None,
) -> bytes:
    """Return a request; one item has no Batch Error Continuation Option, and an ID if ``numbers``.

    ``most`` is the Maximum Response Size in bytes.
    """
    encoding = min(version, LAST_ENCODING)
    match items:
        case [Raw() as raw]:
            batch = [raw.encoded(encoding)]
        case _:
            filers = [each for each in items if isinstance(each, Item)]
            _, *batch = elements(encode(filers, 0, encoding)[HEADER_LENGTH:])
    if numbers and len(batch) == 1:
        operation, *others = elements(batch[0].value)
        number = Element(Tags.UNIQUE_BATCH_ITEM_ID.value, BYTE_STRING, batch_item_id(0))
        batch = [structure(Tags.REQUEST_BATCH_ITEM, operation, number, *others)]
    header = [protocol_version(version), integer(Tags.MAXIMUM_RESPONSE_SIZE, most)]
    if login is not None:
        header.append(_authentication(login))
    if len(batch) > 1:
        option = enums.BatchErrorContinuationOption.CONTINUE
        header.append(enumeration(Tags.BATCH_ERROR_CONTINUATION_OPTION, option))
    header.append(integer(Tags.BATCH_COUNT, len(batch)))
    head = structure(Tags.REQUEST_HEADER, *header)
    return structure(Tags.REQUEST_MESSAGE, head, *batch).encoding()


def _authentication(login: Login) -> Element:
    credential = structure(
        Tags.CREDENTIAL_VALUE,
        text(Tags.USERNAME, login.user),
        text(Tags.PASSWORD, login.password.reveal().decode()),
    )
    kind = enumeration(Tags.CREDENTIAL_TYPE, enums.CredentialType.USERNAME_AND_PASSWORD)
    return structure(Tags.AUTHENTICATION, structure(Tags.CREDENTIAL, kind, credential))


class Structure:
    """The elements of a structure.  Raises MalformedTtlv."""

    def __init__(self, value: bytes) -> None:
        self._elements = list(elements(value))

    def __iter__(self) -> Iterator[Element]:
        return iter(self._elements)

    def all(self, tag: Any) -> list[Element]:
        return [each for each in self._elements if each.tag == tag.value]

    def within(self, *tags: Any) -> "Structure":
        """Return a structure inside, an empty one if it is missing."""
        inside = self
        for tag in tags:
            found = [each for each in inside.all(tag) if each.type == STRUCTURE]
            inside = Structure(found[0].value if found else b"")
        return inside

    def value(self, tag: Any) -> bytes | None:
        """Return the value of the first element ``tag``."""
        return next((each.value for each in self.all(tag)), None)

    def text(self, tag: Any) -> str | None:
        value = self.value(tag)
        return None if value is None else value.decode(errors="replace")

    def texts(self, tag: Any) -> list[str]:
        return [each.value.decode(errors="replace") for each in self.all(tag)]

    def number(self, tag: Any) -> int | None:
        """Return an Integer, Enumeration, Long Integer or Date-Time."""
        value = self.value(tag)
        return None if value is None else int.from_bytes(value, "big", signed=True)


@dataclass(frozen=True, repr=False)
class AnswerItem:
    """The answer to one item; ``operation`` is None if the whole request was refused."""

    operation: int | None
    number: bytes | None
    status: int | None
    reason: int | None
    message: str | None
    payload: Structure

    @property
    def succeeded(self) -> bool:
        return bool(self.status == enums.ResultStatus.SUCCESS.value)

    def refused_with(self, *reasons: Any) -> bool:
        """Return whether the item was refused for one of ``reasons``."""
        return not self.succeeded and self.reason in {reason.value for reason in reasons}

    @property
    def identifier(self) -> str:
        """The identifier of the object in the answer, or ""."""
        return self.payload.text(Tags.UNIQUE_IDENTIFIER) or ""

    def outcome(self, *, with_message: bool = True) -> str:
        """Return the outcome in words; without the message if the request carried a key."""
        if self.succeeded:
            return "success"
        words = reason_words(self.reason)
        return f"{words} ({printable(self.message)})" if with_message and self.message else words


def reason_words(reason: int | None) -> str:
    """Return a result reason in words."""
    for known in enums.ResultReason:
        if known.value == reason:
            return str(known.name).lower().replace("_", " ")
    return "operation failed" if reason is None else f"result reason {reason:#x}"


@dataclass(frozen=True, repr=False)
class Answer:
    """An answer; ``time`` is its Time Stamp in seconds since 1970."""

    version: Version
    time: int | None
    items: Sequence[AnswerItem]
    size: int

    @property
    def refusal(self) -> AnswerItem | None:
        """The refusal of the whole request, or None."""
        if len(self.items) == 1 and self.items[0].operation is None:
            return None if self.items[0].succeeded else self.items[0]
        return None

    def in_order(self, count: int) -> list[AnswerItem | None]:
        """Return the answers to the ``count`` items of the request; None for a missing one."""
        if count == 1 and len(self.items) == 1:
            return list(self.items)
        by_number = {item.number: item for item in self.items}
        return [by_number.get(batch_item_id(place)) for place in range(count)]


def answer(data: bytes, *, messages: bool = True) -> Answer:
    """Parse an answer; without the server's ``messages``, which may quote what it was sent.

    Raises MalformedTtlv.
    """
    whole = Structure(data[HEADER_LENGTH:])
    structure_length(data[:HEADER_LENGTH], Tags.RESPONSE_MESSAGE.value)
    header = whole.within(Tags.RESPONSE_HEADER)
    version = header.within(Tags.PROTOCOL_VERSION)
    major, minor = (
        version.number(Tags.PROTOCOL_VERSION_MAJOR),
        version.number(Tags.PROTOCOL_VERSION_MINOR),
    )
    items = [_item(Structure(each.value), messages) for each in whole.all(Tags.RESPONSE_BATCH_ITEM)]
    if major is None or minor is None or header.number(Tags.BATCH_COUNT) != len(items):
        raise MalformedTtlv
    return Answer((major, minor), header.number(Tags.TIME_STAMP), items, len(data))


def _item(fields: Structure, messages: bool) -> AnswerItem:
    return AnswerItem(
        fields.number(Tags.OPERATION),
        fields.value(Tags.UNIQUE_BATCH_ITEM_ID),
        fields.number(Tags.RESULT_STATUS),
        fields.number(Tags.RESULT_REASON),
        fields.text(Tags.RESULT_MESSAGE) if messages else None,
        fields.within(Tags.RESPONSE_PAYLOAD),
    )
