"""What a manual passphrase consists of; a text that meets the rule may be one, and is hidden."""

from collections.abc import Callable

SHORTEST, LONGEST = 20, 32
"""Characters in a manual passphrase; a generated one has the most."""
_KINDS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("one upper-case letter", str.isupper),
    ("one lower-case letter", str.islower),
    ("one digit", str.isdigit),
    ("one other character", lambda char: not char.isalnum()),
)


def missing_kinds(passphrase: str) -> list[str]:
    """Return the kinds of characters that a manual passphrase would also have to have."""
    return [name for name, is_kind in _KINDS if not any(map(is_kind, passphrase))]


def is_passphrase(text: str) -> bool:
    """Say whether ``text`` meets every rule for a manual passphrase."""
    return (
        SHORTEST <= len(text) <= LONGEST
        and text.isascii()
        and text.isprintable()
        and not missing_kinds(text)
    )
