"""Progress reports for long operations."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import NamedTuple

Tell = Callable[[int], None]
"""Callback with the number done; cheap enough to call for every item."""


class Steps(NamedTuple):
    """An operation on ``total`` ``things``, one after the other.

    ``interruptible``: Ctrl-C stops it between two of them.
    """

    what: str
    things: str
    total: int
    interruptible: bool


class Wait(NamedTuple):
    """A wait for the answers of ``total`` ``things``, which were all asked at the same time.

    ``interruptible``: Ctrl-C ends the wait.
    """

    things: str
    total: int
    interruptible: bool


Work = Steps | Wait

Show = Callable[[Work], AbstractContextManager[Tell]]
"""Shows the progress of some work for the duration of the context."""


def show_nothing(_work: Work) -> AbstractContextManager[Tell]:
    """Ignore the work; for output that shows no progress."""
    return nullcontext(_ignore)


def _ignore(_done: int) -> None:
    pass


class Progress:
    """Passes progress reports to the display of the current thread's user."""

    def __init__(self) -> None:
        self._show: ContextVar[Show] = ContextVar("show", default=show_nothing)

    @contextmanager
    def shown(self, show: Show) -> Iterator[None]:
        """Let ``show`` display the work of this thread during the context."""
        before = self._show.set(show)
        try:
            yield
        finally:
            self._show.reset(before)

    def show(self, work: Work) -> AbstractContextManager[Tell]:
        """Show ``work`` during the context, which gives the callback for the number done."""
        return self._show.get()(work)
