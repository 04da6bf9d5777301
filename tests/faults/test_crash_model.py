"""The power-loss model itself: what it records, and which states it computes."""

import errno
import os
import random
import threading
from collections.abc import Callable, Collection
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filer.host.durable import Storage, StorageError
from filer.running.parallel import in_parallel
from pytest_filer.child import PATIENCE
from tests.kit.crash_model.states import BLOCK, State, crash_points, crash_states, interleaved
from tests.kit.crash_model.trace import (
    Enter,
    Event,
    Lane,
    Leave,
    Recorder,
    Rename,
    Seen,
    Sync,
    Truncate,
    Write,
    replayed,
    sync_names,
)
from tests.kit.crash_model.tree import SECTOR, Content, Kind, Tree

OLD, NEW = b"old" * 10, b"new" * 10


def recorded(root: Path, work: Callable[[], object]) -> Recorder:
    with Recorder(root) as recorder:
        work()
    recorder.check()
    return recorder


def found(states: Collection[State], directory: Path, name: str) -> set[bytes | None]:
    """Return the contents of the file ``name`` in these states; None where it is missing."""
    contents: set[bytes | None] = set()
    for number, state in enumerate(states):
        root = directory / f"state {number}"
        directory.mkdir(exist_ok=True)
        state.tree.store(root)
        path = root / name
        contents.add(path.read_bytes() if path.exists() else None)
    return contents


def after(recorder: Recorder) -> list[State]:
    """Return the states after all events of a recording."""
    return list(crash_states(recorder.before, recorder.events, [len(recorder.events)]))


def during(recorder: Recorder) -> list[State]:
    """Return all states of a recording."""
    return list(crash_states(recorder.before, recorder.events))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "root"
    directory.mkdir()
    (directory / "file").write_bytes(OLD)
    return directory


class TestContent:
    @given(
        st.lists(
            st.one_of(
                st.tuples(st.integers(0, 3000), st.binary(max_size=1500)),
                st.integers(0, 3000),
            ),
            max_size=6,
        )
    )
    def test_it_holds_what_a_file_holds(self, changes: list[tuple[int, bytes] | int]) -> None:
        content, file = Content(), bytearray()
        for change in changes:
            if isinstance(change, int):
                content = content.truncated(change)
                file = file[:change].ljust(change, b"\0")
            elif change[1]:
                offset, data = change
                content = content.written(offset, data)
                file = file.ljust(offset, b"\0")
                file[offset : offset + len(data)] = data
        same = Content.of(bytes(file))
        assert (content.size, content.sectors) == (same.size, same.sectors)
        assert content.digest == same.digest

    def test_of_a_torn_write_some_sectors_arrive(self) -> None:
        old, new = b"o" * 3 * SECTOR, b"n" * 3 * SECTOR
        torn = Content.of(old).written(0, new, keep={1})
        assert torn.sectors == Content.of(old[:SECTOR] + new[:SECTOR] + old[:SECTOR]).sectors


