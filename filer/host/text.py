"""Foreign text, made safe for terminals and logs."""

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
    from difflib import get_close_matches  # 2 ms

    by_folded = {name.casefold(): name for name in names}
    found = get_close_matches(word.casefold(), by_folded, n=1, cutoff=cutoff)
    return by_folded[found[0]] if found else None


def listed(names: Sequence[str], most: int = 12) -> str:
    """Return ``names`` joined by commas; those beyond ``most`` are only counted."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
