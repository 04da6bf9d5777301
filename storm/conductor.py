"""The process that leads a storm: it gives each worker its filers, and lets all begin at once."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gevent.event import Event
from locust.runners import LocalRunner, MasterRunner

from filer.host.errors import FilerError
from filer.storm.plan import Plan

_LOST_AFTER = 10
"""Seconds without a sign of life after which a worker is lost."""

_PATIENCE = 300.0
"""Seconds for workers to connect, and for them to make their filers ready."""

_ON_ONE_MACHINE = "local"


class Stopped(Exception):
    """The storm was ended early."""


@dataclass
class _Worker:
    users: int
    process_id: int
    numbers: range = range(0)
    is_armed: bool = False
    is_lost: bool = False
    finished: dict[str, float] | None = None


class Conductor:
    """Leads a storm of ``plan`` with ``workers`` workers; ``say`` is told of each filer's result.

    With a runner that is no master, the one worker is in this process.  See `Worker` for the
    messages.
    """

    def __init__(
        self, runner: LocalRunner | MasterRunner, plan: Plan, workers: int, say: Callable[..., None]
    ) -> None:
        self._runner = runner
        self._plan = plan
        self._count = workers
        self._say = say
        self._workers: dict[str, _Worker] = {}
        self._reported: set[int] = set()
        self._lost_processes: set[int] = set()
        self._refusal: str | None = None
        self._listening: set[str] = set()
        self._is_stopped = False
        self._is_complete = False  # a worker that connects later has no filers
        self._changed = Event()
        runner.register_message("listening", self._take_listening)
        runner.register_message("spawned", self._take_spawned)
        runner.register_message("armed", self._take_armed)
        runner.register_message("filer", self._take_filer)
        runner.register_message("finished", self._take_finished)
        runner.register_message("refused", self._take_refused)

    def stop(self) -> None:
        """End the storm early."""
        self._is_stopped = True
        self._changed.set()

    def lose(self, process_id: int) -> None:
        """Count the worker on this machine with ``process_id`` as lost."""
        self._lost_processes.add(process_id)
        self._changed.set()

    def run(self) -> list[dict[str, Any]]:
        """Make the storm; return the figures of each worker.

        Raises FilerError if it cannot begin, and Stopped.
        """
        plan = self._plan
        self._await(
            lambda: self._count <= self._runner.worker_count <= len(self._listening),
            "workers have not connected",
        )
        count = self._runner.worker_count
        self._runner.start(plan.filers, spawn_rate=plan.filers)
        self._await(lambda: len(self._workers) >= count, "workers have not started")
        self._is_complete = True
        first = 0
        for node, worker in self._workers.items():
            worker.numbers = range(first, first + worker.users)
            first += worker.users
            self._tell(node, "numbers", {"first": worker.numbers.start, "count": worker.users})
        self._await(
            lambda: all(each.is_armed for each in self._workers.values()), "workers are not ready"
        )
        self._runner.send_message("power", {})
        self._watch(time.monotonic() + plan.within)
        self._runner.send_message("finish", {})
        end = time.monotonic() + self._runner.environment.stop_timeout + _LOST_AFTER
        while time.monotonic() < end and any(
            each.finished is None for each in self._living().values()
        ):
            self._wait()
        return [
            {
                "filers": len(each.numbers),
                "lost": each.finished is None,
                "lag_s": each.finished["lag_s"] if each.finished else None,
                "cpu_s": each.finished["cpu_s"] if each.finished else None,
            }
            for each in self._workers.values()
        ]

    def _watch(self, end: float) -> None:
        """Wait until all filers have reported, or cannot, or it is too late."""
        while not self._is_stopped and time.monotonic() < end:
            self._living()
            if len(self._reported) >= self._plan.filers:
                return
            self._wait()

    def _await(self, condition: Callable[[], bool], problem: str) -> None:
        """Wait for ``condition``.  Raises FilerError if a worker is lost, or after too long."""
        end = time.monotonic() + _PATIENCE
        while not condition():
            if self._is_stopped:
                raise Stopped
            if self._refusal:
                raise FilerError(self._refusal)
            if self._lost_processes or len(self._living()) < len(self._workers):
                raise FilerError("a worker was lost before the storm began")
            if time.monotonic() > end:
                raise FilerError(f"the {problem}")
            self._wait()

    def _wait(self) -> None:
        self._changed.wait(0.1)
        self._changed.clear()

    def _living(self) -> dict[str, _Worker]:
        """Return the workers that are not lost; the filers of the others have failed."""
        for node, worker in self._workers.items():
            if not worker.is_lost and worker.finished is None and self._is_lost(node, worker):
                worker.is_lost = True
                for number in worker.numbers:
                    self._result(number, None, "its worker was lost")
        return {node: each for node, each in self._workers.items() if not each.is_lost}

    def _is_lost(self, node: str, worker: _Worker) -> bool:
        if worker.process_id in self._lost_processes:
            return True
        if not isinstance(self._runner, MasterRunner):
            return False
        client = self._runner.clients.get(node)
        return client is None or client.heartbeat < -_LOST_AFTER

    def _tell(self, node: str, kind: str, data: Any) -> None:
        self._runner.send_message(kind, data, None if node == _ON_ONE_MACHINE else node)

    def _result(self, number: int, seconds: float | None, problem: str | None) -> None:
        if number not in self._reported:
            self._reported.add(number)
            self._say(event="filer", number=number, seconds=seconds, problem=problem)

    # Messages

    def _take_listening(self, msg: Any, **_: Any) -> None:
        self._listening.add(msg.node_id)
        self._tell(msg.node_id, "plan", self._plan.fields())
        self._changed.set()

    def _take_spawned(self, msg: Any, **_: Any) -> None:
        if not self._is_complete:
            self._workers.setdefault(msg.node_id, _Worker(msg.data["users"], msg.data["pid"]))
            self._changed.set()

    def _take_armed(self, msg: Any, **_: Any) -> None:
        self._workers[msg.node_id].is_armed = True
        self._changed.set()

    def _take_filer(self, msg: Any, **_: Any) -> None:
        self._result(msg.data["number"], msg.data["seconds"], msg.data["problem"])
        if len(self._reported) >= self._plan.filers:
            self._changed.set()

    def _take_finished(self, msg: Any, **_: Any) -> None:
        if msg.node_id in self._workers:
            self._workers[msg.node_id].finished = msg.data
            self._changed.set()

    def _take_refused(self, msg: Any, **_: Any) -> None:
        self._refusal = msg.data["reason"]
        self._changed.set()
