"""--record: sessions as asciicast v2 files, at a terminal and from scripts, without secrets."""

import json
import os
import re
import stat
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from filer.host.quoting import HIDDEN
from filer.keyserver.server import KeyServer
from filer.shell.prompt.keyboard import QUESTION
from filer.shell.recording.asciicast import CTRL_C, CTRL_D, Mode, read
from tests.kit.console import (
    OTHER_PASSPHRASE,
    PASSPHRASE,
    Account,
    Terminal,
    answers_to_setup,
    editing,
    files_below,
    plain,
)
from tests.kit.points import paired

DUMB = {"TERM": "dumb"}


def events(cast: Path) -> tuple[dict[str, Any], list[tuple[float, str, str]]]:
    """Parse a file by the rules of the format: the header, and the events."""
    header, *lines = (json.loads(line) for line in cast.read_text(encoding="utf-8").splitlines())
    assert header["version"] == 2
    assert all(type(header[size]) is int and header[size] > 0 for size in ("width", "height"))
    assert set(header) <= {"version", "width", "height", "timestamp", "env"}
    assert set(header.get("env", {})) <= {"TERM", "SHELL"}
    for seconds, kind, text in lines:
        assert isinstance(seconds, float)
        assert kind in "oimr"
        assert isinstance(text, str)
    assert lines == sorted(lines, key=lambda line: line[0])
    return header, [tuple(line) for line in lines]


def of_kind(kind: str, cast: Path) -> list[str]:
    return [text for _, each, text in events(cast)[1] if each == kind]


def typed(cast: Path) -> list[str | None]:
    return [step.typed for step in read(cast.read_bytes()).steps[1:]]


def test_a_terminal_is_recorded_as_it_was_seen(account: Account) -> None:
    cast = account.home / "a.cast"
    with editing(account, "--record", "a.cast", rows=30, columns=100) as terminal:
        terminal.booted()
        for line in ("hostname", "help", "nonsense"):
            terminal.enter(line)
        terminal.type("host\t")
        terminal.shows("hostname")
        terminal.type("\x03")
        terminal.wait_for_prompt()
        assert terminal.leave() == 0

    header, _ = events(cast)
    assert (header["width"], header["height"]) == (100, 30)
    assert header["env"] == {"TERM": "xterm"}
    # In raw mode the terminal receives one more carriage return per line end.
    assert "".join(of_kind("o", cast)) == re.sub(
        r"\r+\n", "\r\n", terminal.seen.replace(QUESTION, "", 1)
    )
    assert stat.S_IMODE(cast.stat().st_mode) == 0o600


def test_markers_name_the_commands_and_questions_and_input_is_what_was_answered(
    unregistered: Account, servers: list[KeyServer]
) -> None:
    cast = unregistered.home / "a.cast"
    with unregistered.terminal("--record", cast) as terminal:
        terminal.booted().enter("key_manager setup")
        for answer in answers_to_setup(servers):
            terminal.enter(answer)
        terminal.enter("host\\")
        terminal.enter("name")
        terminal.type("never\x03")
        terminal.wait_for_prompt()
        terminal.leave()

    markers = of_kind("m", cast)
    question = "question: Enter the IP address for a key server, 'q' to quit:"
    assert markers[:5] == [
        "session: interactive",
        "filer1> key_manager setup",
        *[question] * 3,
    ]
    assert markers[-4:] == ["filer1> host\\", "> name", "filer1>", "filer1>"]
    replies = ["key_manager setup", *answers_to_setup(servers), "host\\", "name"]
    assert of_kind("i", cast) == [*(f"{reply}\r" for reply in replies), CTRL_C, CTRL_D]
    assert typed(cast) == ["key_manager setup", "host\\\nname", None, None]


