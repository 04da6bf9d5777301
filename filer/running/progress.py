"""How far long work is, for whoever wants to know."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import NamedTuple

Tell = Callable[[int], None]
"""Is told how many are done; it may be told as often as one likes."""


class Steps(NamedTuple):
    """Something done to one of ``things`` after the other, ``total`` of them.

    ``interruptible`` says that Ctrl-C stops it between two.
    """

    what: str
    things: str
    total: int
    interruptible: bool


class Wait(NamedTuple):
    """A wait for the answers of ``things``, ``total`` of them, which were asked all at once.

    ``interruptible`` says that Ctrl-C ends it.
    """

    things: str
    total: int
    interruptible: bool


Work = Steps | Wait

Show = Callable[[Work], AbstractContextManager[Tell]]
"""Shows work as long as the context lasts."""


def show_nothing(_work: Work) -> AbstractContextManager[Tell]:
    """Show nothing, where nobody looks."""
    return nullcontext(_hear_nothing)


def _hear_nothing(_done: int) -> None:
    """Do nothing."""


class Progress:
    """Where work tells how far it is; of several people at the console, each sees their own."""

    def __init__(self) -> None:
        self._show: ContextVar[Show] = ContextVar("show", default=show_nothing)

    @contextmanager
    def shown(self, show: Show) -> Iterator[None]:
        """Let ``show`` have the work of this thread meanwhile."""
        before = self._show.set(show)
        try:
            yield
        finally:
            self._show.reset(before)

    def show(self, work: Work) -> AbstractContextManager[Tell]:
        """Show ``work`` as long as the context lasts; what it gives is told how much is done."""
        return self._show.get()(work)
