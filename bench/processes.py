"""Rows for whole processes: start, first prompt, memory."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pexpect

from bench.measuring import interleave, peak_memory, process_seconds, prompt_seconds, terminal
from bench.row import Row, Unit, at_most, below, faster
from bench.workshop import Account, Workshop

_BARE = (sys.executable, "-c", "pass")
_PROMPT = "filer1>"

_FIVE_LINES = """
from prompt_toolkit import PromptSession
session = PromptSession()
while True:
    print(session.prompt("bench> "))
"""

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
        partial(process_seconds, _BARE, account.environment),
    )
    yield Row("`filer --version`", ours, at_most(2), bare, "`python -c pass`")


def hostname(shop: Workshop) -> Iterator[Row]:
    """Measure one command, including the boot with twelve disks."""
    account = shop.account()
    ours, bare = interleave(
        shop.times(30),
        partial(process_seconds, account.filer("hostname"), account.environment),
        partial(process_seconds, _BARE, account.environment),
    )
    yield Row("`filer -c hostname`", ours, at_most(10), bare, "`python -c pass`")


def first_prompt(shop: Workshop) -> Iterator[Row]:
    """Measure the time to the first prompt of the filer and of its peers."""
    account = shop.account()
    python = shop.peers / "python"
    peers: dict[str, Sequence[str | Path]] = {
        "litecli": (shop.peers / "litecli", "--prompt", "bench> ", ":memory:"),
        "cmd2": (python, "-c", _CMD2),
        "xonsh": (shop.peers / "xonsh", "--no-rc", "-DPROMPT=bench> "),
    }
    there = {name: command for name, command in peers.items() if Path(command[0]).exists()}
    ours, five_lines, *theirs = interleave(
        shop.times(20),
        partial(prompt_seconds, account.filer(), account.environment, _PROMPT),
        *(
            partial(prompt_seconds, command, account.environment, "bench>")
            for command in ((sys.executable, "-c", _FIVE_LINES), *there.values())
        ),
    )
    yield Row("first prompt", ours, at_most(1.3), five_lines, "five lines of prompt_toolkit")
    measured = dict(zip(there, theirs, strict=True))
    for name in peers:
        if name in measured:
            yield Row("first prompt", ours, faster(), measured[name], name)
        else:
            yield Row("first prompt", ours, faster(), against=f"{name}: not installed")


def boot(shop: Workshop) -> Iterator[Row]:
    """Measure a boot with key servers until the first prompt."""
    with shop.key_servers(2, pairs=14) as servers:
        account = shop.account(servers=servers)
        ours, theirs = interleave(
            shop.times(20),
            partial(prompt_seconds, account.filer(), account.environment, _PROMPT),
            partial(
                prompt_seconds,
                (sys.executable, "-c", _KMIP_FIRST),
                account.environment,
                _PROMPT,
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
        partial(of_script, _BARE),
        unit=Unit.MEGABYTES,
    )
    yield Row("memory: piped `hostname`", ours, at_most(3), bare, "`python -c pass`")
    with shop.key_servers(2, pairs=14) as servers:
        (console,) = interleave(
            shop.times(3),
            partial(_memory_of_console, shop.account(servers=servers)),
            unit=Unit.MEGABYTES,
        )
    yield Row("memory: console with 2 key servers", console, below(90, Unit.MEGABYTES))


def _memory_of_console(account: Account) -> float:
    def run(command: Sequence[str | Path]) -> None:
        with terminal(command, account.environment) as child:
            child.expect_exact(_PROMPT)
            for line in ("key_manager status", "key_manager query", "disk encrypt show", "logout"):
                child.sendline(line)
            child.expect_exact(pexpect.EOF)

    return peak_memory(account.filer(), run)
