"""Whatever a power loss leaves on the medium, no disk is lost.

A killed process leaves its writes to the kernel, so ``tests.faults.test_crash`` cannot detect a
missing or late sync. Here each operation of ``tests.kit.operations`` is recorded, the model of
``tests.kit.crash_model`` computes the possible contents of the medium after a power loss, and the
filer is powered on with each of them, and must boot with all its disks. Three families:

* the power is lost during the operation;
* the filer is killed and restarted, and the power is lost during that boot;
* one sync fails, the operation is repeated and the filer restarted, and the power is lost.

A few states of each are tried, or all (see ``tests.kit.points``). docs/CRASHES.md has their
numbers.
"""

import random
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest

from filer.host.errors import FilerError
from tests.conftest import Count
from tests.kit import crash_table, faulty, points
from tests.kit.crash_model.states import (
    ALL_SUBSETS,
    INTERLEAVINGS,
    State,
    crash_points,
    crash_states,
    interleaved,
)
from tests.kit.crash_model.trace import (
    Event,
    Lane,
    Recorder,
    Seen,
    Sync,
    Write,
    replayed,
    sync_names,
)
from tests.kit.crash_model.tree import Tree
from tests.kit.crash_table import FAMILIES, KILLED, LOST, REFUSED, Numbers
from tests.kit.house import House
from tests.kit.operations import (
    BOOT,
    CONSOLE,
    OPERATIONS,
    Kept,
    Laboratory,
    Trial,
    look_at_data,
    work,
)

READS_ONLY = {"restore"}
CHANGES = [name for name in OPERATIONS if name not in READS_ONLY]

RECORDINGS = 40
STATES = 200
"""The maximum numbers of recordings, and of states, per operation and family.

Power losses without another fault are all tried.
"""

SAMPLE = 2
"""The number of states that are tried instead of all of them, or of ``STATES``."""

MOST = STATES if points.ALL else SAMPLE

MOMENTS = 3
"""The losses of power during a recording whose states are computed, unless all are tried."""

SHOWN = 5
"""The number of failed states that are described."""

NOT_VARIED = ("lock", "power", "service", "mroot/etc/messages")
"""Files that nothing depends on: the lock, and the log, which is never synced."""

RETRY, RESTART = "retry", "restart"
ORDERS = ((RETRY, RESTART), (RESTART, RETRY))
"""What is done after a failed sync."""


INTRODUCTION = f"""
# Losses of power

What a loss of power, a kill and a sync that fails can leave on the medium, and whether the filer
comes up from it: {{recordings}} recordings, {{states}} states, {{distinct}} of them distinct,
{{tried}} powered on.

`tests/faults/test_crash_states.py` writes the numbers of `make test-all`.
A run that counts something else writes this file anew and fails: look at the difference, and either
commit it or mend the program.
`make test` tries a few states of each line.

**How.**
An operation of the filer is done once, with real key servers, and each system call is recorded that
changes a file: writes, syncs, renames, links, removals (`tests/kit/crash_model/trace.py`).
From this record a pure function computes the states of all files that POSIX allows on the medium
after a loss of power (`tests/kit/crash_model/states.py`).
Each state is written into a directory, with the key servers as they were at that moment, and the
filer boots from it.
Then every disk has to be there, with its data, and to open with a key that is on a key server, or
with its MSID; registration, certificates and disks are those before the operation or those after
it, and after it if success was reported; and no disk file has a wrapped key that was replaced.
Work on disks that goes on in the background (a rebuild, zeroing) is done as a part of its
operation, and again after each boot: then the root aggregate has to be whole.

**What may be lost.**
The power is lost before a sync, or when everything is done; of the changes that no sync has made
durable:

- any subset may have reached the medium, in any order; all subsets of up to {ALL_SUBSETS} changes,
  else each without one, each alone, all from the first or up to the last, and 24 at random;
- a directory entry may be there without the content of its file, and the content without the entry;
- a write may be torn at each 512 bytes: the first, all but the first, half, and two at random;
- what extends a file may read as zeros or as garbage, or be missing at its end;
- a rename may leave the file with both names;
- one block of 4 KiB that is being overwritten may be lost, and read as garbage.

Disks that are changed at the same time may each have come to any point: the system calls are
recorded by disk, in whatever order the threads made them.
When one disk is at some point, each other disk may be not begun, finished, or anywhere between;
{INTERLEAVINGS} such combinations are drawn by lot for each point, and for each of them one of the
losses above.

After a sync of a file that failed, what was written before it may be on the medium or not, for
good: later syncs do not write it again, while every read shows it.

**What is bounded.**
Losses of power without another fault are all tried, in these combinations.
Of a kill or a failing sync, {RECORDINGS} moments of an operation are recorded at the most, and
{STATES} distinct states of an operation are powered on at the most.
They are drawn by lot, the same ones each time.
In the second and third family there is one fault beside the loss of power: one kill, or one sync.

**What is not covered.**
- Memory that is corrupted, and a medium that changes what was not being written.
- Reads that fail, and a sync that reports success without writing.
- A second loss of power while the boot recovers from the first.
- The system log and the lock file, on which nothing depends; neither is synced.
- The modes of files.
- The stores of the key servers: `tests/keyserver/test_store_durability.py` traces a key server with
  strace, and has its store lose power by the same model.
"""


