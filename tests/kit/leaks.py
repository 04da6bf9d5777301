"""Find leaked secrets: the stored secrets, their encodings, and the places that have them."""

import html
import json
import os
import sqlite3
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

_MANY, _START = 2000, 8
"""With more forms than that, they are found by their first bytes."""

STORES = "*.sqlite*"
"""The files in which key servers must store keys."""


def stored_secrets(store: Path) -> set[bytes]:
    """Return every authentication key in the store of a key server; none if it is not a store."""
    try:
        with closing(sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True)) as opened:
            rows = opened.execute(
                "SELECT value FROM managed_objects NATURAL JOIN secret_data_objects"
            )
            return {value for (value,) in rows}
    except sqlite3.Error:
        return set()


def forms(secret: bytes) -> set[bytes]:
    """Return the encodings of ``secret`` that identify it anywhere in a text."""
    text = secret.decode("latin-1")
    return {
        secret,
        secret.hex().encode(),
        secret.hex().upper().encode(),
        secret.hex(" ").encode(),
        secret.hex(":").encode(),
        text.encode("utf-16-le")[:-1],  # without its last zero it is part of the big-endian form
        repr(secret)[2:-1].encode(),
        json.dumps(text)[1:-1].encode(),
        html.escape(text).encode(),
        quote(secret, safe="").encode(),
        *(_base64(secret, before) for before in range(3)),
    }


def _base64(secret: bytes, before: int) -> bytes:
    """Return the base64 characters that depend only on ``secret``, after ``before`` other bytes."""
    encoded = b64encode(bytes(before) + secret)
    return encoded[-(-before * 8 // 6) : (before + len(secret)) * 8 // 6]


class Secrets:
    """Secrets to search for: few at a time, or thousands, for which each place is looked up."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        found = {form for secret in secrets for form in forms(secret)}
        self._few = {form for form in found if len(found) <= _MANY or len(form) < _START}
        self._by_start: dict[bytes, list[bytes]] = {}
        for form in found - self._few:
            self._by_start.setdefault(form[:_START], []).append(form)

    def are_in(self, data: bytes) -> bool:
        """Return whether any encoding of any secret is in ``data``."""
        return any(form in data for form in self._few) or any(
            data.startswith(form, at)
            for at in range(len(data) if self._by_start else 0)
            for form in self._by_start.get(data[at : at + _START], ())
        )

    def holders(self, files: Iterable[Path]) -> list[Path]:
        """Return the files that have a secret in their content or name."""
        return [path for path in files if self.are_in(os.fsencode(path) + b"\0" + contents(path))]


def contents(path: Path) -> bytes:
    """Return the content of a file without the holes of a sparse one; empty if it is gone."""
    parts = []
    with suppress(OSError), path.open("rb", buffering=0) as file:
        end = os.fstat(file.fileno()).st_size
        hole = 0
        while hole < end:
            data = file.seek(hole, os.SEEK_DATA)
            hole = file.seek(data, os.SEEK_HOLE)
            file.seek(data)
            parts.append(file.read(hole - data))
    return b"\0".join(parts)


def family(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text(encoding="ascii").split():
            yield from family(int(child))


def visible(pid: int) -> dict[str, bytes]:
    """Return what the system shows about a process, its descendants and their open files."""
    seen = {}
    for each in family(pid):
        process = Path(f"/proc/{each}")
        for path in (process / "cmdline", process / "environ", *process.glob("fd/*")):
            if path.is_file():
                seen[f"{path} -> {path.resolve()}"] = path.read_bytes()
    return seen