def test_times_are_those_of_the_session_and_never_go_back(account: Account) -> None:
    cast = account.home / "a.cast"
    with account.pipe("--record", "a.cast", "-x") as child:
        child.sendline("hostname")
        child.expect_exact("filer1\n")
        begun = cast.stat().st_mtime
        child.sendline("hostname")
        child.expect_exact("filer1\n")
        child.sendeof()
        child.proc.wait()

    header, told = events(cast)
    assert abs(begun - header["timestamp"]) < 60
    times = [seconds for seconds, kind, text in told if (kind, text) == ("o", "filer1\r\n")]
    assert 0 < times[0] < times[1]


def test_a_new_size_of_the_terminal_is_an_event(account: Account) -> None:
    cast = account.home / "a.cast"
    with editing(account, "--record", "a.cast") as terminal:
        terminal.booted()
        terminal.child.setwinsize(33, 66)
        terminal.wait_for_prompt()
        first = terminal.enter("man keymgr").splitlines()[0]
        terminal.leave()

    assert of_kind("r", cast) == ["66x33"]
    assert len(first) == 66
    assert read(cast.read_bytes()).steps[1].width == 66


@pytest.mark.parametrize("environment", [{}, DUMB], ids=["xterm", "dumb"])
def test_a_secret_is_recorded_as_asked_and_nowhere_else(
    unregistered: Account, environment: dict[str, str]
) -> None:
    cast = unregistered.home / "a.cast"

    def enter(terminal: Terminal, line: str, shown: str) -> None:
        if environment:
            terminal.type(f"{line}\r")
            terminal.shows(shown)
        else:
            terminal.enter(line)
            assert terminal.prompt == shown.rstrip()

    with unregistered.terminal("--record", cast, environment=environment) as terminal:
        terminal.shows("filer1>") if environment else terminal.booted()
        enter(terminal, "key_manager add -key_server 127.0.0.2", "filer1> ")
        enter(terminal, "key_manager rekey -manual", "Please enter a new passphrase: ")
        enter(terminal, PASSPHRASE, "Please reenter the new passphrase: ")
        enter(terminal, OTHER_PASSPHRASE, "Please enter a new passphrase: ")
        enter(terminal, PASSPHRASE, "Please reenter the new passphrase: ")
        enter(terminal, PASSPHRASE, "filer1> ")
        assert terminal.leave() == 0

    again, more = (f"secret: Please {verb} new passphrase:" for verb in ("enter a", "reenter the"))
    assert of_kind("m", cast)[3:7] == [again, more, again, more]
    assert of_kind("i", cast)[2:6] == ["\r"] * 4
    text = cast.read_text(encoding="utf-8")
    assert "New passphrase accepted." in text
    for secret in (PASSPHRASE, OTHER_PASSPHRASE):
        assert secret not in text
        assert secret not in plain("".join(of_kind("o", cast)))
        assert len(secret) not in {len(shown.strip()) for shown in of_kind("o", cast)}


def test_a_script_is_recorded_as_a_console_log_shows_it(
    unregistered: Account, servers: list[KeyServer]
) -> None:
    lines = [
        "key_manager setup",
        *answers_to_setup(servers, passphrases=(PASSPHRASE, PASSPHRASE)),
        "host\\",
        "name",
        "nonsense",
        "help",
    ]
    script = unregistered.home / "runbook"
    script.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    quiet = unregistered.run("--record", "quiet.cast", script)
    told = unregistered.run("--record", "told.cast", "-x", script)

    assert quiet.err == told.err == f"{script}:{len(lines) - 1}: {NOT_FOUND}"
    assert "filer1> " in told.out
    assert "filer1> " not in quiet.out
    for name, kind in (("quiet.cast", "script"), ("told.cast", "script")):
        cast = unregistered.home / name
        assert of_kind("m", cast)[0] == f"session: {kind}"
        assert typed(cast) == ["key_manager setup", "host\\\nname", "nonsense", "help"]
        assert PASSPHRASE not in cast.read_text(encoding="utf-8")
    seen = "".join(of_kind("o", unregistered.home / "told.cast")).replace("\r\n", "\n")
    assert seen == told.out.replace("filer1> help\n", f"{NOT_FOUND}filer1> help\n")


