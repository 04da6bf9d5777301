"""The authentication key: the passphrase that opens disks, and that key servers keep."""

from filer.keys.secret import Secret


class AuthenticationKey(Secret):
    """The bytes that open a disk."""

    __slots__ = ()
    kind = "authentication key"
