"""A row of the table: what was measured, what it is compared with, what it must reach."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import median, quantiles

_FEWEST = 3
"""Rounds that have quartiles."""

_PREFIXES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


class Unit(Enum):
    """What a figure counts."""

    SECONDS = "s"
    MEGABYTES = "MB"
    LINES = "lines/s"
    TRIPS = "round trips"


@dataclass(frozen=True)
class Figure:
    """A measured value; ``rounds`` are what it was in each round, if there were some."""

    value: float
    unit: Unit = Unit.SECONDS
    rounds: tuple[float, ...] = ()

    @classmethod
    def of(cls, rounds: Sequence[float], unit: Unit = Unit.SECONDS) -> "Figure":
        """Make a figure of what was measured round after round: the median."""
        return cls(median(rounds), unit, tuple(rounds))

    def map(self, change: Callable[[float], float], unit: Unit | None = None) -> "Figure":
        """Return the figure that the rounds make after a change."""
        return Figure.of([change(each) for each in self.rounds], unit or self.unit)

    def divided_by(self, other: "Figure") -> float:
        """Return the ratio of two figures; of those taken in turn, the median of each round's.

        A machine that is slow for a while is so for both sides of a round.
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
    """Which way a limit goes."""

    AT_MOST = "at most {} times"
    """Ours divided by theirs may not be more."""
    AT_LEAST = "at least {} times faster"
    """Theirs divided by ours may not be less."""
    BELOW = "at most {}"
    """Ours may not be more than the figure itself."""
    REACHES = "at least {}"
    """Ours may not be less than the figure itself."""


@dataclass(frozen=True)
class Limit:
    """What a row must reach: so many times the other side, or a figure of its own."""

    bound: Bound
    times: float = 1.0
    figure: Figure | None = None

    def __str__(self) -> str:
        if self.bound is Bound.AT_LEAST and self.times == 1:
            return "faster"
        return self.bound.value.format(self.figure or f"{self.times:g}")


def at_most(times: float) -> Limit:
    """Ours may take so many times what theirs takes."""
    return Limit(Bound.AT_MOST, times)


def faster(times: float = 1.0) -> Limit:
    """Theirs must take so many times what ours takes."""
    return Limit(Bound.AT_LEAST, times)


def below(value: float, unit: Unit = Unit.SECONDS) -> Limit:
    """Ours may be no more than ``value``."""
    return Limit(Bound.BELOW, figure=Figure(value, unit))


def reaches(value: float, unit: Unit) -> Limit:
    """Ours must be at least ``value``."""
    return Limit(Bound.REACHES, figure=Figure(value, unit))


@dataclass(frozen=True)
class Row:
    """One line of the table.

    ``theirs`` is None for a limit that is a figure.  What could not be measured is None too;
    ``against`` then says why.
    """

    what: str
    ours: Figure | None
    limit: Limit | None
    theirs: Figure | None = None
    against: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours divided by theirs (or by the limit), or the other way round where more is better."""
        other = (self.limit and self.limit.figure) or self.theirs
        if self.ours is None or self.limit is None or other is None:
            return None
        if self.limit.bound is Bound.AT_LEAST:
            return other.divided_by(self.ours)
        return self.ours.divided_by(other)

    @property
    def met(self) -> bool:
        """Whether the limit is reached."""
        if self.ratio is None or self.limit is None:
            return False
        if self.limit.bound in (Bound.AT_LEAST, Bound.REACHES):
            return self.ratio >= self.limit.times
        return self.ratio <= self.limit.times

    def cells(self) -> tuple[str, ...]:
        """Return what stands in the columns ``HEADINGS``."""
        theirs = f"{self.against}: {self.theirs}" if self.theirs else self.against
        ratio = "" if self.ratio is None else _digits(self.ratio)
        ours, limit = (str(each or "") for each in (self.ours, self.limit))
        return (self.what, ours, theirs, ratio, limit, _MET[self.met])


HEADINGS = ("what", "ours", "beside it", "ratio", "must be", "reached")
_MET = {True: "yes", False: "**NO**"}

Measure = Callable[..., Iterable[Row]]


def table(rows: Iterable[Row]) -> str:
    """Return the rows as a table in Markdown, its columns aligned."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, tuple("-" * width for width in widths))
    return "".join(
        f"| {' | '.join(c.ljust(w) for c, w in zip(line, widths, strict=True))} |\n"
        for line in lines
    )


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
