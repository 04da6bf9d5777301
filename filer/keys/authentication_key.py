"""The authentication key: the passphrase that opens disks, and that key servers keep."""

from enum import Enum
from typing import Final

from filer.keys.secret import Secret


class AuthenticationKey(Secret):
    """The bytes that open a disk."""

    __slots__ = ()
    kind = "authentication key"


class FactoryKey(Enum):
    """The type of `MSID`."""

    MSID = "MSID"


MSID: Final = FactoryKey.MSID
"""Stands for the factory key of the disk at hand, which is public: it is on the disk's label."""

DiskKey = AuthenticationKey | FactoryKey
"""What opens a disk."""
