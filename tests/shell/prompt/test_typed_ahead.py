"""Text typed or pasted after a command that asks is its answers, and never a command.

Tested for each kind of reader: plain and with the editor, on this host and over SSH, and recorded.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from filer.keyserver.server import KeyServer
from tests.kit.casts import cast
from tests.kit.console import (
    OTHER_PASSPHRASE,
    Account,
    Terminal,
    change_settings,
    editing,
    files_below,
)
from tests.kit.hostile import silenced
from tests.kit.points import paired
from tests.kit.remote import give_access, serving
from tests.kit.screen import Screen, screen

COMMAND = "key_manager rekey -manual"
WEAK = "weak"
ANSWERS = f"{OTHER_PASSPHRASE}\r{OTHER_PASSPHRASE}\r"


@pytest.fixture
def impatient(registered: Account) -> Account:
    """A filer with two key servers whose timeout is two seconds."""
    change_settings(registered, "timeout = 20.0", "timeout = 2.0")
    return registered


@contextmanager
def opened(kind: str, account: Account) -> Iterator[Terminal]:
    if kind.startswith("ssh"):
        give_access(account)
        with serving(account) as remote:
            client = remote.client("-tt")
            if kind == "ssh editor":
                with editing(account, program=client) as terminal:
                    yield terminal
            else:
                with account.terminal(program=client, environment={"TERM": "vt100"}) as terminal:
                    yield terminal
        assert OTHER_PASSPHRASE not in remote.log
    elif kind == "editor":
        with editing(account) as terminal:
            yield terminal
    else:
        environment = {"TERM": "dumb"} if kind == "dumb" else {}
        recording = ("--record", "a.cast") if kind == "recorded" else ()
        with account.terminal(*recording, environment=environment) as terminal:
            yield terminal


def kept(account: Account) -> str:
    """Return everything that is kept of a session: history, recording, system log."""
    return b"".join(path.read_bytes() for path in files_below(account.home)).decode(
        errors="replace"
    )


TYPED = {
    "never begins": ("key_manager rekey -manaul\r", "unexpected"),
    "never begins, without a value": ("key_manager rekey -manual -key_tag ''\r", "key tag"),
    "in a file that ends": ("source /etc/rekey\r", "end of input"),
    "after the last try": (f"{COMMAND}\r" + f"{WEAK}\r" * 6, "key_manager: a passphrase"),
    "is interrupted": (f"{COMMAND}\r" + f"{WEAK}\r" * 2 + "\x03", "interrupted"),
    "has its answers": (f"{COMMAND}\r", "Completed rekey on 4 disks: 4 successes"),
    "misspelt": ("key_manger rekey -manual\r", "not found"),
}
"""Dialogues with the keys before ANSWERS, and what they say."""


EDITING_LINES = ("plain", "dumb", "recorded")
"""Terminals that edit lines themselves, at the latest when no answer is expected any more."""


@pytest.fixture
def asking(registered: Account) -> Account:
    """A filer with two key servers, and a file with a dialogue."""
    (registered.root / "mroot" / "etc" / "rekey").write_text(f"{COMMAND}\n", encoding="ascii")
    return registered


def goes_on(terminal: Terminal, said: str) -> None:
    terminal.shows(said)
    terminal.shows("filer1>")
    terminal.type("hostname\r")
    terminal.shows("filer1\r\n")


@pytest.mark.parametrize("kind", ["plain", "dumb", "editor", "ssh plain", "ssh editor", "recorded"])
def test_answers_are_answers_or_dropped(
    asking: Account, servers: list[KeyServer], kind: str
) -> None:
    with opened(kind, asking) as terminal:
        terminal.booted()
        with silenced(servers[1]) as listener:
            terminal.type(f"{COMMAND}\r")
            with closing(listener.accept()[0]):
                terminal.type(ANSWERS)
        goes_on(terminal, "no key pair was created")
        assert OTHER_PASSPHRASE not in terminal.seen
        servers[1].start()

        for dialogue, (keys, said) in TYPED.items():
            # Without the editor, the terminal itself takes Ctrl-C at once.
            if dialogue == "is interrupted" and "editor" not in kind:
                continue
            terminal.wait_for_prompt()
            terminal.type(f"{keys}{ANSWERS}")
            goes_on(terminal, said)

            # A terminal that edits lines itself echoes a paste before the command begins.
            assert kind in EDITING_LINES or OTHER_PASSPHRASE not in terminal.seen, dialogue
            assert terminal.seen.count("not found") == (dialogue == "misspelt"), dialogue
    assert OTHER_PASSPHRASE not in kept(asking)


@paired(
    ("kind", ["plain", "recorded"]),
    ("dialogue", [dialogue for dialogue in TYPED if dialogue != "is interrupted"]),
)
def test_answers_typed_at_the_first_prompt_are_not_shown(
    asking: Account, kind: str, dialogue: str
) -> None:
    keys, said = TYPED[dialogue]
    with opened(kind, asking) as terminal:
        terminal.booted().type(f"{keys}{ANSWERS}")
        goes_on(terminal, said)

        assert OTHER_PASSPHRASE not in terminal.seen
        assert terminal.seen.count("not found") == (dialogue == "misspelt")
    assert OTHER_PASSPHRASE not in kept(asking)


@pytest.mark.parametrize("file", ["-", "/dev/tty"])
def test_answers_among_commands_typed_as_a_script_are_not_shown(
    registered: Account, file: str
) -> None:
    with registered.terminal("-x", file) as terminal:
        terminal.type(f"{COMMAND}\r")
        for question in ("enter a new passphrase: ", "reenter the new passphrase: "):
            terminal.shows(question)
            terminal.type(f"{OTHER_PASSPHRASE}\r")
        terminal.shows("Completed rekey on 4 disks: 4 successes")
        terminal.type("hostname\r")
        terminal.shows("filer1\r\n")
        terminal.type("\x04")
        assert terminal.end() == 0

        assert OTHER_PASSPHRASE not in terminal.seen


def test_answers_typed_while_the_filer_boots_are_not_shown(
    impatient: Account, servers: list[KeyServer]
) -> None:
    with (
        silenced(servers[1]) as listener,
        impatient.terminal("-c", "hostname", "-c", COMMAND) as terminal,
    ):
        with closing(listener.accept()[0]):
            terminal.type(f"{OTHER_PASSPHRASE}\r{OTHER_PASSPHRASE}\r")
            terminal.shows("is not responding")
        assert terminal.end() == 1

        assert OTHER_PASSPHRASE not in terminal.seen


def test_a_dialogue_that_has_read_its_answers_drops_nothing(account: Account) -> None:
    with account.terminal() as terminal:
        terminal.booted().type("disk encrypt sanitize -all\rno\rhostname\r")

        terminal.shows("\r\nfiler1\r\n")


def test_answers_are_dropped_though_the_line_takes_the_power(account: Account) -> None:
    lines = f"key_manager rekey -manual; reboot\r{OTHER_PASSPHRASE}\r{OTHER_PASSPHRASE}\r"
    with account.terminal() as terminal:
        terminal.booted().type(lines)
        terminal.shows("System rebooting...")
        terminal.shows("filer1> ")
        assert terminal.enter("hostname") == "filer1\n"

        assert OTHER_PASSPHRASE not in terminal.seen


def test_a_script_drops_them_too(account: Account) -> None:
    ended = account.script(
        "key_manager rekey -manual; reboot", OTHER_PASSPHRASE, OTHER_PASSPHRASE, "hostname"
    )

    assert ended.out == "System rebooting...\nfiler1\n"
    assert OTHER_PASSPHRASE not in ended.err


def test_a_script_drops_entries_behind_the_last_try(registered: Account) -> None:
    entries = [WEAK] * 6 + [OTHER_PASSPHRASE] * 2
    ended = registered.run(
        "-x", input="".join(f"{each}\n" for each in (COMMAND, *entries, "hostname"))
    )

    assert ended.out.endswith("filer1> hostname\nfiler1\n")
    assert OTHER_PASSPHRASE not in ended.out + ended.err
    assert ended.status == 1


def test_answers_to_a_command_option_do_not_go_to_the_shell(account: Account) -> None:
    script = f"filer -c '{COMMAND}'; echo READY; read line; echo got $line"
    with account.terminal("-c", script, program=("bash",)) as terminal:
        terminal.type(f"{OTHER_PASSPHRASE}\r")
        terminal.shows("No key servers are registered")
        terminal.shows("READY")
        terminal.type("mine\r")
        terminal.shows("got mine")


@pytest.fixture
def replay(tmp_path: Path) -> str:
    """Return the option that replays a recording with the command and its two answers."""
    questions = ("Please enter a new passphrase:", "Please reenter the new passphrase:")
    step = ("filer1>", COMMAND, [(f"secret: {question}", "") for question in questions])
    return f"--replay '{cast(tmp_path / 'a.cast', step)}'"


@contextmanager
def in_a_shell(account: Account, options: str) -> Iterator[Terminal]:
    script = f"filer {options}; echo READY; read line; echo got $line"
    with account.terminal("-c", script, program=("bash",)) as terminal:
        yield terminal
        terminal.shows("READY")
        terminal.type("mine\r")
        terminal.shows("got mine")


def test_answers_to_a_replay_may_be_pasted_at_once(registered: Account, replay: str) -> None:
    with in_a_shell(registered, replay) as terminal:
        terminal.shows("enter a new passphrase: ")
        terminal.type(f"{OTHER_PASSPHRASE}\r{OTHER_PASSPHRASE}\r")
        terminal.shows("reenter the new passphrase: ")
    assert OTHER_PASSPHRASE not in terminal.seen


def test_answers_to_a_replay_may_be_typed_while_it_boots(
    impatient: Account, servers: list[KeyServer], replay: str
) -> None:
    with silenced(servers[1]) as listener, in_a_shell(impatient, replay) as terminal:
        with closing(listener.accept()[0]):
            terminal.type(f"{OTHER_PASSPHRASE}\r{OTHER_PASSPHRASE}\r")
        terminal.shows("no key pair was created")
    assert OTHER_PASSPHRASE not in terminal.seen


@pytest.mark.parametrize("reason", ["no key server", "panic", "in use"])
def test_answers_that_no_command_asked_for_do_not_go_to_the_shell(
    registered: Account, servers: list[KeyServer], replay: str, reason: str
) -> None:
    with ExitStack() as stack:
        if reason == "no key server":
            assert registered.commands(f"key_manager remove {having_all(servers)}").status == 0
        elif reason == "in use":
            stack.enter_context(registered.terminal()).booted()
        else:
            for disk in (registered.root / "shelf").iterdir():
                disk.unlink()
        with in_a_shell(registered, replay) as terminal:
            terminal.child.waitnoecho()
            terminal.type(f"{OTHER_PASSPHRASE}\r{OTHER_PASSPHRASE}\r")


def having_all(servers: Sequence[KeyServer]) -> str:
    return " ".join(f"-key_server {server.address}" for server in servers)


# Bracketed pastes, for which the editor asks the terminal.


def test_a_paste_in_brackets_is_as_many_lines_as_it_has(registered: Account) -> None:
    lines = [COMMAND, OTHER_PASSPHRASE, OTHER_PASSPHRASE, "hostname", "hist"]
    with screen(registered, rows=80) as person:
        person.booted()
        for times, line_end in enumerate(("\n", "\r", "\r\n"), 1):
            person.paste(line_end.join(lines))
            shown(person, "Completed rekey on 4 disks: 4 successes", times)
            shown(person, "filer1> hostname\nfiler1\n", times)
            person.shows_typed("filer1> hist")
            person.type("ory\r")
            shown(person, "  2  hostname\n", times)
            person.shows_typed("filer1>")

        assert OTHER_PASSPHRASE not in person.text
    written = registered.history.read_text(encoding="utf-8")
    assert re.findall(r"(?m)^\+(.*)$", written) == [COMMAND, "hostname", "history"] * 3


def shown(person: Screen, text: str, times: int) -> None:
    """Wait until ``text`` is on the screen so many times."""
    person.wait(lambda: person.text.count(text) == times, text)


def test_a_paste_in_brackets_whose_dialogue_never_begins_is_dropped(account: Account) -> None:
    pasted = f"{COMMAND}\n{OTHER_PASSPHRASE}\n{OTHER_PASSPHRASE}\nhostname\n"
    with screen(account) as person:
        person.booted().paste(pasted)
        person.shows(f"{COMMAND}\nNo key servers are registered.\nfiler1>")
        assert person.enter("version").startswith("NetApp")

        assert OTHER_PASSPHRASE not in person.text
        assert "filer1> hostname" not in person.text
    assert OTHER_PASSPHRASE not in kept(account)


def test_a_control_character_in_a_paste_is_text(account: Account) -> None:
    with screen(account) as person:
        person.booted().paste("hostname\nlog\tx\x03")

        person.shows("\nfiler1\n")
        person.wait(lambda: person.typed.startswith("filer1> log"), "the second line")
        assert person.typed.endswith("x^C")


def test_a_secret_may_be_pasted_with_its_line_end(registered: Account) -> None:
    with screen(registered, rows=60) as person:
        person.booted()
        for times, line_end in enumerate(("\n", "\r", "\r\n"), 1):
            person.type(f"{COMMAND}\r")
            for question in (
                "Please enter a new passphrase:",
                "Please reenter the new passphrase:",
            ):
                shown(person, question, times)
                person.paste(f"{OTHER_PASSPHRASE}{line_end}")
                person.settle()
                person.type("\r")
            shown(person, "Completed rekey on 4 disks: 4 successes", times)
            person.shows_typed("filer1>")


def test_two_line_ends_behind_a_secret_are_not_dropped(registered: Account) -> None:
    with screen(registered) as person:
        person.booted().type(f"{COMMAND}\r")
        person.shows("enter a new passphrase:")
        person.paste(f"{OTHER_PASSPHRASE}\n{OTHER_PASSPHRASE}\n")

        person.shows("Completed rekey on 4 disks: 4 successes")
