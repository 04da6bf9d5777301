"""The tests, and those of runbooks, pass whatever signals the parent of pytest ignores.

nohup, cron, a shell's "&" and some CI runners ignore signals, and their children inherit that.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.console import PATIENCE
from tests.kit.paths import CHECKOUT
from tests.shell import test_concurrency, test_program

IGNORING = """
import os, signal, sys
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""

TESTS = [
    f"{test_program.__file__}::test_a_signal_{what}_a_silent_key_server[{number.value}]"
    for what, number in (
        ("ends_a_boot_that_waits_for", signal.SIGHUP),
        ("stops_a_command_that_waits_for", signal.SIGTERM),
        ("stops_a_command_that_waits_for", signal.SIGINT),
    )
]
CTRL_C = f"{test_concurrency.__file__}::test_ctrl_c_again_and_again_never_leaves_the_console"

RUNBOOK = """
def test_ctrl_c(filer):
    filer.console.type("key_manager setup\\r\\x03")
    assert filer.console.enter("hostname").endswith("filer1\\n")
    assert filer.console.leave() == 0
"""

WITHOUT_FORK = """
import sys

def refuse(event, arguments):
    if event in ("os.fork", "os.forkpty"):
        raise RuntimeError("a process that may have threads forks")

sys.addaudithook(refuse)
"""


def run_ignoring(*tests: str | Path, cwd: Path) -> None:
    """Run tests, which must pass, in a process whose parent ignores the signals that end it."""
    options = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    ended = subprocess.run(
        [sys.executable, "-c", IGNORING, *options, *tests],
        cwd=cwd,
        env=os.environ | {"PYTEST_ADDOPTS": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=5 * PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout


def test_signals_end_programs_under_a_parent_that_ignores_them() -> None:
    run_ignoring(*TESTS, CTRL_C, cwd=CHECKOUT)


def test_a_runbook_is_interrupted_under_a_parent_that_ignores_signals_and_forks_nothing(
    tmp_path: Path,
) -> None:
    """A forked child may wait for a lock that a thread held; Python warns of that since 3.12."""
    (tmp_path / "conftest.py").write_text(WITHOUT_FORK, encoding="utf-8")
    test = tmp_path / "test_runbook.py"
    test.write_text(RUNBOOK, encoding="utf-8")
    run_ignoring(test, "-W", "error", cwd=tmp_path)


def test_a_hanging_test_is_ended_and_its_stack_is_shown(tmp_path: Path) -> None:
    test = tmp_path / "test_hangs.py"
    test.write_text("import time\n\ndef test_hangs():\n    time.sleep(3600)\n", encoding="utf-8")
    with pytest.raises(AssertionError, match=r"(?s)time\.sleep\(3600\).*Timeout"):
        run_ignoring(test, "--timeout=1", cwd=tmp_path)
