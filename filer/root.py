"""The root, the directory with all files of a filer: how it is recognised and locked.

A root has the marker file ``.filer``.  A directory without it is accepted only if it is empty, has
nothing but a valid filer.toml and the password file that filer.toml names, or is a complete root of
version 0.1, which had no marker.  Nothing is changed before this check, and the filer sets modes
only on directories that it creates.
"""

import errno
import fcntl
import os
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Self

from filer.config import OWN_SHELF
from filer.config import read as read_hardware
from filer.disks.bay import DISK_FILES
from filer.host.durable import Storage, StorageError, is_temporary
from filer.host.errors import FilerError
from filer.host.lock import is_at
from filer.host.own_files import followed, objection
from filer.host.reading import NotThereError
from filer.host.text import printable
from filer.host.toml_file import Document, dump, switch, whole

FORMAT = 1
"""The version of the layout of a root; higher versions are refused."""

_MARKER = ".filer"
_HARDWARE = "filer.toml"
_LOCK, _OLD_LOCK = "power", "lock"
_VAR, _MROOT, _SSH = "var", "mroot", "ssh"
_ETC, _KEYMGR, _CERTIFICATES = "mroot/etc", "mroot/etc/keymgr", "mroot/etc/keymgr/cert"
_SHELF_RECORD = "var/shelf.toml"
_DIRECTORIES = (_VAR, _MROOT, _ETC, _KEYMGR, _CERTIFICATES, _SSH)
_FILES = (
    _MARKER,
    _LOCK,
    _OLD_LOCK,
    _SHELF_RECORD,
    "var/panics.toml",
    "var/loader.toml",
    "var/clock.toml",
    "mroot/etc/messages",
    "mroot/etc/registry",
    "service",
    "ssh/host_key",
    "ssh/host_key_ecdsa",
    "ssh/host_key_rsa",
    "ssh/passwords.toml",
    "ssh/authorized_keys",
)
_VERSION_0_1 = (_OLD_LOCK, _HARDWARE, _MROOT, _SHELF_RECORD, OWN_SHELF)
"""The entries of every complete root of version 0.1."""

_LONGEST_PID = 16
_LOOKS_FOR_HOLDER = 50
_NO_DIRECTORY_LOCKS = {errno.EBADF, errno.EINVAL, errno.EOPNOTSUPP}


class RootInUse(FilerError):
    """Another filer runs on this root."""


class RootReplaced(FilerError):
    """The root, or its lock, is no longer the one that this filer holds."""


def unusable(path: Path, reason: str) -> FilerError:
    """Return the error for a root ``path`` that cannot be used."""
    return FilerError(f"cannot use {printable(str(path))}: {reason}")


class Marker(NamedTuple):
    """The content of ``.filer``; ``populated`` is set once the shelf has had disks."""

    populated: bool = False

    def pack(self) -> bytes:
        """Return the marker as TOML."""
        comment = b"# This directory is the root of a filer.\n"
        return comment + dump({"format": FORMAT, "populated": self.populated})

    @classmethod
    def parse(cls, document: Document) -> Self:
        """Parse the marker.  Raises ConfigError, with the line number."""
        version = document.take("format", whole(1, rule="must be the version of the root"))
        if version > FORMAT:
            raise document.error(("format",), f"format {version} needs a newer version of filer")
        return cls(document.take("populated", switch))


