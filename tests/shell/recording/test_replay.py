"""--replay: run the commands of a recording again, and show the differences."""

import json
import shutil
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filer.disks.header import RECORD_OFFSETS
from filer.host.text import printable
from filer.keyserver.server import KeyServer
from filer.shell.recording.asciicast import CastError, read
from filer.shell.recording.volatile import Pairing
from tests.kit.casts import HEADER, cast
from tests.kit.console import (
    OTHER_PASSPHRASE,
    PASSPHRASE,
    Account,
    answers_to_setup,
    beside,
    files_below,
    prepare,
)
from tests.kit.points import some

SCRIPT = f'{HEADER}[0.0, "m", "session: script"]\n'


def fresh(servers: Sequence[KeyServer], home: Path) -> Account:
    """Create a filer beside key servers without keys, as they were for the recording."""
    for server in servers:
        server.stop()
        server.store.unlink()
        server.started.unlink()
        server.start()
    return beside(servers, home)


JOB = (
    "key_manager rekey",
    "key_manager rekey -key_tag second",
    "key_manager rekey -key_tag second",
    "disk show",
    "sysconfig",
    "reboot",
    "disk encrypt show",
    "key_manager query",
    "date",
    "uptime",
    "rdfile /etc/messages",
    "keymgr list cert",
    "history",
    "nonsense",
    "priv set advanced",
    "hostname; version",
)


def test_a_script_goes_the_same_way_on_another_filer(
    tmp_path: Path, servers: list[KeyServer]
) -> None:
    cast = tmp_path / "a.cast"
    lines = ["key_manager setup", *answers_to_setup(servers), *JOB, "halt", "hostname"]
    recorded = beside(servers, tmp_path / "one").run(
        "--record", cast, input="".join(f"{line}\n" for line in lines)
    )
    assert recorded.status == 1
    with_keys = beside(servers, tmp_path / "two").run("--replay", cast)

    assert fresh(servers, tmp_path / "three").run("--replay", cast) == ("", "", 0)

    assert with_keys.status == 1
    assert "-Key server 127.0.0.2 reports 4 keys." in with_keys.out
    assert "+Key server 127.0.0.2 reports 8 keys." in with_keys.out


def test_what_a_person_did_goes_the_same_way_without_one(
    tmp_path: Path, servers: list[KeyServer]
) -> None:
    cast = tmp_path / "a.cast"
    passphrases = (OTHER_PASSPHRASE, PASSPHRASE, PASSPHRASE, PASSPHRASE)
    with beside(servers, tmp_path / "one").terminal("--record", cast, columns=100) as terminal:
        terminal.booted().enter("key_manager setup")
        for answer in answers_to_setup(servers, passphrases=passphrases):
            terminal.enter(answer)
        for line in ("", "host\\", "name", *JOB, "help", "man keymgr"):
            terminal.enter(line)
        terminal.enter("key_manager setup")
        terminal.type("\x03")
        terminal.wait_for_prompt()
        terminal.enter("key_manager rekey -manual")
        terminal.type("\x04")
        terminal.wait_for_prompt()
        terminal.type("never entered\x03")
        terminal.wait_for_prompt()
        terminal.enter("halt")
        assert terminal.prompt == "LOADER>"
        terminal.enter("printenv")
        terminal.enter("boot_ontap")
        terminal.enter("hostname")
        assert terminal.leave() == 0

    again = fresh(servers, tmp_path / "two").run(
        "--replay", cast, input="".join(f"{passphrase}\n" for passphrase in passphrases)
    )

    assert again == ("", "", 0)


