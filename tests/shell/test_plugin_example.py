"""examples/plugin: install, use and test the distribution as its author would."""

import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from filer.commands import ENTRY_POINTS, Call, Command, Console, Subcommand
from tests.kit.console import Account, editing
from tests.kit.paths import CHECKOUT

EXAMPLE = CHECKOUT / "examples" / "plugin"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create an environment with a filer and the plug-in; return its interpreter."""
    directory = tmp_path_factory.mktemp("plug-in")
    venv.create(directory / "venv")
    scripts = directory / "venv" / "bin"
    python = scripts / "python"
    (packages,) = (directory / "venv" / "lib").glob("python*/site-packages")
    here = [path for path in sys.path if path.endswith("-packages")]
    borrowed = "".join(f"import site; site.addsitedir({path!r})\n" for path in here)
    (packages / "borrowed.pth").write_text(borrowed, encoding="utf-8")
    program = scripts / "filer"
    main = "import sys\nfrom filer.shell.__main__ import main\nsys.exit(main())\n"
    program.write_text(f"#!{python}\n{main}", encoding="utf-8")
    program.chmod(0o700)
    source = directory / "source"
    shutil.copytree(EXAMPLE, source)
    install = "-m pip install --quiet --no-build-isolation --no-deps --no-index"
    subprocess.run([python, *install.split(), source], check=True, cwd=directory)
    return python


def test_its_own_tests_pass(python: Path, tmp_path: Path) -> None:
    tests = shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")
    ended = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests],
        capture_output=True,
        cwd=tmp_path,
        check=False,
        text=True,
    )

    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
    assert "4 passed" in ended.stdout


def test_it_is_a_command_like_any_other(python: Path, account: Account) -> None:
    program = (str(python.with_name("filer")),)
    ended = account.run(
        *("-c", "help audit", "-c", "audit sing", "-c", "man audit"), program=program
    )

    assert ended.status == 1
    assert ended.out.startswith("audit - check that disks are locked\nAUDIT(1)")
    assert ended.err.startswith('audit: word 2: unexpected "sing"; did you mean "sign"?\n')
    with editing(account, program=program) as terminal:
        terminal.booted().type("aud\t\t")
        terminal.shows("find disks that are not locked")
        terminal.type("disks 0c.00.3\r")
        terminal.shows("audit: 0c.00.3 is not locked")
        terminal.wait_for_prompt()
        terminal.type("man aud\t")
        terminal.shows("man audit")


def test_the_document_shows_the_example() -> None:
    document = (CHECKOUT / "docs" / "PLUGINS.md").read_text(encoding="utf-8")
    files = [path.read_text() for path in EXAMPLE.rglob("*") if path.suffix in (".py", ".toml")]
    shown = re.findall(r"(?s)```(?:python|toml)\n(.*?)```", document)

    assert len(shown) > 4
    for block in shown:
        assert any(block in text for text in files), block


def test_the_document_names_the_version_of_the_api_and_all_that_it_has() -> None:
    document = (CHECKOUT / "docs" / "PLUGINS.md").read_text(encoding="utf-8")

    assert f"`{ENTRY_POINTS}`" in document
    for kind in (Call, Command, Console, Subcommand):
        for name in vars(kind).keys() | getattr(kind, "__annotations__", {}).keys():
            assert name.startswith("_") or re.search(rf"`(\w+\.)*{name}\b", document), name
