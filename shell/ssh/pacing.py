"""Sends no faster than it pays: a client that takes a few bytes at a time cannot keep us busy."""

import asyncio
from collections.abc import Callable
from typing import Any


class Pacing:
    """Stands for ``flush``, asyncssh's function that sends what a ``channel`` has buffered.

    asyncssh sends a packet whenever the window opens, be it by one byte.  While the window has
    room for fewer than ``least`` bytes, and not for all there is, a packet goes each ``pause``
    seconds only.
    """

    def __init__(
        self,
        channel: Any,
        flush: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
        *,
        least: int,
        pause: float,
    ) -> None:
        self._channel = channel
        self._flush = flush
        self._loop = loop
        self._least = least
        self._pause = pause
        self._is_waiting = False

    def __call__(self) -> None:
        """Send what the window has room for, now or soon."""
        channel = self._channel
        window = channel._send_window
        if not window or window >= min(self._least, channel._send_buf_len):
            self._flush()
            return
        channel._pause_resume_writing()  # as ``flush`` does, for the buffer may be full
        if not self._is_waiting:
            self._is_waiting = True
            self._loop.call_later(self._pause, self._send)

    def _send(self) -> None:
        self._is_waiting = False
        self._flush()