def test_a_difference_is_shown_as_a_diff_of_the_command_that_it_is_about(
    tmp_path: Path, servers: list[KeyServer]
) -> None:
    cast = tmp_path / "a.cast"
    beside(servers, tmp_path / "one").run(
        "--record", cast, input="hostname\nkey_manager show\nversion\n"
    )
    other = beside(servers, tmp_path / "two", '[system]\nhostname = "toaster"\n')

    ended = other.run("--replay", "a.cast", input="")
    assert ended == ("", "filer: cannot read a.cast: No such file or directory\n", 2)
    ended = other.run("--replay", cast)

    assert (ended.err, ended.status) == ("", 1)
    first, second, third = ended.out.split(f"--- {cast}:")[1:]
    assert first == (
        f"3: filer1> hostname (recorded)\n+++ {cast}:3: filer1> hostname (replayed)\n"
        "@@ -1,2 +1,2 @@\n-filer1> hostname\n-filer1\n+toaster> hostname\n+toaster\n"
    )
    assert "-filer1> key_manager show\n+toaster> key_manager show\n No key servers" in second
    assert "filer1> version" in third


def test_a_question_that_is_new_and_one_that_is_gone_are_differences(
    tmp_path: Path, servers: list[KeyServer]
) -> None:
    cast = tmp_path / "a.cast"
    lines = ["key_manager setup", *answers_to_setup(servers), "hostname"]
    beside(servers, tmp_path / "one").run(
        "--record", cast, input="".join(f"{line}\n" for line in lines)
    )
    text = cast.read_text(encoding="utf-8").splitlines(keepends=True)
    shorter = tmp_path / "shorter.cast"
    shorter.write_text("".join(line for line in text if '"i", "yes' not in line), encoding="utf-8")

    ended = fresh(servers, tmp_path / "two").run("--replay", shorter)

    assert ended.status == 1
    assert "+key_manager: end of input" in ended.out
    assert "filer1> hostname" not in ended.out


def test_a_panic_is_an_output_like_others(
    unregistered: Account, tmp_path: Path, servers: list[KeyServer]
) -> None:
    cast = tmp_path / "a.cast"
    lines = ["key_manager setup", *answers_to_setup(servers), "reboot", "hostname"]
    script = "".join(f"{line}\n" for line in lines)
    assert unregistered.run("--record", cast, input=script).status == 0
    for server in servers:
        server.stop()

    ended = unregistered.run("--replay", cast)

    assert ended.status == 1
    assert "+PANIC: raid: root aggregate aggr0 cannot be brought online" in ended.out
    assert "-filer1> hostname" in ended.out
    panicked = tmp_path / "panicked.cast"
    assert unregistered.run("--record", panicked, "-c", "hostname").status == 3
    assert unregistered.run("--replay", panicked) == ("", "", 0)


def test_secrets_are_lines_of_standard_input_as_many_as_there_were(
    tmp_path: Path, servers: list[KeyServer]
) -> None:
    address = servers[0].address
    add = f"key_manager add -key_server {address}"
    rekey = ["key_manager rekey -manual", PASSPHRASE, PASSPHRASE]
    other = ["key_manager rekey -manual", OTHER_PASSPHRASE, OTHER_PASSPHRASE]
    cast = tmp_path / "a.cast"
    recorded = beside(servers, tmp_path / "one").run(
        "--record", cast, input="".join(f"{line}\n" for line in (add, *rekey, *other, "hostname"))
    )
    assert recorded.status == 0
    secrets = "".join(f"{line}\n" for line in (*rekey[1:], *other[1:]))

    same = fresh(servers, tmp_path / "two").run("--replay", cast, input=secrets)
    assert same == ("", "", 0)
    missing = fresh(servers, tmp_path / "three").run("--replay", cast, input=f"{PASSPHRASE}\n")
    assert missing.status == 1
    assert "+key_manager: end of input" in missing.out
    # The first rekey fails before it asks; the second still gets its own secrets.
    broken = fresh(servers, tmp_path / "four")
    failing = cast.read_text(encoding="utf-8").replace(
        '"i", "key_manager rekey -manual', '"i", "key_manager rekey -manul', 1
    )
    (tmp_path / "b.cast").write_text(failing, encoding="utf-8")
    failed = broken.run("--replay", tmp_path / "b.cast", input=secrets)
    assert failed.out.count("--- ") == 1
    for ended in (same, missing, failed):
        assert PASSPHRASE not in ended.out + ended.err


