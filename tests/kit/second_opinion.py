"""Compare the decoding of key server answers with PyKMIP's, for pieces that are known to be whole.

``differences`` lists where ``filer.kmip.answers.decode`` reads something else.
"""

from collections.abc import Callable, Sequence
from typing import Any

from kmip.core import enums, objects
from kmip.core.factories.payloads.response import ResponsePayloadFactory
from kmip.core.messages import contents, messages
from kmip.core.utils import BytearrayStream

from filer.keys.authentication_key import AuthenticationKey
from filer.kmip.answers import Description, NotKmip, Outcome, Refusal, RequestRefused, decode
from filer.kmip.requests import Item, batch_item_id
from filer.kmip.ttlv import STRUCTURE, Element, MalformedTtlv, elements, structure

_DESCRIBED_BY = (
    enums.AttributeType.NAME,
    enums.AttributeType.OBJECT_GROUP,
    enums.AttributeType.STATE,
    enums.AttributeType.OBJECT_TYPE,
)
_ITEM_HEAD = (enums.Tags.OPERATION, enums.Tags.UNIQUE_BATCH_ITEM_ID, enums.Tags.RESULT_STATUS)


class CannotTell(Exception):
    """PyKMIP cannot read this."""


def differences(body: bytes, items: Sequence[Item], first: int) -> list[str]:
    """Return where the filer and PyKMIP decode an answer differently, as far as PyKMIP can.

    PyKMIP does not read text beyond ASCII, values that KMIP 1.2 does not have, fields in another
    order, padding that is not zero, and unknown kinds of objects and attributes. It accepts
    structures whose parts are longer than they are; such answers are not compared. What PyKMIP
    cannot read is never a difference.
    """
    try:
        theirs = read(body, items, first)
    except CannotTell:
        return []
    try:
        ours: Sequence[Outcome] | Refusal = decode(body, items, first)
    except RequestRefused as refused:
        ours = refused.refusal
    except NotKmip:
        return ["the whole answer"] if _is_readable(theirs) else []
    if isinstance(theirs, Refusal) or isinstance(ours, Refusal):
        return [] if theirs == ours else ["the refusal of the request"]
    return [
        f"{item.operation.name}: {field}"
        for item, their, our in zip(items, theirs, ours, strict=True)
        for field in _fields_that_differ(their, our)
    ]


def _is_readable(theirs: "Refusal | list[Refusal | Callable[[], dict[str, Any]]]") -> bool:
    if isinstance(theirs, Refusal):
        return True
    try:
        for each in theirs:
            if not isinstance(each, Refusal):
                each()
    except CannotTell:
        return False
    return True


def _fields_that_differ(
    theirs: "Refusal | Callable[[], dict[str, Any]]", ours: Outcome
) -> list[str]:
    if isinstance(theirs, Refusal) or isinstance(ours, Refusal):
        return [] if theirs == ours else ["refusal"]
    try:
        fields = theirs()
    except CannotTell:
        return []
    return [name for name, value in fields.items() if value != getattr(ours, name)]


def _understand(thing: Any, encoding: bytes, version: Any) -> None:
    try:
        thing.read(BytearrayStream(encoding), version)
    except Exception:
        raise CannotTell from None


def _check(value: bytes) -> None:
    for element in _take_apart(value):
        if element.type == STRUCTURE:
            _check(element.value)


def _take_apart(value: bytes) -> list[Element]:
    try:
        return list(elements(value))
    except MalformedTtlv:
        raise CannotTell from None


def read(
    body: bytes, items: Sequence[Item], first: int
) -> "Refusal | list[Refusal | Callable[[], dict[str, Any]]]":
    _check(body)
    parts = _take_apart(body)
    tags = [enums.Tags.RESPONSE_HEADER.value]
    tags += [enums.Tags.RESPONSE_BATCH_ITEM.value] * (len(parts) - 1)
    if [(part.tag, part.type) for part in parts] != [(tag, STRUCTURE) for tag in tags]:
        raise CannotTell
    header = messages.ResponseHeader()
    _understand(header, parts[0].encoding(), enums.KMIPVersion.KMIP_1_2)
    version = contents.protocol_version_to_kmip_version(header.protocol_version)
    if version is None or header.batch_count.value != len(parts) - 1:
        raise CannotTell
    heads = {}
    for part in parts[1:]:
        answer = _take_apart(part.value)
        operation, number, status = _head(answer, version)
        refusal = None if status is enums.ResultStatus.SUCCESS else _refusal(answer, status)
        if refusal and operation is None and len(parts) == 2:
            return refusal
        payloads = [e for e in answer if e.tag == enums.Tags.RESPONSE_PAYLOAD.value]
        if number in heads or [e.type for e in payloads] not in ([], [STRUCTURE]):
            raise CannotTell
        heads[number] = operation, refusal, payloads[0].value if payloads else None
    outcomes: list[Refusal | Callable[[], dict[str, Any]]] = []
    for count, item in enumerate(items, first):
        if batch_item_id(count) not in heads or len(heads) != len(items):
            raise CannotTell
        operation, refusal, payload = heads[batch_item_id(count)]
        if operation is not item.operation or (refusal is None and payload is None):
            raise CannotTell
        outcomes.append(refusal or _success(item, payload or b"", version))
    if len(items) > 1 and all(isinstance(each, Refusal) and each.too_large for each in outcomes):
        raise CannotTell  # the filer treats it as a refusal of the request, and asks in halves
    return outcomes