NOT_FOUND = "nonsense not found.  Type '?' for a list of commands\n"


def test_command_options_are_recorded_with_their_answers(
    unregistered: Account, servers: list[KeyServer]
) -> None:
    answers = answers_to_setup(servers)
    ended = unregistered.run(
        *("--record", "a.cast", "-c", "key_manager setup", "-c", "hostname"),
        input="".join(f"{answer}\n" for answer in answers),
    )

    assert ended.status == 0
    cast = unregistered.home / "a.cast"
    assert [step.typed for step in read(cast.read_bytes()).steps[1:]] == [
        "key_manager setup",
        "hostname",
    ]
    assert [reply.text for reply in read(cast.read_bytes()).steps[1].replies] == answers


def test_an_answer_that_was_skipped_unseen_is_not_recorded(unregistered: Account) -> None:
    unregistered.run(
        *("--record", "a.cast", "-x"),
        input=f"key_manager rekye -manual\n{PASSPHRASE}\n{PASSPHRASE}\nhostname\n",
    )

    cast = unregistered.home / "a.cast"
    assert typed(cast) == ["key_manager rekye -manual", "hostname"]
    assert PASSPHRASE not in cast.read_text(encoding="utf-8")


def test_a_manual_page_is_recorded_as_its_text_and_the_pager_is_not(account: Account) -> None:
    pager = {"MANPAGER": "sed s/^/PAGED/"}
    cast = account.home / "a.cast"
    with account.terminal("--record", "a.cast", environment=pager) as terminal:
        shown = terminal.booted().enter("man keymgr")
        terminal.leave()

    assert shown.startswith("PAGEDNA_KEYMGR(1)")
    (step,) = [step for step in read(cast.read_bytes()).steps if step.typed == "man keymgr"]
    assert "".join(step.output) == re.sub(r"^PAGED", "", shown, flags=re.M)


def test_a_file_that_is_there_is_not_overwritten(account: Account) -> None:
    cast = account.home / "a.cast"
    cast.write_text("precious", encoding="utf-8")

    ended = account.run("--record", "a.cast", "-c", "hostname")

    assert ended == ("", "filer: cannot record in a.cast: File exists\n", 2)
    assert cast.read_text(encoding="utf-8") == "precious"


