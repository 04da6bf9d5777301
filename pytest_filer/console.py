"""Run the installed program in a test, with pipes or on a pseudo-terminal.

An ``Account`` is a separate home directory with a filer in it.  ``run`` passes all input to the
program and returns the outcome; ``pipe`` keeps the input open; ``terminal`` starts the program on a
pseudo-terminal.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

import pexpect
import pytest
from pexpect.popen_spawn import PopenSpawn

from pytest_filer.child import PATIENCE, Child, default_signals
from pytest_filer.transcript import possible_passphrases, without

T = TypeVar("T")

FILER = (sys.executable, "-P", "-m", "filer")
"""The program, wherever its script may be."""

SMALL_SHELF = '[shelf]\ndisks = 4\ndisk_size = "1 MiB"\n'
"""The default content of filer.toml."""

_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # all but Tab
_CONTROL_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])")
_ANYTHING = re.compile(r".+", re.DOTALL)
_QUIET = {">": 0.0, ":": 0.05, "}": 0.05}
_LONG_QUIET = 0.5
"""Seconds without output after which text that ends in a space is a prompt or a question.

`_QUIET` has other times for some characters before the space.  Output arrives in parts, so any text
may look like a question for a moment.
"""

_ANNOUNCED = re.compile(r"^(\S+> )((?:\w{3} \w{3} .*\[[^\]\n]+\]: .*\n)+)\Z", re.MULTILINE)
"""A prompt after which lines of the system log have appeared by themselves."""

_MOMENT = 0.05
"""Seconds to wait for output that has arrived already."""

_PIPE_POLL = 0.002
"""Seconds between two looks at the output of a pipe; pexpect's own 0.0001 keep a processor busy."""

_BETWEEN = 0.1
"""Seconds between two tries of `Terminal.enter_until`."""


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
        program: Sequence[str] = FILER,
        umask: int = -1,
        environment: Mapping[str, str] | None = None,
        together: bool = False,
        timeout: float = PATIENCE,
    ) -> Outcome:
        """Run the program to its end; ``together`` merges standard error into standard output."""
        with default_signals():
            ended = subprocess.run(  # noqa: S603
                [*program, *map(str, arguments)],
                input=input.encode() if isinstance(input, str) else input,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if together else subprocess.PIPE,
                check=False,
                cwd=self.home,
                env=self.environment(environment),
                timeout=timeout,
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
        with default_signals():
            child: PopenSpawn[str] = PopenSpawn(
                [*FILER, *map(str, arguments)],
                timeout=PATIENCE,
                cwd=self.home,
                env=self.environment(environment),
                encoding="utf-8",
            )
        child.delaybeforesend = None
        child.delayafterread = _PIPE_POLL
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
        program: Sequence[str] = FILER,
        rows: int = 24,
        columns: int = 80,
        environment: Mapping[str, str] | None = None,
        timeout: float = PATIENCE,
    ) -> "Iterator[Terminal]":
        """Start the program on a pseudo-terminal of ``rows`` and ``columns``.

        The terminal waits ``timeout`` seconds for an output.
        """
        child = Child(
            program[0],
            [*program[1:], *map(str, arguments)],
            cwd=self.home,
            env=self.environment({"TERM": "xterm", "MANPAGER": "cat", **(environment or {})}),
            dimensions=(rows, columns),
            timeout=timeout,
        )
        try:
            yield Terminal(child)
        finally:
            child.close(force=True)


