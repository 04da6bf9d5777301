"""The bytes of one SSH channel as blocking streams for a console."""

import asyncio
import io
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

Put = Callable[[bytes], None]

_BLOCK = 64 * 1024
"""Bytes passed to the event loop at once; the rest waits until the client reads."""


class Feed(asyncio.BaseProtocol):
    """Writes the input of a client into a pipe; too much typeahead makes the client wait."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._early = b""
        self._ended = False
        self._pipe: asyncio.WriteTransport | None = None

    async def open(self, descriptor: int) -> None:
        """Write to ``descriptor`` from now on, first the input that has arrived before."""
        pipe = os.fdopen(descriptor, "wb", 0)
        self._pipe, _ = await asyncio.get_running_loop().connect_write_pipe(lambda: self, pipe)
        self._pipe.write(self._early)
        if self._ended:
            self._pipe.close()

    def pause_writing(self) -> None:
        """Stop reading from the client, since the pipe is full."""
        self._channel.pause_reading()

    def resume_writing(self) -> None:
        """Resume reading after this callback: the next input may be the end, which closes us."""
        asyncio.get_running_loop().call_soon(self._channel.resume_reading)

    def write(self, data: bytes) -> None:
        if self._pipe is None:
            self._early += data
        elif not self._ended:
            self._pipe.write(data)

    def end(self) -> None:
        """End the stream after the data written so far."""
        self._ended = True
        if self._pipe is not None:
            self._pipe.close()

    def break_off(self) -> None:
        """End the stream at once, without unsent data."""
        self._early, self._ended = b"", True
        pipe = self._pipe
        if pipe is not None and (pipe.get_write_buffer_size() or not pipe.is_closing()):
            pipe.abort()


class Flow:
    """Flow control: one thread writes no faster than the client reads."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._may_write = threading.Event()
        self._may_write.set()
        self._lost = False
        self._never_waits = False
        self._causes: set[str] = set()
        self.paused_at: float | None = None
        """The loop time at which the client stopped reading; None while it reads."""

    def put(self, data: bytes, put: Put) -> None:
        """Wait until the client reads, and call ``put`` in the event loop; for other threads.

        Raises BrokenPipeError if the client has gone.
        """
        self._may_write.wait()
        if self._lost:
            raise BrokenPipeError
        self._may_write.clear()
        self._loop.call_soon_threadsafe(self._put, data, put)

    def pause(self, cause: str) -> None:
        """Make the writer wait until no cause is left, or fail after `never_wait`."""
        self._causes.add(cause)
        if self.paused_at is None:
            self.paused_at = self._loop.time()
        if self._never_waits:
            self.lose()
        else:
            self._may_write.clear()

    def resume(self, cause: str) -> None:
        """Remove a cause to wait."""
        self._causes.discard(cause)
        if not self._causes:
            self.paused_at = None
            self._may_write.set()

    def never_wait(self) -> None:
        """Let writes fail instead of waiting, since the session ends."""
        self._never_waits = True
        if self.paused_at is not None:
            self.lose()

    def lose(self) -> None:
        """Let every write fail, since the client has gone."""
        self._lost = True
        self._may_write.set()

    def _put(self, data: bytes, put: Put) -> None:
        if not self._lost:
            put(data)
        if self._lost or not self._causes:
            self._may_write.set()


class _Bytes(io.BufferedIOBase):
    name = "<ssh>"

    def __init__(self, flow: Flow, put: Put, *, terminal: bool) -> None:
        self._flow = flow
        self._put = put
        self._terminal = terminal

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._terminal

    def write(self, data: "ReadableBuffer", /) -> int:
        text = bytes(data)
        start = 0
        while start < len(text):
            end = start + _BLOCK
            while end < len(text) and text[end] & 0xC0 == 0x80:
                end -= 1  # whole characters only
            self._flow.put(text[start:end], self._put)
            start = end
        return len(text)


def text_output(flow: Flow, put: Put, *, terminal: bool, newline: str) -> io.TextIOWrapper:
    """Return a text stream that passes its bytes to ``put``."""
    return io.TextIOWrapper(
        _Bytes(flow, put, terminal=terminal),
        encoding="utf-8",
        errors="backslashreplace",
        newline=newline,
        write_through=True,
    )
