"""KMIP requests, encoded by PyKMIP."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
from filer.kmip.ttlv import STRUCTURE, Element

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


@dataclass(frozen=True, repr=False)
class Item:
    """One operation of a request."""

    operation: Any
    payload: Any
    identifier: str | None = None


def query() -> Item:
    """Ask for the server information, the cheapest request."""
    functions = [enums.QueryFunction.QUERY_SERVER_INFORMATION]
    return Item(enums.Operation.QUERY, payloads.QueryRequestPayload(functions))


def discover_versions() -> Item:
    """Ask which versions of KMIP the server speaks."""
    payload = payloads.DiscoverVersionsRequestPayload()
    return Item(enums.Operation.DISCOVER_VERSIONS, payload)


def locate_all(offset: int = 0) -> Item:
    """Ask for all Secret Data objects after the first ``offset``."""
    return _locate([], offset)


def locate_name(key_id: str, offset: int = 0) -> Item:
    """Ask for all objects named ``key_id`` after the first ``offset``."""
    return _locate([_attribute(enums.AttributeType.NAME, key_id)], offset)


def get_attributes(identifier: str) -> Item:
    """Ask for the attributes of an object."""
    names = [attribute.value for attribute in DESCRIBED_BY]
    payload = payloads.GetAttributesRequestPayload(identifier, names)
    return Item(enums.Operation.GET_ATTRIBUTES, payload, identifier)


def get(identifier: str) -> Item:
    """Ask for the authentication key in an object."""
    payload = payloads.GetRequestPayload(unique_identifier=identifier)
    return Item(enums.Operation.GET, payload, identifier)


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
    return Item(enums.Operation.REGISTER, payload)


def activate(identifier: str) -> Item:
    """Ask to activate an object."""
    payload = payloads.ActivateRequestPayload(attributes.UniqueIdentifier(identifier))
    return Item(enums.Operation.ACTIVATE, payload, identifier)


def revoke(identifier: str) -> Item:
    """Ask to revoke an object, with the reason *cessation of operation*."""
    payload = payloads.RevokeRequestPayload(
        attributes.UniqueIdentifier(identifier), objects.RevocationReason(_REVOCATION)
    )
    return Item(enums.Operation.REVOKE, payload, identifier)


def destroy(identifier: str) -> Item:
    """Ask to destroy an object."""
    payload = payloads.DestroyRequestPayload(attributes.UniqueIdentifier(identifier))
    return Item(enums.Operation.DESTROY, payload, identifier)


def encode(items: Sequence[Item], first: int, version: Version = SPOKEN) -> bytes:
    """Return an encoded request that consists of ``items``, numbered from ``first``."""
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
    batch = (
        messages.RequestBatchItem(
            operation=contents.Operation(item.operation),
            unique_batch_item_id=contents.UniqueBatchItemID(batch_item_id(number)),
            request_payload=item.payload,
        )
        for number, item in enumerate(items, first)
    )
    # PyKMIP's stream copies its whole buffer on each write, so each part gets its own stream.
    parts = b"".join(_encoding(part, version) for part in (header, *batch))
    return Element(enums.Tags.REQUEST_MESSAGE.value, STRUCTURE, parts).encoding()


def _encoding(part: Any, version: Version) -> bytes:
    stream = BytearrayStream()
    part.write(stream, _VERSIONS[version])
    return bytes(stream.buffer)


def batch_item_id(number: int) -> bytes:
    """Return the ID of item ``number`` of the conversation; the answer repeats it."""
    return number.to_bytes(8, "big")


def _locate(wanted: Sequence[Any], offset: int) -> Item:
    kind = _attribute(enums.AttributeType.OBJECT_TYPE, enums.ObjectType.SECRET_DATA)
    payload = payloads.LocateRequestPayload(offset_items=offset or None, attributes=[kind, *wanted])
    return Item(enums.Operation.LOCATE, payload)


def _attribute(kind: Any, value: Any) -> Any:
    return AttributeFactory().create_attribute(kind, value)
