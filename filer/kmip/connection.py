"""A TLS connection to a key server; every wait ends at a deadline."""

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol, Self, TypeVar

from filer.kmip.failure import (
    CONNECTION_REFUSED,
    NOT_A_KMIP_SERVER,
    UNREACHABLE,
    ConnectionClosed,
    KeyServerFailure,
    no_answer,
)
from filer.kmip.interface import Interface
from filer.kmip.tls import failure_of

T = TypeVar("T")

_CHUNK = 64 * 1024
_FLIGHTS_WITH_CERTIFICATE = 2
"""A client sends its certificate in its second flight of the handshake."""


class Deadline:
    """The time by which a key server must answer.

    It is ``seconds`` after the creation of the object, and again after each ``restart``.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._begun = self._restarted = clock()

    def restart(self) -> None:
        """Give the server the full time again, for the next answer."""
        self._restarted = self._clock()

    def remaining(self) -> float:
        """Return the remaining seconds.  Raises KeyServerFailure if the deadline has passed."""
        remaining = self._restarted + self.seconds - self._clock()
        if remaining <= 0:
            raise no_answer(self.seconds)
        return remaining

    def elapsed(self) -> float:
        """Return the seconds since the object was created, whatever the number of restarts."""
        return self._clock() - self._begun


class Watch(Protocol):
    """Sees all requests and answers of a connection, decrypted."""

    def sent(self, data: bytes) -> None: ...

    def received(self, data: bytes) -> None: ...


class TlsConnection:
    """TLS over a socket, with the bytes transferred between the two explicitly.

    This makes it possible to read why a server closed the connection even after writing to it
    fails: with TLS 1.3, a server may refuse the client certificate while the client is writing its
    first request.  All methods raise KeyServerFailure.  ``watch`` sees the requests and answers.
    With ``interface``, the connection comes from there.
    """

    def __init__(
        self,
        address: str,
        port: int,
        context: ssl.SSLContext,
        deadline: Deadline,
        watch: Watch | None = None,
        *,
        interface: Interface | None = None,
    ) -> None:
        self._deadline = deadline
        self._watch = watch
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing)
        self._flights = 0
        self._socket = _connect(address, port, deadline, interface)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close, sending close_notify or the pending alert if that does not block."""
        with self._socket:
            with suppress(OSError, ValueError):
                self._tls.unwrap()
            with suppress(OSError):
                self._socket.setblocking(False)
                self._socket.send(self._outgoing.read())

    def handshake(self) -> None:
        """Perform the handshake, in which the context verifies the server's certificate."""
        try:
            self._run(self._tls.do_handshake)
        except ConnectionClosed:
            raise KeyServerFailure(NOT_A_KMIP_SERVER) from None

    def peer_certificate(self) -> tuple[dict[str, object], bytes]:
        """Return the server's certificate as ``getpeercert`` decodes it, and in DER."""
        try:
            return dict(self._tls.getpeercert() or {}), self._tls.getpeercert(True) or b""
        except (ssl.SSLError, ValueError):
            raise KeyServerFailure(NOT_A_KMIP_SERVER) from None

    def cipher(self) -> str:
        """Return the name of the cipher suite."""
        name, _, _ = self._tls.cipher() or ("none", "", 0)
        return name

    def send(self, data: bytes) -> None:
        """Send all of ``data``."""
        if self._watch is not None:
            self._watch.sent(data)
        unsent = memoryview(data)
        while unsent:
            unsent = unsent[self._run(partial(self._tls.write, unsent)) :]

    def receive(self, size: int) -> bytes:
        """Receive exactly ``size`` bytes.  Raises ConnectionClosed if none of them arrives."""
        received = bytearray()
        while len(received) < size:
            missing = min(_CHUNK, size - len(received))
            try:
                chunk = self._run(partial(self._tls.read, missing))
            except ConnectionClosed:
                chunk = b""
            if not chunk:
                raise KeyServerFailure(NOT_A_KMIP_SERVER) if received else ConnectionClosed
            received += chunk
        if self._watch is not None:
            self._watch.received(bytes(received))
        return bytes(received)

    def is_open(self) -> bool:
        """Return whether the server has not closed the connection yet.

        Raises KeyServerFailure if bytes have arrived beyond those already received.
        """
        with suppress(OSError):
            self._socket.setblocking(False)
            data = self._socket.recv(_CHUNK)
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()
        try:
            surplus = self._tls.read(1)
        except ssl.SSLWantReadError:
            return True
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return False
        except ssl.SSLError as error:
            raise failure_of(error, shown=True) from None
        if surplus:
            raise KeyServerFailure(NOT_A_KMIP_SERVER)
        return False

    def _run(self, step: Callable[[], T]) -> T:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                raise ConnectionClosed from None
            except ssl.SSLError as error:
                raise failure_of(error, shown=self._flights >= _FLIGHTS_WITH_CERTIFICATE) from None
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        data = self._outgoing.read()
        if not data:
            return
        self._flights += 1
        self._socket.settimeout(self._deadline.remaining())
        try:
            self._socket.sendall(data)
        except TimeoutError:
            raise no_answer(self._deadline.seconds) from None
        except OSError:
            # The server has closed the connection; its last bytes can still be read.
            return

    def _fill(self) -> None:
        self._socket.settimeout(self._deadline.remaining())
        try:
            data = self._socket.recv(_CHUNK)
        except TimeoutError:
            raise no_answer(self._deadline.seconds) from None
        except OSError:
            raise ConnectionClosed from None
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()


def reach(address: str, port: int, seconds: float, interface: Interface | None = None) -> None:
    """Make a TCP connection within ``seconds``, and close it.  Raises KeyServerFailure."""
    _connect(address, port, Deadline(seconds), interface).close()


def _connect(
    address: str, port: int, deadline: Deadline, interface: Interface | None = None
) -> socket.socket:
    if interface and not interface.serves(address):
        interface = None
    unreachable = f"{UNREACHABLE} from {interface.address}" if interface else UNREACHABLE
    if interface and not interface.reaches(address):
        raise KeyServerFailure(unreachable)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        connection = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        raise KeyServerFailure(unreachable) from None
    try:
        if interface:
            connection.bind((interface.address, 0))
        connection.settimeout(deadline.remaining())
        connection.connect((address, port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    except BaseException as error:
        connection.close()
        if isinstance(error, TimeoutError):
            raise no_answer(deadline.seconds) from None
        if isinstance(error, ConnectionRefusedError):
            raise KeyServerFailure(CONNECTION_REFUSED) from None
        if isinstance(error, OSError):
            raise KeyServerFailure(unreachable) from None
        raise
    return connection