def test_a_person_is_asked_for_the_secrets(tmp_path: Path, servers: list[KeyServer]) -> None:
    cast = tmp_path / "a.cast"
    add = f"key_manager add -key_server {servers[0].address}"
    lines = (add, "key_manager rekey -manual", PASSPHRASE, PASSPHRASE)
    beside(servers, tmp_path / "one").run(
        "--record", cast, input="".join(f"{line}\n" for line in lines)
    )
    with fresh(servers, tmp_path / "two").terminal("--replay", cast) as terminal:
        terminal.shows("Please enter a new passphrase: ")
        terminal.type(f"{PASSPHRASE}\r")
        terminal.shows("Please reenter the new passphrase: ")
        terminal.type(f"{PASSPHRASE}\r")

        assert terminal.end() == 0
        assert PASSPHRASE not in terminal.seen


# Consent to a loss of data.

REFUSED = (
    "a recording cannot consent to a loss of data; "
    "replay it at a terminal, or with --allow-data-loss"
)


def sealed(servers: Sequence[KeyServer], home: Path) -> Account:
    """Create a filer whose disks are locked with a key that only the first key server has."""
    account = beside(servers, home)
    add = f"key_manager add -key_server {servers[0].address}"
    prepare(account, servers, (add,), ("key_manager rekey",), ("disk encrypt lock *",))
    return account


def answers(*replies: str) -> list[tuple[str, str]]:
    return [("question: any", reply) for reply in replies]


Steps = list[tuple[str, str, list[tuple[str, str]]]]
LOSSES: dict[str, Steps] = {
    "sanitize": [("filer1>", "disk encrypt sanitize 0c.00.3", answers("sanitize disk"))],
    "sanitize -all": [("filer1>", "disk encrypt sanitize -all", answers("sanitize disk"))],
    "destroy": [("filer1>", "disk encrypt destroy *", answers("destroy disk"))],
    "remove": [("filer1>", "key_manager remove -key_server 127.0.0.2", answers("yes"))],
    "remove, at the second try": [
        ("filer1>", "key_manager remove -key_server 127.0.0.2", answers("sure", "Y"))
    ],
    "setup": [
        (
            "filer1>",
            "key_manager setup",
            answers("127.0.0.3", "q", "", "yes", "yes", "yes", "no", "no"),
        )
    ],
    "kmip_setup": [
        ("filer1>", "halt", []),
        ("LOADER>", "kmip_setup '{directory}' 127.0.0.3", answers("", "yes", "yes")),
    ],
    "maintenance": [
        ("filer1>", "halt", []),
        ("LOADER>", "boot_ontap maint", []),
        ("*>", "disk encrypt destroy *", answers("destroy disk")),
    ],
}


def kept(account: Account) -> dict[str, bytes]:
    """Return the disks without their counts, and the whole registration."""
    files = {
        path.name: path.read_bytes()[: RECORD_OFFSETS[0]]
        for path in (account.root / "shelf").iterdir()
    }
    for path in files_below((account.root / "var" / "kmip").resolve()):
        files[path.name] = path.read_bytes()
    return files


def test_a_recording_does_not_consent_to_a_loss_of_data(
    tmp_path: Path, servers: list[KeyServer]
) -> None:
    account = sealed(servers, tmp_path / "home")
    before = kept(account)
    steps = dict.fromkeys(  # the filer halts once
        (prompt, line.format(directory=servers[0].directory), tuple(replies))
        for loss in LOSSES.values()
        for prompt, line, replies in loss
    )
    recorded = cast(tmp_path / "a.cast", *steps)

    ended = account.run("--replay", recorded, input="yes\ndestroy disk\nsanitize disk\n")

    assert (ended.err, ended.status) == ("", 1)
    refused = [line.partition(": ")[2] for line in ended.out.splitlines() if REFUSED in line]
    assert refused == [REFUSED] * len(LOSSES)
    assert kept(account) == before


