"""Foreign text in messages: escaped, shortened, and hidden if it may be a secret."""

import re
from collections.abc import Callable, Iterator, Sequence

from filer.host.passphrase_rule import LONGEST, SHORTEST, is_passphrase, missing_kinds
from filer.host.text import printable

HIDDEN = "(not shown: it may be a secret)"

_MOST_SHOWN = 64
"""Characters of a foreign text in a message; enough for a key ID."""

_AROUND = "\"'`\\;,"
"""Quotes, and what may end a word of a command line."""

_GLUE = re.compile(r"[=:({\[\"']+")
"""What may join a passphrase to a word before it, as in ``-passphrase=``."""

_MOST_AROUND = 4
"""Characters of `_AROUND` at the ends of a passphrase, which count for its length."""

_TYPED = re.compile(r"[^\s;]+;*|;+")
"""A word of a command line as it was typed."""

_RUN = re.compile(rf"[A-Za-z0-9+/]{{{SHORTEST},}}")
_ASCII = re.compile(rf"[ -~]{{{SHORTEST},}}")
_WORD = re.compile(rf"[!-~]{{{SHORTEST},}}")

_KINDS_CLOSE = re.compile(
    "".join(
        rf"(?=.{{0,{LONGEST - 1}}}{kind})" for kind in ("[A-Z]", "[a-z]", "[0-9]", "[^A-Za-z0-9]")
    )
)
"""Matches where the kinds of characters that a passphrase needs are close enough together."""

_MOST_QUOTED = 128
"""Characters of a server's message that are shown."""


def may_be_secret(text: str) -> bool:
    """Say whether ``text`` or a word of it could be a passphrase, or a piece of a private key.

    A piece of a private key is in base64.  Hexadecimal digits of one case, as in a key ID, are
    neither.
    """
    text = text.replace("\0", "")  # between the letters of UTF-16
    return (
        is_passphrase(text.strip())
        or is_passphrase(text.strip(f"{_AROUND} "))
        or any(_KINDS_CLOSE.search(run) for run in _WORD.findall(text))
        or any(
            any(map(str.isupper, run)) and any(map(str.islower, run)) and any(map(str.isdigit, run))
            for run in _RUN.findall(text)
        )
    )


def secret_words(text: str, is_known: Callable[[int], bool] = lambda _: False) -> int | None:
    """Return the offset of the first word of ``text`` with which a passphrase of words may begin.

    Return None if there is none.  ``is_known`` says of the offset of a word that the word is part
    of no passphrase.
    """
    if missing_kinds(text):
        return None
    words = list(_TYPED.finditer(text))
    for index, first in enumerate(words):
        for start in (first.start() + each for each in _starts(first[0])):
            ends = list(_ends(start, words[index : index + LONGEST], is_known))
            if ends and not missing_kinds(text[start : ends[-1]]):
                runs = (text[start:end] for end in ends)
                if any(is_passphrase(form) for run in runs for form in _forms(run)):
                    return start
    return None


def _starts(word: str) -> Iterator[int]:
    """Yield where in ``word`` a passphrase may begin."""
    yield 0
    yield from (glue.end() for glue in _GLUE.finditer(word) if glue.end() < len(word))


def _ends(
    start: int, words: Sequence[re.Match[str]], is_known: Callable[[int], bool]
) -> Iterator[int]:
    """Yield the offset behind each of ``words`` with which a passphrase from ``start`` may end."""
    length = 0
    before = start
    for word in words:
        begin = max(word.start(), start)
        length += word.end() - begin + (begin > before)
        if length > LONGEST + _MOST_AROUND or is_known(word.start()) or not word[0].isascii():
            return
        before = word.end()
        yield before


def _forms(run: str) -> Iterator[str]:
    """Yield what may have been meant: blanks may be doubled, and quotes be around it."""
    joined = " ".join(run.split())
    yield from (run, joined, joined.strip(_AROUND))


def may_contain_secret(text: str) -> bool:
    """Say whether ``text`` may be a secret, or some of its words a passphrase."""
    return may_be_secret(text) or secret_words(text) is not None


def shortened(text: str, most: int = _MOST_SHOWN) -> str:
    """Return ``text`` escaped; at most ``most`` characters of it."""
    return printable(text) if len(text) <= most else f"{printable(text[:most])}..."


def named(text: str) -> str:
    """Return ``text`` escaped and shortened; hidden if it may be a secret.

    A user may paste a passphrase or a line of a private key in the wrong place; the message that
    rejects it goes into logs and recordings.
    """
    return HIDDEN if may_contain_secret(text) else shortened(text)


def shown_answer(text: str) -> str:
    """Return an answer escaped, as logs and recordings show it; hidden if it may be a secret.

    In a script that is out of step, a passphrase may answer the wrong question.
    """
    return HIDDEN if may_contain_secret(text) else printable(text)


def quoted(text: str) -> str:
    """Return ``text`` as `named` does, but in quotes unless it is hidden."""
    return HIDDEN if may_contain_secret(text) else f'"{shortened(text)}"'


def quotation(text: str) -> str:
    """Return a server's message on one line in quotes; "" if it is empty or may contain a secret.

    A server knows the keys, and could repeat one anywhere in its message.  So this is stricter than
    `may_be_secret`: 20 to 32 characters that meet the rule for passphrases hide the whole message,
    and so does any run of 20 letters and digits.
    """
    text = text[: _MOST_QUOTED + LONGEST].strip()
    if not text or _RUN.search(text) or any(map(_contains_passphrase, _ASCII.findall(text))):
        return ""
    return f'"{shortened(text, _MOST_QUOTED)}"'


def _contains_passphrase(text: str) -> bool:
    starts = range(max(1, len(text) - LONGEST + 1))
    return any(is_passphrase(text[start : start + LONGEST]) for start in starts)
