"""The system log, /mroot/etc/messages, and what it was in the six weeks before."""

import os
import stat
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime, timedelta
from pathlib import Path

from filer import RELEASE
from filer.host.durable import Storage, StorageError
from filer.host.text import printable

OLD_LOGS = 6
"""How many old logs are kept: messages.0, the newest, to messages.5."""

LARGEST = 4 * 1024 * 1024
"""Bytes of a log after which it is rotated before its week is over, so that it can be read."""

_LONGEST_TEXT = 8 * 1024
"""Characters of one line's text; more are cut off."""

_MOST_KEPT = 1000
"""Lines kept while there is nowhere to write them; then the oldest are lost."""

_CLOCK_CORRECTION = timedelta(days=1)
"""A clock that goes back by less crosses no boundary a second time."""


def format_line(now: datetime, hostname: str, event: str, severity: str, text: str) -> str:
    """Return one line of the log, without its end.

    ``now`` bears a time zone.  Whatever is not printable in the parts is escaped, line ends too.
    """
    shown = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."
    return printable(f"{now:%a %b %d %H:%M:%S %Z} [{hostname}:{event}:{severity}]: {shown}")


class Messages:
    """The log of one filer: in memory until WAFL is up, in a file from then on.

    With the first line after Saturday 24:00, or when it has grown too large, the file becomes
    messages.0, messages.0 becomes messages.1, and so on; messages.5 goes.
    """

    def __init__(self, hostname: str, now: Callable[[], datetime], system_id: int = 0) -> None:
        self._hostname = hostname
        self._now = now
        release = f"NetApp Release {RELEASE} 7-Mode"
        self._system = f"System {hostname} (ID {system_id:010}) is running {release}"
        self._kept: deque[str] = deque(maxlen=_MOST_KEPT)
        self._latest = datetime.min
        """The time of the last line."""
        self._guard = allocate_lock()
        self._storage: Storage | None = None
        self._path = Path()
        self._clean_end = False
        self._written: datetime | None = None
        """When the last line was written; None if the file has to be asked."""

    def log(self, event: str, severity: str, text: str) -> str:
        """Log ``text`` and return its line.

        Never fails: a line that cannot be written is kept for the next try, since no command is
        to fail for its log.
        """
        with self._guard:
            self._latest = self._now()
            line = self._line(event, severity, text)
            self._kept.append(line)
            with suppress(StorageError):
                self._write()
        return line

    def attach(self, path: Path, storage: Storage) -> None:
        """Write to ``path`` from now on, first of all what was kept (WAFL is up).

        Raises StorageError if that is not possible; the lines are kept, and every `log` tries
        again.
        """
        with self._guard:
            self._path, self._storage = path, storage
            self._clean_end, self._written = False, None
            self._write()

    def detach(self) -> None:
        """Keep lines in memory from now on (WAFL goes down)."""
        with self._guard:
            self._storage = None

    def _line(self, event: str, severity: str, text: str) -> str:
        return format_line(self._latest, self._hostname, event, severity, text)

    def _write(self) -> None:
        if self._storage is None or not self._kept:
            return
        lines = "".join(f"{line}\n" for line in self._kept)
        try:
            first = self._rotate_if_due(self._storage, len(lines.encode()))
            # A line torn by a crash, or by a full disk, stays a line of its own.
            start = "" if self._clean_end or _ends_a_line(self._path) else "\n"
            self._clean_end = False
            self._storage.append(self._path, f"{start}{first}{lines}".encode())
        except OSError as error:
            raise StorageError(f"cannot write {self._path.name}: {error.strerror}") from None
        self._clean_end = True
        self._kept.clear()

    def _rotate_if_due(self, storage: Storage, size: int) -> str:
        """Rotate the log if its week is over, or ``size`` more bytes are too many.

        Returns the first line of the new log; nothing if there is none.  A rotation that the host
        refuses is tried again with the next line; this one goes into the log as it is.
        """
        now = self._latest
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._written = now
            return ""
        before = self._written or datetime.fromtimestamp(status.st_mtime, now.tzinfo)
        if before - now > _CLOCK_CORRECTION:
            before = now
        due = _week(before) < _week(now) or status.st_size + size > LARGEST
        self._written = before
        first = ""
        if due and status.st_size and stat.S_ISREG(status.st_mode):
            try:
                rotate(self._path, storage)
            except StorageError:
                return ""
            self._clean_end = True
            first = self._line("kern.log.rotate", "notice", self._system) + "\n"
        self._written = max(before, now)
        return first


def rotate(path: Path, storage: Storage) -> None:
    """Make the log ``path`` the newest of the old logs.  Raises StorageError.

    Each rename is durable before the next: whenever it is cut short, every log is there under
    some name, and the next rotation goes on from the number that is free.
    """
    old = [path.with_name(f"{path.name}.{number}") for number in range(OLD_LOGS)]
    free = next((number for number in range(OLD_LOGS) if not os.path.lexists(old[number])), None)
    last = OLD_LOGS - 1 if free is None else free
    for number in range(last, 0, -1):
        storage.rename(old[number - 1], old[number])
    storage.rename(path, old[0])


def _week(time: datetime) -> date:
    """Return the Sunday with which the week of ``time`` began."""
    return time.date() - timedelta(days=(time.weekday() + 1) % 7)


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
