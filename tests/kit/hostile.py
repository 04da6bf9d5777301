"""Key servers that misbehave, each in one way, on loopback.

``KINDS`` lists them all, with the text that ``key_manager status`` must print::

    with hostile.start("closes after the request", key_server) as server:
        ...  # server.address, server.port

``key_server`` is a real one (fixture ``key_servers``). The hostile server listens at the same
address, on a port of its own unless ``port`` is given, with a certificate of the same authority.
Those that almost answer change the answers of the real one. Everything ends with the context.
"""

import random
import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self

from filer.keyserver.authority import Identity, server_name
from filer.keyserver.server import KeyServer
from filer.kmip.ttlv import Element, elements, structure
from filer.registration.pem import CLIENT, CLIENT_PRIVATE
from pytest_filer.child import PATIENCE
from tests.kit import pki

NO_ANSWER = "no answer"
"""Placeholder for ``no answer in N s``."""

NOT_KMIP = "not a KMIP server"
NO_TLS_IN_COMMON = "no TLS version or cipher in common"

RESPONSE_MESSAGE = 0x42007B
OPERATION, BATCH_ITEM_ID, BATCH_COUNT = 0x42005C, 0x420093, 0x42000D
RESULT_STATUS, RESULT_REASON, RESULT_MESSAGE = 0x42007F, 0x42007E, 0x42007D
UNIQUE_IDENTIFIER, RESPONSE_PAYLOAD, NAME_VALUE = 0x420094, 0x42007C, 0x420055

INTEGER, ENUMERATION, TEXT = 2, 5, 7
LOCATE, GET, GET_ATTRIBUTES, REGISTER = 8, 10, 11, 3
ACTIVATE, DESTROY, DISCOVER_VERSIONS = 18, 20, 30
OFFSET_ITEMS, LOCATED_ITEMS = 0x4200D4, 0x4200D5
PROTOCOL_VERSION, MAJOR, MINOR = 0x420069, 0x42006A, 0x42006B

_HEADER = struct.pack("!I", RESPONSE_MESSAGE << 8 | 1)
_ALERT_PROTOCOL_VERSION = 70
_NOISE = random.Random(1).randbytes(4096)


