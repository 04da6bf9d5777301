"""source: the commands in a file of the filer run as those of a script do."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from filer.commands import Command, SessionState, Subcommand
from filer.keyserver.server import KeyServer
from filer.running.interrupt import Interrupt
from filer.shell.plugins import Commands
from filer.shell.session import Session
from filer.shell.signals import Ended, Signals
from tests.kit import manual
from tests.kit.console import PASSPHRASE, Account, having_added, prepare
from tests.kit.house import House
from tests.kit.manual import Build

build = manual.build

UNKNOWN = "{} not found.  Type '?' for a list of commands"


def write(account: Account, name: str, *lines: str) -> str:
    """Write a file of the filer, and return its path there."""
    file = account.root / "mroot" / "etc" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return f"/etc/{name}"


def test_each_line_runs_and_a_failure_has_its_place(account: Account) -> None:
    prepare(account, [])
    path = write(account, "runbook", "hostname", "nonsense", "# a comment", "hostname")

    ended = account.commands(f"source {path}", "hostname")

    assert ended.out == "filer1\n" * 3
    assert ended.err == f"{path}:2: {UNKNOWN.format('nonsense')}\n"
    assert ended.status == 1


def test_the_commands_can_be_printed_with_their_prompt(account: Account) -> None:
    prepare(account, [])
    path = write(account, "runbook", "priv set advanced", "hostname")

    ended = account.script(f"source -v {path}", "priv set", "hostname", echo=True)

    assert "filer1> priv set advanced\n" in ended.out
    assert ended.out.count("filer1*> hostname\nfiler1\n") == 1
    assert ended.out.endswith("filer1> hostname\nfiler1\n")


def test_the_file_answers_the_questions_and_shows_no_secret(
    tmp_path: Path, servers: list[KeyServer]
) -> None:
    account = having_added(servers, tmp_path / "home")
    path = write(account, "rekey", "key_manager rekey -manual", PASSPHRASE, PASSPHRASE, "hostname")

    ended = account.script(f"source -v {path}", "hostname", echo=True)

    assert (ended.err, ended.status) == ("", 0)
    assert ended.out.count("Please reenter the new passphrase: \n") == 1
    assert ended.out.endswith("filer1> hostname\nfiler1\nfiler1> hostname\nfiler1\n")
    assert PASSPHRASE not in ended.out


def test_the_answers_to_a_command_that_fails_are_passed_over(account: Account) -> None:
    prepare(account, [])
    path = write(account, "rekey", "key_manager rekey -manual", PASSPHRASE, PASSPHRASE, "hostname")

    ended = account.commands(f"source {path}")

    assert (ended.out, ended.status) == ("filer1\n", 1)
    assert ended.err == f"{path}:1: No key servers are registered.\n"


def test_the_end_of_the_file_ends_a_dialogue(tmp_path: Path, servers: list[KeyServer]) -> None:
    account = having_added(servers, tmp_path / "home")
    path = write(account, "rekey", "key_manager rekey -manual", PASSPHRASE)

    ended = account.script(f"source {path}", "hostname")

    assert ended.out.endswith("filer1\n")
    assert ended.err == f"{path}:1: key_manager: end of input\n"


@pytest.mark.parametrize("deep", [False, True])
def test_answers_that_follow_the_line_that_ran_the_file_are_passed_over(
    tmp_path: Path, servers: list[KeyServer], deep: bool
) -> None:
    account = having_added(servers, tmp_path / "home")
    path = write(account, "rekey", "hostname", "key_manager rekey -manual")
    if deep:
        path = write(account, "outer", f"source {path}")

    ended = account.script(f"source {path}", "Secret", "Other", "hostname", echo=True)

    assert ended.out.endswith("filer1> hostname\nfiler1\n")
    assert ended.err == "/etc/rekey:2: key_manager: end of input\n" or deep
    for secret in ("Secret", "Other"):
        assert secret not in ended.out + ended.err


def test_answers_that_may_follow_a_rekey_at_the_end_of_a_file_are_passed_over(
    account: Account,
) -> None:
    prepare(account, [])
    path = write(account, "rekey", "key_manager rekey")

    ended = account.script(f"source {path}", PASSPHRASE, PASSPHRASE, "hostname", echo=True)

    assert ended.out.endswith("filer1> hostname\nfiler1\n")
    assert "not found" not in ended.err


@pytest.mark.parametrize("deep", [False, True])
def test_exit_on_error_ends_the_file_too(account: Account, deep: bool) -> None:
    prepare(account, [])
    path = write(account, "runbook", "hostname", "nonsense", "hostname")
    if deep:
        path = write(account, "outer", f"source {path}; hostname", "hostname")

    ended = account.run("-e", "-c", f"source {path}", "-c", "hostname")

    assert ended.out == "filer1\n"
    assert ended.err.endswith(f"/etc/runbook:2: {UNKNOWN.format('nonsense')}\n")
    assert ended.status == 1
    assert account.run("-c", f"source {path}").out == "filer1\n" * (4 if deep else 2)


def test_what_is_no_file_of_commands_is_refused(account: Account) -> None:
    prepare(account, [])
    write(account, "passphrase.key", "-----BEGIN PRIVATE KEY-----")
    reasons = {
        "/etc/absent": "No such file or directory",
        "runbook": "not in /mroot or /etc of the filer",
        "/etc/passphrase.key": "holds a private key",
    }

    ended = account.commands(*(f"source {path}" for path in reasons))

    assert ended.err == "".join(f"source: {path}: {why}\n" for path, why in reasons.items())
    assert (ended.out, ended.status) == ("", 1)


def test_files_that_name_each_other_for_ever_are_refused(account: Account) -> None:
    prepare(account, [])
    path = write(account, "loop", "source /etc/loop")

    ended = account.commands(f"source {path}")

    assert ended.err.endswith("source: more than 8 files are open, each of which names the next\n")
    assert ended.err.count("\n") == 1


def test_a_file_that_leaves_takes_the_console_along(account: Account) -> None:
    prepare(account, [])
    path = write(account, "leave", "nonsense", "halt", "hostname")

    ended = account.commands(f"source {path}", "hostname")

    assert "filer1" not in ended.out
    assert ended.status == 1


def test_results_and_failures_are_those_of_one_object(account: Account) -> None:
    prepare(account, [])
    path = write(account, "runbook", "hostname", "key_manager add")

    ended = account.run("--format", "json", "-c", f"source {path}")

    _, told = map(json.loads, ended.out.splitlines())
    assert (told["command"], told["status"]) == ("source", 1)
    assert told["results"] == [{"type": "hostname", "hostname": "filer1"}]
    assert [error["kind"] for error in told["errors"]] == ["usage"]
    assert told["errors"][0]["message"].startswith(f"{path}:2: key_manager: incomplete")


@pytest.mark.parametrize("last", ["halt", "reboot", "exit", "version"])
def test_an_object_of_a_file_with_a_failure_has_status_1_however_it_ends(
    account: Account, last: str
) -> None:
    prepare(account, [])
    path = write(account, "runbook", "nonsense", last)

    ended = account.run("--format", "json", "-c", f"source {path}")

    (told,) = (each for each in map(json.loads, ended.out.splitlines()) if "command" in each)
    assert (told["status"], len(told["errors"]), ended.status) == (1, 1, 1)


def test_a_replay_does_not_take_a_consent_from_a_file(account: Account) -> None:
    prepare(account, [])
    inner = write(account, "inner", "disk encrypt sanitize 0c.00.3", "sanitize disk")
    outer = write(account, "outer", f"source {inner}")
    cast = account.home / "a.cast"
    assert account.run("--record", cast, input=f"source {outer}\n").status == 0

    replayed = account.run("--replay", cast)

    assert replayed.status == 1
    assert "a recording cannot consent to a loss of data" in replayed.out
    assert account.run("--replay", cast, "--allow-data-loss").status == 0


# Ctrl-C and signals, while a command of the file runs.


def session_of(
    build: Build, during: Callable[[Session], None], signals: Signals | None = None
) -> tuple[House, Session]:
    """Return a session that has a command ``during``, and a file with it and hostname."""
    house = build()
    (house.root / "mroot" / "etc" / "runbook").write_text("during\nhostname\n")
    commands = dict(Commands(pytest.fail))
    state = SessionState(end_if_asked=signals.end_if_asked if signals else lambda: None)
    session = Session(house.filer, commands, house.screen, state=state)
    run = Subcommand("during", lambda _call: during(session))
    commands["during"] = Command("during", "do it", run)
    return house, session


def test_ctrl_c_ends_the_file(build: Build) -> None:
    house, session = session_of(build, lambda session: session.filer.interrupt.request())

    assert session.execute("source /etc/runbook") == 1
    assert house.screen.out == ""
    assert house.screen.err == "source: interrupted\n"
    assert session.execute("hostname") == 0


def test_a_signal_ends_the_session(build: Build) -> None:
    signals = Signals(Interrupt())
    house, session = session_of(build, lambda _: signals.deliver(signal.SIGTERM), signals)

    with pytest.raises(Ended):
        session.execute("source /etc/runbook")
    assert house.screen.out == ""
