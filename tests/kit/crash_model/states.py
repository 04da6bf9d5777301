"""The trees that a power loss may leave on the medium, computed from a trace.

A change is durable once everything it needs (`trace.needed`) has been synced. Of the changes that
are not durable, any subset may have reached the medium, in any order:

* A directory entry and the content of its file are independent of each other.
* A write may be torn at each boundary of 512 bytes.  If it extends the file, the missing part may
  read as zeros or as garbage, or the file may be shorter.
* A block of 4 KiB that is being overwritten may be lost as a whole: it then reads as garbage.
* A rename that is not durable may leave the file with both names.
* Calls in different lanes of one job (`trace.Lane`) are concurrent: when one lane has come to some
  point, each other lane may be at any.  `INTERLEAVINGS` of them are drawn by lot for each point.
* After a failed sync of a file, the cache counts as written, so no later sync writes it again:
  earlier writes may be on the medium or not, until they are overwritten.  A directory whose sync
  failed is written by its next sync.

docs/CRASHES.md lists what the model leaves out.
"""

import random
from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.kit.crash_model.trace import (
    Change,
    Event,
    Lane,
    Rename,
    Seen,
    Sync,
    Truncate,
    Write,
    needed,
)
from tests.kit.crash_model.tree import SECTOR, Content, Inode, Tree

BLOCK = 4096
"""Bytes that a drive writes as one physical sector, and may lose together."""

ALL_SUBSETS = 6
"""With at most this many non-durable changes, all their subsets are tried."""

INTERLEAVINGS = 12
"""For each moment of a job, how often the other lanes are somewhere else."""

_RANDOM_SUBSETS = 24
_TORN_TOGETHER = 4


@dataclass(frozen=True)
class State:
    """A tree that a power loss left on the medium, and the state ``outside`` at that moment.

    It happened after ``point`` events of the trace. ``moment`` is the kind of damage, ``text`` its
    description.
    """

    point: int
    tree: Tree = field(repr=False)
    outside: Hashable = field(repr=False)
    moment: str
    text: str


def crash_points(events: Sequence[Event]) -> list[int]:
    """Return after which events a power loss makes a difference.

    Between two syncs, every state is also possible right before the second one.
    """
    found = [at for at, event in enumerate(events) if at and isinstance(event, Sync | Seen)]
    return [*found, len(events)]


def crash_states(
    before: Tree,
    events: Sequence[Event],
    points: Collection[int] | None = None,
    ignored: Collection[str] = (),
) -> Iterator[State]:
    """Yield the possible trees on the medium, which held ``before``, after a power loss.

    ``points``: the moments of the power loss (default: `crash_points`). Changes of ``ignored``
    paths are always made. Equal states may be yielded more than once; the order is always the same.
    """
    durable_from = [_durable_from(events, at) for at in range(len(events))]
    outside: Hashable = None
    seen = 0
    for point in sorted(crash_points(events) if points is None else points):
        for event in events[seen:point]:
            if isinstance(event, Seen):
                outside = event.what
        seen = max(seen, point)

        chance = random.Random(point)
        medium = _Medium(before, events, range(point), durable_from, ignored)
        for moment, text, tree in _variations(medium, chance):
            yield State(point, tree, outside, moment, text)
        if not _amid_a_job(events, point):
            continue
        for happened in _interleavings(events, point, chance):
            medium = _Medium(before, events, happened, durable_from, ignored)
            moment, text, tree = _variation(medium, chance)
            yield State(point, tree, outside, moment, f"{_told(events, happened)}; {text}")


def _amid_a_job(events: Sequence[Event], point: int) -> bool:
    """Return whether a job has begun and not ended; when it has, its result may be reported."""
    here = events[point - 1].lane
    following = events[point].lane if point < len(events) else None
    return here is not None and following is not None and here.job == following.job


