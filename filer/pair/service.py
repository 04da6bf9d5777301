"""The service lock of a node: only its holder writes to the node's root volume and disks.

The lock is a file in the root of the node, and if other roots may have their disks in the same
shelf, another one there, which a copy of the root finds locked.  The node holds it while it is up;
at a takeover the partner takes it.  The kernel frees it when the process that holds it ends for any
reason, and not while that process is only stopped.
"""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filer.host.durable import Storage, StorageError
from filer.host.errors import FilerError
from filer.host.lock import is_at
from filer.host.text import printable

NAME = "service"

_LONGEST_PID = 16
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

_PATIENCE = 0.3
"""Seconds for which `ServiceLock.take` tries again: a partner that only looks holds the lock for
a moment."""


class ServiceHeld(FilerError):
    """Another process holds the service lock; ``pid`` is its process ID, "?" if it is unknown."""

    def __init__(self, path: Path, pid: str) -> None:
        super().__init__(f"{printable(str(path))} is held by process {pid}")
        self.pid = pid


class DisksServed(FilerError):
    """The disks of this system are served from another root."""

    def __init__(self, path: Path, pid: str) -> None:
        shelf = printable(str(path.parent.resolve()))
        super().__init__(
            f"process {pid} serves the disks of this system in {shelf} from another root; "
            "is this root a copy?"
        )


def lock_of_disks(shelf: Path, system_id: int) -> Path:
    """Return the lock file for the disks of a system, in a shelf that several roots may use."""
    return shelf / f"{NAME}.{system_id}"


def process_serving(shelf: Path, system_id: int) -> str | None:
    """Return the ID of the process that serves the disks of a system in a shelf, or None.

    Not for a system that this process serves.
    """
    path = lock_of_disks(shelf, system_id)
    return None if _is_free(path) else _holder(path) or "?"


class ServiceLock:
    """The service lock in the root ``root``; taken and released several times by one process.

    The directory of the root volume is locked too, so that removing the lock file lets no other
    process in.  ``disks`` is the lock file in the shelf, or None.
    """

    def __init__(self, root: Path, disks: Path | None = None) -> None:
        self._path = root / NAME
        self._volume = root / "mroot"
        self._disks = disks
        self._held: list[tuple[int, Path]] = []
        self._writers = 0
        self._changed = threading.Condition()

    @property
    def held(self) -> bool:
        """Whether this process has the lock."""
        return bool(self._held)

    def use(self, disks: Path | None) -> None:
        """Make ``disks`` the lock file in the shelf; a lock with another one is released."""
        if disks != self._disks:
            self.release()
            self._disks = disks

    def take(self) -> None:
        """Take the lock, unless this process has it.  Never waits longer than 0.3 s.

        Raises ServiceHeld, DisksServed, or FilerError if a file cannot be used.
        """
        deadline = time.monotonic() + _PATIENCE
        while not self.held:
            try:
                refusal = self._try()
            except OSError as error:
                path, reason = printable(str(error.filename or self._path)), error.strerror
                raise FilerError(f"cannot lock {path}: {reason}") from None
            if refusal:
                if time.monotonic() > deadline:
                    raise refusal
                time.sleep(0.01)

    def _try(self) -> FilerError | None:
        """Take the lock, or return why it is not free."""
        with suppress(FileExistsError):
            self._volume.mkdir(0o700)
        taken: list[tuple[int, Path]] = []
        try:
            for path in filter(None, (self._path, self._volume, self._disks)):
                is_file = path != self._volume
                flags = os.O_RDWR | os.O_CREAT if is_file else os.O_RDONLY | os.O_DIRECTORY
                descriptor = os.open(path, flags | _FLAGS, 0o600)
                taken.append((descriptor, path))
                if not (_lock(descriptor) and is_at(path, descriptor)):
                    if path == self._disks:
                        return DisksServed(path, _holder(path) or "?")
                    return ServiceHeld(self._path, self.holder() or "?")
                if is_file:
                    os.fchmod(descriptor, 0o600)
            line = f"{os.getpid()}\n".encode()
            for descriptor, path in taken:
                if path != self._volume:
                    os.pwrite(descriptor, line, 0)
                    os.ftruncate(descriptor, len(line))
            self._held, taken = taken, []
            return None
        finally:
            for descriptor, _path in taken:
                os.close(descriptor)

    def check(self) -> None:
        """Raise StorageError unless this process has the lock, and it is still the file there."""
        if not self._held:
            raise StorageError("these disks are not served here now; nothing was changed")
        for descriptor, path in self._held:
            if not is_at(path, descriptor):
                raise StorageError(
                    f"{printable(str(path))} was removed or replaced while this filer runs; "
                    "nothing was changed"
                )

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep the lock during the block, which makes one change.  Raises what `check` raises."""
        with self._changed:
            self.check()
            self._writers += 1
        try:
            yield
        finally:
            with self._changed:
                self._writers -= 1
                self._changed.notify_all()

    def release(self) -> None:
        """Free the lock, if this process has it; a change that other threads make ends first."""
        with self._changed:
            held, self._held = self._held, []
            self._changed.wait_for(lambda: not self._writers)
            for descriptor, _path in held:
                os.close(descriptor)

    def is_free(self) -> bool:
        """Return whether no process has the lock; False if it cannot be read."""
        paths = filter(None, (self._path, self._volume, self._disks))
        return not self.held and all(map(_is_free, paths))

    def holder(self) -> str | None:
        """Return the process ID in the file, or None if there is none."""
        return _holder(self._path)


def _holder(path: Path) -> str | None:
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | _FLAGS)
        try:
            written = os.pread(descriptor, _LONGEST_PID, 0).strip()
        finally:
            os.close(descriptor)
        if written.isdigit():
            return written.decode("ascii")
    return None


def _lock(descriptor: int) -> bool:
    """Lock an open file; return False if another process has it locked."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_free(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | _FLAGS)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


class GuardedStorage(Storage):
    """Changes files through ``storage``, each only while this process has the lock ``service``."""

    def __init__(self, storage: Storage, service: ServiceLock) -> None:
        self._storage = storage
        self._writing = service.writing

    def make_directory(self, path: Path) -> None:
        with self._writing():
            self._storage.make_directory(path)

    def settle(self, path: Path) -> None:
        self._storage.settle(path)

    def settle_above(self, path: Path) -> None:
        self._storage.settle_above(path)

    def write(self, path: Path, data: bytes) -> None:
        with self._writing():
            self._storage.write(path, data)

    def overwrite(self, path: Path, offset: int, data: bytes, inode: int = 0) -> None:
        with self._writing():
            self._storage.overwrite(path, offset, data, inode)

    def read(self, path: Path, offset: int, size: int) -> bytes:
        return self._storage.read(path, offset, size)

    def is_hole(self, path: Path, offset: int, size: int) -> bool:
        return self._storage.is_hole(path, offset, size)

    def create(self, path: Path, head: bytes, size: int) -> None:
        with self._writing():
            self._storage.create(path, head, size)

    def link(self, path: Path, target: str) -> None:
        with self._writing():
            self._storage.link(path, target)

    def remove(self, path: Path) -> None:
        with self._writing():
            self._storage.remove(path)

    def remove_tree(self, path: Path) -> None:
        with self._writing():
            self._storage.remove_tree(path)

    def append(self, path: Path, data: bytes) -> None:
        with self._writing():
            self._storage.append(path, data)

    def rename(self, path: Path, new: Path) -> None:
        with self._writing():
            self._storage.rename(path, new)

    def sweep(self, directory: Path) -> None:
        with self._writing():
            self._storage.sweep(directory)
