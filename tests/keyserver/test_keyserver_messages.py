"""The messages of the key server: identical to PyKMIP's, but read and written in one pass."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

STEPS = st.lists(
    st.tuples(st.sampled_from(["read", "peek"]), st.none() | st.integers(-1, 64)), max_size=20
)
IDENTIFIERS = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40)


@given(st.binary(max_size=200), STEPS)
def test_a_request_is_read_as_pykmip_reads_it(
    data: bytes, steps: list[tuple[str, int | None]]
) -> None:
    from filer.keyserver.pykmip import _Stream

    # isort: split
    from kmip.core.utils import BytearrayStream

    ours, theirs = _Stream(data), BytearrayStream(data)
    for method, number in steps:
        assert getattr(ours, method)(number) == getattr(theirs, method)(number)
        assert len(ours) == ours.length() == len(theirs)


@given(st.lists(IDENTIFIERS, max_size=5), st.sampled_from(["KMIP_1_0", "KMIP_1_2", "KMIP_2_0"]))
def test_an_answer_is_written_as_pykmip_writes_it(identifiers: list[str], version: str) -> None:
    from filer.keyserver.pykmip import Response

    # isort: split
    from kmip.core import enums
    from kmip.core.messages import contents, messages, payloads
    from kmip.core.utils import BytearrayStream

    header = messages.ResponseHeader(
        protocol_version=contents.ProtocolVersion(1, 2),
        time_stamp=contents.TimeStamp(1),
        batch_count=contents.BatchCount(len(identifiers)),
    )
    items = [
        messages.ResponseBatchItem(
            operation=contents.Operation(enums.Operation.LOCATE),
            unique_batch_item_id=contents.UniqueBatchItemID(number.to_bytes(8, "big")),
            result_status=contents.ResultStatus(enums.ResultStatus.SUCCESS),
            response_payload=payloads.LocateResponsePayload(unique_identifiers=[identifier]),
        )
        for number, identifier in enumerate(identifiers)
    ]

    def written(message: Any) -> bytes:
        stream = BytearrayStream()
        message(header, items).write(stream, kmip_version=enums.KMIPVersion[version])
        return bytes(stream.buffer)

    assert written(Response) == written(messages.ResponseMessage)
