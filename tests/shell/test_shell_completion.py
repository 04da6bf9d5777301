"""Completion of the programs' own options in real shells; the width of --help."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit.console import Account, Child

SHELLS = {
    "bash": ("--norc", "--noprofile", "-i"),
    "zsh": ("-f", "-i"),
}
PREPARE = {"bash": "", "zsh": "autoload -Uz compinit && compinit -D -u && "}
PROGRAMS = ("filer", "filer-keyserver", "filer-qualify", "filer-shelf", "filer-storm")
PROMPT = "READY> "


def program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


@contextmanager
def shell(name: str, account: Account) -> Iterator[Child]:
    environment = account.environment({"TERM": "dumb", "PS1": PROMPT})
    child = Child(name, SHELLS[name], cwd=account.home, env=environment, dimensions=(24, 200))
    child.delaybeforesend = 0.05
    try:
        child.expect_exact(PROMPT)
        for each in PROGRAMS:
            child.send(f'{PREPARE[name]}eval "$({each} --print-completion {name})"\r')
            child.expect_exact(PROMPT)
        yield child
    finally:
        child.close(force=True)


COMPLETED = [
    ("filer --rep", "lay "),
    ("filer --format j", "son "),
    ("filer --print-completion b", "ash "),
    ("filer -e --exit", "-on-error "),
    ("filer runb", "ook.txt "),
    ("filer --replay runb", "ook.txt "),
    ("filer --root run", "s"),
    ("filer-keyserver --addr", "ess "),
    ("filer-keyserver --dir run", "s"),
    ("filer-keyserver --client-ca runb", "ook.txt "),
    ("filer-keyserver ren", "ew "),
    ("filer-keyserver list --dir run", "s"),
    ("filer-keyserver renew --cl", "ient "),
    ("filer-qualify --form", "at "),
    ("filer-qualify --format ju", "nit "),
    ("filer-qualify --certs run", "s"),
    ("filer-qualify --partner-cert runb", "ook.txt "),
    ("filer-shelf ins", "ert "),
    ("filer-shelf --root run", "s"),
    ("filer-storm --scen", "ario "),
    ("filer-storm --json runb", "ook.txt "),
]


@pytest.mark.parametrize("name", SHELLS)
def test_tab_completes(account: Account, name: str) -> None:
    (account.home / "runbook.txt").touch()
    (account.home / "runs").mkdir()
    with shell(name, account) as child:
        for typed, rest in COMPLETED:
            child.send(f"{typed}\t")
            child.expect_exact(f"{typed}{rest}")
            child.send("\x03")
            child.expect_exact(PROMPT)


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("each", PROGRAMS)
def test_the_script_is_one_that_the_shell_can_read(account: Account, name: str, each: str) -> None:
    script = account.run("--print-completion", name, program=[program(each)])
    assert (script.err, script.status) == ("", 0)

    read = account.run("-n", input=script.out, program=[name])

    assert (read.err, read.status) == ("", 0)


@pytest.mark.parametrize("each", PROGRAMS)
def test_every_option_is_in_the_script(account: Account, each: str) -> None:
    told = account.run("--help", program=[program(each)]).out
    options = set(re.findall(r"^  (?:-\w(?: \w+)?, )?(--[a-z-]+)", told, flags=re.M))
    script = account.run("--print-completion", "bash", program=[program(each)]).out

    assert {"--help", "--version", "--print-completion"} < options
    listed = re.search(rf"_{each.replace('-', '_')}_option_strings=\((.*)\)", script)
    assert listed is not None
    assert options == {word for word in listed[1].split() if word.startswith("--")}


@pytest.mark.parametrize("each", PROGRAMS)
def test_another_shell_is_refused(account: Account, each: str) -> None:
    refused = account.run("--print-completion", "ksh\x1b", program=[program(each)])

    assert (refused.out, refused.status) == ("", 2)
    assert "'ksh\\x1b' (choose from" in refused.err


def test_a_reader_that_has_gone_ends_it_silently() -> None:
    command = f"{program('filer')} --print-completion bash | true; echo ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)

    assert (ended.stdout, ended.stderr) == ("141\n", "")


def test_a_full_disk_is_told() -> None:
    command = f"{program('filer')} --print-completion bash > /dev/full"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)

    assert ended.returncode == 1
    assert ended.stderr == "filer: cannot write standard output: No space left on device\n"


@pytest.mark.parametrize("each", PROGRAMS)
def test_help_fits_a_screen_above_the_next_prompt(account: Account, each: str) -> None:
    told = account.run("--help", program=[program(each)], environment={"COLUMNS": "80"})

    lines = told.out.splitlines()
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
