"""At the end of a run, check that secrets on key servers are nowhere else in the tests' output.

Each process of the run takes the secrets from the stores below its temporary directory. It looks
for them in the other files there, in the reports and captured output of its tests, and in the
arguments and environments of the programs it started. A secret in the source of a test was written
by that test, for example into scripts, so only reports are searched for it. A leak fails the run.
"""

import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.kit.leaks import STORES, Secrets, contents, stored_secrets
from tests.kit.paths import TESTS

STARTED = "programs started"

_STARTING = {"subprocess.Popen", "os.exec", "os.posix_spawn"}
"""Audit events that begin with a program and its arguments, and end with its environment."""


class LeakGuard:
    """A pytest plugin; in a distributed run the controller's sums up."""

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._directory: Path | None = None
        self._reported: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        self._leaks: list[str] = []

    def watch(self, directory: Path) -> None:
        """Search ``directory`` at the end, and record the programs started until then."""
        self._directory = directory

        def note(event: str, arguments: tuple[Any, ...]) -> None:
            if event in _STARTING:
                _append(directory / STARTED, arguments)

        sys.addaudithook(note)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the output of a test, and its failure."""
        texts = [report.longreprtext, *(text for _, text in report.sections)]
        if told := "\n".join(filter(None, texts)):
            name, _, _ = report.nodeid.partition("[")  # parameters may be of any type
            self._reported[name] = self._reported.get(name, "") + told

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Search, report the result, and free the memory unless the run failed."""
        if self._directory is not None:
            self._search(self._directory)
            if not (session.testsfailed or self._leaks) and self._memory in self._directory.parents:
                shutil.rmtree(self._directory)
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["leaks"] = (dict(self._counts), self._leaks)
        elif self._leaks:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Add the findings of a worker; one that crashed has no findings."""
        counts, leaks = getattr(node, "workeroutput", {}).get("leaks", ({}, []))
        self._counts.update(counts)
        self._leaks += leaks

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Report what was searched, and where a secret was found."""
        if self._counts:
            numbers = ", ".join(f"{number} {name}" for name, number in self._counts.items())
            terminalreporter.section(f"search for secrets: {numbers}")
        for place in self._leaks:
            terminalreporter.line(f"a secret is in {place}", red=True)

    def _search(self, directory: Path) -> None:
        """Search for the secrets of each test in its files, and for all of them in shared files."""
        sources = b"".join(path.read_bytes() for path in TESTS.rglob("*.py"))
        is_written = cache(sources.__contains__)
        secrets: set[bytes] = set()
        for made in directory.iterdir():
            if made.is_dir() and not made.is_symlink():
                below = [Path(top, name) for top, _, names in os.walk(made) for name in names]
                files = [path for path in below if path.is_file() and not path.is_symlink()]
                stores = {path for path in files if path.match(STORES)}
                here = set().union(*map(stored_secrets, stores))
                files = [path for path in files if path not in stores]
                if unwritten := {secret for secret in here if not is_written(secret)}:
                    self._leaks += _shown(Secrets(unwritten), files, made)
                    self._counts["files"] += len(files)
                secrets |= here
        generated = Secrets(secret for secret in secrets if not is_written(secret))
        reports = {
            name: text.encode(errors="surrogateescape") for name, text in self._reported.items()
        }
        everywhere = Secrets(secrets)
        process = b"".join(Path("/proc/self", name).read_bytes() for name in ("environ", "cmdline"))
        for place, found in {
            **{f"the report of {name}": everywhere.are_in(text) for name, text in reports.items()},
            "the start of a program": generated.are_in(_started(directory)),
            "the start of the tests": generated.are_in(process),
        }.items():
            if found:
                self._leaks.append(place)
        self._counts.update(
            {"secrets": len(secrets), "bytes of reports": sum(map(len, reports.values()))}
        )


def _shown(secrets: Secrets, files: Iterable[Path], made: Path) -> Iterator[str]:
    """Yield the files that hold a secret, described without the secret."""
    for path in secrets.holders(files):
        if secrets.are_in(os.fsencode(path)):
            yield f"the name of a file in {made}"
        else:
            yield str(path)


def _started(directory: Path) -> bytes:
    """Return every different argument of started programs, without the directory's name."""
    below = re.escape(os.fsencode(directory)) + rb"/[^/\0\n]*"
    return b"\n".join(set(re.split(rb"[\0\n]", re.sub(below, b"", contents(directory / STARTED)))))


def _append(path: Path, start: tuple[Any, ...]) -> None:
    program, arguments, *_, environment = start
    words = [program, *([arguments] if isinstance(arguments, str | bytes) else arguments)]
    words += (environment or {}).values()
    line = b"\0".join(os.fsencode(word) for word in words if isinstance(word, str | bytes))
    with suppress(OSError):  # a test may have used up all descriptors
        log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(log, line + b"\n")
        finally:
            os.close(log)
