"""A line diff in O(n log n).

difflib compares each line with every equal one, so twenty thousand similar lines of a log would
take minutes.  It compares short outputs.  For long ones, the common head and tail are removed, and
the remaining lines are paired if they have the same text and number of earlier repetitions (a
"patience" diff in which each repetition of a line is a line of its own).
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from difflib import Match, SequenceMatcher
from itertools import count, takewhile

_MOST_FOR_DIFFLIB = 100 * 100
"""The most pairs of lines to compare by difflib, in a few milliseconds."""


class LineMatcher(SequenceMatcher[str]):
    """A SequenceMatcher of lines in O(n log n)."""

    def __init__(self, before: Sequence[str], after: Sequence[str]) -> None:
        """Compare ``before`` and ``after``, which must not change meanwhile."""
        super().__init__(None, before, after, autojunk=False)
        self._before, self._after = before, after

    def get_matching_blocks(self) -> list[Match]:
        """Return the runs of common lines in order, then an empty one."""
        if len(self._before) * len(self._after) <= _MOST_FOR_DIFFLIB:
            return super().get_matching_blocks()
        blocks: list[Match] = []
        for one, other in _pairs(self._before, self._after):
            last = blocks[-1] if blocks else Match(0, 0, 0)
            if last.size and (one, other) == (last.a + last.size, last.b + last.size):
                blocks[-1] = last._replace(size=last.size + 1)
            else:
                blocks.append(Match(one, other, 1))
        return [*blocks, Match(len(self._before), len(self._after), 0)]


def unified(before: Sequence[str], after: Sequence[str], names: tuple[str, str]) -> Iterator[str]:
    """Yield a unified diff with three lines of context, or nothing if both are equal."""
    for number, group in enumerate(LineMatcher(before, after).get_grouped_opcodes()):
        if number == 0:
            yield from (f"--- {names[0]}", f"+++ {names[1]}")
        first, last = group[0], group[-1]
        yield f"@@ -{_range(first[1], last[2])} +{_range(first[3], last[4])} @@"
        for tag, one, one_end, other, other_end in group:
            if tag == "equal":
                yield from (f" {line}" for line in before[one:one_end])
            else:
                yield from (f"-{line}" for line in before[one:one_end])
                yield from (f"+{line}" for line in after[other:other_end])


def _range(start: int, end: int) -> str:
    size = end - start
    return str(start + 1) if size == 1 else f"{start + bool(size)},{size}"


def _pairs(before: Sequence[str], after: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the indices of common lines, ascending in both."""
    most = min(len(before), len(after))
    head = sum(1 for _ in takewhile(lambda at: before[at] == after[at], range(most)))
    ends = range(1, most - head + 1)
    tail = sum(1 for _ in takewhile(lambda at: before[-at] == after[-at], ends))
    yield from ((at, at) for at in range(head))
    yield from _ascending(
        _nth(before, head, len(before) - tail), _nth(after, head, len(after) - tail)
    )
    yield from ((len(before) - at, len(after) - at) for at in range(tail, 0, -1))


def _nth(lines: Sequence[str], start: int, end: int) -> dict[tuple[str, int], int]:
    """Return the index of each line by its text and number of earlier repetitions."""
    counts: dict[str, Iterator[int]] = {}
    return {
        (lines[at], next(counts.setdefault(lines[at], count()))): at for at in range(start, end)
    }


def _ascending(
    before: dict[tuple[str, int], int], after: dict[tuple[str, int], int]
) -> list[tuple[int, int]]:
    """Return the longest list of index pairs of equal lines that ascends in both."""
    pairs = [(at, after[line]) for line, at in before.items() if line in after]
    lowest: list[int] = []  # for each length of a list, the lowest index in ``after`` at its end
    ends: list[int] = []
    previous: list[int] = []
    for number, (_, at) in enumerate(pairs):
        length = bisect_left(lowest, at)
        previous.append(ends[length - 1] if length else -1)
        lowest[length : length + 1] = [at]
        ends[length : length + 1] = [number]
    chain = []
    number = ends[-1] if ends else -1
    while number >= 0:
        chain.append(pairs[number])
        number = previous[number]
    return chain[::-1]
