"""Select the points that a test tries: a few of each kind, or all of them.

FILER_TEST_ALL=1 in the environment (``make test-all``) tries all. The fixture ``count`` has pytest
print their numbers.
"""

import os
import random
from collections.abc import Iterable, Sequence
from itertools import chain, product
from typing import Any, NamedTuple, TypeVar

import pytest
from hypothesis import settings

ALL = bool(os.environ.get("FILER_TEST_ALL"))
"""Whether every point is tried."""


_Case = TypeVar("_Case")


class Point(NamedTuple):
    """A change or request by ``number``, counted from 1, and the fault there."""

    number: int
    moment: str


def sample(name: str, points: Sequence[Point], most: int = 2) -> Sequence[Point]:
    """Return ``points``, or at most ``most`` of them with different moments, always the same."""
    if ALL:
        return points
    shuffled = random.Random(name).sample(points, len(points))
    return list({point.moment: point for point in shuffled}.values())[:most]


def some(cases: Sequence[_Case], most: int) -> Sequence[_Case]:
    """Return ``cases``, or ``most`` of them at even distances, including the first and the last."""
    if ALL or most >= len(cases):
        return cases
    return [cases[number * (len(cases) - 1) // (most - 1)] for number in range(most)]


def examples(all_of_them: int) -> settings:
    """Let Hypothesis try ``all_of_them``, or a third."""
    return settings(max_examples=all_of_them if ALL else all_of_them // 3)


def half(cases: Sequence[_Case], *, second: bool = False) -> Sequence[_Case]:
    """Return ``cases``, or every other one of them, beginning with the first or the ``second``."""
    return cases if ALL else cases[second::2]


def paired(*axes: tuple[str, Iterable[Any]]) -> pytest.MarkDecorator:
    """Parametrize a test with all combinations of the values of ``axes``, or only some.

    An axis is the names and values of an ordinary ``parametrize``. Each value of each axis occurs.
    """
    names = ", ".join(name for name, _ in axes)
    each = [[value if "," in name else (value,) for value in values] for name, values in axes]
    # A shorter axis begins one later in each round, so that it meets other values.
    some_of_them = (
        [axis[(number + number // len(axis)) % len(axis)] for axis in each]
        for number in range(max(map(len, each)))
    )
    cases = map(chain.from_iterable, product(*each) if ALL else some_of_them)
    return pytest.mark.parametrize(
        names, [pytest.param(*case, marks=pytest.mark.sampled) for case in cases]
    )
