"""docs/RUNBOOKS.md: type each line at the console or in the shell that it belongs to.

A block belongs to the terminal named in the line above it, and its lines are what this terminal
shows.  In a block of the host, the lines that begin with ``$`` are typed; in a block of a node,
those that begin with the prompt or the question at which the node waits.  If such a line ends its
block, the next block of the node has its output.  A block without one waits until its last line
appears.

``python -m tests.kit.runbooks`` writes today's outputs into the document.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import dropwhile
from pathlib import Path
from tempfile import TemporaryDirectory

import pexpect

from filer.shell.recording.volatile import VOLATILE, Pairing
from pytest_filer.child import PATIENCE
from pytest_filer.console import Account, Terminal, plain
from tests.kit.paths import CHECKOUT

DOCUMENT = CHECKOUT / "docs" / "RUNBOOKS.md"

_START = "Before each runbook"
_SECTION = re.compile(r"^## (?:\d+\. )?(.*)\n(?:(?!## ).*\n)*", re.M)
_BLOCK = re.compile(r"(^\*\*(host|filer[12])\*\*\n\n```(?:console)?\n)((?:(?!```).*\n)*)", re.M)
_SHOWN_DIRECTORY = "/home/you/lab"
_SHELL = "$"
_PROMPT = re.compile(r"(filer[12](?:\(takeover\)|/filer[12])?>|LOADER>|\*>|\$)(?: |$)")
_STATE = re.compile(r"(?:cf|aggr) status\b")
"""Commands that are repeated until they print what the document shows."""
_SYSTEM_LOG = re.compile(r"\w{3} \w{3} [ \d]\d \S+ \w+ \[")
_REPEATED = "; trying again for "
"""In lines that a boot repeats while it waits, as often as it needs."""
_MOMENT = 0.1
_DONE = "(done)"
"""What ends the output of a command of the host."""


class Runbooks:
    """The runbooks of ``document``; each but the first begins with the pair of the first one."""

    def __init__(self, document: str) -> None:
        sections = {found[1]: found[0] for found in _SECTION.finditer(document)}
        self.start = sections.pop(_START)
        self.texts: Mapping[str, str] = sections
        self.first, *self.others = sections

    def make_pair(self, directory: Path) -> str:
        """Perform the first runbook in an empty directory; return it with today's outputs."""
        with ExitStack() as stack:
            return _Lab(directory, stack).perform(self.texts[self.first])

    def perform(self, title: str, made: Path, directory: Path) -> tuple[str, str]:
        """Perform another runbook in a copy of the directory ``made`` by the first one.

        Returns the section on the start, and the runbook, with today's outputs.
        """
        runs = shutil.ignore_patterns("run")
        shutil.copytree(made, directory, symlinks=True, ignore=runs, dirs_exist_ok=True)
        with ExitStack() as stack:
            lab = _Lab(directory, stack)
            return lab.perform(self.start), lab.perform(self.texts[title])


def differences(shown: str, today: str) -> tuple[Sequence[str], Sequence[str]]:
    """Return the lines of both, with names in the place of what may differ."""
    return Pairing().lines(shown, today)


class _Lab:
    """A shell of the host, and the consoles of two nodes, in one directory."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._shells: Mapping[str, _Host | _Node] = {
            "host": _Host(stack.enter_context(_bash(directory))),
            "filer1": _Node(directory, stack),
            "filer2": _Node(directory, stack),
        }
        self._here = {_SHOWN_DIRECTORY: str(directory), **_addresses()}
        self._pairing = Pairing()

    def perform(self, section: str) -> str:
        """Do what ``section`` says, and return it with today's outputs."""
        return _BLOCK.sub(self._perform_block, section)

    def _perform_block(self, block: re.Match[str]) -> str:
        head, name, shown = block.groups()
        lines = _replaced(self._pairing.now(shown), self._here).splitlines()
        done = self._shells[name].perform(lines)
        text = "".join(f"{line.rstrip()}\n" for line in done)
        text = _replaced(text, {here: shown for shown, here in self._here.items()})
        self._pairing.lines(shown, text)
        return head + text


def _addresses() -> Mapping[str, str]:
    """Return addresses for those in the document, which no other run on this machine uses."""
    number = os.getpid()
    net = f"127.{128 + (number >> 14) % 126}.{number >> 6 & 255}"
    return {f"127.0.0.{last}": f"{net}.{4 * (number & 63) + last % 4}" for last in range(2, 6)}


def _replaced(text: str, values: Mapping[str, str]) -> str:
    for old, new in values.items():
        text = text.replace(old, new)
    return text


