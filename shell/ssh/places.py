"""A limited number of places, shared fairly: the idlest of the largest group makes room."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item", bound=Hashable)
Groups = tuple[Hashable, ...]
"""What an item belongs to, such as its user and its address."""


class Places(Generic[Item]):
    """The items that have a place, each with the groups that it counts for.

    ``idle`` returns how long an item has been idle, in seconds, or None while it is at work.
    ``burden`` returns what else speaks against it; items of the greatest burden go first.
    """

    def __init__(
        self,
        idle: Callable[[Item], float | None],
        burden: Callable[[Item], int] = lambda _item: 0,
    ) -> None:
        self._idle = idle
        self._burden = burden
        self._groups: dict[Item, Groups] = {}
        self._counts: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._groups)

    def count(self, group: Hashable) -> int:
        """Return how many items of ``group`` have a place."""
        return self._counts[group]

    def add(self, item: Item, groups: Groups) -> None:
        """Give ``item`` a place."""
        self._groups[item] = groups
        self._counts.update(groups)

    def remove(self, item: Item) -> None:
        """Free the place of ``item``, if it has one."""
        for group in self._groups.pop(item, ()):
            self._counts[group] -= 1
            if not self._counts[group]:
                del self._counts[group]

    def to_displace(self, within: Hashable = None) -> Item | None:
        """Return what makes room for a newcomer; None if all are at work.

        That is, of the largest groups (of ``within`` only, if given), the item that has been
        idle longest.
        """
        best: tuple[int, int, float] | None = None
        displaced: Item | None = None
        for item, groups in self._groups.items():
            if within is not None and within not in groups:
                continue
            idle = self._idle(item)
            if idle is None:
                continue
            size = sum(self._counts[group] for group in groups)
            rank = self._burden(item), size, idle
            if best is None or rank > best:
                best, displaced = rank, item
        return displaced


class Misses:
    """How many connections of a network have ended without a login since its last one.

    Only the ``most`` networks that missed last are known.
    """

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._counts: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def of(self, network: str) -> int:
        """Return the count of ``network``."""
        return self._counts.get(network, 0)

    def add(self, network: str) -> None:
        """Count a connection that ended without a login."""
        self._counts[network] = self._counts.pop(network, 0) + 1
        if len(self._counts) > self._most:
            self._counts.popitem(last=False)

    def clear(self, network: str) -> None:
        """Forget ``network``: one of its clients has logged in."""
        self._counts.pop(network, None)


class Startups(NamedTuple):
    """When connections that have not logged in are dropped early, as OpenSSH's MaxStartups says.

    From ``begin`` of them on, one is dropped with the probability ``rate``, which grows linearly
    and is 1 from ``full`` on.
    """

    begin: int = 32
    rate: float = 0.3
    full: int = 64

    def drops(self, count: int, chance: float) -> bool:
        """Say whether one of ``count`` goes, with ``chance`` drawn evenly from 0 to below 1."""
        if count <= self.begin:
            return False
        share = (count - self.begin) / max(1, self.full - self.begin)
        return chance < self.rate + (1 - self.rate) * share or count > self.full
