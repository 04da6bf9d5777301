"""--demo --pair: both nodes of an HA pair, each a process, until the demo is told to end."""

import re
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shlex import quote
from typing import IO

from filer.boot.machine import local_time
from filer.host.durable import Storage
from filer.host.standard_streams import write
from filer.host.text import printable
from filer.registration.installed import Installed
from filer.root import Root
from filer.shell.demo import Demo, demo
from filer.shell.signals import Signals

_LISTENING = re.compile(r"filer: listening on (\S+) port (\d+) ")

_ENDS_WITHIN = 30.0
"""Seconds that a node has to end."""

_LARGEST_READ = 65536


def run_demo(ssh: tuple[str, int] | None, signals: Signals) -> int:
    """Run an HA pair until a signal ends it; return the exit status.

    With ``ssh``, an address and a port, both nodes run, and the second one gets the next port; 0
    selects free ones.  Otherwise the user starts each in a terminal.
    """
    signals.end_at_ctrl_c()
    with demo(pair=True) as made:
        storage, roots = Storage(), [Root(path) for path in made.roots]
        for root in roots:
            root.claim(storage)
            installed = Installed(root.installed_certificates, storage)
            made.install_certificates(installed, local_time())
        for line in made.hints():
            _show(line)
        if ssh is None:
            _show("Start each node in a terminal of its own, and end both before this demo:")
            for root in roots:
                _show(f"  {_command(root.path)}")
            signals.wait()
            return 0
        made.give_ssh_access(storage, *roots)
        address, port = ssh
        with ExitStack() as stack:
            nodes = [
                stack.enter_context(_running(root, address, port and port + number))
                for number, root in enumerate(roots)
            ]
            return _relay(nodes, made, signals)


def _show(line: str) -> None:
    write(sys.stdout, f"{line}\n")


def _command(root: Path) -> str:
    return f"filer --root {printable(quote(str(root)))}"


def _place(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class _Node:
    """A node and its process."""

    def __init__(self, root: Root, place: str) -> None:
        self.root = root
        self.name = root.path.name
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-m", "filer", "--root", root.path, "--ssh", place],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
        self.restart = ""
        """The command that starts it again, once it has listened."""

        self._unfinished = b""

    @property
    def output(self) -> IO[bytes]:
        """The end of the pipe with both outputs."""
        assert self.process.stdout is not None
        return self.process.stdout

    def arrived(self) -> Sequence[str] | None:
        """Return the lines that have arrived, or None at the end of the output."""
        data = self.output.read(_LARGEST_READ)
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        return [line.decode(errors="replace") for line in lines] if data else None

    def end(self) -> None:
        """End the process, also one that was stopped."""
        for number in (signal.SIGTERM, signal.SIGCONT):
            self.process.send_signal(number)
        try:
            self.process.wait(_ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.output.close()


@contextmanager
def _running(root: Root, address: str, port: int) -> Iterator[_Node]:
    node = _Node(root, _place(address, port))
    try:
        yield node
    finally:
        node.end()


def _relay(nodes: Sequence[_Node], made: Demo, signals: Signals) -> int:
    """Print what the nodes print, until a signal arrives or one of them cannot start.

    Return the exit status.
    """
    with selectors.DefaultSelector() as selector, signals.woken() as woken:
        selector.register(woken, selectors.EVENT_READ)
        for each in nodes:
            selector.register(each.output, selectors.EVENT_READ, each)
        while signals.received is None:
            for key, _events in selector.select():
                node: _Node | None = key.data
                if node is None:
                    woken.recv(1)
                elif (lines := node.arrived()) is not None:
                    for line in lines:
                        _show(f"{node.name}: {line.removeprefix('filer: ')}")
                        _tell_login(node, line, made)
                else:
                    selector.unregister(node.output)
                    status = node.process.wait()
                    if not node.restart:
                        return status
                    _show(f"{node.name} has ended, status {status}; start it: {node.restart}")
    return 0


def _tell_login(node: _Node, line: str, made: Demo) -> None:
    """Say once how to log in, when ``line`` reports that the node listens."""
    found = _LISTENING.match(line)
    if not found or node.restart:
        return
    from filer.shell.ssh.access import host_keys
    from filer.shell.ssh.server import known_hosts

    address, port = found[1], int(found[2])
    node.restart = f"{_command(node.root.path)} --ssh {_place(address, port)}"
    keys = host_keys(node.root.ssh, Storage())
    with made.known_hosts.open("ab") as file:
        file.write(known_hosts(address, port, keys))
    _show(f"Log in to {node.name}: {made.ssh_command(address, port)}")
