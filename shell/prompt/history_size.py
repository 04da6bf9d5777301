"""How many lines a history keeps."""

from collections.abc import Iterable
from itertools import accumulate, takewhile

LARGEST = 1024 * 1024
"""Bytes of the history file; opening a larger one drops its older half.

A session keeps no more in memory than such a file has room for.
"""

_BESIDE = 32
"""Bytes beside the text of a line in the file, such as its time."""


def fitting(newest_first: Iterable[str]) -> int:
    """Return how many of these lines, from the newest on, a history keeps."""
    sizes = accumulate(len(line) + _BESIDE for line in newest_first)
    return sum(1 for _ in takewhile(lambda size: size <= LARGEST, sizes))
