"""Run the installed program in a test, with pipes or on a pseudo-terminal.

An ``Account`` is a separate home directory with a filer in it.  ``run`` passes all input to the
program and returns the outcome; ``pipe`` keeps the input open; ``terminal`` starts the program on a
pseudo-terminal.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import NamedTuple, Self

import pexpect
from pexpect.popen_spawn import PopenSpawn

PROGRAM = str(Path(sys.executable).with_name("filer"))
PATIENCE = 60
"""Seconds to wait for output of a program before giving up; no passing test waits this long."""


SMALL_SHELF = '[shelf]\ndisks = 4\ndisk_size = "1 MiB"\n'
"""The default content of filer.toml."""

_CONTROL_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])")
_ANYTHING = re.compile(r".+", re.DOTALL)
_QUIET = {">": 0.0, ":": 0.05, "}": 0.05}
_LONG_QUIET = 0.5
"""Seconds without output after which text that ends in a space is a prompt or a question.

`_QUIET` has other times for some characters before the space.  Output arrives in parts, so any text
may look like a question for a moment.
"""


class Outcome(NamedTuple):
    """The standard output, standard error and exit status of a program."""

    out: str
    err: str
    status: int


def plain(text: str) -> str:
    """Return terminal output without control sequences, and with ``\\n`` as line ends."""
    return re.sub(r"\r+\n", "\n", _CONTROL_SEQUENCE.sub("", text))


class Account:
    """A separate home directory with a filer that has a few small disks."""

    def __init__(
        self, home: Path, settings: str = SMALL_SHELF, *, root: Path | None = None
    ) -> None:
        self.home = home
        self.home.mkdir(exist_ok=True)
        self.root = root or home / "root"
        self.settings = self.root / "filer.toml"
        if not self.root.exists():
            self.root.mkdir(mode=0o700)
            self.settings.write_text(settings, encoding="utf-8")

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a program; of the tests it inherits only FILER_DEBUG."""
        path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        return {
            "PATH": path,
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "XDG_DATA_HOME": str(self.home / "data"),
            "XDG_STATE_HOME": str(self.home / "state"),
            "FILER_ROOT": str(self.root),
            "FILER_DEBUG": os.environ.get("FILER_DEBUG", ""),
            **(more or {}),
        }

    @property
    def history(self) -> Path:
        """The history file of the lines typed at the prompt."""
        return self.home / "state" / "filer" / "history"

    def run(
        self,
        *arguments: str | Path,
        input: str | bytes = "",  # noqa: A002  (as subprocess.run has it)
        program: Sequence[str] = (PROGRAM,),
        umask: int = -1,
        environment: Mapping[str, str] | None = None,
        together: bool = False,
    ) -> Outcome:
        """Run the program to its end; ``together`` merges standard error into standard output."""
        ended = subprocess.run(  # noqa: S603
            [*program, *map(str, arguments)],
            input=input.encode() if isinstance(input, str) else input,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if together else subprocess.PIPE,
            check=False,
            cwd=self.home,
            env=self.environment(environment),
            timeout=PATIENCE,
            umask=umask,
        )
        return Outcome(ended.stdout.decode(), (ended.stderr or b"").decode(), ended.returncode)

    def commands(self, *commands: str, environment: Mapping[str, str] | None = None) -> Outcome:
        """Run commands, each as the argument of ``-c``."""
        return self.run(*(f"--command={command}" for command in commands), environment=environment)

    def script(self, *lines: str, echo: bool = False) -> Outcome:
        """Run lines, including answers to questions, from standard input."""
        return self.run(*(["-x"] if echo else []), input="".join(f"{line}\n" for line in lines))

    @contextmanager
    def pipe(
        self, *arguments: str | Path, environment: Mapping[str, str] | None = None
    ) -> "Iterator[PopenSpawn[str]]":
        """Start the program with one pipe for input and one for both outputs."""
        child: PopenSpawn[str] = PopenSpawn(
            [PROGRAM, *map(str, arguments)],
            timeout=PATIENCE,
            cwd=self.home,
            env=self.environment(environment),
            encoding="utf-8",
        )
        child.delaybeforesend = None
        try:
            yield child
        finally:
            child.proc.kill()
            child.proc.wait()
            for stream in (child.proc.stdin, child.proc.stdout):
                assert stream is not None
                with suppress(BrokenPipeError):
                    stream.close()

    @contextmanager
    def terminal(
        self,
        *arguments: str | Path,
        program: Sequence[str] = (PROGRAM,),
        rows: int = 24,
        columns: int = 80,
        environment: Mapping[str, str] | None = None,
    ) -> "Iterator[Terminal]":
        """Start the program on a pseudo-terminal of ``rows`` and ``columns``."""
        child: pexpect.spawn[str] = pexpect.spawn(
            program[0],
            [*program[1:], *map(str, arguments)],
            timeout=PATIENCE,
            cwd=self.home,
            env=self.environment(
                {
                    "TERM": "xterm",
                    "MANPAGER": "cat",
                    **(environment or {}),
                }
            ),
            dimensions=(rows, columns),
            encoding="utf-8",
        )
        child.delaybeforesend = None
        try:
            yield Terminal(child)
        finally:
            child.close(force=True)


class Terminal:
    """A pseudo-terminal: types keys, and reads the output.

    It does not answer cursor-position queries, so the console uses its plain prompt.
    """

    def __init__(self, child: "pexpect.spawn[str]") -> None:
        self.child = child
        self.prompt = ""
        self._seen = StringIO()
        child.logfile_read = self._seen

    @property
    def pid(self) -> int:
        """The process ID of the program."""
        assert self.child.pid is not None
        return self.child.pid

    @property
    def seen(self) -> str:
        """All output to the terminal so far."""
        return self._seen.getvalue()

    def wait_for_prompt(self) -> str:
        """Return the output before the next prompt or question, which is then in ``prompt``."""
        text = ""
        quiet: float | None = None
        while True:
            try:
                self.child.expect(_ANYTHING, timeout=PATIENCE if quiet is None else quiet)
            except (pexpect.TIMEOUT, pexpect.EOF):
                if quiet is None:
                    raise
                break
            text += str(self.child.after)
            waits = text.endswith(" ") and not text[-2:].isspace()
            quiet = _QUIET.get(text[-2:-1], _LONG_QUIET) if waits else None
        *lines, prompt = plain(text).split("\n")
        self.prompt = prompt.rstrip()
        return "".join(f"{line}\n" for line in lines)

    def booted(self) -> Self:
        """Wait for the first prompt."""
        self.wait_for_prompt()
        return self

    def type(self, keys: str) -> None:
        """Press keys."""
        self.child.send(keys)

    def shows(self, text: str) -> None:
        """Wait until ``text`` appears in the output, without control sequences inside it."""
        self.child.expect_exact(text)

    def enter(self, line: str = "") -> str:
        """Type a line and return what is printed before the next prompt or question."""
        self.type(f"{line}\r")
        self.child.expect_exact("\n")  # the end of the typed line, echoed even for a secret
        return self.wait_for_prompt()

    def end(self) -> int:
        """Wait for the end of the program; return its exit status, or minus a signal's number."""
        self.child.expect(pexpect.EOF)
        self.child.wait()
        if self.child.exitstatus is None:
            assert self.child.signalstatus is not None
            return -self.child.signalstatus
        return self.child.exitstatus

    def leave(self) -> int:
        """Press Ctrl-D until the program ends, also at an open question; return the exit status."""
        with suppress(pexpect.EOF):
            while True:
                self.type("\x04")
                self.wait_for_prompt()
        return self.end()