def interleaved(events: Sequence[Event], point: int, chance: random.Random) -> list[Event]:
    """Return the first ``point`` events, with any number of those concurrent with the last one."""
    cut = next(_interleavings(events, point, chance), range(point))
    return [events[at] for at in cut]


def _interleavings(
    events: Sequence[Event], point: int, chance: random.Random
) -> Iterator[Sequence[int]]:
    """Yield which events may have happened besides event ``point - 1`` and those before it.

    Nothing, if no event is concurrent with it.
    """
    lane = events[point - 1].lane
    lanes: dict[Lane, list[int]] = {}
    for at, event in enumerate(events):
        if lane and event.lane and event.lane.job == lane.job:
            lanes.setdefault(event.lane, []).append(at)
    if lane is None or len(lanes) == 1:
        return
    begun = [at for at in lanes[lane] if at < point]
    first = min(at for numbers in lanes.values() for at in numbers)
    for _ in range(INTERLEAVINGS):
        cut = [*range(first), *begun]
        for each, numbers in lanes.items():
            if each != lane:
                cut += numbers[: chance.randint(0, len(numbers))]
        yield sorted(cut)


def _told(events: Sequence[Event], cut: Sequence[int]) -> str:
    """Say how far each lane has come, for the job that the last event belongs to."""
    job = [lane for at in cut if (lane := events[at].lane)]
    here = Counter(lane.path for lane in job if lane.job == job[-1].job)
    return "at the same time: " + ", ".join(f"{count} of {path}" for path, count in here.items())


def _durable_from(events: Sequence[Event], at: int) -> int:
    """Return the number of the sync that makes event ``at`` durable; too large if none does."""
    event = events[at]
    if isinstance(event, Sync | Seen):
        return -1
    return max(_sync_of(inode, events, at) for inode in needed(event))


def _sync_of(inode: Inode, events: Sequence[Event], at: int) -> int:
    is_content = isinstance(events[at], Write | Truncate)
    for number in range(at + 1, len(events)):
        event = events[number]
        if isinstance(event, Sync) and event.inode == inode:
            if event.succeeded:
                return number
            if is_content:
                break
    return len(events)


class _Medium:
    """The medium after the events in ``happened``; those changes in ``loose`` may be missing."""

    def __init__(
        self,
        before: Tree,
        events: Sequence[Event],
        happened: Sequence[int],
        durable_from: Sequence[int],
        ignored: Collection[str],
    ) -> None:
        changes = [(at, event) for at in happened if isinstance(event := events[at], Change)]
        there = frozenset(happened)
        self.loose = [
            at
            for at, change in changes
            if change.path not in ignored and durable_from[at] not in there
        ]
        first = self.loose[0] if self.loose else len(events)
        self.changes = [(at, change) for at, change in changes if at >= first]
        self._base = before.copy()
        for at, change in changes:
            if at < first:
                change.apply(self._base)

    def change(self, at: int) -> Change:
        return next(change for number, change in self.changes if number == at)

    def tree(self, arrived: Collection[int], special: int | None = None) -> Tree:
        """Return the medium with only those loose changes that are in ``arrived``.

        If the change ``special`` is a rename, the old name stays too.
        """
        tree = self._base.copy()
        for at, change in self.changes:
            if at in arrived or at not in self.loose:
                if at == special and isinstance(change, Rename):
                    change.enter.apply(tree)
                else:
                    change.apply(tree)
        return tree

    def torn(self, arrived: Collection[int], torn: int) -> Iterator[tuple[str, str, Tree]]:
        """Yield the trees in which the write ``torn`` arrived in part, or lost its block."""
        write = self.change(torn)
        assert isinstance(write, Write)
        tree = self._base.copy()
        for at, change in self.changes:
            if at == torn:
                break
            if at in arrived or at not in self.loose:
                change.apply(tree)
        old = tree.contents.get(write.inode, Content())
        for moment, text, content in _parts(write, old):
            copy = tree.copy()
            copy.contents[write.inode] = content
            for at, change in self.changes:
                if at > torn and (at in arrived or at not in self.loose):
                    change.apply(copy)
            yield moment, text, copy


