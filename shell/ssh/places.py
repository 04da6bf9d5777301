"""A limited number of places, shared fairly: the idlest item of the largest group makes room."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item", bound=Hashable)
Groups = tuple[Hashable, ...]
"""The groups of an item, such as its user and its network."""


class Places(Generic[Item]):
    """The items that have a place, each with its groups.

    ``idle`` returns the seconds that an item has been idle, or None while it is at work.  Items
    with the greatest ``burden`` make room first.
    """

    def __init__(
        self, idle: Callable[[Item], float | None], burden: Callable[[Item], int] = lambda _item: 0
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
        self._groups[item] = groups
        self._counts.update(groups)

    def remove(self, item: Item) -> None:
        """Free the place of ``item``, if it has one."""
        for group in self._groups.pop(item, ()):
            self._counts[group] -= 1
            if not self._counts[group]:
                del self._counts[group]

    def to_displace(self, within: Hashable = None) -> Item | None:
        """Return the item that makes room for a new one, or None if all are at work.

        It is the one with the greatest burden, then the largest groups, then the longest idle
        time.  With ``within``, only items of that group count.
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
    """Counts of connections without a login, for each network since its last login.

    Only the ``most`` networks with the latest such connections are kept.
    """

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._counts: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def of(self, network: str) -> int:
        return self._counts.get(network, 0)

    def add(self, network: str) -> None:
        """Count a connection that ended without a login."""
        self._counts[network] = self._counts.pop(network, 0) + 1
        if len(self._counts) > self._most:
            self._counts.popitem(last=False)

    def clear(self, network: str) -> None:
        """Reset the count of ``network``, after a login."""
        self._counts.pop(network, None)


class Startups(NamedTuple):
    """Early dropping of connections without a login, like OpenSSH's MaxStartups.

    Above ``begin`` connections, one is dropped with the probability ``rate``, which grows linearly
    to 1 at ``full``.
    """

    begin: int = 32
    rate: float = 0.3
    full: int = 64

    def drops(self, count: int, chance: float) -> bool:
        """Say whether to drop one of ``count``; ``chance`` is a uniform random number below 1."""
        if count <= self.begin:
            return False
        share = (count - self.begin) / max(1, self.full - self.begin)
        return chance < self.rate + (1 - self.rate) * share or count > self.full
