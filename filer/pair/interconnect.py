"""The interconnect: datagrams between the processes of two partners on one host.

Each node has a socket below its root and sends a heartbeat to the partner's.  Nothing here waits
for the partner: a datagram that cannot be delivered at once is dropped.
"""

import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

HEARTBEAT = 0.25
"""Seconds between two heartbeats."""

SILENCE = 2.0
"""Seconds without a heartbeat after which the interconnect is down."""

_DIRECTORY, _SOCKET = "run", "interconnect"

_CUT = "cut"
"""A file with this name beside the socket of either node cuts the cable, for a rehearsal."""

_LONGEST = 64

ALIVE, WAITING = b"alive", b"waiting"
"""Heartbeats of a node that is on, and of one that waits for giveback."""

_RELEASE = b"release "
"""Begins a request to release the disks; its time follows, by the clock of the host."""

_REQUEST_LASTS = 2.0
"""Seconds after which a request that was not read yet is void: the partner may have been stopped,
and the operator who asked may have given up."""


class Interconnect:
    """The end of the interconnect in the root ``own``; ``partner`` is the other root.

    A thread sends and receives.  Once `start`ed it calls ``tick`` after each heartbeat, and
    ``asked`` when the partner asks this node to release its disks.
    """

    def __init__(
        self,
        own: Path,
        partner: Path,
        tick: Callable[[], object] = lambda: None,
        asked: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._own = own / _DIRECTORY
        self._partner = partner / _DIRECTORY
        self.tick, self.asked = tick, asked
        self._clock = clock
        self._heard: tuple[float, bytes] | None = None
        self._begun = clock()
        self._thread: threading.Thread | None = None
        self._wake: socket.socket | None = None
        self.heartbeat = ALIVE

    @property
    def is_up(self) -> bool:
        """Whether a heartbeat of the partner has arrived lately."""
        return self._heard is not None and self._clock() - self._heard[0] < SILENCE

    @property
    def is_silent(self) -> bool:
        """Whether the partner could have been heard for long enough, and was not."""
        return not self.is_up and self._clock() - self._begun >= SILENCE

    @property
    def partner_waits(self) -> bool:
        """Whether the partner has just said that it waits for giveback."""
        return self.is_up and self._heard is not None and self._heard[1] == WAITING

    def start(self) -> None:
        """Open the socket and start the thread.  Raises OSError."""
        import socket  # 3 ms

        self._own.mkdir(0o700, exist_ok=True)
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            receiver.setblocking(False)
            with _address(self._own) as address:
                with suppress(FileNotFoundError):
                    os.unlink(address)  # noqa: PTH108  (left by a process that was killed)
                receiver.bind(address)
                os.chmod(address, 0o600)  # noqa: PTH101
            woken, self._wake = socket.socketpair()
        except OSError:
            receiver.close()
            raise
        self._begun = self._clock()
        self._thread = threading.Thread(target=self._run, args=(receiver, woken), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and remove the socket."""
        if self._wake is None or self._thread is None:
            return
        self._wake.close()
        self._thread.join()
        self._wake = self._thread = None
        with suppress(OSError), _address(self._own) as address:
            os.unlink(address)  # noqa: PTH108

    def send(self, message: bytes) -> None:
        """Send ``message`` to the partner; drop it if it cannot be delivered now."""
        import socket

        if os.path.lexists(self._own / _CUT) or os.path.lexists(self._partner / _CUT):
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            with _address(self._partner) as address:
                sender.sendto(message, address)

    def ask(self) -> None:
        """Ask the partner to release its disks."""
        self.send(_RELEASE + f"{self._clock():.3f}".encode())

    def _run(self, receiver: "socket.socket", woken: "socket.socket") -> None:
        with receiver, woken:
            next_beat = self._clock()
            while True:
                wait = max(0.0, next_beat - self._clock())
                readable, _, _ = select.select([receiver, woken], [], [], wait)
                if woken in readable:
                    return
                if receiver in readable:
                    self._receive(receiver)
                if self._clock() >= next_beat:
                    self.send(self.heartbeat)
                    self.tick()
                    next_beat = self._clock() + HEARTBEAT

    def _receive(self, receiver: "socket.socket") -> None:
        with suppress(OSError):
            message = receiver.recv(_LONGEST)
            if message in (ALIVE, WAITING):
                self._heard = (self._clock(), message)
            elif message.startswith(_RELEASE) and self._is_new(message.removeprefix(_RELEASE)):
                self.asked()

    def _is_new(self, time_of_request: bytes) -> bool:
        with suppress(ValueError):
            return abs(self._clock() - float(time_of_request)) < _REQUEST_LASTS
        return False


@contextmanager
def _address(directory: Path) -> Iterator[str]:
    """Yield an address of the socket in ``directory`` that fits into the 108 bytes of a sun_path.

    Raises OSError.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        by_descriptor = f"/proc/self/fd/{descriptor}"
        parent = by_descriptor if os.path.isdir(by_descriptor) else str(directory)  # noqa: PTH112
        yield f"{parent}/{_SOCKET}"
    finally:
        os.close(descriptor)
