"""filer --check: every wrong line of runbooks and recordings, and nothing is started."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filer.keyserver.server import KeyServer
from filer.shell.check import Wrong, check
from filer.shell.line.length import LONGEST
from filer.shell.line.parsing import would_run
from filer.shell.plugins import Commands
from tests.kit.console import PASSPHRASE, WEAK_PASSPHRASE, Account, Outcome

COMMANDS = Commands(pytest.fail)
ANSWERS = ("127.0.0.2", "", "", "key tag", "no", PASSPHRASE, PASSPHRASE)
"""To `key_manager setup`: an address, no other, the port, a tag, and so on."""

UNKNOWN = "{} not found.  Type '?' for a list of commands"


def wrong(*lines: str) -> list[Wrong]:
    return list(check(COMMANDS, "".join(f"{line}\n" for line in lines).encode()))


def places(*lines: str) -> list[tuple[int, int]]:
    return [(each.line, each.column) for each in wrong(*lines)]


@pytest.fixture
def runbook(account: Account) -> Path:
    """Give the name of a runbook; it is not written yet."""
    return account.home / "runbook"


# What is wrong, and where.


@pytest.mark.parametrize(
    ("line", "column", "message"),
    [
        ("  hostnam", 3, UNKNOWN.format("hostnam")),
        ("version; hostnam x; date", 10, UNKNOWN.format("hostnam")),
        ("date; logger 'open", 14, "unclosed quote"),
        ("key_manager add", 16, "key_manager: incomplete; expected -key_server"),
        (
            "key_manager add -key_servr 127.0.0.2",
            17,
            'key_manager: word 3: unexpected "-key_servr"; did you mean "-key_server"?',
        ),
        ("hostname", 0, ""),
        ("# a comment", 0, ""),
        ("", 0, ""),
    ],
)
def test_a_wrong_line_is_told_with_its_place_and_the_words_of_the_console(
    line: str, column: int, message: str
) -> None:
    expected = [(2, column, message)] if column else []

    assert wrong("date", line, "version") == expected


def test_each_wrong_command_of_a_line_is_told() -> None:
    assert places("nonsense; hostname; disk shwo") == [(1, 1), (1, 26)]


def test_a_place_is_that_within_a_line_that_is_continued() -> None:
    assert places("date", "key_manager \\", "  add \\", "  -key_servr x") == [(4, 3)]


def test_a_line_that_is_too_long_is_told() -> None:
    (told,) = wrong("date", "x" * (LONGEST + 1))

    assert (told.line, told.column, told.complaint.kind) == (2, 1, "syntax")


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_files_of_every_editor_are_read(ending: str) -> None:
    text = "\ufeff" + ending.join(["hostname", "nonsense", "", "nonsense"])

    assert [each.line for each in check(COMMANDS, text.encode())] == [2, 4]


@given(st.binary(max_size=60))
def test_any_bytes_are_judged(data: bytes) -> None:
    for each in check(COMMANDS, data):
        assert each.line > 0
        assert each.column > 0
        assert str(each.complaint).isprintable()


@given(st.lists(st.sampled_from(["hostname", "date; version", "nonsense", "priv set x", "'", ""])))
def test_a_line_is_wrong_if_the_console_would_refuse_it(lines: Sequence[str]) -> None:
    told = [
        number for number, line in enumerate(lines, 1) if line and not would_run(COMMANDS, line)
    ]

    assert [each.line for each in wrong(*lines)] == told


# Answers.


def test_the_answers_to_a_command_are_passed_over_and_no_more() -> None:
    lines = ("key_manager rekey -manual", PASSPHRASE, PASSPHRASE, "nonsense")

    assert places(*lines) == [(4, 1)]


def test_the_answers_to_setup_end_at_the_next_command() -> None:
    lines = ("key_manager setup", *ANSWERS, "hostname", "nonsense")

    assert places(*lines) == [(len(lines), 1)]


def test_a_wrong_command_of_several_words_ends_the_answers_to_setup() -> None:
    lines = ("key_manager setup", *ANSWERS[:3], "key_manger status", "hostnam")

    assert places(*lines) == [(5, 1), (6, 1)]


@pytest.mark.parametrize("command", ["key_manager rekey -manul", "key_manger rekey -manual"])
def test_the_answers_to_a_misspelt_command_are_passed_over(command: str) -> None:
    assert [each.line for each in wrong(command, PASSPHRASE, WEAK_PASSPHRASE)] == [1]


def test_a_command_may_follow_a_question_that_is_left_unanswered() -> None:
    assert places("disk encrypt destroy 0c.00.5", "hostname", "nonsense") == [(3, 1)]


def test_a_passphrase_in_the_wrong_place_is_not_quoted() -> None:
    for line in (PASSPHRASE, f"hostname {PASSPHRASE}"):
        (told,) = wrong("date", line)
        assert PASSPHRASE not in str(told.complaint)
        assert PASSPHRASE not in json.dumps(dict(told.complaint.details))


# The program.


def check_with(account: Account, *arguments: str | Path, given: str = "") -> Outcome:
    return account.run("--check", *arguments, input=given)


def test_a_runbook_without_a_wrong_line_is_silence(account: Account, runbook: Path) -> None:
    runbook.write_text("hostname\nkey_manager add -key_server 127.0.0.2\n")

    assert check_with(account, runbook) == ("", "", 0)
    assert [file.name for file in account.root.iterdir()] == ["filer.toml"]


def test_every_wrong_line_of_every_file_is_printed_as_editors_read_it(
    account: Account, runbook: Path
) -> None:
    runbook.write_text("hostname\n  nonsense\n")

    ended = check_with(account, runbook, "-", given="nonsense\n")

    assert ended.out.splitlines() == [
        f"{runbook}:2:3: {UNKNOWN.format('nonsense')}",
        f"-:1:1: {UNKNOWN.format('nonsense')}",
    ]
    assert (ended.err, ended.status) == ("", 1)


def test_json_has_the_same_and_what_was_expected(account: Account, runbook: Path) -> None:
    runbook.write_text("hostname\nkey_manager add\n")

    ended = check_with(account, "--format", "json", runbook)

    assert (json.loads(ended.out), ended.status) == (
        {
            "schema": "filer/1",
            "event": "wrong_line",
            "file": str(runbook),
            "line": 2,
            "column": 16,
            "kind": "usage",
            "message": "key_manager: incomplete; expected -key_server",
            "word": 3,
            "expected": ["-key_server"],
            "usage": ["key_manager add ( -key_server ipaddr )+"],
        },
        1,
    )


def test_a_file_that_cannot_be_read_is_refused_before_anything_is_printed(
    account: Account, runbook: Path
) -> None:
    runbook.write_text("nonsense\n")

    ended = check_with(account, runbook, account.home / "absent")

    assert (ended.out, ended.status) == ("", 2)
    assert ended.err == f"filer: cannot read {account.home}/absent: No such file or directory\n"


@pytest.mark.parametrize("others", [(), ("-c", "date"), ("-x", "f"), ("--demo", "f")])
def test_what_does_not_go_with_it_is_refused(account: Account, others: Sequence[str]) -> None:
    ended = check_with(account, *others)

    assert (ended.out, ended.status) == ("", 2)
    assert "--check" in ended.err.splitlines()[-1]


def test_a_reader_that_goes_away_ends_it_silently(account: Account, runbook: Path) -> None:
    runbook.write_text("nonsense\n" * 20_000)
    pipeline = '{ filer --check "$0"; echo $? >status; } | head -1'

    ended = account.run(runbook, program=("sh", "-c", pipeline))

    assert (ended.out, ended.err) == (f"{runbook}:1:1: {UNKNOWN.format('nonsense')}\n", "")
    assert (account.home / "status").read_text() == "141\n"


# Recordings.


@pytest.fixture
def recorded(account: Account, servers: list[KeyServer]) -> Path:
    """Give a recording of commands of which two are wrong."""
    cast = account.home / "told.cast"
    rekey = ("key_manager rekey -manual", PASSPHRASE, "x")
    lines = ("hostname", "nonsense", *rekey, "priv \\", "set x")
    account.run("--record", str(cast), input="".join(f"{line}\n" for line in lines))
    return cast


def test_a_recording_is_checked_by_what_was_typed(account: Account, recorded: Path) -> None:
    ended = check_with(account, recorded)

    marks = recorded.read_text().splitlines()
    numbers = [
        1 + next(index for index, mark in enumerate(marks) if f"filer1> {typed}" in mark)
        for typed in ("nonsense", "priv")
    ]
    assert [line.split(": ")[0] for line in ended.out.splitlines()] == [
        f"{recorded}:{numbers[0]}:1",
        f"{recorded}:{numbers[1]}:5",
    ]
    assert ended.status == 1


def test_a_line_that_is_hidden_in_a_recording_is_passed_over(account: Account) -> None:
    cast = account.home / "told.cast"
    account.run("--record", str(cast), input=f"{PASSPHRASE}\n")

    assert check_with(account, cast) == ("", "", 0)


def test_each_prompt_of_a_recording_has_its_own_commands() -> None:
    header = '{"version": 2, "width": 80, "height": 24}\n[0, "m", "session: interactive"]\n'
    typed = [
        ("LOADER>", "printenv"),
        ("*>", "printenv"),
        ("filer1*>", "printenv"),
        ("*>", "disk encrypt show"),
    ]
    steps = "".join(f'[1, "m", "{prompt} "]\n[1, "i", "{line}\\r"]\n' for prompt, line in typed)

    assert [each.line for each in check(COMMANDS, (header + steps).encode())] == [5, 7]


@pytest.mark.parametrize(
    "data", [b"{", b'{"version": 1}', b'{"version": 2, "width": 80, "height": 24}\n[']
)
def test_a_damaged_recording_is_a_wrong_line(data: bytes) -> None:
    (told,) = check(COMMANDS, data)

    assert told.line == 1 + data.count(b"\n")


@pytest.mark.parametrize(("mark", "end", "tail"), [("", "\r\n", ""), ("\ufeff", "\n", "\n  \n")])
def test_a_recording_that_an_editor_has_written_is_read(
    account: Account, recorded: Path, mark: str, end: str, tail: str
) -> None:
    before = check_with(account, recorded)
    text = recorded.read_text(encoding="utf-8")
    recorded.write_bytes((mark + text.replace("\n", end) + tail).encode())

    assert check_with(account, recorded) == before