class _Node:
    """A terminal in which the program is started for one node."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._account = Account(directory, root=directory)
        self._stack = stack
        self._terminal: Terminal | None = None
        self._prompt = _SHELL
        """The prompt or question at which the node waits; empty while it works."""

    def perform(self, lines: Sequence[str]) -> list[str]:
        """Type what ``lines`` show as typed, and return them with today's outputs."""
        if not any(map(_PROMPT.match, lines)):
            *before, last = self._await(lines[-1])
            return [*_once(before), last]
        done: list[str] = []
        has_ended = lines[0].startswith(f"{_SHELL} ") and self._prompt != _SHELL
        if has_ended or not self._prompt:
            done += dropwhile(lambda line: not line, self._output(lines))
        while lines := self._from_typed(lines):
            line, *lines = lines
            done.append(line)
            if lines:
                done += self._entered(line, lines)
            else:
                self._type(line)
        return _once(done)

    def _entered(self, line: str, then: Sequence[str]) -> Sequence[str]:
        """Type a line and return its output, that of a `_STATE` when it is as shown in ``then``."""
        end = time.monotonic() + PATIENCE
        while True:
            prompt = self._prompt
            self._type(line)
            out = self._output(then)
            is_settled = not _STATE.search(line) or self._shows(then, out)
            if is_settled or self._prompt != prompt or time.monotonic() > end:
                return out
            time.sleep(_MOMENT)

    def _from_typed(self, lines: Sequence[str]) -> Sequence[str]:
        """Return ``lines`` from the next one that is typed at the prompt or question."""
        for at, line in enumerate(lines):
            if line == self._prompt or line.startswith(f"{self._prompt} "):
                return lines[at:]
            assert not _PROMPT.match(line), f"the node is at {self._prompt!r}, not at {line!r}"
        return []

    def _shows(self, lines: Sequence[str], out: Sequence[str]) -> bool:
        """Return whether ``lines`` begin with the output ``out``, up to the next prompt."""
        end = next((at for at, line in enumerate(lines) if _PROMPT.match(line)), len(lines))
        shown, today = differences("\n".join(lines[:end]), "\n".join(out))
        return shown == today

    def _type(self, line: str) -> None:
        """Type what follows the prompt in ``line``, or start the program."""
        typed = line.removeprefix(self._prompt).removeprefix(" ")
        if self._prompt == _SHELL:
            program, *arguments = shlex.split(typed)
            assert program == "filer"
            self._terminal = self._stack.enter_context(self._account.terminal(*arguments))
        else:
            assert self._terminal is not None
            self._terminal.type(f"{typed}\r")
            self._terminal.shows("\n")  # the end of the typed line
        self._prompt = ""

    def _output(self, then: Sequence[str]) -> Sequence[str]:
        """Return the output up to the next prompt; to the end if ``then`` goes on in the shell."""
        assert self._terminal is not None
        prompts = (found[1] for line in then if (found := _PROMPT.match(line)))
        if next(prompts, "") == _SHELL:
            self._terminal.end()
            self._prompt = _SHELL
            return plain(str(self._terminal.child.before)).splitlines()
        out = self._terminal.wait_for_prompt()
        self._prompt = self._terminal.prompt
        return out.splitlines()

    def _await(self, line: str) -> Sequence[str]:
        """Wait until ``line`` appears, with any times, and return all that does."""
        assert self._terminal is not None
        child = self._terminal.child
        try:
            child.expect(".+?".join(map(re.escape, VOLATILE.sub("\0", line).split("\0"))))
        except (pexpect.TIMEOUT, pexpect.EOF):
            text = self._terminal.transcript()
            raise AssertionError(f"{line!r} did not appear:\n{text}") from None
        shown = plain(f"{child.before}{child.after}").lstrip("\n").splitlines()
        self._prompt = ""
        if _SYSTEM_LOG.match(line):
            self._terminal.type("\r")
            self._output([])
        return shown


def _once(lines: Iterable[str]) -> list[str]:
    """Leave out the lines that a waiting boot repeats."""
    return [line for line in lines if _REPEATED not in line]


class _Host:
    """A shell of the host."""

    def __init__(self, bash: "subprocess.Popen[str]") -> None:
        self._bash = bash

    def perform(self, lines: Sequence[str]) -> list[str]:
        """Run the command in each line after ``$``, and return it with today's output."""
        done: list[str] = []
        for line in lines:
            if line.startswith(f"{_SHELL} "):
                done += [line, *self._run(line.removeprefix(f"{_SHELL} "))]
        return done

    def _run(self, command: str) -> Iterator[str]:
        """Yield the output of a command, or until all key servers that it starts are up."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        starting = command.count("--address") if command.endswith(" &") else 0
        self._bash.stdin.write(f"{command}\necho '{_DONE}'\n")
        self._bash.stdin.flush()
        is_done = False
        while starting or not is_done:
            line = self._bash.stdout.readline().removesuffix("\n")
            if line == _DONE:
                is_done = True
            else:
                yield line
                if starting:
                    starting = starting - 1 if " listens on port " in line else 0
                assert self._bash.poll() is None, "the shell of the host has ended"


@contextmanager
def _bash(directory: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run bash with pipes; what it has started in the background ends with it."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
        "HOME": str(directory),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
    }
    with subprocess.Popen(
        ["bash"],
        cwd=directory,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as bash:
        try:
            yield bash
        finally:
            bash.communicate("kill $(jobs -p); wait\n", timeout=PATIENCE)


def _write() -> None:
    """Write today's outputs into the document."""
    document = DOCUMENT.read_text(encoding="utf-8")
    runbooks = Runbooks(document)
    with TemporaryDirectory() as directory:
        made = Path(directory, "first")
        made.mkdir()
        today = {runbooks.texts[runbooks.first]: runbooks.make_pair(made)}
        for number, title in enumerate(runbooks.others):
            start, text = runbooks.perform(title, made, Path(directory, str(number)))
            today |= {runbooks.start: start, runbooks.texts[title]: text}
    DOCUMENT.write_text(_replaced(document, today), encoding="utf-8")


if __name__ == "__main__":
    _write()