@pytest.mark.sampled
def test_a_recording_consents_to_a_loss_of_data_where_that_is_allowed(
    tmp_path: Path, servers: list[KeyServer]
) -> None:
    prepared = sealed(servers, tmp_path / "home")
    before = kept(prepared)
    for number, (name, loss) in enumerate(some([*LOSSES.items()], most=5)):
        home = tmp_path / str(number)
        shutil.copytree(prepared.home, home, symlinks=True)
        account = Account(home)
        steps = [
            (prompt, line.format(directory=servers[0].directory), replies)
            for prompt, line, replies in loss
        ]

        ended = account.run("--replay", cast(home / "a.cast", *steps), "--allow-data-loss")

        assert (ended.err, ended.status) == ("", 1), name
        assert REFUSED not in ended.out, name
        assert kept(account) != before, name


def test_a_recording_may_refuse_a_loss_of_data(tmp_path: Path, account: Account) -> None:
    prepare(account, [])
    replies = (("no",), ("sanitize disk",), ("",), ("\x03",), ("\x04",), ())
    steps = [("filer1>", "disk encrypt destroy 0c.00.3", answers(*each)) for each in replies]

    ended = account.run("--replay", cast(tmp_path / "a.cast", *steps))

    assert REFUSED not in ended.out
    assert ended.out.count("+To continue, enter destroy disk:") == len(replies)
    assert "(destroyed)" not in account.commands("disk encrypt show").out


@pytest.mark.parametrize("replies", [["no", "", "destroy disk"], ["\x04"]], ids=repr)
def test_a_person_at_a_terminal_is_asked_and_is_told_what_would_be_lost(
    replies: list[str], tmp_path: Path, account: Account
) -> None:
    prepare(account, [])
    step = ("filer1>", "disk encrypt destroy 0c.00.3", answers("destroy disk"))
    recorded = cast(tmp_path / "a.cast", *[step] * len(replies))
    with account.terminal("--replay", recorded) as terminal:
        for answer in replies:
            terminal.shows("filer1> disk encrypt destroy 0c.00.3")
            terminal.shows("Warning: The data on 1 disks (0c.00.3) will be lost for good")
            terminal.shows("To continue, enter destroy disk: ")
            terminal.type(answer if answer == "\x04" else f"{answer}\r")
        assert terminal.end() == 1

    shown = account.commands("disk encrypt show").out
    assert ("(destroyed)" in shown) == ("destroy disk" in replies)


def test_the_root_of_the_demo_has_nothing_to_lose(tmp_path: Path, account: Account) -> None:
    steps = ("filer1>", "disk encrypt destroy 0c.00.3", answers("destroy disk"))

    ended = account.run("--demo", "--replay", cast(tmp_path / "a.cast", steps))

    assert "+Completed destroy on 1 disks: 1 successes" in ended.out


def test_the_option_that_allows_it_goes_with_a_replay_only(account: Account) -> None:
    ended = account.run("--allow-data-loss", "-c", "hostname")

    assert (ended.out, ended.status) == ("", 2)
    assert ended.err.endswith("filer: error: --allow-data-loss goes with --replay only\n")


@pytest.mark.parametrize(
    "options",
    [
        ["-c", "hostname"],
        ["FILE"],
        ["-e"],
        ["-x"],
        ["--format", "json"],
        ["--ssh", "0"],
        ["--ssh-password", "root"],
    ],
)
def test_what_goes_without_a_replay_says_so(account: Account, options: list[str]) -> None:
    ended = account.run("--replay", "a.cast", *options)

    assert (ended.out, ended.status) == ("", 2)
    assert "cannot be given together" in ended.err


# Volatile output.


