"""Work in parallel: its order, its bound, and how it ends."""

import threading
from threading import Barrier, Event, Lock

import pytest

from filer.running.parallel import WORKERS, in_parallel
from pytest_filer.child import PATIENCE

MANY = 5 * WORKERS


class Broken(Exception):
    """What the work on one item raises."""


def test_outcomes_are_in_the_order_of_the_items_whichever_is_first() -> None:
    second_is_done = Event()

    def work(item: int) -> int:
        if item == 0:
            assert second_is_done.wait(PATIENCE)
        if item == 1:
            second_is_done.set()
        return item * item

    told: list[int] = []
    assert in_parallel(range(MANY), work, tell=told.append) == [at * at for at in range(MANY)]
    assert told.index(1) < told.index(0)
    assert sorted(told) == [at * at for at in range(MANY)]


def test_so_many_run_at_the_same_time_and_no_more() -> None:
    together = Barrier(WORKERS)
    guard = Lock()
    running = most = 0

    def work(_item: int) -> None:
        nonlocal running, most
        with guard:
            running += 1
            most = max(most, running)
        together.wait(PATIENCE)  # breaks if fewer run at the same time
        with guard:
            running -= 1

    in_parallel(range(MANY), work)
    assert most == WORKERS


def test_a_stop_lets_those_end_that_have_begun() -> None:
    begun: list[int] = []
    ended: list[int] = []
    asked: list[threading.Thread] = []
    all_have_begun = Event()

    def go_on() -> bool:
        asked.append(threading.current_thread())
        return len(asked) <= WORKERS

    def work(item: int) -> int:
        begun.append(item)
        if len(begun) == WORKERS:
            all_have_begun.set()
        all_have_begun.wait(PATIENCE)
        ended.append(item)
        return item

    assert in_parallel(range(MANY), work, go_on=go_on) == list(range(WORKERS))
    assert sorted(begun) == sorted(ended) == list(range(WORKERS))
    assert asked == [threading.current_thread()] * (WORKERS + 1)


def test_a_stop_before_the_first_item() -> None:
    begun: list[int] = []
    assert in_parallel(range(MANY), begun.append, go_on=lambda: False) == []
    assert begun == []


@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt])
def test_of_two_errors_the_first_item_has_its_own_raised_when_all_have_ended(
    error: type[BaseException],
) -> None:
    second_has_failed = Event()
    ended: list[int] = []

    def work(item: int) -> None:
        try:
            if item == 0:
                assert second_has_failed.wait(PATIENCE)
                raise error("the first")
            if item == 1:
                raise error("the second")
        finally:
            ended.append(item)
            if item == 1:
                second_has_failed.set()

    threads = threading.active_count()
    with pytest.raises(error, match=r"^the first$"):
        in_parallel(range(MANY), work)
    assert threading.active_count() == threads
    assert sorted(ended) == list(range(len(ended)))
    assert len(ended) <= 2 * WORKERS


@pytest.mark.parametrize("count", [0, 1, MANY])
def test_without_a_thread_the_caller_does_the_work(count: int) -> None:
    def work(item: int) -> tuple[int, threading.Thread]:
        return item, threading.current_thread()

    before = threading.stack_size(1 << 46)  # no host has an address space for such a thread
    try:
        outcomes = in_parallel(range(count), work)
    finally:
        threading.stack_size(before)
    assert outcomes == [(item, threading.current_thread()) for item in range(count)]


def test_without_a_thread_a_stop_and_an_error_end_it_at_once() -> None:
    begun: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        if item == 3:
            raise Broken

    before = threading.stack_size(1 << 46)
    try:
        with pytest.raises(Broken):
            in_parallel(range(MANY), work)
        in_parallel(range(MANY), begun.append, go_on=lambda: len(begun) < 6)
    finally:
        threading.stack_size(before)
    assert begun == [0, 1, 2, 3, 0, 1]
