"""One key server: an address, a port, a store, and a thread for each client."""

import errno
import os
import resource
import selectors
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from heapq import nsmallest
from operator import itemgetter
from pathlib import Path
from typing import Self

from filer.host.durable import Storage
from filer.host.errors import FilerError
from filer.host.lock import locked
from filer.host.reading import UnreadableError, read_regular
from filer.host.text import printable
from filer.keyserver import DEFAULT_ADDRESS, DEFAULT_PORT
from filer.keyserver.authority import server_name, store_name
from filer.keyserver.engine import Engine, StoreLost
from filer.keyserver.session import Session
from filer.keyserver.store import StoreError
from filer.kmip.address import parse_address
from filer.registration.pem import SIZE_LIMIT, ca_name

__all__ = ["DEFAULT_PORT", "AddressInUseError", "KeyServer", "KeyServerError", "start_together"]

_STOP_SECONDS = 2.0
_BACKLOG = 1024
"""Filers that boot at once after a power cut must not wait for a retransmission of TCP."""
_SPARE = 32
"""File descriptors that clients leave to SQLite."""
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class KeyServerError(FilerError):
    """A key server cannot be started."""


class AddressInUseError(KeyServerError):
    """Another program listens on the key server's address and port."""


class KeyServer:
    """A KMIP server (1.0 to 2.0, TLS 1.2 or 1.3) for clients with a certificate of its authority.

    ``directory`` has the certificates created by ``filer.keyserver.authority.prepare``, and one
    store for each address; a restarted server has its keys again.  With port 0 the first start
    chooses a free port, and later starts use the same one.  A client has ``handshake_timeout``
    seconds for the TLS handshake.  If file descriptors run out, the clients that have been idle for
    the longest time are disconnected.
    While the store is removed or replaced, each request is refused, and ``complain`` receives one
    line.  A store that is missing at a later start is not recreated: see `started`.
    A client certificate may also be issued by an authority in ``client_ca``, a PEM file.
    If certificate files change, the next connection uses the new ones; if they are unusable,
    ``complain`` receives one line, and the earlier ones stay in use.
    As a context manager, the server starts on entry and stops on exit.
    """

    def __init__(
        self,
        directory: Path,
        address: str = DEFAULT_ADDRESS,
        port: int = DEFAULT_PORT,
        *,
        client_ca: Path | None = None,
        handshake_timeout: float = 10.0,
        complain: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.directory = directory
        self.address = parse_address(address)
        self.port = port
        self._client_ca = client_ca
        self._handshake_timeout = handshake_timeout
        self._complain = complain
        self._certificates: list[tuple[int, int] | None] = []
        self._opened: os.stat_result | None = None
        self._is_lost = False
        self._sessions: set[Session] = set()
        self._changing = threading.Lock()
        self._running: ExitStack | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def store(self) -> Path:
        """The SQLite file with the keys that clients store."""
        return self.directory / store_name(self.address)

    @property
    def started(self) -> Path:
        """A file that records that the store exists; without it, a start may create a new store."""
        return self.directory / f"{self.address}.started"

    @property
    def running(self) -> bool:
        """Whether it was started, and not stopped since."""
        return self._running is not None

    def start(self) -> None:
        """Listen and serve clients in background threads; does nothing if it is running.

        Raises KeyServerError, which names the address or the file, or AddressInUseError.
        """
        if self._running is None:
            try:
                self._running = self._start()
            except (OSError, RuntimeError) as error:  # no more descriptors, no more threads
                reason = printable(getattr(error, "strerror", None) or str(error))
                raise KeyServerError(f"cannot serve on {self.address}: {reason}") from error

    def _start(self) -> ExitStack:
        with ExitStack() as stack:
            listener = stack.enter_context(self._bind())
            context = self._context()
            stack.enter_context(self._exclusive_store())
            engine = self._engine()
            stack.callback(engine.close)
            self._record_store()
            stack.callback(self._disconnect_all)
            stopped, stop = socket.socketpair()
            stack.enter_context(stopped)
            stack.enter_context(stop)
            selector = stack.enter_context(selectors.DefaultSelector())
            selector.register(stopped, selectors.EVENT_READ)
            selector.register(listener, selectors.EVENT_READ)
            self._listen(listener)
            accepting = threading.Thread(
                target=self._accept,
                args=(selector, stopped, listener, context, engine),
                name=f"key server {self.address}",
                daemon=True,
            )
            with _without_signals():
                accepting.start()
            stack.callback(accepting.join)
            stack.callback(stop.close)  # wakes the thread
            self.port = listener.getsockname()[1]
            return stack.pop_all()

    def stop(self) -> None:
        """Stop listening and end all sessions; does nothing if it is not running."""
        running, self._running = self._running, None
        if running is not None:
            running.close()

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.address, self.port))
        except OSError as error:
            listener.close()
            raise self._cannot_listen(error) from error
        return listener

    def _listen(self, listener: socket.socket) -> None:
        try:
            listener.listen(_BACKLOG)
        except OSError as error:
            raise self._cannot_listen(error) from error
        listener.setblocking(False)

    def _cannot_listen(self, error: OSError) -> KeyServerError:
        kind = AddressInUseError if error.errno == errno.EADDRINUSE else KeyServerError
        reason = printable(error.strerror or str(error))
        return kind(f"cannot listen on {self.address} port {self.port}: {reason}")

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        # A client that resumes a session would not present its certificate again.
        context.num_tickets = 0
        # A file of clients' authorities may have an intermediate one alone.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        self._certificates = self._versions()
        own, *authorities = self._certificate_files()
        # Without a password argument, OpenSSL would ask for one on the terminal.
        load_own: Callable[[Path], None] = partial(context.load_cert_chain, password="")
        loads: list[tuple[Callable[[Path], None], Path]] = [(load_own, own)]
        loads += [(context.load_verify_locations, path) for path in authorities]
        for load, path in loads:
            try:
                read_regular(path, SIZE_LIMIT, follow=True)  # OpenSSL would wait at a FIFO
                load(path)
            except UnreadableError as error:
                raise KeyServerError(f"{printable(str(path))}: {error}") from error
            except (ssl.SSLError, ValueError) as error:
                raise KeyServerError(
                    f"{printable(str(path))}: not usable for a key server; "
                    "it must have certificates in PEM format"
                ) from error
            except OSError as error:
                reason = printable(error.strerror or str(error))
                raise KeyServerError(f"{printable(str(path))}: {reason}") from error
        return context

    def _current(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """Return ``context``, or a new one if the certificate files have changed."""
        if self._versions() == self._certificates:
            return context
        try:
            return self._context()
        except KeyServerError as error:
            self._complain(f"{error}; key server {self.address} uses the earlier certificates")
            return context

    def _certificate_files(self) -> list[Path]:
        names = server_name(self.address), ca_name(self.address)
        files = [self.directory / name for name in names]
        return files if self._client_ca is None else [*files, self._client_ca]

    def _versions(self) -> list[tuple[int, int] | None]:
        """Return what differs between two versions of each certificate file."""
        found: list[tuple[int, int] | None] = []
        for path in self._certificate_files():
            try:
                status = path.stat()
            except OSError:
                found.append(None)
            else:
                found.append((status.st_ino, status.st_mtime_ns))
        return found

    @contextmanager
    def _exclusive_store(self) -> Iterator[None]:
        # Two servers at different ports must not use the same store.
        self._refuse_missing_store()
        with locked(self.store, os.O_RDWR | os.O_CREAT, self._unusable, wait=False) as descriptor:
            self._opened, self._is_lost = os.fstat(descriptor), False
            yield

    def _unusable(self, error: OSError) -> KeyServerError:
        reason = printable(error.strerror or str(error))
        if isinstance(error, BlockingIOError):
            reason = "in use by another key server"
        return KeyServerError(f"{printable(str(self.store))}: {reason}")

    def _refuse_missing_store(self) -> None:
        """Refuse to create a store if an earlier one is missing."""
        with suppress(OSError):
            if self.store.stat().st_size > 0:
                return
        if self.started.exists():
            raise KeyServerError(
                f"{printable(str(self.store))}: missing or empty, but there was a store; "
                f"put it back, or remove {printable(self.started.name)} to start without any key"
            )

    def _record_store(self) -> None:
        """Record that the store exists, before the first client can store a key in it."""
        if not self.started.exists():
            text = f"{self.store.name} exists. Without this file, a missing one is recreated.\n"
            Storage().write(self.started, text.encode())

    def _refuse_lost_store(self) -> None:
        """Raise StoreLost if ``store`` is no longer the file that `start` opened."""
        try:
            found = self.store.stat()
        except OSError:
            problem = "was removed"
        else:
            if self._opened and os.path.samestat(found, self._opened):
                self._is_lost = False
                return
            problem = "was replaced"
        if not self._is_lost:
            self._is_lost = True
            self._complain(
                f"{printable(str(self.store))}: {problem} while key server {self.address} runs; "
                "requests are refused until it is put back or the key server is started again"
            )
        raise StoreLost(f"the store of this key server {problem}")

    def _engine(self) -> Engine:
        try:
            return Engine(self.store, self._refuse_lost_store, may_create=not self.started.exists())
        except StoreError as error:
            raise KeyServerError(str(error)) from error
        except OSError as error:
            reason = printable(error.strerror or str(error))
            raise KeyServerError(f"{printable(str(self.store))}: {reason}") from error

    def _accept(
        self,
        selector: selectors.BaseSelector,
        stopped: socket.socket,
        listener: socket.socket,
        context: ssl.SSLContext,
        engine: Engine,
    ) -> None:
        while stopped not in {key.fileobj for key, _ in selector.select()}:
            try:
                connection, peer = listener.accept()
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._drop_idle(_SPARE)
                time.sleep(0.01)
            else:
                # The lowest free descriptor was used, so all below it are in use.
                self._drop_idle(connection.fileno() - _descriptors() + _SPARE)
                context = self._current(context)
                self._serve(connection, peer, context, engine)

    def _serve(
        self, connection: socket.socket, peer: object, context: ssl.SSLContext, engine: Engine
    ) -> None:
        with ExitStack() as stack:
            stack.enter_context(connection)
            try:
                connection.getpeername()  # unlike wrap_socket, fails if the client has gone
                secured = context.wrap_socket(
                    connection, server_side=True, do_handshake_on_connect=False
                )
                stack.enter_context(secured)
                session = Session(
                    engine,
                    secured,
                    handshake_timeout=self._handshake_timeout,
                    ended=self._forget,
                )
                with self._changing:
                    self._sessions.add(session)
                try:
                    session.start()
                except RuntimeError:  # no more threads
                    self._forget(session)
                    self._drop_idle(1)
                    return
            except OSError:
                return
            stack.pop_all()

    def _drop_idle(self, number: int) -> None:
        """End the ``number`` sessions that have been idle for the longest time."""
        if number <= 0:
            return
        with self._changing:
            idle = [(each.idle_since, each) for each in self._sessions]
        oldest = nsmallest(number, (each for each in idle if each[0] is not None), itemgetter(0))
        for _, session in oldest:
            session.disconnect()
        for _, session in oldest:
            session.join(_STOP_SECONDS)  # until it has closed its descriptor

    def _forget(self, session: Session) -> None:
        with self._changing:
            self._sessions.discard(session)

    def _disconnect_all(self) -> None:
        with self._changing:
            sessions = tuple(self._sessions)
        for session in sessions:
            session.disconnect()
        deadline = time.monotonic() + _STOP_SECONDS
        for session in sessions:
            session.join(max(0.0, deadline - time.monotonic()))


def _descriptors() -> int:
    """Return how many file descriptors the process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


@contextmanager
def _without_signals() -> Iterator[None]:
    # Threads inherit the mask.  A signal delivered to a server thread would not interrupt the wait
    # of the main thread, where Python handles it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_together(servers: Sequence[KeyServer]) -> None:
    """Start all ``servers`` or none; those with port 0 get the same port, free for all of them.

    All key servers of a filer use one port (man key_manager, setup).
    Raises the errors of ``KeyServer.start``.
    """
    undecided = [server for server in servers if server.port == 0]
    for attempt in range(16, 0, -1):
        try:
            with ExitStack() as started:
                for server in servers:
                    if server in undecided:
                        server.port = undecided[0].port
                    server.start()
                    started.callback(server.stop)
                started.pop_all()
        except AddressInUseError:
            if not undecided or attempt == 1:
                raise
            for server in undecided:
                server.port = 0
        else:
            return
