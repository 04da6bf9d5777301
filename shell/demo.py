"""--demo: a filer in a temporary root, with key servers and their certificates."""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory

from filer.keyserver.authority import prepare
from filer.keyserver.server import DEFAULT_PORT, KeyServer, KeyServerError, start_together
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name
from filer.system import Filer

_CLIENT_KEY = "ssh_key"
"""The file with the private key that logs in over SSH."""

_KNOWN_HOSTS = "known_hosts"

_IS_PLAIN = re.compile(r"[A-Za-z0-9_./+-]+").fullmatch
"""Whether a path means the same to a shell and to ssh, without quotes."""

_ADDRESSES = (("127.0.0.2", "127.0.0.3"), ("127.0.0.1",))
"""Addresses to try; macOS has only 127.0.0.1."""


@dataclass(frozen=True)
class Demo:
    """A temporary root and its running key servers."""

    home: Path
    root: Path
    certificates: Path
    servers: Sequence[KeyServer]

    def install_certificates(self, filer: Filer) -> None:
        """Install the certificates of the key servers, as ``keymgr install cert`` does."""
        names = [CLIENT, CLIENT_PRIVATE, *(ca_name(server.address) for server in self.servers)]
        for name in names:
            filer.installed.install(self.certificates / name, name, filer.now())

    @property
    def known_hosts(self) -> Path:
        """A file for the host keys, for clients that connect over SSH."""
        return self.home / _KNOWN_HOSTS

    def give_ssh_access(self, filer: Filer) -> None:
        """Make a key for the administrator, with which `ssh_hint` says how to log in."""
        import asyncssh

        from filer.shell.ssh.access import AUTHORIZED_KEYS

        key = asyncssh.generate_private_key("ssh-ed25519")
        file = self.home / _CLIENT_KEY
        filer.storage.write(file, key.export_private_key())
        filer.storage.make_directory(filer.root.ssh)
        filer.storage.write(filer.root.ssh / AUTHORIZED_KEYS, key.export_public_key())

    def ssh_hint(self, address: str, port: int) -> str:
        """Return the line that says how to log in."""
        from filer.shell.ssh.access import ADMINISTRATOR

        home, start = f"{self.home}/", ""
        if not _IS_PLAIN(home):  # ssh itself expands blanks, "%" and "${" in the names of files
            home, start = "", f"cd {quote(str(self.home))} && "
        files = f"-i {home}{_CLIENT_KEY} -o UserKnownHostsFile={home}{_KNOWN_HOSTS}"
        login = f"-o IdentitiesOnly=yes -p {port} {ADMINISTRATOR}@{address}"
        return f"Log in: {start}ssh {files} {login}"

    def hints(self) -> Sequence[str]:
        """Return the lines that tell the user what to type first."""
        addresses = " and ".join(server.address for server in self.servers)
        return (
            f"Key servers run on {addresses}, port {self.servers[0].port}; "
            "their certificates are installed.",
            f"Type 'key_manager setup', give it {addresses} and 'q', and say yes to all the rest.",
            "Then try 'disk encrypt show', 'reboot', 'key_manager query', 'man key_manager'.",
        )


@contextmanager
def demo() -> Iterator[Demo]:
    """Start a demo; on exit, stop its servers and remove its files.  Raises FilerError."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix="filer-demo-")))
        certificates = home / "keyservers"
        servers = _start(certificates)
        for server in servers:
            stack.callback(server.stop)
        root = home / "root"
        root.mkdir(mode=0o700)
        settings = f"[kmip]\nport = {servers[0].port}\n"
        (root / "filer.toml").write_text(settings, encoding="utf-8")
        yield Demo(home, root, certificates, servers)


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
