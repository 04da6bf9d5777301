"""Key servers for a test, in a process of their own (`pytest_filer.key_server_process`)."""

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
"""Where key servers are started, in this order."""

_PATIENCE = 60
"""Seconds after which the process is killed if its end of input did not end it."""

_PROGRAM = Path(__file__).with_name("key_server_process.py")


class KeyServerFailed(Exception):
    """The key servers cannot be started; the text is one line for the user."""


class KeyServer:
    """A key server that runs beside a test."""

    def __init__(
        self, process: "KeyServerProcess", directory: Path, address: str, port: int
    ) -> None:
        self.address = address
        self.port = port
        self._process = process
        self._directory = directory

    def start(self) -> None:
        """Listen again, on the same port, with the same keys; nothing happens if it runs."""
        self._process.ask("start", self._directory, self.address)

    def stop(self) -> None:
        """Stop listening and end all connections; nothing happens if it does not run."""
        self._process.ask("stop", self._directory, self.address)


class KeyServerProcess:
    """The process of all key servers of a session of tests."""

    def __init__(self, authority: Path) -> None:
        """Start it, and have it make certificates for ``ADDRESSES`` in the directory ``authority``.

        Raises KeyServerFailed.
        """
        self._authority = authority
        self._turn = threading.Lock()
        # The path of the tests is theirs: with their modules the process might load them for ours.
        environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env=environment,
            start_new_session=True,  # Ctrl-C is for the tests
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
        """Return the answer to a request.  Raises KeyServerFailed."""
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
