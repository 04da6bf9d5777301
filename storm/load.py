"""The load generator as the program sees it: its processes, and what they say.

A process of the load generator writes one JSON object a line: ``ready``, with the port of a master;
``filer``, the result of one; ``end``, with the figures; or ``refused``, with the reason why it gave
up.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Self

from filer.host.errors import FilerError
from filer.host.text import printable
from filer.storm.outcome import Result
from filer.storm.plan import Plan, Post, line

_PATIENCE = 900.0
"""Seconds for a process to end: its filers take back what they have stored."""


class Process:
    """A process of the load generator on this machine."""

    def __init__(self, post: Post, plan: Plan | None, heard: "SimpleQueue[Heard]") -> None:
        self.post = post
        self._errors = Path(post.scratch, f"{post.role}-{id(self)}.log")
        self._errors.touch(0o600)
        with self._errors.open("wb") as errors:
            # In a session of its own, because Ctrl-C must not reach it.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "filer.storm.generator"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        self.process_id = self._process.pid
        self._send(line(post=asdict(post), plan=plan.fields() if plan else None))
        Thread(target=self._listen, args=(heard,), daemon=True).start()

    def tell(self, command: str, **fields: Any) -> None:
        """Give it a command."""
        self._send(line(command=command, **fields))

    def _send(self, text: str) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended, which `_listen` reports
            self._process.stdin.write(text.encode())
            self._process.stdin.flush()

    def _listen(self, heard: "SimpleQueue[Heard]") -> None:
        assert self._process.stdout is not None
        for each in self._process.stdout:
            heard.put((self, json.loads(each)))
        heard.put((self, None))

    def last_words(self) -> str:
        """Return the status with which it has ended, and the last line that it has written."""
        status = self._process.wait()
        said = self._errors.read_text(errors="replace").split("\n")
        reason = next((each for each in reversed(said) if each.strip()), "")
        return printable(f"status {status}{f': {reason}' if reason else ''}")

    def end(self, hurry: Callable[[], bool]) -> None:
        """Let it end, which it does without standard input.

        It is killed once ``hurry`` is true, or if it does not end.
        """
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        latest = time.monotonic() + _PATIENCE
        while not hurry() and time.monotonic() < latest:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.1)
                return
        self._process.kill()
        self._process.wait()


Heard = tuple[Process, dict[str, Any] | None]
"""A process, and what it said; None if it has ended."""


class Load:
    """The load generator of this machine: one process, or a master with its workers.

    ``post`` is that of the process that leads.  ``stopping`` says whether the user wants to stop,
    ``hurry`` whether at once.  Every method raises FilerError if the leader gives up or ends.
    """

    def __init__(
        self, post: Post, plan: Plan | None, stopping: Callable[[], bool], hurry: Callable[[], bool]
    ) -> None:
        self._stopping = stopping
        self._hurry = hurry
        self._heard: SimpleQueue[Heard] = SimpleQueue()
        self._leader = Process(post, plan, self._heard)
        self._workers: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for process in (*self._workers, self._leader):
            process.end(self._hurry)

    def start(self, workers: int) -> int | None:
        """Wait for the leader, then start ``workers``; return the port of a master."""
        event = self._next()
        port = event.get("port") if event else None
        for _ in range(workers if event else 0):
            post = replace(self._leader.post, role="worker", control_port=port or 0)
            self._workers.append(Process(post, None, self._heard))
        return port

    def run(self, tell: Callable[[int], None]) -> tuple[dict[int, Result], dict[str, Any] | None]:
        """Make the storm; return the results by filer, and the final report.

        ``tell`` gets the number of filers that have reported.  Without a report, the user has
        stopped the storm.
        """
        results: dict[int, Result] = {}
        if not self._stopping():
            self._leader.tell("go")
        while (event := self._next()) is not None:
            if event["event"] == "filer":
                number = event["number"]
                results[number] = Result(number, event["seconds"], event["problem"])
                tell(len(results))
            elif event["event"] == "end":
                return results, event
        return results, None

    def wait(self) -> None:
        """Wait until a leader that is a worker has done its part."""
        while (event := self._next()) is not None and event["event"] != "end":
            pass

    def _next(self) -> dict[str, Any] | None:
        """Return what the leader says next; None if the user stops."""
        while not self._stopping():
            try:
                process, event = self._heard.get(timeout=0.1)
            except Empty:
                continue
            if event is not None and event["event"] == "refused":
                raise FilerError(event["reason"])
            if process is self._leader:
                if event is None:
                    raise FilerError(f"the load generator has ended ({process.last_words()})")
                return event
            if event is None:
                self._leader.tell("lost", pid=process.process_id)
        return None
