"""Passphrases: rules and generation."""

import os
import string
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filer.host.passphrase_rule import LONGEST, SHORTEST, is_passphrase
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.passphrase import PassphraseError, accept, generate

GOOD = "Correct-horse-battery-1"
PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F))


def refusal(entry: str, again: str | None = None) -> str:
    with pytest.raises(PassphraseError) as caught:
        accept(entry, entry if again is None else again)
    return str(caught.value)


def meets_the_rules(text: str) -> bool:
    """The rules of the manual, implemented independently."""
    return (
        20 <= len(text) <= 32
        and set(text) <= set(PRINTABLE)
        and bool(set(text) & set(string.ascii_uppercase))
        and bool(set(text) & set(string.ascii_lowercase))
        and bool(set(text) & set(string.digits))
        and bool(set(text) - set(string.ascii_letters + string.digits))
    )


def test_a_good_passphrase_is_the_key_itself() -> None:
    assert accept(GOOD, GOOD) == AuthenticationKey(GOOD.encode())
    assert accept(GOOD, GOOD).reveal() == GOOD.encode("ascii")


@pytest.mark.parametrize("length", [SHORTEST, LONGEST])
def test_the_shortest_and_the_longest_are_accepted(length: int) -> None:
    passphrase = "Aa1-".ljust(length, "x")
    assert accept(passphrase, passphrase).reveal() == passphrase.encode()


@pytest.mark.parametrize("length", [0, 1, SHORTEST - 1, LONGEST + 1, 1000])
def test_a_shorter_or_longer_one_is_refused(length: int) -> None:
    assert (
        refusal("Aa1-".ljust(length, "x")[:length]) == "a passphrase must have 20 to 32 characters"
    )


@pytest.mark.parametrize(
    ("passphrase", "missing"),
    [
        ("aaaaaaaaaaaaaaaaaaaa1-", "one upper-case letter"),
        ("AAAAAAAAAAAAAAAAAAAA1-", "one lower-case letter"),
        ("Aaaaaaaaaaaaaaaaaaaaa-", "one digit"),
        ("Aaaaaaaaaaaaaaaaaaaa11", "one other character"),
        ("-" * 20, "one upper-case letter, one lower-case letter, one digit"),
    ],
)
def test_a_missing_kind_of_character_is_named(passphrase: str, missing: str) -> None:
    assert refusal(passphrase) == f"a passphrase must have at least {missing}"


def test_a_blank_is_a_printable_character_of_its_own_kind() -> None:
    passphrase = "Correct horse battery 1"
    assert accept(passphrase, passphrase).reveal() == passphrase.encode()


@pytest.mark.parametrize(
    "odd", ["\u00e4", "\u0130", "\u0661", "\t", "\n", "\x7f", "\x1b", "\0", "\udc80"]
)
def test_what_is_not_printable_ascii_is_refused(odd: str) -> None:
    assert refusal(GOOD + odd) == "a passphrase must have only printable ASCII characters"
    assert not is_passphrase(GOOD + odd)


@pytest.mark.parametrize("again", ["", GOOD.lower(), GOOD + " ", GOOD[:-1]])
def test_two_entries_that_differ_are_refused(again: str) -> None:
    assert refusal(GOOD, again) == "the passphrases do not match"


@given(st.text(alphabet=st.sampled_from(PRINTABLE + "\u00e4\n"), max_size=40))
def test_exactly_what_meets_the_rules_is_accepted(text: str) -> None:
    assert is_passphrase(text) == meets_the_rules(text)
    if meets_the_rules(text):
        assert accept(text, text).reveal() == text.encode()
    else:
        reason = refusal(text)
        assert len(text) < 5 or text not in reason


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_passphrase_is_accepted_or_refused_in_one_line(entry: str, again: str) -> None:
    if entry == again and meets_the_rules(entry):
        assert accept(entry, again).reveal() == entry.encode()
    else:
        assert refusal(entry, again).isprintable()


@given(st.integers(0, 2**64))
def test_a_generated_passphrase_meets_the_rules(seed: int) -> None:
    text = generate(Random(seed).randbytes).reveal().decode("ascii")
    assert len(text) == 32
    assert meets_the_rules(text)
    assert " " not in text


def test_generated_passphrases_are_all_different() -> None:
    made = {generate(os.urandom).reveal() for _ in range(500)}
    assert len(made) == 500


def test_no_character_is_more_likely_than_another() -> None:
    """Bytes that would favour the first characters are discarded."""
    counts = Counter("".join(generate(os.urandom).reveal().decode() for _ in range(3000)))
    assert len(counts) == 94
    mean = 3000 * 32 / 94
    # Just over six standard deviations; the rules slightly favour digits.
    assert all(0.75 * mean < count < 1.3 * mean for count in counts.values())


def test_bytes_beyond_the_last_whole_alphabet_are_not_used() -> None:
    asked: list[int] = []

    def source(count: int) -> bytes:
        asked.append(count)
        if len(asked) == 1:
            return b"\xff" * count  # 255 is beyond 2 * 94
        return (b"\x00\x1a\x34\x3e" * count)[:count]  # a, A, 0, !

    assert generate(source).reveal() == b"aA0!" * 8
    assert len(asked) == 2


def test_a_passphrase_that_breaks_a_rule_by_chance_is_made_again() -> None:
    answers = [bytes(64), b"\x00\x1a\x34\x3e" * 16]
    assert generate(lambda count: answers.pop(0)).reveal() == b"aA0!" * 8
    assert answers == []
