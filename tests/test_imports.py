"""What imports what, and when: the floors of the house, and what a short command must not load."""

import ast
import json
import sys
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import StartKeyServers
from tests.console import Account, beside, editing

HOUSE = Path(__file__).parent.parent
FLOORS = ("shell", "commands", "keyserver", "filer")
COSTLY = ("prompt_toolkit", "kmip", "sqlalchemy")

TELL_MODULES = """
import json, os, sys
from filer.shell.__main__ import main
status = main(sys.argv[2:])
with open(sys.argv[1], "w") as told:
    json.dump(sorted(sys.modules), told)
sys.exit(status)
"""


def module_name(path: Path) -> str:
    parts = path.relative_to(HOUSE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules_of(floor: str) -> dict[str, Path]:
    return {module_name(path): path for path in sorted((HOUSE / floor).rglob("*.py"))}


MODULES = {name: path for floor in FLOORS for name, path in modules_of(floor).items()}


def imported(path: Path) -> Iterator[str]:
    """Yield the modules of the house that ``path`` imports, wherever in the file it does so."""
    package = module_name(path).split(".")[: None if path.name == "__init__.py" else -1]
    for node in ast.walk(ast.parse(path.read_bytes())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                above = package[: len(package) - level + 1] if level else []
                origin = ".".join([*above, *([module] if module else [])])
                members = [f"{origin}.{alias.name}" for alias in names]
                submodules = [member for member in members if member in MODULES]
                yield from submodules
                if len(submodules) < len(names):
                    yield origin


def floors_below(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)} & set(FLOORS)


def loaded_by(account: Account, *arguments: str) -> set[str]:
    """Run the program in a Python that tells what it has imported at the end."""
    told = account.home / "modules"
    ended = account.run("-c", TELL_MODULES, told, *arguments, program=(sys.executable,))
    assert (ended.err, ended.status) == ("", 0)
    return told_in(told)


def told_in(path: Path) -> set[str]:
    return set(json.loads(path.read_text(encoding="utf-8")))


def is_acyclic(graph: dict[str, Iterable[str]]) -> bool:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))
    return True


@pytest.mark.parametrize(
    ("floor", "allowed"),
    [
        ("filer", {"filer"}),
        ("commands", {"commands", "filer"}),
        ("keyserver", {"keyserver", "filer"}),
        ("shell", {"shell", "commands", "filer", "keyserver"}),
    ],
)
def test_a_floor_imports_only_what_is_below_it(floor: str, allowed: set[str]) -> None:
    modules = modules_of(floor)
    too_high = {
        name: floors - allowed
        for name, path in modules.items()
        if (floors := floors_below(path)) - allowed
    }

    assert modules
    assert not too_high


def test_only_the_demo_the_pytest_plug_in_and_its_own_program_use_the_key_server() -> None:
    users = {name for name, path in MODULES.items() if "keyserver" in floors_below(path)}

    assert {name for name in users if not name.startswith("keyserver")} == {
        "filer.shell.demo",
        "pytest_filer.console",
        "pytest_filer",
    }


def test_there_is_no_import_cycle_in_the_filer() -> None:
    modules = modules_of("filer")
    graph: dict[str, Iterable[str]] = {
        name: {each for each in imported(path) if each in modules and each != "filer"}
        for name, path in modules.items()
    }

    assert sum(len(set(below)) for below in graph.values()) > len(graph)
    assert is_acyclic(graph)


def test_a_short_command_loads_neither_line_editor_nor_kmip(account: Account) -> None:
    loaded = loaded_by(account, "-c", "hostname")

    assert "filer" in loaded
    assert loaded.isdisjoint({*COSTLY, "email", "hashlib", "ssl", "threading"})


@pytest.mark.parametrize("arguments", [["-c", "key_manager show"], ["-c", "disk encrypt show"]])
def test_commands_that_ask_no_key_server_load_no_kmip(
    account: Account, arguments: list[str]
) -> None:
    assert loaded_by(account, *arguments).isdisjoint(COSTLY)


def test_a_command_that_asks_a_key_server_loads_kmip_but_no_line_editor(
    tmp_path: Path, key_servers: StartKeyServers
) -> None:
    (server,) = key_servers(1)
    account = beside([server], tmp_path / "home")

    loaded = loaded_by(account, "-c", f"key_manager add -key_server {server.address}")

    assert "kmip" in loaded
    assert loaded.isdisjoint({"prompt_toolkit", "sqlalchemy"})


def test_the_rest_of_pykmip_is_there_for_who_asks_for_it(account: Account) -> None:
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
    assert loaded.isdisjoint({"kmip", "sqlalchemy"})
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
