"""The system log, /mroot/etc/messages."""

import os
import stat
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from filer.durable import Storage, StorageError
from filer.text import printable

_MOST_KEPT = 1000
"""Lines kept while there is nowhere to write them; then the oldest are lost."""


def format_line(now: datetime, hostname: str, event: str, severity: str, text: str) -> str:
    """Return one line of the log, without its end.

    ``now`` bears a time zone.  Whatever is not printable in the parts is escaped, line ends too.
    """
    return printable(f"{now:%a %b %d %H:%M:%S %Z} [{hostname}:{event}:{severity}]: {text}")


class Messages:
    """The log of one filer: in memory until WAFL is up, in a file from then on."""

    def __init__(self, hostname: str, now: Callable[[], datetime]) -> None:
        self._hostname = hostname
        self._now = now
        self._kept: deque[str] = deque(maxlen=_MOST_KEPT)
        self._guard = allocate_lock()
        self._storage: Storage | None = None
        self._path = Path()
        self._clean_end = False

    def log(self, event: str, severity: str, text: str) -> str:
        """Log ``text`` and return its line.

        Never fails: a line that cannot be written is kept for the next try, since no command is
        to fail for its log.
        """
        line = format_line(self._now(), self._hostname, event, severity, text)
        with self._guard, suppress(StorageError):
            self._kept.append(line)
            self._write()
        return line

    def attach(self, path: Path, storage: Storage) -> None:
        """Write to ``path`` from now on, first of all what was kept (WAFL is up).

        Raises StorageError if that is not possible; the lines are kept, and every `log` tries
        again.
        """
        self._path, self._storage, self._clean_end = path, storage, False
        self._write()

    def detach(self) -> None:
        """Keep lines in memory from now on (WAFL goes down)."""
        self._storage = None

    def _write(self) -> None:
        if self._storage is None or not self._kept:
            return
        lines = "".join(f"{line}\n" for line in self._kept)
        try:
            # A line torn by a crash, or by a full disk, stays a line of its own.
            start = "" if self._clean_end or _ends_a_line(self._path) else "\n"
            self._clean_end = False
            self._storage.append(self._path, f"{start}{lines}".encode())
        except OSError as error:
            raise StorageError(f"cannot write {self._path.name}: {error.strerror}") from None
        self._clean_end = True
        self._kept.clear()


def _ends_a_line(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise StorageError(f"cannot write {path.name}: not a regular file")
        return not status.st_size or os.pread(descriptor, 1, status.st_size - 1) == b"\n"
    finally:
        os.close(descriptor)
