"""An HA pair of two processes: each node is a root, a process and a terminal."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from filer.keyserver.server import KeyServer
from pytest_filer.key_server_process import install_certificates
from tests.kit.console import Account, Terminal

NAMES = ("filer1", "filer2")
SYSTEM_IDS = (1573922407, 1573922311)
PROMPT = "filer1> "


class Nodes:
    """The two nodes below ``directory``; `first` and `second` are their accounts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.first, self.second = (
            Account(directory / f"home-of-{name}", root=directory / "pair" / name) for name in NAMES
        )

    @property
    def shelf(self) -> Path:
        return self.directory / "pair" / "shelf"

    @contextmanager
    def terminals(self, first: Sequence[str] = ()) -> Iterator[tuple[Terminal, Terminal]]:
        """Boot both nodes, each at a terminal; run ``first`` on the first one."""
        with self.first.terminal() as one, self.second.terminal() as other:
            one.booted()
            other.booted()
            for line in first:
                one.enter(line)
            yield one, other

    def copied(self, directory: Path) -> "Nodes":
        """Copy the pair into ``directory``; no process may run on it."""
        directory.mkdir()
        shutil.copytree(
            self.directory / "pair",
            directory / "pair",
            symlinks=True,
            ignore=shutil.ignore_patterns("run"),
        )
        return Nodes(directory)

    def mailbox(self, number: int) -> str:
        """Return the state in the mailbox of a node."""
        text = (self.shelf / f"mailbox.{SYSTEM_IDS[number]}").read_text(encoding="utf-8")
        return text.partition('"')[2].partition('"')[0]

    def contents(self) -> Mapping[str, bytes]:
        """Return the content of each disk."""
        return {path.name: path.read_bytes() for path in sorted(self.shelf.glob("*.sed"))}


def make(directory: Path, servers: Sequence[KeyServer]) -> Nodes:
    """Make a pair with small disks, and encrypt and lock the disks of both nodes."""
    maker = Account(directory / "maker")
    made = maker.run("--new-pair", directory / "pair")
    assert (made.status, made.err) == (0, "")
    nodes = Nodes(directory)
    for account in (nodes.first, nodes.second):
        text = account.settings.read_text(encoding="utf-8")
        for old, new in (
            ('disk_size = "64 MiB"', 'disk_size = "1 MiB"'),
            ("disks = 12", "disks = 8"),
            ("port = 5696", f"port = {servers[0].port}"),
            ("timeout = 5.0", "timeout = 20.0"),
        ):
            assert old in text
            text = text.replace(old, new)
        account.settings.write_text(text, encoding="utf-8")
    for account in (nodes.first, nodes.second):
        install_certificates(servers, account.root)
        add = " ".join(f"-key_server {server.address}" for server in servers)
        done = account.commands(
            f"key_manager add {add}", "key_manager rekey", "disk encrypt lock *"
        )
        assert done.status == 0, done.err
    # Each has loaded only the keys of its own: both read what the other has made.
    return nodes
