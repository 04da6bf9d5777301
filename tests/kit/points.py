"""Which of many points a test tries: a few of each kind, or all of them.

All are tried with FILER_TEST_ALL=1 in the environment (``make test-all``).  The fixture ``count``
has pytest print how many there were.
"""

import os
import random
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

ALL = bool(os.environ.get("FILER_TEST_ALL"))
"""Whether every point is tried."""


_Case = TypeVar("_Case")


class Point(NamedTuple):
    """The change or request of that ``number``, from 1, and what befalls it."""

    number: int
    moment: str


def sample(name: str, points: Sequence[Point], most: int = 2) -> Sequence[Point]:
    """Return ``points``, or ``most`` of them, the same each time, no two of one moment."""
    if ALL:
        return points
    shuffled = random.Random(name).sample(points, len(points))
    return list({point.moment: point for point in shuffled}.values())[:most]


def some(cases: Sequence[_Case], most: int) -> Sequence[_Case]:
    """Return ``cases``, or ``most`` of them: the first, the last, and others evenly between."""
    if ALL or most >= len(cases):
        return cases
    return [cases[number * (len(cases) - 1) // (most - 1)] for number in range(most)]
