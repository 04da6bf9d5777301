"""Lines of the system log that appear on consoles by themselves."""

import queue
import threading
from collections.abc import Callable
from contextlib import suppress

from filer.host.standard_streams import OutputLost

_MOST = 100
"""Lines that wait for a screen; a screen that stands still loses the others."""


class Announcer:
    """Shows lines in a thread of its own, so that no screen holds up the caller."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[Callable[[], object]] = queue.Queue(_MOST)
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()

    def announce(self, show: Callable[[], object]) -> None:
        """Call ``show``, which shows a line, soon; returns at once."""
        with self._guard:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
        with suppress(queue.Full):
            self._waiting.put_nowait(show)

    def _run(self) -> None:
        while True:
            with suppress(OutputLost):
                self._waiting.get()()
