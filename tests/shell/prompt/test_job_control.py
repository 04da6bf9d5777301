"""A console in the background of a shell: it stops to ask, and shows no secret when it returns."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pexpect
import pytest

from filer.keyserver.server import KeyServer
from tests.kit.console import OTHER_PASSPHRASE, PATIENCE, Account, Terminal, editing
from tests.kit.hostile import silenced

COMMAND = "key_manager rekey -manual"
OPTION = f"filer -c '{COMMAND}'"
QUESTION = "enter a new passphrase: "
CTRL_Z = "\x1a"


@contextmanager
def shell(account: Account, *, is_person: bool = False) -> Iterator[Terminal]:
    opened = editing if is_person else type(account).terminal
    with opened(
        account, "--norc", "--noprofile", "-i", program=("bash",), environment={"PS1": "sh$ "}
    ) as terminal:
        terminal.shows("sh$ ")
        yield terminal


def stops_by_itself(terminal: Terminal) -> None:
    """Press Enter at the shell's prompt until the shell reports that the filer has stopped."""
    for _ in range(100):
        terminal.type("\r")
        if terminal.child.expect_exact(["Stopped", pexpect.TIMEOUT], timeout=0.5) == 0:
            return
    raise AssertionError("it reads in the background")


def answer(terminal: Terminal) -> None:
    """Type both passphrases; neither is echoed."""
    terminal.type(f"{OTHER_PASSPHRASE}\r")
    terminal.shows("reenter the new passphrase:")
    terminal.type(f"{OTHER_PASSPHRASE}\r")
    terminal.shows("4 successes")
    assert OTHER_PASSPHRASE not in terminal.seen


def state_of(process: int) -> str:
    """Return the state of a process, such as T if it is stopped."""
    stat = Path(f"/proc/{process}/stat").read_text(encoding="ascii")
    return stat.rpartition(")")[2].split()[0]


def echoes_again(terminal: Terminal) -> None:
    terminal.shows("sh$ ")
    terminal.type("echo $((6 * 7))")
    terminal.shows("echo $((6 * 7))")
    terminal.type("\r")
    terminal.shows("42")


def process_of(account: Account) -> int:
    return int((account.root / "power").read_text(encoding="ascii"))


def goes_on_in_the_foreground(terminal: Terminal, process: int) -> None:
    """Type fg, and wait until the filer asks again; bash itself reads without an echo too."""
    terminal.type("fg\r")
    terminal.shows("fg")  # what follows is not the report that it has stopped
    while state_of(process) == "T":
        threading.Event().wait(0.01)
    terminal.child.waitnoecho(timeout=PATIENCE)
    assert not terminal.child.getecho()


def is_answered_in_the_foreground(terminal: Terminal, process: int) -> None:
    goes_on_in_the_foreground(terminal, process)
    answer(terminal)
    echoes_again(terminal)


def test_a_question_of_a_program_started_in_the_background(registered: Account) -> None:
    with shell(registered) as terminal:
        terminal.type(f"{OPTION} &\r")
        terminal.shows("sh$ ")
        terminal.shows(QUESTION)
        stops_by_itself(terminal)
        is_answered_in_the_foreground(terminal, process_of(registered))


def test_a_question_after_a_start_in_the_background(
    registered: Account, servers: list[KeyServer]
) -> None:
    """It returns to the foreground before it asks, and no signal reports that."""
    with shell(registered) as terminal:
        with silenced(servers[1]) as listener:
            terminal.type(f"{OPTION} &\r")
            connection = listener.accept()[0]
        servers[1].start()
        with closing(connection):
            terminal.type("fg\r")
            terminal.shows("fg")
            terminal.shows(OPTION)
        terminal.shows(QUESTION)
        answer(terminal)
        echoes_again(terminal)


@pytest.mark.parametrize(("between", "is_person"), [("", False), ("bg", False), ("bg", True)])
def test_a_question_that_was_stopped(registered: Account, between: str, *, is_person: bool) -> None:
    """In the background it reads none of the keys that are typed for the shell."""
    with shell(registered, is_person=is_person) as terminal:
        terminal.type(f"{OPTION}\r")
        terminal.shows(QUESTION)
        terminal.type(CTRL_Z)
        terminal.shows("Stopped")
        if between:
            terminal.type("bg\r")
            terminal.shows("filer -c")
            stops_by_itself(terminal)
        is_answered_in_the_foreground(terminal, process_of(registered))


@pytest.mark.parametrize("kind", ["option", "plain", "editor"])
def test_a_question_that_was_stopped_by_a_signal_that_nothing_can_catch(
    registered: Account, kind: str
) -> None:
    with shell(registered, is_person=kind == "editor") as terminal:
        if kind == "option":
            terminal.type(f"{OPTION}\r")
        else:
            terminal.type("filer\r")
            terminal.shows("filer1>")
            terminal.type(f"{COMMAND}\r")
        terminal.shows(QUESTION.rstrip())
        process = process_of(registered)
        os.kill(process, signal.SIGCONT)  # alone it changes nothing
        os.kill(process, signal.SIGSTOP)
        terminal.shows("Stopped")
        goes_on_in_the_foreground(terminal, process)
        answer(terminal)
        if kind != "option":
            terminal.type("logout\r")
        echoes_again(terminal)


def test_a_command_that_ends_in_the_background(
    registered: Account, servers: list[KeyServer]
) -> None:
    with shell(registered) as terminal:
        terminal.type("filer\r")
        terminal.shows("filer1> ")
        with silenced(servers[1]) as listener:
            terminal.type(f"{COMMAND}\r")
            with closing(listener.accept()[0]):
                terminal.type(CTRL_Z)
                terminal.shows("Stopped")
                terminal.type("bg\r")
                terminal.shows("sh$ ")
        servers[1].start()
        terminal.shows("filer1> ")
        stops_by_itself(terminal)
        terminal.type("fg\r")
        terminal.child.waitnoecho()
        terminal.type(f"{COMMAND}\r")
        terminal.shows(QUESTION)
        answer(terminal)
        terminal.type("logout\r")
        echoes_again(terminal)


@pytest.mark.parametrize("is_person", [False, True])
def test_output_that_is_lost_ends_silently_and_gives_no_secret_to_the_shell(
    account: Account, is_person: bool
) -> None:
    with shell(account, is_person=is_person) as terminal:
        # The first version ends the reader; the next output is lost.
        reader = "{ read -r; echo begun; grep -q Release; }"
        terminal.type(f"filer | {reader}; echo ended ${{PIPESTATUS[0]}}\r")
        terminal.shows("begun\r\n")
        typed = ["version", "version", COMMAND, OTHER_PASSPHRASE, OTHER_PASSPHRASE]
        terminal.type("".join(f"{line}\r" for line in typed))
        terminal.shows("ended 141")
        ended = len(terminal.seen)
        terminal.shows("sh$ ")
        terminal.type("history; echo $((6 * 7))\r")
        terminal.shows("42")
        assert OTHER_PASSPHRASE not in terminal.seen[ended:]
        assert "internal error" not in terminal.seen
