"""Who may read what, by the policies of PyKMIP's engine."""

from collections.abc import Callable, Collection
from typing import NamedTuple

from filer.keyserver.reading.understanding import KINDS
from filer.keyserver.request import Operation


class Scope(NamedTuple):
    """Objects of some types under one policy."""

    policy: str
    kinds: Collection[int]
    of_all: bool
    """Whether the objects of all owners belong to it, or only those of the client."""


class Rights:
    """Answers of the engine, each asked for once.

    ``is_allowed`` takes the name of a policy, whether the client owns the object, the type of the
    object, and the operation.
    """

    def __init__(
        self,
        is_allowed: Callable[[str, bool, int, Operation], bool],
        policies: Collection[str],
    ) -> None:
        self._is_allowed = is_allowed
        self._known: dict[tuple[str, bool, int, Operation], bool] = {}
        self.locatable = [
            Scope(policy, kinds, of_all)
            for policy in policies
            for of_all in (True, False)
            if (kinds := self._kinds(policy, of_all))
        ]

    def may(self, policy: str, owns: bool, kind: int, operation: Operation) -> bool:
        """Return whether a client may use ``operation`` on an object that it ``owns`` or not."""
        key = policy, owns, kind, operation
        if key not in self._known:
            self._known[key] = self._is_allowed(*key)
        return self._known[key]

    def _kinds(self, policy: str, of_all: bool) -> list[int]:
        """Return the types that any client may locate, or those that only an owner may."""
        any_client = {kind for kind in KINDS if self.may(policy, False, kind, Operation.LOCATE)}
        if of_all:
            return sorted(any_client)
        owner = {kind for kind in KINDS if self.may(policy, True, kind, Operation.LOCATE)}
        return sorted(owner - any_client)