class Terminal:
    """A pseudo-terminal: types keys, and reads the output.

    It does not answer cursor-position queries, so the console uses its plain prompt.  A method that
    waits fails the test if the output does not come within ``timeout`` seconds, by default those of
    the terminal, or if the program ends before.
    """

    def __init__(self, child: "pexpect.spawn[str]") -> None:
        self.child = child
        self.timeout: float = PATIENCE if child.timeout is None else child.timeout
        self.prompt = ""
        self.secrets: set[str] = set()
        """What was typed and may be a passphrase, and each line that was not echoed."""
        self._seen = StringIO()
        child.logfile_read = self._seen

    @property
    def pid(self) -> int:
        """The process ID of the program."""
        assert self.child.pid is not None
        return self.child.pid

    @property
    def seen(self) -> str:
        """All output to the terminal that was read so far."""
        return self._seen.getvalue()

    def transcript(self) -> str:
        """Return all output that has arrived, without control sequences; `shows` still gets it."""
        if not self.child.closed:
            self.child.expect([pexpect.TIMEOUT, pexpect.EOF], timeout=_MOMENT)
        return plain(self.seen)

    def wait_for_prompt(self, *, timeout: float | None = None) -> str:
        """Return the output before the next prompt or question, which is then in ``prompt``."""
        __tracebackhide__ = True
        return self._expect(self._output_before_prompt, "there was no prompt", timeout)

    def booted(self) -> Self:
        """Wait for the first prompt."""
        __tracebackhide__ = True
        self.wait_for_prompt()
        return self

    def type(self, keys: str) -> None:
        """Press keys."""
        for line in re.split(r"[\r\n]", keys):
            self.secrets.update(possible_passphrases(line))
        self.child.send(keys)

    def shows(self, text: str, *, timeout: float | None = None) -> None:
        """Wait until ``text`` appears in the output, without control sequences inside it."""
        __tracebackhide__ = True
        self._expect(
            lambda seconds: self.child.expect_exact(text, timeout=seconds),
            f"{text!r} did not appear",
            timeout,
        )

    def enter(self, line: str = "", *, timeout: float | None = None) -> str:
        """Type a line and return what is printed before the next prompt or question.

        Raises ValueError for a line end or another control character in ``line``: what follows it
        would answer the next question, and each later ``enter`` the one before its own.
        """
        __tracebackhide__ = True
        if _CONTROL_CHARACTER.search(line):
            raise ValueError(
                "enter() types one line, without a line end or another control character; "
                "call it once for each line, and type() for other keys"
            )
        self.type(f"{line}\r")
        self._expect(  # the end of the typed line, echoed even for a secret
            lambda seconds: self.child.expect_exact("\n", timeout=seconds),
            "the line was not read",
            timeout,
        )
        if line and line not in plain(str(self.child.before)):
            self.secrets.add(line)
        return self.wait_for_prompt(timeout=timeout)

    def enter_until(self, line: str, text: str, *, timeout: float | None = None) -> str:
        """Type ``line`` again and again until its output has ``text``; return that output.

        Fails the test if that takes longer than ``timeout`` seconds, by default those of the
        terminal.
        """
        __tracebackhide__ = True
        seconds = self.timeout if timeout is None else timeout
        ends = time.monotonic() + seconds
        while text not in (output := self.enter(line)):
            if time.monotonic() > ends:
                pytest.fail(
                    with_output(f"{line}: {text!r} did not appear in {seconds:g} s", output)
                )
            time.sleep(_BETWEEN)
        return output

    def end(self, *, timeout: float | None = None) -> int:
        """Wait for the end of the program; return its exit status, or minus a signal's number."""
        __tracebackhide__ = True
        self._expect(
            lambda seconds: self.child.expect(pexpect.EOF, timeout=seconds),
            "filer did not end",
            timeout,
        )
        return self._status()

    def leave(self) -> int:
        """Press Ctrl-D until the program ends, also at an open question; return the exit status."""
        __tracebackhide__ = True
        self._expect(self._press_ctrl_d, "there was no prompt", None)
        return self._status()

    def _press_ctrl_d(self, seconds: float | None) -> None:
        with suppress(pexpect.EOF):
            while True:
                self.type("\x04")
                self._output_before_prompt(seconds)

    def _output_before_prompt(self, seconds: float | None) -> str:
        text = ""
        announced: re.Match[str] | None = None
        quiet: float | None = None
        while True:
            try:
                self.child.expect(_ANYTHING, timeout=seconds if quiet is None else quiet)
            except (pexpect.TIMEOUT, pexpect.EOF):
                if quiet is None:
                    raise
                break
            text += str(self.child.after)
            announced = _ANNOUNCED.search(plain(text)) if text.endswith("\n") else None
            waits = announced or (text.endswith(" ") and not text[-2:].isspace())
            quiet = _QUIET.get(text[-2:-1], _LONG_QUIET) if waits else None
        shown = plain(text)
        if announced:
            shown = shown[: announced.start()] + announced[2] + announced[1]
        *lines, prompt = shown.split("\n")
        self.prompt = prompt.rstrip()
        return "".join(f"{line}\n" for line in lines)

    def _expect(self, wait: Callable[[float | None], T], failure: str, timeout: float | None) -> T:
        """Return what ``wait(seconds)`` returns; fail the test in words if pexpect gives up."""
        __tracebackhide__ = True
        seconds = self.timeout if timeout is None else timeout
        start = len(self.seen)
        try:
            return wait(seconds)
        except pexpect.TIMEOUT:
            reason = f"{failure} within {seconds:g} s"
        except pexpect.EOF:
            output = without(self.secrets, plain(self.seen[start:]))
            reason = with_output(f"{failure}: filer ended with status {self._status()}", output)
        pytest.fail(reason)

    def _status(self) -> int:
        self.child.wait()
        if self.child.exitstatus is None:
            assert self.child.signalstatus is not None
            return -self.child.signalstatus
        return self.child.exitstatus


def with_output(fact: str, output: str) -> str:
    """Return a reason to fail with the ``output`` of the filer, first if it is one line."""
    text = output.strip("\n")
    if "\n" in text:
        return f"{fact}:\n{text}"
    return f"{text} ({fact})" if text else fact
