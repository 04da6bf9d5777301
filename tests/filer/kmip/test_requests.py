"""Requests are encoded from templates, to the same bytes as PyKMIP encodes."""

from collections.abc import Sequence

import pytest
from kmip.core import enums
from kmip.core.messages import contents, messages
from kmip.core.utils import BytearrayStream

from filer.kmip import requests
from filer.kmip.requests import Item, Version, batch_item_id, encode
from filer.kmip.ttlv import elements
from tests.kit import hostile
from tests.kit.pairs import PARENT_TAG, new_pair

KEY_ID = "080CF0C8000000000100000000000000A948EE8604F4598ADFFB185B5BB7FED3"
IDENTIFIERS = (
    "1",
    "42",
    "Name",
    "5e0fa9c1-76a8-4c60-9d5b-3a7e8a2f6a10",
    "x" * 1024,
    "\x7f",
    "State",
)
ITEMS: Sequence[Item] = [
    requests.query(),
    requests.discover_versions(),
    requests.locate_all(),
    requests.locate_all(128),
    requests.locate_name(KEY_ID),
    requests.locate_name(KEY_ID, 7),
    requests.locate_all(most=256, filtered=False),
    requests.register(new_pair(), PARENT_TAG),
    *(
        requests.register(new_pair(), PARENT_TAG, form)
        for form in requests.lesser_forms(requests.FULL_FORM)
    ),
    *(
        about(identifier)
        for about in (
            requests.get_attributes,
            requests.get,
            requests.activate,
            requests.revoke,
            requests.destroy,
        )
        for identifier in IDENTIFIERS
    ),
]
VERSIONS = list(requests._VERSIONS)


def encoded_by_pykmip(items: Sequence[Item], first: int, version: Version) -> bytes:
    option = enums.BatchErrorContinuationOption.CONTINUE
    header = messages.RequestHeader(
        protocol_version=contents.ProtocolVersion(*version),
        maximum_response_size=contents.MaximumResponseSize(requests.MAXIMUM_ANSWER),
        batch_error_cont_option=(
            contents.BatchErrorContinuationOption(option) if len(items) > 1 else None
        ),
        batch_count=contents.BatchCount(len(items)),
    )
    batch = [
        messages.RequestBatchItem(
            operation=contents.Operation(item.operation),
            unique_batch_item_id=(
                contents.UniqueBatchItemID(batch_item_id(number)) if len(items) > 1 else None
            ),
            request_payload=item.payload(item.text),
        )
        for number, item in enumerate(items, first)
    ]
    stream = BytearrayStream()
    messages.RequestMessage(header, batch).write(stream, requests._VERSIONS[version])
    return bytes(stream.buffer)


@pytest.mark.parametrize("version", VERSIONS)
def test_each_request_has_the_bytes_that_pykmip_encodes(version: Version) -> None:
    for item in ITEMS:
        for first in 0, 1, 2**32:
            for _ in "made", "used again":
                expected = encoded_by_pykmip([item], first, version)
                assert encode([item], first, version) == expected, item


@pytest.mark.parametrize("version", VERSIONS)
def test_a_batch_has_the_bytes_that_pykmip_encodes(version: Version) -> None:
    assert encode(ITEMS, 1000, version) == encoded_by_pykmip(ITEMS, 1000, version)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_item_may_lack_its_number(version: Version) -> None:
    for item in ITEMS:
        stream = BytearrayStream()
        messages.RequestBatchItem(
            operation=contents.Operation(item.operation), request_payload=item.payload(item.text)
        ).write(stream, requests._VERSIONS[version])
        assert requests._batch_item(item, b"", version) == bytes(stream.buffer)


def test_a_template_keeps_no_key() -> None:
    pair = new_pair(key="Correct horse 9 battery staple")
    before = requests._template.cache_info().currsize
    item = requests.register(pair, PARENT_TAG)
    assert pair.key.reveal() in encode([item], 0)
    assert requests._template.cache_info().currsize == before
    assert "Correct" not in repr(item)


@pytest.mark.parametrize("identifier", ["schlüssel-1", "鍵", "🔑" * 256])
def test_identifiers_beyond_ascii_are_encoded_in_utf_8(identifier: str) -> None:
    about = [requests.get, requests.get_attributes, requests.revoke, requests.destroy]
    (request,) = elements(encode([make(identifier) for make in about], 0))
    _header, *batch = elements(request.value)
    for item in batch:
        (payload,) = (each for each in elements(item.value) if each.tag == 0x420079)
        (named,) = (
            each.value for each in elements(payload.value) if each.tag == hostile.UNIQUE_IDENTIFIER
        )
        assert named.decode() == identifier