def differ(*pairs: str) -> list[tuple[str, str]]:
    """Return the lines that differ between two sessions with these texts."""
    pairing = Pairing()
    named = [pairing.lines(one, other) for one, other in zip(pairs[::2], pairs[1::2], strict=True)]
    return [
        (one, other)
        for then, now in named
        for one, other in zip_longest(then, now, fillvalue="")
        if one.split() != other.split() or len(then) != len(now)
    ]


def test_a_command_of_then_gets_the_key_id_of_now() -> None:
    pairing = Pairing()
    pairing.lines("Key ID: " + "0A" * 32, "Key ID: " + "B1" * 32)

    then = f"disk encrypt rekey {'0A' * 32} 0c.00.1 {'0C' * 32}"

    assert pairing.now(then) == f"disk encrypt rekey {'B1' * 32} 0c.00.1 {'0C' * 32}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Key ID: " + "0A" * 32, "Key ID: " + "B1" * 32),
        ("0c.00.1 4D726PE7UXLBK274", "0c.00.1 ABCDEFGHIJKLMNOP"),
        ("Wed Nov 25 00:02:22 UTC [filer1:x]: y", "Thu Dec  3 10:00:00 UTC [filer1:x]: y"),
        ("Expires:    Fri Nov 24 00:02:22 UTC 2028", "Expires:    Mon Jan  1 00:00:00 UTC 2029"),
        (" 12:02am up 0 mins, 0 NFS", "  1:15pm up  2 days, 11:04 0 NFS"),
        (" 12:02am up 0 mins, 0 NFS", "  1:15pm up  1:04, 0 NFS"),
        ("2 key pairs loaded (0.08 s)", "2 key pairs loaded (12.50 s)"),
        (
            "no answer from 127.0.0.2; trying again for 9 s",
            "no answer from 127.0.0.2; trying again for 10800 s",
        ),
        ("TCP port number for kmip server [5696]: ", "TCP port number for kmip server [4711]:"),
        ("on 2026-11-25T00:02:22Z", "on 2027-01-01T10:00:00Z"),
    ],
)
def test_what_is_volatile_is_no_difference(one: str, other: str) -> None:
    assert differ(one, other) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("0x0 No", "0x0 Yes"),
        ("Key ID: " + "0A" * 32, "Key ID: 0x0"),
        ("127.0.0.2", "127.0.0.3"),
        ("12 disks", "13 disks"),
        ("kmip.port                    5696", "kmip.port                    5697"),
        ("the next boot begins in 1 s", "the next boot begins in 2 s"),
        ("reports 2 keys", "reports 3 keys"),
        ("", "\n"),
    ],
)
def test_anything_else_is_a_difference(one: str, other: str) -> None:
    assert differ(one, other) != []


A, B, C = "0A" * 32, "0B" * 32, "0C" * 32


def test_a_key_keeps_its_name_and_another_key_in_its_place_is_a_difference() -> None:
    assert differ(f"new {A}\nnow {B}\nthen {A}", f"new {B}\nnow {A}\nthen {B}") == []
    assert differ(f"new {A}", f"new {B}", f"now {B}", f"now {A}", f"then {A}", f"then {A}") == [
        ("then KEYID1", "then KEYID2")
    ]


def test_a_key_that_one_session_did_not_make_is_one_difference_only() -> None:
    differences = differ(f"new {A}", "failed", f"new {B}", f"new {C}", f"has {B}", f"has {C}")

    assert differences == [("new KEYID1", "failed")]


def test_a_table_in_the_random_order_of_its_key_ids_is_no_difference() -> None:
    made = (f"new {A}", f"new {B}", f"new {B}", f"new {A}")

    assert differ(*made, f"tag {A}\ntag {B}", f"tag {A}\ntag {B}") == []
    assert differ(*made, f"one {A}\ntwo {B}", f"one {A}\ntwo {B}") != []