@dataclass(frozen=True)
class Claim:
    """Something reported at event ``point``, true until event ``until``, or forever."""

    since: int
    until: int | None = None
    settled: Kept | None = None

    def holds(self, point: int) -> bool:
        """Return whether a power loss at ``point`` must preserve it."""
        return self.since <= point and (self.until is None or point <= self.until)


@dataclass
class Recording:
    """The events of an operation, and of what followed, on a medium that held ``before``."""

    before: Tree
    events: list[Event] = field(default_factory=list)
    done: list[Claim] = field(default_factory=list)
    settled: list[Claim] = field(default_factory=list)

    def states(self, at: Sequence[int]) -> Iterator[State]:
        """Yield the states after a power loss at these points."""
        return crash_states(self.before, self.events, at, NOT_VARIED)

    def claims(self, point: int) -> tuple[bool, Kept | None]:
        """Return whether success was reported, and what a boot has shown, before ``point``."""
        settled = [claim.settled for claim in self.settled if claim.holds(point)]
        return any(claim.holds(point) for claim in self.done), (settled or [None])[-1]


class Recorded:
    """A filer whose changes are recorded from the start of its operation, over restarts."""

    def __init__(self, trial: Trial, root: Path, recorder: Recorder | None = None) -> None:
        self._trial = trial
        self._root = root
        self._kept = ExitStack()
        self._house: House | None = None
        if recorder is None and trial.operation.at == BOOT:
            recorder = self._new_recorder()  # recorded from the very beginning
        if recorder is None:
            self._house = self._kept.enter_context(House(root))
            trial.operation.prepare(self._house)
        self.recorder = recorder or self._new_recorder()
        self.recording = Recording(self.recorder.before, self.recorder.events)

    def __enter__(self) -> "Recorded":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._kept.close()
        if exc_info[0] is None:
            self.recorder.check(NOT_VARIED)

    def operate(self) -> bool:
        """Do the operation, and record whether it reported success."""
        try:
            with self.recorder:
                if self.recording.settled and self._trial.operation.at not in (BOOT, CONSOLE):
                    self._trial.operation.prepare(self._powered())
                results = self._trial.operation.act(self._powered(), self._trial.laboratory.files)
        except FilerError:
            return False
        assert all("internal error" not in result.text for result in results)
        succeeded = all(result.status == 0 for result in results)
        if succeeded:
            self.recording.done.append(Claim(len(self.recorder.events)))
        return succeeded

    def restart(self) -> None:
        """Restart and boot, which must succeed, and record what the boot shows."""
        self._kept.close()
        self._house = None
        self._trial.laboratory.start()
        with self.recorder:
            house = self._powered()
            house.boot()
            if self._trial.operation.works:
                assert work(house) == []
        self.recording.settled.append(
            Claim(len(self.recorder.events), len(self.recorder.events), look_at_data(house))
        )

    def _powered(self) -> House:
        if self._house is None:
            self._house = self._kept.enter_context(House(self._root))
        return self._house

    def _new_recorder(self) -> Recorder:
        return Recorder(self._root, self._trial.laboratory.stores)


