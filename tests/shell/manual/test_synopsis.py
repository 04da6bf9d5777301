"""The SYNOPSIS of a manual page and the grammar of its command are the same."""

import pytest

from filer.shell.line.grammar import Grammar
from filer.shell.manual.pages import find, names
from filer.shell.plugins import Commands
from tests.kit.pages import synopsis

COMMANDS = Commands(pytest.fail)
WITH_A_PAGE = ("disk", "key_manager", "keymgr")


def lines_of(command: str) -> list[str]:
    """Return the SYNOPSIS lines of a command's manual page."""
    page = find(command)
    assert page is not None
    return synopsis(page.source)


def test_these_are_the_commands_that_have_a_page() -> None:
    assert sorted(set(names()) & set(COMMANDS)) == sorted(WITH_A_PAGE)


@pytest.mark.parametrize("command", WITH_A_PAGE)
def test_the_synopsis_of_the_page_is_the_grammar(command: str) -> None:
    assert lines_of(command) == list(COMMANDS[command].synopsis)


@pytest.mark.parametrize("command", WITH_A_PAGE)
def test_every_line_of_a_page_can_be_a_grammar(command: str) -> None:
    assert Grammar.compile(lines_of(command), COMMANDS[command].variables)


@pytest.mark.parametrize("command", WITH_A_PAGE)
def test_a_page_is_found_with_and_without_its_prefix(command: str) -> None:
    assert find(command) == find(f"na_{command}")
