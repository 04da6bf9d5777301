"""Work that a filer does by itself at intervals, in a thread."""

import threading
from collections.abc import Callable

INTERVAL = 0.25
"""Seconds between two beats."""


class Heartbeat:
    """Calls ``beat`` every `INTERVAL` seconds until it is stopped; ``beat`` must not raise."""

    def __init__(self, beat: Callable[[], object]) -> None:
        self._beat = beat
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop, after a last beat, unless there was none yet."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        if not self._stopped.wait(INTERVAL):
            self._beat()
            while not self._stopped.wait(INTERVAL):
                self._beat()
            self._beat()