class Tally:
    """The distinct states of one operation in one family, and those of them that are tried.

    ``most`` of them are drawn by lot, the same ones each time (None: all).  Only these are kept in
    memory, where one takes up to a megabyte.
    """

    def __init__(self, trial: Trial, name: str, most: int | None) -> None:
        self.trial = trial
        self._name = name
        self._most = most
        self._chance = random.Random(name)
        self._known: set[object] = set()
        self._drawn: list[tuple[Recording, State]] = []
        self._recordings = self._yielded = 0

    def add(self, recording: Recording, first: int = 1) -> None:
        """Add the new states of a recording, after a power loss at its point ``first`` or later."""
        self._recordings += 1
        found = [at for at in crash_points(recording.events) if at >= first]
        if not points.ALL:
            found = random.Random(first).sample(found, min(MOMENTS, len(found)))
        for state in recording.states(found):
            self._yielded += 1
            key = (
                state.tree.digest(NOT_VARIED),
                state.outside,
                sys.intern(repr(recording.claims(state.point))),
                state.moment == "block lost",
            )
            if key not in self._known:
                self._known.add(key)
                self._draw(recording, state)

    def _draw(self, recording: Recording, state: State) -> None:
        """Keep a new state with the same chance as each one before it."""
        if self._most is None or len(self._drawn) < self._most:
            self._drawn.append((recording, state))
        elif (place := self._chance.randrange(len(self._known))) < self._most:
            self._drawn[place] = recording, state

    def try_them(self, *, recovering: bool = False, refused: bool = False) -> Numbers:
        """Power on with each state that was drawn."""
        stores = {state.outside: number for number, (_, state) in enumerate(self._drawn)}
        lost: list[str] = []
        for recording, state in sorted(self._drawn, key=lambda each: stores[each[1].outside]):
            done, settled = recording.claims(state.point)
            root = self.trial.laboratory.put(state.tree, state.outside)  # type: ignore[arg-type]
            try:
                self.trial.check(
                    root,
                    done=done,
                    recovering=recovering,
                    refused=refused,
                    settled=settled,
                    damaged=state.moment == "block lost",
                )
            except (AssertionError, FilerError, OSError) as problem:
                lost.append(_told(self._name, recording, state, problem))
        assert not lost, "\n\n".join(
            [f"{len(lost)} of {len(self._drawn)} states lose something", *lost[:SHOWN]]
        )
        return Numbers(self._recordings, self._yielded, len(self._known), len(self._drawn))


