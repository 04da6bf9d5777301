"""Text from outside, made safe for a terminal and a log."""

from collections.abc import Sequence


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


def listed(names: Sequence[str], most: int = 12) -> str:
    """Return ``names`` as a list for a person; those beyond ``most`` are counted only."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
