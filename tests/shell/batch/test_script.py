"""Commands from -c, FILE and pipes: the same output for every way in, and hidden secrets."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from filer.keyserver.server import KeyServer
from pytest_filer.console import FILER
from tests.kit.console import (
    DISKS,
    OTHER_PASSPHRASE,
    PASSPHRASE,
    SMALL_SHELF,
    WEAK_PASSPHRASE,
    Account,
    Outcome,
    answers_to_setup,
    files_below,
)
from tests.kit.house import House
from tests.kit.points import some
from tests.kit.remote import needs_proc

UNKNOWN = "{} not found.  Type '?' for a list of commands\n"
INCOMPLETE = "key_manager: incomplete; expected -key_server\n"
ADD_USAGE = "usage: key_manager add ( -key_server ipaddr )+\n"

LINES = (
    "hostname",
    "nonsense",
    "version",
    "key_manager show",
    "key_manager add",
    "disk encrypt show 0c.00.*",
    "sysconfig; aggr status -r",
    "logger 'never closed",
    "?",
    "man key_manager",
    "rdfile /etc/passwd",
    "hostname",
)


def text(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


# The ways in.


def by_options(account: Account) -> Outcome:
    return account.run(*(word for line in LINES for word in ("-c", line)))


def by_long_options(account: Account) -> Outcome:
    return account.commands(*LINES)


def by_dash(account: Account) -> Outcome:
    return account.run("-", input=text(*LINES))


def by_pipe(account: Account) -> Outcome:
    return account.run(input=text(*LINES))


def by_pipe_of_another_system(account: Account) -> Outcome:
    return account.run(input="\r\n".join(LINES))


def by_pipe_of_an_old_editor(account: Account) -> Outcome:
    return account.run(input="\ufeff" + "\r".join(LINES))


def by_file(account: Account) -> Outcome:
    file = account.home / "commands"
    file.write_text(text(*LINES), encoding="utf-8")
    ended = account.run(file)
    places = (f"{file}:{number}: " for number in range(1, len(LINES) + 1))
    err = ended.err
    for place in places:
        err = err.replace(place, "")
    return ended._replace(err=err)


def test_every_way_in_gives_the_output_and_the_status_of_a_pipe(account: Account) -> None:
    ended = by_pipe(account)
    ways: tuple[Callable[[Account], Outcome], ...] = (
        by_options,
        by_long_options,
        by_dash,
        by_pipe_of_another_system,
        by_pipe_of_an_old_editor,
        by_file,
    )

    assert {way.__name__: way(account) for way in ways} == {way.__name__: ended for way in ways}


def test_results_go_to_standard_output_and_failures_to_standard_error(account: Account) -> None:
    ended = account.commands("nonsense", "hostname", "key_manager add")

    assert ended.out == "filer1\n"
    assert ended.err == UNKNOWN.format("nonsense") + INCOMPLETE + ADD_USAGE
    assert ended.status == 1


def test_only_the_output_of_the_commands_is_printed(account: Account) -> None:
    assert account.script("hostname", "hostname") == ("filer1\nfiler1\n", "", 0)


def test_a_failure_in_a_file_has_its_place_before_it(account: Account) -> None:
    file = account.home / "commands"
    file.write_text("# a comment\n\nhostname\nnonsense\n  nonsense \\\n now\nnonsense\n")

    ended = account.run(file)

    assert ended.out == "filer1\n"
    assert ended.err == "".join(
        f"{file}:{number}: {UNKNOWN.format('nonsense')}" for number in (4, 5, 7)
    )


def test_a_failure_in_a_file_has_its_place_behind_the_answers_of_a_dialogue(
    registered: Account,
) -> None:
    file = registered.home / "commands"
    file.write_text(text("key_manager rekey -manual", PASSPHRASE, PASSPHRASE, "nonsense"))

    ended = registered.run(file)

    assert ended.err == f"{file}:4: {UNKNOWN.format('nonsense')}"


def test_files_run_one_after_the_other_each_with_its_own_places_and_dialogues(
    registered: Account,
) -> None:
    first, second = (registered.home / name for name in ("first", "second"))
    first.write_text(text("hostname", "nonsense", "reboot", "key_manager rekey -manual"))
    second.write_text(text("nonsense", "hostname"))

    ended = registered.run(first, "-", second, input=text("nonsense", "hostname") + "hostname \\")

    going = "System rebooting...\n"
    question = "Please enter a new passphrase: \n"
    assert ended.out == f"filer1\n{going}{question}filer1\nfiler1\nfiler1\n"
    assert ended.err.splitlines() == [
        f"{first}:2: {UNKNOWN.format('nonsense').strip()}",
        f"{first}:4: key_manager: end of input",
        UNKNOWN.format("nonsense").strip(),
        f"{second}:1: {UNKNOWN.format('nonsense').strip()}",
    ]
    assert ended.status == 1


@needs_proc
@pytest.mark.parametrize("options", [[], ["-e", "-x"], ["--format", "json"]])
def test_a_file_that_cannot_be_read_on_is_named(account: Account, options: list[str]) -> None:
    reason = "filer: cannot read /proc/self/mem: Input/output error"

    ended = account.run(*options, "/proc/self/mem")

    assert ended.status == 2
    if "json" in options:
        assert json.loads(ended.out.splitlines()[-1])["message"] == reason
    else:
        assert (ended.out, ended.err) == ("", f"{reason}\n")


@needs_proc
def test_a_standard_input_that_cannot_be_read_is_named(account: Account) -> None:
    def run(*arguments: str) -> Outcome:
        return account.run(program=["sh", "-c", '"$0" "$@" </proc/self/mem', *FILER, *arguments])

    reason = "cannot read standard input: Input/output error\n"
    assert run() == ("", f"filer: {reason}", 2)
    ended = run("-c", "disk encrypt sanitize -all")
    assert ended.err.endswith(f"disk: {reason}")
    assert ended.status == 1


def test_a_file_that_is_not_there_is_refused_before_anything_runs(account: Account) -> None:
    file = account.home / "commands"
    file.write_text(text("hostname"))

    ended = account.run(file, account.home / "absent")

    assert (ended.out, ended.status) == ("", 2)
    assert ended.err == f"filer: cannot read {account.home}/absent: No such file or directory\n"
    assert [each.name for each in account.root.iterdir()] == ["filer.toml"]


def test_a_failure_from_standard_input_has_no_place(account: Account) -> None:
    assert account.run("-", input="nonsense\n").err == UNKNOWN.format("nonsense")


def test_a_file_name_never_reaches_the_output_unescaped(account: Account) -> None:
    (account.home / "evil\x1b[31m").write_text("nonsense\n")

    assert "\x1b" not in account.run("evil\x1b[31m").err


def test_line_ends_blank_lines_comments_and_continuations_are_ordinary(account: Account) -> None:
    expected = {
        b"hostname\r\nhostname\r\n": 2,
        b"hostname\nhostname": 2,
        b"hostname\r\nhostname\r": 2,
        b"\n\r\n \t \nhostname\n\n": 1,
        b"# hostname\nhostname # hostname\n#": 1,
        b"hostname; hostname;;hostname ;": 3,
        b"host\\\nname\n": 1,
        b"host\\\r\nname\r\n": 1,
        b"hostname \\\n; hostname\n": 2,
        b"hostname \\": 1,
        b"'host'\"name\"\n": 1,
        b"": 0,
    }
    between = account.home / "between"
    between.write_bytes(b"keymgr list cert")
    files: list[str | Path] = []
    for number, given in enumerate(expected):
        (account.home / str(number)).write_bytes(given)
        files += [str(number), between]

    ended = account.run(*files)

    outputs = ended.out.split("No certificates are installed.\n")
    assert dict(zip(expected, outputs, strict=False)) == {
        given: "filer1\n" * count for given, count in expected.items()
    }
    assert (ended.err, ended.status) == ("", 0)


def test_an_unclosed_quote_never_swallows_the_next_line(account: Account) -> None:
    lines = ("logger 'never closed", "hostname", 'logger "never closed \\', "hostname")

    assert account.script(*lines) == ("filer1\n" * 2, "unclosed quote\n" * 2, 1)


def test_a_failure_between_semicolons_fails_the_line_and_the_rest_of_it_runs(
    account: Account,
) -> None:
    ended = account.commands("hostname; nonsense; hostname")

    assert ended == ("filer1\nfiler1\n", UNKNOWN.format("nonsense"), 1)


def test_an_unknown_name_is_printed_escaped(account: Account) -> None:
    ended = account.run(input="\x1b[2J\u202e\n")

    assert ended.err == UNKNOWN.format("\\x1b[2J\\u202e")


@pytest.mark.parametrize("echo", [False, True])
def test_any_bytes_are_failed_commands_and_never_a_traceback(account: Account, echo: bool) -> None:
    ended = account.run(*(["-x"] if echo else []), input=bytes(range(256)) * 4)

    assert ended.status == 1
    assert "Traceback" not in ended.err
    assert "internal error" not in ended.err
    assert all(char.isprintable() or char in "\n\t" for char in ended.out + ended.err)


def test_exit_on_error_stops_at_the_first_command_that_fails(account: Account) -> None:
    for flag in ("-e", "--exit-on-error"):
        ended = account.run(flag, input="hostname\nnonsense\nhostname\n")
        assert ended == ("filer1\n", UNKNOWN.format("nonsense"), 1)


def test_exit_on_error_lets_a_script_without_errors_run_to_its_end(account: Account) -> None:
    assert account.run("-e", input="hostname\n\nversion\nhostname\n").status == 0


@pytest.mark.parametrize("leave", ["halt", "logout", "exit"])
def test_nothing_runs_behind_a_command_that_leaves(account: Account, leave: str) -> None:
    ended = account.script("hostname", leave, "hostname")

    assert ended.out.count("filer1") == 1
    assert (ended.err, ended.status) == ("", 0)


def test_a_script_goes_on_behind_a_reboot(account: Account) -> None:
    ended = account.script("hostname", "reboot", "hostname")

    assert ended.out.startswith("filer1\n")
    assert ended.out.endswith("\nfiler1\n")
    assert (ended.err, ended.status) == ("", 0)


def test_a_reboot_reads_filer_toml_again(account: Account) -> None:
    with account.pipe() as child:
        child.sendline("hostname")
        child.expect_exact("filer1")
        account.settings.write_text(f'[system]\nhostname = "other"\n{SMALL_SHELF}')
        child.sendline("reboot")
        child.sendline("hostname")
        child.expect_exact("other")


def test_each_line_of_an_open_pipe_is_answered_before_the_next_is_sent(account: Account) -> None:
    with account.pipe() as child:
        for line, answer in (
            ("hostname", "filer1"),
            ("nonsense", UNKNOWN.format("nonsense").strip()),
            ("host\\\nname", "filer1"),
            ("key_manager show", "No key servers are registered."),
        ):
            child.sendline(line)
            child.expect_exact(answer)
        child.sendeof()
        assert child.proc.wait() == 1


def test_each_question_in_an_open_pipe_is_put_before_its_answer_is_sent(
    unregistered: Account, servers: list[KeyServer]
) -> None:
    with unregistered.pipe() as child:
        child.sendline("key_manager setup")
        for question, answer in (
            ("to quit: ", servers[0].address),
            ("to quit: ", "q"),
            (f"[{servers[0].port}]: ", ""),
            ("key tag name? {yes} ", ""),
            ("at this time? {yes} ", ""),
            ("generated passphrase? {yes} ", "no"),
            ("Please enter a new passphrase: ", PASSPHRASE),
            ("Please reenter the new passphrase: ", PASSPHRASE),
            ("at this time? {no} ", "yes"),
        ):
            child.expect_exact(question)
            child.sendline(answer)
        child.expect_exact("Completed lock on")
        child.sendeof()
        assert child.proc.wait() == 0


# Echo.


def test_echo_prints_prompt_and_command_before_each_output(account: Account) -> None:
    ended = account.run("-x", input="hostname\n\n# a comment\nhost\\\n  name\nnonsense\n")

    assert ended.out == text(
        "filer1> hostname",
        "filer1",
        "filer1> ",
        "filer1> # a comment",
        "filer1> host\\",
        ">   name",
        "filer1> nonsense",
    )
    assert ended.err == UNKNOWN.format("host") + UNKNOWN.format("nonsense")


def test_echo_shows_the_prompt_of_the_privilege(account: Account) -> None:
    ended = account.commands("priv set advanced", "hostname", "priv set admin", "hostname")
    echoed = account.run(
        "--echo", *("-c", "priv set advanced", "-c", "hostname"), *("-c", "priv set admin")
    )

    assert ended.status == 0
    assert "\nfiler1*> hostname\nfiler1\nfiler1*> priv set admin\n" in echoed.out


def test_echo_shows_the_answers_but_no_secret(
    unregistered: Account, servers: list[KeyServer]
) -> None:
    answers = answers_to_setup(servers, passphrases=(PASSPHRASE, PASSPHRASE))

    ended = unregistered.script("key_manager setup", *answers, echo=True)

    for line in (
        "filer1> key_manager setup",
        f"Enter the IP address for a key server, 'q' to quit: {servers[0].address}",
        "Enter the IP address for a key server, 'q' to quit: q",
        "Would you like to use a generated passphrase? {yes} no",
        "Please enter a new passphrase: ",
        "Please reenter the new passphrase: ",
        "New passphrase accepted.",
        "Do you wish to rekey and lock all encrypting drives at this time? {no} yes",
    ):
        assert line in ended.out.splitlines()
    assert (ended.err, ended.status) == ("", 0)
    assert PASSPHRASE not in ended.out


def test_echo_never_prints_control_characters(unregistered: Account) -> None:
    lines = "logger \x1b[31m", "key_manager setup", "\x1b[31m", "\u202e"

    ended = unregistered.script(*lines, echo=True)

    assert ended.out.count("\\x1b[31m") >= 2
    assert not any(char in ended.out + ended.err for char in "\x1b\u202e")


# Dialogues, and the end of input.


def test_with_a_command_option_the_answers_come_from_standard_input(registered: Account) -> None:
    ended = registered.run(
        "-c", "key_manager rekey -manual", "-c", "hostname", input=text(PASSPHRASE, PASSPHRASE)
    )

    assert "New passphrase accepted.\n" in ended.out
    assert ended.out.endswith("\nfiler1\n")
    assert (ended.err, ended.status) == ("", 0)


@pytest.mark.sampled
@pytest.mark.parametrize("given", some(range(10), most=5))
def test_end_of_input_at_any_question_of_setup_is_a_failed_command(
    unregistered: Account, servers: list[KeyServer], given: int
) -> None:
    answers = answers_to_setup(servers, passphrases=(PASSPHRASE, PASSPHRASE))
    assert len(answers) == 10

    ended = unregistered.script("key_manager setup", *answers[:given])

    assert (ended.err, ended.status) == ("key_manager: end of input\n", 1)
    registering = "Registration complete." in ended.out
    with House(unregistered.root, servers) as house:
        house.boot()
        assert house.must("key_manager show").out == (
            text(*(server.address for server in servers))
            if registering
            else "No key servers are registered.\n"
        )
        assert house.must("disk encrypt show").out.count(" 0x0 ") == DISKS


def test_end_of_input_in_a_passphrase_is_a_failed_command(registered: Account) -> None:
    for entries in [], [PASSPHRASE], [WEAK_PASSPHRASE] * 2, ["a"] * 5:
        ended = registered.script("key_manager rekey -manual", *entries)

        assert (ended.err, ended.status) == ("key_manager: end of input\n", 1), entries
        assert "accepted" not in ended.out, entries


# Passphrases away from a terminal.


def never_run_nor_printed(account: Account, ended: Outcome, *secrets: str) -> bool:
    """Check that no secret was printed or is in any file of the account."""
    told = (ended.out + ended.err).encode()
    kept = b"".join(path.read_bytes() for path in files_below(account.home))
    return not any(secret.encode() in told or secret.encode() in kept for secret in secrets)


def runs(ended: Outcome) -> list[list[str]]:
    """Return what is echoed and printed between the commands ``hostname``."""
    return [each.splitlines() for each in ended.out.split("filer1> hostname\nfiler1\n")]


def test_both_lines_for_a_rekey_that_never_begins_are_swallowed_unseen(account: Account) -> None:
    lines = [
        "key_manager rekey -manual",
        "key_manager rekey -key_tag third -manual",
        "key_manager rekey -manual -key_tag",
        "key_manager rekey -manual -key_tag 'never closed",
        "key_manager rekey -manual surplus",
        "version -b; key_manager rekey -manual",
        "key_manager rekye -manual",
        "key_manger rekey -manual",
        "keymanager rekey -manual",
        "key_manager -manual",
        "key_manager rekey -manuel",
        "key_manager rekey -Manual",
        "key_manager rekey manual",
        "key_manager rekey --manual",
        "key_manager rekey \\\n-manual",
    ]

    ended = account.script(
        *(word for line in lines for word in (line, PASSPHRASE, PASSPHRASE, "hostname")), echo=True
    )

    assert runs(ended) == [
        *([f"filer1> {line}"] for line in lines[:-1]),
        ["filer1> key_manager rekey \\", "> -manual"],
        [],
    ]
    assert never_run_nor_printed(account, ended, PASSPHRASE)
    assert re.findall(r"(\S+) not found", ended.err) == ["key_manger", "keymanager"]
    assert ended.status == 1


def test_swallowed_are_two_lines_and_no_more(account: Account) -> None:
    ended = account.script("key_manager rekey -manual", PASSPHRASE, PASSPHRASE, "hostname")

    assert ended == ("filer1\n", "No key servers are registered.\n", 1)


def test_both_lines_are_swallowed_when_storage_encryption_is_off(tmp_path: Path) -> None:
    account = Account(tmp_path / "home", f"[system]\nstorage_encryption = false\n{SMALL_SHELF}")

    ended = account.script("key_manager rekey -manual", PASSPHRASE, PASSPHRASE, "hostname")

    assert ended == (
        "filer1\n",
        "key_manager: Storage Encryption is not enabled on this system\n",
        1,
    )


def test_both_lines_are_swallowed_when_a_key_server_is_silent(
    registered: Account, servers: list[KeyServer]
) -> None:
    servers[1].stop()

    ended = registered.run(
        "-x", input=text("key_manager rekey -manual", PASSPHRASE, PASSPHRASE, "hostname")
    )

    assert "Please enter" not in ended.out
    assert ended.out.endswith("filer1> hostname\nfiler1\n")
    assert "connection refused" in ended.err
    assert never_run_nor_printed(registered, ended, PASSPHRASE)


def test_lines_of_a_dialogue_that_failed_are_not_commands_in_a_file_either(
    account: Account,
) -> None:
    file = account.home.parent / "commands"
    file.write_text(text("key_manager rekey -manual", PASSPHRASE, PASSPHRASE, "nonsense"))

    ended = account.run("-x", file)

    assert ended.err == (
        f"{file}:1: No key servers are registered.\n{file}:4: {UNKNOWN.format('nonsense')}"
    )
    assert never_run_nor_printed(account, ended, PASSPHRASE)


def test_unread_entries_are_not_printed_as_answers_of_the_next_command_option(
    unregistered: Account, servers: list[KeyServer]
) -> None:
    ended = unregistered.run(
        "-x",
        *("-c", "key_manager rekey -manual", "-c", "key_manager setup"),
        input=text(PASSPHRASE, PASSPHRASE, servers[0].address, "q"),
    )

    assert "No key servers are registered.\n" in ended.err
    assert never_run_nor_printed(unregistered, ended, PASSPHRASE)


def test_entries_for_two_dialogues_of_one_line_are_swallowed_unseen(account: Account) -> None:
    line = "key_manager rekey -manual; key_manager rekey -manual"
    entries = [PASSPHRASE] * 4

    ended = account.script(line, *entries, "hostname", echo=True)

    assert ended.out.endswith("filer1> hostname\nfiler1\n")
    assert "not found" not in ended.err
    assert never_run_nor_printed(account, ended, PASSPHRASE)


def test_behind_an_erasure_that_never_asks_one_line_is_swallowed_and_no_more(
    account: Account,
) -> None:
    refused = account.script("disk encrypt sanitize 0c.00.0", "sanitize disk", "nosuch", "nosuch")
    asked = account.script("disk encrypt sanitize 0c.00.3", "no", "nosuch")

    assert refused.err.endswith(UNKNOWN.format("nosuch") * 2)
    assert refused.err.count("\n") == 3
    assert asked.err.endswith(f"nothing was changed\n{UNKNOWN.format('nosuch')}")


@pytest.mark.parametrize("between", ["hostname surplus", "key_manager rekey -manual"])
def test_unread_entries_add_up_over_command_options(between: str, account: Account) -> None:
    ended = account.run(
        "-x",
        *("-c", "key_manager rekey -manual", "-c", between),
        *("-c", "disk encrypt sanitize 0c.00.3"),
        input=text(*[PASSPHRASE] * (4 if "-manual" in between else 2)),
    )

    assert ended.err.endswith("disk: end of input\n")
    assert never_run_nor_printed(account, ended, PASSPHRASE)


def test_the_answers_of_a_setup_that_never_begins_are_swallowed_unseen(account: Account) -> None:
    lines = [
        "key_manager setup",
        "key_manager setup surplus",
        "key_manger setup",
        "key_manager stup",
        "key_manager setpu",
        "key_manager Setup",
    ]
    answers = ["127.0.0.2", "q", "", "", "yes", "no", PASSPHRASE, PASSPHRASE, "yes"]

    ended = account.script(
        *(word for line in lines for word in (line, *answers, "hostname", "nonsense")), echo=True
    )

    assert ended.status == 1
    assert [[line for line in run if line.startswith("filer1> ")] for run in runs(ended)] == [
        [f"filer1> {lines[0]}"],
        *(["filer1> nonsense", f"filer1> {line}"] for line in lines[1:]),
        ["filer1> nonsense"],
    ]
    unknown = re.findall(r"(\S+) not found", ended.err)
    assert unknown == ["nonsense"] * 2 + ["key_manger"] + ["nonsense"] * 4
    assert never_run_nor_printed(account, ended, PASSPHRASE)


def test_the_answers_of_a_setup_that_fails_midway_are_swallowed_unseen(
    unregistered: Account, servers: list[KeyServer]
) -> None:
    servers[1].stop()
    answers = answers_to_setup(servers, passphrases=(PASSPHRASE, PASSPHRASE))

    ended = unregistered.script("key_manager setup", *answers, "hostname", echo=True)

    assert "Please enter" not in ended.out
    assert ended.out.endswith("filer1> hostname\nfiler1\n")
    assert never_run_nor_printed(unregistered, ended, PASSPHRASE)
    assert "not found" not in ended.err


@pytest.mark.parametrize("command", ["key_manager rekey -manual", "key_manager setup"])
def test_a_bad_passphrase_has_three_tries_of_two_entries(
    registered: Account, servers: list[KeyServer], command: str
) -> None:
    tries = (WEAK_PASSPHRASE, WEAK_PASSPHRASE, PASSPHRASE, OTHER_PASSPHRASE, "short", "short")
    setup = answers_to_setup(servers, passphrases=tries)[:-1]
    answers = setup if command.endswith("setup") else tries

    ended = registered.script(command, *answers, "hostname", echo=True)

    assert ended.out.count("Please enter a new passphrase: \n") == 3
    assert ended.out.count("Please reenter the new passphrase: \n") == 3
    assert ended.out.count("; try again.\n") == 2
    assert ended.err == "key_manager: a passphrase must have 20 to 32 characters\n"
    assert ended.out.endswith("filer1> hostname\nfiler1\n")
    assert ended.status == 1
    assert never_run_nor_printed(registered, ended, WEAK_PASSPHRASE, PASSPHRASE, OTHER_PASSPHRASE)


def test_the_third_try_may_succeed(registered: Account) -> None:
    ended = registered.script(
        "key_manager rekey -manual",
        *(WEAK_PASSPHRASE, WEAK_PASSPHRASE),
        *(PASSPHRASE, OTHER_PASSPHRASE),
        *(PASSPHRASE, PASSPHRASE),
        "hostname",
    )

    assert "New passphrase accepted.\n" in ended.out
    assert ended.out.endswith("\nfiler1\n")
    assert (ended.err, ended.status) == ("", 0)


def test_lines_after_a_dialogue_that_ended_well_are_commands_again(
    unregistered: Account, servers: list[KeyServer]
) -> None:
    answers = answers_to_setup(servers, passphrases=(PASSPHRASE, PASSPHRASE))

    ended = unregistered.script("key_manager setup", *answers, "nonsense", "hostname")

    assert ended.out.endswith("\nfiler1\n")
    # Without -x, no answer is printed.
    assert "Enter the IP address for a key server, 'q' to quit: \n" in ended.out
    assert "{yes} yes" not in ended.out
    assert ended.err == UNKNOWN.format("nonsense")
