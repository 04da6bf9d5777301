"""Work on many independent items in a few threads, with the outcomes in the order of the items."""

from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

WORKERS = 8
"""Threads for one job.  A disk mostly waits for its syncs; with 16 threads it waits as long."""


def _always() -> bool:
    return True


def _ignore(_outcome: object) -> None:
    pass


def in_parallel(
    items: Sequence[Item],
    work: Callable[[Item], Outcome],
    *,
    go_on: Callable[[], bool] = _always,
    tell: Callable[[Outcome], None] = _ignore,
) -> list[Outcome]:
    """Call ``work`` with each item, in up to `WORKERS` threads; return the outcomes in item order.

    The items are started in order.  ``go_on`` is called before each start; once it returns False,
    no more are started, and the list has the outcomes of those that were.  ``tell`` gets each
    outcome as it arrives.  Both are called in the caller's thread; ``work`` runs without the
    caller's context variables.

    When this returns or raises, no work is running.  If ``work`` raises, no more items are started,
    and of the exceptions raised that of the first item, in order, is raised here.
    """
    outcomes: dict[int, Outcome] = {}
    errors: dict[int, BaseException] = {}
    to_do: SimpleQueue[int | None] = SimpleQueue()
    done: SimpleQueue[int] = SimpleQueue()

    def do(at: int) -> None:
        try:
            outcomes[at] = work(items[at])
        except BaseException as error:
            errors[at] = error
        done.put(at)

    def do_them() -> None:
        while (at := to_do.get()) is not None:
            do(at)

    threads = _started(do_them, min(WORKERS, len(items))) if len(items) > 1 else []
    at_once, to_start = max(1, len(threads)), len(items)
    started = finished = 0
    try:
        while True:
            while started < to_start and started - finished < at_once:
                if errors or not go_on():
                    to_start = started
                    break
                if threads:
                    to_do.put(started)
                else:
                    do(started)
                started += 1
            if finished == started:
                break
            at = done.get()
            finished += 1
            if at in outcomes:
                tell(outcomes[at])
    finally:
        for _ in threads:
            to_do.put(None)
        for thread in threads:
            thread.join()
    if errors:
        raise errors[min(errors)]
    return [outcomes[at] for at in range(started)]


def _started(work: Callable[[], None], count: int) -> list[Thread]:
    """Start ``count`` threads, or as many as the host allows."""
    threads: list[Thread] = []
    for _ in range(count):
        thread = Thread(target=work)
        try:
            thread.start()
        except RuntimeError:  # the host allows no more; without any, the caller does the work
            break
        threads.append(thread)
    return threads
