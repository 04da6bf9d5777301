"""How the programs end: threads that still talk to a key server must not crash them."""

import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.kit.console import Account
from tests.kit.paths import CHECKOUT

PROGRAMS = {
    "filer": ["-c", "hostname"],
    "filer-keyserver": ["--help"],
    "filer-qualify": ["--explain"],
    "filer-shelf": ["--help"],
    "filer-storm": ["--help"],
}

HANDLERS = """
import atexit, ctypes
atexit.register(print, "handlers of Python")
handler = ctypes.CFUNCTYPE(None)(lambda: None)
text = ctypes.c_char_p(b"handlers of C")
libc = ctypes.CDLL(None)
libc.__cxa_atexit(libc.puts, text, None)
"""


def test_the_list_is_whole() -> None:
    setup = ConfigParser()
    setup.read(CHECKOUT / "setup.cfg")
    scripts = setup["options.entry_points"]["console_scripts"].split("\n")

    assert {line.partition(" = ")[0] for line in scripts if line} == set(PROGRAMS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_runs_no_exit_handlers_of_c(name: str, account: Account, tmp_path: Path) -> None:
    """OpenSSL has such a handler; it frees what a thread in a handshake still uses."""
    (tmp_path / "sitecustomize.py").write_text(HANDLERS, encoding="ascii")
    path = {"PYTHONPATH": str(tmp_path)}
    bare = account.run("-c", "pass", program=(sys.executable,), environment=path)
    ended = account.run(*PROGRAMS[name], program=(name,), environment=path)

    assert bare.out == "handlers of Python\nhandlers of C\n"
    assert ended.status == 0
    assert ended.out.splitlines()[-1] == "handlers of Python"
