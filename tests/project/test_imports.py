"""What is imported when: what a short command, a script or a prompt must not load."""

import sys
from pathlib import Path

import pytest

from filer.keyserver.server import KeyServer
from tests.kit.console import Account, beside, editing
from tests.kit.imports import TELL_MODULES, loaded_by, told_in

COSTLY = ("prompt_toolkit", "kmip", "sqlalchemy")


def test_a_short_command_loads_neither_line_editor_nor_kmip(account: Account) -> None:
    loaded = loaded_by(account, "-c", "hostname")

    assert "filer" in loaded
    assert loaded.isdisjoint({*COSTLY, "email", "hashlib", "ssl"})


def test_a_command_loads_no_module_of_another_one(account: Account) -> None:
    loaded = loaded_by(account, "-c", "hostname")

    commands = {name for name in loaded if name.startswith("filer.commands.")}
    api = {f"filer.commands.{name}" for name in ("command", "console", "results")}
    assert commands == {"filer.commands.system", *api}


@pytest.mark.parametrize("arguments", [["-c", "key_manager show"], ["-c", "disk encrypt show"]])
def test_commands_that_ask_no_key_server_load_no_kmip(
    account: Account, arguments: list[str]
) -> None:
    assert loaded_by(account, *arguments).isdisjoint(COSTLY)


def test_a_command_that_asks_a_key_server_loads_kmip_but_no_line_editor(
    tmp_path: Path, server: KeyServer
) -> None:
    account = beside([server], tmp_path / "home")

    loaded = loaded_by(account, "-c", f"key_manager add -key_server {server.address}")

    assert "kmip" in loaded
    assert loaded.isdisjoint({"prompt_toolkit", "sqlalchemy"})


def test_the_rest_of_pykmip_can_still_be_imported(account: Account) -> None:
    ended = account.run(
        "-W",
        "ignore",
        "-c",
        "import filer.kmip.messages, kmip\n"
        "from kmip.core import enums\n"
        "print(kmip.KmipClient.__name__, kmip.enums is enums, hasattr(kmip, 'nonsense'))",
        program=(sys.executable,),
    )

    assert ended == ("ProxyKmipClient True False\n", "", 0)


def test_the_first_prompt_loads_no_kmip(account: Account) -> None:
    told = account.home / "modules"
    program = (sys.executable, "-c", TELL_MODULES, str(told))
    with editing(account, program=program) as terminal:
        assert terminal.booted().leave() == 0

    loaded = told_in(told)
    assert {"prompt_toolkit", "filer.shell.prompt.editor"} <= loaded
    assert loaded.isdisjoint({"kmip", "sqlalchemy", "pygments"})
    assert loaded.isdisjoint(
        {
            "filer.shell.line.words",
            "filer.shell.line.grammar",
            "filer.shell.manual.commands",
            "filer.commands.disk",
        }
    )


@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_a_terminal_that_does_not_answer_loads_no_line_editor(account: Account, term: str) -> None:
    told = account.home / "modules"
    program = (sys.executable, "-c", TELL_MODULES, str(told))
    with account.terminal(program=program, environment={"TERM": term}) as terminal:
        terminal.shows("filer1> ")
        assert terminal.leave() == 0

    assert told_in(told).isdisjoint(COSTLY)
