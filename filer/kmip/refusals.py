"""Why a key server refused a request: its result reason, and what it means for the filer."""

from dataclasses import dataclass, field
from typing import Any

from filer.kmip.messages import enums
from filer.kmip.requests import Version
from filer.kmip.ttlv import NUMBER_LENGTH, Field, MalformedTtlv


def _reason(name: str) -> int:
    return int(enums.ResultReason[name].value)


def _reasons(*names: str) -> frozenset[int]:
    return frozenset(map(_reason, names))


_GONE = _reasons(
    "ITEM_NOT_FOUND",
    "OBJECT_DESTROYED",
    "OBJECT_NOT_FOUND",
)
_WITHHELD = _GONE | _reasons(
    "PERMISSION_DENIED",
    "NOT_AUTHORISED",
    "ILLEGAL_OPERATION",
    "OBJECT_ARCHIVED",
    "KEY_VALUE_NOT_PRESENT",
    "WRONG_KEY_LIFECYCLE_STATE",
)
_UNSUPPORTED = _reasons(
    "INVALID_MESSAGE",
    "OPERATION_NOT_SUPPORTED",
    "INVALID_FIELD",
    "FEATURE_NOT_SUPPORTED",
    "APPLICATION_NAMESPACE_NOT_SUPPORTED",
    "KEY_FORMAT_TYPE_NOT_SUPPORTED",
    "ENCODING_OPTION_ERROR",
    "INVALID_DATA_TYPE",
    "READ_ONLY_ATTRIBUTE",
    "UNSUPPORTED_ATTRIBUTE",
    "ATTRIBUTE_READ_ONLY",
    "CODEC_ERROR",
    "INCOMPATIBLE_CRYPTOGRAPHIC_USAGE_MASK",
    "INVALID_ATTRIBUTE",
    "INVALID_ATTRIBUTE_VALUE",
    "UNKNOWN_ENUMERATION",
    "UNKNOWN_TAG",
    "UNSUPPORTED_PROTOCOL_VERSION",
)
_VAGUE = _reasons(
    "GENERAL_FAILURE",
    "INTERNAL_SERVER_ERROR",
    "SERVER_LIMIT_EXCEEDED",
)
_OF_MESSAGE = _reasons(
    "INVALID_MESSAGE",
    "UNSUPPORTED_PROTOCOL_VERSION",
)
_UNKNOWN_OPERATION = _reason("OPERATION_NOT_SUPPORTED")
_UNAUTHENTICATED = _reason("AUTHENTICATION_NOT_SUCCESSFUL")
_DESTROYED = _reason("OBJECT_DESTROYED")
_TOO_LARGE = _reason("RESPONSE_TOO_LARGE")


def words(member: Any) -> str:
    """Return PyKMIP's name of an enumeration's member as words, such as ``item not found``."""
    return str(member.name).lower().replace("_", " ")


_REASONS: dict[int, str] = {reason.value: words(reason) for reason in enums.ResultReason}
_FAILURES: dict[int | None, str] = {
    status.value: words(status)
    for status in enums.ResultStatus
    if status is not enums.ResultStatus.SUCCESS
}


@dataclass(frozen=True)
class Refusal:
    """The server refused one item, or the whole request."""

    reason: str
    """KMIP's name of the reason, and after it the server's own message if it may be shown."""
    gone: bool = False
    """No such object exists any more, or the server hides it from this client."""
    withheld: bool = False
    """The object is gone, or its state or owner does not allow access."""
    too_large: bool = False
    """The answer would be larger than the server or the request allows."""
    destroyed: bool = False
    """The object existed and was destroyed."""
    unsupported: bool = field(default=False, compare=False)
    """The server does not support a part of the request, its form or its version."""
    vague: bool = field(default=False, compare=False)
    """The reason may be anything."""
    of_message: bool = field(default=False, compare=False)
    """The refusal concerns the message, even if it is that of an item."""
    unknown_operation: bool = field(default=False, compare=False)
    """The server does not have the operation."""
    unauthenticated: bool = field(default=False, compare=False)
    """The server requires a password, or another one."""

    @property
    def may_be_of_form(self) -> bool:
        """Whether the server may accept the request in another form or version."""
        return self.unsupported or self.vague


class RequestRefused(Exception):
    """The server refused a whole request; ``version`` is that of the answer."""

    def __init__(self, refusal: Refusal, version: Version) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal
        self.version = version


def refusal_for(status: int | None, reason: Field | None, message: str) -> Refusal:
    """Return the refusal with this result status and reason, and the server's ``message`` or "".

    Raises MalformedTtlv if the status is not that of a failure.
    """
    if status not in _FAILURES:
        raise MalformedTtlv
    text = _FAILURES[status]
    number = None
    if reason is not None:
        number = int.from_bytes(reason[1][:NUMBER_LENGTH], "big")
        text = _REASONS.get(number, f"result reason {number:#x}")
    return Refusal(
        f"{text}: {message}" if message else text,
        gone=number in _GONE,
        withheld=number in _WITHHELD,
        too_large=number == _TOO_LARGE,
        destroyed=number == _DESTROYED,
        unsupported=number in _UNSUPPORTED,
        vague=number in _VAGUE,
        of_message=number in _OF_MESSAGE,
        unknown_operation=number == _UNKNOWN_OPERATION,
        unauthenticated=number == _UNAUTHENTICATED,
    )
