"""Record each system call by which this process changes a directory.

While a ``Recorder`` records, it replaces Python's wrappers in ``os``, so the program needs no
change. Other writes (``open()``, SQLite) are not recorded: `Recorder.check` compares the trace with
the directory, and fails if they differ.

Calls of other threads than the recorder's own are *concurrent*: they might have come in another
order. The trace has those that one job made together, sorted by *lane*, which is the path that they
change, so it does not depend on which thread was faster. ``states`` knows that their real order is
not the order of the trace.
"""

import errno
import os
import threading
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import filer.host.durable
from tests.kit.crash_model.tree import Content, Inode, Kind, Tree, inode_of


class Lane(NamedTuple):
    """The calls on ``path`` by the threads of job number ``job``; lanes of a job are concurrent."""

    job: int
    path: str


@dataclass(frozen=True)
class _Call:
    """A system call; without a ``lane`` it comes after all calls before it in the trace."""

    lane: Lane | None = field(default=None, kw_only=True, repr=False)


@dataclass(frozen=True)
class Enter(_Call):
    """A directory gets an entry for a new or an existing inode."""

    path: str
    directory: Inode
    name: str
    inode: Inode

    def apply(self, tree: Tree) -> None:
        tree.entries.setdefault(self.directory, {})[self.name] = self.inode


@dataclass(frozen=True)
class Leave(_Call):
    """A directory loses an entry."""

    path: str
    directory: Inode
    name: str
    inode: Inode

    def apply(self, tree: Tree) -> None:
        entries = tree.entries.setdefault(self.directory, {})
        if entries.get(self.name) == self.inode:
            del entries[self.name]


@dataclass(frozen=True)
class Rename(_Call):
    """An entry moves, and may replace another."""

    path: str
    leave: Leave
    enter: Enter

    def apply(self, tree: Tree) -> None:
        self.leave.apply(tree)
        self.enter.apply(tree)


@dataclass(frozen=True)
class Write(_Call):
    path: str
    inode: Inode
    offset: int
    data: bytes = field(repr=False)

    def apply(self, tree: Tree) -> None:
        old = tree.contents.get(self.inode, Content())
        tree.contents[self.inode] = old.written(self.offset, self.data)


@dataclass(frozen=True)
class Truncate(_Call):
    path: str
    inode: Inode
    size: int

    def apply(self, tree: Tree) -> None:
        old = tree.contents.get(self.inode, Content())
        tree.contents[self.inode] = old.truncated(self.size)


Change = Enter | Leave | Rename | Write | Truncate


@dataclass(frozen=True)
class Sync(_Call):
    """The content of a file, or the entries of a directory, are synced."""

    path: str
    inode: Inode
    succeeded: bool = True


@dataclass(frozen=True)
class Seen:
    """The state outside changed to ``what`` before the next event."""

    what: Hashable = field(repr=False)
    lane: None = None


Event = Change | Sync | Seen


def needed(change: Change) -> Collection[Inode]:
    """Return the inodes that must all be synced before ``change`` is durable."""
    match change:
        case Write() | Truncate():
            return {change.inode}
        case Rename():
            return {change.leave.directory, change.enter.directory}
        case Enter() | Leave():
            return {change.directory}


def replayed(tree: Tree, events: Iterable[Event]) -> Tree:
    """Return the cache after ``events``: what a program sees, with every change."""
    cache = tree.copy()
    for event in events:
        if not isinstance(event, Sync | Seen):
            event.apply(cache)
    return cache


def sync_names(events: Iterable[Event]) -> list[tuple[str | None, int]]:
    """Name each sync, whichever thread is faster: the path in a lane, else None, and a number.

    The number counts from 1 the syncs with that path.
    """
    count: Counter[str | None] = Counter()
    names = []
    for event in events:
        if isinstance(event, Sync):
            name = event.path if event.lane else None
            count[name] += 1
            names.append((name, count[name]))
    return names


