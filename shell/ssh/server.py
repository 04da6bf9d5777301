"""The SSH server: gives several users the console of one filer at the same time."""

import asyncio
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import asyncssh

from filer.commands import Leave, Next
from filer.host.errors import FilerError
from filer.host.standard_streams import write
from filer.host.text import printable
from filer.shell.defects import describe
from filer.shell.prompt.settings import DEFAULTS, Settings
from filer.shell.session import FAILED, OK, Session
from filer.shell.signals import Signals
from filer.shell.ssh.access import (
    ADMINISTRATOR,
    AUTHORIZED_KEYS,
    AccessError,
    authorized_keys,
    host_keys,
    passwords_below,
)
from filer.shell.ssh.connection import Connection, Login
from filer.shell.ssh.guessing import Checks, Delays
from filer.shell.ssh.host_output import HostOutput
from filer.shell.ssh.limits import CIPHERS, KEY_EXCHANGES, MACS, SIGNATURES, Limits
from filer.shell.ssh.places import Misses, Places
from filer.shell.ssh.session import Served, SshSession

for _name in ("asyncssh", "asyncio"):
    # Keep asyncssh's log of client errors off our output.
    logging.getLogger(_name).addHandler(logging.NullHandler())
    logging.getLogger(_name).propagate = False

_MOST_WARNINGS = 10
_SSH_PORT = 22
_HASHING_THREADS = 2
"""Concurrent password checks; each takes 32 MiB."""


