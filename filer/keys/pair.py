"""A key pair: an authentication key with its key ID and key tag."""

import re
from typing import NamedTuple

from filer.keys.authentication_key import AuthenticationKey

_TAG = re.compile(r"[!-~]{1,64}")


NO_TAG = "-"
"""The tag of a key pair on a key server that has none for it."""


def is_key_tag(text: str) -> bool:
    """Return whether ``text`` is a key tag: 1 to 64 printable ASCII characters without spaces."""
    return _TAG.fullmatch(text) is not None


class KeyPair(NamedTuple):
    """An authentication key with its key ID and key tag."""

    key_id: str
    tag: str
    key: AuthenticationKey

    def matches(self, stored: "KeyPair") -> bool:
        """Return whether ``stored`` is this pair, as a server keeps it that may lack key tags."""
        return stored in (self, self._replace(tag=NO_TAG))
