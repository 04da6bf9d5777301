"""Durable, atomic changes to files: every change to a file of the root goes through here."""

import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filer.host.errors import FilerError
from filer.host.text import printable

_DIRECTORY_MODE = 0o700
_FILE_MODE = 0o600
_NEW = ".new-"  # the prefix of a file that is not complete
_TEMPORARY = re.compile(rf"{re.escape(_NEW)}[0-9a-f]+")

# macOS has no fdatasync
_sync_data = getattr(os, "fdatasync", os.fsync)


class StorageError(FilerError):
    """The host refused to change a file: disk full, read-only, not permitted."""


class Storage:
    """Durable, atomic changes to files; new directories are 0700, files 0600, whatever the umask.

    A reader, or a start after a crash, finds the old content or the new.  If ``path`` is a link,
    no method changes its target.  Every method raises `StorageError` if the host refuses, and
    then leaves nothing incomplete behind.
    """

    def make_directory(self, path: Path) -> None:
        """Make the directory ``path`` and its missing parents; existing ones keep their mode.

        The name is durable afterwards, even if an earlier run made the directory and was killed.
        """
        with _refusals_of(path):
            chain = (*reversed(path.parents), path)
            missing = [directory for directory in chain if not directory.exists()]
            for directory in missing:
                _make_directory(directory)
                _sync(directory.parent)
            if not stat.S_ISDIR(path.lstat().st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if not missing:
                _sync(path.parent)

    def settle(self, path: Path) -> None:
        """Make the content of the file or directory ``path`` durable.

        A killed run may have left it in the host's cache only.  Call this before removing or
        recording anything because of that content.
        """
        with _refusals_of(path):
            _sync(path)

    def settle_above(self, path: Path) -> None:
        """Make durable the names of ``path`` and of the directories above it.

        An earlier run may have made several of them and been killed before it synced any.
        """
        with _refusals_of(path):
            path = path.absolute()
            for directory in (path, *path.parents):
                if _may_be_ours(directory):
                    _sync(directory.parent)

    def write(self, path: Path, data: bytes) -> None:
        """Make ``data`` the whole content of ``path``, which may exist already."""
        with _refusals_of(path), _new_file(path.parent) as (handle, new):
            _write_all(handle, data, 0)
            os.fsync(handle)
            new.replace(path)
            _sync(path.parent)

    def overwrite(self, path: Path, offset: int, data: bytes, inode: int = 0) -> None:
        """Write ``data`` at ``offset`` (bytes) into the existing file ``path``, in place.

        Not atomic: after a crash any part of ``data`` may be on disk.  With ``inode``, a file that
        has another inode, and so has taken the place of the file that is meant, is not changed.
        """
        with _refusals_of(path):
            handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if inode and os.fstat(handle).st_ino != inode:
                    raise OSError(errno.ESTALE, "another file has taken its place")
                _write_all(handle, data, offset)
                _sync_data(handle)
            finally:
                os.close(handle)

    def read(self, path: Path, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset``, fewer at the end of the file.  Raises OSError."""
        # without O_NONBLOCK, opening a named pipe would block
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.pread(handle, size, offset)
        finally:
            os.close(handle)

    def is_hole(self, path: Path, offset: int, size: int) -> bool:
        """Return whether these bytes are zeros because they were never written.  Raises OSError.

        False if the file system does not tell.
        """
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.lseek(handle, offset, os.SEEK_DATA) >= offset + size
        except OSError as error:
            return error.errno == errno.ENXIO  # nothing after offset was written
        finally:
            os.close(handle)

    def create(self, path: Path, head: bytes, size: int) -> None:
        """Make the sparse file ``path`` of ``size`` bytes that begins with ``head``.

        Raises FileExistsError, and changes nothing, if ``path`` exists.
        """
        with _refusals_of(path), _new_file(path.parent) as (handle, new):
            _write_all(handle, head, 0)
            os.ftruncate(handle, size)
            os.fsync(handle)
            taken = not _link_new(new, path)
            if not taken:
                _sync(path.parent)
        if taken:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(path))

    def link(self, path: Path, target: str) -> None:
        """Make ``path`` a symbolic link to ``target``; an existing link is replaced."""
        with _refusals_of(path):
            new = _new_name(path.parent)
            new.symlink_to(target)
            try:
                new.replace(path)
            except OSError:
                new.unlink()
                raise
            _sync(path.parent)

    def remove(self, path: Path) -> None:
        """Remove the file or link ``path``; if it is missing already, make that durable."""
        with _refusals_of(path):
            path.unlink(missing_ok=True)
            _sync(path.parent)

    def remove_tree(self, path: Path) -> None:
        """Remove the directory ``path`` with its content; after a crash a part may be left."""
        import shutil  # 2 ms

        with _refusals_of(path):
            with suppress(FileNotFoundError):
                shutil.rmtree(path)
            _sync(path.parent)

    def append(self, path: Path, data: bytes) -> None:
        """Append ``data`` to the log ``path`` in one write.

        Not synced: after a crash of the host the last lines may be torn or missing.
        """
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with _refusals_of(path):
            handle = os.open(path, flags, _FILE_MODE)
            try:
                os.fchmod(handle, _FILE_MODE)
                before = os.fstat(handle).st_size
                if os.write(handle, data) != len(data):
                    os.ftruncate(handle, before)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(handle)

    def rename(self, path: Path, new: Path) -> None:
        """Rename the file ``path`` to ``new``, replacing a file of that name."""
        with _refusals_of(path):
            path.replace(new)
            _sync(new.parent)

    def sweep(self, directory: Path) -> None:
        """Remove the incomplete files that a crash left in ``directory``.

        Files that another process is writing now stay.
        """
        with _refusals_of(directory):
            try:
                found = [entry for entry in directory.iterdir() if is_temporary(entry)]
            except FileNotFoundError:
                return
            left = [entry for entry in found if not _is_being_written(entry)]
            for entry in left:
                entry.unlink(missing_ok=True)
            if left:
                _sync(directory)


def is_temporary(path: Path) -> bool:
    """Say whether ``path`` is a file or link that a change has not renamed to its target yet."""
    return bool(_TEMPORARY.fullmatch(path.name)) and (path.is_symlink() or not path.is_dir())


@contextmanager
def _refusals_of(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StorageError(f"cannot write {printable(path.name)}: {printable(reason)}") from error


def _new_name(directory: Path) -> Path:
    return directory / f"{_NEW}{os.urandom(8).hex()}"


@contextmanager
def _new_file(directory: Path) -> Iterator[tuple[int, Path]]:
    new = _new_name(directory)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # so that `sweep` skips it
        os.fchmod(handle, _FILE_MODE)
        yield handle, new
    finally:
        os.close(handle)
        new.unlink(missing_ok=True)


def _link_new(new: Path, path: Path) -> bool:
    """Link ``path`` to the file ``new``; return False if ``path`` exists."""
    try:
        # unlike a rename, a hard link never replaces an existing file
        path.hardlink_to(new)
    except FileExistsError:
        return False
    return True


def _write_all(handle: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, offset)
        view = view[written:]
        offset += written


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(_DIRECTORY_MODE)
    except FileExistsError:  # another process was faster
        return
    path.chmod(_DIRECTORY_MODE)


def _may_be_ours(directory: Path) -> bool:
    """Say whether an earlier run may have made ``directory``."""
    parent = directory.parent
    return directory.stat().st_uid == os.geteuid() and os.access(parent, os.R_OK | os.W_OK)


def _is_being_written(path: Path) -> bool:
    """Say whether a process is writing the temporary file ``path``."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # a link, which no process writes
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