def _told(name: str, recording: Recording, state: State, problem: BaseException) -> str:
    """Describe how a state arose: the events before it, and which of them reached the medium."""
    shown = [event for event in recording.events[: state.point] if not isinstance(event, Seen)]
    lines = [f"{name}: power lost after event {state.point} of {len(recording.events)}, of these:"]
    lines += [f"  {event}" for event in shown[-24:]]
    failed = traceback.extract_tb(problem.__traceback__)[-1].line
    lines += [f"{state.moment}: {state.text}", f"{failed}: {type(problem).__name__}: {problem}"]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def laboratory(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    directory = tmp_path_factory.mktemp("laboratory")
    with faulty.running(authority, directory / "key servers", 2) as servers:
        yield Laboratory(directory, servers)


Report = Callable[[str, str, Numbers], None]


@pytest.fixture
def report(count: Count) -> Report:
    """Return a function that counts the tried states and compares them with docs/CRASHES.md."""

    def told(family: str, name: str, numbers: Numbers) -> None:
        known = {} if points.ALL else crash_table.rows(crash_table.FILE.read_text(encoding="utf-8"))
        of = known.get((family, name), numbers).distinct
        count(f"{family}: {name}", numbers.tried, of)
        if points.ALL:
            as_committed = crash_table.record(INTRODUCTION, CHANGES, family, name, numbers)
            assert as_committed, "docs/CRASHES.md was wrong, and is right now: commit it"

    return told


@cache
def _undisturbed(trial: Trial) -> Recording:
    """Record an undisturbed operation, and keep its result for comparison."""
    with Recorded(trial, trial.begin()) as recorded:
        assert recorded.operate()
    if trial.after is None:
        trial.check(trial.laboratory.put(*_end(recorded.recording)), done=True)
    return recorded.recording


def _end(recording: Recording) -> tuple[Tree, Sequence[bytes]]:
    (*_, stores) = (event.what for event in recording.events if isinstance(event, Seen))
    return replayed(recording.before, recording.events), stores  # type: ignore[return-value]


@pytest.mark.parametrize("name", points.half(CHANGES))
def test_a_loss_of_power_at_any_moment_loses_no_disk(
    name: str, laboratory: Laboratory, report: Report
) -> None:
    tally = Tally(laboratory.trial(OPERATIONS[name]), name, None if points.ALL else SAMPLE)
    tally.add(_undisturbed(tally.trial))
    report(LOST, name, tally.try_them())


@pytest.mark.parametrize("name", points.half(CHANGES, second=True))
def test_a_loss_of_power_while_a_boot_recovers_from_a_kill_loses_no_disk(
    name: str, laboratory: Laboratory, report: Report
) -> None:
    tally = Tally(laboratory.trial(OPERATIONS[name]), name, MOST)
    killed = _undisturbed(tally.trial)
    for at in _some(f"{name} killed", _kills(killed)):
        recovery, since = _recovery(tally.trial, killed, at)
        tally.add(recovery, since)
    report(KILLED, name, tally.try_them(recovering=True))


@pytest.mark.parametrize(
    ("name", "disks"),
    [("boot", 4), ("rekey", 4), ("lock", 4), ("sanitize in maintenance mode", 4)],
)
def test_the_disks_of_a_job_are_changed_at_the_same_time(
    name: str, disks: int, laboratory: Laboratory
) -> None:
    recording = _undisturbed(laboratory.trial(OPERATIONS[name]))
    jobs: dict[int, set[Lane]] = {}
    for event in recording.events:
        if event.lane:
            jobs.setdefault(event.lane.job, set()).add(event.lane)
        else:
            assert not (isinstance(event, Write) and event.path.endswith(".sed"))
    assert [len(lanes) for lanes in jobs.values()] == [disks]


def _kills(recording: Recording) -> list[int]:
    """Return after which events a kill leaves a new content in the cache."""
    found: dict[bytes, int] = {}
    cache = recording.before.copy()
    for at, event in enumerate(recording.events, 1):
        if not isinstance(event, Sync | Seen):
            event.apply(cache)
            if event.path not in NOT_VARIED:
                found.setdefault(cache.digest(NOT_VARIED), at)
    return list(found.values())


def _recovery(trial: Trial, killed: Recording, at: int) -> tuple[Recording, int]:
    """Record the boot after a kill; return it, and its first point, on what the kill left.

    The kill comes after event ``at``, and any number of those concurrent with it.
    """
    until_then = interleaved(killed.events, at, random.Random(at))
    root = trial.laboratory.put(*_end(Recording(killed.before, until_then)))
    recorder = Recorder(root, trial.laboratory.stores, (killed.before, until_then))
    with Recorded(trial, root, recorder) as recorded:
        recorded.restart()
    return recorded.recording, len(until_then) + 1


@pytest.mark.parametrize("name", points.half(CHANGES))
def test_a_loss_of_power_after_a_sync_that_failed_loses_no_disk(
    name: str, laboratory: Laboratory, report: Report
) -> None:
    tally = Tally(laboratory.trial(OPERATIONS[name]), name, MOST)
    syncs = sync_names(_undisturbed(tally.trial).events)
    failures = [(sync, order) for sync in syncs for order in ORDERS]
    for sync, order in _some(f"{name} refused", failures):
        recording = _refused(tally.trial, sync, order)
        tally.add(recording, _failure(recording))
    report(REFUSED, name, tally.try_them(recovering=True, refused=True))


def _refused(trial: Trial, sync: tuple[str | None, int], order: Sequence[str]) -> Recording:
    """Record an operation with one failed sync, and the recovery from it."""
    with Recorded(trial, trial.begin()) as recorded:
        recorded.recorder.fail_sync(*sync)
        recorded.operate()
        for step in order:
            if step == RETRY:
                recorded.operate()
            else:
                recorded.restart()
    return recorded.recording


def _failure(recording: Recording) -> int:
    """Return after how many events the failed sync came."""
    (failed,) = (
        at
        for at, event in enumerate(recording.events, 1)
        if isinstance(event, Sync) and not event.succeeded
    )
    return failed


T = TypeVar("T")


def _some(name: str, found: Sequence[T]) -> Sequence[T]:
    """Return `RECORDINGS` of them at most, or one; always the same."""
    most = RECORDINGS if points.ALL else 1
    return random.Random(name).sample(found, min(most, len(found)))


def test_the_file_is_what_runs_have_written() -> None:
    text = crash_table.FILE.read_text(encoding="utf-8")
    known = crash_table.rows(text)
    assert known.keys() <= {(family, name) for family in FAMILIES for name in CHANGES}
    assert text == crash_table.render(INTRODUCTION, CHANGES, known)
