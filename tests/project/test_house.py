"""The source tree: floors, the order of rooms, and the one import name (docs/ARCHITECTURE.md)."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.kit.paths import CHECKOUT

ARCHITECTURE = CHECKOUT / "docs" / "ARCHITECTURE.md"

LINKED = ("shell", "commands", "keyserver", "qualify", "storm", "man")
"""The folders beside ``filer/`` that are imported as parts of it."""

FLOORS = {
    "filer": (),
    "filer.keyserver": ("filer",),
    "filer.qualify": ("filer",),
    "filer.storm": ("filer",),
    "filer.commands": ("filer",),
    "filer.shell": ("filer", "filer.keyserver", "filer.commands"),
}
"""Each floor with the floors that it may import."""

ROOMS = {
    "filer": (
        ("host",),
        ("running", "keys", "mroot"),
        ("config", "kmip", "disks"),
        ("key_servers", "registration"),
        ("boot_device", "options", "clock", "network", "pair", "throw_away"),
        ("root",),
        ("system",),
        ("trial", "boot", "drives"),
    ),
    "filer.keyserver": (
        ("identity", "request"),
        ("response",),
        ("pykmip", "store"),
        ("reading",),
        ("engine", "authority"),
        ("session", "stored_keys"),
        ("server",),
    ),
    "filer.qualify": (
        ("outcome", "options"),
        ("record", "certificates", "oasis", "report"),
        ("server",),
        ("checks", "text", "json_lines", "junit"),
        ("catalogue", "run"),
        ("session",),
    ),
    "filer.storm": (
        ("plan",),
        ("fleet", "measuring", "outcome", "scenario"),
        ("ledgers",),
        ("scenarios", "stocking", "load", "text"),
        ("catalogue", "json_report", "junit", "page"),
        ("options", "conductor", "worker"),
        ("generator", "session"),
    ),
    "filer.commands": (
        ("results",),
        ("console",),
        ("command",),
        ("",),
        ("parts",),
        ("cf", "system", "power", "options", "network"),
        ("keymgr", "storage"),
        ("disk",),
        ("key_manager", "boot_menu"),
        ("kmip_setup",),
        ("loader",),
    ),
    "filer.shell": (
        ("announcer", "signals", "defects"),
        ("line",),
        ("manual",),
        ("session",),
        ("partner", "prompt"),
        ("batch",),
        ("recording",),
        ("ssh",),
        ("options", "plugins", "demo"),
        ("check", "transcript", "demo_pair", "giveback"),
        ("power_cycle",),
        ("program",),
    ),
}
"""The rooms and single modules of each floor: each imports only those before it.

"" is the floor itself, its ``__init__``; by default it is the first.
"""


class SourceTree:
    """The modules of a checkout by name, and their imports."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.modules = dict(self._modules())

    def _modules(self) -> Iterator[tuple[str, Path]]:
        for folder in ("filer", *LINKED, "pytest_filer"):
            for path in sorted((self.root / folder).rglob("*.py")):
                inside = path.relative_to(self.root)
                parts = (*inside.parts[:-1], *([] if path.stem == "__init__" else [path.stem]))
                if inside.parts[1] not in LINKED:  # one of the links
                    yield ".".join(("filer", *parts) if folder in LINKED else parts), path

    def imports(self, name: str, *, for_types: bool = True) -> set[str]:
        """Return the imports of ``name``; ``for_types`` includes those for type checkers."""
        tree = ast.parse(self.modules[name].read_bytes())
        return set(self._imported(name, tree, for_types=for_types))

    def _imported(self, importer: str, tree: ast.Module, *, for_types: bool) -> Iterator[str]:
        for node in imports_in(tree, for_types=for_types):
            match node:
                case ast.Import(names=names):
                    yield from (alias.name for alias in names)
                case ast.ImportFrom(module=module, names=names, level=0):
                    for alias in names:
                        member = f"{module}.{alias.name}"
                        yield member if member in self.modules else module or ""
                case _:
                    raise AssertionError(f"{importer} has a relative import")

    def of(self, floor: str) -> list[str]:
        return [name for name in self.modules if floor_of(name) == floor]

    def upward_imports(self) -> Iterator[str]:
        """Yield each import that does not lead down, and each module that has no room."""
        for floor, below in FLOORS.items():
            ranks = {"": -1, "__main__": len(ROOMS[floor])}
            ranks |= {room: rank for rank, rooms in enumerate(ROOMS[floor]) for room in rooms}
            for name in self.of(floor):
                room = room_of(name)
                if name == "filer.__main__":  # the program, above all floors
                    continue
                if room not in ranks:
                    yield f"{name} is in no room"
                    continue
                for other in self.imports(name):
                    on = floor_of(other)
                    if on is None or (on == floor and room_of(other) == room):
                        continue
                    leads_down = on in below
                    if on == floor:
                        leads_down = ranks.get(room_of(other), len(ranks)) < ranks[room]
                    if not leads_down:
                        yield f"{name} imports {other}"

    def circles(self) -> Iterator[str]:
        """Yield an import cycle of each floor that has one, without imports for type checkers."""
        for floor in FLOORS:
            names = set(self.of(floor)) - {floor}
            graph = {name: self.imports(name, for_types=False) & names for name in names}
            try:
                TopologicalSorter(graph).prepare()
            except CycleError as error:
                yield " imports ".join(reversed(error.args[1]))


