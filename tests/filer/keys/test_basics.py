"""Printable text, the secret type, key IDs, tags, and the keytable."""

import copy
import json
import logging
import os
import pickle
import pprint
import reprlib
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from filer.disks.derivation import StretchedKey
from filer.host.text import printable
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.key_id import is_key_id, new_key_id, parent_tag
from filer.keys.keytable import Entry, Keytable, merge
from filer.keys.pair import KeyPair, is_key_tag
from filer.keys.secret import Secret

SYSTEM_IDS = st.integers(1, 2**32 - 1)
SECRET = b"Tr0ub4dor&3-with-a-long-tail"


def make_key_id(number: int) -> str:
    return f"{number:064X}"


def make_pair(number: int, secret: bytes = SECRET, tag: str = "filer1") -> KeyPair:
    return KeyPair(make_key_id(number), tag, AuthenticationKey(secret))


# text


@given(st.text(alphabet=st.characters()) | st.binary())
@example("\x1b]0;title\x07\r\n\u2028\u202e\u200b\x7f\x9b")
@example("\ud800\udcff")
@example(b"\xff\xfe\x00")
def test_printable_text_is_one_line_without_controls(text: str | bytes) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert shown.encode("utf-8").splitlines() in ([], [shown.encode("utf-8")])


@given(st.text(alphabet=st.characters()) | st.binary())
def test_printable_text_is_left_as_it_is(text: str | bytes) -> None:
    shown = printable(text)
    assert printable(shown) == shown


def test_ordinary_text_of_any_language_is_left_as_it_is() -> None:
    for text in ("", "a b", "Schlüsselserver", "鍵サーバ", 'C:\\path "x"'):
        assert printable(text) == text
        assert printable(text.encode()) == text


def test_escapes_say_what_was_there() -> None:
    assert printable("a\x1b[2Jb") == "a\\x1b[2Jb"
    assert printable("a\nb\tc") == "a\\nb\\tc"
    assert printable("\u202e") == "\\u202e"
    assert printable("\U000e0041") == "\\U000e0041"
    assert printable(b"ok\xff") == "ok\\xff"
    assert printable("file\udcff") == "file\\udcff"


# authentication key


@given(st.binary(min_size=8, max_size=64))
def test_no_view_of_an_authentication_key_shows_it(secret: bytes) -> None:
    key = AuthenticationKey(secret)
    views = [repr(key), str(key), f"{key}", f"{key!r}", f"{[key]}", "%s %r" % (key, key)]  # noqa: UP031
    views += [pprint.pformat(key), reprlib.repr(key), ascii(key)]
    assert {view.replace("<authentication key>", "") for view in views} <= {"", "[]", " "}


def test_logging_an_authentication_key_does_not_show_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logging.getLogger("test").warning("key %s %r", AuthenticationKey(SECRET), make_pair(1))
    assert SECRET.decode() not in caplog.text
    assert "<authentication key>" in caplog.text


def test_a_traceback_with_locals_does_not_show_an_authentication_key() -> None:
    def fail(key: AuthenticationKey) -> None:
        raise ValueError(key)

    try:
        fail(AuthenticationKey(b"".join([SECRET])))
    except ValueError as error:
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert not any(SECRET.decode() in line for line in shown.format())


@pytest.mark.parametrize("kind", [AuthenticationKey, StretchedKey, Secret])
def test_a_secret_is_neither_pickled_nor_copied_nor_taken_apart(kind: type[Secret]) -> None:
    secret = kind(SECRET)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(secret, protocol)
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps([secret], protocol)
    copies: list[Callable[[Any], object]] = [copy.copy, copy.deepcopy, Secret.__getstate__]
    for taken in copies:
        with pytest.raises(TypeError, match="cannot be pickled"):
            taken(secret)
    views: list[Callable[[Any], object]] = [json.dumps, vars, bytes, memoryview, iter, len, hash]
    for seen in views:
        with pytest.raises(TypeError):
            seen(secret)
    for other in (secret, SECRET):
        with pytest.raises(TypeError):
            secret < other  # type: ignore[operator]  # noqa: B015


def test_a_key_pair_gives_its_key_to_no_dictionary() -> None:
    copies: list[Callable[[Any], object]] = [copy.deepcopy, pickle.dumps, json.dumps]
    for taken in copies:
        with pytest.raises(TypeError, match=r"cannot be pickled|not JSON serializable"):
            taken(make_pair(1))
    assert SECRET.decode() not in f"{make_pair(1)._asdict()}"


def test_secrets_of_two_kinds_are_not_equal() -> None:
    assert AuthenticationKey(SECRET) != StretchedKey(SECRET)


def test_an_authentication_key_is_no_dictionary_key() -> None:
    with pytest.raises(TypeError):
        hash(AuthenticationKey(SECRET))
    with pytest.raises(TypeError):
        hash(make_pair(1))


@given(st.binary(), st.binary())
def test_authentication_keys_are_equal_when_their_bytes_are(one: bytes, other: bytes) -> None:
    assert (AuthenticationKey(one) == AuthenticationKey(other)) == (one == other)
    assert (AuthenticationKey(one) != AuthenticationKey(other)) == (one != other)
    assert AuthenticationKey(one).reveal() == one


