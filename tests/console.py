"""The kit of the pytest plug-in (`shell.pytest_kit`), and what our own tests need beside it."""

from collections.abc import Sequence
from pathlib import Path

from keyserver.server import KeyServer
from shell.pytest_kit import (
    PATIENCE,
    PROGRAM,
    SMALL_SHELF,
    Account,
    Outcome,
    Terminal,
    install_certificates,
    plain,
)

__all__ = [
    "DISKS",
    "OTHER_PASSPHRASE",
    "PASSPHRASE",
    "PATIENCE",
    "PROGRAM",
    "SMALL_SHELF",
    "WEAK_PASSPHRASE",
    "Account",
    "Outcome",
    "Terminal",
    "answers_to_setup",
    "beside",
    "files_below",
    "having_added",
    "plain",
]

DISKS = 4
"""How many disks SMALL_SHELF has."""

PASSPHRASE = "Correct-horse-battery-1!"
OTHER_PASSPHRASE = "Another-Horse,battery-2?"
WEAK_PASSPHRASE = "much-too-weak-a-passphrase"


def beside(servers: Sequence[KeyServer], home: Path, settings: str = "") -> Account:
    """Make a filer of a few small disks whose key servers' certificates are installed.

    Its filer.toml has their port, so that ``key_manager add`` finds them.
    """
    kmip = f"[kmip]\nport = {servers[0].port}\ntimeout = 20.0\n{settings}"
    account = Account(home, f"{kmip}{SMALL_SHELF}")
    install_certificates(servers, account.root)
    return account


def having_added(servers: Sequence[KeyServer], home: Path, settings: str = "") -> Account:
    """Return an account whose filer has registered ``servers``."""
    account = beside(servers, home, settings)
    add = " ".join(f"-key_server {server.address}" for server in servers)
    assert account.commands(f"key_manager add {add}").status == 0
    return account


def answers_to_setup(
    servers: Sequence[KeyServer], *, passphrases: Sequence[str] = (), encrypt: bool = True
) -> list[str]:
    """Return the lines that follow ``key_manager setup``; without passphrases it generates one."""
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


def files_below(directory: Path) -> list[Path]:
    """Return all regular files below ``directory``, hidden ones too."""
    return [path for path in directory.rglob("*") if path.is_file()]
