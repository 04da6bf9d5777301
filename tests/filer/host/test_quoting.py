"""Messages of a server that may be shown."""

import pytest

from filer.host.quoting import quotation

PASSPHRASE = "Correct horse 9 battery staple"
GENERATED = r"""kX7[~'q\"Zp)0o4!Bw]c2V{rT%n&Yh|="""


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("not authorised", '"not authorised"'),
        ("Schlüssel nicht verfügbar: 鍵\n", '"Schlüssel nicht verfügbar: 鍵"'),
        ("\x1b[2J\u202e", '"\\x1b[2J\\u202e"'),
        ("See server logs for more information.", '"See server logs for more information."'),
        ("a " * 1000, '"' + "a " * 64 + '..."'),
        ("", ""),
        (" \n", ""),
    ],
)
def test_a_message_is_quoted_on_one_line(message: str, shown: str) -> None:
    assert quotation(message) == shown


@pytest.mark.parametrize("secret", [PASSPHRASE, GENERATED, GENERATED[:20] + "A1b!", "0" * 32])
@pytest.mark.parametrize(
    "message",
    ["{}", "your key is {}.", "鍵{}鍵", "\x1b{}", "a " * 55 + "{} is the key", "x" * 40 + "{}"],
)
def test_a_message_with_a_key_anywhere_is_not_shown(secret: str, message: str) -> None:
    assert quotation(message.format(secret)) == ""


def test_a_key_that_is_cut_off_is_not_shown_in_part() -> None:
    for length in range(90, 180):
        shown = quotation("a " * (length // 2) + PASSPHRASE)
        assert not shown or "Correct" not in shown
