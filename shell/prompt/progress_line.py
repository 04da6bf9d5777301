"""Long work on a terminal: a line at the cursor that says how far it is, and goes when it ends."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from filer.host.standard_streams import OutputLost
from filer.running.progress import Steps, Tell, Work

PATIENCE = 0.5
"""Seconds of work of which nothing is shown."""

_BETWEEN_LOOKS = 0.1
"""Seconds between two lines: nobody reads faster, and work is not to wait for its progress."""


class ProgressLine:
    """Draws with carriage returns and blanks only, which every terminal knows.

    ``width`` tells the columns of the screen.  A terminal that has hung up does not end the work:
    whatever is printed next finds out.
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
        """Show ``work``, but only once it has lasted, and not when it is over."""
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
        """Take the line away, so that something else can be printed there."""
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
    """Return what is said of ``work``, of which ``done`` are done after ``seconds``."""
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
