"""The authentication key: the one secret of storage encryption, in a type that keeps it."""

from typing import NoReturn


class AuthenticationKey:
    """The bytes that open a disk; never shown by ``repr``, ``str``, pickling or logging.

    Two keys compare in constant time, and a key cannot be hashed, so that none ends up as a
    dictionary key that a debugger or a traceback would print.
    """

    __slots__ = ("_material",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, material: bytes) -> None:
        self._material = bytes(material)

    def reveal(self) -> bytes:
        """Return the bytes themselves, for key derivation and for a key server only."""
        return self._material

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AuthenticationKey):
            return NotImplemented
        from hmac import compare_digest

        return compare_digest(self._material, other._material)

    def __repr__(self) -> str:
        return "<authentication key>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an authentication key cannot be pickled")
