"""The order in which disks try the secrets of key servers that disagree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filer.key_servers.holdings import Holdings
from filer.key_servers.ranking import KEPT_OF_ONE_SERVER, rank
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.keytable import Entry, Keytable
from filer.keys.pair import KeyPair

KEY_ID, OTHER = "A" * 64, "B" * 64

Held = dict[str, list[str]]


def ranked(held: Held) -> list[str]:
    """Return the secrets under KEY_ID in the order in which disks try them."""
    ranking = rank(
        {
            server: [KeyPair(KEY_ID, "tag", AuthenticationKey(each.encode())) for each in secrets]
            for server, secrets in held.items()
        }
    )
    (entry,) = ranking.entries.values()
    return [key.reveal().decode() for key in entry.candidates]


@pytest.mark.parametrize(
    ("held", "order"),
    [
        ({"a": ["T"]}, ["T"]),
        ({"a": ["T", "T"], "b": ["T"]}, ["T"]),
        # most servers
        ({"a": ["S"], "b": ["T"], "c": ["T"]}, ["T", "S"]),
        ({"a": ["S"], "b": ["T"], "c": ["U"], "d": ["U"]}, ["U", "S", "T"]),
        # a tie: the server registered first
        ({"a": ["S"], "b": ["T"]}, ["S", "T"]),
        ({"b": ["T"], "a": ["S"]}, ["T", "S"]),
        ({"a": ["S"], "b": ["T"], "c": ["T"], "d": ["S"]}, ["S", "T"]),
        # several on one server: last
        ({"a": ["S", "U"], "b": ["T"]}, ["T", "S", "U"]),
        ({"a": ["S", "U"], "b": ["U", "S"], "c": ["T"]}, ["T", "S", "U"]),
        # several servers with several secrets: most servers first, then in turn
        ({"a": ["S", "U"], "b": ["V", "U"]}, ["U", "S", "V"]),
        ({"a": ["S", "U", "W"], "b": ["V", "T"]}, ["S", "V", "U", "T", "W"]),
        # a server with several secrets confirms one that another server holds alone
        ({"a": ["S"], "b": ["T"], "c": ["X", "T"]}, ["T", "S", "X"]),
    ],
)
def test_the_order(held: Held, order: list[str]) -> None:
    assert ranked(held) == order


def test_of_one_server_at_most_sixteen_are_kept_and_it_is_named() -> None:
    wrong = [f"wrong {number}" for number in range(1040)]
    pairs = {"a": wrong, "b": ["T"], "c": ["old", "T"]}
    assert ranked(pairs) == ["T", "wrong 0", "old", *wrong[1:KEPT_OF_ONE_SERVER]]
    ranking = rank(
        {"a": [KeyPair(KEY_ID, "tag", AuthenticationKey(each.encode())) for each in wrong]}
    )
    assert [str(surplus) for surplus in ranking.surplus] == [
        f"key server a holds 1040 keys for key ID {KEY_ID}; only 16 of them are kept"
    ]
    assert len(ranking.entries[KEY_ID].candidates) == 16


class Counting(AuthenticationKey):
    """A key that counts comparisons."""

    __slots__ = ()
    comparisons = 0

    def __eq__(self, other: object) -> bool:
        Counting.comparisons += 1
        return super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]


def test_the_work_does_not_grow_with_the_square_of_the_secrets() -> None:
    def work(secrets: int) -> int:
        Counting.comparisons = 0
        held = [KeyPair(KEY_ID, "t", Counting(b"%d" % number)) for number in range(secrets)]
        holdings = Holdings({"a": held, "b": held[:1]}, {})
        assert len(holdings.ranking.entries[KEY_ID].candidates) == KEPT_OF_ONE_SERVER
        assert holdings.holds(KEY_ID, held[0].key)
        assert not holdings.holds(KEY_ID, held[-1].key)
        assert holdings.contradictions() == {KEY_ID: ["a", "b"]}
        assert holdings.servers_with_another(KEY_ID, held[0].key) == ["a"]
        return Counting.comparisons

    few, many = work(1000), work(8000)
    assert many < 8 * few + 1000


@given(
    st.dictionaries(
        st.sampled_from("abcd"), st.lists(st.sampled_from("STUVW"), min_size=1), min_size=1
    )
)
def test_every_secret_is_a_candidate_once(held: Held) -> None:
    order = ranked(held)
    assert sorted(order) == sorted({each for secrets in held.values() for each in secrets})


def test_key_ids_are_ranked_each_for_itself() -> None:
    pairs = {
        "a": [KeyPair(KEY_ID, "x", AuthenticationKey(b"S"))],
        "b": [
            KeyPair(KEY_ID, "y", AuthenticationKey(b"T")),
            KeyPair(OTHER, "z", AuthenticationKey(b"U")),
        ],
    }
    entries = rank(pairs).entries
    assert {key_id: entry.contradicted for key_id, entry in entries.items()} == {
        KEY_ID: True,
        OTHER: False,
    }
    assert [entry.tag for entry in entries.values()] == ["x", "z"]


def test_what_opens_a_disk_goes_first_and_what_was_refused_last() -> None:
    keys = {name: AuthenticationKey(name.encode()) for name in "STU"}
    keytable = Keytable()
    keytable.add([Entry(KEY_ID, "tag", tuple(keys.values()))])

    def order() -> str:
        entry = keytable.get(KEY_ID)
        assert entry is not None
        return b"".join(key.reveal() for key in entry.candidates).decode()

    keytable.defer(KEY_ID, keys["S"])
    assert order() == "TUS"
    keytable.prefer(KEY_ID, keys["U"])
    assert order() == "UTS"
    keytable.defer(KEY_ID, keys["S"])
    assert order() == "UTS"