class Root(NamedTuple):
    """The directory of a filer on the host."""

    path: Path

    @classmethod
    def at(cls, path: Path) -> Self:
        """Return the root at ``path``; a symbolic link of this user is resolved once, here.

        Raises FilerError for a link of another user and for a dangling link.
        """
        with _os_errors_named(path):
            return cls(followed(path))

    def examine(self) -> Marker:
        """Return the marker that the root has or would get; changes nothing.

        Raises FilerError if the directory must not be used or its disks are missing, and
        ConfigError if the marker, or the filer.toml of a directory without a marker, is damaged.
        """
        with _os_errors_named(self.path):
            if reason := objection(self.path, directory=True):
                raise unusable(self.path, f"it {reason}")
            marker = self._recognise()
            self._refuse_files_of_others()
            if marker.populated or self._has(_SHELF_RECORD):
                self._refuse_missing_disks()
        return marker

    def make(self, storage: Storage) -> None:
        """Create the directory if it is missing, and make its name durable if it has no disks yet.

        Raises the errors of `examine`, and StorageError.
        """
        if self.examine().populated:
            return
        storage.make_directory(self.path)
        storage.settle_above(self.path)

    def mark(self, storage: Storage) -> None:
        """Write the marker if it is missing.  Raises the errors of `make`."""
        marker = self.examine()
        if not self._has(_MARKER):
            content = marker.pack()
            with suppress(FileExistsError):  # another program has just marked it
                storage.create(self.path / _MARKER, content, len(content))

    def claim(self, storage: Storage) -> None:
        """Make and mark the root without locking it.  Raises the errors of `make`."""
        self.make(storage)
        self.mark(storage)

    def mark_populated(self, storage: Storage) -> None:
        """Record that the shelf has disks: from now on, missing disks are never replaced.

        Call it when the disks and their record are durable; a start interrupted before this call
        continues with them.
        """
        storage.write(self.path / _MARKER, Marker(populated=True).pack())

    @property
    def lock(self) -> Path:
        """The lock file of a running filer; it contains the process ID."""
        return self.path / _LOCK

    @property
    def old_lock(self) -> Path:
        """The lock file of version 0.1."""
        return self.path / _OLD_LOCK

    @property
    def hardware(self) -> Path:
        """filer.toml."""
        return self.path / _HARDWARE

    @property
    def var(self) -> Path:
        """The CompactFlash boot device, which holds /var/kmip."""
        return self.path / _VAR

    @property
    def shelf_record(self) -> Path:
        """The file that records which bays have had a disk."""
        return self.path / _SHELF_RECORD

    @property
    def mroot(self) -> Path:
        """The root volume, accessible only while WAFL is up."""
        return self.path / _MROOT

    @property
    def installed_certificates(self) -> Path:
        """/mroot/etc/keymgr/cert."""
        return self.path / _CERTIFICATES

    @property
    def system_log(self) -> Path:
        """/mroot/etc/messages."""
        return self.mroot / "etc" / "messages"

    @property
    def registry(self) -> Path:
        """/mroot/etc/registry, the options."""
        return self.mroot / "etc" / "registry"

    def system_logs(self) -> Sequence[Path]:
        """Return the system log and its predecessors, as far as they exist."""
        return sorted(self.system_log.parent.glob(f"{self.system_log.name}*"))

    @property
    def shelf(self) -> Path:
        """The directory of the self-encrypting disks, one file each; filer.toml may name another.

        If filer.toml is missing or damaged, this is the root's own.
        """
        with suppress(FilerError):
            return self.path / read_hardware(self.hardware).directory
        return self.path / OWN_SHELF

    @property
    def ssh(self) -> Path:
        """The directory of the SSH server's host key, authorized keys and passwords."""
        return self.path / _SSH

    @property
    def directories(self) -> tuple[Path, ...]:
        """All directories in which the filer replaces files, each after its parent.

        The directories of a registration are not included: they are written once and removed as a
        whole.
        """
        return (self.path, *(self.path / name for name in _DIRECTORIES), self.shelf)

    @property
    def _shelf_name(self) -> str:
        """The shelf as messages name it: the path that filer.toml has."""
        return printable(os.path.relpath(self.shelf, self.path))

    def _has(self, name: str) -> bool:
        return os.path.lexists(self.path / name)

    def _refuse_files_of_others(self) -> None:
        for names, directory in ((_DIRECTORIES, True), (_FILES, False)):
            for name in names:
                if reason := objection(self.path / name, directory=directory):
                    raise unusable(self.path, f"{name} {reason}")
        if reason := objection(self.shelf, directory=True):
            raise unusable(self.path, f"{self._shelf_name} {reason}")

    def _recognise(self) -> Marker:
        if reason := objection(self.path / _MARKER):
            raise unusable(self.path, f"{_MARKER} {reason}")
        with suppress(NotThereError):
            return self._marker()
        is_version_0_1 = all(map(self._has, _VERSION_0_1))
        if not is_version_0_1:
            try:
                self._refuse_other_files()
            except FilerError:
                with suppress(NotThereError):  # another program has just marked the root
                    return self._marker()
                raise
        with suppress(NotThereError):
            read_hardware(self.hardware)
        return Marker(populated=is_version_0_1)

    def _marker(self) -> Marker:
        return Marker.parse(Document.read(_MARKER, self.path / _MARKER))

    def _refuse_other_files(self) -> None:
        expected = {self.hardware}
        with suppress(FilerError):  # of a filer.toml that is damaged or missing
            password_file = read_hardware(self.hardware).password_file
            expected.add(Path(os.path.normpath(self.path / password_file)))
        for entry in _others(self.path, expected) if self.path.exists() else ():
            found = printable(str(entry.relative_to(self.path)))
            reason = f"it is not empty (it has {found}), and not the root of a filer"
            raise unusable(self.path, reason)

    def _refuse_missing_disks(self) -> None:
        needed = {_HARDWARE: self.hardware, self._shelf_name: self.shelf}
        # var may be missing: a new boot device
        missing = [
            f"{name} is missing" for name, path in needed.items() if not os.path.lexists(path)
        ]
        if not missing and not self._has(_SHELF_RECORD) and not any(self.shelf.glob(DISK_FILES)):
            missing.append(f"there is neither a disk nor {_SHELF_RECORD}")
        if missing:
            reason = f"it had disks, but {missing[0]}; is its file system mounted?"
            raise unusable(self.path, reason)


