"""The effects of SSH clients on each other and on the host are limited."""

import asyncio
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from functools import partial
from itertools import count
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

import asyncssh
import paramiko
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filer.host.durable import Storage
from filer.shell.prompt.settings import DEFAULTS
from filer.shell.ssh.access import MOST_BYTES, AccessError, in_log, passwords_below
from filer.shell.ssh.connection import Login
from filer.shell.ssh.guessing import Checks, Delays, network_of
from filer.shell.ssh.pacing import Pacing
from filer.shell.ssh.places import Misses, Places, Startups
from filer.shell.ssh.public_keys import Grant
from filer.shell.ssh.session import Served, SshSession
from tests.kit import faulty
from tests.kit.console import PATIENCE, Account
from tests.kit.house import House
from tests.kit.remote import (
    HAS_PROC,
    PASSWORD,
    Remote,
    asynchronous,
    clients_of,
    command,
    connect,
    give_access,
    house_of_root,
    logged_in,
    memory_of,
    needs_proc,
    serving,
    soon,
)


@asynccontextmanager
async def client(
    port: int, address: str = "127.0.0.1", **options: Any
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """Log in from ``address``, which must be in 127.0.0.0/8."""
    known = {"username": "root", "password": PASSWORD, "client_keys": None}
    async with asyncssh.connect(
        "127.0.0.1",
        port,
        local_addr=(address, 0),
        known_hosts=None,
        config=[],
        **known | options,
    ) as connection:
        yield connection


def channel_of(connection: asyncssh.SSHClientConnection, packet: int = 2**15) -> Any:
    loop = asyncio.get_running_loop()
    channel = asyncssh.channel.SSHClientChannel(
        connection, loop, "strict", None, "strict", 2**21, packet
    )
    channel._session = asyncssh.SSHClientSession()
    return channel


async def bare(connection: asyncssh.SSHClientConnection) -> Any:
    """Open a session channel without any request."""
    channel = channel_of(connection)
    await channel._open(b"session")
    channel.resume_reading()
    return channel


# Guessing passwords.


class Clock:
    """A clock that advances only during sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


PAIR = ("127.0.0.2", "root")


async def fail(delays: Delays, pair: tuple[str, str] = PAIR, times: int = 1) -> None:
    for _ in range(times):
        async with delays.try_of(pair):
            pass


async def succeed(delays: Delays, pair: tuple[str, str] = PAIR) -> None:
    async with delays.try_of(pair) as attempt:
        attempt.succeeded = True


def delayed(work: Callable[[Delays], Coroutine[Any, Any, None]], **options: Any) -> Clock:
    clock = Clock()
    asyncio.run(work(Delays(clock, clock.sleep, **options)))
    return clock


def test_each_failure_doubles_the_wait() -> None:
    async def work(delays: Delays) -> None:
        await fail(delays, times=8)

    assert delayed(work, longest=30.0).slept == [1, 2, 4, 8, 16, 30, 30]


def test_other_addresses_and_users_are_not_slowed() -> None:
    async def work(delays: Delays) -> None:
        await fail(delays, times=2)
        await succeed(delays, ("127.0.0.1", "root"))
        await succeed(delays, ("127.0.0.2", "operator"))

    assert delayed(work).slept == [1]


def test_a_success_ends_the_wait_and_so_does_time() -> None:
    async def work(delays: Delays) -> None:
        await fail(delays)
        await succeed(delays)
        await succeed(delays)

    assert delayed(work).slept == [1]

    async def later(delays: Delays) -> None:
        await fail(delays, times=3)
        clock.now += 3600
        await fail(delays)

    clock = Clock()
    asyncio.run(later(Delays(clock, clock.sleep)))
    assert clock.slept == [1, 2]


def test_tries_at_the_same_time_take_turns() -> None:
    async def work(delays: Delays) -> None:
        await asyncio.gather(*(fail(delays) for _ in range(5)))

    assert delayed(work).slept == [1, 2, 4, 8]

    async def honest(delays: Delays) -> None:
        await asyncio.gather(*(succeed(delays) for _ in range(20)))

    assert delayed(honest).slept == []


def test_a_try_that_is_broken_off_has_failed() -> None:
    async def work(delays: Delays) -> None:
        with suppress(asyncio.CancelledError):
            async with delays.try_of(PAIR):
                raise asyncio.CancelledError
        await fail(delays)

    assert delayed(work).slept == [1]


@asynchronous
async def test_the_client_with_the_fewest_failures_is_checked_first() -> None:
    done: list[str] = []
    begin = threading.Event()

    def check(name: str) -> bool:
        begin.wait(PATIENCE)
        done.append(name)
        return name == "honest"

    with ThreadPoolExecutor(1) as pool:
        checks = Checks(pool, 1)
        names = {"first": 9, "guesser": 5, "gone": 0, "old": 2, "new": 2, "honest": 0}
        tasks = {
            name: asyncio.create_task(checks.run((earlier, 0), partial(check, name)))
            for name, earlier in names.items()
        }
        await asyncio.sleep(0)
        tasks["gone"].cancel()
        tasks["first"].cancel()  # its thread continues, and keeps its turn
        await asyncio.sleep(0)
        begin.set()
        assert await tasks["honest"]
        assert not await tasks["guesser"]

    assert done == ["first", "honest", "new", "old", "guesser"]


def test_the_table_is_bounded_and_keeps_the_most_failures() -> None:
    async def work(delays: Delays) -> None:
        await fail(delays, times=4)
        for number in range(500):
            await fail(delays, (f"127.0.1.{number}", "root"))
            assert len(delays) <= 10
        clock.slept.clear()
        await fail(delays)

    clock = Clock()
    asyncio.run(work(Delays(clock, clock.sleep, most=10)))

    assert clock.slept == [8]


async def rank(delays: Delays, network: str, user: str) -> tuple[int, int]:
    async with delays.try_of((network, user)) as attempt:
        attempt.succeeded = True
    return attempt.rank


@pytest.mark.parametrize("most", [10, 1024])
def test_guesses_under_new_names_count_for_their_network(most: int) -> None:
    async def work(delays: Delays) -> None:
        for number in range(50):
            before = await rank(delays, "127.0.0.66", f"new-{number}")
            await fail(delays, ("127.0.0.66", f"name-{number}"))
            await succeed(delays, ("127.0.0.66", "an-account"))
            after = await rank(delays, "127.0.0.66", f"newer-{number}")
            assert after > before or number >= most - 3
            assert await rank(delays, "127.0.0.9", "alice") < after
            await succeed(delays, ("127.0.0.66", f"newer-{number}"))
        clock.now += 3600
        assert await rank(delays, "127.0.0.66", "name") == (1, 0)

    clock = Clock()
    asyncio.run(work(Delays(clock, clock.sleep, most=most)))


def test_tries_under_way_count_for_their_network() -> None:
    async def work() -> None:
        delays = Delays(lambda: 1000.0)
        with ThreadPoolExecutor(1) as pool:
            checks = Checks(pool, 1)
            begin = threading.Event()
            done: list[str] = []

            async def log_in(network: str, user: str) -> None:
                def check() -> bool:
                    begin.wait(PATIENCE)
                    done.append(user)
                    return False

                async with delays.try_of((network, user)) as attempt:
                    await checks.run(attempt.rank, check)

            guesses = [log_in("127.0.0.66", f"name-{number}") for number in range(20)]
            tasks = [asyncio.create_task(each) for each in (*guesses, log_in("127.0.0.9", "alice"))]
            tasks += [
                asyncio.create_task(log_in("127.0.0.66", f"newest-{number}"))
                for number in range(20)
            ]
            while len(checks._waiting) < 40:
                await asyncio.sleep(0)
            begin.set()
            await asyncio.gather(*tasks)
        assert done.index("alice") <= 2

    asyncio.run(work())


def test_all_addresses_of_a_network_count_as_one() -> None:
    assert network_of("192.0.2.1") != network_of("192.0.2.2")
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1")
    assert network_of("2001:db8::1") != network_of("2001:db8:0:1::1")
    assert network_of("fe80::1%eth0") == network_of("fe80::2%eth1")
    assert network_of("?") == "?"


def test_guessing_slows_its_own_address_only(house: House) -> None:
    """With a delay longer than any test, one address fails once and then waits forever."""

    async def log_in(port: int, address: str, **options: Any) -> None:
        async with client(port, address, **options):
            pass

    async def work(port: int) -> None:
        with pytest.raises(asyncssh.PermissionDenied):
            await log_in(port, "127.0.0.2", password="a-wrong-password")
        with pytest.raises((asyncssh.Error, OSError, TimeoutError)):
            await log_in(port, "127.0.0.2", login_timeout=2.0)
        await log_in(port, "127.0.0.3")

    clients_of(house, work, first_delay=1000.0, longest_delay=1000.0)


# Places for connections.


def test_the_idlest_of_the_largest_group_makes_room() -> None:
    idle = {"a1": 5.0, "a2": 9.0, "a3": None, "b": 100.0}
    places: Places[str] = Places(lambda item: idle[item])
    for item in idle:
        places.add(item, (item[0],))

    assert places.to_displace() == "a2"
    assert places.to_displace("b") == "b"
    places.remove("a2")
    places.remove("a2")
    assert (places.count("a"), len(places)) == (2, 3)
    places.remove("a1")
    assert places.to_displace() == "b"
    places.remove("b")
    assert places.to_displace() is None  # it is at work
    assert places.count("b") == 0


def test_networks_without_a_login_make_room_first() -> None:
    misses = Misses(most=3)
    places: Places[str] = Places(lambda item: 1.0, misses.of)
    for item in ("honest", "honest too", "attacker"):
        places.add(item, (item.split()[0],))
    assert places.to_displace() == "honest"

    misses.add("attacker")
    assert places.to_displace() == "attacker"
    misses.add("honest")
    misses.add("honest")
    assert places.to_displace() == "honest"
    misses.clear("honest")
    assert places.to_displace() == "attacker"

    for number in range(100):
        misses.add(f"network {number}")
    assert len(misses) == 3


@given(st.lists(st.integers(0, 5), max_size=40))
def test_one_address_of_many_connections_costs_no_other_its_place(attackers: list[int]) -> None:
    """However many connections the others open, a user with one idle connection keeps it."""
    ages: dict[int, int] = {}
    places: Places[int] = Places(lambda item: float(ages[item]))
    ages[-1] = 1000
    places.add(-1, ("honest",))
    for number, address in enumerate([*attackers, *[0] * 4]):
        ages[number] = 50 - number
        places.add(number, (address,))
        if len(places) > 4 and max(map(places.count, range(6))) > 1:
            displaced = places.to_displace()
            assert displaced is not None
            assert displaced >= 0
            places.remove(displaced)


def test_early_drops_grow_as_with_openssh() -> None:
    startups = Startups(10, 0.3, 100)

    assert not startups.drops(10, 0.0)
    assert startups.drops(11, 0.3)
    assert not startups.drops(11, 0.31)
    assert startups.drops(55, 0.64)
    assert not startups.drops(55, 0.66)
    assert startups.drops(101, 0.999999)


# Connections.


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "127.0.7.{}"])
def test_silent_connections_shut_no_other_out(remote: Remote, address: str) -> None:
    with ExitStack() as stack:
        for number in range(150):
            with suppress(OSError):
                stack.enter_context(
                    socket.create_connection(
                        (remote.address, remote.port),
                        PATIENCE,
                        source_address=(address.format(number), 0),
                    )
                )
        for _ in range(3):
            assert remote.run("hostname") == ("filer1\n", "", 0)
    assert "ssh.startups.drop:warning]: too many connections that have not" in remote.log
    soon(lambda: "ssh.startups.dropped:notice]: " in remote.log)


def test_a_connection_without_a_session_makes_room(house: House) -> None:
    def work(port: int) -> None:
        with closing(logged_in(port)) as first, closing(logged_in(port)) as second:
            assert command(second, "hostname") == b"filer1\n"
            with closing(logged_in(port)):
                soon(lambda: not first.is_active())
                assert command(second, "hostname") == b"filer1\n"

    clients_of(house, work, connections=2)


# Sessions.


@pytest.mark.parametrize("end", ["SIGTERM", "halt"])
def test_a_session_without_a_request_delays_no_shutdown(account: Account, end: str) -> None:
    async def work(remote: Remote, how: str) -> None:
        async with client(remote.port) as connection:
            for _ in range(3):
                await bare(connection)
            if how == "SIGTERM":
                remote.child.kill(signal.SIGTERM)
            else:
                with suppress(asyncssh.Error):
                    await connection.run(how)
            await asyncio.wait_for(connection.wait_closed(), PATIENCE)

    with serving(account) as remote:
        asyncio.run(work(remote, "reboot"))
        remote.again()
        asyncio.run(work(remote, end))
        assert remote.child.proc.wait(PATIENCE) == 0


def test_a_session_without_a_request_ends(house: House) -> None:
    async def work(port: int) -> None:
        async with client(port) as connection:
            channel = await bare(connection)
            await asyncio.wait_for(channel.wait_closed(), PATIENCE)

    clients_of(house, work, begin=0.5)


@asynchronous
async def test_a_session_that_ends_before_its_channel_is_open_is_closed() -> None:
    """The system halts, or the place is needed, before asyncssh has opened the channel."""
    ended: list[object] = []

    class Channel:
        def set_encoding(self, encoding: None) -> None:
            pass

        def close(self) -> None:
            ended.append(self)

    filer: Any = None
    served = Served(filer, {}, DEFAULTS, 60.0, 60.0, lambda session, _: ended.append(session))
    session = SshSession(served, "root", Grant(), ended.append)
    assert session.idle() is None
    session.end_with("farewell")
    assert ended == [session]
    channel = Channel()
    session.connection_made(channel)
    assert ended == [session, channel]


def test_a_session_after_a_refused_subsystem_ends(house: House) -> None:
    def work(port: int) -> None:
        with closing(logged_in(port)) as transport:
            channel = transport.open_session()
            with pytest.raises(paramiko.SSHException):
                channel.invoke_subsystem("sftp")
            soon(lambda: channel.closed)

    clients_of(house, work, begin=0.5)


def test_a_connection_without_sessions_ends(house: House) -> None:
    def work(port: int) -> None:
        with closing(logged_in(port)) as unused, closing(logged_in(port)) as used:
            assert command(used, "hostname") == b"filer1\n"
            soon(lambda: not unused.is_active() and not used.is_active())

    clients_of(house, work, unused=3.0)


@pytest.mark.parametrize("ask", ["shell", "script", "dialogue", "unread"])
def test_every_kind_of_idle_session_ends(house: House, ask: str) -> None:
    (house.root / "mroot" / "etc" / "long").write_text("0123456789abcde\n" * 2**16)

    def work(port: int) -> None:
        with closing(logged_in(port)) as transport:
            channel = transport.open_session(window_size=4096 if ask == "unread" else None)
            match ask:
                case "shell":
                    channel.get_pty("vt100")
                    channel.invoke_shell()
                case "script":
                    channel.invoke_shell()
                case "dialogue":
                    channel.exec_command("disk encrypt sanitize -all")
                case "unread":
                    channel.exec_command("rdfile /etc/long")
            if ask != "unread":
                output = channel.makefile().read() + channel.makefile_stderr().read()
                assert b"filer1: idle; this session ends." in output
            soon(lambda: channel.eof_received or channel.closed)

    clients_of(house, work, idle=0.5)


@pytest.mark.parametrize("kind", ["bare", "shell"])
@asynchronous
async def test_idle_sessions_shut_no_other_out(remote: Remote, kind: str) -> None:
    async with (
        client(remote.port, "127.0.0.2") as one,
        client(remote.port, "127.0.0.3") as two,
        client(remote.port, "127.0.0.4") as three,
        client(remote.port, "127.0.0.5") as four,
    ):
        for connection in (one, two, three, four):
            for _ in range(8):
                if kind == "bare":
                    await bare(connection)
                else:
                    await connection.create_process(term_type="vt100")
        for _ in range(3):
            ended = await asyncio.to_thread(remote.run, "hostname")
            assert ended == ("filer1\n", "", 0)


def session_that_is_over(transport: Any) -> Any:
    """Run a command to its end; return its channel, whose client never confirms the close."""
    handlers = transport._channel_handler_table
    transport._channel_handler_table = {
        **handlers,
        paramiko.common.MSG_CHANNEL_CLOSE: lambda *_: None,
    }
    channel = transport.open_session()
    channel.exec_command("hostname")
    assert channel.recv_exit_status() == 0
    return channel


def test_a_connection_whose_sessions_are_over_makes_room(house: House) -> None:
    def work(port: int) -> None:
        with closing(logged_in(port)) as one, closing(logged_in(port)) as two:
            channels = [session_that_is_over(transport) for transport in (one, two)]
            with closing(logged_in(port)) as third:
                assert command(third, "hostname") == b"filer1\n"
                assert len([each for each in channels if each.get_transport().is_active()]) < 2

    clients_of(house, work, connections=2)


@asynchronous
async def test_a_connection_is_as_idle_as_its_least_idle_session() -> None:
    class Waiting:
        def __init__(self, idle: float | None) -> None:
            self.idle = lambda: idle

    service: Any = SimpleNamespace(limits=None)
    login = Login(service)
    assert login.idle() == pytest.approx(0.0, abs=PATIENCE)
    sessions: Any = {Waiting(50_000.0), Waiting(20_000.0)}
    login.sessions = sessions
    assert login.idle() == 20_000.0
    sessions.add(Waiting(None))
    assert login.idle() is None  # it is at work


def test_a_client_that_never_closes_a_session_loses_its_connection(house: House) -> None:
    def work(port: int) -> None:
        with closing(logged_in(port)) as transport:
            channel = session_that_is_over(transport)
            soon(lambda: not channel.get_transport().is_active())

    clients_of(house, work, begin=0.5)


def test_a_session_that_closes_leaves_the_others_of_its_connection_alone(house: House) -> None:
    def work(port: int) -> None:
        with closing(logged_in(port)) as transport:
            shell = transport.open_session()
            shell.invoke_shell()
            for _ in range(3):
                left = transport.open_session()
                left.exec_command("disk encrypt sanitize -all")
                left.close()
                assert command(transport, "hostname") == b"filer1\n"
            threading.Event().wait(2.0)
            shell.sendall(b"exit\n")
            assert shell.recv_exit_status() == 0

    clients_of(house, work, begin=0.5)


def opens(transport: paramiko.Transport) -> bool:
    with suppress(paramiko.ChannelException):
        transport.open_session().close()
        return True
    return False


def test_a_connection_has_so_many_sessions(remote: Remote) -> None:
    with closing(logged_in(remote.port)) as transport:
        channels = [transport.open_session() for _ in range(10)]
        with pytest.raises(paramiko.ChannelException, match="Resource shortage"):
            transport.open_session()
        for channel in channels:
            channel.close()
        soon(lambda: opens(transport))
        for _ in range(20):
            assert command(transport, "hostname") == b"filer1\n"


def test_a_session_at_work_is_not_displaced(authority: Path, tmp_path: Path) -> None:
    with (
        faulty.running(authority, tmp_path / "key server", 1) as servers,
        house_of_root(tmp_path, servers) as house,
    ):
        house.add(*servers)
        held = faulty.hold(servers[0], "LOCATE")

        def work(port: int) -> None:
            with closing(logged_in(port)) as one, closing(logged_in(port)) as two:
                busy = one.open_session()
                busy.exec_command("key_manager query")
                assert held.reached.wait(PATIENCE)
                with pytest.raises(paramiko.ChannelException, match="Resource shortage"):
                    two.open_session()
                held.release()
                assert busy.recv_exit_status() == 0

        clients_of(house, work, sessions=1)


# Clients that do not read, or send too much.


@needs_proc
def test_a_client_that_does_not_read_costs_no_memory(remote: Remote) -> None:
    """Its window is as large as possible, so only the connection itself can fill up."""
    (remote.account.root / "mroot" / "etc" / "long").write_text("0123456789abcde\n" * 2**19)

    async def work() -> None:
        async with client(remote.port) as connection:
            transport = connection._transport
            assert transport is not None
            before = memory_of(remote)
            channel, _ = await connection.create_session(
                asyncssh.SSHClientSession, "; ".join(["rdfile /etc/long"] * 30), window=2**31
            )
            transport.pause_reading()
            for _ in range(20):
                assert memory_of(remote) < before + 100  # of 240 MiB of output
                await asyncio.sleep(0.1)
            assert (await asyncio.to_thread(remote.run, "hostname")).out == "filer1\n"
            connection.abort()
            channel.abort()

    asyncio.run(work())
    with closing(logged_in(remote.port)) as transport:
        assert command(transport, "hostname") == b"filer1\n"


@needs_proc
@pytest.mark.parametrize("request_name", ["env", "keepalive@openssh.com", "window-change"])
@asynchronous
async def test_a_flood_of_requests_costs_no_memory(remote: Remote, request_name: str) -> None:
    async with client(remote.port) as connection:
        channel = await bare(connection)
        before = memory_of(remote)
        for number in range(3000):
            if request_name == "env":
                name = f"N{number}".encode()
                data = asyncssh.packet.String(name) + asyncssh.packet.String(b"x" * 30_000)
            elif request_name == "window-change":
                data = b"".join(map(asyncssh.packet.UInt32, (number, number, 0, 0)))
            else:
                data = b""
            channel._send_request(request_name.encode(), data)
            if number % 20 == 0:
                await asyncio.sleep(0)
        assert (await connection.run("hostname")).stdout == "filer1\n"
        assert memory_of(remote) < before + 40


@pytest.mark.parametrize("packet", [1, 2, 1023])
@asynchronous
async def test_a_client_that_takes_tiny_packets_gets_no_session(
    remote: Remote, packet: int
) -> None:
    async with client(remote.port) as connection:
        for _ in range(20):  # none of them may remain and count against the limits
            with pytest.raises(asyncssh.ChannelOpenError, match="below 1024 bytes"):
                await channel_of(connection, packet)._open(b"session")
        assert (await connection.run("hostname")).stdout == "filer1\n"


@pytest.mark.parametrize(("window", "packet"), [(2**21, 1024), (7, 2**15), (1, 1024)])
@asynchronous
async def test_a_client_that_takes_little_at_a_time_gets_all_of_it(
    remote: Remote, window: int, packet: int
) -> None:
    async with client(remote.port) as connection:
        process = await connection.create_process(
            "hostname" if window < 1024 else "man key_manager",
            window=window,
            max_pktsize=packet,
        )
        output = await asyncio.wait_for(process.stdout.read(), PATIENCE)
        assert output == "filer1\n" if window < 1024 else "key_manager" in str(output)
        await asyncio.wait_for(process.wait(), PATIENCE)


def test_a_window_that_opens_byte_by_byte_is_not_answered_byte_by_byte() -> None:
    later: list[Callable[[], None]] = []
    sent: list[int] = []
    channel = SimpleNamespace(_send_window=0, _send_buf_len=2**16, _pause_resume_writing=int)
    loop: Any = SimpleNamespace(call_later=lambda _seconds, call: later.append(call))

    def flush() -> None:
        if size := min(channel._send_window, channel._send_buf_len):
            sent.append(size)
        channel._send_window -= size
        channel._send_buf_len -= size

    pacing = Pacing(channel, flush, loop, least=1024, pause=1.0)
    for _ in range(3000):
        channel._send_window += 1
        pacing()
    assert sent == [1024, 1024]
    assert len(later) == 1
    later.pop()()
    assert sent == [1024, 1024, 3000 - 2048]
    channel._send_window += 2**20
    pacing()
    assert channel._send_buf_len == 0
    assert not later


@pytest.mark.parametrize("size", [1, 4096, 60_000])
@asynchronous
async def test_what_a_client_sends_is_taken_in_turns(remote: Remote, size: int) -> None:
    """A large input arrives complete."""

    async with client(remote.port) as connection:
        ended = await connection.run(input=f"logger {'x' * size}\nhostname\n")
        assert ended.stdout == "filer1\n"


@asynchronous
async def test_repeated_key_exchanges_shut_no_other_out(remote: Remote) -> None:
    async with client(remote.port, "127.0.0.2") as connection:
        done = asyncio.Event()

        async def exchange() -> None:
            while not done.is_set():
                if connection._kex_complete:
                    connection._send_kexinit()
                    connection._kexinit_sent = True
                await asyncio.sleep(0)

        flood = asyncio.create_task(exchange())
        assert (await asyncio.to_thread(remote.run, "hostname")).out == "filer1\n"
        done.set()
        await flood


async def begin_exchange(connection: asyncssh.SSHClientConnection) -> None:
    """Begin a key exchange, and never finish it."""
    handlers = {**connection._packet_handlers, asyncssh.constants.MSG_KEXINIT: lambda *_: None}
    connection._packet_handlers = handlers
    connection._send_kexinit()
    connection._kexinit_sent = True
    connection._kex_complete = True  # so that it continues to send


@needs_proc
@pytest.mark.parametrize("opened", ["before", "meanwhile"])
@asynchronous
async def test_an_unfinished_key_exchange_costs_no_memory(remote: Remote, opened: str) -> None:
    (remote.account.root / "mroot" / "etc" / "long").write_text("0123456789abcde\n" * 2**19)
    line = "; ".join(["rdfile /etc/long"] * 30)

    async with client(remote.port) as connection:
        before = memory_of(remote)
        if opened == "before":
            session, _ = await connection.create_session(asyncssh.SSHClientSession, window=2**31)
            await begin_exchange(connection)
            session.write(f"{line}\n")
        else:
            await begin_exchange(connection)
            number, window, packet = map(asyncssh.packet.UInt32, (0, 2**31, 2**15))
            connection.send_packet(
                asyncssh.constants.MSG_CHANNEL_OPEN,
                *(asyncssh.packet.String("session"), number, window, packet),
            )
            connection.send_packet(
                asyncssh.constants.MSG_CHANNEL_REQUEST,
                *(number, asyncssh.packet.String("exec"), asyncssh.packet.Boolean(False)),
                asyncssh.packet.String(line),
            )
        for _ in range(20):
            assert memory_of(remote) < before + 100  # of 240 MiB of output
            await asyncio.sleep(0.1)
        assert (await asyncio.to_thread(remote.run, "hostname")).out == "filer1\n"
        connection.abort()


def test_a_key_exchange_must_be_finished(house: House) -> None:
    async def work(port: int) -> None:
        async with client(port) as connection:
            await begin_exchange(connection)
            await asyncio.wait_for(connection.wait_closed(), PATIENCE)

    clients_of(house, work, login=5.0)


def test_answers_that_wait_for_a_key_exchange_are_bounded(house: House) -> None:
    async def work(port: int) -> None:
        async with client(port) as connection:
            await begin_exchange(connection)
            for _ in range(200):
                connection.send_packet(
                    asyncssh.constants.MSG_GLOBAL_REQUEST,
                    asyncssh.packet.String("keepalive@openssh.com"),
                    asyncssh.packet.Boolean(True),
                )
            await asyncio.wait_for(connection.wait_closed(), PATIENCE)

    clients_of(house, work, deferred=100)


@asynchronous
async def test_output_goes_on_after_a_key_exchange(remote: Remote) -> None:
    text = "0123456789abcde\n" * 2**15
    (remote.account.root / "mroot" / "etc" / "rekeyed").write_text(text)

    async with client(remote.port) as connection:
        process = await connection.create_process("rdfile /etc/rekeyed")
        read = ""
        while not process.stdout.at_eof():
            if connection._kex_complete:
                connection._send_kexinit()
                connection._kexinit_sent = True
            read += await asyncio.wait_for(process.stdout.read(100_000), PATIENCE)
        assert read == text


@pytest.mark.parametrize("size", [(65535, 65535), (2**32 - 1, 2**32 - 1), (1, 1), (0, 0)])
@pytest.mark.parametrize("term", ["xterm", "vt100"])
@asynchronous
async def test_a_terminal_of_any_size_is_served(
    remote: Remote, term: str, size: tuple[int, int]
) -> None:
    async with client(remote.port) as connection:
        before = memory_of(remote) if HAS_PROC else 0
        process = await connection.create_process(term_type=term, term_size=size, encoding=None)
        process.stdin.write("ホスト\x15hostname\r".encode())
        seen = b""
        while b"filer1\r\n" not in seen and size != (1, 1):
            seen += await asyncio.wait_for(process.stdout.read(65536), PATIENCE)
            if b"\x1b[6n" in seen:
                process.stdin.write(b"\x1b[1;1R")
        process.channel.change_terminal_size(65535, 1)
        assert (await connection.run("hostname")).stdout == "filer1\n"
        assert not HAS_PROC or memory_of(remote) < before + 60


# Algorithms.


def offered(remote: Remote) -> list[list[str]]:
    """Return the name-lists of the server's KEXINIT (RFC 4253, 7.1)."""
    with closing(socket.create_connection((remote.address, remote.port), PATIENCE)) as wire:
        stream = wire.makefile("rb")
        assert stream.readline() == b"SSH-2.0-filer\r\n"
        wire.sendall(b"SSH-2.0-test\r\n")
        length, _padding = struct.unpack("!IB", stream.read(5))
        packet = stream.read(length - 1)
    assert packet[0] == 20
    lists, position = [], 17
    for _ in range(10):
        (size,) = struct.unpack_from("!I", packet, position)
        lists.append(packet[position + 4 : position + 4 + size].decode("ascii").split(","))
        position += 4 + size
    return lists


def test_only_algorithms_of_today_are_offered(remote: Remote) -> None:
    exchanges, host_keys, *rest = offered(remote)
    ciphers, macs, compressions = rest[:2], rest[2:4], rest[4:6]

    assert set(exchanges) <= {
        "mlkem768x25519-sha256",
        "sntrup761x25519-sha512",
        "sntrup761x25519-sha512@openssh.com",
        "curve25519-sha256",
        "curve25519-sha256@libssh.org",
        "ecdh-sha2-nistp256",
        "ecdh-sha2-nistp384",
        "ecdh-sha2-nistp521",
        "ext-info-s",
        "kex-strict-s-v00@openssh.com",
    }
    assert "curve25519-sha256" in exchanges
    assert host_keys == ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-256", "rsa-sha2-512"]
    for each in ciphers:
        assert set(each) == {
            "chacha20-poly1305@openssh.com",
            *(f"aes{bits}-gcm@openssh.com" for bits in (128, 256)),
            *(f"aes{bits}-ctr" for bits in (128, 192, 256)),
        }
    for each in macs:
        assert set(each) == {
            *(f"hmac-sha2-{bits}{mode}" for bits in (256, 512) for mode in ("", "-etm@openssh.com"))
        }
    assert compressions == [["none"], ["none"]]


@pytest.mark.parametrize(
    "option",
    [
        "KexAlgorithms=diffie-hellman-group14-sha1",
        "KexAlgorithms=diffie-hellman-group1-sha1",
        "KexAlgorithms=diffie-hellman-group-exchange-sha1",
        "MACs=hmac-sha1",
        "HostKeyAlgorithms=ssh-rsa",
    ],
)
def test_an_old_client_is_refused(remote: Remote, option: str) -> None:
    ciphers = ["-oCiphers=aes128-ctr"] if option.startswith("MACs") else []

    ended = remote.run("hostname", options=["-oLogLevel=INFO", f"-o{option}", *ciphers])

    assert (ended.out, ended.status) == ("", 255)
    assert re.search("Unable to negotiate|No matching", ended.err)


# The login itself.


class Guesser(asyncssh.SSHClient):
    """Tries wrong passwords: at first ``interactive`` ones by keyboard-interactive."""

    def __init__(self, interactive: int) -> None:
        self.tried = 0
        self.prompts: set[tuple[str, bool]] = set()
        self._interactive = interactive

    def kbdint_auth_requested(self) -> str | None:
        return "" if self.tried < self._interactive else None

    def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Any
    ) -> list[str]:
        self.prompts |= set(prompts)
        return [self.password_auth_requested()]

    def password_auth_requested(self) -> str:
        self.tried += 1
        return f"a-wrong-password-{self.tried}"


