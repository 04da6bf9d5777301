"""The system log, /mroot/etc/messages, and the logs of the previous six weeks."""

import os
import stat
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime, timedelta
from pathlib import Path
from threading import Lock

from filer import RELEASE
from filer.host.durable import Storage, StorageError
from filer.host.text import printable

OLD_LOGS = 6
"""Number of old logs: messages.0 (the newest) to messages.5."""

LARGEST = 4 * 1024 * 1024
"""Size in bytes above which a log is rotated before its week is over, to keep it readable."""

_LONGEST_TEXT = 8 * 1024
"""Characters of the text of one line; the rest is cut off."""

_MOST_KEPT = 1000
"""Lines held in memory while the log cannot be written; beyond that the oldest are lost."""

_CLOCK_CORRECTION = timedelta(days=1)
"""If the clock is set back by less than this, a week boundary does not rotate the log twice."""


def format_line(now: datetime, hostname: str, event: str, severity: str, text: str) -> str:
    """Return one line of the log, without the newline.

    ``now`` has a time zone.  Unprintable characters in the parts, newlines included, are escaped.
    """
    shown = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."
    return printable(f"{now:%a %b %d %H:%M:%S %Z} [{hostname}:{event}:{severity}]: {shown}")


class Messages:
    """The log of one filer: in memory until WAFL is up, then in a file.

    At the first line after Saturday 24:00, or when the file is too large, it is renamed to
    messages.0, messages.0 to messages.1, and so on; messages.5 is deleted.
    """

    def __init__(
        self,
        hostname: str,
        now: Callable[[], datetime],
        system_id: int = 0,
        offset: Callable[[], timedelta] = timedelta,
    ) -> None:
        """Create a log; ``offset`` returns how far ``now`` is ahead of the times of files."""
        self._hostname = hostname
        self._now = now
        self._offset = offset
        release = f"NetApp Release {RELEASE} 7-Mode"
        self._system = f"System {hostname} (ID {system_id:010}) is running {release}"
        self._kept: deque[str] = deque(maxlen=_MOST_KEPT)
        self._latest = datetime.min
        """The time of the last line."""
        self._guard = Lock()
        self._storage: Storage | None = None
        self._path = Path()
        self._clean_end = False
        self._written: datetime | None = None
        """When the last line was written; None if the file's time has to be read."""

    def log(self, event: str, severity: str, text: str) -> str:
        """Log ``text`` and return its line.

        Never fails, so that no command fails because of the log: a line that cannot be written is
        kept for the next try.
        """
        with self._guard:
            self._latest = self._now()
            line = self._line(event, severity, text)
            self._kept.append(line)
            with suppress(StorageError):
                self._write()
        return line

    def attach(self, path: Path, storage: Storage) -> None:
        """Write to ``path`` from now on, starting with the lines in memory (WAFL is up).

        Raises StorageError if they cannot be written; they are kept, and every `log` tries again.
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
            # End a line that a crash or a full disk cut short, so that it stays separate.
            start = "" if self._clean_end or _ends_a_line(self._path) else "\n"
            self._clean_end = False
            self._storage.append(self._path, f"{start}{first}{lines}".encode())
        except OSError as error:
            raise StorageError(f"cannot write {self._path.name}: {error.strerror}") from None
        self._clean_end = True
        self._kept.clear()

    def _rotate_if_due(self, storage: Storage, size: int) -> str:
        """Rotate the log if its week is over, or if ``size`` more bytes would be too many.

        Returns the first line of a new log, or "" without rotation.  If the rotation fails, the
        line goes into the current log, and the next line tries again.
        """
        now = self._latest
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._written = now
            return ""
        changed = datetime.fromtimestamp(status.st_mtime, now.tzinfo)
        before = self._written or changed + self._offset()
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

    Each rename is durable before the next, so an interruption loses no log; the next rotation
    continues from the number that is free.
    """
    old = [path.with_name(f"{path.name}.{number}") for number in range(OLD_LOGS)]
    free = next((number for number in range(OLD_LOGS) if not os.path.lexists(old[number])), None)
    last = OLD_LOGS - 1 if free is None else free
    for number in range(last, 0, -1):
        storage.rename(old[number - 1], old[number])
    storage.rename(path, old[0])


def _week(time: datetime) -> date:
    """Return the Sunday on which the week of ``time`` began."""
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
