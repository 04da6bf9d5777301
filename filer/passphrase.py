"""Passphrases: what a manual one must be like, and how one is generated."""

import string
from collections.abc import Callable

from filer.authentication_key import AuthenticationKey
from filer.errors import FilerError

SHORTEST, LONGEST = 20, 32
"""Characters in a manual passphrase; a generated one has the most."""

_ALPHABET = string.ascii_letters + string.digits + string.punctuation
_KINDS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("one upper-case letter", str.isupper),
    ("one lower-case letter", str.islower),
    ("one digit", str.isdigit),
    ("one other character", lambda char: not char.isalnum()),
)


class PassphraseError(FilerError):
    """A passphrase that breaks a rule; the text names the rule, never the passphrase."""


def _missing_kinds(passphrase: str) -> list[str]:
    return [name for name, is_kind in _KINDS if not any(map(is_kind, passphrase))]


def is_passphrase(text: str) -> bool:
    """Say whether ``text`` meets every rule for a manual passphrase."""
    return (
        SHORTEST <= len(text) <= LONGEST
        and text.isascii()
        and text.isprintable()
        and not _missing_kinds(text)
    )


def accept(entry: str, again: str) -> AuthenticationKey:
    """Return the authentication key for a passphrase that was entered twice.

    The key is the passphrase itself, its ASCII bytes.  Raises PassphraseError.
    """
    if entry != again:
        raise PassphraseError("the passphrases do not match")
    if not (entry.isascii() and entry.isprintable()):
        raise PassphraseError("a passphrase has printable ASCII characters only")
    if not SHORTEST <= len(entry) <= LONGEST:
        raise PassphraseError(f"a passphrase has {SHORTEST} to {LONGEST} characters")
    if missing := _missing_kinds(entry):
        raise PassphraseError(f"a passphrase has at least {', '.join(missing)}")
    return AuthenticationKey(entry.encode("ascii"))


def generate(random: Callable[[int], bytes]) -> AuthenticationKey:
    """Make a passphrase of 32 characters, each equally likely, that meets the same rules.

    ``random(n)`` returns n bytes from a cryptographic source.
    """
    unbiased = 256 - 256 % len(_ALPHABET)
    while True:
        chars: list[str] = []
        while len(chars) < LONGEST:
            chars += [_ALPHABET[byte % len(_ALPHABET)] for byte in random(64) if byte < unbiased]
        passphrase = "".join(chars[:LONGEST])
        if is_passphrase(passphrase):
            return AuthenticationKey(passphrase.encode("ascii"))
