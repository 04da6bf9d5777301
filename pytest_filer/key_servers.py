"""Key servers for a test, in a separate process (`pytest_filer.key_server_process`)."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ADDRESSES = ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.6")
"""The addresses of the key servers, in order."""

_PATIENCE = 60
"""Seconds to wait for the process to end after its input is closed, before killing it."""

_PROGRAM = Path(__file__).with_name("key_server_process.py")


class KeyServerFailed(Exception):
    """The key servers cannot be started; the text is one line for the user."""


class KeyServer:
    """A key server that a test can stop and start."""

    def __init__(
        self, process: "KeyServerProcess", directory: Path, address: str, port: int
    ) -> None:
        self.address = address
        self.port = port
        self._process = process
        self._directory = directory

    def start(self) -> None:
        """Listen again on the same port with the same keys; does nothing if it is running."""
        self._process.ask("start", self._directory, self.address)

    def stop(self) -> None:
        """Stop listening and end all connections; does nothing if it is not running."""
        self._process.ask("stop", self._directory, self.address)


class KeyServerProcess:
    """The process that runs all key servers of a pytest session."""

    def __init__(self, authority: Path) -> None:
        """Start the process and create certificates for ``ADDRESSES`` in ``authority``.

        Raises KeyServerFailed.
        """
        self._authority = authority
        self._turn = threading.Lock()
        # PYTHONPATH belongs to the tests: it may contain modules with the names of ours.
        environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env=environment,
            start_new_session=True,  # Ctrl-C must reach only the tests
        )
        try:
            self.ask("make_authority", authority, ADDRESSES)
        except KeyServerFailed:
            self.close()
            raise

    @contextmanager
    def key_servers(self, directory: Path, count: int) -> Iterator[list[KeyServer]]:
        """Run ``count`` key servers whose files are in ``directory``.  Raises KeyServerFailed."""
        addresses = ADDRESSES[:count]
        port = self.ask("begin", self._authority, directory, addresses)
        try:
            yield [KeyServer(self, directory, address, port) for address in addresses]
        finally:
            self.ask("end", directory)

    def install_certificates(self, directory: Path, root: Path) -> None:
        """Install the certificates of the key servers in ``directory`` in the root of a filer.

        Raises KeyServerFailed.
        """
        self.ask("install_certificates", directory, root)

    def ask(self, request: str, *arguments: "Path | str | Sequence[str]") -> Any:
        """Send a request and return the result.  Raises KeyServerFailed."""
        assert self._process.stdin
        assert self._process.stdout
        with self._turn:
            try:
                print(json.dumps([request, *arguments], default=str), file=self._process.stdin)
                self._process.stdin.flush()
                line = self._process.stdout.readline()
            except BrokenPipeError:
                line = ""
        if not line:
            raise KeyServerFailed("the process of the key servers has ended")
        answer = json.loads(line)
        if "error" in answer:
            raise KeyServerFailed(answer["error"])
        return answer["result"]

    def close(self) -> None:
        """Stop all key servers and wait for the end of the process."""
        try:
            self._process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