def test_a_start_that_is_refused_leaves_no_recording(account: Account) -> None:
    account.settings.parent.mkdir(parents=True, exist_ok=True)
    account.settings.write_text("nonsense", encoding="utf-8")

    ended = account.run("--record", "a.cast", "-c", "hostname")

    assert (ended.out, ended.status) == ("", 2)
    assert ended.err.startswith("filer: filer.toml:1: ")
    assert not (account.home / "a.cast").exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no/a.cast", "No such file or directory"),
        ("a" * 300, "File name too long"),
        ("bad\x1b[31m/a", "No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_made_is_named(account: Account, name: str, reason: str) -> None:
    ended = account.run("--record", name, "-c", "hostname")

    assert (ended.out, ended.status) == ("", 2)
    assert ended.err.startswith("filer: cannot record in ")
    assert ended.err.endswith(f": {reason}\n")
    assert "\x1b" not in ended.err


def test_a_disk_that_is_full_costs_the_recording_and_not_the_session(account: Account) -> None:
    limited = 'export PYTHONDONTWRITEBYTECODE=1; ulimit -f 1; trap "" XFSZ; exec "$@"'
    lines = "hostname\n" * 40
    with account.pipe() as child:  # a root that is created needs no free space later
        child.sendeof()
        child.proc.wait()
    ended = account.run(
        *("-c", limited, "bash", "filer", "--record", "a.cast"), input=lines, program=["bash"]
    )

    assert ended.out == "filer1\n" * 40
    assert ended.err == "filer: cannot record in a.cast: File too large\n"
    assert ended.status == 2


@pytest.mark.parametrize("options", [["--format", "json"], ["--ssh", "0"], ["--replay", "b.cast"]])
def test_what_goes_without_a_recording_says_so(account: Account, options: list[str]) -> None:
    ended = account.run("--record", "a.cast", *options)

    assert (ended.out, ended.status) == ("", 2)
    assert "cannot be given together" in ended.err
    assert not (account.home / "a.cast").exists()


def test_what_is_no_text_is_escaped(account: Account) -> None:
    account.run("--record", "a.cast", "-x", input=b"logger \xff\x1b[31m \xe2\x82\xac\n")

    cast = account.home / "a.cast"
    events(cast)
    assert typed(cast) == ["logger \\udcff\x1b[31m \u20ac"]
    assert of_kind("m", cast)[1] == "filer1> logger \\udcff\\x1b[31m \u20ac"


def test_the_mode_of_the_file_does_not_depend_on_the_umask(account: Account) -> None:
    account.run("--record", "a.cast", "-c", "hostname", umask=0)

    assert stat.S_IMODE((account.home / "a.cast").stat().st_mode) == 0o600


def test_a_session_that_a_signal_ends_is_a_whole_recording(account: Account) -> None:
    with account.terminal("--record", "a.cast") as terminal:
        terminal.booted().enter("hostname")
        os.kill(terminal.pid, 15)
        assert terminal.end() == 128 + 15

    recorded = read((account.home / "a.cast").read_bytes())
    assert recorded.mode is Mode.INTERACTIVE
    assert typed(account.home / "a.cast") == ["hostname", None]


# A script out of step with the questions.


def out_of_step(servers: list[KeyServer]) -> str:
    """Return a setup without the answer before the passphrase, which then answers a yes/no."""
    lines = ("key_manager setup", servers[0].address, "q", "", "yes", PASSPHRASE, PASSPHRASE)
    return "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize(
    "options", [("-x",), ("-x", "--format", "json"), ("--record", "a.cast"), ("-x", "-")]
)
def test_a_passphrase_that_answers_another_question_is_shown_nowhere(
    unregistered: Account, servers: list[KeyServer], options: tuple[str, ...]
) -> None:
    ended = unregistered.run(*options, input=out_of_step(servers))

    assert ended.out.count("Please answer yes or no.") == 2
    assert PASSPHRASE not in ended.out + ended.err
    cast = unregistered.home / "a.cast"
    kept = cast.read_text(encoding="utf-8") if cast.exists() else ended.out
    assert PASSPHRASE not in kept
    assert kept.count(HIDDEN) >= 2
    if cast.exists():
        assert read(cast.read_bytes()).steps[1].replies[-2].text == HIDDEN
        replayed = unregistered.run("--replay", cast)
        assert PASSPHRASE not in replayed.out + replayed.err


@pytest.mark.parametrize("kind", ["plain", "editor"])
def test_a_passphrase_typed_at_another_question_is_not_recorded(
    unregistered: Account, kind: str
) -> None:
    opened = (
        editing(unregistered, "--record", "a.cast")
        if kind == "editor"
        else unregistered.terminal("--record", "a.cast", environment=DUMB)
    )
    with opened as terminal:
        terminal.booted().type("disk encrypt sanitize 0c.00.3\r")
        terminal.shows("sanitize disk")
        terminal.type(f"{PASSPHRASE}\r")
        terminal.shows("filer1>")
        terminal.type("hostname\r")
        terminal.shows("filer1\r\n")
        terminal.leave()

    kept = (unregistered.home / "a.cast").read_text(encoding="utf-8")
    assert PASSPHRASE not in kept
    assert not re.search(r"Corr|horse|batt", "".join(of_kind("o", unregistered.home / "a.cast")))
    assert HIDDEN in kept
    assert '"hostname\\r"' in kept


