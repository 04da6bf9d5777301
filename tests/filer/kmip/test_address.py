"""Addresses of key servers."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filer.kmip.address import AddressError, parse_address


@pytest.mark.parametrize(
    ("typed", "canonical"),
    [
        ("127.0.0.2", "127.0.0.2"),
        ("::1", "::1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("::ffff:127.0.0.2", "127.0.0.2"),
        ("::FFFF:7f00:2", "127.0.0.2"),
    ],
)
def test_an_address_has_one_canonical_form(typed: str, canonical: str) -> None:
    assert parse_address(typed) == canonical


@pytest.mark.parametrize(
    "typed",
    [
        "",
        " ",
        "keyserver.example.com",
        "127.0.0.02",
        "127.1",
        "127.0.0.2:5696",
        "[::1]",
        "[::1]:5696",
        "fe80::1%eth0",
        "fe80::1%",
        "127.0.0.2 ",
        "127.0.0.2/32",
        "2130706434",
        "0x7f000002",
        "127.0.0.\N{ARABIC-INDIC DIGIT TWO}",
        "1" * 100_000,
    ],
)
def test_what_is_no_address_is_refused_as_a_name(typed: str) -> None:
    with pytest.raises(AddressError) as refusal:
        parse_address(typed)
    assert str(refusal.value).endswith('" is not an IP address; key servers cannot be named by DNS')


def test_a_refused_name_is_shown_without_what_a_terminal_would_obey() -> None:
    with pytest.raises(AddressError) as refusal:
        parse_address("a\x1b[2J\nb")
    assert str(refusal.value) == (
        '"a\\x1b[2J\\nb" is not an IP address; key servers cannot be named by DNS'
    )


@pytest.mark.parametrize(
    ("typed", "kind"),
    [
        ("0.0.0.0", "the unspecified"),
        ("::", "the unspecified"),
        ("::ffff:0.0.0.0", "the unspecified"),
        ("224.0.0.1", "a multicast"),
        ("ff02::1", "a multicast"),
        ("255.255.255.255", "the broadcast"),
    ],
)
def test_an_address_that_no_single_server_has_is_refused(typed: str, kind: str) -> None:
    with pytest.raises(AddressError, match=f"is {kind} address, not that of a key server"):
        parse_address(typed)


@given(st.ip_addresses())
def test_an_accepted_address_is_accepted_again_unchanged(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    try:
        canonical = parse_address(str(address))
    except AddressError:
        return
    assert parse_address(canonical) == canonical


@given(st.text())
def test_any_text_is_an_address_or_one_printable_line(text: str) -> None:
    try:
        answer = parse_address(text)
    except AddressError as refusal:
        answer = str(refusal)
    assert answer.isprintable()
