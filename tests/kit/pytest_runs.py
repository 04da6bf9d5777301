"""Runs of pytest in a project of its own, as users have them."""

import os
import subprocess
import sys
from pathlib import Path

from tests.kit.console import PATIENCE


def run_pytest(
    directory: Path,
    test: str,
    *options: str,
    program: tuple[str, ...] = ("-m", "pytest"),
    before: tuple[str, ...] = (),
) -> tuple[int, str]:
    """Run ``test`` in a project of its own; return the exit status and what pytest printed.

    ``before`` is a program that starts the one which its last arguments name.
    """
    (directory / "test_it.py").write_text(test, encoding="utf-8")
    ended = subprocess.run(
        [*before, sys.executable, *program, "-p", "no:cacheprovider", "-q", *options],
        cwd=directory,
        env=os.environ | {"PYTEST_ADDOPTS": "", "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=5 * PATIENCE,
        check=False,
    )
    return ended.returncode, ended.stdout


def outcomes(printed: str) -> str:
    """Return the counts of the last line, such as ``1 failed, 2 passed``."""
    return printed.splitlines()[-1].rpartition(" in ")[0]
