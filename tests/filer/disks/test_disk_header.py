"""The bytes before the data of a disk: every state survives packing; other bytes are rejected."""

import hashlib
import struct
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filer.disks.header import (
    BLOCK_SIZE,
    DATA_OFFSET,
    RECORD_OFFSETS,
    SLOT_OFFSETS,
    SLOT_SIZE,
    WRAP_SIZE,
    DiskError,
    Head,
    Header,
    State,
)
from filer.disks.record import BINDING_SIZE, MOST_TAGS, RECORD_SIZE, TAG_SIZE, Owner, Record
from filer.host.scrypt import STANDARD, Scrypt

KEY_ID = "080CF0C8000000000100000000000000A948EE8604F4598ADFFB185B5BB7FED3"
SCRYPT_AT = 136  # N, r and p, in the header

key_ids = st.text("0123456789ABCDEF", min_size=64, max_size=64)
wraps = st.binary(min_size=WRAP_SIZE, max_size=WRAP_SIZE).filter(any)
costs = st.sampled_from([STANDARD, Scrypt(2**16, 8, 1), Scrypt(2**15, 16, 2), Scrypt(2**17, 8, 4)])


@st.composite
def headers(draw: st.DrawFn) -> Header:
    destroyed = draw(st.booleans())
    key_id = "0x0" if destroyed else draw(st.one_of(st.just("0x0"), key_ids))
    locking = key_id != "0x0" and draw(st.booleans())
    state = State(
        serial=draw(st.text("0123456789ABCXYZ", min_size=16, max_size=16)),
        msid=draw(st.text("!09AZaz~", min_size=32, max_size=32)),
        data_size=draw(st.integers(1, 2**40)) * BLOCK_SIZE,
        life=draw(st.integers(1, 2**32 - 1)),
        locking=locking,
        destroyed=destroyed,
        key_id=key_id,
        scrypt=draw(costs),
    )
    return Header(
        state,
        wrap=b"" if destroyed else draw(wraps),
        open_wrap=b"" if destroyed or locking else draw(wraps),
        generation=draw(st.integers(0, 2**64 - 1)),
    )


records = st.builds(
    Record,
    sequence=st.integers(0, 2**64 - 1),
    binding=st.binary(min_size=BINDING_SIZE, max_size=BINDING_SIZE),
    failures=st.integers(0, 2**32 - 1),
    home=st.integers(0, 2**32 - 1),
    owner=st.builds(
        Owner,
        st.integers(0, 2**32 - 1),
        st.from_regex(r"([A-Za-z0-9][A-Za-z0-9_-]{0,62})?", fullmatch=True),
    ),
    unfinished=st.booleans(),
    tags=st.lists(
        st.binary(min_size=TAG_SIZE, max_size=TAG_SIZE).filter(any), max_size=MOST_TAGS
    ).map(tuple),
)


@pytest.fixture
def header() -> Header:
    state = State("A" * 16, "M" * 32, 16 * BLOCK_SIZE, key_id=KEY_ID)
    return Header(state, bytes([1] * WRAP_SIZE), bytes([2] * WRAP_SIZE))


def sealed(body: bytes) -> bytes:
    """Return the slot ``body`` with a correct checksum."""
    return body[:-32] + hashlib.sha256(body[:-32]).digest()


@given(headers())
def test_a_header_survives_packing(header: Header) -> None:
    assert len(header.pack()) == SLOT_SIZE
    assert Header.parse(header.pack()) == header


@given(headers(), records, st.sampled_from([0, 1]), st.sampled_from([0, 1]))
def test_a_head_survives_packing(header: Header, record: Record, slot: int, place: int) -> None:
    head = Head(header, record, slot, place)
    assert len(head.pack()) == DATA_OFFSET
    assert Head.parse(head.pack()) == head


@given(st.one_of(st.binary(), st.binary(min_size=SLOT_SIZE, max_size=SLOT_SIZE)))
def test_any_bytes_are_a_header_or_a_disk_error(slot: bytes) -> None:
    with pytest.raises(DiskError):
        Header.parse(slot)