# Files that are not recordings.


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("", "1: not the header of an asciicast v2 file"),
        ("hostname\n", "1: not a line of JSON"),
        ('{"version": 1, "width": 80, "height": 24}', "1: not the header of an asciicast v2 file"),
        ('{"version": 2, "width": 0, "height": 24}', "1: not the header of an asciicast v2 file"),
        ('{"version": 2, "width": "80"}', "1: not the header of an asciicast v2 file"),
        ('{"version": 2, "width": NaN, "height": 24}', "1: not a line of JSON"),
        ("[" * 100_000, "1: not a line of JSON"),
        (HEADER + "9" * 10_000, "2: not a line of JSON"),
        (HEADER, "1: not a recording of a filer"),
        (HEADER + '[1.0, "o", "hello\\r\\n"]', "1: not a recording of a filer"),
        (SCRIPT + '[1.0, "o"]', "3: not an event of an asciicast v2 file"),
        (SCRIPT + '[1.0, "o", 1]', "3: not an event of an asciicast v2 file"),
        (SCRIPT + '[true, "o", "x"]', "3: not an event of an asciicast v2 file"),
        (SCRIPT + '["1", "o", "x"]', "3: not an event of an asciicast v2 file"),
        (SCRIPT + '[1.0, "o", "\\ud800"]', "3: not an event of an asciicast v2 file"),
        (SCRIPT + "{}", "3: not an event of an asciicast v2 file"),
    ],
)
def test_what_is_no_recording_says_so(data: str, problem: str) -> None:
    with pytest.raises(CastError) as told:
        read(data.encode())

    assert str(told.value) == problem


def test_a_file_that_is_no_recording_is_one_clear_line(account: Account) -> None:
    (account.home / "a.cast").write_text("hostname\n", encoding="utf-8")

    ended = account.run("--replay", "a.cast")

    assert ended == ("", "filer: a.cast:1: not a line of JSON\n", 2)


def test_bytes_without_end_and_a_directory_are_one_clear_line(account: Account) -> None:
    ended = account.run("--replay", "/dev/zero")
    assert ended == ("", "filer: /dev/zero is larger than 64 MiB\n", 2)

    assert account.run("--replay", ".") == ("", "filer: cannot read .: Is a directory\n", 2)


def test_a_hostile_recording_never_reaches_the_terminal(account: Account) -> None:
    events = [
        [0.5, "x", "a kind of another program"],
        [0.5, "m", "a foreign marker"],
        [0.5, "r", "0x0"],
        [1.0, "m", "\x1b[31mfiler1> hostname"],
        [1.0, "i", "host\x1b[31m\x07\u202e\r"],
        [1.0, "o", "\x1b]0;title\x07\x9b31m\u202e\r\n"],
        [1.0, "i", "an answer to nothing\r"],
    ]
    text = SCRIPT + "".join(f"{json.dumps(event)}\n" for event in events)
    (account.home / "a.cast").write_text(text, encoding="utf-8")

    ended = account.run("--replay", "a.cast")

    assert (ended.err, ended.status) == ("", 1)
    assert "not found" in ended.out
    assert all(line == printable(line) for line in ended.out.splitlines())


LINES = st.one_of(
    st.just(HEADER.encode()),
    st.just(b'[0.0, "m", "session: interactive"]\n'),
    st.tuples(
        st.floats() | st.integers(),
        st.sampled_from(["o", "i", "m", "r", "x"]),
        st.text() | st.sampled_from(["filer1> x", "> y", "question: ?", "secret: ?", "90x30"]),
    ).map(lambda event: json.dumps(event).encode() + b"\n"),
    st.binary(max_size=20),
)


@given(st.lists(LINES, max_size=8).map(b"".join))
def test_any_bytes_are_a_recording_or_a_line_that_says_why_not(data: bytes) -> None:
    try:
        told = [step.log() for step in read(data).steps]
    except CastError as problem:
        told = [printable(str(problem))]

    assert told
