"""The bytes typed at a terminal, and the cursor query that detects a person.

A real terminal answers a cursor-position query, a program that drives the console (expect) does
not.
"""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

QUESTION = "\x1b[6n"
"""The cursor-position query (DSR 6)."""

PATIENCE = 0.05
"""Seconds from the query that the first prompt waits for the answer; a boot takes as long."""

LAST_CHANCE = 0.1
"""Seconds from the query that the end waits for the answer, which a shell would get."""

LATE = 2.0
"""Seconds after PATIENCE in which the answer may still arrive, over a slow link."""

HOLD = 0.5
"""Seconds that the beginning of an answer waits for its rest."""

_BLOCK = 4096
_ANSWER = re.compile(rb"\x1b\[\d{1,5};\d{1,5}R")
_BEGINNING = re.compile(rb"\x1b(?:\[(?:\d{1,5}(?:;\d{0,5})?)?)?\Z")


def knows_its_cursor(terminal: str) -> bool:
    """Say whether a terminal with this value of TERM may be queried."""
    return terminal not in ("", "dumb", "unknown")


class Keyboard:
    """The bytes typed at a terminal whose modes are set elsewhere, such as an SSH client's.

    They arrive at ``descriptor`` without echo; ``echoes`` says whether the prompt shows them.
    """

    is_cooked = False
    """Whether the terminal edits and echoes lines itself now (cooked mode)."""

    def __init__(
        self, descriptor: int, *, echoes: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._descriptor = descriptor
        self._clock = clock
        self._asked_at: float | None = None
        self._held = b""
        self.echoes = echoes
        self.answered = False
        self.at_end = False
        self.typed = bytearray()
        """Bytes that were received and not taken yet."""

    def fileno(self) -> int:
        return self._descriptor

    def wait_for_foreground(self) -> None:
        """Stop the program while it is in the background."""

    # The cursor query.

    def ask(self, send: Callable[[str], object]) -> None:
        self._asked_at = self._clock()
        send(QUESTION)

    @property
    def is_asked(self) -> bool:
        """Whether a query has no answer yet."""
        return self._asked_at is not None and not self.answered

    @property
    def seconds_to_wait(self) -> float:
        """Seconds that the first prompt still waits for the answer."""
        return self._left(PATIENCE)

    @property
    def seconds_to_end(self) -> float:
        """Seconds that the end still waits for the answer."""
        return self._left(LAST_CHANCE)

    @property
    def seconds_to_expect(self) -> float:
        """Seconds in which the answer may still arrive."""
        return self._left(PATIENCE + LATE)

    def _left(self, seconds: float) -> float:
        if self.answered or self._asked_at is None:
            return 0.0
        return max(0.0, self._asked_at + seconds - self._clock())

    @property
    def holds(self) -> bool:
        """Whether the last bytes may be the beginning of the answer."""
        return bool(self._held)

    def release(self) -> None:
        """Treat the held bytes as typed after all."""
        self.typed += self._held
        self._held = b""

    # The typed bytes.

    def receive(self) -> None:
        """Read what is available, or the end.  Blocks unless the descriptor is readable."""
        try:
            data = os.read(self._descriptor, _BLOCK)
        except OSError:  # the terminal has hung up
            data = b""
        self.at_end = not data
        self.typed += self._without_answer(data)

    def _without_answer(self, data: bytes) -> bytes:
        if not self.is_asked:
            return data
        data, self._held = self._held + data, b""
        if answer := _ANSWER.search(data):
            self.answered = True
            return data[: answer.start()] + data[answer.end() :]
        if beginning := _BEGINNING.search(data):
            self._held = data[beginning.start() :]
            return data[: beginning.start()]
        return data

    def take_line_already_shown(self) -> bytes | None:
        """Return the next line if the terminal echoed all of it before the prompt, else None."""
        return None

    def take(self) -> bytes:
        """Return the next byte, or nothing."""
        first = bytes(self.typed[:1])
        del self.typed[:1]
        return first

    def take_all(self) -> bytes:
        """Return all bytes, including held ones."""
        self.release()
        typed = bytes(self.typed)
        self.typed.clear()
        return typed

    # The modes of the terminal.

    def cook(self) -> None:
        """Set cooked mode, if the terminal has it and nothing is typed ahead."""

    def hush(self) -> None:
        """Make the terminal pass on each key at once, without echo."""

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Restore the modes for another program, such as a pager, in the block."""
        yield