@given(headers(), st.integers(0, 400), st.binary(min_size=1, max_size=100))
def test_an_edited_header_with_the_right_checksum_is_what_it_says_or_a_disk_error(
    header: Header, place: int, edit: bytes
) -> None:
    slot = bytearray(header.pack())
    slot[place : place + len(edit)] = edit
    forged = sealed(bytes(slot))
    with suppress(DiskError):
        assert Header.parse(forged).pack() == forged


@given(st.binary(max_size=2 * SLOT_SIZE), st.binary(max_size=600))
def test_any_bytes_are_a_head_or_a_disk_error(slots: bytes, records: bytes) -> None:
    data = slots.ljust(RECORD_OFFSETS[0], b"\0") + records
    with pytest.raises(DiskError):
        Head.parse(data.ljust(DATA_OFFSET, b"\0"))


@given(headers(), st.binary(max_size=SLOT_SIZE), st.binary(max_size=RECORD_SIZE))
def test_one_torn_slot_and_one_torn_record_do_no_harm(
    header: Header, slot: bytes, record: bytes
) -> None:
    head = Head(header, Record(7, header.binding, 3), slot=1, record_slot=0)
    data = bytearray(head.pack())
    data[: len(slot)] = slot
    data[RECORD_OFFSETS[1] : RECORD_OFFSETS[1] + len(record)] = record
    assert Head.parse(bytes(data)) == head._replace(leftover=any(slot))


@given(headers(), st.integers(0, SLOT_SIZE * 8 - 1))
def test_every_flipped_bit_is_noticed(header: Header, bit: int) -> None:
    slot = bytearray(header.pack())
    slot[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DiskError):
        Header.parse(bytes(slot))


@given(records)
def test_a_record_survives_packing(record: Record) -> None:
    assert len(record.pack()) == RECORD_SIZE
    assert Record.parse(record.pack()) == record


