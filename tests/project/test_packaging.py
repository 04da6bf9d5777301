"""What is built and installed from a checkout, and how it works beside other projects' modules."""

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

import pytest

from tests.kit.console import PATIENCE
from tests.kit.paths import CHECKOUT
from tests.kit.points import paired, some

LINKED = ("shell", "commands", "keyserver", "qualify", "storm", "man")
NOT_OURS = shutil.ignore_patterns(
    ".git", ".venv*", "__pycache__", ".*_cache", ".hypothesis", "build", "*.egg-info"
)
SLOW = 10 * PATIENCE

BUILD = "import sys, setuptools.build_meta as backend; getattr(backend, sys.argv[1])(sys.argv[2])"


def run(*command: str | Path, cwd: Path, environment: Mapping[str, str] | None = None) -> str:
    """Run a program, which must succeed, and return its output."""
    ended = subprocess.run(
        command,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd), **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SLOW,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def copied(directory: Path, *, links: bool) -> Path:
    """Copy the checkout; without ``links``, as a download by a program that ignores links."""
    shutil.copytree(CHECKOUT, directory, symlinks=True, ignore=NOT_OURS)
    for name in LINKED:
        link = directory / "filer" / name
        link.unlink(missing_ok=True)
        if links:
            link.symlink_to(Path("..", name))
    return directory


def wheel_of(checkout: Path) -> dict[str, bytes]:
    """Build a wheel; return its files, except the metadata."""
    with ZipFile(built(checkout, "wheel")) as wheel:
        return {name: wheel.read(name) for name in wheel.namelist() if ".dist-info/" not in name}


def built(checkout: Path, kind: str) -> Path:
    """Build a wheel or an sdist and return its path."""
    to = checkout.with_name(f"{checkout.name}-{kind}")
    run(sys.executable, "-c", BUILD, f"build_{kind}", to, cwd=checkout)
    (distribution,) = to.iterdir()
    return distribution


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with its links."""
    return copied(tmp_path_factory.mktemp("with") / "house", links=True)


@pytest.fixture(scope="module")
def download(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout without its links."""
    return copied(tmp_path_factory.mktemp("without") / "house", links=False)


@pytest.fixture(scope="module")
def wheel(checkout: Path) -> Path:
    return built(checkout, "wheel")


