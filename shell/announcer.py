"""Lines of the system log that appear on consoles by themselves."""

import queue
import threading
from collections.abc import Callable
from contextlib import suppress

from filer.host.standard_streams import OutputLost

_MOST = 100
"""Lines that wait for a screen; a screen that stands still loses the others."""


class Announcer:
    """Passes lines to ``show`` in a thread of its own, so that no screen holds up the caller."""

    def __init__(self, show: Callable[[str], object]) -> None:
        self._show = show
        self._lines: queue.Queue[str] = queue.Queue(_MOST)
        self._thread: threading.Thread | None = None

    def announce(self, line: str) -> None:
        """Show ``line`` soon; returns at once.  Called by one thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        with suppress(queue.Full):
            self._lines.put_nowait(line)

    def _run(self) -> None:
        while True:
            with suppress(OutputLost):
                self._show(self._lines.get())