@given(records, st.integers(0, 512 * 8 - 1))
def test_every_flipped_bit_of_the_count_is_noticed(record: Record, bit: int) -> None:
    block = bytearray(record.pack())
    block[bit // 8] ^= 1 << bit % 8
    assert Record.parse(bytes(block)) is None


@given(records, st.integers(0, 1023), st.binary(min_size=1, max_size=16))
def test_a_damaged_tag_is_ignored_and_costs_no_other(
    record: Record, place: int, noise: bytes
) -> None:
    block = bytearray(record.pack())
    block[512 + place : 512 + place + len(noise)] = noise
    read = Record.parse(bytes(block))
    assert read is not None
    hit = range(place // 16, (place + len(noise) - 1) // 16 + 1)
    kept = tuple(tag for number, tag in enumerate(record.tags) if number not in hit)
    assert read._replace(tags=()) == record._replace(tags=())
    assert set(kept) <= set(read.tags) <= set(record.tags)


@given(st.binary(max_size=40))
def test_any_bytes_are_no_record(block: bytes) -> None:
    assert Record.parse(block.ljust(RECORD_SIZE, b"\0")) is None


def test_tags_of_another_header_are_ignored(header: Header) -> None:
    tags = (b"t" * TAG_SIZE,)
    assert Head(header, Record(1, header.binding, 2, tags=tags)).tags == tags
    rewritten = replace(header, generation=header.generation + 1)
    assert Head(rewritten, Record(1, header.binding, 2, tags=tags)).tags == ()
    # A record of torn sectors: the count is from one header, the tags from another.
    old, new = Record(1, header.binding, 2, tags=tags), Record(2, rewritten.binding)
    torn = new.pack()[:512] + old.pack()[512:]
    assert Record.parse(torn) == new


def test_a_record_of_a_later_version_is_not_read_as_this_one(header: Header) -> None:
    import zlib

    block = bytearray(Record(1, header.binding).pack())
    block[4:6] = b"\0\2"
    block[508:512] = zlib.crc32(block[:508]).to_bytes(4, "big")
    assert Record.parse(bytes(block)) is None


@pytest.mark.parametrize(
    ("older", "younger"),
    [(8, 9), (0, 1), (2**64 - 1, 0), (2**64 - 2, 2**64 - 1), (2**63, 2**63 + 1)],
)
def test_of_two_whole_headers_the_younger_counts(header: Header, older: int, younger: int) -> None:
    for slot in (0, 1):
        header = replace(header, generation=younger)
        head = Head(header, Record(1, header.binding), slot=slot)
        data = bytearray(head.pack())
        other = SLOT_OFFSETS[1 - slot]
        data[other : other + SLOT_SIZE] = replace(header, generation=older).pack()
        assert Head.parse(bytes(data)) == head._replace(leftover=True, older=True)


@pytest.mark.parametrize(("older", "younger"), [(5, 6), (2**64 - 1, 0), (2**62 - 1, 2**62)])
def test_of_two_records_the_later_counts(header: Header, older: int, younger: int) -> None:
    for place in (0, 1):
        head = Head(header, Record(younger, header.binding, 2), record_slot=place)
        data = bytearray(head.pack())
        other = RECORD_OFFSETS[1 - place]
        data[other : other + RECORD_SIZE] = Record(older, header.binding, 1).pack()
        assert Head.parse(bytes(data)) == head


def test_failures_under_an_earlier_header_are_over(header: Header) -> None:
    assert Head(header, Record(5, header.binding, 9)).failures == 9
    assert Head(header, Record(5, b"another!", 9)).failures == 0


def test_any_other_header_has_another_binding(header: Header) -> None:
    others = [
        replace(header, generation=2),
        replace(header, wrap=bytes([3] * WRAP_SIZE)),
        replace(header, open_wrap=bytes([3] * WRAP_SIZE)),
        replace(header, state=replace(header.state, life=2)),
        replace(header, state=replace(header.state, serial="B" * 16)),
    ]
    assert len({each.binding for each in (header, *others)}) == 6


@pytest.mark.parametrize(
    ("cost", "reason"),
    [
        ((2**14, 8, 1), "weaker"),
        ((2**15, 7, 1), "weaker"),
        ((2**15, 8, 0), "weaker"),
        ((2**15 + 1, 8, 1), "weaker"),
        ((0, 0, 0), "weaker"),
        ((2**20, 8, 1), "too much"),
        ((2**15, 2**31, 1), "too much"),
        ((2**15, 8, 2**32 - 1), "too much"),
        ((2**31, 2**31, 2**31), "too much"),
    ],
)
def test_scrypt_that_is_weak_or_a_memory_bomb_is_refused(
    header: Header, cost: tuple[int, int, int], reason: str
) -> None:
    slot = bytearray(header.pack())
    assert struct.unpack_from(">3I", slot, SCRYPT_AT) == (STANDARD.n, STANDARD.r, STANDARD.p)
    struct.pack_into(">3I", slot, SCRYPT_AT, *cost)
    with pytest.raises(DiskError, match=rf"^damaged header: scrypt .*{reason}"):
        Header.parse(sealed(bytes(slot)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"serial": "a" * 16},
        {"serial": "A" * 15},
        {"msid": "\x1b" * 32},
        {"data_size": 0},
        {"data_size": BLOCK_SIZE + 1},
        {"data_size": 2**62},
        {"life": 0},
        {"key_id": "0x1"},
        {"key_id": KEY_ID[:-1] + "g"},
        {"key_id": "0x0", "locking": True},
        {"destroyed": True},
    ],
    ids=str,
)
def test_a_state_that_no_disk_can_be_in_is_refused(
    header: Header, wrong: dict[str, object]
) -> None:
    with pytest.raises(DiskError):
        replace(header.state, **wrong)  # type: ignore[arg-type]


def test_wraps_are_there_exactly_when_they_should_be(header: Header) -> None:
    locking = replace(header.state, locking=True)
    destroyed = State("A" * 16, "M" * 32, BLOCK_SIZE, destroyed=True)
    wrap = header.wrap
    for state, one, other in (
        (header.state, b"", wrap),
        (header.state, wrap, b""),
        (header.state, wrap, wrap[:40]),
        (header.state, wrap, bytes(WRAP_SIZE)),
        (locking, wrap, wrap),
        (locking, b"", b""),
        (destroyed, wrap, b""),
        (destroyed, b"", wrap),
    ):
        with pytest.raises(DiskError):
            Header(state, one, other)
    assert Header(locking, wrap, b"").pack().count(wrap) == 1
    assert wrap not in Header(destroyed, b"", b"").pack()


def test_an_unknown_format_version_is_named(header: Header) -> None:
    slot = bytearray(header.pack())
    slot[8:10] = b"\0\2"
    with pytest.raises(DiskError, match="format version 2"):
        Header.parse(sealed(bytes(slot)))
