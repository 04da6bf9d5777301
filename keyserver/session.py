"""The session of one client of a key server."""

import logging
import socket
import ssl
import struct
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress

from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID

with (
    warnings.catch_warnings(action="ignore", category=DeprecationWarning),
    warnings.catch_warnings(action="ignore", category=CryptographyDeprecationWarning),
):
    from kmip.core.exceptions import PermissionDenied
    from kmip.services.server import auth
from filer.keyserver.engine import Engine

_LINGER_SECONDS = 1.0
_REQUEST_MESSAGE = b"\x42\x00\x78\x01"
_LARGEST_REQUEST = 1024 * 1024
_CHUNK = 64 * 1024
_LOG = logging.getLogger("kmip.server.session")


class _Ended(Exception):
    """The client has disconnected, or sends what is not a request."""


class Session(threading.Thread):
    """One client's connection, served by a thread.

    PyKMIP's own session waits forever for a client that never finishes its handshake, reads
    requests of up to 4 GiB, loops endlessly after a connection error, and reads the client's
    certificate again for each request.  Here the first error of any kind ends the session, without
    affecting others.
    """

    def __init__(
        self,
        engine: Engine,
        connection: ssl.SSLSocket,
        *,
        handshake_timeout: float,
        ended: Callable[["Session"], None],
    ) -> None:
        super().__init__(name="client", daemon=True)
        self._engine = engine
        self._connection = connection
        self._handshake_timeout = handshake_timeout
        self._ended = ended
        self._closing = threading.Lock()
        self.idle_since: float | None = time.monotonic()
        """When the client was last heard or answered; None while a request is processed."""

    def run(self) -> None:
        """Serve requests until the client disconnects or violates the protocol, or `disconnect`."""
        try:
            if self._handshake():
                client = self._client()
                while True:
                    request = self._request()
                    self.idle_since = None
                    response = self._engine.answer(request, client)
                    self.idle_since = time.monotonic()
                    self._connection.sendall(response)
        except Exception as error:
            _LOG.info("Session ended by %s", type(error).__name__)
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

    def _client(self) -> str | None:
        """Return the common name of the client, or None if its certificate is not for clients."""
        certificate = auth.get_certificate_from_connection(self._connection)
        usage = auth.get_extended_key_usage_from_certificate(certificate)
        if usage is None or ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
            return None
        try:
            return str(auth.get_client_identity_from_certificate(certificate))
        except PermissionDenied:
            return None

    def _request(self) -> bytes:
        """Return the value of the next request message."""
        header = self._receive(8)
        (size,) = struct.unpack("!I", header[4:])
        if not header.startswith(_REQUEST_MESSAGE) or size > _LARGEST_REQUEST:
            raise _Ended
        return self._receive(size)

    def _receive(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            chunk = self._connection.recv(min(_CHUNK, size - len(received)))
            if not chunk:
                raise _Ended
            received += chunk
            self.idle_since = time.monotonic()
        return bytes(received)