EXTRA = {
    "a passphrase": "",
    "a word too many": "key_manager show ",
    "a comment": "#",
    "a continuation": "hostname \\\n",
    "two commands": "hostname; ",
}


@paired(
    ("before", EXTRA.values()),
    ("options", [("-x",), ("-x", "--format", "json"), ("--record", "a.cast"), ("-x", "-")]),
)
def test_a_passphrase_that_becomes_a_command_is_shown_nowhere(
    account: Account, options: tuple[str, ...], before: str
) -> None:
    ended = account.run(*options, input=f"{before}{PASSPHRASE}\nhostname\n")

    cast = account.home / "a.cast"
    kept = cast.read_text(encoding="utf-8") if cast.exists() else ended.out
    assert PASSPHRASE not in ended.out + ended.err + kept
    assert HIDDEN in kept or "json" in options  # a comment has no object
    assert "filer1> hostname" in kept or '"input": "hostname"' in kept
    if cast.exists():
        assert (ended.status, account.run("--replay", cast).status) == (before != "#", 0)


@paired(
    (
        "lines, part",
        [
            ("Xy-tr4-Qu0-ab-cd-ef-gh-ij-kl-m\\\nXy-tr4-Qu0-ab-cd-ef-gh-ij-kl-m\\\n", "Qu0-ab"),
            ("hostname Xy-tr4-Qu0-ab-cd-\\\n", "Qu0-ab"),  # too short without the backslash
            ('key_manager rekey -manual "Correct Horse 7 Battery"\n', "Horse"),
            ("rekey 'Correct Horse 7 Battery'\n", "Horse"),
        ],
    ),
    ("options", [("-x",), ("-x", "--format", "json"), ("--record", "a.cast"), ("--check", "-")]),
)
def test_a_passphrase_of_any_form_among_wrong_words_is_shown_nowhere(
    account: Account, options: tuple[str, ...], lines: str, part: str
) -> None:
    ended = account.run(*options, input=f"{lines}version\n")

    cast = account.home / "a.cast"
    kept = cast.read_text(encoding="utf-8") if cast.exists() else ""
    assert part not in ended.out + ended.err + kept
    assert ended.status == 1


@paired(
    ("before", ["key_manager rekey -manual ", "hostname; ", "nonsense "]),
    ("options", [("-x",), ("-x", "--format", "json"), ("--record", "a.cast"), ("--check", "-")]),
)
def test_a_passphrase_of_several_words_is_shown_nowhere(
    account: Account, options: tuple[str, ...], before: str
) -> None:
    ended = account.run(*options, input=f"{before}Correct Horse 9 battery!\nhostname\n")

    cast = account.home / "a.cast"
    kept = cast.read_text(encoding="utf-8") if cast.exists() else ""
    for part in ("Correct", "Horse", "battery"):
        assert part not in ended.out + ended.err + kept
    assert HIDDEN in ended.out + ended.err + kept or before == "nonsense "
    if "--check" not in options and before != "nonsense ":
        assert before + HIDDEN in ended.out + kept
    if cast.exists():
        assert account.run("--replay", cast).status == 0


def recorded(account: Account, kind: str) -> AbstractContextManager[Terminal]:
    """Record a session with the editor, or in a terminal without it."""
    if kind == "editor":
        return editing(account, "--record", "a.cast")
    return account.terminal("--record", "a.cast", environment=DUMB)


@pytest.mark.parametrize("kind", ["plain", "editor"])
def test_a_passphrase_of_several_words_that_is_typed_is_not_kept(
    account: Account, kind: str
) -> None:
    with recorded(account, kind) as terminal:
        terminal.booted().type("key_manager rekey -manual Correct Horse 9 battery!\r")
        terminal.shows("unexpected (not shown")
        terminal.shows("filer1>")
        terminal.type("history\r")
        terminal.shows("history")
        terminal.shows("filer1>")
        terminal.leave()

    kept = b"".join(path.read_bytes() for path in files_below(account.home))
    assert b"Horse" not in kept
    assert b"battery" not in kept
    assert HIDDEN.encode() in kept


