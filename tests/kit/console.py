"""The console helpers of the pytest plug-in (`pytest_filer.console`), and more for our tests."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pexpect

from filer.keyserver.server import KeyServer
from filer.shell.prompt.keyboard import QUESTION
from pytest_filer.child import PATIENCE, Child
from pytest_filer.console import SMALL_SHELF, Account, Outcome, Terminal, plain
from pytest_filer.key_server_process import install_certificates
from tests.kit.house import House

__all__ = [
    "DISKS",
    "OTHER_PASSPHRASE",
    "PASSPHRASE",
    "PATIENCE",
    "PROGRAM",
    "SMALL_SHELF",
    "WEAK_PASSPHRASE",
    "Account",
    "Child",
    "Editing",
    "Outcome",
    "Terminal",
    "answers_to_setup",
    "beside",
    "change_settings",
    "configure",
    "editing",
    "files_below",
    "having_added",
    "plain",
    "prepare",
]

PROGRAM = str(Path(sys.executable).with_name("filer"))
"""The script that an installation makes."""

DISKS = 4
"""The number of disks in SMALL_SHELF."""

PASSPHRASE = "Correct-horse-battery-1!"
OTHER_PASSPHRASE = "Another-Horse,battery-2?"
WEAK_PASSPHRASE = "much-too-weak-a-passphrase"


def beside(servers: Sequence[KeyServer], home: Path, settings: str = "") -> Account:
    """Create a filer with small disks and the certificates of ``servers``, and use their port."""
    kmip = f"[kmip]\nport = {servers[0].port}\ntimeout = 20.0\n{settings}"
    account = Account(home, f"{kmip}{SMALL_SHELF}")
    install_certificates(servers, account.root)
    return account


def having_added(servers: Sequence[KeyServer], home: Path, settings: str = "") -> Account:
    account = beside(servers, home, settings)
    add = " ".join(f"-key_server {server.address}" for server in servers)
    prepare(account, servers, (f"key_manager add {add}",))
    return account


def prepare(account: Account, servers: Sequence[KeyServer], *lines: Sequence[str]) -> None:
    """Boot the filer in this process, and run lines, each with its answers; all must succeed."""
    with House(account.root, servers) as house:
        house.boot()
        for line in lines:
            house.must(*line)


def answers_to_setup(
    servers: Sequence[KeyServer], *, passphrases: Sequence[str] = (), encrypt: bool = True
) -> list[str]:
    """Return the answers to ``key_manager setup``; without passphrases it generates one."""
    generated = ["no", *passphrases] if passphrases else ["yes"]
    return [
        *(server.address for server in servers),
        "q",
        "",
        "yes",
        "yes",
        *generated,
        "yes" if encrypt else "no",
    ]


def change_settings(account: Account, old: str, new: str) -> None:
    """Replace text in filer.toml."""
    settings = account.settings.read_text(encoding="utf-8")
    assert old in settings
    account.settings.write_text(settings.replace(old, new), encoding="utf-8")


def configure(account: Account, settings: str) -> None:
    """Write config.toml, unless ``settings`` is empty."""
    if settings:
        directory = account.home / "config" / "filer"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "config.toml").write_text(settings, encoding="utf-8")


def files_below(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


class Editing(Terminal):
    """A terminal that reports its cursor position once, and so gets the editor.

    PROMPT_TOOLKIT_NO_CPR stops the editor from asking again; `tests.kit.screen` lets it ask.
    """

    def __init__(self, child: "pexpect.spawn[str]") -> None:
        super().__init__(child)
        self._seen = child.logfile_read = _Answering(child)

    def wait_for_prompt(self, *, timeout: float | None = None) -> str:
        """Return what appears before the next prompt or question, which is ``prompt`` then."""
        seconds = self.child.timeout if timeout is None else timeout
        self.child.expect(_EDITING, timeout=seconds)
        text = plain(str(self.child.before))
        self.child.expect(_PROMPT, timeout=seconds)
        assert isinstance(self.child.match, re.Match)
        self.prompt = self.child.match[1]
        return text

    def enter(self, line: str = "", *, timeout: float | None = None) -> str:
        """Type a line and return what is printed up to the next prompt or question."""
        self.type(f"{line}\r")
        self.child.expect(_EDITED)
        return self.wait_for_prompt(timeout=timeout)

    def leave(self) -> int:
        """Press Ctrl-D until the program ends, and return its exit status."""
        self.type("\x04")
        while self.child.expect([pexpect.EOF, _EDITING]):
            self.type("\x04")
        return self.end()


class _Answering(StringIO):
    """Answers the first cursor-position query in the output."""

    def __init__(self, child: "pexpect.spawn[str]") -> None:
        super().__init__()
        self._child = child
        self._answered = False

    def write(self, text: str) -> int:
        written = super().write(text)
        if not self._answered and QUESTION in self.getvalue():
            self._answered = True
            self._child.send("\x1b[1;1R")
        return written


_EDITING, _EDITED = r"\x1b\[\?2004h", r"\x1b\[\?2004l"
_PROMPT = r"\x1b\[J\x1b\[0m([^\x1b\b\r\n]+)[\x1b\b]"


@contextmanager
def editing(
    account: Account,
    *arguments: str | Path,
    program: Sequence[str] = (PROGRAM,),
    rows: int = 24,
    columns: int = 80,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Editing]:
    """Start the program at a terminal that gets the editor."""
    once = {"PROMPT_TOOLKIT_NO_CPR": "1", **(environment or {})}
    with account.terminal(
        *arguments, program=program, rows=rows, columns=columns, environment=once
    ) as terminal:
        yield Editing(terminal.child)