class TestRecorder:
    def test_each_change_is_recorded(self, root: Path) -> None:
        storage = Storage()

        def work() -> None:
            storage.make_directory(root / "new")
            storage.write(root / "new" / "a", NEW)
            storage.create(root / "new" / "b", NEW, 5000)
            storage.overwrite(root / "file", 3, b"x")
            storage.link(root / "link", "new")
            storage.append(root / "log", b"line\n")
            storage.append(root / "log", b"line\n")
            storage.write(root / "link" / "c", NEW)
            storage.remove(root / "link")
            storage.remove_tree(root / "new")

        recorder = recorded(root, work)
        kinds = {type(event) for event in recorder.events}
        assert kinds == {Enter, Leave, Rename, Write, Truncate, Sync}

    def test_what_is_written_past_it_is_noticed(self, root: Path) -> None:
        recorder = Recorder(root)
        with recorder:
            (root / "file").write_bytes(NEW)
        with pytest.raises(AssertionError):
            recorder.check()

    def test_a_trace_goes_on_after_a_kill(self, root: Path, tmp_path: Path) -> None:
        storage = Storage()
        first = recorded(root, lambda: storage.write(root / "file", NEW))
        at = len(first.events) - 2  # before the rename
        here = tmp_path / "after the kill"
        replayed(first.before, first.events[:at]).store(here)
        second = Recorder(here, continued=(first.before, first.events[:at]))
        with second:
            storage.sweep(here)
            storage.write(here / "file", b"third")
        second.check()
        assert second.events[:at] == first.events[:at]
        numbers = [event.inode.number for event in second.events if isinstance(event, Enter)]
        assert len(set(numbers)) == len(numbers)

    def test_a_sync_fails_once(self, root: Path) -> None:
        recorder = Recorder(root)
        recorder.fail_sync(None, 1)
        with recorder:
            with pytest.raises(StorageError, match=os.strerror(errno.EIO)):
                Storage().overwrite(root / "file", 0, NEW)
            Storage().overwrite(root / "file", 0, NEW)
        syncs = [event.succeeded for event in recorder.events if isinstance(event, Sync)]
        assert syncs == [False, True]

    @pytest.mark.parametrize("first", ["a", "b"])
    def test_calls_of_several_threads_are_recorded_in_lanes(self, root: Path, first: str) -> None:
        for name in ("a", "b"):
            (root / name).write_bytes(OLD)
        ready = threading.Event()

        def work(path: Path) -> None:
            if path.name != first:
                ready.wait(PATIENCE)
            Storage().overwrite(path, 0, NEW)
            ready.set()
            Storage().overwrite(path, 0, OLD)

        def job() -> None:
            Storage().write(root / "file", NEW)
            in_parallel([root / "a", root / "b"], work)
            Storage().write(root / "file", OLD)

        events = recorded(root, job).events
        concurrent = [event for event in events if event.lane]
        assert [event.lane for event in concurrent] == [Lane(1, "a")] * 4 + [Lane(1, "b")] * 4
        begin = events.index(concurrent[0])
        assert events[begin : begin + 8] == concurrent
        assert sync_names(concurrent) == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]

    def test_each_job_of_threads_is_one_of_its_own(self, root: Path) -> None:
        (root / "another").write_bytes(OLD)
        paths = [root / "another", root / "file"]

        def change(path: Path) -> None:
            Storage().overwrite(path, 0, NEW)

        def work() -> None:
            in_parallel(paths, change)
            in_parallel(paths, change)

        lanes = dict.fromkeys(event.lane for event in recorded(root, work).events)
        assert list(lanes) == [Lane(job, name) for job in (1, 2) for name in ("another", "file")]

    def test_a_sync_of_one_thread_fails(self, root: Path) -> None:
        (root / "another").write_bytes(OLD)
        recorder = Recorder(root)
        recorder.fail_sync("another", 2)
        refused: list[Path] = []

        def work(path: Path) -> None:
            Storage().overwrite(path, 0, NEW)
            try:
                Storage().overwrite(path, 0, OLD)
            except StorageError:
                refused.append(path)

        with recorder:
            in_parallel([root / "file", root / "another"], work)
        assert refused == [root / "another"]
        syncs = [event for event in recorder.events if isinstance(event, Sync)]
        assert [(event.path, event.succeeded) for event in syncs] == [
            ("another", True),
            ("another", False),
            ("file", True),
            ("file", True),
        ]

    def test_the_world_outside_is_seen_when_it_changes(self, root: Path) -> None:
        world = ["first"]
        with Recorder(root, lambda: world[0]) as recorder:
            Storage().write(root / "file", NEW)
            world[0] = "second"
            Storage().write(root / "file", OLD)
        assert [event for event in recorder.events if isinstance(event, Seen)] == [
            Seen("first"),
            Seen("second"),
        ]
        outside = [str(state.outside) for state in during(recorder)]
        assert outside == sorted(outside)
        assert set(outside) == {"first", "second"}


