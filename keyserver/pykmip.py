"""Messages in the classes of PyKMIP, each read and written in one pass.

This module suppresses PyKMIP's deprecation warnings, which users cannot act on.
"""

import warnings
from typing import Any

from cryptography.utils import CryptographyDeprecationWarning

from filer.keyserver.request import BATCH_ITEM, REQUEST_HEADER, Item, Reason, Refusal, Request
from filer.keyserver.response import structure
from filer.kmip.ttlv import Element

with (
    warnings.catch_warnings(action="ignore", category=DeprecationWarning),
    warnings.catch_warnings(action="ignore", category=CryptographyDeprecationWarning),
):
    from kmip.core.enums import KMIPVersion
    from kmip.core.messages.contents import ProtocolVersion, protocol_version_to_kmip_version
    from kmip.core.messages.messages import (
        RequestBatchItem,
        RequestHeader,
        RequestMessage,
        ResponseMessage,
    )
    from kmip.core.primitives import Struct
    from kmip.core.utils import BytearrayStream


def message_of(request: Request) -> RequestMessage:
    """Return ``request`` in the classes of PyKMIP.

    The payload of an item that is refused, or that PyKMIP cannot read, is its Refusal.
    Raises Refusal if PyKMIP cannot read the header.
    """
    version = _version(request)
    header = RequestHeader()
    encoding = structure(REQUEST_HEADER, *(each.encoding() for each in request.header))
    try:
        header.read(_Stream(encoding), kmip_version=version)
    except Exception:  # PyKMIP raises errors of many kinds
        raise Refusal(Reason.INVALID_MESSAGE, "the request header cannot be read") from None
    return RequestMessage(header, [_item(each, version) for each in request.items])


def encoded(response: Any, request: Request) -> bytes:
    """Return PyKMIP's ``response``, encoded in the version of ``request``."""
    stream = BytearrayStream()
    Response(response.response_header, response.batch_items).write(stream, _version(request))
    return bytes(stream.buffer)


class Response(ResponseMessage):  # type: ignore[misc]  # PyKMIP has no types
    """A response; PyKMIP's own class copies its whole buffer for each part."""

    def write(
        self, ostream: BytearrayStream, kmip_version: KMIPVersion = KMIPVersion.KMIP_1_0
    ) -> None:
        """Write the encoded response."""
        parts = bytearray()
        for part in (self.response_header, *self.batch_items):
            stream = BytearrayStream()
            part.write(stream, kmip_version=kmip_version)
            parts += stream.buffer
        self.length = len(parts)
        Struct.write(self, ostream, kmip_version=kmip_version)
        ostream.write(bytes(parts))


class _Stream(BytearrayStream):  # type: ignore[misc]  # PyKMIP has no types
    """Bytes to read; PyKMIP's own stream copies all remaining bytes on each read."""

    def __init__(self, data: bytes) -> None:
        self._rest = memoryview(data)

    def peek(self, n: int | None = None) -> bytes:
        return bytes(self._rest[:n])

    def read(self, n: int | None = None) -> bytes:
        data = bytes(self._rest[: None if n == -1 else n])
        self._rest = self._rest[len(data) :]
        return data

    def length(self) -> int:
        return len(self._rest)

    __len__ = length


class _Verbatim:
    """A field of a refused item: PyKMIP may have no class for its value."""

    def __init__(self, field: Element | None) -> None:
        self.value = None
        self._encoding = field.encoding() if field else b""

    def write(self, stream: BytearrayStream, kmip_version: KMIPVersion) -> None:
        stream.write(self._encoding)


def _version(request: Request) -> KMIPVersion:
    return protocol_version_to_kmip_version(ProtocolVersion(*request.version))


def _item(item: Item, version: KMIPVersion) -> RequestBatchItem:
    refusal = item.refusal
    if refusal is None:
        read = RequestBatchItem()
        encoding = structure(BATCH_ITEM, *(each.encoding() for each in item.parts))
        try:
            read.read(_Stream(encoding), kmip_version=version)
        except Exception:  # PyKMIP raises errors of many kinds
            refusal = Refusal(Reason.INVALID_MESSAGE, "the request payload cannot be read")
        else:
            return read
    number = _Verbatim(item.number) if item.number else None
    return RequestBatchItem(_Verbatim(item.operation), number, refusal)