def test_an_authentication_key_equals_nothing_but_an_authentication_key() -> None:
    assert AuthenticationKey(SECRET) != SECRET
    assert AuthenticationKey(SECRET) != SECRET.decode()


def test_a_changed_buffer_does_not_change_the_key_made_from_it() -> None:
    buffer = bytearray(SECRET)
    key = AuthenticationKey(buffer)  # type: ignore[arg-type]
    buffer[:] = bytes(len(buffer))
    assert key.reveal() == SECRET


# key IDs and the parent tag


@given(SYSTEM_IDS, SYSTEM_IDS | st.just(0))
def test_a_new_key_id_is_a_key_id(system_id: int, partner_id: int) -> None:
    assert is_key_id(new_key_id(system_id, partner_id, os.urandom))


@given(SYSTEM_IDS, SYSTEM_IDS, st.binary(min_size=16, max_size=16))
def test_both_partners_make_key_ids_of_one_form(one: int, other: int, random: bytes) -> None:
    assert new_key_id(one, other, lambda n: random[:n]) == new_key_id(
        other, one, lambda n: random[:n]
    )
    assert parent_tag(one, other) == parent_tag(other, one)


def test_a_key_id_has_the_lower_system_id_first_as_a_number() -> None:
    key_id = new_key_id(0x90000000, 0x0A, bytes)
    assert key_id == "0000000A900000000101000000000000" + "0" * 32
    assert parent_tag(100, 20) == "20-100"


def test_a_system_without_partner_says_so_in_its_key_ids() -> None:
    assert new_key_id(0x080CF0C8, 0, bytes) == "080CF0C8000000000100000000000000" + "0" * 32
    assert parent_tag(135065800, 0) == "135065800"


def test_every_key_id_is_new() -> None:
    assert len({new_key_id(1, 2, os.urandom) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x0",
        "0" * 63,
        "0" * 65,
        "0" * 63 + "G",
        "0" * 64 + "\n",
        "\N{ARABIC-INDIC DIGIT ZERO}" * 64,
    ],
)
def test_other_texts_are_no_key_ids(text: str) -> None:
    assert not is_key_id(text)


# tags


@given(st.text(alphabet=[chr(code) for code in range(0x21, 0x7F)], min_size=1, max_size=64))
def test_a_key_tag_is_printable_and_without_blanks(text: str) -> None:
    assert is_key_tag(text)


@pytest.mark.parametrize("text", ["", "a b", "a\n", "a\x7f", "ä", "x" * 65, "\N{NO-BREAK SPACE}"])
def test_other_texts_are_no_key_tags(text: str) -> None:
    assert not is_key_tag(text)


# the keytable


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3))))
def test_merging_keeps_each_secret_of_a_key_id_once_and_in_order(
    drawn: list[tuple[int, int]],
) -> None:
    merged = merge(make_pair(number, bytes([secret])) for number, secret in drawn)
    for number in range(6):
        secrets = list(dict.fromkeys(bytes([s]) for n, s in drawn if n == number))
        entry = merged.get(make_key_id(number))
        assert ([key.reveal() for key in entry.candidates] if entry else []) == secrets
        assert entry is None or entry.contradicted == (len(secrets) > 1)


@given(
    st.lists(st.lists(st.integers(0, 9), unique=True)),
    st.lists(st.integers(0, 9), unique=True),
)
def test_the_keytable_holds_each_key_id_once(added: list[list[int]], final: list[int]) -> None:
    table = Keytable()
    expected: set[str] = set()
    for numbers in added:
        entries = merge(map(make_pair, numbers)).values()
        new = {entry.key_id for entry in entries} - expected
        assert table.add(entries) == len(new)
        expected |= new
        assert len(table) == len(expected)
        assert {entry.key_id for entry in table} == expected
        assert all(key_id in table and table.get(key_id) for key_id in expected)
    table.replace(merge(map(make_pair, final)).values())
    assert {entry.key_id for entry in table} == {make_key_id(number) for number in final}
    table.clear()
    assert len(table) == 0
    assert table.get(make_key_id(0)) is None


def test_the_keytable_grows_beyond_the_creation_limit() -> None:
    table = Keytable()
    table.add(merge(map(make_pair, range(1000))).values())
    assert len(table) == 1000


def test_what_the_keytable_is_fed_does_not_change_later() -> None:
    entries = list(merge([make_pair(1)]).values())
    table = Keytable()
    table.replace(entries)
    entries.clear()
    assert len(table) == 1
    with pytest.raises(AttributeError):
        next(iter(table)).tag = "other"  # type: ignore[misc]


def test_the_key_that_opened_a_disk_comes_before_the_other_candidates() -> None:
    table = Keytable()
    table.add(merge(make_pair(1, secret) for secret in (b"a", b"b", b"c")).values())
    table.prefer(make_key_id(1), AuthenticationKey(b"b"))
    entry = table.get(make_key_id(1))
    assert entry is not None
    assert [key.reveal() for key in entry.candidates] == [b"b", b"a", b"c"]
    assert len(table) == 1


def test_entries_and_pairs_do_not_show_their_keys() -> None:
    pair = make_pair(1)
    entry = Entry(pair.key_id, pair.tag, (pair.key,))
    assert SECRET.decode() not in f"{pair} {entry} {pair!r} {entry!r} {merge([pair])}"