def _provide_home(directory: Path) -> None:
    """Name a home for a user without one: asyncssh asks for it, but reads nothing there."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(directory)


@dataclass
class SshHost:
    """The `Host` that serves the console over SSH.

    A ``port`` of 0 selects a free one, which is kept over a reboot.
    """

    address: str
    port: int
    signals: Signals
    settings: Settings = DEFAULTS
    limits: Limits = field(default_factory=Limits)
    hint: Callable[[str, int], str] | None = None
    """Returns a line that says how to log in at an address and port."""

    known_hosts: Path | None = None
    """A file that gets the host keys, for clients to trust."""

    status: int = OK
    is_for_people: ClassVar[bool] = True
    output: HostOutput = field(default_factory=HostOutput)
    _service: "Service | None" = field(default=None, init=False)

    def run(self, session: Session) -> None:
        """Serve until a signal ends the program, or a command halts or reboots the filer.

        Raises Leave after such a command, and FilerError if it cannot listen or a file of the root
        is damaged.
        """
        len(session.commands)  # loads the plug-ins, so that their warnings appear here
        _provide_home(session.filer.root.ssh)
        self._service = service = Service(self, session)
        try:
            following = asyncio.run(service.run())
        finally:
            self._service = None
            if self.output.has_failed:
                self.status = FAILED
        if following is not Next.END:
            raise Leave(following, takeover=service.takeover)

    def announce(self, line: str, *, only_watched: bool = False) -> None:
        """Show a line of the system log in each session of a person."""
        if self._service is not None:
            self._service.announce(line, only_watched=only_watched)


def known_hosts(address: str, port: int, keys: Sequence[asyncssh.SSHKey]) -> bytes:
    """Return the lines of a server with ``keys`` in a file of known hosts."""
    name = address if port == _SSH_PORT else f"[{address}]:{port}"
    return b"".join(name.encode() + b" " + key.export_public_key() for key in keys)


class Service:
    """The server between two boots."""

    def __init__(self, host: SshHost, console: Session) -> None:
        self.limits = limits = host.limits
        self.filer = console.filer
        self.directory = self.filer.root.ssh
        self.passwords = passwords_below(self.directory, self.filer.storage)
        self._misses = Misses()
        self._startups: Places[Login] = Places(
            Login.idle, lambda login: self._misses.of(login.network)
        )
        """The connections without a login."""

        self._logins: Places[Login] = Places(Login.idle)
        self._sessions: Places[SshSession] = Places(SshSession.idle)
        self._running: set[SshSession] = set()
        self.takeover = True
        self._host = host
        self._served = Served(
            self.filer,
            console.commands,
            host.settings,
            limits.begin,
            limits.idle,
            self._session_ended,
        )
        self._defects: set[str] = set()
        self._dropped = 0
        self._by = ""

    async def run(self) -> Next:
        """Serve; return what the filer does next, END after a signal."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: self._log_defect(context))
        self._end: asyncio.Future[Next] = loop.create_future()
        self._all_gone = asyncio.Event()
        self.delays = Delays(
            loop.time, first=self.limits.first_delay, longest=self.limits.longest_delay
        )
        with self._host.signals.woken() as woken, ThreadPoolExecutor(_HASHING_THREADS) as pool:
            self.checks = Checks(pool, _HASHING_THREADS)
            keys = host_keys(self.directory, self.filer.storage)
            self._check_access()
            listener = await self._listen(keys)
            loop.add_reader(woken, self._end_after_signal)
            try:
                self._end_after_signal()
                self._host.port = listener.sockets[0].getsockname()[1]
                first, *others = keys
                write(
                    self._host.output.out,
                    # First, because scripts read the port from the first line.
                    f"filer: listening on {self._host.address} port {self._host.port} "
                    f"(host key {first.get_fingerprint()})\n"
                    + "".join(
                        f"filer: host key {key.get_algorithm()} {key.get_fingerprint()}\n"
                        for key in others
                    ),
                )
                if self._host.known_hosts:
                    lines = known_hosts(self._host.address, self._host.port, keys)
                    self._host.known_hosts.write_bytes(lines)
                if self._host.hint:
                    hint = self._host.hint(self._host.address, self._host.port)
                    write(self._host.output.out, f"{hint}\n")
                self._host.output.is_up = True
                self._log_lost_output()
                end = await self._end
            finally:
                loop.remove_reader(woken)
                listener.close()
            await self._end_connections(end)
        return end

    async def _listen(self, keys: list[asyncssh.SSHKey]) -> asyncio.Server:
        host, limits = self._host, self.limits
        options = asyncssh.SSHServerConnectionOptions(
            server_factory=lambda: Login(self),
            server_host_keys=keys,
            server_version="filer",
            config=[],
            kex_algs=KEY_EXCHANGES,
            encryption_algs=CIPHERS,
            mac_algs=MACS,
            signature_algs=SIGNATURES,
            compression_algs=["none"],  # a packet of 32 KiB may become 32 MiB
            x509_trusted_certs=None,
            host_based_auth=False,
            gss_host=None,
            agent_forwarding=False,
            x11_forwarding=False,
            allow_scp=False,
            line_editor=False,
            login_timeout=limits.login,
            keepalive_interval=limits.keepalive,
            keepalive_count_max=limits.lost_after,
            window=limits.window,
        )
        # An RSA key comes with SHA-1 too.  All connections share a pair, which keeps the algorithm
        # that one of them has chosen, so each algorithm gets its own.
        options.server_host_keys = OrderedDict(
            (algorithm, copy(pair))
            for algorithm, pair in options.server_host_keys.items()
            if algorithm.decode("ascii") in SIGNATURES
        )
        loop = asyncio.get_running_loop()
        try:
            return await loop.create_server(
                lambda: Connection(loop, options, limits), host.address, host.port
            )
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise FilerError(
                f"cannot listen on {host.address} port {host.port}: {printable(reason)}"
            ) from None

    def _check_access(self) -> None:
        """Warn about invalid key lines, and if no user can log in.

        Raises FilerError if the passwords are damaged.
        """
        keys = self.directory / AUTHORIZED_KEYS
        users = self.passwords.users()
        try:
            good, problems = authorized_keys(keys).check()
        except AccessError as error:
            good, problems = 0, []
            self._warn(str(error))
        for problem in problems[:_MOST_WARNINGS]:
            self._warn(f"{problem}; the line is ignored")
        if not good and not users:
            self._warn(
                "no user can log in: there is neither a password "
                f'("filer --ssh-password {ADMINISTRATOR}") nor a key in {printable(str(keys))}.'
            )

    def _end_after_signal(self) -> None:
        if self._end.done():
            return
        if self._host.signals.received is not None:
            self._end.set_result(Next.END)
        elif self._host.signals.hands_over:
            self._end.set_result(Next.BOOT)

    # Connections.

    def arrived(self, login: Login) -> None:
        """Give a new connection a place, and drop one if there are too many."""
        self._startups.add(login, login.groups)
        chance = int.from_bytes(self.filer.random(4)) / 2**32
        if self._startups.count(login.network) > self.limits.startups_of_network:
            self._drop(self._startups.to_displace(login.network))
        elif self.limits.startups.drops(len(self._startups), chance):
            self._drop(self._startups.to_displace())

    def _drop(self, login: Login | None) -> None:
        if login is None:
            return
        if not self._dropped:
            text = "too many connections that have not logged in; the idlest are dropped"
            self.log("ssh.startups.drop", "warning", text)
        self._dropped += 1
        self._startups.remove(login)
        login.abort()

    def logged_in(self, login: Login) -> None:
        """Give a connection a place among those that have logged in."""
        self._startups.remove(login)
        self._misses.clear(login.network)
        if len(self._logins) >= self.limits.connections:
            idle = self._logins.to_displace()
            if idle is None:
                login.abort()
                return
            self._logins.remove(idle)
            idle.abort()
        self._logins.add(login, login.groups)

    def left(self, login: Login) -> None:
        """Free the place of a connection that is closed."""
        if not login.who:
            self._misses.add(login.network)
        self._logins.remove(login)
        self._startups.remove(login)
        if self._dropped and len(self._startups) <= self.limits.startups_of_network // 2:
            text = f"{self._dropped} connections that had not logged in were dropped"
            self.log("ssh.startups.dropped", "notice", text)
            self._dropped = 0

    # Sessions.

    def new_session(self, login: Login) -> SshSession:
        """Return a session for a channel.  Raises ChannelOpenError if there are too many."""
        if self._end.done():
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "the system goes down")
        if len(login.sessions) >= self.limits.sessions_of_connection:
            raise _too_many("of this connection", self.limits.sessions_of_connection)
        if len(self._sessions) >= self.limits.sessions:
            idle = self._sessions.to_displace()
            if idle is None:
                raise _too_many("", self.limits.sessions)
            self._sessions.remove(idle)
            idle.end_with(
                f"{self._hostname}: idle, and another one needs the place; this session ends."
            )
        session = SshSession(self._served, login.who, login.grant, login.session_closed)
        login.sessions.add(session)
        self._sessions.add(session, login.groups)
        self._running.add(session)
        return session

    def _session_ended(self, session: SshSession, following: Next) -> None:
        self._sessions.remove(session)
        self._running.discard(session)
        if following is not Next.END and not self._end.done():
            self._by, self.takeover = f" by {session.who}", session.takeover
            self._end.set_result(following)
        if not self._running:
            self._all_gone.set()

    def announce(self, line: str, *, only_watched: bool = False) -> None:
        """Show a line of the system log in each session of a person; from any thread."""
        for session in tuple(self._running):
            session.announce(line, only_watched=only_watched)

    @property
    def _hostname(self) -> str:
        return self.filer.hardware.hostname

    async def _end_connections(self, following: Next) -> None:
        """End every session at the next safe point of its command, then all connections."""
        what = "reboots" if following is Next.BOOT else "halts"
        for session in tuple(self._running):
            session.end_with(f"{self._hostname}: the system {what}{self._by}; this session ends.")
        if self._running:
            self._all_gone.clear()
            await self._all_gone.wait()
        await self._wait_for_connections()  # clients close after their last session
        for login in self._connected():
            login.connection.close()
        await self._wait_for_connections()
        for login in self._connected():
            login.abort()

    def _connected(self) -> list[Login]:
        return [*self._startups, *self._logins]

    async def _wait_for_connections(self) -> None:
        waits = [asyncio.ensure_future(each.connection.wait_closed()) for each in self._connected()]
        if waits:
            await asyncio.wait(waits, timeout=self.limits.farewell)

    # The system log.

    def log(self, event: str, severity: str, text: str) -> None:
        self.filer.messages.log(event, severity, text)

    def log_defect_once(self, defect: BaseException) -> None:
        """Log a defect, but only once: otherwise clients could fill the log."""
        text = describe(defect)
        if text not in self._defects:
            self._defects.add(text)
            self.log("kern.internal.error", "error", text)

    def _log_defect(self, context: dict[str, Any]) -> None:
        if isinstance(defect := context.get("exception"), BaseException):
            self.log_defect_once(defect)

    def _log_lost_output(self) -> None:
        while self._host.output.lost:
            self.log("console.output.lost", "warning", self._host.output.lost.pop(0))

    def _warn(self, text: str) -> None:
        self.log("ssh.access", "warning", text)
        write(self._host.output.err, f"WARNING: {text}\n")


def _too_many(which: str, most: int) -> asyncssh.ChannelOpenError:
    text = f"too many sessions{which and f' {which}'}; the limit is {most}"
    return asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, text)
