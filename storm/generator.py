"""The process that drives load, on Locust: ``python -m filer.storm.generator``.

The program ``filer-storm`` starts it and speaks with it in lines of JSON.  The first line of
standard input has its `Post` and, unless it is a worker, the `Plan`; then come the commands
``go`` and ``lost``.  The process ends when standard input does.  What it writes to standard output
is described in `filer.storm.load`.
"""

# First, because it replaces the blocking functions of Python's library.
import locust  # isort: skip

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event
from gevent.fileobject import FileObjectThread
from locust.env import Environment
from locust.html import get_html_report
from locust.stats import stats_history

from filer.host.core_files import forbid_core_files
from filer.host.errors import FilerError
from filer.storm.catalogue import load
from filer.storm.conductor import Conductor, Stopped
from filer.storm.plan import HTML, Plan, Post, line
from filer.storm.worker import Storming, Worker

_out = sys.stdout


def main() -> int:
    """Take part in a storm until it is over; the exit status is 0 unless it had to be given up."""
    forbid_core_files()
    os.umask(0o077)
    sys.stdout = sys.stderr  # Locust prints some errors
    logging.basicConfig(level=logging.CRITICAL)
    commands = FileObjectThread(sys.stdin.buffer)
    begin = json.loads(commands.readline())
    post = Post(**begin["post"])
    environment = Environment(user_classes=[Storming], events=locust.events)
    try:
        if post.role == "worker":
            return _work(environment, post, commands)
        return _conduct(environment, post, Plan.of(begin["plan"]), commands)
    except FilerError as error:
        say(event="refused", reason=str(error))
        return 1


def say(**fields: Any) -> None:
    """Tell the program that started this process."""
    _out.write(line(**fields))
    _out.flush()


def _work(environment: Environment, post: Post, commands: FileObjectThread) -> int:
    worker = Worker(environment, post)

    def end() -> None:
        commands.read()
        if environment.runner is None:  # it is still looking for its master
            os._exit(1)
        worker.finish()
        environment.runner.quit()

    gevent.spawn(end)
    try:
        runner = environment.create_worker_runner(post.host, post.control_port)
    except ConnectionError:
        raise FilerError(f"there is no master at {post.host}") from None
    worker.listen(runner)
    say(event="ready")
    runner.greenlet.join()
    if worker.refusal:
        raise FilerError(worker.refusal)
    say(event="end")
    return 0


def _conduct(environment: Environment, post: Post, plan: Plan, commands: FileObjectThread) -> int:
    kind = load(post.scenario)
    environment.stop_timeout = 8 * plan.timeout
    port = None
    if post.role == "alone":
        runner: Any = environment.create_local_runner()
    else:
        runner = environment.create_master_runner(post.host, post.control_port)
        port = runner.server.port
    conductor = Conductor(runner, plan, post.workers, say)
    if post.role == "alone":
        Worker(environment, post).listen(runner)
    say(event="ready", port=port)
    going = Event()

    def obey() -> None:
        for each in commands:
            command = json.loads(each)
            if command["command"] == "go":
                going.set()
            else:
                conductor.lose(command["pid"])
        conductor.stop()
        going.set()

    gevent.spawn(obey)
    going.wait()
    history = gevent.spawn(stats_history, runner)
    try:
        workers = conductor.run()
    except Stopped:
        return 1
    finally:
        history.kill()
        runner.quit()
    page: str = get_html_report(  # type: ignore[no-untyped-call]
        environment, show_download_link=False
    )
    Path(post.scratch, HTML).write_text(page, encoding="utf-8")
    say(event="end", done=kind.done, operations=_operations(environment), workers=workers)
    return 0


def _operations(environment: Environment) -> list[dict[str, Any]]:
    """Return the figures of each operation of each key server; times are in seconds."""
    entries = sorted(environment.stats.entries.values(), key=lambda each: each.name)
    return [
        {
            "operation": entry.name.rpartition(" ")[0],
            "key_server": entry.name.rpartition(" ")[2],
            "requests": entry.num_requests,
            "failures": entry.num_failures,
            "median_s": entry.get_response_time_percentile(0.5) / 1000,
            "p95_s": entry.get_response_time_percentile(0.95) / 1000,
            "slowest_s": entry.max_response_time / 1000,
        }
        for entry in entries
    ]


if __name__ == "__main__":
    sys.exit(main())
