"""What is typed at a terminal, and whether the terminal says where its cursor is.

A terminal that a person looks at answers the question for its cursor position; a program that
drives the console (expect) does not.
"""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

QUESTION = "\x1b[6n"
"""Asks a terminal where its cursor is."""

PATIENCE = 0.1
"""Seconds for which the first prompt waits for the answer, counted from the question."""

LATE = 2.0
"""Seconds after PATIENCE in which a prompt is prepared for the answer: a slow link."""

HOLD = 0.5
"""Seconds for which the beginning of an answer waits for its rest."""

_BLOCK = 4096
_ANSWER = re.compile(rb"\x1b\[\d{1,5};\d{1,5}R")
_BEGINNING = re.compile(rb"\x1b(?:\[(?:\d{1,5}(?:;\d{0,5})?)?)?\Z")


def knows_its_cursor(terminal: str) -> bool:
    """Say whether a terminal with this name (TERM) may be asked."""
    return terminal not in ("", "dumb", "unknown")


class Keyboard:
    """The bytes typed at a terminal whose modes are set elsewhere, such as an SSH client's.

    They arrive at ``descriptor`` unechoed; ``echoes`` says whether the prompt shows them.
    """

    is_cooked = False
    """Whether the terminal edits and echoes lines itself at the moment."""

    def __init__(
        self,
        descriptor: int,
        *,
        echoes: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._descriptor = descriptor
        self._clock = clock
        self._asked_at: float | None = None
        self._held = b""
        self.echoes = echoes
        self.answered = False
        self.at_end = False
        self.typed = bytearray()
        """What was typed and not read yet."""

    def fileno(self) -> int:
        """Return the descriptor, to wait for it."""
        return self._descriptor

    def wait_for_foreground(self) -> None:
        """Stop a program that reads in the background, until it is brought to the foreground."""

    # The question.

    def ask(self, send: Callable[[str], object]) -> None:
        """Ask the terminal where its cursor is."""
        self._asked_at = self._clock()
        send(QUESTION)

    @property
    def is_asked(self) -> bool:
        """Whether the terminal was asked and has not answered."""
        return self._asked_at is not None and not self.answered

    @property
    def seconds_to_wait(self) -> float:
        """How long the first prompt still waits for the answer."""
        return self._left(PATIENCE)

    @property
    def seconds_to_expect(self) -> float:
        """How long the answer is still expected."""
        return self._left(PATIENCE + LATE)

    def _left(self, seconds: float) -> float:
        if self.answered or self._asked_at is None:
            return 0.0
        return max(0.0, self._asked_at + seconds - self._clock())

    @property
    def holds(self) -> bool:
        """Whether what came last may be the beginning of the answer."""
        return bool(self._held)

    def release(self) -> None:
        """Take what was held for the beginning of the answer as typed."""
        self.typed += self._held
        self._held = b""

    # What is typed.

    def receive(self) -> None:
        """Read what there is, at least one byte, or the end; to be called if there is any."""
        try:
            data = os.read(self._descriptor, _BLOCK)
        except OSError:  # it has hung up
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
        """Return the next line if the terminal has echoed all of it, before a prompt was there."""
        return None

    def take(self) -> bytes:
        """Return the next byte, or none."""
        first = bytes(self.typed[:1])
        del self.typed[:1]
        return first

    def take_all(self) -> bytes:
        """Return all that was received."""
        self.release()
        typed = bytes(self.typed)
        self.typed.clear()
        return typed

    # The modes of the terminal.

    def cook(self) -> None:
        """Have the terminal edit and echo lines, if it can and nothing is typed ahead."""

    def hush(self) -> None:
        """Have the terminal hand out each key, and echo nothing."""

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Give the terminal to another program, such as a pager, as it was found."""
        yield
