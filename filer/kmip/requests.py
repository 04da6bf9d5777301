"""KMIP requests, encoded by PyKMIP."""

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

from filer.keys.pair import KeyPair
from filer.kmip.login import Login
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

_VERSIONS = {
    (1, 4): enums.KMIPVersion.KMIP_1_4,
    (1, 3): enums.KMIPVersion.KMIP_1_3,
    (2, 0): enums.KMIPVersion.KMIP_2_0,
    (1, 2): enums.KMIPVersion.KMIP_1_2,
    (1, 1): enums.KMIPVersion.KMIP_1_1,
    (1, 0): enums.KMIPVersion.KMIP_1_0,
}
SPOKEN: tuple[Version, ...] = tuple(_VERSIONS)
"""The versions that the filer speaks, best first.

From 1.3 on, Locate says how many objects there are, and takes an offset.
"""
PREFERRED = SPOKEN[0]

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


class Form(NamedTuple):
    """The form in which a key pair is registered; servers may refuse parts of it."""

    parent_tag: bool = True
    """Application Specific Information with the parent tag."""
    opaque: bool = True
    """Key Format Type Opaque; otherwise Raw."""
    password: bool = True
    """Secret Data Type Password; otherwise Seed."""
    usage_mask: bool = True
    key_tag: bool = True
    """Object Group with the key tag."""


FULL_FORM = Form()


def lesser_forms(refused: Form) -> list[Form]:
    """Return the forms to try after ``refused``, those that give up least first.

    A refusal does not say reliably which part was refused.
    """
    one_less = [refused._replace(**{part: False}) for part in Form._fields]
    several_less = [
        Form(False, False, False, False, refused.key_tag),
        refused._replace(parent_tag=False, key_tag=False),
        Form(False, False, False, False, False),
    ]
    return [form for form in dict.fromkeys([*one_less, *several_less]) if form != refused]


def query() -> Item:
    """Ask for the server information, the cheapest request."""
    return Item(enums.Operation.QUERY, _query)


def discover_versions() -> Item:
    """Ask which versions of KMIP the server speaks."""
    return Item(enums.Operation.DISCOVER_VERSIONS, _discover_versions)


def locate_all(
    offset: int = 0, *, most: int | None = None, filtered: bool = True, tag: str | None = None
) -> Item:
    """Ask for all Secret Data objects after the first ``offset``, at most ``most`` of them.

    Without ``filtered``, ask for objects of any type.  With ``tag``, ask only for those with this
    key tag.
    """
    payload = partial(_locate_payload, offset=offset, most=most, filtered=filtered, tag=tag)
    return Item(enums.Operation.LOCATE, payload)


def locate_name(key_id: str, offset: int = 0, *, filtered: bool = True) -> Item:
    """Ask for all Secret Data objects named ``key_id`` after the first ``offset``.

    Without ``filtered``, ask for objects of any type.
    """
    is_usual = filtered and not offset  # these share one template
    payload = (
        _locate_payload if is_usual else partial(_locate_payload, offset=offset, filtered=filtered)
    )
    return Item(enums.Operation.LOCATE, payload, key_id)


def get_attributes(identifier: str) -> Item:
    """Ask for the attributes of an object."""
    return Item(enums.Operation.GET_ATTRIBUTES, _get_attributes, identifier, identifier)


def get(identifier: str) -> Item:
    """Ask for the authentication key in an object."""
    return Item(enums.Operation.GET, payloads.GetRequestPayload, identifier, identifier)


def register(pair: KeyPair, parent_tag: str, form: Form = FULL_FORM) -> Item:
    """Ask to store a key pair, in the form that the profile describes (``filer.kmip.client``)."""
    kinds, types, formats = enums.AttributeType, enums.SecretDataType, enums.KeyFormatType
    described = [_attribute(kinds.OBJECT_GROUP, pair.tag)] if form.key_tag else []
    described.append(_attribute(kinds.NAME, pair.key_id))
    if form.parent_tag:
        application = {"application_namespace": NAMESPACE, "application_data": parent_tag}
        described.append(_attribute(kinds.APPLICATION_SPECIFIC_INFORMATION, application))
    if form.usage_mask:
        mask = [enums.CryptographicUsageMask.EXPORT]
        described.append(_attribute(kinds.CRYPTOGRAPHIC_USAGE_MASK, mask))
    secret = SecretFactory().create(
        enums.ObjectType.SECRET_DATA,
        {
            "secret_data_type": types.PASSWORD if form.password else types.SEED,
            "key_format_type": formats.OPAQUE if form.opaque else formats.RAW,
            "key_value": pair.key.reveal(),
        },
    )
    template = objects.TemplateAttribute(attributes=described)
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


def encode(
    items: Sequence[Item], first: int, version: Version = PREFERRED, login: Login | None = None
) -> bytes:
    """Return an encoded request that consists of ``items``, numbered from ``first``.

    A request with one item has neither a number nor a Batch Error Continuation Option, which strict
    servers refuse in it (KMIP 1.2, 6.4 and 6.13).
    PyKMIP encodes the header, and one item of each kind as a template.  The other items differ
    from it only in their number and text.  This takes a twentieth of PyKMIP's time, and allows
    identifiers beyond ASCII, which PyKMIP cannot encode.
    """
    is_batch = len(items) > 1
    continue_option = contents.BatchErrorContinuationOption(
        enums.BatchErrorContinuationOption.CONTINUE
    )
    header = messages.RequestHeader(
        protocol_version=contents.ProtocolVersion(*version),
        maximum_response_size=contents.MaximumResponseSize(MAXIMUM_ANSWER),
        authentication=_authentication(login) if login else None,
        batch_error_cont_option=continue_option if is_batch else None,
        batch_count=contents.BatchCount(len(items)),
    )
    batch = (
        _batch_item(item, batch_item_id(number) if is_batch else b"", version)
        for number, item in enumerate(items, first)
    )
    # PyKMIP's stream copies its whole buffer on each write, so each part gets its own stream.
    parts = b"".join([_encoding(header, version), *batch])
    return Element(enums.Tags.REQUEST_MESSAGE.value, STRUCTURE, parts).encoding()


def _authentication(login: Login) -> Any:
    value = objects.UsernamePasswordCredential(login.user, login.password.reveal().decode())
    credential = objects.Credential(enums.CredentialType.USERNAME_AND_PASSWORD, value)
    return contents.Authentication([credential])


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
    """Return the ID of item ``number`` of the conversation; the answer to a batch repeats it."""
    return number.to_bytes(8, "big")


# Payloads, made by module-level functions, which name a template


def _query(_text: str) -> Any:
    return payloads.QueryRequestPayload([enums.QueryFunction.QUERY_SERVER_INFORMATION])


def _discover_versions(_text: str) -> Any:
    return payloads.DiscoverVersionsRequestPayload()


def _locate_payload(
    key_id: str,
    offset: int = 0,
    most: int | None = None,
    filtered: bool = True,
    tag: str | None = None,
) -> Any:
    wanted = []
    if tag is not None:
        wanted.append(_attribute(enums.AttributeType.OBJECT_GROUP, tag))
    if key_id:
        wanted.append(_attribute(enums.AttributeType.NAME, key_id))
    if filtered:
        wanted.append(_attribute(enums.AttributeType.OBJECT_TYPE, enums.ObjectType.SECRET_DATA))
    return payloads.LocateRequestPayload(
        maximum_items=most, offset_items=offset or None, attributes=wanted
    )


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
