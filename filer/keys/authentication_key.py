"""The authentication key: the passphrase that unlocks disks and is stored on key servers."""

from enum import Enum
from typing import Final

from filer.keys.secret import Secret


class AuthenticationKey(Secret):
    """The bytes that unlock a disk."""

    __slots__ = ()
    kind = "authentication key"


class FactoryKey(Enum):
    """The type of `MSID`."""

    MSID = "MSID"


MSID: Final = FactoryKey.MSID
"""Stands for the factory key of the disk at hand, which is public: it is on the disk's label."""

DiskKey = AuthenticationKey | FactoryKey
"""What opens a disk."""
