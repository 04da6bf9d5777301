"""Pacing of output, so that a client with a tiny window cannot keep us busy."""

import asyncio
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any


@dataclass(eq=False, repr=False)
class Pacing:
    """Replaces ``flush``, asyncssh's function that sends the buffer of a ``channel``.

    asyncssh sends a packet whenever the window opens, even by one byte.  Here, while the window
    has room for fewer than ``least`` bytes and not for the whole buffer, one packet is sent every
    ``pause`` seconds.
    """

    channel: Any
    flush: Callable[[], None]
    loop: asyncio.AbstractEventLoop
    _: KW_ONLY
    least: int
    pause: float
    _is_waiting: bool = field(default=False, init=False)

    def __call__(self) -> None:
        """Send as much as the window allows, now or after the pause."""
        channel = self.channel
        window = channel._send_window
        if not window or window >= min(self.least, channel._send_buf_len):
            self.flush()
            return
        channel._pause_resume_writing()  # as ``flush`` does: the buffer may be full
        if not self._is_waiting:
            self._is_waiting = True
            self.loop.call_later(self.pause, self._send)

    def _send(self) -> None:
        self._is_waiting = False
        self.flush()
