"""Durable, atomic changes to files: every change to a file of the root goes through here."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filer.errors import FilerError
from filer.text import printable

_DIRECTORY_MODE = 0o700
_FILE_MODE = 0o600
_NEW = ".new-"  # what a file is called until it is whole

# macOS has no fdatasync
_sync_data = getattr(os, "fdatasync", os.fsync)


class StorageError(FilerError):
    """A change to a file was refused by the host: disk full, read-only, not permitted."""


class Storage:
    """Durable, atomic changes to files; directories are 0700, files 0600, whatever the umask.

    Whoever reads a file, or starts after a crash, finds the old content or the new.  Every method
    raises `StorageError` where the host refuses, and leaves nothing half-made behind then.
    """

    def make_directory(self, path: Path) -> None:
        """Make the directory ``path`` with its missing parents; one that is there becomes 0700."""
        with _refusals_of(path):
            for directory in (*reversed(path.parents), path):
                if not directory.exists():
                    directory.mkdir(_DIRECTORY_MODE, exist_ok=True)  # somebody else may be faster
                    directory.chmod(_DIRECTORY_MODE)
                    _sync_directory(directory.parent)
            mode = path.stat().st_mode
            if not stat.S_ISDIR(mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if stat.S_IMODE(mode) != _DIRECTORY_MODE:
                path.chmod(_DIRECTORY_MODE)

    def write(self, path: Path, data: bytes) -> None:
        """Make ``data`` the whole content of ``path``, which may exist already."""
        with _refusals_of(path), _new_file(path.parent) as (handle, new):
            _write_all(handle, data, 0)
            os.fsync(handle)
            new.replace(path)
            _sync_directory(path.parent)

    def overwrite(self, path: Path, offset: int, data: bytes) -> None:
        """Put ``data`` at ``offset`` (bytes) into the existing file ``path``, in place.

        Not atomic: after a crash any part of ``data`` may have arrived.
        """
        with _refusals_of(path):
            handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                _write_all(handle, data, offset)
                _sync_data(handle)
            finally:
                os.close(handle)

    def create(self, path: Path, head: bytes, size: int) -> None:
        """Make the sparse file ``path`` of ``size`` bytes that begins with ``head``.

        Raises FileExistsError, and changes nothing, if there is anything called ``path``.
        """
        with _refusals_of(path), _new_file(path.parent) as (handle, new):
            _write_all(handle, head, 0)
            os.ftruncate(handle, size)
            os.fsync(handle)
            taken = not _link_new(new, path)
            if not taken:
                _sync_directory(path.parent)
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
            _sync_directory(path.parent)

    def remove(self, path: Path) -> None:
        """Remove the file or link ``path``; one that is not there is removed already."""
        with _refusals_of(path):
            try:
                path.unlink()
            except FileNotFoundError:
                return
            _sync_directory(path.parent)

    def remove_tree(self, path: Path) -> None:
        """Remove the directory ``path`` and all in it; after a crash a part may be left."""
        import shutil

        with _refusals_of(path):
            try:
                shutil.rmtree(path)
            except FileNotFoundError:
                return
            _sync_directory(path.parent)

    def append(self, path: Path, data: bytes) -> None:
        """Add ``data`` to the end of the log ``path``, in one write.

        Not durable at once: after a crash of the host the last lines may be torn or missing.
        """
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
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
        """Give the file ``path`` the name ``new``; a file that has it is replaced."""
        with _refusals_of(path):
            path.replace(new)
            _sync_directory(new.parent)

    def sweep(self, directory: Path) -> None:
        """Remove what a crash left in ``directory``: files that never became whole."""
        with _refusals_of(directory):
            try:
                left = [entry for entry in directory.iterdir() if entry.name.startswith(_NEW)]
            except FileNotFoundError:
                return
            for entry in left:
                entry.unlink(missing_ok=True)
            if left:
                _sync_directory(directory)


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
        os.fchmod(handle, _FILE_MODE)
        yield handle, new
    finally:
        os.close(handle)
        new.unlink(missing_ok=True)


def _link_new(new: Path, path: Path) -> bool:
    """Give ``new`` the name ``path`` as well; False if that name is taken."""
    try:
        # unlike a rename, a second link never replaces what is there
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


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
