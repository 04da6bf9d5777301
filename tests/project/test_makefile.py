"""The Makefile: the list of ``make help``, and the messages about missing programs."""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.kit.console import PATIENCE, Outcome
from tests.kit.paths import CHECKOUT

WITHOUT_VENV = "#!/bin/sh\nexit 1\n"
TOO_OLD = f"""#!/bin/sh
test "$2" = "import ensurepip" && exit 0
exec {sys.executable} -c "import sys
sys.version_info = (3, 10, 12)
$2"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a directory with the files that ``make run`` needs first."""
    for name in ("Makefile", "setup.cfg", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, tmp_path)
    return tmp_path


def make(checkout: Path, target: str, programs: Mapping[str, str]) -> Outcome:
    """Run make with only these scripts, ``sh`` and ``sed`` on the path."""
    path = checkout / "bin"
    path.mkdir()
    for name, script in programs.items():
        (path / name).write_text(script)
        (path / name).chmod(0o755)
    for name in ("sh", "sed"):
        (path / name).symlink_to(shutil.which(name) or name)
    ended = subprocess.run(
        [shutil.which("make") or "make", target],
        cwd=checkout,
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return Outcome(ended.stdout, ended.stderr, ended.returncode)


def test_help_lists_every_command(checkout: Path) -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)", (CHECKOUT / "Makefile").read_text(), re.M)

    ended = make(checkout, "help", {})

    assert (ended.err, ended.status) == ("", 0)
    listed = re.findall(r"^make (\S+) +\S.*\n", ended.out, re.M)
    assert len(listed) == ended.out.count("\n")
    assert {*listed, "tools"} == set(phony.split())


def test_what_is_missing_is_said_in_one_line_and_nothing_is_made(checkout: Path) -> None:
    ended = make(checkout, "run", {"python3": WITHOUT_VENV})

    said, *rest = ended.err.splitlines()
    assert said == "filer needs these packages, named as on Debian: python3-venv"
    assert [line.partition(":")[0] for line in rest] == ["make"]
    assert (ended.out, ended.status) == ("", 2)
    assert not (checkout / ".venv").exists()


def test_missing_programs_of_the_tests_are_named_together(checkout: Path) -> None:
    ended = make(checkout, "tools", {"less": "", "man": "", "ssh": ""})

    assert ended.err.splitlines()[0] == (
        "filer needs these packages, named as on Debian:"
        " mandoc groff-base bsdextrautils zsh expect strace dropbear-bin putty-tools"
    )
    assert ended.status == 2


def test_on_debian_root_gets_what_is_missing_installed(checkout: Path) -> None:
    told = checkout / "told"
    programs = {
        "apt-get": f'#!/bin/sh\necho "$*" >>{told}\n',
        "id": "#!/bin/sh\necho 0\n",
        "python3": f"#!/bin/sh\ntest -e {told}\n",  # works once something is installed
    }

    make(checkout, "run", programs)

    assert told.read_text() == ("update -qq\ninstall -y -qq --no-install-recommends python3-venv\n")


def test_on_debian_another_user_gets_a_message(checkout: Path) -> None:
    programs = {
        "apt-get": "#!/bin/sh\necho called\n",
        "id": "#!/bin/sh\necho 1000\n",
        "python3": WITHOUT_VENV,
    }

    ended = make(checkout, "run", programs)

    assert "named as on Debian: python3-venv\n" in ended.err
    assert "called" not in ended.out


def test_a_python_that_is_too_old_is_named(checkout: Path) -> None:
    ended = make(checkout, "run", {"python3": TOO_OLD})

    assert ended.err.splitlines()[0] == (
        "python3 is too old: filer needs Python 3.11 or newer, such as PYTHON=python3.13"
    )
    assert not (checkout / ".venv").exists()