def imports_in(tree: ast.AST, *, for_types: bool = True) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports below ``tree``; ``for_types`` includes those for type checkers."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.expr():  # has no imports, and most of the nodes
                continue
            case ast.If(test=ast.Name(id="TYPE_CHECKING")) if not for_types:
                continue
            case ast.Import() | ast.ImportFrom():
                yield node
            case _:
                yield from imports_in(node, for_types=for_types)


def floor_of(name: str) -> str | None:
    """Return the floor of a module, or None if it is not part of the program."""
    top = ".".join(name.split(".")[:2])
    if top in FLOORS:
        return top
    return "filer" if name.split(".", maxsplit=1)[0] == "filer" and top != "filer.man" else None


def room_of(name: str) -> str:
    """Return the room of a module, "" for a floor's own ``__init__``."""
    floor = floor_of(name) or ""
    return name.removeprefix(floor).removeprefix(".").split(".")[0]


@pytest.fixture(scope="module")
def source() -> SourceTree:
    return SourceTree(CHECKOUT)


# Floors and rooms.


def test_every_import_leads_to_a_room_below(source: SourceTree) -> None:
    assert list(source.upward_imports()) == []


def test_there_are_no_import_circles(source: SourceTree) -> None:
    assert list(source.circles()) == []


def test_the_whole_source_tree_is_seen(source: SourceTree) -> None:
    for floor, rooms in ROOMS.items():
        names = source.of(floor)
        found = {room_of(name) for name in names} - {"", "__main__"}
        assert found == {room for row in rooms for room in row} - {""}
        within = {each for name in names for each in source.imports(name) if each in names}
        assert len(within) > len(names) / 2
    for floor in FLOORS.keys() - {"filer"}:
        assert any(
            floor_of(each) == "filer" for name in source.of(floor) for each in source.imports(name)
        )


PLANTED = {
    "filer/kmip/tls.py": "from filer.key_servers.group import KeyServers",
    "filer/keys/secret.py": "def f():\n    import filer.kmip.client",
    "filer/disks/disk.py": "from filer.kmip import client",
    "filer/host/text.py": "from filer.commands import Call",
    "filer/root.py": "from filer import system",
    "commands/parts/dialogue.py": "import filer.commands.disk.report",
    "commands/__init__.py": "from filer.commands.parts import dialogue",
    "commands/results.py": "from filer.commands import Console",
    "keyserver/server.py": "from filer.shell.signals import Signals",
    "shell/line/words.py": "if TYPE_CHECKING:\n    from filer.shell.session import Session",
    "shell/signals.py": "from filer.shell.line import words",
    "shell/attic.py": "",
}


def planted(directory: Path, files: Mapping[str, str]) -> SourceTree:
    for path, text in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text, encoding="utf-8")
    return SourceTree(directory)


@pytest.mark.parametrize("path", PLANTED)
def test_a_planted_upward_import_is_found(tmp_path: Path, path: str) -> None:
    source = planted(tmp_path, {"filer/system.py": "", path: PLANTED[path]})
    (found,) = source.upward_imports()

    assert found.startswith("filer.")


