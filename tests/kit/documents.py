"""Documents in docs/ that a test run keeps up to date."""

import fcntl
from collections.abc import Callable, Mapping
from pathlib import Path


def record(file: Path, update: Callable[[str], str]) -> bool:
    """Replace the text of ``file`` by its ``update``; return whether it was already up to date.

    Safe to call from several processes at once.
    """
    with file.open("a+", encoding="utf-8") as document:
        fcntl.flock(document, fcntl.LOCK_EX)
        document.seek(0)
        text = document.read()
        fresh = update(text)
        if fresh != text:
            document.truncate(0)
            document.write(fresh)
    return fresh == text


def with_tables(document: str, tables: Mapping[str, str]) -> str:
    """Return ``document`` with other rows in the first table under each heading in ``tables``."""
    for heading, rows in tables.items():
        section = document.index(f"\n## {heading}\n")
        begin = document.index("| --- |\n", section) + len("| --- |\n")
        end = document.index("\n\n", begin - 1) + 1
        document = f"{document[:begin]}{rows}{document[end:]}"
    return document
