"""Key servers for a test, in a separate process (`pytest_filer.key_server_process`)."""

import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ADDRESSES = ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.6")
"""The addresses of the key servers, in order."""

_EVERYWHERE = ("127.0.0.1", "::1")
"""What is left where, as on macOS, the loopback interface has no other address."""

_PATIENCE = 60
"""Seconds to wait for the process to end after its connection is closed."""

_PROGRAM = Path(__file__).with_name("key_server_process.py")


class RequestFailed(Exception):
    """A request to the process failed; the text is one line for the user."""


def usable_addresses() -> list[str]:
    """Return the addresses at which key servers can run on this host, in order."""
    return [address for address in (*ADDRESSES, *_EVERYWHERE) if _can_listen(address)]


def _can_listen(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.bind((address, 0))
    except OSError:
        return False
    return True


class KeyServer:
    """A key server that a test can stop and start, and whose certificate can expire."""

    def __init__(
        self, process: "KeyServerProcess", directory: Path, address: str, port: int
    ) -> None:
        self.address = address
        self.port = port
        self._process = process
        self._directory = directory

    def start(self) -> None:
        """Listen again on the same port with the same keys; does nothing if it is running."""
        __tracebackhide__ = True
        self._process.ask("start", self._directory, self.address)

    def stop(self) -> None:
        """Stop listening and end all connections; does nothing if it is not running."""
        __tracebackhide__ = True
        self._process.ask("stop", self._directory, self.address)

    def expire(self) -> None:
        """Let its own certificate have expired a day ago; its authority and its keys stay."""
        __tracebackhide__ = True
        self._process.ask("expire", self._directory, self.address)

    def renew(self) -> None:
        """Give it a new valid certificate of the same authority."""
        __tracebackhide__ = True
        self._process.ask("renew", self._directory, self.address)


class KeyServerProcess:
    """The process that runs all key servers of a pytest session, or of one worker of it.

    ``shared`` is a directory of all workers.  The first one creates the certificates for
    ``addresses`` there, and starts a program that becomes the process of each worker by a fork:
    what the program imports costs more than a test.
    """

    def __init__(self, shared: Path, addresses: Sequence[str]) -> None:
        """Start the process.  Raises RequestFailed."""
        self.addresses = addresses
        self._authority = shared / "filer-authority"
        self._turn = threading.Lock()
        self._program = ExitStack()
        self._connection = self._connect(shared)
        self._stream = self._connection.makefile("rw", encoding="utf-8")
        try:
            self.pid: int = self._answer()
        except RequestFailed:
            self.close()
            raise

    def _connect(self, shared: Path) -> socket.socket:
        """Connect to the program that another worker has started, or start it."""
        known = shared / "filer-process"
        with (shared / "filer-process.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                return _connected(known.read_text())
            except OSError:  # not started, or ended with the worker that started it
                path = self._program.enter_context(_started())
                known.write_text(path)
                return _connected(path)

    @contextmanager
    def key_servers(self, directory: Path, count: int) -> Iterator[list[KeyServer]]:
        """Run ``count`` key servers whose files are in ``directory``.  Raises RequestFailed."""
        port = self.ask("begin", self._authority, directory, self.addresses, count)
        try:
            yield [KeyServer(self, directory, each, port) for each in self.addresses[:count]]
        finally:
            self.ask("end", directory)

    def install_certificates(self, directory: Path, root: Path) -> None:
        """Install the certificates of the key servers in ``directory`` in the root of a filer.

        Raises RequestFailed.
        """
        self.ask("install_certificates", directory, root)

    def ask(self, request: str, *arguments: "Path | str | int | Sequence[str]") -> Any:
        """Send a request and return the result.  Raises RequestFailed."""
        __tracebackhide__ = True
        with self._turn:
            with suppress(BrokenPipeError):
                print(json.dumps([request, *arguments], default=str), file=self._stream, flush=True)
            return self._answer()

    def _answer(self) -> Any:
        __tracebackhide__ = True
        try:
            line = self._stream.readline()
        except ConnectionResetError:
            line = ""
        if not line:
            raise RequestFailed("the process of the key servers has ended")
        answer = json.loads(line)
        if "error" in answer:
            raise RequestFailed(answer["error"])
        return answer["result"]

    def close(self) -> None:
        """Stop all key servers and wait for the end of the process."""
        with suppress(OSError):
            self._connection.settimeout(_PATIENCE)
            self._connection.shutdown(socket.SHUT_WR)
            while self._connection.recv(1024):
                pass
        with suppress(OSError):
            self._stream.close()
        self._connection.close()
        self._program.close()


def _connected(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


@contextmanager
def _started() -> Iterator[str]:
    """Run the program; give the path of the socket at which it waits for workers."""
    # PYTHONPATH belongs to the tests: it may contain modules with the names of ours.
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    with ExitStack() as stack:
        # The directories of pytest may have names that are too long for a socket.
        path = f"{stack.enter_context(TemporaryDirectory(prefix='filer-'))}/socket"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(path)
            listener.listen()
            program = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", _PROGRAM, str(listener.fileno())],
                stdin=subprocess.PIPE,
                stdout=2,  # that of a worker belongs to pytest-xdist
                env=environment,
                pass_fds=(listener.fileno(),),
                start_new_session=True,  # Ctrl-C must reach only the tests
            )
        stack.callback(program.communicate)  # its input ends, and so does the program
        yield path
