"""Passphrases: the rules for one that the user enters, and generation."""

import string
from collections.abc import Callable

from filer.host.errors import FilerError
from filer.host.passphrase_rule import LONGEST, SHORTEST, is_passphrase, missing_kinds
from filer.keys.authentication_key import AuthenticationKey

_ALPHABET = string.ascii_letters + string.digits + string.punctuation


class PassphraseError(FilerError):
    """A passphrase that breaks a rule; the text names the rule, never the passphrase."""


def accept(entry: str, again: str) -> AuthenticationKey:
    """Return the authentication key for a passphrase that was entered twice.

    The key is the passphrase itself, its ASCII bytes.  Raises PassphraseError.
    """
    if entry != again:
        raise PassphraseError("the passphrases do not match")
    if not (entry.isascii() and entry.isprintable()):
        raise PassphraseError("a passphrase must have only printable ASCII characters")
    if not SHORTEST <= len(entry) <= LONGEST:
        raise PassphraseError(f"a passphrase must have {SHORTEST} to {LONGEST} characters")
    if missing := missing_kinds(entry):
        raise PassphraseError(f"a passphrase must have at least {', '.join(missing)}")
    return AuthenticationKey(entry.encode("ascii"))


def generate(random: Callable[[int], bytes]) -> AuthenticationKey:
    """Generate a passphrase of 32 uniformly distributed characters that meets the same rules.

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
