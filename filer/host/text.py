"""Text from outside, made safe for a terminal and a log."""

from collections.abc import Iterable, Sequence


def printable(text: str | bytes) -> str:
    """Return ``text`` on one line, with everything that is not printable escaped.

    Bytes are read as UTF-8; what is not UTF-8 is escaped byte by byte.  Escapes have the form
    ``\\x1b`` or ``\\u202e``, so that control sequences, line ends and direction marks from a
    server, a certificate or a file name never reach a terminal.
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
    """Return the one of ``names`` that ``word`` is a slip of; ``cutoff`` is difflib's ratio."""
    from difflib import get_close_matches  # 2 ms

    by_folded = {name.casefold(): name for name in names}
    found = get_close_matches(word.casefold(), by_folded, n=1, cutoff=cutoff)
    return by_folded[found[0]] if found else None


def listed(names: Sequence[str], most: int = 12) -> str:
    """Return ``names`` as a list for a person; those beyond ``most`` are counted only."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
