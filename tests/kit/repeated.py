"""Keys, key IDs and serial numbers that are the same in each test, and what scrypt makes of them.

A run of scrypt takes 0.1 s, so each process of the tests runs it once for a key.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from filer.keyserver.server import KeyServer


class Repeated:
    """A source of bytes: what it returns for the n-th time of a size is always the same.

    Sources with different names have nothing in common. ``position`` counts what was drawn of each
    size; set it to draw the same again.
    """

    def __init__(self, name: str = "") -> None:
        self._name = name
        self.position: Counter[int] = Counter()
        self._guard = Lock()

    def __call__(self, size: int) -> bytes:
        with self._guard:
            self.position[size] += 1
            number = self.position[size]
        return hashlib.shake_256(f"{self._name}:{size}:{number}".encode()).digest(size)


_sources: dict[Path, Repeated] = {}


def repeated_beside(root: Path, servers: Sequence[KeyServer] = ()) -> Repeated:
    """Return the source of all filers that share key servers or a directory, so no key repeats."""
    place = servers[0].directory if servers else root
    shared = _sources.setdefault(place.parent, Repeated())
    return _sources.setdefault(root, shared)


class Remembered:
    """``hashlib.scrypt``, which computes each of its ``results`` once."""

    def __init__(self) -> None:
        self.results: dict[object, bytes] = {}
        self._scrypt = hashlib.scrypt

    def __call__(self, password: bytes, **more: Any) -> bytes:
        key = (password, *more.items())
        if key not in self.results:
            self.results[key] = self._scrypt(password, **more)
        return self.results[key]