@dataclass
class Server:
    """Runs ``serve`` for every connection, each in its own thread, until it is stopped."""

    serve: Callable[[socket.socket, "Server"], None]
    address: str = "127.0.0.2"
    port: int = 0
    backlog: int | None = 64
    accepts: bool = True
    requests: list[bytes] = field(default_factory=list)
    """The requests, for servers that read them."""

    def __enter__(self) -> Self:
        self.stopped = threading.Event()
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((self.address, self.port))
        self.port = self._listener.getsockname()[1]
        if self.backlog is not None:
            self._listener.listen(self.backlog)
        if self.accepts:
            self._listener.settimeout(0.02)
            self._run(self._accept)
        else:
            self.serve(self._listener, self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stopped.set()
        for connection in self._connections:
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()
        for connection in (*self._connections, self._listener):
            connection.close()

    def keep(self, connection: socket.socket) -> None:
        """Close ``connection`` at the end."""
        self._connections.append(connection)

    def _run(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.stopped.is_set():
            with suppress(TimeoutError):
                connection, _ = self._listener.accept()
                connection.settimeout(10)
                self.keep(connection)
                self._run(partial(self._serve, connection))

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError, ssl.SSLError):
            self.serve(connection, self)
        with suppress(OSError):
            connection.close()


# On TCP


def _nothing(connection: socket.socket, server: Server) -> None:
    pass


def _silence(connection: socket.socket, server: Server) -> None:
    server.stopped.wait(60)


def _full_backlog(listener: socket.socket, server: Server) -> None:
    # The kernel completes a few connections for a listener that never accepts, and no more.
    for _ in range(8):
        filler = socket.socket(listener.family, socket.SOCK_STREAM)
        server.keep(filler)
        filler.setblocking(False)
        with suppress(BlockingIOError):
            filler.connect((server.address, server.port))


def _reset(connection: socket.socket, server: Server) -> None:
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _plain_text(connection: socket.socket, server: Server) -> None:
    connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n<script>\x1b[2J")
    connection.recv(4096)


def _slow_handshake(connection: socket.socket, server: Server) -> None:
    connection.recv(4096)
    _drip(connection, b"\x16\x03\x03\x40\x00" + bytes(1000), server)


def answering_hello(answer: bytes) -> Callable[[socket.socket, Server], None]:
    """Return a server function that sends ``answer`` to a ClientHello, unencrypted."""

    def serve(connection: socket.socket, server: Server) -> None:
        connection.recv(65536)
        connection.sendall(answer)

    return serve


def alert(description: int) -> bytes:
    """Return a fatal TLS alert (RFC 8446, section 6)."""
    return bytes([0x15, 3, 3, 0, 2, 2, description])


def _drip(connection: socket.socket, data: bytes, server: Server) -> None:
    for index in range(len(data)):
        connection.sendall(data[index : index + 1])
        if server.stopped.wait(0.1):
            return


# On TLS

Talk = Callable[[ssl.SSLSocket, Server], None]


def server_context(
    identity: Identity, version: ssl.TLSVersion | None = None, clients: Identity | None = None
) -> ssl.SSLContext:
    """Return a context that shows ``identity`` and accepts only ``clients``, if given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(identity.private_pem())
        context.load_cert_chain(file.name)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients.certificate_pem().decode())
    return context


def tls(context: ssl.SSLContext, talk: Talk) -> Callable[[socket.socket, Server], None]:
    """Return a server function that calls ``talk`` after the handshake."""

    def serve(connection: socket.socket, server: Server) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            server.keep(secured)
            talk(secured, server)

    return serve


def read_message(connection: ssl.SSLSocket) -> bytes:
    """Read one KMIP message. Raises OSError at the end of the stream."""
    message = b""
    missing = 8
    while missing:
        chunk = connection.recv(missing)
        if not chunk:
            raise ConnectionResetError
        message += chunk
        if len(message) == 8:
            missing += struct.unpack("!I", message[4:])[0]
        missing -= len(chunk)
    return message


def answering(answer: bytes, pause: float = 0.0) -> Talk:
    """Return a server function that sends ``answer`` to one request, pauses and closes."""

    def talk(connection: ssl.SSLSocket, server: Server) -> None:
        server.requests.append(read_message(connection))
        connection.sendall(answer)
        server.stopped.wait(pause)

    return talk


def _tls_silence(connection: ssl.SSLSocket, server: Server) -> None:
    server.stopped.wait(60)


def _tls_close(connection: ssl.SSLSocket, server: Server) -> None:
    pass


def _broken_tls(connection: ssl.SSLSocket, server: Server) -> None:
    read_message(connection)
    socket.socket.send(connection, _NOISE)
    server.stopped.wait(60)


def _zeros(connection: ssl.SSLSocket, server: Server) -> None:
    read_message(connection)
    for _ in range(64):
        connection.sendall(bytes(1024 * 1024))


def _alert(context: ssl.SSLContext, description: int) -> Callable[[socket.socket, Server], None]:
    """Read the client's certificate in the handshake, then send a fatal alert."""

    def serve(connection: socket.socket, server: Server) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        secured = context.wrap_bio(incoming, outgoing, server_side=True)
        while not outgoing.pending:
            incoming.write(connection.recv(65536))
            with suppress(ssl.SSLWantReadError):
                secured.do_handshake()
        connection.sendall(outgoing.read())
        connection.recv(65536)
        connection.sendall(alert(description))

    return serve


# In KMIP

Meddle = Callable[["Answer", bytes], "Answer | bytes"]


@dataclass
class Answer:
    """A parsed response message; ``bytes()`` serialises it with a correct batch count."""

    header: list[Element]
    items: list[list[Element]]

    @classmethod
    def parse(cls, message: bytes) -> Self:
        header, *items = elements(message[8:])
        return cls(list(elements(header.value)), [list(elements(item.value)) for item in items])

    def __bytes__(self) -> bytes:
        count = Element(BATCH_COUNT, INTEGER, struct.pack("!I", len(self.items)))
        header = [count if element.tag == BATCH_COUNT else element for element in self.header]
        parts = [structure(0x42007A, header), *(structure(0x42000F, item) for item in self.items)]
        return struct.pack("!II", RESPONSE_MESSAGE << 8 | 1, len(b"".join(parts))) + b"".join(parts)

    def replace(self, tag: int, value: bytes, operation: int | None = None) -> Self:
        """Set the elements ``tag`` of all items (of ``operation``, if given) to another value."""
        for item in self.items:
            if operation is None or operation_of(item) == operation:
                item[:] = [_replaced(element, tag, value) for element in item]
        return self


def operation_of(item: list[Element]) -> int | None:
    """Return the operation of an item of an answer."""
    return next((int.from_bytes(each.value, "big") for each in item if each.tag == OPERATION), None)


def _replaced(element: Element, tag: int, value: bytes) -> Element:
    if element.tag == tag:
        return Element(tag, element.type, value)
    if element.type == 1:
        inner = [_replaced(each, tag, value).encoding() for each in elements(element.value)]
        return Element(element.tag, 1, b"".join(inner))
    return element


def refusal(reason: int, message: str = "") -> Answer:
    """Return an answer that refuses the whole request."""
    version = [Element(0x42006A, INTEGER, bytes(3) + b"\1"), Element(0x42006B, INTEGER, bytes(4))]
    header = [
        Element(0x420069, 1, b"".join(each.encoding() for each in version)),
        Element(0x420092, 9, bytes(8)),
        Element(BATCH_COUNT, INTEGER, bytes(4)),
    ]
    return Answer(header, [failed([], reason, message)])


def failed(item: list[Element], reason: int, message: str = "") -> list[Element]:
    """Return ``item`` as a failure."""
    return [
        *(element for element in item if element.tag in {OPERATION, BATCH_ITEM_ID}),
        Element(RESULT_STATUS, ENUMERATION, struct.pack("!I", 1)),
        Element(RESULT_REASON, ENUMERATION, struct.pack("!I", reason)),
        Element(RESULT_MESSAGE, TEXT, message.encode()),
    ]


@contextmanager
def connected(key_server: KeyServer, port: int | None = None) -> Iterator[ssl.SSLSocket]:
    """Connect to a real key server, or to another server at its address, as a client."""
    directory = key_server.directory
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(directory / CLIENT, directory / CLIENT_PRIVATE)
    with (
        socket.create_connection((key_server.address, port or key_server.port), 10) as plain,
        context.wrap_socket(plain) as secured,
    ):
        secured.settimeout(60)
        yield secured


def meddling(
    key_server: KeyServer,
    meddle: Meddle,
    *,
    ask: Callable[[bytes], bytes] = lambda request: request,
    drip: bool = False,
) -> Talk:
    """Return a server function that forwards requests to ``key_server`` and changes the answers.

    ``ask`` may change the request, ``meddle`` changes the answer.
    """

    def talk(connection: ssl.SSLSocket, server: Server) -> None:
        with connected(key_server) as real:
            while True:
                request = read_message(connection)
                server.requests.append(request)
                real.sendall(ask(request))
                answer = bytes(meddle(Answer.parse(read_message(real)), request))
                if drip:
                    _drip(connection, answer, server)
                else:
                    connection.sendall(answer)

    return talk


def unchanged(answer: Answer, request: bytes) -> Answer:
    """Change nothing."""
    return answer


def fewer_items(answer: Answer, request: bytes) -> Answer:
    answer.items.pop()
    return answer


def fewer_items_than_counted(answer: Answer, request: bytes) -> bytes:
    whole = bytes(answer)
    length = len(structure(0x42000F, answer.items[-1]))
    return struct.pack("!II", RESPONSE_MESSAGE << 8 | 1, len(whole) - 8 - length) + whole[8:-length]


def item_twice(answer: Answer, request: bytes) -> Answer:
    return Answer(answer.header, [*answer.items, answer.items[-1]])


def item_twice_for_another(answer: Answer, request: bytes) -> Answer:
    """Replace the last item by a copy of the first."""
    items = [*answer.items[:-1], answer.items[0]] if len(answer.items) > 1 else []
    return Answer(answer.header, items)


def another_operation(answer: Answer, request: bytes) -> Answer:
    """Name an operation that was not requested."""
    return answer.replace(OPERATION, struct.pack("!I", 18))


def without_operation(answer: Answer, request: bytes) -> Answer:
    items = [[each for each in item if each.tag != OPERATION] for item in answer.items]
    return Answer(answer.header, items)


def without_payload(answer: Answer, request: bytes) -> Answer:
    items = [[each for each in item if each.tag != RESPONSE_PAYLOAD] for item in answer.items]
    return Answer(answer.header, items)


def torn_payload(answer: Answer, request: bytes) -> Answer:
    """Send an invalid TTLV payload."""
    return answer.replace(RESPONSE_PAYLOAD, b"\x42\x00\x94\x07\xff\xff\xff\xff")


def another_number(answer: Answer, request: bytes) -> Answer:
    """Answer an item that was not requested."""
    number = Element(BATCH_ITEM_ID, 8, b"\xff" * 8)
    for item in answer.items:
        item[:] = [each for each in item if each.tag != BATCH_ITEM_ID]
        item.insert(1, number)
    return answer


def surplus(answer: Answer, request: bytes) -> bytes:
    """Send more bytes than announced."""
    return bytes(answer) + b"and more"


def a_request(answer: Answer, request: bytes) -> bytes:
    return request


def truncated(answer: Answer, request: bytes) -> bytes:
    """Cut off the end."""
    return bytes(answer)[:-9]


def only_for(operation: int, meddle: Meddle) -> Meddle:
    """Change only answers to requests for ``operation``."""

    def sometimes(answer: Answer, request: bytes) -> "Answer | bytes":
        asked = any(operation_of(item) == operation for item in answer.items)
        return meddle(answer, request) if asked else answer

    return sometimes


class CutShort:
    """Limits each answer to Locate to ``page`` identifiers, as ``meddle`` and ``ask`` of a proxy.

    With ``tells`` the answer has Located Items; with ``goes_on`` a request may have Offset Items.
    Otherwise they are ignored, or with ``refuses`` rejected. ``continued`` has the minor version
    and the offset of each request that had an offset.
    """

    def __init__(
        self,
        page: int,
        *,
        tells: bool = True,
        goes_on: bool = True,
        refuses: bool = False,
        newest_first: bool = True,
    ) -> None:
        self.continued: list[tuple[int, int]] = []
        self._page = page
        self._tells, self._goes_on, self._refuses = tells, goes_on, refuses
        self._newest_first = newest_first

    def ask(self, request: bytes) -> bytes:
        """Remove Offset Items from a request: the real server then answers with everything."""
        return b"".join(_without(each, OFFSET_ITEMS).encoding() for each in elements(request))

    def meddle(self, answer: Answer, request: bytes) -> Answer:
        offset = next(iter(numbers(request, OFFSET_ITEMS)), 0)
        if offset:
            self.continued.append((numbers(request, MINOR)[0], offset))
            if self._refuses:
                return refusal(4)
        for item in answer.items:
            if operation_of(item) == LOCATE:
                item[:] = [self._shortened(each, offset) for each in item]
        return answer

    def _shortened(self, element: Element, offset: int) -> Element:
        if element.tag != RESPONSE_PAYLOAD:
            return element
        found = sorted(
            elements(element.value), key=lambda each: int(each.value), reverse=self._newest_first
        )
        first = offset if self._goes_on else 0
        total = Element(LOCATED_ITEMS, INTEGER, struct.pack("!I", len(found)))
        shown = [total] if self._tells else []
        shown += found[first : first + self._page]
        return Element(RESPONSE_PAYLOAD, 1, b"".join(each.encoding() for each in shown))


def numbers(message: bytes, tag: int) -> list[int]:
    """Return the numbers with ``tag``, anywhere in a message."""
    found: list[int] = []
    for element in elements(message):
        if element.tag == tag:
            found.append(int.from_bytes(element.value, "big"))
        elif element.type == 1:
            found += numbers(element.value, tag)
    return found


def _without(element: Element, tag: int) -> Element:
    if element.type != 1:
        return element
    inner = [_without(each, tag) for each in elements(element.value) if each.tag != tag]
    return Element(element.tag, 1, b"".join(each.encoding() for each in inner))


@contextmanager
def silenced(server: KeyServer) -> Iterator[socket.socket]:
    """Stop a key server, and listen in its place without ever answering."""
    server.stop()
    with socket.create_server((server.address, server.port)) as listener:
        listener.settimeout(PATIENCE)
        yield listener


class _Late:
    """Answers every request with the answer to the previous one."""

    def __init__(self) -> None:
        self._previous = refusal(1)

    def __call__(self, answer: Answer, request: bytes) -> Answer:
        self._previous, previous = answer, self._previous
        return previous if operation_of(previous.items[0]) else another_number(answer, request)


# All of them

Start = Callable[[KeyServer, int], Server]


@dataclass(frozen=True)
class Kind:
    """A way to misbehave, and the reason that status prints."""

    reason: str
    start: Start


def start(kind: str, key_server: KeyServer, port: int = 0) -> Server:
    """Return a hostile server of that kind at the address of ``key_server``; a context manager."""
    return KINDS[kind].start(key_server, port)


def _identity(key_server: KeyServer) -> Identity:
    pem = (key_server.directory / server_name(key_server.address)).read_bytes()
    return Identity.parse(pem)


def _on_tcp(
    serve: Callable[[socket.socket, Server], None],
    *,
    backlog: int | None = 64,
    accepts: bool = True,
) -> Start:
    return lambda key_server, port: Server(
        serve, key_server.address, port, backlog=backlog, accepts=accepts
    )


def _on_tls(talk: Talk, version: ssl.TLSVersion | None = None) -> Start:
    return lambda key_server, port: Server(
        tls(server_context(_identity(key_server), version), talk), key_server.address, port
    )


def _in_kmip(meddle: Callable[[], Meddle], *, drip: bool = False) -> Start:
    return lambda key_server, port: Server(
        tls(
            server_context(_identity(key_server)),
            meddling(key_server, meddle(), drip=drip),
        ),
        key_server.address,
        port,
    )


def _showing(identity: Callable[[KeyServer], Identity]) -> Start:
    return lambda key_server, port: Server(
        tls(server_context(identity(key_server)), _tls_silence), key_server.address, port
    )


def _refusing_clients(version: ssl.TLSVersion) -> Start:
    return lambda key_server, port: Server(
        tls(server_context(_identity(key_server), version, pki.authority()), _tls_silence),
        key_server.address,
        port,
    )


def _with_cipher(cipher: str) -> Start:
    def start(key_server: KeyServer, port: int) -> Server:
        context = server_context(_identity(key_server), ssl.TLSVersion.TLSv1_2)
        context.set_ciphers(cipher)
        return Server(tls(context, _tls_close), key_server.address, port)

    return start


def _alerting(description: int) -> Start:
    return lambda key_server, port: Server(
        _alert(
            server_context(
                _identity(key_server), ssl.TLSVersion.TLSv1_2, pki.authority_of(key_server)
            ),
            description,
        ),
        key_server.address,
        port,
    )


KINDS: Mapping[str, Kind] = {
    "refuses connections": Kind(
        "connection refused", _on_tcp(_nothing, backlog=None, accepts=False)
    ),
    "never accepts": Kind(NO_ANSWER, _on_tcp(_nothing, accepts=False)),
    "backlog is full": Kind(NO_ANSWER, _on_tcp(_full_backlog, backlog=0, accepts=False)),
    "never speaks": Kind(NO_ANSWER, _on_tcp(_silence)),
    "closes at once": Kind(NOT_KMIP, _on_tcp(_nothing)),
    "resets the connection": Kind(NOT_KMIP, _on_tcp(_reset)),
    "speaks plain text": Kind(NOT_KMIP, _on_tcp(_plain_text)),
    "shakes hands a byte at a time": Kind(NO_ANSWER, _on_tcp(_slow_handshake)),
    "has no TLS version in common": Kind(
        NO_TLS_IN_COMMON, _on_tcp(answering_hello(alert(_ALERT_PROTOCOL_VERSION)))
    ),
    "has no cipher in common": Kind(NO_TLS_IN_COMMON, _with_cipher("PSK-AES128-GCM-SHA256")),
    "is silent after the handshake": Kind(NO_ANSWER, _on_tls(_tls_silence)),
    "closes after the handshake": Kind(NOT_KMIP, _on_tls(_tls_close)),
    "closes after the handshake of TLS 1.2": Kind(
        NOT_KMIP, _on_tls(_tls_close, ssl.TLSVersion.TLSv1_2)
    ),
    "closes after the request": Kind(NOT_KMIP, _on_tls(answering(b""))),
    "breaks TLS after the request": Kind(NOT_KMIP, _on_tls(_broken_tls)),
    "answers random bytes": Kind(NOT_KMIP, _on_tls(answering(_NOISE, 60))),
    "answers 64 MiB of zeros": Kind(NOT_KMIP, _on_tls(_zeros)),
    "announces 4 GiB": Kind(NOT_KMIP, _on_tls(answering(_HEADER + b"\xff" * 4, 60))),
    "announces more than 4 MiB": Kind(NOT_KMIP, _on_tls(answering(_HEADER + b"\0\x40\0\x08", 60))),
    "announces 4 MiB and closes": Kind(NOT_KMIP, _on_tls(answering(_HEADER + b"\0\x40\0\0"))),
    "announces nothing": Kind(NOT_KMIP, _on_tls(answering(_HEADER + bytes(4), 60))),
    "announces what is not TTLV": Kind(
        NOT_KMIP, _on_tls(answering(_HEADER + struct.pack("!I", len(_NOISE)) + _NOISE, 60))
    ),
    "closes in the middle of an answer": Kind(NOT_KMIP, _on_tls(answering(bytes(refusal(1))[:-9]))),
    "stops in the middle of an answer": Kind(NO_ANSWER, _in_kmip(lambda: truncated)),
    "answers a byte at a time": Kind(NO_ANSWER, _in_kmip(lambda: unchanged, drip=True)),
    "answers another request": Kind(NOT_KMIP, _in_kmip(_Late)),
    "answers with the request": Kind(NOT_KMIP, _in_kmip(lambda: a_request)),
    "answers with fewer items": Kind(NOT_KMIP, _in_kmip(lambda: fewer_items)),
    "answers with fewer items than it counts": Kind(
        NOT_KMIP, _in_kmip(lambda: fewer_items_than_counted)
    ),
    "answers an item twice": Kind(NOT_KMIP, _in_kmip(lambda: item_twice)),
    "answers an item twice, and one not": Kind(NOT_KMIP, _in_kmip(lambda: item_twice_for_another)),
    "answers for another operation": Kind(NOT_KMIP, _in_kmip(lambda: another_operation)),
    "answers for no operation": Kind(NOT_KMIP, _in_kmip(lambda: without_operation)),
    "answers for another item": Kind(NOT_KMIP, _in_kmip(lambda: another_number)),
    "answers without a payload": Kind(NOT_KMIP, _in_kmip(lambda: without_payload)),
    "answers a torn payload": Kind(NOT_KMIP, _in_kmip(lambda: torn_payload)),
    "answers more than it announces": Kind(NOT_KMIP, _in_kmip(lambda: surplus)),
    "is of another authority": Kind(
        "certificate not trusted",
        _showing(lambda key_server: pki.server(pki.authority(), key_server.address)),
    ),
    "is another address": Kind(
        "its certificate is for 127.0.0.99",
        _showing(lambda key_server: pki.server(pki.authority_of(key_server), "127.0.0.99")),
    ),
    "is not yet valid": Kind(
        "certificate not trusted",
        _showing(
            lambda key_server: pki.server(
                pki.authority_of(key_server), key_server.address, valid=pki.NOT_YET
            )
        ),
    ),
    "has expired": Kind(
        "certificate expired",
        _showing(
            lambda key_server: pki.server(
                pki.authority_of(key_server), key_server.address, valid=pki.EXPIRED
            )
        ),
    ),
    "refuses the client in TLS 1.2": Kind(
        "client certificate rejected", _refusing_clients(ssl.TLSVersion.TLSv1_2)
    ),
    "refuses the client in TLS 1.3": Kind(
        "client certificate rejected", _refusing_clients(ssl.TLSVersion.TLSv1_3)
    ),
    "refuses the client without saying why": Kind("client certificate rejected", _alerting(40)),
    "refuses the client for who it is": Kind("client certificate rejected", _alerting(49)),
    "fails in the handshake": Kind(NOT_KMIP, _alerting(80)),
}


def proxy(
    key_server: KeyServer,
    meddle: Meddle = unchanged,
    *,
    ask: Callable[[bytes], bytes] = lambda request: request,
    port: int = 0,
) -> Server:
    """Return a proxy before ``key_server`` that counts ``requests``, as a context manager."""
    context = server_context(_identity(key_server))
    return Server(tls(context, meddling(key_server, meddle, ask=ask)), key_server.address, port)
