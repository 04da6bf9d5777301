"""The rule for manual passphrases; messages hide every text that meets it."""

from collections.abc import Callable

SHORTEST, LONGEST = 20, 32
"""Characters in a manual passphrase; a generated one has LONGEST."""
_KINDS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("one upper-case letter", str.isupper),
    ("one lower-case letter", str.islower),
    ("one digit", str.isdigit),
    ("one other character", lambda char: not char.isalnum()),
)


def missing_kinds(passphrase: str) -> list[str]:
    """Return the kinds of characters that a manual passphrase needs and this one lacks."""
    return [name for name, is_kind in _KINDS if not any(map(is_kind, passphrase))]


def is_passphrase(text: str) -> bool:
    """Say whether ``text`` meets every rule for a manual passphrase."""
    return (
        SHORTEST <= len(text) <= LONGEST
        and text.isascii()
        and text.isprintable()
        and not missing_kinds(text)
    )