def _head(answer: list[Element], version: Any) -> tuple[Any, bytes | None, Any]:
    tags = {tag.value for tag in _ITEM_HEAD}
    head = [element for element in answer if element.tag in tags]
    batch_item = messages.ResponseBatchItem()
    _understand(batch_item, structure(enums.Tags.RESPONSE_BATCH_ITEM.value, head), version)
    return (
        batch_item.operation and batch_item.operation.value,
        batch_item.unique_batch_item_id and batch_item.unique_batch_item_id.value,
        batch_item.result_status.value,
    )


def _refusal(answer: list[Element], status: Any) -> Refusal:
    reasons = [e.value for e in answer if e.tag == enums.Tags.RESULT_REASON.value]
    if not reasons:
        return Refusal(_words(status))
    number = int.from_bytes(reasons[0][:4], "big")
    if len(reasons) > 1 or not enums.is_enum_value(enums.ResultReason, number):
        raise CannotTell
    reason = enums.ResultReason(number)
    gone = reason.name in {"ITEM_NOT_FOUND", "OBJECT_DESTROYED", "OBJECT_NOT_FOUND"}
    withheld = gone or reason.name in {
        *("PERMISSION_DENIED", "NOT_AUTHORISED", "ILLEGAL_OPERATION", "OBJECT_ARCHIVED"),
        *("KEY_VALUE_NOT_PRESENT", "WRONG_KEY_LIFECYCLE_STATE"),
    }
    return Refusal(
        _words(reason),
        gone,
        withheld,
        too_large=reason.name == "RESPONSE_TOO_LARGE",
        destroyed=reason.name == "OBJECT_DESTROYED",
    )


def _words(member: Any) -> str:
    return str(member.name).lower().replace("_", " ")


def _success(item: Item, payload: bytes, version: Any) -> Callable[[], dict[str, Any]]:
    def read() -> dict[str, Any]:
        attributes = []
        rest = payload
        if item.operation is enums.Operation.GET_ATTRIBUTES:
            parts = _take_apart(payload)
            attributes = [part for part in parts if part.tag == enums.Tags.ATTRIBUTE.value]
            rest = b"".join(part.encoding() for part in parts if part not in attributes)
        answer = ResponsePayloadFactory().create(item.operation)
        encoding = Element(enums.Tags.RESPONSE_PAYLOAD.value, STRUCTURE, rest).encoding()
        _understand(answer, encoding, version)
        match item.operation:
            case enums.Operation.QUERY:
                return {}
            case enums.Operation.DISCOVER_VERSIONS:
                versions = ((each.major, each.minor) for each in answer.protocol_versions)
                return {"versions": tuple(versions)}
            case enums.Operation.LOCATE:
                found = tuple(dict.fromkeys(answer.unique_identifiers))
                if not all(each and each.isprintable() and len(each) <= 1024 for each in found):
                    raise CannotTell
                return {"identifiers": found, "total": answer.located_items}
        identifier = getattr(answer.unique_identifier, "value", answer.unique_identifier)
        if not identifier or not identifier.isprintable() or len(identifier) > 1024:
            raise CannotTell
        fields: dict[str, Any] = {"identifiers": (identifier,)}
        if item.operation is enums.Operation.GET_ATTRIBUTES:
            fields["description"] = _description(attributes, version)
        elif item.operation is enums.Operation.GET:
            fields["key"] = _key(answer)
        return fields

    if item.identifier is not None:
        # Another object than the requested one: both refuse the whole answer.
        named = [e.value for e in _take_apart(payload) if e.tag == _IDENTIFIER]
        if named != [item.identifier.encode()]:
            raise CannotTell
    return read


_IDENTIFIER = enums.Tags.UNIQUE_IDENTIFIER.value


def _description(attributes: Sequence[Element], version: Any) -> Description:
    values: dict[str, list[Any]] = {kind.value: [] for kind in _DESCRIBED_BY}
    for encoded in attributes:
        attribute = objects.Attribute()
        _understand(attribute, encoded.encoding(), version)
        name, value = attribute.attribute_name.value, attribute.attribute_value
        values.setdefault(name, []).append(value)
    names, groups, states, types = (values[kind.value] for kind in _DESCRIBED_BY)
    return Description(
        names=tuple(each.name_value.value for each in names),
        groups=tuple(each.value for each in groups),
        state=_words(states[0].value).replace(" ", "-") if states else "unknown",
        is_secret_data=all(each.value is enums.ObjectType.SECRET_DATA for each in types),
    )


def _key(answer: Any) -> AuthenticationKey | None:
    if answer.object_type is not enums.ObjectType.SECRET_DATA:
        return None
    block = answer.secret.key_block
    if block.key_wrapping_data is not None or block.key_compression_type is not None:
        return None
    material = block.key_value.key_material.value
    if not isinstance(material, bytes):
        raise CannotTell
    return AuthenticationKey(material)
