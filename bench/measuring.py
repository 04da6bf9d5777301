"""How a figure is taken: both sides in turn, the median of each, and how far they spread."""

import gc
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from time import perf_counter

import pexpect

from bench.row import Figure, Unit

PATIENCE = 120
"""Seconds after which a program that says nothing is given up."""

MEGABYTE = 1_000_000

Side = Callable[[], float]

# A process forked from this one, which is large, would seem to have been as large itself; one
# started by a bare Python begins at the size of that.
_STARTER = """
import os, sys
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
with open(sys.argv[1], "w") as file:
    file.write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def interleave(repetitions: int, *sides: Side, unit: Unit = Unit.SECONDS) -> list[Figure]:
    """Take each side once to warm up, then all in turn, A B A B, so often."""
    for side in sides:
        side()
    rounds = [[side() for side in sides] for _ in range(repetitions)]
    return [Figure.of(values, unit) for values in zip(*rounds, strict=True)]


def seconds(action: Callable[[], object]) -> float:
    """Return how long ``action`` takes, beginning with nothing that could be collected."""
    gc.freeze()
    begun = perf_counter()
    action()
    return perf_counter() - begun


def process_seconds(
    command: Sequence[str | Path], environment: Mapping[str, str], stdin: Path | None = None
) -> float:
    """Return how long a process takes from its start to its end; it has to succeed."""
    with Path(stdin or "/dev/null").open("rb") as file:
        begun = perf_counter()
        # Without a time-out: with one, the end would be looked for ever more seldom.
        subprocess.run(
            command,
            stdin=file,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            check=True,
        )
        return perf_counter() - begun


def prompt_seconds(
    command: Sequence[str | Path], environment: Mapping[str, str], prompt: str
) -> float:
    """Return how long a program takes from its start until ``prompt`` is on its terminal."""
    begun = perf_counter()
    with terminal(command, environment) as child:
        child.expect_exact(prompt)
        return perf_counter() - begun


@contextmanager
def terminal(
    command: Sequence[str | Path], environment: Mapping[str, str]
) -> "Iterator[pexpect.spawn[str]]":
    """Start a program at a terminal of its own."""
    program, *arguments = map(str, command)
    more = {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}  # for the peers
    child: pexpect.spawn[str] = pexpect.spawn(
        program,
        arguments,
        env={**environment, **more},
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
    """Return the most memory a program had, in MB; ``run`` starts the command it is given."""
    with NamedTemporaryFile("r") as report:
        run([sys.executable, "-I", "-S", "-c", _STARTER, report.name, *command])
        return int(report.read()) * 1024 / MEGABYTE