class Recorder:
    """A trace of the changes below the directory ``root``; a context manager that records.

    ``before`` is the initial tree. ``continued`` is an earlier trace that this one extends.
    ``outside`` returns the state of everything else; each change of it is recorded as `Seen`.
    """

    def __init__(
        self,
        root: Path,
        outside: Callable[[], Hashable] = lambda: None,
        continued: tuple[Tree, Sequence[Event]] | None = None,
    ) -> None:
        self._root = root
        before, events = continued or (Tree.load(root), ())
        self.before, self.events = before, list(events)
        here = replayed(before, events)
        self._paths = {here.root: ""} | {inode: path for path, inode in here.walk()}
        self._known = {_identity((root / path).lstat()): each for each, path in self._paths.items()}
        made = {event.inode for event in events if isinstance(event, Enter)}
        self._new = 1 + max(inode.number for inode in {*before.inodes, *made})
        self._outside = outside
        self._last_seen: Hashable = None
        self._failing: tuple[str | None, int] | None = None
        self._replaced: dict[tuple[Any, str], Any] = {}
        self._thread: threading.Thread | None = None
        self._one_at_a_time = threading.RLock()
        self._threads: list[threading.Thread] = []
        """The threads of the current or last job."""
        self._job = max((event.lane.job for event in self.events if event.lane), default=0)
        self._syncs: Counter[str | None] = Counter()

    def fail_sync(self, path: str | None, number: int) -> None:
        """Make a sync fail once with EIO: the one that `sync_names` calls this."""
        self._failing = path, number

    def __enter__(self) -> Self:
        self._thread = threading.current_thread()
        self.see()
        recorded = {
            "open": self._open,
            "mkdir": self._mkdir,
            "rename": self._rename,
            "replace": self._rename,
            "link": self._link,
            "symlink": self._symlink,
            "unlink": self._unlink,
            "remove": self._unlink,
            "rmdir": self._unlink,
            "write": self._write,
            "pwrite": self._pwrite,
            "ftruncate": self._ftruncate,
            "fsync": self._sync,
            "fdatasync": self._sync,
        }
        places: list[tuple[object, str, Any]] = [
            (os, name, method) for name, method in recorded.items()
        ]
        places.append((filer.host.durable, "_sync_data", self._sync))  # bound at import
        for place, name, method in places:
            real = getattr(place, name)
            self._replaced[place, name] = real
            setattr(place, name, self._in_place_of(real, method))
        return self

    def __exit__(self, *exc_info: object) -> None:
        for (place, name), real in self._replaced.items():
            setattr(place, name, real)
        self._replaced.clear()
        if exc_info[0] is None:
            self.see()

    def check(self, ignored: Collection[str] = ()) -> None:
        """Check that the trace has every change of the directory."""
        found = Tree.load(self._root)
        seen = replayed(self.before, self.events)
        assert dict(_shown(seen, ignored)) == dict(_shown(found, ignored))

    def see(self) -> None:
        """Record the state outside, if it has changed."""
        now = self._outside()
        if now != self._last_seen:
            self._last_seen = now
            self.events.append(Seen(now))

    def _in_place_of(self, real: Any, method: Any) -> Callable[..., Any]:
        def recorded(*arguments: Any, **more: Any) -> Any:
            with self._one_at_a_time:
                return method(real, *arguments, **more)

        return recorded

    def _record(self, event: Change | Sync) -> None:
        lane = self._lane(event)
        at = len(self.events)
        if lane is None:
            self.see()
            at = len(self.events)
        else:
            while at and (other := self.events[at - 1].lane) and other.job == lane.job:
                if other.path <= lane.path:
                    break
                at -= 1
        self.events.insert(at, replace(event, lane=lane))

    def _lane(self, event: Change | Sync) -> Lane | None:
        thread = threading.current_thread()
        going_on = any(each.is_alive() for each in self._threads)
        if thread is self._thread:
            assert not going_on, "a change beside those of the threads"
            return None
        assert isinstance(event, Write | Sync), "a thread changes what is not only its own"
        if not going_on:  # all threads of a job live until it ends
            self._threads.clear()
            self._job += 1
            self.see()
        if thread not in self._threads:
            self._threads.append(thread)
        return Lane(self._job, event.path)

    # Each takes the real function and its arguments.

    def _open(
        self, real: Callable[..., int], path: Any, flags: int, *rest: Any, **more: Any
    ) -> int:
        makes = bool(flags & os.O_CREAT) and not os.path.lexists(path)
        handle = real(path, flags, *rest, **more)
        if makes:
            self._enter(path, more.get("dir_fd"))
        elif flags & os.O_TRUNC:
            self._truncate(handle, 0)
        return handle

    def _mkdir(self, real: Callable[..., None], path: Any, *rest: Any, **more: Any) -> None:
        real(path, *rest, **more)
        self._enter(path, more.get("dir_fd"))

    def _symlink(self, real: Callable[..., None], target: Any, path: Any, *rest: Any) -> None:
        real(target, path, *rest)
        self._enter(path)

    def _link(self, real: Callable[..., None], old: Any, new: Any, **more: Any) -> None:
        real(old, new, **more)
        directory, name, below = self._place(new)
        inode = self._known.get(_identity(os.lstat(new)))
        if directory and inode:
            self._paths[inode] = below
            self._record(Enter(below, directory, name, inode))

    def _rename(self, real: Callable[..., None], old: Any, new: Any) -> None:
        inode = self._known.get(_identity(os.lstat(old)))
        source, old_name, old_path = self._place(old)
        directory, name, path = self._place(new)
        real(old, new)
        if source and directory and inode:
            leave = Leave(old_path, source, old_name, inode)
            enter = Enter(path, directory, name, inode)
            self._paths[inode] = path
            self._record(Rename(f"{old_path} -> {path}", leave, enter))

    def _unlink(self, real: Callable[..., None], path: Any, **more: Any) -> None:
        dir_fd = more.get("dir_fd")
        directory, name, below = self._place(path, dir_fd)
        found = os.lstat(path, dir_fd=dir_fd) if directory else None
        real(path, **more)
        if found and directory:
            inode = self._known[_identity(found)]
            if found.st_nlink == 1 or inode.kind is Kind.DIRECTORY:
                del self._known[_identity(found)]  # the inode number may be reused
            self._record(Leave(below, directory, name, inode))

    def _write(self, real: Callable[..., int], handle: int, data: Any) -> int:
        written = real(handle, data)
        if self._inode(handle):
            end = os.lseek(handle, 0, os.SEEK_CUR)
            self._written(handle, end - written, bytes(data)[:written])
        return written

    def _pwrite(self, real: Callable[..., int], handle: int, data: Any, offset: int) -> int:
        written = real(handle, data, offset)
        self._written(handle, offset, bytes(data)[:written])
        return written

    def _ftruncate(self, real: Callable[..., None], handle: int, size: int) -> None:
        real(handle, size)
        self._truncate(handle, size)

    def _sync(self, real: Callable[..., None], handle: int) -> None:
        inode = self._inode(handle)
        if inode is None:
            real(handle)
            return
        event = Sync(self._paths[inode], inode)
        name = self._lane(event) and event.path
        self._syncs[name] += 1
        fails = (name, self._syncs[name]) == self._failing
        self._record(replace(event, succeeded=not fails))
        if fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def _enter(self, path: Any, dir_fd: int | None = None) -> None:
        directory, name, below = self._place(path, dir_fd)
        if directory:
            identity = _identity(os.lstat(path, dir_fd=dir_fd))
            inode = self._known[identity] = inode_of(self._root / below, self._new)
            self._new += 1
            self._paths[inode] = below
            self._record(Enter(below, directory, name, inode))

    def _written(self, handle: int, offset: int, data: bytes) -> None:
        inode = self._inode(handle)
        if inode:
            self._record(Write(self._paths[inode], inode, offset, data))

    def _truncate(self, handle: int, size: int) -> None:
        inode = self._inode(handle)
        if inode:
            self._record(Truncate(self._paths[inode], inode, size))

    def _inode(self, handle: int) -> Inode | None:
        return self._known.get(_identity(os.fstat(handle)))

    def _place(self, path: Any, dir_fd: int | None = None) -> tuple[Inode | None, str, str]:
        """Return the directory of ``path``, its name there, and its path below the root."""
        parent, name = os.path.split(os.fspath(path))
        if dir_fd is not None:
            directory = self._inode(dir_fd)
        else:
            directory = self._known.get(_identity(Path(parent).stat()))
        above = self._paths.get(directory, "") if directory else ""
        return directory, name, f"{above}/{name}" if above else name


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _shown(tree: Tree, ignored: Collection[str]) -> Any:
    for path, inode in tree.walk(ignored):
        file = inode.kind is Kind.FILE
        content = tree.contents.get(inode, Content()).digest if file else b""
        yield path, (inode.kind, inode.target, content)