def _others(directory: Path, expected: Collection[Path]) -> Iterator[Path]:
    """Yield what is in ``directory`` besides temporary and ``expected`` files.

    A directory that has an expected file is looked into.
    """
    for entry in sorted(directory.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            if any(entry in file.parents for file in expected):
                yield from _others(entry, expected)
            else:
                yield entry
        elif entry not in expected and not is_temporary(entry):
            yield entry


@contextmanager
def _os_errors_named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unusable(path, printable(error.strerror or str(error))) from None


class RootLock:
    """A lock held while a filer is powered on; the kernel frees it whenever the process ends.

    The directory itself is locked too, so removing the lock file does not let in a second filer.
    """

    def __init__(self, root: Root, storage: Storage) -> None:
        """Lock the root, which is created and marked if it is new.

        Raises RootInUse, or the errors of `Root.mark`; at most a new directory then remains.
        """
        self._root = root
        self._held: list[tuple[int, Path]] = []
        try:
            with _os_errors_named(root.path):
                root.make(storage)
                self._take(root.path, os.O_RDONLY | os.O_DIRECTORY)
                if os.path.lexists(root.old_lock):
                    self._take(root.old_lock, os.O_RDWR)
                root.mark(storage)
                self._take(root.lock, os.O_RDWR | os.O_CREAT)
                for descriptor, path in self._held:
                    if path != root.path:
                        _write_down_process(descriptor)
        except StorageError as refusal:
            self.release()
            raise unusable(root.path, str(refusal)) from None
        except BaseException:
            self.release()
            raise

    def check(self) -> None:
        """Raise RootReplaced if the directory or the lock file was removed or replaced."""
        for descriptor, path in self._held:
            if not is_at(path, descriptor):
                raise RootReplaced(
                    f"{printable(str(path))} was removed or replaced while this filer runs; "
                    "nothing was changed"
                )

    def release(self) -> None:
        """Free the lock."""
        while self._held:
            os.close(self._held.pop()[0])

    def _take(self, path: Path, flags: int) -> None:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        self._held.append((descriptor, path))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            root = printable(str(self._root.path))
            raise RootInUse(f"{root} is in use by process {self._holder()}") from None
        except OSError as error:
            # NFS cannot lock directories; there the lock files have to be enough.
            if not (flags & os.O_DIRECTORY and error.errno in _NO_DIRECTORY_LOCKS):
                raise
        self.check()

    def _holder(self) -> str:
        """Return the ID of the process that holds the root; wait up to 0.5 s for it to appear."""
        for _ in range(_LOOKS_FOR_HOLDER):
            for path in (self._root.lock, self._root.old_lock):
                with suppress(OSError):
                    if found := _running_process(path):
                        return found
            time.sleep(0.01)
        return "?"


def _write_down_process(descriptor: int) -> None:
    line = f"{os.getpid()}\n".encode()
    os.fchmod(descriptor, 0o600)
    # Write before truncating: on a full disk this reuses the block that the file has.
    os.pwrite(descriptor, line, 0)
    os.ftruncate(descriptor, len(line))


def _running_process(path: Path) -> str | None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        written = os.pread(descriptor, _LONGEST_PID, 0).strip()
    finally:
        os.close(descriptor)
    return written.decode("ascii") if written.isdigit() and _runs(int(written)) else None


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:  # a process of another user
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