def test_imports_downwards_and_within_a_room_are_fine(tmp_path: Path) -> None:
    source = planted(
        tmp_path,
        {
            "shell/ssh/server.py": "import asyncssh\nfrom filer.shell.ssh import keys",
            "shell/ssh/keys.py": "import filer.shell.session\nfrom filer import RELEASE",
            "shell/session.py": "from filer.commands import Call\nimport filer.host.text",
            "filer/__main__.py": "",
        },
    )

    assert list(source.upward_imports()) == []


def test_a_planted_circle_is_found(tmp_path: Path) -> None:
    text = "from filer.shell.ssh import {}\n"
    source = planted(
        tmp_path, {"shell/ssh/a.py": text.format("b"), "shell/ssh/b.py": text.format("a")}
    )

    (circle,) = source.circles()
    assert set(circle.split(" imports ")) == {"filer.shell.ssh.a", "filer.shell.ssh.b"}


def test_the_key_server_is_used_by_the_demo_and_the_process_of_the_pytest_plug_in(
    source: SourceTree,
) -> None:
    users = {
        name
        for name in source.modules
        if floor_of(name) != "filer.keyserver"
        and any(floor_of(each) == "filer.keyserver" for each in source.imports(name))
    }

    assert users == {"filer.shell.demo", "pytest_filer.key_server_process"}


def test_the_pytest_plug_in_imports_nothing_of_the_filer_in_the_process_of_the_tests(
    source: SourceTree,
) -> None:
    plug_in = {name for name in source.modules if name.startswith("pytest_filer")}
    process = "pytest_filer.key_server_process"
    imported = {each for name in plug_in - {process} for each in source.imports(name)}

    assert len(plug_in) > 3
    assert imported & plug_in
    assert process not in imported
    assert not any(map(floor_of, imported))


def test_the_map_names_every_room_and_nothing_else(source: SourceTree) -> None:
    named = set(re.findall(r"^\| `([^`]*)` \|", ARCHITECTURE.read_text(encoding="utf-8"), re.M))
    folders = {f"{path.parent.relative_to(CHECKOUT)}/" for path in source.modules.values()}
    alone = {
        f"{path.relative_to(CHECKOUT)}"
        for name, path in source.modules.items()
        if path.parent.parent == CHECKOUT
        and floor_of(name) == "filer"
        and not path.name.startswith("_")
    }

    assert named == {*folders, *alone}


def test_the_map_leads_to_files_that_exist() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    paths = set(re.findall(r"`(\w+/[\w/]*(?:\.py)?)`", text))

    assert len(paths) > 40
    assert not [path for path in paths if not (CHECKOUT / path).exists()]


# One import name.


def test_everything_is_imported_as_filer(source: SourceTree) -> None:
    others = [path for folder in ("tests", "bench") for path in (CHECKOUT / folder).rglob("*.py")]
    for path in (*source.modules.values(), *others):
        for node in imports_in(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [node.module or ""]
            assert not {name.split(".")[0] for name in names} & set(LINKED), path


TWICE = """
import sys
from collections import Counter
from pathlib import Path
from filer.shell.__main__ import main
status = main(["-c", "help", "-c", "man key_manager", "-c", "key_manager show"])
loaded = [getattr(module, "__file__", None) for module in sys.modules.values()]
files = Counter(Path(file).resolve() for file in loaded if file)
ours = {file: count for file, count in files.items() if file.is_relative_to(sys.argv[1])}
print(len(ours) > 50, [file for file, count in ours.items() if count > 1], file=sys.stderr)
"""


def test_no_file_is_loaded_under_two_names(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", TWICE, CHECKOUT],
        env={"FILER_ROOT": str(tmp_path / "root"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert ran.stderr == "True []\n"


@pytest.mark.parametrize("folder", LINKED)
def test_the_links_lead_to_the_folders(folder: str) -> None:
    link = CHECKOUT / "filer" / folder

    assert link.is_symlink()
    assert link.readlink() == Path("..", folder)


def test_the_rooms_themselves_are_empty(source: SourceTree) -> None:
    rooms = {
        path
        for name, path in source.modules.items()
        if path.name == "__init__.py" and path.parent.parent != CHECKOUT
    }
    commands = {CHECKOUT / "commands" / name / "__init__.py" for name in ("disk", "key_manager")}

    assert commands < rooms
    assert {path for path in rooms - commands if path.read_bytes()} == set()