class TestStates:
    def test_what_is_synced_is_there(self, root: Path, tmp_path: Path) -> None:
        recorder = recorded(root, lambda: Storage().write(root / "file", NEW))
        assert found(after(recorder), tmp_path, "file") == {NEW}

    def test_a_write_by_rename_is_old_or_new(self, root: Path, tmp_path: Path) -> None:
        recorder = recorded(root, lambda: Storage().write(root / "file", NEW))
        assert found(during(recorder), tmp_path, "file") == {OLD, NEW}

    def test_a_file_without_a_sync_may_be_empty_or_garbage(
        self, root: Path, tmp_path: Path
    ) -> None:
        def work() -> None:
            handle = os.open(root / "new", os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(handle, NEW)
            os.close(handle)
            (root / "new").replace(root / "file")
            _sync(root)

        contents = found(after(recorded(root, work)), tmp_path, "file")
        assert contents > {NEW, b"", NEW[:15], bytes(30)}
        assert OLD not in contents
        assert None not in contents

    def test_a_name_without_a_sync_may_be_missing(self, root: Path, tmp_path: Path) -> None:
        def work() -> None:
            handle = os.open(root / "another", os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(handle, NEW)
            os.fsync(handle)
            os.close(handle)

        assert found(after(recorded(root, work)), tmp_path, "another") == {NEW, None}

    def test_changes_of_names_come_in_any_order(self, root: Path) -> None:
        def work() -> None:
            (root / "one").mkdir()
            (root / "two").mkdir()

        names = [
            tuple(path for path, _ in state.tree.walk()) for state in after(recorded(root, work))
        ]
        assert set(names) == {
            ("file",),
            ("file", "one"),
            ("file", "two"),
            ("file", "one", "two"),
        }

    def test_a_rename_may_leave_both_names(self, root: Path) -> None:
        recorder = recorded(root, lambda: (root / "file").rename(root / "moved"))
        names = {tuple(path for path, _ in state.tree.walk()) for state in after(recorder)}
        assert names == {("file",), ("moved",), ("file", "moved")}

    def test_a_write_in_place_is_torn_or_loses_its_block(self, root: Path, tmp_path: Path) -> None:
        old, new = b"o" * 2 * BLOCK, b"n" * BLOCK
        (root / "file").write_bytes(old)

        def work() -> None:
            handle = os.open(root / "file", os.O_WRONLY)
            os.pwrite(handle, new, 0)
            os.close(handle)

        contents = found(after(recorded(root, work)), tmp_path, "file")
        first = new[:SECTOR] + old[SECTOR:]
        assert contents > {old, new + old[BLOCK:], first}
        lost = [each for each in contents if each and each[: SECTOR + 1] not in (old, new)]
        assert any(set(each[:BLOCK]) > {ord("o"), ord("n")} for each in lost)
        assert all(each[BLOCK:] == old[BLOCK:] for each in lost)

    def test_a_failed_sync_loses_what_later_syncs_do_not_write(
        self, root: Path, tmp_path: Path
    ) -> None:
        def work() -> None:
            with pytest.raises(StorageError):
                Storage().overwrite(root / "file", 0, NEW)
            handle = os.open(root / "file", os.O_WRONLY)
            os.fsync(handle)
            os.close(handle)

        recorder = Recorder(root)
        recorder.fail_sync(None, 1)
        with recorder:
            work()
        assert found(after(recorder), tmp_path / "a", "file") >= {OLD, NEW}
        with recorder:
            Storage().overwrite(root / "file", 0, NEW)
        assert found(after(recorder), tmp_path / "b", "file") == {NEW}

    def test_of_many_changes_no_more_than_some_subsets_are_tried(self, root: Path) -> None:
        def work() -> None:
            for number in range(40):
                (root / str(number)).mkdir()

        recorder = recorded(root, work)
        states = after(recorder)
        assert 40 < len(states) < 400
        assert len({state.tree.digest() for state in states}) > 100

    def test_threads_may_have_come_to_any_point_in_any_order(self, root: Path) -> None:
        names = ("a", "b")
        for name in names:
            (root / name).write_bytes(b"0" * 30)

        def work(path: Path) -> None:
            for step in (b"1", b"2"):
                Storage().overwrite(path, 0, step * 30)

        recorder = recorded(root, lambda: in_parallel([root / name for name in names], work))
        found = {
            tuple(state.tree.contents[inode].sectors[0][:1] for _, inode in state.tree.walk())
            for state in during(recorder)
        }
        steps = (b"0", b"1", b"2")
        assert found >= {(*each, b"o") for each in product(steps, repeat=len(names))}

    def test_a_kill_may_come_between_any_two_calls_of_threads(self, root: Path) -> None:
        names = ("a", "b")
        for name in names:
            (root / name).write_bytes(b"0")

        def work(path: Path) -> None:
            for step in (b"1", b"2"):
                Storage().overwrite(path, 0, step)

        recorder = recorded(root, lambda: in_parallel([root / name for name in names], work))
        found = set()
        for point, seed in product(range(1, len(recorder.events) + 1), range(30)):
            events = interleaved(recorder.events, point, random.Random(seed))
            tree = replayed(recorder.before, events)
            found.add(tuple(tree.contents[inode].sectors[0][:1] for _, inode in tree.walk()))
        begun = set(product((b"0", b"1", b"2"), repeat=2)) - {(b"0", b"0")}
        assert found == {(*each, b"o") for each in begun}

    def test_the_same_states_come_each_time(self, root: Path) -> None:
        recorder = recorded(root, lambda: Storage().write(root / "file", NEW * 1000))
        assert [state.tree.digest() for state in during(recorder)] == [
            state.tree.digest() for state in during(recorder)
        ]

    def test_ignored_files_never_vary(self, root: Path) -> None:
        recorder = recorded(root, lambda: Storage().append(root / "log", b"line"))
        points = [len(recorder.events)]
        states = list(crash_states(recorder.before, recorder.events, points, ["log"]))
        assert len(states) == 1
        assert "log" in dict(states[0].tree.walk())

    def test_a_loss_comes_before_each_sync_and_at_the_end(self, root: Path) -> None:
        events: list[Event] = recorded(root, lambda: Storage().write(root / "file", NEW)).events
        syncs = [at for at, event in enumerate(events) if isinstance(event, Sync)]
        assert crash_points(events) == [*syncs, len(events)]


def test_a_tree_is_stored_as_it_was_loaded(root: Path, tmp_path: Path) -> None:
    (root / "directory").mkdir()
    (root / "directory" / "sparse").write_bytes(b"head" + bytes(100_000) + b"tail")
    (root / "directory" / "same").hardlink_to(root / "file")
    (root / "link").symlink_to("directory")
    tree = Tree.load(root)
    tree.store(tmp_path / "copy")
    assert Tree.load(tmp_path / "copy").digest() == tree.digest()
    assert (tmp_path / "copy" / "file").samefile(tmp_path / "copy" / "directory" / "same")
    assert {inode.kind for inode in tree.inodes} == set(Kind)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(handle)
    os.close(handle)
