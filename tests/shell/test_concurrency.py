"""Concurrent starts, signals and closed pipes at any moment: a clean end, and no partial change.

The installed program runs beside real key servers, and receives a signal at a random moment of a
script that registers, rekeys, locks and removes. Afterwards the root must power on with all disks
open and no key lost.

Two moments are tried for each signal; two hundred with FILER_TEST_ALL=1 in the environment.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from filer.keyserver.server import KeyServer
from filer.running.interrupt import Interrupt, Interrupted
from tests.kit.console import DISKS, PATIENCE, PROGRAM, SMALL_SHELF, Account, beside
from tests.kit.faulty import check_that_no_key_is_lost_by
from tests.kit.hostile import silenced
from tests.kit.house import House
from tests.kit.points import ALL

MOMENTS = 200 if ALL else 2
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
MANY_DISKS = 60

Child = subprocess.Popen[bytes]


@contextmanager
def started(
    account: Account, *arguments: str, program: Sequence[str] = (PROGRAM,)
) -> Iterator[Child]:
    """Start the program with pipes; it is gone when the context ends."""
    with subprocess.Popen(
        [*program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=account.home,
        env=account.environment(),
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def script(servers: Sequence[KeyServer]) -> bytes:
    """Return commands that change the registration, the keys and the disks."""
    first, second = (f"-key_server {server.address}" for server in servers)
    lines = (
        f"key_manager add {first} {second}",
        "key_manager rekey",
        "disk encrypt lock *",
        f"key_manager remove {second}",
        f"key_manager add {second}",
        "key_manager rekey -key_tag second",
        "disk encrypt rekey 0x0 0c.00.3",
        "key_manager restore -all",
    )
    return "".join(f"{line}\n" for line in lines).encode()


def new_account(servers: Sequence[KeyServer], directory: Path, number: int) -> Account:
    """Create a filer whose keys are separate from those of the others."""
    return beside(servers, directory / str(number), f"[system]\nsystem_id = {1000 + number}\n")


def check_root(account: Account, servers: Sequence[KeyServer]) -> None:
    """Check that the root is free, boots with every disk, and has no partial change."""
    with House(account.root) as house:
        told = house.boot()
        assert told.warnings == []
        assert [disk.name for disk in house.disks if disk.locked or disk.failures] == []
        assert len(house.disks) == DISKS
        assert house.filer.panics.in_a_row == 0
        check_that_no_key_is_lost_by(house, servers)
    assert [path for path in account.root.rglob("*") if path.name.startswith(".new")] == []
    assert len(list((account.root / "var").glob("kmip.*"))) <= 1


def caught_signals(child: Child) -> set[int] | None:
    """Return the signals that a process catches; None if it is gone."""
    try:
        text = Path(f"/proc/{child.pid}/status").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return None
    found = re.search(r"^SigCgt:\s*([0-9a-f]+)$", text, re.MULTILINE)
    assert found is not None
    return {number for number in SIGNALS if int(found[1], 16) >> (number - 1) & 1}


def wait_until_it_is_ours(child: Child) -> None:
    """Wait until the program has installed its signal handlers.

    We cannot change what Python prints when Ctrl-C arrives before the first line of the program.
    """
    deadline = time.monotonic() + PATIENCE
    python_had_ctrl_c = False
    while (caught := caught_signals(child)) is not None and time.monotonic() < deadline:
        if signal.SIGTERM in caught or (python_had_ctrl_c and signal.SIGINT not in caught):
            return
        python_had_ctrl_c = signal.SIGINT in caught
        time.sleep(0.0005)


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="needs /proc to see a signal taken over"
)


# Two starts on one root.


@pytest.mark.parametrize("new", [True, False], ids=["new root", "old root"])
def test_of_two_starts_at_the_same_time_one_wins_and_is_named_to_the_other(
    account: Account, new: bool
) -> None:
    if new:
        account.settings.unlink()
        account.root.rmdir()
    for _ in range(1 if new else 3):
        with started(account) as one, started(account) as other:
            deadline = time.monotonic() + PATIENCE
            while one.poll() is None and other.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
            loser, winner = (one, other) if one.poll() is not None else (other, one)

            said = f"filer: {account.root} is in use by process {winner.pid}\n".encode()
            assert (*loser.communicate(), loser.returncode) == (b"", said, 2)
            assert winner.communicate(b"hostname\n") == (b"filer1\n", b"")
            assert winner.returncode == 0


def test_a_number_left_by_a_crash_is_not_taken_for_the_holder(account: Account) -> None:
    assert account.run().status == 0
    with House(account.root) as house, subprocess.Popen(["true"]) as gone:
        gone.wait()
        (house.root / "power").write_text(f"{gone.pid}\n")

        ended = account.commands("hostname")

    assert ended.err == f"filer: {account.root} is in use by process ?\n"
    assert ended.status == 2


def test_a_second_key_server_on_one_store_is_refused(account: Account) -> None:
    arguments = ("-m", "filer.keyserver", "--dir", str(account.home / "keys"), "--port", "0")
    with started(account, *arguments, program=(sys.executable,)) as first:
        assert first.stdout is not None
        assert first.stdout.readline().startswith(b"Key server 127.0.0.1 listens on port ")

        second = account.run(*arguments, program=(sys.executable,))
        elsewhere = account.home / "other keys"
        with started(
            account, *arguments[:3], str(elsewhere), *arguments[4:], program=(sys.executable,)
        ) as third:
            assert third.stdout is not None
            assert third.stdout.readline().startswith(b"Key server 127.0.0.1 listens on port ")

    store = account.home / "keys" / "127.0.0.1.sqlite"
    assert second.err == f"filer-keyserver: {store}: in use by another key server\n"
    assert (second.out, second.status) == ("", 1)


# Signals at any moment.


@pytest.mark.sampled
@needs_proc
def test_a_signal_at_any_moment_leaves_nothing_half_made(
    tmp_path: Path, servers: list[KeyServer]
) -> None:
    account = new_account(servers, tmp_path, 0)
    with started(account) as child:
        wait_until_it_is_ours(child)
        begun = time.monotonic()
        out, err = child.communicate(script(servers), timeout=PATIENCE)
        duration = time.monotonic() - begun
    assert (err, child.returncode) == (b"", 0)
    assert out.count(b"4 successes") == 3
    check_root(account, servers)

    randomness = random.Random(1)
    for moment, number in enumerate(SIGNALS * MOMENTS, 1):
        account = new_account(servers, tmp_path, moment)
        with started(account) as child:
            assert child.stdin is not None
            child.stdin.write(script(servers))
            child.stdin.flush()
            wait_until_it_is_ours(child)
            time.sleep(randomness.uniform(0, duration))
            child.send_signal(number)
            out, err = child.communicate(timeout=PATIENCE)

        assert child.returncode in (0, 128 + number, -number), err
        assert b"Traceback" not in err
        assert b"internal error" not in err
        assert err.count(b"\n") <= 1
        check_root(account, servers)


@pytest.mark.sampled
@needs_proc
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_it_starts_ends_it_silently(
    account: Account, number: signal.Signals
) -> None:
    randomness = random.Random(number)
    for _ in range(MOMENTS):
        with started(account) as child:
            wait_until_it_is_ours(child)
            time.sleep(randomness.uniform(0, 0.15))
            child.send_signal(number)

            assert child.communicate(timeout=PATIENCE) == (b"", b"")
            assert child.returncode in (128 + number, -number)
    assert account.commands("hostname") == ("filer1\n", "", 0)


@pytest.mark.sampled
@needs_proc
def test_a_signal_while_it_ends_is_no_traceback(account: Account) -> None:
    randomness = random.Random(1)
    for _ in range(MOMENTS):
        with started(account, "-c", "hostname") as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"filer1\n"
            time.sleep(randomness.uniform(0, 0.02))
            child.send_signal(signal.SIGINT)

            assert child.communicate(timeout=PATIENCE) == (b"", b"")
            assert child.returncode in (0, 128 + signal.SIGINT, -signal.SIGINT)


def test_a_signal_that_the_parent_ignores_stays_ignored(account: Account) -> None:
    with started(account, "-c", f"trap '' HUP; exec '{PROGRAM}'", program=("sh",)) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"hostname\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"filer1\n"
        child.send_signal(signal.SIGHUP)

        assert child.communicate(b"hostname\n", timeout=PATIENCE) == (b"filer1\n", b"")
        assert child.returncode == 0


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_the_wait_for_a_writer_of_a_fifo(
    account: Account, number: signal.Signals
) -> None:
    os.mkfifo(account.home / "fifo")
    with started(account, "fifo") as child:
        while (caught := caught_signals(child)) is not None and signal.SIGTERM not in caught:
            time.sleep(0.005)
        child.send_signal(number)

        assert child.communicate(timeout=PATIENCE) == (b"", b"")
        assert child.returncode == 128 + number


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_at_a_question_of_a_script_ends_it(
    unregistered: Account, servers: list[KeyServer], number: signal.Signals
) -> None:
    with unregistered.pipe() as child:
        child.sendline("key_manager setup")
        child.expect_exact("to quit: ")
        child.kill(number)

        assert child.proc.wait(PATIENCE) == 128 + number
    assert unregistered.commands("key_manager show").out == "No key servers are registered.\n"


def test_a_request_for_good_stops_all_that_follows() -> None:
    interrupt = Interrupt()
    interrupt.request()
    interrupt.clear()
    interrupt.check()
    interrupt.request(for_good=True)
    for _ in range(2):
        interrupt.clear()
        assert interrupt.requested
        with pytest.raises(Interrupted):
            interrupt.check()


def test_a_stopped_program_goes_on_where_it_was(
    unregistered: Account, servers: list[KeyServer]
) -> None:
    with started(unregistered) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(script(servers))
        child.stdin.flush()
        assert child.stdout.readline().startswith(b"Found client")
        for _ in range(3):
            child.send_signal(signal.SIGSTOP)
            time.sleep(0.02)
            child.send_signal(signal.SIGCONT)
            time.sleep(0.05)
        out, err = child.communicate(timeout=PATIENCE)

    assert (err, child.returncode) == (b"", 0)
    assert out.count(b"4 successes") == 3
    check_root(unregistered, servers)


# Pipes that close.


@pytest.mark.parametrize("lines", [0, 12])
def test_a_reader_that_leaves_ends_a_script_with_nothing_half_made(
    unregistered: Account, servers: list[KeyServer], lines: int
) -> None:
    with started(unregistered) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdin.write(script(servers))
        child.stdin.flush()
        for _ in range(lines):
            child.stdout.readline()
        child.stdout.close()

        assert child.wait(PATIENCE) == 128 + signal.SIGPIPE
        assert child.stderr.read() == b""
    check_root(unregistered, servers)


def test_errors_that_were_never_open_cost_only_what_is_printed(
    unregistered: Account, servers: list[KeyServer]
) -> None:
    ended = unregistered.run("-c", f"'{PROGRAM}' 2>&-", program=("sh",), input=script(servers))

    assert ended.status == 0
    check_root(unregistered, servers)
    assert "  second " in unregistered.commands("key_manager query").out.replace("\n", "  ")


def test_an_output_that_was_never_open_ends_the_script_and_loses_nothing(
    unregistered: Account, servers: list[KeyServer]
) -> None:
    ended = unregistered.run("-c", f"'{PROGRAM}' >&-", program=("sh",), input=script(servers))

    lost = "filer: cannot write standard output: Bad file descriptor\n"
    assert (ended.err, ended.status) == (lost, 1)
    check_root(unregistered, servers)


# A person.


def test_ctrl_c_stops_a_rekey_of_many_disks_between_two_and_reports(
    unregistered: Account, servers: list[KeyServer]
) -> None:
    many = SMALL_SHELF.replace(f"disks = {DISKS}", f"disks = {MANY_DISKS}")
    settings = unregistered.settings.read_text(encoding="utf-8").replace(SMALL_SHELF, many)
    unregistered.settings.write_text(settings, encoding="utf-8")
    add = " ".join(f"-key_server {server.address}" for server in servers)
    disk = unregistered.root / "shelf" / "0c.00.2.sed"
    with unregistered.terminal() as terminal:
        terminal.booted().enter(f"key_manager add {add}")
        said = ""
        for _ in range(10):  # on a busy machine the rekey may be over before the key is typed
            before = disk.stat().st_mtime_ns
            terminal.type("key_manager rekey; hostname\r")
            deadline = time.monotonic() + PATIENCE
            while disk.stat().st_mtime_ns == before:
                assert time.monotonic() < deadline, "no rekey"
                time.sleep(0.0005)
            terminal.type("\x03")
            said = terminal.wait_for_prompt()
            assert terminal.prompt == "filer1>"
            if "interrupted" in said:
                break
            terminal.enter("disk encrypt rekey 0x0 *")

        told = re.search(
            r"Completed rekey on (\d+) disks: (\d+) successes, 0 failures, including 0 unknown "
            r"key and 0 authentication failures\.\nrekey: interrupted; (\d+) disks were not "
            r"reached\n$",
            said,
        )
        assert told is not None, said
        done, succeeded, left = map(int, told.groups())
        assert 3 <= done == succeeded < MANY_DISKS
        assert done + left == MANY_DISKS
        table = terminal.enter("disk encrypt show").splitlines()[1:]
        keys = [line.split()[1] for line in table]
        assert keys.count("0x0") == left
        assert set(keys[done:]) == {"0x0"}
        assert "filer1\n" not in said
        assert f"{MANY_DISKS} successes, 0 failures" in terminal.enter("key_manager rekey")
        assert terminal.leave() == 0
    with House(unregistered.root) as house:
        house.boot()
        check_that_no_key_is_lost_by(house, servers)


def registered(servers: Sequence[KeyServer], home: Path, settings: str = "") -> Account:
    account = beside(servers, home, settings)
    add = f"key_manager add -key_server {servers[0].address}"
    assert account.commands(add).status == 0
    return account


def test_ctrl_c_ends_the_wait_of_kmip_init_and_the_boot_goes_on(
    tmp_path: Path, servers: list[KeyServer]
) -> None:
    account = registered(servers, tmp_path / "home", "init_maxwait = 3600.0\n")
    with silenced(servers[0]) as listener, account.terminal() as terminal:
        listener.accept()[0].close()
        terminal.type("\x03")

        assert "A T T E N T I O N" in terminal.wait_for_prompt()
        assert terminal.prompt == "filer1>"
        assert terminal.enter("hostname") == "filer1\n"


def test_ctrl_c_during_a_command_drops_the_rest_of_the_line(
    tmp_path: Path, servers: list[KeyServer]
) -> None:
    account = registered(servers, tmp_path / "home")
    with account.terminal() as terminal:
        terminal.booted()
        with silenced(servers[0]) as listener:
            terminal.type("key_manager status; version; version\r")
            with closing(listener.accept()[0]):
                terminal.type("\x03")
                said = terminal.wait_for_prompt()

        assert said.endswith("key_manager: interrupted\n")
        assert "NetApp Release" not in said
        assert terminal.enter("hostname") == "filer1\n"


def test_ctrl_c_at_a_late_question_of_setup_keeps_what_was_said_to_be_done(
    unregistered: Account, servers: list[KeyServer]
) -> None:
    with unregistered.terminal() as terminal:
        said = terminal.booted().enter("key_manager setup")
        for answer in (servers[0].address, "q", "", "", "yes"):
            said += terminal.enter(answer)
        assert "Registration complete." in said
        assert terminal.prompt == "Would you like to use a generated passphrase? {yes}"
        terminal.type("\x03")

        assert terminal.wait_for_prompt().endswith("key_manager: interrupted\n")
        assert terminal.enter("key_manager show") == f"{servers[0].address}\n"
        assert terminal.enter("disk encrypt show").count(" 0x0 ") == DISKS


@pytest.mark.parametrize("trap", ["trap '' INT", "trap 'echo CAUGHT' INT", ":"])
def test_ctrl_c_at_the_pager_is_the_pagers_and_leads_back_to_the_prompt(
    account: Account, trap: str
) -> None:
    pager = account.home / "pager"
    pager.write_text(f"#!/bin/sh\n{trap}\ncat > /dev/null\necho PAGING\nread line < /dev/tty\n")
    pager.chmod(0o700)
    with account.terminal(environment={"MANPAGER": str(pager)}) as terminal:
        terminal.booted().type("man key_manager\r")
        terminal.shows("PAGING")
        terminal.type("\x03")
        if "''" in trap:
            terminal.type("\r")
        terminal.wait_for_prompt()

        assert terminal.prompt.removeprefix("^C") == "filer1>"
        assert terminal.enter("hostname") == "filer1\n"
        assert "Traceback" not in terminal.seen


def test_ctrl_c_again_and_again_never_leaves_the_console(account: Account) -> None:
    with account.terminal() as terminal:
        terminal.booted()
        for _ in range(20):
            terminal.type("sysconfig -r; hostname\r\x03")
        terminal.type("\rlogger done\r")
        terminal.wait_for_prompt()
        terminal.type("exit\r")

        assert terminal.end() == 0
        assert "Traceback" not in terminal.seen
        assert "internal error" not in terminal.seen


def test_a_terminal_that_was_stopped_or_resized_keeps_its_line(account: Account) -> None:
    with account.terminal() as terminal:
        terminal.booted().type("host")
        terminal.shows("host")
        terminal.child.kill(signal.SIGSTOP)
        terminal.type("na")
        time.sleep(0.02)
        terminal.child.kill(signal.SIGCONT)
        terminal.child.setwinsize(24, 20)
        terminal.type("me\r")

        # A line redrawn for the new width looks like the end of one and a new prompt.
        terminal.shows("filer1\r\n")
        terminal.wait_for_prompt()
        listed = terminal.enter("?").splitlines()
        assert "key_manager" in listed
        assert max(map(len, listed)) <= 20
        assert terminal.leave() == 0
