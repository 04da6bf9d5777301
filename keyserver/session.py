"""The session of one client of a key server, based on PyKMIP's."""

import socket
import ssl
import struct
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from cryptography.utils import CryptographyDeprecationWarning

with (
    warnings.catch_warnings(action="ignore", category=DeprecationWarning),
    warnings.catch_warnings(action="ignore", category=CryptographyDeprecationWarning),
):
    from kmip.core.exceptions import ConnectionClosed
    from kmip.core.utils import BytearrayStream
    from kmip.services.server.session import KmipSession
from filer.keyserver.engine import Engine

_LINGER_SECONDS = 1.0
_REQUEST_MESSAGE = b"\x42\x00\x78\x01"


class _Request(BytearrayStream):  # type: ignore[misc]  # PyKMIP has no types
    """The bytes of a request; PyKMIP's own stream copies all remaining bytes on each read."""

    def __init__(self, data: bytes) -> None:
        self._rest = memoryview(data)

    def peek(self, n: int | None = None) -> bytes:
        return bytes(self._rest[:n])

    def read(self, n: int | None = None) -> bytes:
        data = bytes(self._rest[: None if n == -1 else n])
        self._rest = self._rest[len(data) :]
        return data

    def length(self) -> int:
        return len(self._rest)

    __len__ = length


class Session(KmipSession):  # type: ignore[misc]  # PyKMIP has no types
    """One client's connection, served by a thread.

    PyKMIP's own ``run`` and ``_receive_request`` wait forever for a client that never finishes its
    handshake, read requests of up to 4 GiB, and loop endlessly after a connection error.  Here the
    first error of any kind ends the session, without affecting others.
    """

    def __init__(
        self,
        engine: Engine,
        connection: ssl.SSLSocket,
        peer: Any,
        *,
        handshake_timeout: float,
        ended: Callable[["Session"], None],
    ) -> None:
        super().__init__(engine, connection, peer, name="client")
        self.daemon = True
        self._handshake_timeout = handshake_timeout
        self._ended = ended
        self._closing = threading.Lock()

    def run(self) -> None:
        """Serve requests until the client disconnects or violates the protocol, or `disconnect`."""
        try:
            if self._handshake():
                while True:
                    self._handle_message_loop()
        except Exception as error:
            self._logger.info("Session ended by %s", type(error).__name__)
        finally:
            with self._closing:
                self._connection.close()
            self._ended(self)

    def disconnect(self) -> None:
        """End the session from another thread, interrupting any wait."""
        # After SSLSocket.shutdown the session's thread would continue in plain text.
        with self._closing, suppress(OSError):
            socket.socket.shutdown(self._connection, socket.SHUT_RDWR)

    def _handshake(self) -> bool:
        self._connection.settimeout(self._handshake_timeout)
        try:
            self._connection.do_handshake()
        except OSError:
            self._linger()
            return False
        self._connection.settimeout(None)
        return True

    def _linger(self) -> None:
        # Closing with unread bytes would reset the connection, and the client might not receive
        # the TLS alert with the reason.
        self._connection.settimeout(_LINGER_SECONDS)
        socket.socket.shutdown(self._connection, socket.SHUT_WR)
        for _ in range(16):
            if not socket.socket.recv(self._connection, 4096):
                break

    def _receive_request(self) -> _Request:
        header = self._receive_bytes(8)
        (size,) = struct.unpack("!I", header[4:])
        if not header.startswith(_REQUEST_MESSAGE) or size > self._max_request_size:
            raise ConnectionClosed
        return _Request(header + self._receive_bytes(size))
