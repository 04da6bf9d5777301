"""Measure figures: both sides alternately, with the median and the spread of each."""

import gc
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from time import perf_counter, process_time

import pexpect

from bench.row import Figure, Unit

PATIENCE = 120
"""Seconds to wait for output of a program before giving up."""

MEGABYTE = 1_000_000

BARE_PYTHON = (sys.executable, "-c", "pass")

CURSOR_QUERY, CURSOR_ANSWER = "\x1b[6n", "\x1b[1;1R"

Side = Callable[[], float]

# The peak memory of a process forked from this large one would include the size of this one.  A
# bare Python starts it instead.
_STARTER = """
import os, sys
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
with open(sys.argv[1], "w") as file:
    file.write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def interleave(repetitions: int, *sides: Side, unit: Unit = Unit.SECONDS) -> list[Figure]:
    """Measure each side once to warm up, then all alternately (A B A B), ``repetitions`` times."""
    for side in sides:
        side()
    rounds = [[side() for side in sides] for _ in range(repetitions)]
    return [Figure.of(values, unit) for values in zip(*rounds, strict=True)]


def seconds(action: Callable[[], object]) -> float:
    """Return how long ``action`` takes; existing objects are hidden from garbage collection."""
    gc.freeze()
    begun = perf_counter()
    action()
    return perf_counter() - begun


def cpu_seconds(action: Callable[[], object]) -> float:
    """Return the processor time that this process uses for ``action``."""
    gc.freeze()
    begun = process_time()
    action()
    return process_time() - begun


def process_seconds(
    command: Sequence[str | Path], environment: Mapping[str, str], stdin: Path | None = None
) -> float:
    """Return how long a process takes from start to end.  Raises CalledProcessError."""
    with Path(stdin or "/dev/null").open("rb") as file:
        begun = perf_counter()
        # No timeout: with one, subprocess polls for the end at growing intervals.
        subprocess.run(
            command,
            stdin=file,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            check=True,
        )
        return perf_counter() - begun


def process_cpu_seconds(command: Sequence[str | Path]) -> float:
    """Return the CPU time of a process, its start included.  Raises CalledProcessError."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdin=subprocess.DEVNULL, env={}, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def prompt_seconds(
    command: Sequence[str | Path], environment: Mapping[str, str], prompt: str, *, person: bool
) -> float:
    """Return how long a program takes from its start until ``prompt`` is on its terminal."""
    begun = perf_counter()
    with terminal(command, environment) as child:
        await_prompt(child, prompt, person=person)
        return perf_counter() - begun


def await_prompt(child: "pexpect.spawn[str]", prompt: str, *, person: bool) -> None:
    """Wait until ``prompt`` is on the terminal of ``child``.

    The terminal of a ``person`` answers a query for the cursor position, as xterm does; that of a
    driver does not.
    """
    while child.expect_exact([prompt, CURSOR_QUERY] if person else [prompt]):
        child.send(CURSOR_ANSWER)


@contextmanager
def terminal(
    command: Sequence[str | Path], environment: Mapping[str, str]
) -> "Iterator[pexpect.spawn[str]]":
    """Start a program on a pseudo-terminal."""
    program, *arguments = map(str, command)
    child: pexpect.spawn[str] = pexpect.spawn(
        program,
        arguments,
        env={**environment, "TERM": "xterm"},
        timeout=PATIENCE,
        dimensions=(24, 80),
        encoding="utf-8",
    )
    child.delaybeforesend = None
    try:
        yield child
    finally:
        child.close(force=True)


def peak_memory(
    command: Sequence[str | Path], run: Callable[[Sequence[str | Path]], object]
) -> float:
    """Return the peak memory of ``command`` in MB; ``run`` must run the command it receives."""
    with NamedTemporaryFile("r") as report:
        run([sys.executable, "-I", "-S", "-c", _STARTER, report.name, *command])
        return int(report.read()) * 1024 / MEGABYTE