@pytest.mark.parametrize("interactive", [0, 3, 6])
def test_guessing_in_one_connection_is_slow_and_cut_short(house: House, interactive: int) -> None:
    guesser = Guesser(interactive)
    took = []

    async def work(port: int) -> None:
        started = monotonic()
        with pytest.raises(asyncssh.PermissionDenied, match="too many failed logins"):
            async with client(port, password=None, client_factory=lambda: guesser):
                pass
        took.append(monotonic() - started)

    clients_of(house, work, first_delay=0.02)

    assert guesser.tried == 6
    assert guesser.prompts == ({("Password: ", False)} if interactive else set())
    assert took[0] > 0.02 * (1 + 2 + 4 + 8 + 16)
    messages = (house.filer.root.path / "mroot" / "etc" / "messages").read_text(encoding="utf-8")
    assert messages.count("wrong user or password for root from 127.0.0.1\n") == 6


@pytest.mark.parametrize(("size", "requests"), [(100, 24), (250_000, 0)])
@pytest.mark.parametrize("exchanging", [False, True])
@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_requests_to_log_in_are_few_and_small(
    remote: Remote, size: int, requests: int, exchanging: bool, method: str
) -> None:
    """They are sent without waiting, so each replaces the previous one."""

    class Floods(asyncssh.SSHClient):
        def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
            self.connection = conn

        async def password_auth_requested(self) -> str:
            await self.flood(
                asyncssh.constants.MSG_USERAUTH_REQUEST,
                *map(asyncssh.packet.String, ("root", "ssh-connection", "password")),
                asyncssh.packet.Boolean(False),
                asyncssh.packet.String("b" * size),
            )
            return ""

        def kbdint_auth_requested(self) -> str:
            return ""

        async def kbdint_challenge_received(self, *_challenge: Any) -> list[str]:
            await self.flood(
                asyncssh.auth.MSG_USERAUTH_INFO_RESPONSE,
                asyncssh.packet.UInt32(1),
                asyncssh.packet.String("b" * size),
            )
            return []

        async def flood(self, *packet: Any) -> None:
            if exchanging:
                await begin_exchange(self.connection)
            for _ in range(requests + 1):
                self.connection.send_packet(*packet)
            await asyncio.Event().wait()

    async def log_in() -> None:
        async with client(
            remote.port,
            password=None,
            client_factory=Floods,
            preferred_auth=method,
            login_timeout=20,
        ):
            pass

    with pytest.raises(asyncssh.ProtocolError, match="too many or too large requests to log in"):
        asyncio.run(log_in())


