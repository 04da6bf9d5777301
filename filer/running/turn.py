"""Who is changing the filer: one command at a time, whoever gives it."""

from _thread import allocate_lock  # threading has much more, which a short script would load
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from filer.host.errors import FilerError


class Busy(FilerError):
    """Another command is changing the filer."""


class Changes:
    """The turn of the one command that changes the filer; commands that only read need none.

    ``check`` is called first of all, and raises FilerError if nothing may be changed any more.
    """

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        self._check = check
        self._guard = allocate_lock()
        self._running: str | None = None

    @contextmanager
    def turn(self, command: str, who: str) -> Iterator[None]:
        """Hold the turn for ``command``, given by ``who``.

        Raises Busy, which names the holder, if another command has it; there is no queue, since
        the command was given for the filer as it is now, not as the other one will leave it.
        """
        self._check()
        with self._guard:
            if self._running is not None:
                raise Busy(f"busy: {self._running} is running")
            self._running = f'"{command}" of {who}'
        try:
            yield
        finally:
            self._running = None
