"""No secret of a filer is on any surface, whatever the user does with the program."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pexpect
import pytest

from filer.keyserver.server import KeyServer
from tests.kit.console import (
    OTHER_PASSPHRASE,
    PASSPHRASE,
    PROGRAM,
    WEAK_PASSPHRASE,
    Account,
    answers_to_setup,
    beside,
    editing,
    files_below,
    plain,
)
from tests.kit.leak_guard import STARTED
from tests.kit.leaks import STORES, Secrets, contents, forms, stored_secrets, visible
from tests.kit.paths import CHECKOUT

TYPED = {secret.encode() for secret in (PASSPHRASE, OTHER_PASSPHRASE, WEAK_PASSPHRASE)}
UNLIMITED = ("bash", "-c", 'ulimit -c "$(ulimit -H -c)" && exec "$@"', "bash")
"""A program that was run in the process of the tests may have forbidden core files for good."""


@pytest.fixture
def account(servers: list[KeyServer], tmp_path: Path) -> Account:
    return beside(servers, tmp_path / "home")


def environment(account: Account) -> dict[str, str]:
    """Put temporary files where they are searched, and use a pager that stays open."""
    temporary = account.home / "tmp"
    temporary.mkdir(exist_ok=True)
    pager = account.home / "pager"
    pager.write_text("#!/bin/sh\ncat\necho PAGED\nread answer < /dev/tty\n", encoding="utf-8")
    pager.chmod(0o700)
    return {"TMPDIR": str(temporary), "MANPAGER": str(pager)}


def made(servers: Sequence[KeyServer], number: int) -> set[bytes]:
    """Return the ``number`` secrets on the key servers."""
    one, other = (stored_secrets(server.store) for server in servers)
    assert one == other
    assert len(one) == number
    return one


def is_nowhere(secrets: set[bytes], below: Path, shown: dict[str, bytes]) -> bool:
    """Check that ``secrets`` were not shown, and are in no file but the key servers' stores."""
    looked_for = Secrets(secrets | TYPED)
    files = [path for path in files_below(below) if not path.match(STORES)]
    assert {"messages", "filer.toml", "0c.00.0.sed"} <= {path.name for path in files}
    assert looked_for.holders(files) == []
    assert [where for where, data in shown.items() if looked_for.are_in(data)] == []
    return True


def on_screen(seen: str) -> dict[str, bytes]:
    """Return the output to a terminal: raw, as displayed, and without line breaks."""
    read = plain(seen)
    views = {"sent": seen, "read": read, "joined": read.replace("\n", "")}
    return {where: text.encode() for where, text in views.items()}


def test_a_day_at_the_terminal(tmp_path: Path, servers: list[KeyServer], account: Account) -> None:
    shown: dict[str, bytes] = {}
    with editing(account, environment=environment(account)) as terminal:
        terminal.booted()
        for line in (
            *("key_manager setup", *answers_to_setup(servers)),
            "key_manager rekey -key_tag second",
            *("key_manager rekey -manual", PASSPHRASE, OTHER_PASSPHRASE),
            *(WEAK_PASSPHRASE, WEAK_PASSPHRASE, PASSPHRASE, PASSPHRASE),
            *("reboot", "key_manager query", "key_manager restore -all", "key_manager show"),
            *("disk encrypt show", "options", "sysconfig -r", "rdfile /etc/messages", "history"),
        ):
            terminal.enter(line)
        terminal.enter("key_manager rekey -manual")
        terminal.type(f"{WEAK_PASSPHRASE}\x03")
        terminal.wait_for_prompt()
        shown |= visible(terminal.pid)
        terminal.type("man key_manager\r")
        terminal.shows("PAGED")
        paging = visible(terminal.pid)
        assert any(b"pager\0" in data for where, data in paging.items() if "cmdline" in where)
        terminal.type("\r")
        terminal.wait_for_prompt()
        assert terminal.leave() == 0

    shown |= paging | on_screen(terminal.seen)
    assert b"New passphrase accepted" in shown["read"]
    assert b"key_manager rekey -manual" in account.history.read_bytes()
    assert is_nowhere(made(servers, 3), tmp_path, shown)


def test_a_long_script(tmp_path: Path, servers: list[KeyServer], account: Account) -> None:
    setup = answers_to_setup(servers, passphrases=(OTHER_PASSPHRASE, PASSPHRASE) * 2)
    with account.pipe("-x", environment=environment(account)) as child:
        for line in (
            *("key_manager rekey -manual", PASSPHRASE, PASSPHRASE),
            *("key_manager rekye -manual", PASSPHRASE, PASSPHRASE),
            *("key_manager setup", *setup[:-1], PASSPHRASE, PASSPHRASE, "yes"),
            *("key_manager rekey", "reboot", "key_manager restore -all", "key_manager query"),
            *("man key_manager", "rdfile /etc/messages", "echo that was all"),
        ):
            child.sendline(line)
        child.expect_exact("that was all")
        transcript = child.before or ""
        shown = visible(child.proc.pid)

    assert "New passphrase accepted" in transcript
    assert is_nowhere(made(servers, 2), tmp_path, shown | on_screen(transcript))


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGKILL], ids=lambda each: each.name)
def test_a_run_that_is_killed(
    number: signal.Signals, tmp_path: Path, servers: list[KeyServer], account: Account
) -> None:
    program = (*UNLIMITED, PROGRAM)
    with account.terminal(program=program, environment=environment(account)) as terminal:
        terminal.booted()
        for line in ("key_manager setup", *answers_to_setup(servers), "key_manager rekey -manual"):
            terminal.enter(line)
        terminal.enter(PASSPHRASE)
        terminal.type(PASSPHRASE)
        os.kill(terminal.pid, number)
        assert terminal.end() == -number

    assert is_nowhere(made(servers, 1), tmp_path, on_screen(terminal.seen))