def test_the_longest_password_fits_into_a_request(remote: Remote) -> None:
    password = "x" * MOST_BYTES

    async def log_in() -> None:
        async with client(remote.port, username="longest", password=password):
            pass

    set_up = remote.account.run("--ssh-password", "longest", input=f"{password}\n")
    assert set_up == ("filer: password set for longest\n", "", 0)
    asyncio.run(log_in())


def test_unknown_keys_are_counted_as_wrong_passwords_are(remote: Remote) -> None:
    known = asyncssh.read_private_key(remote.key)
    others = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(6)]

    async def log_in(unknown: int) -> None:
        keys = [*others[:unknown], known]
        async with client(remote.port, password=None, client_keys=keys) as connection:
            assert (await connection.run("hostname")).stdout == "filer1\n"

    asyncio.run(log_in(5))
    with pytest.raises(asyncssh.PermissionDenied, match="too many failed logins"):
        asyncio.run(log_in(6))


def test_nothing_does_not_open(remote: Remote) -> None:
    with closing(paramiko.Transport(connect(remote.port))) as transport:
        transport.start_client()
        with pytest.raises(paramiko.BadAuthenticationType):
            transport.auth_none("root")


@pytest.mark.parametrize("user", ["root", "operator", "a name from 10.0.0.1", "x" * 200])
def test_what_is_possible_is_the_same_for_all_names(remote: Remote, user: str) -> None:
    with closing(paramiko.Transport(connect(remote.port))) as transport:
        transport.start_client()
        with pytest.raises(paramiko.BadAuthenticationType) as refused:
            transport.auth_none(user)
        assert refused.value.allowed_types == ["publickey", "keyboard-interactive", "password"]


