"""A non-blocking lock: one command at a time may change the filer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from filer.host.errors import FilerError

PATIENCE = 0.25
"""Seconds."""


class Busy(FilerError):
    """Another command is changing the filer."""


class ChangeLock:
    """Gives one command at a time the right to change the filer; read-only commands need none.

    ``check`` is called first, and raises FilerError if the filer may no longer be changed.
    """

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        self._check = check
        self._guard = Lock()
        self._changing = Lock()
        self._next = Lock()
        """Held by who waits for ``_changing``, so that commands in a row leave the filer a gap."""

        self._running: str | None = None

    @contextmanager
    def turn(self, command: str, who: str) -> Iterator[None]:
        """Hold the turn for ``command`` of the user ``who``.

        Raises Busy, which names the holder, if another command has the turn.  There is no queue:
        the user gave the command for the filer as it is now, not as the other command leaves it.
        A part of the filer's own work that is being done ends first.
        """
        self._check()
        with self._guard:
            if self._running is not None:
                raise Busy(f"busy: {self._running} is running")
            self._running = f'"{command}" of {who}'
        try:
            with self._next:
                self._changing.acquire()
            try:
                yield
            finally:
                self._changing.release()
        finally:
            self._running = None

    @contextmanager
    def between(self) -> Iterator[bool]:
        """Yield whether no command changes the filer; then none begins to during the block.

        For short parts of the filer's own work.  Waits for the end of a command that runs, but not
        longer than `PATIENCE`.
        """
        with self._next:
            free = self._changing.acquire(timeout=PATIENCE)
        try:
            yield free
        finally:
            if free:
                self._changing.release()
