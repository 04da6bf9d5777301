"""The base type of all secrets."""

from typing import ClassVar, NoReturn


class Secret:
    """Bytes that ``repr``, ``str``, pickling, copying and logging never show.

    Two secrets of one kind compare in constant time.  Secrets are not hashable, so that none
    becomes a dictionary key that a debugger or a traceback would print.
    """

    __slots__ = ("_material",)
    __hash__ = None  # type: ignore[assignment]

    kind: ClassVar[str] = "secret"
    """Shown instead of the bytes."""

    def __init__(self, material: bytes) -> None:
        self._material = bytes(material)

    def reveal(self) -> bytes:
        """Return the bytes; only for cryptography and for requests to a key server."""
        return self._material

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        from hmac import compare_digest  # 3 ms, with hashlib

        return compare_digest(self._material, other._material)

    def __repr__(self) -> str:
        return f"<{self.kind}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self.kind}: cannot be pickled or copied")

    def __getstate__(self) -> NoReturn:
        self.__reduce__()