def test_the_name_cannot_change_within_a_connection(remote: Remote) -> None:
    connections: list[Any] = []

    class Changes(asyncssh.SSHClient):
        def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
            connections.append(conn)

        def password_auth_requested(self) -> str:
            connections[0]._username = "root"
            return PASSWORD

    async def log_in() -> None:
        async with client(remote.port, username="operator", password=None, client_factory=Changes):
            pass

    with pytest.raises(asyncssh.PermissionDenied, match="the user name cannot change"):
        asyncio.run(log_in())


# The log.


@pytest.mark.parametrize(
    ("name", "logged"),
    [
        ("nobody", "nobody"),
        ("root from 10.0.0.1", '"root from 10.0.0.1"'),
        ("10.0.0.1", '"10.0.0.1"'),
        ('a" from 10.0.0.1 "', r'"a\" from 10.0.0.1 \""'),
        ("a\\", r'"a\\"'),
        ("x" * 300, f'"{"x" * 32}..."'),
        ("", '""'),
        ("ροοτ", '"ροοτ"'),
    ],
)
def test_a_name_in_the_log_cannot_be_taken_for_anything_else(name: str, logged: str) -> None:
    assert in_log(name) == logged


@given(st.text(max_size=80))
def test_no_name_ends_its_quotes(name: str) -> None:
    logged = in_log(name)

    assert re.fullmatch(r'[a-z_][a-z0-9_-]*|"(?:[^"\\]|\\.)*"', logged, re.DOTALL)
    assert len(logged) <= 2 * 35 + 2


