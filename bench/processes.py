"""Rows for whole processes: start, first prompt, memory."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pexpect

from bench.measuring import (
    BARE_PYTHON,
    Side,
    await_prompt,
    interleave,
    peak_memory,
    process_seconds,
    prompt_seconds,
    terminal,
)
from bench.row import Row, Unit, at_most, faster
from bench.workshop import Account, Workshop

_PROMPT = "filer1>"

_LINES = ("key_manager status", "key_manager query", "disk encrypt show")
"""What the console does while its memory is measured."""

_FIVE_LINES = (
    sys.executable,
    "-c",
    """
from prompt_toolkit import PromptSession
session = PromptSession()
while True:
    print(session.prompt("bench> "))
""",
)

_CMD2 = """
import cmd2
shell = cmd2.Cmd()
shell.prompt = "bench> "
shell.cmdloop()
"""

_KMIP_FIRST = "import kmip.pie.client; from filer.shell.__main__ import main; main()"


def version(shop: Workshop) -> Iterator[Row]:
    """Measure ``filer --version``, which only starts the program."""
    account = shop.account()
    ours, bare = interleave(
        shop.times(30),
        partial(process_seconds, [*account.filer(), "--version"], account.environment),
        partial(process_seconds, BARE_PYTHON, account.environment),
    )
    yield Row("`filer --version`", ours, at_most(2), bare, "`python -c pass`")


def hostname(shop: Workshop) -> Iterator[Row]:
    """Measure one command, including the boot with twelve disks."""
    account = shop.account()
    ours, bare = interleave(
        shop.times(30),
        partial(process_seconds, account.filer("hostname"), account.environment),
        partial(process_seconds, BARE_PYTHON, account.environment),
    )
    yield Row("`filer -c hostname`", ours, at_most(6.5), bare, "`python -c pass`")


def first_prompt(shop: Workshop) -> Iterator[Row]:
    """Measure the time to the first prompt, for a program that drives the console and a person."""
    account = shop.account()
    python = shop.peers / "python"
    peers: dict[str, Sequence[str | Path]] = {
        "litecli": (shop.peers / "litecli", "--prompt", "bench> ", ":memory:"),
        "cmd2": (python, "-c", _CMD2),
        "xonsh": (shop.peers / "xonsh", "--no-rc", "-DPROMPT=bench> "),
    }
    there = {name: command for name, command in peers.items() if Path(command[0]).exists()}

    def start(command: Sequence[str | Path], prompt: str, *, person: bool) -> Side:
        return partial(prompt_seconds, command, account.environment, prompt, person=person)

    driver, five_for_driver, person, five_for_person, *theirs = interleave(
        shop.times(20),
        start(account.filer(), _PROMPT, person=False),
        start(_FIVE_LINES, "bench>", person=False),
        start(account.filer(), _PROMPT, person=True),
        start(_FIVE_LINES, "bench>", person=True),
        *(start(command, "bench>", person=True) for command in there.values()),
    )
    against = "five lines of prompt_toolkit"
    yield Row("first prompt, for a driver", driver, at_most(1), five_for_driver, against)
    what = "first prompt, for a person"
    yield Row(what, person, at_most(1.2), five_for_person, against)
    measured = dict(zip(there, theirs, strict=True))
    for name in peers:
        if name in measured:
            yield Row(what, person, faster(), measured[name], name)
        else:
            yield Row(what, person, faster(), against=f"{name}: not installed")


def boot(shop: Workshop) -> Iterator[Row]:
    """Measure a boot with key servers until the first prompt."""
    with shop.key_servers(2, pairs=14) as servers:
        account = shop.account(servers=servers)
        ours, theirs = interleave(
            shop.times(20),
            partial(prompt_seconds, account.filer(), account.environment, _PROMPT, person=False),
            partial(
                prompt_seconds,
                (sys.executable, "-c", _KMIP_FIRST),
                account.environment,
                _PROMPT,
                person=False,
            ),
        )
    yield Row(
        "boot, 2 key servers, 14 pairs",
        ours,
        at_most(0.5),
        theirs,
        "after `import kmip.pie.client`",
    )


def memory(shop: Workshop) -> Iterator[Row]:
    """Measure the peak memory of a script, and of a console with key servers."""
    account = shop.account()

    def of_script(command: Sequence[str | Path]) -> float:
        def run(started: Sequence[str | Path]) -> None:
            subprocess.run(
                started,
                input=b"hostname\n",
                stdout=subprocess.DEVNULL,
                env=account.environment,
                check=True,
            )

        return peak_memory(command, run)

    ours, bare = interleave(
        shop.times(3),
        partial(of_script, account.filer()),
        partial(of_script, BARE_PYTHON),
        unit=Unit.MEGABYTES,
    )
    yield Row("memory: piped `hostname`", ours, at_most(3), bare, "`python -c pass`")
    with shop.key_servers(2, pairs=14) as servers:
        account = shop.account(servers=servers)
        console, five_lines = interleave(
            shop.times(3),
            partial(_memory_of_prompts, account, account.filer(), _PROMPT, _LINES),
            partial(_memory_of_prompts, account, _FIVE_LINES, "bench>", ("a line",)),
            unit=Unit.MEGABYTES,
        )
    what = "memory: console of a person, 2 key servers"
    yield Row(what, console, at_most(2), five_lines, "five lines of prompt_toolkit")


def _memory_of_prompts(
    account: Account, program: Sequence[str | Path], prompt: str, lines: Sequence[str]
) -> float:
    def run(command: Sequence[str | Path]) -> None:
        with terminal(command, account.environment) as child:
            for line in lines:
                await_prompt(child, prompt, person=True)
                child.send(f"{line}\r")
            await_prompt(child, prompt, person=True)
            child.send("\x04")
            child.expect_exact(pexpect.EOF)

    return peak_memory(program, run)
