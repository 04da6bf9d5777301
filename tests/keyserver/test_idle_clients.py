"""Idle clients cannot keep others out: they are disconnected when descriptors run out."""

import resource
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from filer.keyserver.server import KeyServer
from filer.registration.pem import CLIENT_PRIVATE
from tests.kit import hostile
from tests.kit import raw_kmip as raw
from tests.kit.trial_servers import Program, client_context

LIMIT = 128
"""How many file descriptors the key server may have."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits another process")


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[KeyServer]:
    """A key server in a process of its own, which may have few file descriptors."""
    keys = tmp_path / "keys"
    arguments = ["--dir", str(keys), "--address", "127.0.0.2", "--port", "0"]
    with Program(tmp_path, *arguments) as program:
        port = int(program.line().split(" listens on port ")[1].split(";")[0])
        resource.prlimit(program.process.pid, resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
        yield KeyServer(keys, "127.0.0.2", port)


@contextmanager
def descriptors(count: int) -> Iterator[None]:
    """Let this process have ``count`` file descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip("too few file descriptors on this host")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connected(server: KeyServer) -> socket.socket:
    return socket.create_connection((server.address, server.port), timeout=60)


@contextmanager
def working_client(server: KeyServer) -> Iterator[ssl.SSLSocket]:
    context = client_context(server, server.directory / CLIENT_PRIVATE)
    with (
        connected(server) as plain,
        context.wrap_socket(plain, server_hostname=server.address) as secured,
    ):
        yield secured


def served(connection: ssl.SSLSocket) -> bool:
    connection.sendall(raw.request([raw.locate("a")]))
    answer = raw.answer(hostile.read_message(connection))
    return answer.items[0].status == raw.SUCCESS


def ended(connection: socket.socket) -> bool:
    connection.settimeout(10)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_working_client_is_served_beside_idle_ones(limited: KeyServer) -> None:
    idle = 4 * LIMIT
    with descriptors(idle + 200), ExitStack() as stack:
        working = stack.enter_context(working_client(limited))
        others: list[socket.socket] = []
        for number in range(idle):
            # Those that never begin a handshake would also be dropped after a while.
            connect = working_client if number < LIMIT else connected
            others.append(stack.enter_context(connect(limited)))
            if number % 20 == 0:
                assert served(working)
        assert served(working)
        assert served(stack.enter_context(working_client(limited)))
        registered = raw.ask(limited, raw.request([raw.register("a")]))  # needs descriptors too
        assert registered.items[0].status == raw.SUCCESS
        assert ended(others[0])
        others[-1].settimeout(0.1)
        with pytest.raises(TimeoutError):
            others[-1].recv(1)


def test_the_client_that_was_idle_for_the_longest_time_goes_first(limited: KeyServer) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(working_client(limited)) for _ in range(3)]
        for client in clients:
            assert served(client)
        assert served(clients[0])  # so the second one has been idle for longer
        while not _readable(clients[1]):
            stack.enter_context(connected(limited))
        assert ended(clients[1])
        assert served(clients[0])


def _readable(connection: ssl.SSLSocket) -> bool:
    connection.settimeout(0.01)
    try:
        connection.recv(1)
    except TimeoutError:
        return False
    except OSError:
        pass
    return True