def test_names_are_quoted_in_the_log_of_failures(remote: Remote) -> None:
    for name in ("root from 10.0.0.1", "x" * 500):
        with suppress(asyncssh.Error):
            asyncio.run(refused(remote.port, name))

    assert 'password for "root from 10.0.0.1" from 127.0.0.9\n' in remote.log
    assert f'password for "{"x" * 32}..." from 127.0.0.9\n' in remote.log


async def refused(port: int, name: str) -> None:
    async with client(port, "127.0.0.9", username=name, password="a-wrong-password"):
        pass


# Passwords.


PASSWORDS = [
    "pass\u00adword\u200b-1",  # characters that SASLprep removes
    "\uff46\uff55\uff4c\uff4c width",
    "with\u00a0no-break",
    "e\u0301e\u0301e\u0301e\u0301 accents",
    "\u00e9\u00e9\u00e9\u00e9 accents",
    "пароль-пароль",
    "パスワード１２３",
    "  blanks at the ends  ",
]


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_a_password_fits_after_any_normalisation(remote: Remote, method: str) -> None:
    passwords = passwords_below(remote.account.root / "ssh", Storage())

    async def log_in(user: str, password: str) -> None:
        async with client(
            remote.port, username=user, password=password, preferred_auth=method
        ) as connection:
            assert (await connection.run("hostname")).stdout == "filer1\n", password

    for number, password in enumerate(PASSWORDS[method == "password" :: 2]):
        passwords.set(f"other{number}", password, os.urandom)
        asyncio.run(log_in(f"other{number}", password))


