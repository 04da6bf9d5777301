"""KMIP 1.2 requests, as PyKMIP encodes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from filer.keytable import KeyPair
from filer.pykmip import (
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
from filer.ttlv import STRUCTURE, Element

MAXIMUM_ANSWER = 4 * 1024 * 1024
"""Bytes of the largest answer that is asked for, and read."""

NAMESPACE = "filer"
"""Namespace of the Application Specific Information that marks a filer's objects."""

DESCRIBED_BY = (
    enums.AttributeType.NAME,
    enums.AttributeType.OBJECT_GROUP,
    enums.AttributeType.APPLICATION_SPECIFIC_INFORMATION,
    enums.AttributeType.STATE,
    enums.AttributeType.OBJECT_TYPE,
)
"""The attributes by which a key pair is known again."""

_VERSION = enums.KMIPVersion.KMIP_1_2
_REVOCATION = enums.RevocationReasonCode.CESSATION_OF_OPERATION


@dataclass(frozen=True, repr=False)
class Item:
    """One operation of a request."""

    operation: Any
    payload: Any
    identifier: str | None = None


def query() -> Item:
    """Ask who the server is, the least that can be asked."""
    functions = [enums.QueryFunction.QUERY_SERVER_INFORMATION]
    return Item(enums.Operation.QUERY, payloads.QueryRequestPayload(functions))


def locate_system(parent_tag: str) -> Item:
    """Ask for all key pairs of a system."""
    return _locate(_application(parent_tag))


def locate_name(key_id: str) -> Item:
    """Ask for all objects with one name."""
    return _locate(_attribute(enums.AttributeType.NAME, key_id))


def get_attributes(identifier: str) -> Item:
    """Ask for the description of an object."""
    names = [attribute.value for attribute in DESCRIBED_BY]
    payload = payloads.GetAttributesRequestPayload(identifier, names)
    return Item(enums.Operation.GET_ATTRIBUTES, payload, identifier)


def get(identifier: str) -> Item:
    """Ask for the authentication key in an object."""
    payload = payloads.GetRequestPayload(unique_identifier=identifier)
    return Item(enums.Operation.GET, payload, identifier)


def register(pair: KeyPair, parent_tag: str) -> Item:
    """Ask to keep a key pair, in the form that *Storage Array with Self-Encrypting Drives* has."""
    mask = [enums.CryptographicUsageMask.EXPORT]
    template = objects.TemplateAttribute(
        attributes=[
            _attribute(enums.AttributeType.NAME, pair.key_id),
            _attribute(enums.AttributeType.OBJECT_GROUP, pair.tag),
            _application(parent_tag),
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
    """Ask to revoke an object because it is no longer used."""
    payload = payloads.RevokeRequestPayload(
        attributes.UniqueIdentifier(identifier), objects.RevocationReason(_REVOCATION)
    )
    return Item(enums.Operation.REVOKE, payload, identifier)


def destroy(identifier: str) -> Item:
    """Ask to destroy an object."""
    payload = payloads.DestroyRequestPayload(attributes.UniqueIdentifier(identifier))
    return Item(enums.Operation.DESTROY, payload, identifier)


def encode(items: Sequence[Item], first: int) -> bytes:
    """Return the request that consists of ``items``, which are numbered from ``first``."""
    continue_option = enums.BatchErrorContinuationOption.CONTINUE
    header = messages.RequestHeader(
        protocol_version=contents.ProtocolVersion(1, 2),
        maximum_response_size=contents.MaximumResponseSize(MAXIMUM_ANSWER),
        batch_error_cont_option=contents.BatchErrorContinuationOption(continue_option),
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
    # A stream of PyKMIP copies all it holds with each write: one for each part.
    parts = b"".join(map(_encoding, (header, *batch)))
    return Element(enums.Tags.REQUEST_MESSAGE.value, STRUCTURE, parts).encoding()


def _encoding(part: Any) -> bytes:
    stream = BytearrayStream()
    part.write(stream, _VERSION)
    return bytes(stream.buffer)


def batch_item_id(number: int) -> bytes:
    """Return what ties an item of the answer to item ``number`` of the conversation."""
    return number.to_bytes(8, "big")


def _locate(attribute: Any) -> Item:
    kind = _attribute(enums.AttributeType.OBJECT_TYPE, enums.ObjectType.SECRET_DATA)
    return Item(enums.Operation.LOCATE, payloads.LocateRequestPayload(attributes=[kind, attribute]))


def _application(parent_tag: str) -> Any:
    return _attribute(
        enums.AttributeType.APPLICATION_SPECIFIC_INFORMATION,
        {"application_namespace": NAMESPACE, "application_data": parent_tag},
    )


def _attribute(kind: Any, value: Any) -> Any:
    return AttributeFactory().create_attribute(kind, value)
