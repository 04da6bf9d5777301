"""Start programs as a test needs them: with the default signals, at a terminal, without a fork."""

import os
import signal
import termios
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pexpect
from ptyprocess import PtyProcess

PATIENCE = 60
"""Seconds to wait for output of a program before giving up; no passing test waits this long."""

_IN_DIRECTORY = ("/bin/sh", "-c", 'cd -- "$0" && exec "$@"')
"""Runs a program in a directory; both follow as arguments."""

_LEAVING = 0.2
"""Seconds that a program has to end by itself after its terminal has gone."""

_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


@contextmanager
def default_signals() -> Iterator[None]:
    """Have programs started here get the default action of the signals that tests send.

    What nohup, cron or a shell's "&" ignores is ignored by all children too, but a handler is not
    inherited: so this process catches those signals, and goes on ignoring them.
    """
    ignored = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_IGN]
    if threading.current_thread() is not threading.main_thread():
        ignored = []  # Python allows handlers in the main thread only
    for number in ignored:
        signal.signal(number, lambda _number, _frame: None)
    try:
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


if TYPE_CHECKING:
    _Spawn = pexpect.spawn[str]
else:
    _Spawn = pexpect.spawn


class Child(_Spawn):
    """A program at a terminal of its own, started without a fork in Python.

    The process of the tests may have threads; after a fork, the child may wait for a lock that one
    of them held.
    """

    def __init__(
        self,
        program: str,
        arguments: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        dimensions: tuple[int, int] = (24, 80),
        timeout: float = PATIENCE,
    ) -> None:
        super().__init__(
            program,
            list(arguments),
            cwd=os.fspath(cwd),
            env=dict(env),
            dimensions=dimensions,
            timeout=timeout,
            encoding="utf-8",
        )
        self.delaybeforesend = None

    def _spawnpty(
        self, args: list[bytes], *, cwd: str, dimensions: tuple[int, int], **more: Any
    ) -> PtyProcess:
        """Start the program: pexpect calls this instead of forking."""
        command: list[str | bytes] = [*_IN_DIRECTORY, cwd, *args]
        terminal, its_end = os.openpty()
        try:
            termios.tcsetwinsize(its_end, dimensions)
            pid = os.posix_spawn(
                _IN_DIRECTORY[0],
                command,
                more["env"],
                file_actions=[
                    # The first terminal that the leader of a session opens controls the session.
                    (os.POSIX_SPAWN_OPEN, 0, os.ttyname(its_end), os.O_RDWR, 0),
                    (os.POSIX_SPAWN_DUP2, 0, 1),
                    (os.POSIX_SPAWN_DUP2, 0, 2),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=(*_SIGNALS, signal.SIGPIPE, signal.SIGXFSZ),
            )
        finally:
            os.close(its_end)
        return _Process(pid, terminal)


class _Process(PtyProcess):  # type: ignore[misc]  # it has no types
    """Ends when its terminal is closed, and is waited for as long as that takes, no longer."""

    def __init__(self, pid: int, terminal: int) -> None:
        super().__init__(pid, terminal)
        self.delayafterclose = 0

    def terminate(self, force: bool = False) -> bool:
        """Wait for the end after the hang-up, which ``force`` brings about."""
        ends = time.monotonic() + (_LEAVING if force else PATIENCE)
        while self.isalive() and time.monotonic() < ends:
            time.sleep(0.005)
        if force and self.isalive():
            self.kill(signal.SIGKILL)
            self.wait()
        return not self.isalive()
