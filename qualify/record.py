"""A record of requests and answers in readable form, which never contains key material."""

from collections.abc import Callable, Iterator, Sequence

from filer.host.text import printable
from filer.keys.authentication_key import AuthenticationKey
from filer.kmip.messages import enums
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
)
from filer.qualify.outcome import Exchange
from filer.throw_away.line import Tape
from filer.throw_away.message import DATE_TIME, LONG_INTEGER, Structure, Tags

_MOST_EXCHANGES = 40
_MOST_ITEMS = 3
_MOST_FIELDS = 12
_LONGEST_TEXT = 160
_HIDDEN = {Tags.KEY_VALUE.value, Tags.KEY_MATERIAL.value, Tags.CREDENTIAL_VALUE.value}
_KEY = "(key material)"
_NAMES = {tag.value: tag.name.title().replace("_", "") for tag in enums.Tags}
_MEMBERS = {
    Tags.OPERATION.value: enums.Operation,
    Tags.RESULT_STATUS.value: enums.ResultStatus,
    Tags.RESULT_REASON.value: enums.ResultReason,
    Tags.OBJECT_TYPE.value: enums.ObjectType,
    Tags.QUERY_FUNCTION.value: enums.QueryFunction,
    Tags.SECRET_DATA_TYPE.value: enums.SecretDataType,
    Tags.KEY_FORMAT_TYPE.value: enums.KeyFormatType,
    Tags.STATE.value: enums.State,
}


class Recorder:
    """The record of one check; each of its threads has tapes of its own.

    ``secrets`` returns the keys that must not be shown, wherever an answer has them.
    """

    def __init__(self, secrets: Callable[[], Sequence[AuthenticationKey]]) -> None:
        self._secrets = secrets
        self._tapes: list[Tape] = []

    def tape(self) -> Tape:
        """Return a new tape of this record."""
        self._tapes.append(Tape())
        return self._tapes[-1]

    def add(self, tape: Tape) -> None:
        """Include a tape of a connection that is older than this record."""
        self._tapes.append(tape)

    def take(self) -> list[Exchange]:
        """Return the record, and begin a new one."""
        tapes, self._tapes = self._tapes, []
        exchanges = [each for tape in tapes for each in tape.exchanges]
        head, rest = exchanges[: _MOST_EXCHANGES - 1], exchanges[_MOST_EXCHANGES - 1 :]
        shown = [self._shown(request, bytes(answer)) for request, answer in [*head, *rest[-1:]]]
        if rest[1:]:
            shown.insert(-1, Exchange(f"({len(rest) - 1} more requests)", "(not shown)"))
        return shown

    def _shown(self, request: bytes, answer: bytes) -> Exchange:
        # The text of a server about a request that carried a key or a password may quote it.
        carries_secret = any(tag.to_bytes(3, "big") in request for tag in _HIDDEN)
        hidden = _HIDDEN | ({Tags.RESULT_MESSAGE.value} if carries_secret else set())
        return Exchange(
            self._without_secrets(_message(request, _HIDDEN)),
            self._without_secrets(_message(answer, hidden)) if answer else "(no answer)",
        )

    def _without_secrets(self, shown: str) -> str:
        for secret in self._secrets():
            material = secret.reveal()
            for form in (printable(material), material.hex(), material.hex().upper()):
                shown = shown.replace(form, _KEY)
        return shown


def _message(data: bytes, hidden: set[int]) -> str:
    try:
        whole = Structure(data[HEADER_LENGTH:])
        items = whole.all(Tags.REQUEST_BATCH_ITEM)
        shown = [_header(next(iter(whole))), *(_item(each, hidden) for each in items[:_MOST_ITEMS])]
    except (MalformedTtlv, StopIteration):
        return f"({len(data)} bytes that are not KMIP)"
    if more := len(items[_MOST_ITEMS:]):
        shown.append(f"{more} more items")
    return ", ".join(shown)


def _header(header: Element) -> str:
    fields = Structure(header.value)
    version = fields.within(Tags.PROTOCOL_VERSION)
    major, minor = (
        version.number(Tags.PROTOCOL_VERSION_MAJOR),
        version.number(Tags.PROTOCOL_VERSION_MINOR),
    )
    others = [each for each in fields if each.tag != Tags.PROTOCOL_VERSION.value]
    return f"KMIP {major}.{minor} {{{', '.join(_shown(others, _HIDDEN))}}}"


def _item(item: Element, hidden: set[int]) -> str:
    first, *others = list(elements(item.value))
    name = _value(first) if first.tag == Tags.OPERATION.value else "Whole request"
    if name == "Whole request":
        others.insert(0, first)
    return f"{name} {{{', '.join(_shown(others, hidden))}}}"


def _shown(inside: Sequence[Element], hidden: set[int]) -> Iterator[str]:
    for each in inside[:_MOST_FIELDS]:
        name = _NAMES.get(each.tag, hex(each.tag))
        if each.tag in hidden:
            yield f"{name} (not shown)"
        elif each.type != STRUCTURE:
            yield f"{name} {_value(each)}"
        elif each.tag == Tags.ATTRIBUTE.value:
            yield _attribute(each, hidden)
        else:
            yield f"{name} {{{', '.join(_shown(list(elements(each.value)), hidden))}}}"
    if more := len(inside[_MOST_FIELDS:]):
        yield f"{more} more"


def _attribute(attribute: Element, hidden: set[int]) -> str:
    fields = Structure(attribute.value)
    name = printable(fields.text(Tags.ATTRIBUTE_NAME) or "")
    values = [each for each in fields if each.tag != Tags.ATTRIBUTE_NAME.value]
    shown = ", ".join(_shown(values, hidden)).replace("AttributeValue ", "")
    return f"{name} = {shown}"


def _value(element: Element) -> str:
    value = element.value
    if element.type == TEXT_STRING:
        cut = value[:_LONGEST_TEXT]
        return f'"{printable(cut)}"' + ("..." if cut != value else "")
    if element.type == BYTE_STRING:
        return f"<{len(value)} bytes>"
    if element.type in {INTEGER, ENUMERATION, LONG_INTEGER, DATE_TIME}:
        found = int.from_bytes(value, "big", signed=element.type != ENUMERATION)
        for member in _MEMBERS.get(element.tag, ()):
            if member.value == found:
                return str(member.name).title().replace("_", "")
        return f"{found:#x}" if element.type == ENUMERATION else str(found)
    return f"0x{value.hex()}" if len(value) <= 8 else f"<{len(value)} bytes>"
