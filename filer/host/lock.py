"""Locks between processes, by flock on a file or directory."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(
    path: Path, flags: int, refusal: Callable[[OSError], Exception], *, wait: bool = True
) -> Iterator[int]:
    """Hold the lock of ``path``, opened with ``flags``, and yield its descriptor.

    Raises ``refusal(error)`` if that fails; without ``wait``, the error is BlockingIOError while
    another process holds the lock.
    """
    try:
        descriptor = _take(path, flags, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise refusal(error) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def is_at(path: Path, descriptor: int, *, follow: bool = False) -> bool:
    """Say whether ``path`` is still the file that ``descriptor`` has open."""
    try:
        return os.path.samestat(path.stat(follow_symlinks=follow), os.fstat(descriptor))
    except OSError:
        return False


def _take(path: Path, flags: int, operation: int) -> int:
    while True:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, operation)
        except BaseException:
            os.close(descriptor)
            raise
        if is_at(path, descriptor, follow=not flags & os.O_NOFOLLOW):
            return descriptor
        os.close(descriptor)  # replaced meanwhile: other processes lock the new file
