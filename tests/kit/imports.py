"""The modules that the program loads."""

import json
import sys
from pathlib import Path

from tests.kit.console import Account

TELL_MODULES = """
import json, os, sys
from filer.shell.__main__ import main
status = main(sys.argv[2:])
with open(sys.argv[1], "w") as told:
    json.dump(sorted(sys.modules), told)
sys.exit(status)
"""


def loaded_by(account: Account, *arguments: str) -> set[str]:
    """Run the program and return the names of the modules that it imported."""
    told = account.home / "modules"
    ended = account.run("-c", TELL_MODULES, told, *arguments, program=(sys.executable,))
    assert (ended.err, ended.status) == ("", 0)
    return told_in(told)


def told_in(path: Path) -> set[str]:
    return set(json.loads(path.read_text(encoding="utf-8")))
