"""The clock of the filer: the time of the host plus an offset, which ``date`` sets."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from filer.host.durable import Storage
from filer.host.toml_file import Document, RuleError, dump

_MOST_SECONDS = 200 * 366 * 86400
"""The largest offset: about 200 years."""


class Clock:
    """A clock of the hardware, which runs without power; its offset is stored on the boot device.

    ``host`` returns the time of the host, with its time zone.
    """

    def __init__(self, path: Path, storage: Storage, host: Callable[[], datetime]) -> None:
        """Read the offset.  Raises ConfigError if the file is damaged."""
        self._path = path
        self._storage = storage
        self._host = host
        self._offset = self._stored()

    def now(self) -> datetime:
        """Return the time of the filer."""
        return self._host() + self._offset

    def offset(self) -> timedelta:
        """Return how far the clock is ahead of that of the host."""
        return self._offset

    def set(self, time: datetime) -> None:
        """Set the clock.  Raises StorageError; the clock then has the offset that is stored."""
        offset = time - self._host()
        try:
            self._storage.write(self._path, dump({"offset": round(offset.total_seconds(), 3)}))
        finally:
            self._offset = self._stored()

    def _stored(self) -> timedelta:
        document = Document.find(f"var/{self._path.name}", self._path)
        return document.take("offset", _offset) if document else timedelta()


def _offset(value: object) -> timedelta:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not -_MOST_SECONDS <= value <= _MOST_SECONDS:  # type: ignore[operator]
        raise RuleError("must be a number of seconds")
    return timedelta(seconds=value)  # type: ignore[arg-type]
