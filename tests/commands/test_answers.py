"""How many lines after a command, even a misspelt one, are answers and never run as commands."""

import pytest

from filer.commands import ALL_ANSWERS
from filer.shell.line.answers import expected_answers, may_be_command, stray_answers
from filer.shell.plugins import Commands, commands_at_loader, commands_in_maintenance

COMMANDS = Commands(pytest.fail)


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("key_manager setup", ALL_ANSWERS),
        ("key_manager Stup", ALL_ANSWERS),
        ("key_manager -setup surplus", ALL_ANSWERS),
        ("key_manager show setup", 0),
        ("key_manger setup", ALL_ANSWERS),
        ("key_manager rekey -manual", 2),
        ("key_manager rekey -key_tag x -manaul", 2),
        ("key_manager rekye manual", 2),
        ("key_manager restore -manual", 2),
        ("keymanager rekey -manual", 2),
        ("key_manager rekey -m", 2),
        ("key_manager rekey -man", 2),
        ("key_manager se", ALL_ANSWERS),
        ("disk encrypt rekey -manual", 2),
        ("man man", 0),
        ("rekey -manual", 2),
        ("key_manager rekey", 0),
        ("key_manager add -key_server 127.0.0.2", 0),
        ("disk encrypt sanitize 0c.00.3", 1),
        ("disk encrypt destroy", 1),
        ("disk encrypt sanitise 0c.00.3", 0),
        ("disk encrypt show 0c.00.3", 0),
        ("disk encrypt", 0),
        ("dsik encrypt sanitize 0c.00.3", 1),
        ("hostname setup", 0),
        ("hostnmae setup", ALL_ANSWERS),
        ("hostname; disk encrypt destroy *", 1),
        ("disk encrypt sanitize -all; disk encrypt destroy *", ALL_ANSWERS),
        ("key_manager setup 'unclosed", ALL_ANSWERS),
        ("nonsense", 0),
        ("", 0),
    ],
)
def test_the_answers_that_may_follow_a_line(line: str, answers: int) -> None:
    assert expected_answers(COMMANDS, line) == answers


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("key_manager rekey", 2),
        ("key_manager rekye -key_tag x", 2),
        ("disk encrypt rekey 0x0 *", 2),
        ("rekey", 2),
        ("key_manager restore -all", 0),
        ("key_manager remove -key_server 127.0.0.2", 0),
        ("key_manager query", 0),
        ("keym", 0),
        ("help key", 0),
        ("", 0),
    ],
)
def test_the_answers_that_may_follow_a_line_without_the_option_that_asks(
    line: str, answers: int
) -> None:
    assert stray_answers(COMMANDS, line) == answers


@pytest.mark.parametrize("line", ["hostname", "dsik show", "disk encrypt shwo", " key_manger"])
def test_a_misspelt_command_is_no_answer(line: str) -> None:
    assert may_be_command(COMMANDS, line)


@pytest.mark.parametrize("line", ["", "Weak1!", "Correct-horse-battery-1!", "q"])
def test_an_answer_is_no_command(line: str) -> None:
    assert not may_be_command(COMMANDS, line)


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("kmip_setup /certificates 127.0.0.2", ALL_ANSWERS),
        ("kmip_setup", ALL_ANSWERS),
        ("kmip_stup", ALL_ANSWERS),
        ("printenv", 0),
    ],
)
def test_the_answers_that_may_follow_a_line_at_loader(line: str, answers: int) -> None:
    assert expected_answers(commands_at_loader(), line) == answers


def test_an_erasure_in_maintenance_mode_has_one_answer() -> None:
    assert expected_answers(commands_in_maintenance(), "disk encrypt sanitize -all") == 1
    assert expected_answers(commands_in_maintenance(), "disk encrypt show") == 0
