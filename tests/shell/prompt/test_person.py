"""People's terminals get the editor, at the latest at the second prompt.

The tests use real answers to the cursor-position query, with the latencies of real links.
"""

import threading
from contextlib import suppress

import pytest

from filer.shell.prompt.keyboard import QUESTION
from tests.kit.console import Account
from tests.kit.points import ALL, some
from tests.kit.remote import Remote
from tests.kit.screen import Screen, screen

TERMINALS = {
    "xterm": "xterm-256color",
    "tmux": "tmux-256color",
    "screen": "screen",
    "VTE": "xterm-256color",
    "kitty": "xterm-kitty",
    "PuTTY": "putty-256color",
    "Windows Terminal": "xterm-256color",
}
"""The value of TERM there. All answer ``ESC [ row ; column R``, at different times."""

LATENCIES = (0.0, 0.02, 0.3, 1.0)
"""Seconds: on this host; in the same building; another continent; a satellite or a phone."""

TRIED = [
    (name, latency)
    for number, name in enumerate(TERMINALS)
    for latency in LATENCIES
    if ALL or latency == LATENCIES[number % len(LATENCIES)]
]


def delayed(person: Screen, seconds: float) -> None:
    """Make the terminal answer after ``seconds``."""

    def send(answer: str) -> None:
        with suppress(OSError):  # the test is over
            person.child.send(answer)

    def reply(answer: str) -> None:
        timer = threading.Timer(seconds, send, [answer])
        timer.daemon = True
        timer.start()

    person.answer(reply)


def use(person: Screen, latency: float) -> None:
    """Enter two commands at a terminal that answers after ``latency`` seconds."""
    delayed(person, latency)
    person.shows("filer1>")
    person.type("hostname\r")
    person.shows("filer1> hostname\nfiler1\nfiler1>")
    person.wait(lambda: "locked" in person.toolbar, "a toolbar")
    person.type("key_manager sho")
    person.shows_colour("key_manager", "brightcyan")
    person.type("w\r")
    person.shows("No key servers are registered.")

    assert "[" not in person.text
    assert "WARNING" not in person.text
    assert person.text.count("filer1> hostname") == 1


@pytest.mark.sampled
@pytest.mark.parametrize(("name", "latency"), some(TRIED, most=4))
def test_a_terminal_of_this_host(account: Account, name: str, latency: float) -> None:
    with screen(account, environment={"TERM": TERMINALS[name]}) as person:
        use(person, latency)


@pytest.mark.sampled
@pytest.mark.parametrize(("name", "latency"), TRIED)
def test_a_terminal_over_ssh(remote: Remote, name: str, latency: float) -> None:
    with remote.screen(term=TERMINALS[name]) as person:
        use(person, latency)


@pytest.mark.parametrize("latency", [0.0, 0.5])
def test_an_empty_prompt_is_turned_into_the_editor_at_once(
    account: Account, latency: float
) -> None:
    with screen(account) as person:
        delayed(person, latency)

        person.wait(lambda: "locked" in person.toolbar, "a toolbar")
        assert person.text.count("filer1>") == 1


def test_the_terminal_is_asked_before_the_filer_boots(account: Account) -> None:
    with account.terminal() as terminal:
        terminal.shows("raid: 4 disks, aggr0 online")

        assert terminal.seen.startswith(QUESTION)


def test_a_start_that_is_refused_leaves_no_answer_for_the_shell(account: Account) -> None:
    account.settings.write_text("nonsense", encoding="utf-8")
    shell = "filer; echo READY; read -r line; printf '<%q>' \"$line\""
    with account.terminal("-c", shell, program=("bash",)) as terminal:
        terminal.shows(QUESTION)
        terminal.type("\x1b[1;1R")
        terminal.shows("READY")
        terminal.type("mine\r")

        terminal.shows("<mine>")
