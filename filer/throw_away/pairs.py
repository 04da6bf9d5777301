"""Throw-away pairs: their key IDs have a system ID that no filer has."""

from collections.abc import Callable, Iterator
from itertools import cycle

from filer.keys.authentication_key import AuthenticationKey
from filer.keys.key_id import LAST_SYSTEM_ID, is_reserved, new_key_id, parent_tag
from filer.keys.pair import KeyPair
from filer.keys.passphrase import generate

SYSTEM = LAST_SYSTEM_ID + 2
PARENT_TAG = parent_tag(SYSTEM, 0)
TAG = "filer-qualify"

PUBLISHED_NAME = "SASED-M-2-14-name"
"""The name of the object in the test cases of the standard, which are sent as published."""

_SECRETS = 8
"""Different secrets of all pairs of a run; each costs a scrypt (0.1 s) for the ledger."""


class Mint:
    """Makes throw-away pairs.  ``random(n)`` returns n bytes from a cryptographic source."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._secrets: Iterator[AuthenticationKey] | None = None

    def name(self) -> str:
        """Return a key ID that no object has."""
        return new_key_id(SYSTEM, 0, self._random)

    def pair(self, tag: str = TAG, secret: bytes | None = None) -> KeyPair:
        """Return a new pair, with another secret than the last one unless one is given."""
        key = self._secret() if secret is None else AuthenticationKey(secret)
        return KeyPair(self.name(), tag, key)

    def _secret(self) -> AuthenticationKey:
        if self._secrets is None:
            self._secrets = cycle([generate(self._random) for _ in range(_SECRETS)])
        return next(self._secrets)


def may_be_destroyed(name: str) -> bool:
    """Return whether ``name`` is one that only objects of this program have."""
    return is_reserved(name) or name == PUBLISHED_NAME
