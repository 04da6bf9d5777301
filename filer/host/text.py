"""Foreign text, made safe for terminals and logs."""

import re
from collections.abc import Iterable, Sequence


def printable(text: str | bytes) -> str:
    """Return ``text`` on one line, with unprintable characters escaped, such as ``\\x1b``.

    Bytes are decoded as UTF-8; invalid ones are escaped.  So control sequences, line ends and
    direction marks from a server, a certificate or a file name never reach a terminal.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="backslashreplace")
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text.encode("utf-8", errors="backslashreplace").decode("utf-8")
    )


def nearest(word: str, names: Iterable[str], cutoff: float = 0.7) -> str | None:
    """Return the name that ``word`` may be a typo of; ``cutoff`` is difflib's ratio."""
    return next(iter(near_names(word, names, 1, cutoff)), None)


def near_names(word: str, names: Iterable[str], most: int, cutoff: float = 0.7) -> list[str]:
    """Return the ``most`` names that ``word`` may be a typo of, the nearest first."""
    from difflib import get_close_matches  # 2 ms

    by_folded = {name.casefold(): name for name in names}
    found = get_close_matches(word.casefold(), by_folded, n=most, cutoff=cutoff)
    return [by_folded[each] for each in found]


def listed(names: Sequence[str], most: int = 12) -> str:
    """Return ``names`` joined by commas; those beyond ``most`` are only counted."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def is_hostname(text: str) -> bool:
    """Return whether ``text`` is a valid name of a filer."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", text) is not None
