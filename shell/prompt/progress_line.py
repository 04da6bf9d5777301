"""The progress of long work on a terminal: a line at the cursor, erased at the end."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from filer.host.standard_streams import OutputLost
from filer.running.progress import Steps, Tell, Work

PATIENCE = 0.5
"""Seconds of work before the line appears."""

_BETWEEN_LOOKS = 0.1
"""Seconds between two updates, so that work does not wait for the terminal."""


class ProgressLine:
    """Draws with carriage returns and blanks only, which every terminal supports.

    ``width`` returns the columns of the screen.  If the terminal hangs up, the work goes on; the
    next output fails.
    """

    def __init__(
        self,
        draw: Callable[[str], object],
        width: Callable[[], int],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._draw, self._width = draw, width
        self._clock = clock
        self._columns = 0

    @contextmanager
    def show(self, work: Work) -> Iterator[Tell]:
        """Show the progress of ``work`` in the block, after PATIENCE seconds."""
        begun = self._clock()
        due = begun + PATIENCE

        def tell(done: int) -> None:
            nonlocal due
            now = self._clock()
            if now >= due:
                due = now + _BETWEEN_LOOKS
                self._put(text(work, done, now - begun))

        try:
            yield tell
        finally:
            self.clear()

    def clear(self) -> None:
        """Erase the line, so that other output can take its place."""
        if self._columns:
            self._columns, columns = 0, self._columns
            with suppress(OutputLost):
                self._draw(f"\r{' ' * columns}\r")

    def _put(self, line: str) -> None:
        line = line[: self._width() - 1]  # a full line would make the screen scroll
        with suppress(OutputLost):
            self._draw(f"\r{line.ljust(self._columns)}\r")
            self._columns = len(line)


def text(work: Work, done: int, seconds: float) -> str:
    """Return the line for ``work`` with ``done`` items done after ``seconds``."""
    if isinstance(work, Steps):
        line = f"{work.what}: {done} of {work.total} {work.things}"
        if done:
            rate = done / seconds
            digits = 0 if rate >= 10 else 1
            line += f", {rate:.{digits}f}/s, {_duration((work.total - done) / rate)} left"
        stop = f"stops safely between {work.things}"
    else:
        line = f"{done} of {work.total} {work.things} have answered, {_duration(seconds)}"
        stop = "stops waiting"
    return f"{line}. Ctrl-C {stop}." if work.interruptible else line


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