@pytest.mark.parametrize(
    "password",
    [
        "a\x07bell-in-it",
        "unassigned-\u0378",
        "\u0627-mixed-directions",
        "\u00ad" * 20,
        "seven-c\u00ad",
        "x" * 1001,
        "private-\ue000",
    ],
)
def test_a_password_that_could_never_fit_cannot_be_set(tmp_path: Path, password: str) -> None:
    with pytest.raises(AccessError, match=r"^a password (cannot|can|must) have "):
        passwords_below(tmp_path / "ssh", Storage()).set("root", password, os.urandom)

    assert not (tmp_path / "ssh").exists()


@pytest.mark.parametrize("password", [b"\xff\xfe-not-utf-8", b"a\x07bell-in-it"])
def test_a_password_that_could_never_fit_is_refused(account: Account, password: bytes) -> None:
    ended = account.run("--ssh-password", "root", input=password + b"\n")

    assert re.fullmatch(r"filer: a password (cannot|can|must) have .*\n", ended.err)
    assert ended.status == 2
    assert not (account.root / "ssh").exists()


def test_passwords_set_at_once_are_all_kept(account: Account) -> None:
    names = [f"user{number}" for number in range(4)]
    processes = [
        subprocess.Popen(
            [Path(sys.executable).parent / "filer", "--ssh-password", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=account.environment(),
        )
        for name in names
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"Passw0rd-1\n")
        process.stdin.close()
    for process in processes:
        assert process.stdout is not None
        assert b"password set" in process.stdout.read()
        process.stdout.close()
        assert process.wait(PATIENCE) == 0

    written = (account.root / "ssh" / "passwords.toml").read_text(encoding="utf-8")
    assert [name for name in names if f"{name} = " in written] == names


def test_the_file_of_passwords_never_outgrows_its_reader(tmp_path: Path) -> None:
    passwords = passwords_below(tmp_path / "ssh", Storage())
    passwords.set("root", PASSWORD, os.urandom)
    path = tmp_path / "ssh" / "passwords.toml"
    line = path.read_text(encoding="utf-8")
    for number in count():
        more = line.replace("root", f"user{number:04}")
        if path.stat().st_size + len(more) > 16 * 1024:
            break
        with path.open("a", encoding="utf-8") as file:
            file.write(more)
    before = path.read_bytes()

    with pytest.raises(AccessError, match="would be larger than 16 KiB; remove the lines"):
        passwords.set("one-more", PASSWORD, os.urandom)
    passwords.set("root", PASSWORD + "x", os.urandom)

    assert path.read_bytes() != before
    assert passwords.fits("root", PASSWORD + "x")
    assert len(passwords.users()) == number + 1


def test_a_password_file_that_others_can_change_is_refused(account: Account) -> None:
    give_access(account)
    (account.root / "ssh" / "passwords.toml").chmod(0o660)

    ended = account.run("--ssh", "0")

    assert ended.err == (
        "filer: ssh/passwords.toml: others can change it; run chmod go-rwx on it\n"
    )
    assert ended.status == 2


# All attacks at once.


class Storm:
    """200 connections that take all they can get, and reconnect when they are dropped.

    Few of them guess, because each guess costs the server 0.1 s.
    """

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._key = asyncssh.read_private_key(remote.key)
        self.came: Counter[str] = Counter()

    @asynccontextmanager
    async def blowing(self) -> AsyncIterator[None]:
        """Attack during the context, each from a different address."""
        others = (self.silent, self.stalling, self.idling, self.unreading)
        times = {**dict.fromkeys(others, 48), self.guessing: 8}
        tasks = [
            asyncio.create_task(self._again_and_again(attack, f"127.0.{10 + kind}.{number}"))
            for kind, attack in enumerate(times)
            for number in range(1, times[attack] + 1)
        ]
        try:
            while any(2 * self.came[attack.__name__] < most for attack, most in times.items()):
                await asyncio.sleep(0.1)
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _again_and_again(
        self, attack: Callable[[str], Coroutine[Any, Any, None]], address: str
    ) -> None:
        while True:
            with suppress(asyncssh.Error, OSError, EOFError):
                await attack(address)
            await asyncio.sleep(1)

    async def _wire(self, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(
            self._remote.address, self._remote.port, local_addr=(address, 0)
        )

    async def silent(self, address: str) -> None:
        reader, writer = await self._wire(address)
        try:
            await reader.readline()
            self.came["silent"] += 1
            await reader.read()
        finally:
            writer.close()

    async def stalling(self, address: str) -> None:
        """Begin the key exchange and never finish it."""
        reader, writer = await self._wire(address)
        try:
            writer.write(b"SSH-2.0-slow\r\n\0\0")
            await reader.readuntil(b"curve25519-sha256")
            self.came["stalling"] += 1
            await reader.read()
        finally:
            writer.close()

    async def guessing(self, address: str) -> None:
        self.came["guessing"] += 1
        async with client(self._remote.port, address, client_factory=Guesser, password=None):
            pass

    async def idling(self, address: str) -> None:
        async with self._connection(address) as connection:
            await bare(connection)
            self.came["idling"] += 1
            await connection.wait_closed()

    async def unreading(self, address: str) -> None:
        async with self._connection(address) as connection:
            channel, _ = await connection.create_session(
                asyncssh.SSHClientSession, "rdfile /etc/long", window=1024
            )
            channel.pause_reading()
            self.came["unreading"] += 1
            await connection.wait_closed()

    def _connection(self, address: str) -> Any:
        return client(self._remote.port, address, password=None, client_keys=[self._key])


@needs_proc
def test_an_honest_user_works_beside_200_others_who_want_all(account: Account) -> None:
    give_access(account)
    with serving(account) as remote:
        (account.root / "mroot" / "etc" / "long").write_text("0123456789abcde\n" * 2**14)

        def work() -> None:
            for _ in range(2):
                assert remote.run("hostname") == ("filer1\n", "", 0)
            with closing(logged_in(remote.port)) as transport:
                assert command(transport, "hostname") == b"filer1\n"
            with remote.terminal(term="vt100") as terminal:
                terminal.shows("filer1> ")
                for _ in range(2):
                    terminal.type("key_manager show\r")
                    terminal.shows("No key servers are registered.")
                    terminal.shows("filer1> ")
                assert terminal.leave() == 0

        async def attack() -> None:
            async with storm.blowing():
                await asyncio.to_thread(work)
                assert memory_of(remote) < 400

        storm = Storm(remote)
        asyncio.run(attack())
        assert remote.run("hostname") == ("filer1\n", "", 0)
        remote.child.kill(signal.SIGTERM)
        assert remote.child.proc.wait(PATIENCE) == 0
        assert "kern.internal.error" not in remote.log
