"""KMIP requests, encoded by PyKMIP."""

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

from filer.keys.pair import KeyPair
from filer.kmip.messages import (
    AttributeFactory,
    BytearrayStream,
    SecretFactory,
    attributes,
    contents,
    enums,
    messages,
    objects,
    payloads,
)
from filer.kmip.ttlv import BYTE_STRING, STRUCTURE, TEXT_STRING, Element

MAXIMUM_ANSWER = 4 * 1024 * 1024
"""Maximum size in bytes of an answer; sent to the server, and enforced by the reader."""

NAMESPACE = "filer"
"""Namespace of the Application Specific Information on a filer's objects."""

DESCRIBED_BY = (
    enums.AttributeType.NAME,
    enums.AttributeType.OBJECT_GROUP,
    enums.AttributeType.STATE,
    enums.AttributeType.OBJECT_TYPE,
)
"""The attributes that identify a key pair."""

Version = tuple[int, int]
"""Major and minor number of a KMIP version."""

SPOKEN: Version = (1, 2)
WITH_OFFSET: tuple[Version, ...] = ((1, 4), (1, 3))
"""The versions, best first, in which Locate takes an offset to continue an incomplete answer."""

_VERSIONS = {
    SPOKEN: enums.KMIPVersion.KMIP_1_2,
    (1, 3): enums.KMIPVersion.KMIP_1_3,
    (1, 4): enums.KMIPVersion.KMIP_1_4,
}
_REVOCATION = enums.RevocationReasonCode.CESSATION_OF_OPERATION


class Item(NamedTuple):
    """One operation of a request; ``payload`` makes PyKMIP's payload for ``text``."""

    operation: Any
    payload: Callable[[str], Any]
    text: str = ""
    """The identifier of the object, or the name that Locate searches for."""
    identifier: str | None = None
    """The identifier of the object, if the operation is about one that exists."""
    carries_key: bool = False
    """Whether the payload holds a key.  No template is made of it (see `encode`)."""

    def __repr__(self) -> str:
        return f"<{self.operation.name}>"


def query() -> Item:
    """Ask for the server information, the cheapest request."""
    return Item(enums.Operation.QUERY, _query)


def discover_versions() -> Item:
    """Ask which versions of KMIP the server speaks."""
    return Item(enums.Operation.DISCOVER_VERSIONS, _discover_versions)


def locate_all(offset: int = 0) -> Item:
    """Ask for all Secret Data objects after the first ``offset``."""
    return _locate("", offset)


def locate_name(key_id: str, offset: int = 0) -> Item:
    """Ask for all objects named ``key_id`` after the first ``offset``."""
    return _locate(key_id, offset)


def get_attributes(identifier: str) -> Item:
    """Ask for the attributes of an object."""
    return Item(enums.Operation.GET_ATTRIBUTES, _get_attributes, identifier, identifier)


def get(identifier: str) -> Item:
    """Ask for the authentication key in an object."""
    return Item(enums.Operation.GET, payloads.GetRequestPayload, identifier, identifier)


def register(pair: KeyPair, parent_tag: str) -> Item:
    """Ask to store a key pair, in the form that the profile describes (``filer.kmip.client``)."""
    application = {"application_namespace": NAMESPACE, "application_data": parent_tag}
    mask = [enums.CryptographicUsageMask.EXPORT]
    template = objects.TemplateAttribute(
        attributes=[
            _attribute(enums.AttributeType.NAME, pair.key_id),
            _attribute(enums.AttributeType.OBJECT_GROUP, pair.tag),
            _attribute(enums.AttributeType.APPLICATION_SPECIFIC_INFORMATION, application),
            _attribute(enums.AttributeType.CRYPTOGRAPHIC_USAGE_MASK, mask),
        ]
    )
    secret = SecretFactory().create(
        enums.ObjectType.SECRET_DATA,
        {
            "secret_data_type": enums.SecretDataType.PASSWORD,
            "key_format_type": enums.KeyFormatType.OPAQUE,
            "key_value": pair.key.reveal(),
        },
    )
    payload = payloads.RegisterRequestPayload(enums.ObjectType.SECRET_DATA, template, secret)
    return Item(enums.Operation.REGISTER, lambda _text: payload, carries_key=True)


def activate(identifier: str) -> Item:
    """Ask to activate an object."""
    return Item(enums.Operation.ACTIVATE, _activate, identifier, identifier)


def revoke(identifier: str) -> Item:
    """Ask to revoke an object, with the reason *cessation of operation*."""
    return Item(enums.Operation.REVOKE, _revoke, identifier, identifier)


def destroy(identifier: str) -> Item:
    """Ask to destroy an object."""
    return Item(enums.Operation.DESTROY, _destroy, identifier, identifier)