def test_a_command_with_a_word_like_a_secret_is_shown(account: Account) -> None:
    line = f"logger {PASSPHRASE}"

    ended = account.run("-x", "--record", "a.cast", input=f"{line}\n")

    assert ended.out == f"filer1> {line}\n"
    assert typed(account.home / "a.cast") == [line]


def test_the_answers_behind_a_failed_rekey_are_skipped(account: Account) -> None:
    lines = (
        "key_manager rekey -m",
        "key_manager rekey",
        "disk encrypt rekey -manual",
        "rekey -manual",
    )

    ended = account.run(
        "-x", input="".join(f"{line}\n{PASSPHRASE}\nweak\nhostname\n" for line in lines)
    )

    assert ended.out == "".join(f"filer1> {line}\nfiler1> hostname\nfiler1\n" for line in lines)
    assert PASSPHRASE not in ended.err
    assert "weak" not in ended.err


def test_commands_behind_a_failed_rekey_run(account: Account) -> None:
    ended = account.run("-x", input="key_manager rekey\nhostnmae\nhostname\n")

    assert ended.out == "filer1> key_manager rekey\nfiler1> hostnmae\nfiler1> hostname\nfiler1\n"
    assert "hostnmae not found" in ended.err


@paired(("kind", ["plain", "editor"]), ("before", ["", "nonsense "]))
def test_a_passphrase_typed_as_a_command_is_not_kept(
    account: Account, kind: str, before: str
) -> None:
    with recorded(account, kind) as terminal:
        terminal.booted().type(f"{before}{PASSPHRASE}\r")
        terminal.shows("not found")
        terminal.shows("filer1>")
        terminal.type("history\r")
        terminal.shows("history")
        terminal.shows("filer1>")
        terminal.leave()

    assert PASSPHRASE not in everything_kept(account)
    shown = plain("".join(of_kind("o", account.home / "a.cast")))
    assert not re.search(r"Corr|horse|batt", shown)
    assert typed(account.home / "a.cast") == [HIDDEN, "history", None]


ERASED = {
    "Ctrl-U": ("", "\x15q\r", "q\r"),
    "Ctrl-C": ("", "\x03", CTRL_C),
    "Ctrl-D": ("", "\x01\x0b\x04", CTRL_D),
    "a search": ("\x12", "\x07q\r", "q\r"),
}


@paired(("question", [True, False]), ("how", ERASED))
def test_a_passphrase_that_is_typed_and_erased_is_not_recorded(
    account: Account, how: str, question: bool
) -> None:
    before, after, kept = ERASED[how]
    cast = account.home / "a.cast"
    with editing(account, "--record", "a.cast") as terminal:
        terminal.booted()
        if question:
            terminal.type("disk encrypt sanitize 0c.00.3\r")
            terminal.shows("sanitize disk")
        terminal.type(f"{before}{PASSPHRASE}")
        terminal.shows(PASSPHRASE)
        terminal.type(after)
        if how != "Ctrl-D" or question:
            terminal.shows("filer1>")
            terminal.type("hostname\r")
            terminal.shows("filer1\r\n")
            terminal.leave()
        else:
            terminal.end()

    shown = plain("".join(of_kind("o", cast)))
    assert not re.search(r"Corr|horse|batt", shown)
    assert kept in of_kind("i", cast)
    assert PASSPHRASE not in everything_kept(account)


def everything_kept(account: Account) -> str:
    """Return all files of the account: history, recording, system log."""
    data = b"".join(path.read_bytes() for path in files_below(account.home))
    return data.decode(errors="replace")