def dumps_core(account: Account, number: signal.Signals, *program: str) -> bool:
    """Return whether ``program`` leaves a core file when ``number`` ends it."""
    program = (*UNLIMITED, *program)
    with account.terminal(program=program, environment=environment(account)) as terminal:
        terminal.child.expect(r"filer1>|listens|>>>")
        os.kill(terminal.pid, number)
        assert terminal.end() == -number
        assert terminal.child.status is not None
        return os.WCOREDUMP(terminal.child.status)


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV], ids=lambda each: each.name)
def test_a_crash_leaves_no_core_file(number: signal.Signals, account: Account) -> None:
    key_server = (PROGRAM + "-keyserver", "--port", "0")
    for program in ((PROGRAM,), (PROGRAM, "--demo"), key_server):
        assert not dumps_core(account, number, *program)
    assert not list(account.home.glob("*core*"))
    if not dumps_core(account, number, sys.executable, "-q"):
        pytest.skip("this machine writes no core file for any program")


def test_a_secret_is_found_however_it_is_written(tmp_path: Path) -> None:
    from base64 import b64encode

    secret = PASSPHRASE.encode()
    looked_for = Secrets([secret])
    for written in (
        *(secret, secret.hex().encode(), PASSPHRASE.encode("utf-16"), repr(PASSPHRASE).encode()),
        *(b64encode(b"x" * before + secret + b"yz") for before in range(9)),
        *(PASSPHRASE.encode(encoding) for encoding in ("utf-16-be", "utf-16-le", "utf-8-sig")),
    ):
        assert looked_for.are_in(b"before" + written + b"after")
    assert not looked_for.are_in(secret[1:] + secret[:-1])
    assert all(len(form) >= len(secret) for form in forms(secret))
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.seek(2**30)
        file.write(secret)
    named = tmp_path / PASSPHRASE
    named.touch()
    assert looked_for.holders([sparse, named, Path(__file__)]) == [sparse, named]
    assert len(contents(sparse)) < 2**20


HOOKS = "authority, key_servers, pytest_configure, watched"

LEAKING = """
import subprocess, sys
from secrets import token_hex
from tests.kit.pairs import (new_pair, put)

def test_leak(key_servers, tmp_path):
    (server,) = key_servers(1)
    secret = token_hex(12)
    put(server, new_pair(key=secret))
    program = [sys.executable, "-c", ""]
    if "file" in {ways}: (tmp_path / "kept").write_text("key=" + secret.encode().hex())
    if "name" in {ways}: (tmp_path / secret).touch()
    if "output" in {ways}: print("the key is", secret)
    if "argument" in {ways}: subprocess.run([*program, secret])
"""


@pytest.mark.parametrize(
    ("workers", "ways", "told"),
    [
        (
            1,
            ["file", "name", "output", "argument"],
            [
                "the name of a file in (.*)/test_leak0",
                r"the report of test_leaking\.py::test_leak",
                "the start of a program",
                "(.*)/test_leak0/kept",
            ],
        ),
        (0, [], []),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, list) else None,
)
def test_a_run_of_tests_that_leaks_fails(workers: int, ways: list[str], told: list[str]) -> None:
    with TemporaryDirectory() as directory:
        leaking = Path(directory, "test_leaking.py")
        leaking.write_text(LEAKING.format(ways=ways), encoding="utf-8")
        hooks = leaking.with_name("conftest.py")
        hooks.write_text(f"from tests.conftest import {HOOKS}\n", encoding="utf-8")
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", "-n", str(workers), "--rootdir", directory, leaking],
            env={"PATH": os.defpath, "PYTHONPATH": str(CHECKOUT), "TMPDIR": directory},
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )

    assert "1 passed" in ended.stdout
    assert re.search("search for secrets: .*1 secrets", ended.stdout)
    assert ended.returncode == bool(told)
    places = sorted(re.findall("^a secret is in (.*)$", ended.stdout, re.M), reverse=True)
    assert len(places) == len(told)
    assert all(map(re.fullmatch, sorted(told, reverse=True), places))
    assert not re.search(r"\b[0-9a-f]{24}\b", ended.stdout)


def test_every_start_of_a_program_is_searched(tmp_path_factory: pytest.TempPathFactory) -> None:
    argument, in_environment, at_a_terminal = (os.urandom(12).hex() for _ in range(3))
    program = ["/bin/sh", "-c", "exit 0"]
    subprocess.run([*program, argument], check=True)
    subprocess.run(program, env={"KEY": in_environment}, check=True)
    pexpect.spawn(program[0], [*program[1:], at_a_terminal]).wait()

    recorded = contents(tmp_path_factory.getbasetemp() / STARTED)
    for secret in (argument, in_environment, at_a_terminal):
        assert secret.encode() in recorded
