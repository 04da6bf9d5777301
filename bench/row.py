"""A row of the table: a measurement, what it is compared with, and its limit."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import median, quantiles

_FEWEST = 3
"""Number of rounds needed to compute quartiles."""

_PREFIXES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


class Unit(Enum):
    """The unit of a figure."""

    SECONDS = "s"
    MEGABYTES = "MB"
    TRIPS = "round trips"


@dataclass(frozen=True)
class Figure:
    """A measured value; ``rounds`` has the value of each round, if there were several."""

    value: float
    unit: Unit = Unit.SECONDS
    rounds: tuple[float, ...] = ()

    @classmethod
    def of(cls, rounds: Sequence[float], unit: Unit = Unit.SECONDS) -> "Figure":
        """Return the median of ``rounds`` as a figure."""
        return cls(median(rounds), unit, tuple(rounds))

    def map(self, change: Callable[[float], float]) -> "Figure":
        """Apply ``change`` to each round and return the resulting figure."""
        return Figure.of([change(each) for each in self.rounds], self.unit)

    def divided_by(self, other: "Figure") -> float:
        """Return the ratio of two figures; with equal numbers of rounds, the median of the ratios.

        A temporarily slow machine slows down both sides of a round.
        """
        if len(self.rounds) != len(other.rounds) or not self.rounds:
            return self.value / other.value
        return median(mine / theirs for mine, theirs in zip(self.rounds, other.rounds, strict=True))

    def __str__(self) -> str:
        factor, name = 1.0, self.unit.value
        if self.unit is Unit.SECONDS:
            factor, name = next((p for p in _PREFIXES if self.value >= p[0]), _PREFIXES[-1])
        spread = ""
        if len(self.rounds) >= _FEWEST:
            low, _, high = quantiles(self.rounds, n=4)
            spread = f" ±{(high - low) / 2 / self.value:.0%}"
        return f"{_digits(self.value / factor)} {name}{spread}"


class Bound(Enum):
    """The kind of a limit."""

    AT_MOST = "at most {} times"
    """An upper limit for ours divided by theirs."""
    AT_LEAST = "at least {} times faster"
    """A lower limit for theirs divided by ours."""
    BELOW = "at most {}"
    """An upper limit for ours."""


@dataclass(frozen=True)
class Limit:
    """The limit of a row: a ratio (``times``), or an absolute ``figure``."""

    bound: Bound
    times: float = 1.0
    figure: Figure | None = None

    def __str__(self) -> str:
        if self.bound is Bound.AT_LEAST and self.times == 1:
            return "faster"
        return self.bound.value.format(self.figure or f"{self.times:g}")


def at_most(times: float) -> Limit:
    """Return the limit that ours may take at most ``times`` as long (or as much) as theirs."""
    return Limit(Bound.AT_MOST, times)


def faster(times: float = 1.0) -> Limit:
    """Return the limit that theirs must take at least ``times`` as long as ours."""
    return Limit(Bound.AT_LEAST, times)


def below(value: float, unit: Unit = Unit.SECONDS) -> Limit:
    """Return the limit that ours may be at most ``value``."""
    return Limit(Bound.BELOW, figure=Figure(value, unit))


@dataclass(frozen=True)
class Row:
    """One line of the table.

    ``theirs`` is None if the limit is an absolute figure.  A figure that could not be measured is
    None too, and ``against`` says why.  A row is ``skipped`` if this checkout lacks what it needs.
    """

    what: str
    ours: Figure | None
    limit: Limit | None
    theirs: Figure | None = None
    against: str = ""
    skipped: bool = False

    @property
    def ratio(self) -> float | None:
        """Ours divided by theirs (or by the limit's figure); the inverse for "times faster"."""
        other = (self.limit and self.limit.figure) or self.theirs
        if self.ours is None or self.limit is None or other is None:
            return None
        if self.limit.bound is Bound.AT_LEAST:
            return other.divided_by(self.ours)
        return self.ours.divided_by(other)

    @property
    def met(self) -> bool:
        """Whether the limit is met."""
        if self.ratio is None or self.limit is None:
            return False
        if self.limit.bound is Bound.AT_LEAST:
            return self.ratio >= self.limit.times
        return self.ratio <= self.limit.times

    def cells(self) -> tuple[str, ...]:
        """Return the cells for the columns ``HEADINGS``."""
        theirs = f"{self.against}: {self.theirs}" if self.theirs else self.against
        ratio = "" if self.ratio is None else _digits(self.ratio)
        ours, limit = (str(each or "") for each in (self.ours, self.limit))
        met = "skipped" if self.skipped else _MET[self.met]
        return (self.what, ours, theirs, ratio, limit, met)


HEADINGS = ("what", "ours", "compared with", "ratio", "limit", "met")
_MET = {True: "yes", False: "**NO**"}

Measure = Callable[..., Iterable[Row]]


def table(rows: Iterable[Row]) -> str:
    """Return the rows as a Markdown table with aligned columns."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, tuple("-" * width for width in widths))
    return "".join(
        f"| {' | '.join(c.ljust(w) for c, w in zip(line, widths, strict=True))} |\n"
        for line in lines
    )


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