@pytest.fixture(scope="module")
def sdist(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an unpacked source distribution."""
    directory = tmp_path_factory.mktemp("sdist")
    archive = built(checkout, "sdist")
    with tarfile.open(archive) as packed:
        assert all(member.isreg() or member.isdir() for member in packed)
    run("tar", "-xf", archive, cwd=directory)
    (inside,) = directory.iterdir()
    return inside


# What is in a distribution.


def program_files() -> Iterator[tuple[str, bytes]]:
    """Yield the program's modules and data files by their paths in a wheel."""
    for folder in ("filer", *LINKED, "pytest_filer"):
        for path in (CHECKOUT / folder).rglob("*"):
            name = path.relative_to(CHECKOUT).as_posix()
            if path.is_file() and path.suffix != ".pyc":
                yield (f"filer/{name}" if folder in LINKED else name), path.read_bytes()


def test_a_wheel_has_every_file_of_the_program(wheel: Path, checkout: Path) -> None:
    files = {name: data for name, data in wheel_of(checkout).items() if ".data/" not in name}
    pages = {f"man/{path.name}": path.read_bytes() for path in (CHECKOUT / "man").glob("*.1")}

    assert len(files) > 150
    assert files == dict(program_files())
    with ZipFile(wheel) as packed:
        assert pages == {
            f"man/{name.rpartition('/')[2]}": packed.read(name)
            for name in packed.namelist()
            if ".data/data/share/man/man1/" in name
        }


def test_a_wheel_is_the_same_without_links_and_from_a_source_distribution(
    checkout: Path, download: Path, sdist: Path
) -> None:
    assert wheel_of(checkout) == wheel_of(download) == wheel_of(sdist)


def test_a_source_distribution_has_tests_documents_and_each_file_once(sdist: Path) -> None:
    packed = {path.relative_to(sdist) for path in sdist.rglob("*") if path.is_file()}
    wanted = {
        path.relative_to(CHECKOUT)
        for folder in (".ci", "bench", "docs", "tests", "filer", "pytest_filer", *LINKED)
        for path in (CHECKOUT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    top = {Path(name) for name in ("README.md", "Makefile", "setup.cfg", "pyproject.toml")}

    assert wanted | top <= packed
    assert not {path for path in packed if path.parts[:2] in {("filer", name) for name in LINKED}}


# What is installed.


class Installed(NamedTuple):
    """A separate environment, with the packages of the tests' environment except the filer."""

    directory: Path

    def program(self, name: str) -> Path:
        return self.directory / "bin" / name

    def filer(self, *arguments: str, cwd: Path, **environment: str) -> str:
        """Run the console in a new root."""
        environment["FILER_ROOT"] = str(cwd / "root")
        return run(self.program("filer"), *arguments, cwd=cwd, environment=environment)


Install = Callable[..., Installed]


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory) -> Install:
    """Return a function that installs a wheel or a checkout, with options of pip."""

    def install(*what: str | Path) -> Installed:
        directory = tmp_path_factory.mktemp("environment")
        run(sys.executable, "-m", "venv", "--without-pip", directory, cwd=directory)
        (site,) = directory.glob("lib/python*/site-packages")
        others = [path for path in sys.path if path.endswith("site-packages")]
        (site / "others.pth").write_text("\n".join(others), encoding="utf-8")
        options = ("--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed")
        python = directory / "bin" / "python"
        run(python, "-m", "pip", "install", *options, *what, cwd=directory)
        return Installed(directory)

    return install


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("links", "mode"),
    some(
        [(True, "compat"), (True, "lenient"), (False, "wheel"), (False, "lenient")],
        most=2,
    ),
)
def test_an_installed_checkout_runs(
    install: Install, tmp_path: Path, links: bool, mode: str
) -> None:
    source = copied(tmp_path / "house", links=links)
    how = ["--config-settings", f"editable_mode={mode}", "--editable"] if mode != "wheel" else []

    installed = install(*how, source)

    printed = installed.filer("-c", "hostname", "-c", "man key_manager", cwd=tmp_path)
    assert printed.startswith("filer1\n")
    assert "EXAMPLES" in printed
    assert run(installed.program("filer-keyserver"), "--version", cwd=tmp_path)
    python = installed.program("python")
    environment = {"FILER_ROOT": str(tmp_path / "root")}
    assert (
        run(python, "-m", "filer", "-c", "hostname", cwd=tmp_path, environment=environment)
        == "filer1\n"
    )


# Beside a project with modules of the same names.


@pytest.fixture(scope="module")
def installed(install: Install, wheel: Path) -> Installed:
    return install(wheel)


def test_pygmentize_of_an_installed_console_knows_transcripts(
    installed: Installed, tmp_path: Path
) -> None:
    text = "filer1> key_manager show\nNo key servers are registered.\n"
    (tmp_path / "session.txt").write_text(text, encoding="ascii")
    pygmentize = (installed.program("python"), "-m", "pygments", "-l", "filer-console")

    html = run(*pygmentize, "-f", "html", "session.txt", cwd=tmp_path)

    assert '<span class="gp">filer1&gt; </span><span class="k">key_manager</span>' in html
    assert '<span class="nf">show</span>' in html
    assert '<span class="go">No key servers are registered.</span>' in html


STRANGERS: Mapping[str, tuple[str, ...]] = {
    "packages": (*(f"{name}/__init__.py" for name in LINKED), "filer/__init__.py"),
    "modules": ("shell.py", "commands.py", "filer.py", "console.py", "key_servers.py"),
}

OWN = """
def test_our_modules_are_ours():
    import commands, filer, shell
    assert {commands.OWN, filer.OWN, shell.OWN} == {"stranger"}
"""

WITH = """
def test_the_filer_has_its_own(filer):
    filer.key_servers[0].stop()
    filer.key_servers[0].start()
    assert "127.0.0.2" in filer.run("key_manager add -key_server 127.0.0.2")
    assert filer.console.enter("hostname") == "filer1\\n"
"""


@paired(
    ("way", ["pytest", "python -m pytest", "PYTHONPATH=. pytest"]),
    ("names", STRANGERS.values()),
    ("test", [OWN + WITH, OWN]),
)
def test_the_tests_of_a_stranger_run(
    installed: Installed, tmp_path: Path, way: str, names: tuple[str, ...], test: str
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("OWN = 'stranger'\n", encoding="ascii")
    (tmp_path / "test_it.py").write_text(test, encoding="ascii")
    python = installed.program("python")
    pytest = ("-m", "pytest") if "-m" in way else (Path(sys.executable).with_name("pytest"),)
    options = ("-q", "-p", "no:cacheprovider", "-W", "error")
    environment = {"PYTHONPATH": "."} if "PATH" in way else {}

    printed = run(python, *pytest, *options, cwd=tmp_path, environment=environment)

    assert printed.splitlines()[-1].startswith(f"{test.count('def test')} passed"), printed


@pytest.mark.parametrize("name", [*LINKED, "shell.py"])
def test_a_module_of_our_name_on_the_path_does_not_break_the_console(
    installed: Installed, tmp_path: Path, name: str
) -> None:
    module = tmp_path / name if name.endswith(".py") else tmp_path / name / "__init__.py"
    module.parent.mkdir(exist_ok=True)
    module.write_text("raise SystemExit('a stranger')\n", encoding="ascii")

    assert installed.filer("-c", "hostname", cwd=tmp_path, PYTHONPATH=".") == "filer1\n"


# What a user writes for the fixture.


TYPED = """
import pytest

from pytest_filer import FilerUnderTest
from pytest_filer.console import Terminal
from pytest_filer.key_servers import KeyServer


def first(filer: FilerUnderTest) -> KeyServer:
    return filer.key_servers[0]


@pytest.mark.filer(key_servers=1, timeout=90)
def test_it(filer: FilerUnderTest) -> None:
    console: Terminal = filer.console
    lines: list[str] = console.enter("hostname", timeout=5).splitlines()
    assert lines and console.leave() == 0
    first(filer).expire()
    filer.disk("0c.00.5").lock_out()
    with filer.ssh() as ssh:
        address: tuple[str, int] = ssh.address, ssh.port
        assert address and ssh.user and ssh.key_file and ssh.known_hosts
    text: str = filer.run("hostname", status=0, timeout=5)
    assert text
"""

MISTYPED = {
    "first(filer).expire()": "first(filer).expires()",
    'filer.disk("0c.00.5").lock_out()': "filer.disk(5)",
    "console.leave() == 0": 'console.leave() == "0"',
    "address: tuple[str, int]": "address: tuple[str, str]",
    'filer.run("hostname", status=0, timeout=5)': 'filer.run("hostname", "5", state=0)',
}


def test_the_types_of_the_fixture_are_those_of_its_users(
    installed: Installed, tmp_path: Path
) -> None:
    mistyped = TYPED
    for right, wrong in MISTYPED.items():
        assert right in mistyped
        mistyped = mistyped.replace(right, wrong)
    for name, text in ("test_typed.py", TYPED), ("test_mistyped.py", mistyped):
        (tmp_path / name).write_text(text, encoding="ascii")

    ended = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--cache-dir", os.devnull),
            *("--python-executable", installed.program("python")),
            *("test_typed.py", "test_mistyped.py"),
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SLOW,
        check=False,
    )

    errors = [line.partition(":")[0] for line in ended.stdout.splitlines() if ": error: " in line]
    assert errors == ["test_mistyped.py"] * len(MISTYPED), ended.stdout
    assert ended.returncode == 1


SCRIPTLESS = """
def test_it(filer):
    filer.run("key_manager add -key_server 127.0.0.2")
    with filer.ssh() as ssh:
        assert ssh.port
    assert filer.console.enter("hostname") == "filer1\\n"
"""


def test_the_fixture_needs_no_scripts_beside_the_interpreter(
    installed: Installed, tmp_path: Path
) -> None:
    copy = Installed(shutil.copytree(installed.directory, tmp_path / "copy", symlinks=True))
    for name in ("filer", "filer-keyserver"):
        copy.program(name).unlink()
    (tmp_path / "test_it.py").write_text(SCRIPTLESS, encoding="ascii")

    printed = run(
        *(copy.program("python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"),
        cwd=tmp_path,
    )

    assert printed.splitlines()[-1].startswith("1 passed"), printed