def encode(items: Sequence[Item], first: int, version: Version = SPOKEN) -> bytes:
    """Return an encoded request that consists of ``items``, numbered from ``first``.

    PyKMIP encodes the header, and one item of each kind as a template.  The other items differ
    from it only in their number and text.  This takes a twentieth of PyKMIP's time, and allows
    identifiers beyond ASCII, which PyKMIP cannot encode.
    """
    # A request with one item must not have this option (KMIP 1.2, 6.13).
    continue_option = contents.BatchErrorContinuationOption(
        enums.BatchErrorContinuationOption.CONTINUE
    )
    header = messages.RequestHeader(
        protocol_version=contents.ProtocolVersion(*version),
        maximum_response_size=contents.MaximumResponseSize(MAXIMUM_ANSWER),
        batch_error_cont_option=continue_option if len(items) > 1 else None,
        batch_count=contents.BatchCount(len(items)),
    )
    batch = (_batch_item(item, batch_item_id(n), version) for n, item in enumerate(items, first))
    # PyKMIP's stream copies its whole buffer on each write, so each part gets its own stream.
    parts = b"".join([_encoding(header, version), *batch])
    return Element(enums.Tags.REQUEST_MESSAGE.value, STRUCTURE, parts).encoding()


def _batch_item(item: Item, number: bytes, version: Version) -> bytes:
    """Return an encoded item; without its ID if ``number`` is empty."""
    if item.carries_key:
        return _encoded_by_pykmip(item.operation, item.payload(item.text), number, version)
    text = item.text.encode()
    template = _template(item.operation, item.payload, len(text), len(number), version)
    before, between, after = template
    return b"".join((before, number, between, text, after))


def _encoded_by_pykmip(operation: Any, payload: Any, number: bytes, version: Version) -> bytes:
    item = messages.RequestBatchItem(
        operation=contents.Operation(operation),
        unique_batch_item_id=contents.UniqueBatchItemID(number) if number else None,
        request_payload=payload,
    )
    return _encoding(item, version)


@lru_cache(maxsize=1024)
def _template(
    operation: Any, payload: Callable[[str], Any], length: int, id_length: int, version: Version
) -> tuple[bytes, bytes, bytes]:
    """Return what PyKMIP writes before the item ID, between the ID and the text, and after it.

    ``length`` is that of the text in bytes.  The lengths of all structures depend on it.
    """
    text, number = "\x7f" * length, b"\xfe" * id_length
    whole = _encoded_by_pykmip(operation, payload(text), number, version)
    before, rest = _cut_out(number, BYTE_STRING, whole) if number else (b"", whole)
    between, after = _cut_out(text.encode(), TEXT_STRING, rest) if text else (rest, b"")
    return before, between, after


def _cut_out(value: bytes, kind: int, encoding: bytes) -> tuple[bytes, bytes]:
    """Return what is before and after ``value`` in ``encoding``, which has it once."""
    header = struct.pack("!BI", kind, len(value))
    before, after = encoding.split(header + value)
    return before + header, after


def _encoding(part: Any, version: Version) -> bytes:
    stream = BytearrayStream()
    part.write(stream, _VERSIONS[version])
    return bytes(stream.buffer)


def batch_item_id(number: int) -> bytes:
    """Return the ID of item ``number`` of the conversation; the answer repeats it."""
    return number.to_bytes(8, "big")


def _locate(key_id: str, offset: int) -> Item:
    payload = partial(_locate_payload, offset=offset) if offset else _locate_payload
    return Item(enums.Operation.LOCATE, payload, key_id)


# Payloads, made by module-level functions, which name a template


def _query(_text: str) -> Any:
    return payloads.QueryRequestPayload([enums.QueryFunction.QUERY_SERVER_INFORMATION])


def _discover_versions(_text: str) -> Any:
    return payloads.DiscoverVersionsRequestPayload()


def _locate_payload(key_id: str, offset: int = 0) -> Any:
    wanted = [_attribute(enums.AttributeType.OBJECT_TYPE, enums.ObjectType.SECRET_DATA)]
    if key_id:
        wanted.append(_attribute(enums.AttributeType.NAME, key_id))
    return payloads.LocateRequestPayload(offset_items=offset or None, attributes=wanted)


def _get_attributes(identifier: str) -> Any:
    names = [attribute.value for attribute in DESCRIBED_BY]
    return payloads.GetAttributesRequestPayload(identifier, names)


def _activate(identifier: str) -> Any:
    return payloads.ActivateRequestPayload(attributes.UniqueIdentifier(identifier))


def _revoke(identifier: str) -> Any:
    return payloads.RevokeRequestPayload(
        attributes.UniqueIdentifier(identifier), objects.RevocationReason(_REVOCATION)
    )


def _destroy(identifier: str) -> Any:
    return payloads.DestroyRequestPayload(attributes.UniqueIdentifier(identifier))


def _attribute(kind: Any, value: Any) -> Any:
    return AttributeFactory().create_attribute(kind, value)
