"""The sources of the manual pages, and the programs that read them."""

import subprocess
from itertools import takewhile

from filer.shell.manual.lines import UNLIMITED
from filer.shell.manual.typesetting import render
from tests.kit.paths import CHECKOUT

DIRECTORY = CHECKOUT / "man"
PAGES = {path.stem: path.read_text("ascii") for path in sorted(DIRECTORY.glob("*.1"))}
HEAD = '.TH SAMPLE 1 2026-11-24 filer "Filer Manual"\n.SH NAME\nsample \\- a page\n'


def by_mandoc(source: str, width: int) -> str:
    return run("col", "-bx", text=run("mandoc", "-Tascii", f"-Owidth={width}", text=source))


def run(*command: str, text: str = "", **environment: str) -> str:
    done = subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", **environment},
    )
    assert done.stderr == ""
    return done.stdout


def synopsis(source: str) -> list[str]:
    """Return the lines of a page's SYNOPSIS, each unbroken."""
    section = render(source, UNLIMITED).split("\nSYNOPSIS\n")[1].splitlines()
    return [line.strip() for line in takewhile(lambda line: line[:1] in ("", " "), section) if line]
