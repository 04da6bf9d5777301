"""A key pair: an authentication key with its key ID and key tag."""

import re
from typing import NamedTuple

from filer.keys.authentication_key import AuthenticationKey

_TAG = re.compile(r"[!-~]{1,64}")


def is_key_tag(text: str) -> bool:
    """Return whether ``text`` is a key tag: 1 to 64 printable ASCII characters without spaces."""
    return _TAG.fullmatch(text) is not None


class KeyPair(NamedTuple):
    """An authentication key with its key ID and key tag."""

    key_id: str
    tag: str
    key: AuthenticationKey
