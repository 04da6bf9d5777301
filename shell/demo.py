"""--demo: a filer or an HA pair in temporary roots, with key servers and their certificates."""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory

from filer.host.durable import Storage
from filer.keyserver.authority import prepare
from filer.keyserver.server import DEFAULT_PORT, KeyServer, KeyServerError, start_together
from filer.pair.making import make_pair
from filer.registration.installed import Installed
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name
from filer.root import Root

_CLIENT_KEY = "ssh_key"
"""The file with the private key that logs in over SSH."""

_KNOWN_HOSTS = "known_hosts"

_IS_PLAIN = re.compile(r"[A-Za-z0-9_./+-]+").fullmatch
"""Whether a path means the same to a shell and to ssh, without quotes."""

_ADDRESSES = (("127.0.0.2", "127.0.0.3"), ("127.0.0.1",))
"""Addresses to try; macOS has only 127.0.0.1."""

_NEXT = ("Then try 'disk encrypt show', 'reboot', 'key_manager query', 'man key_manager'.",)

_NEXT_IN_A_PAIR = (
    "Then type 'key_manager restore -all' on each node, to have the keys of both.",
    "Then try 'cf status', 'cf takeover', 'partner', 'cf giveback', 'man filer'.",
)


@dataclass(frozen=True)
class Demo:
    """One or two temporary roots and their running key servers."""

    home: Path
    roots: Sequence[Path]
    certificates: Path
    servers: Sequence[KeyServer]

    def install_certificates(self, installed: Installed, now: datetime) -> None:
        """Install the certificates of the key servers, as ``keymgr install cert`` does."""
        names = [CLIENT, CLIENT_PRIVATE, *(ca_name(server.address) for server in self.servers)]
        for name in names:
            installed.install(self.certificates / name, name, now)

    @property
    def known_hosts(self) -> Path:
        """A file for the host keys, for clients that connect over SSH."""
        return self.home / _KNOWN_HOSTS

    def give_ssh_access(self, storage: Storage, *roots: Root) -> None:
        """Make a key for the administrator, with which `ssh_command` logs in."""
        import asyncssh

        from filer.shell.ssh.access import AUTHORIZED_KEYS

        key = asyncssh.generate_private_key("ssh-ed25519")
        storage.write(self.home / _CLIENT_KEY, key.export_private_key())
        for root in roots:
            storage.make_directory(root.ssh)
            storage.write(root.ssh / AUTHORIZED_KEYS, key.export_public_key())

    def ssh_hint(self, address: str, port: int) -> str:
        """Return the line that says how to log in."""
        return f"Log in: {self.ssh_command(address, port)}"

    def ssh_command(self, address: str, port: int) -> str:
        """Return the command that logs in."""
        from filer.shell.ssh.access import ADMINISTRATOR

        home, start = f"{self.home}/", ""
        if not _IS_PLAIN(home):  # ssh itself expands blanks, "%" and "${" in the names of files
            home, start = "", f"cd {quote(str(self.home))} && "
        files = f"-i {home}{_CLIENT_KEY} -o UserKnownHostsFile={home}{_KNOWN_HOSTS}"
        login = f"-o IdentitiesOnly=yes -p {port} {ADMINISTRATOR}@{address}"
        return f"{start}ssh {files} {login}"

    def hints(self) -> Sequence[str]:
        """Return the lines that tell the user what to type first."""
        addresses = " and ".join(server.address for server in self.servers)
        is_pair = len(self.roots) > 1
        each = " on each node" if is_pair else ""
        return (
            f"Key servers run on {addresses}, port {self.servers[0].port}; "
            f"their certificates are installed{each}.",
            f"Type 'key_manager setup'{each}, give it {addresses} and 'q', "
            "accept the port and the tag with Enter, and say yes to the rest.",
            *(_NEXT_IN_A_PAIR if is_pair else _NEXT),
        )


@contextmanager
def demo(*, pair: bool = False) -> Iterator[Demo]:
    """Start a demo; on exit, stop its servers and remove its files.  Raises FilerError."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix="filer-demo-")))
        certificates = home / "keyservers"
        servers = _start(certificates)
        for server in servers:
            stack.callback(server.stop)
        port = servers[0].port
        if pair:
            roots = make_pair(home / "pair", Storage(), port=port)
            yield Demo(home, roots, certificates, servers)
            return
        root = home / "root"
        root.mkdir(mode=0o700)
        (root / "filer.toml").write_text(f"[kmip]\nport = {port}\n", encoding="utf-8")
        yield Demo(home, [root], certificates, servers)


def _start(certificates: Path) -> Sequence[KeyServer]:
    """Start the key servers, on the default port or else on free ones.  Raises KeyServerError."""
    problem = KeyServerError("no key server can be started")
    for addresses in _ADDRESSES:
        prepare(certificates, addresses)
        for port in (DEFAULT_PORT, 0):
            servers = [KeyServer(certificates, address, port) for address in addresses]
            try:
                start_together(servers)
            except KeyServerError as refusal:
                problem = refusal
            else:
                return servers
    raise problem