def _variations(medium: _Medium, chance: random.Random) -> Iterator[tuple[str, str, Tree]]:
    loose = medium.loose
    for arrived in _subsets(loose, chance):
        missing = [medium.change(at) for at in loose if at not in arrived]
        text = "missing: " + ("; ".join(map(str, missing)) or "nothing")
        yield ("missing" if missing else "complete"), text, medium.tree(arrived)
        in_order = list(loose[: len(arrived)])
        if len(loose) > _TORN_TOGETHER and len(arrived) > 1 and sorted(arrived) != in_order:
            continue
        for at in sorted(arrived):
            change = medium.change(at)
            if isinstance(change, Write):
                for moment, how, tree in medium.torn(arrived, at):
                    yield moment, f"{text}; {change}: {how}", tree
            elif isinstance(change, Rename):
                yield "two names", f"{text}; {change} with both names", medium.tree(arrived, at)


def _variation(medium: _Medium, chance: random.Random) -> tuple[str, str, Tree]:
    """Return one of the variations of a medium, drawn by lot."""
    arrived = [at for at in medium.loose if chance.random() < 0.5]
    missing = [str(medium.change(at)) for at in medium.loose if at not in arrived]
    text = "missing: " + ("; ".join(missing) or "nothing")
    found = [("missing" if missing else "complete", text, medium.tree(arrived))]
    if writes := [at for at in arrived if isinstance(medium.change(at), Write)]:
        found += medium.torn(arrived, chance.choice(writes))
    return chance.choice(found)


def _subsets(loose: Sequence[int], chance: random.Random) -> list[frozenset[int]]:
    """Return the sets of changes that may have arrived: all subsets, or a selection of many."""
    if len(loose) <= ALL_SUBSETS:
        return [
            frozenset(at for bit, at in enumerate(loose) if mask >> bit & 1)
            for mask in range(1 << len(loose))
        ]
    everything = frozenset(loose)
    found = [frozenset(loose[:cut]) for cut in range(len(loose) + 1)]
    found += [frozenset(loose[cut:]) for cut in range(1, len(loose))]
    for at in loose:
        found += [everything - {at}, frozenset({at})]
    found += [
        frozenset(at for at in loose if chance.random() < 0.5) for _ in range(_RANDOM_SUBSETS)
    ]
    return list(dict.fromkeys(found))


def _parts(write: Write, old: Content) -> Iterator[tuple[str, str, Content]]:
    """Yield what a file that held ``old`` may hold after a torn write or a lost block."""
    end = write.offset + len(write.data)
    count = -(-end // SECTOR) - write.offset // SECTOR
    chance = random.Random(write.offset)
    if count > 1:
        for cut in sorted({1, count // 2, count - 1}):
            yield "torn", f"the first {cut} of {count} sectors", _kept(write, old, range(cut))
            yield "torn", f"all but {cut} of {count} sectors", _kept(write, old, range(cut, count))
        for _ in range(2):
            keep = [sector for sector in range(count) if chance.random() < 0.5]
            yield "torn", f"sectors {keep} of {count}", _kept(write, old, keep)
    if end > old.size:
        half = len(write.data) // 2
        yield "short", "half of it", old.written(write.offset, write.data[:half])
        yield "zeros", "zeros", _kept(write, old, ())
        garbage = chance.randbytes(len(write.data))
        yield "garbage", "garbage", old.written(write.offset, garbage)
    for block in range(write.offset // BLOCK, -(-end // BLOCK)):
        start = block * BLOCK
        size = min(BLOCK, old.size - start)
        if size > 0:
            content = old.written(write.offset, write.data)
            yield (
                "block lost",
                f"the block at {start} lost",
                content.written(start, chance.randbytes(size)),
            )


def _kept(write: Write, old: Content, keep: Collection[int]) -> Content:
    return old.written(write.offset, write.data, keep)
