"""The SSH server: one filer, whose console several people have at the same time."""

import asyncio
import logging
import os
import sys
from dataclasses import dataclass, field

import asyncssh

from commands import PowerOff
from filer.errors import FilerError
from filer.standard_streams import write
from filer.text import printable
from shell.defects import describe
from shell.session import OK, Session
from shell.settings import DEFAULTS, Settings
from shell.signals import Signals
from shell.ssh.access import (
    ADMINISTRATOR,
    AUTHORIZED_KEYS,
    HOST_KEY,
    authorized_keys,
    host_key,
    no_keys,
    passwords_below,
)
from shell.ssh.session import ConsoleSession, Served

for _name in ("asyncssh", "asyncio"):
    # What a client does wrong is no affair of whoever reads the output of this program.
    logging.getLogger(_name).addHandler(logging.NullHandler())
    logging.getLogger(_name).propagate = False

_LONGEST_NAME = 32
_LONGEST_LINE = 64 * 1024


@dataclass(frozen=True)
class Limits:
    """How much clients may ask for; times in seconds."""

    sessions: int = 32
    connections: int = 64
    login: float = 60.0
    password_tries: int = 6
    idle: float = 3600.0
    keepalive: float = 30.0
    lost_after: int = 4
    """Keepalives in a row without an answer, after which a client is given up."""
    farewell: float = 1.0
    """For a client to hear that the connection ends."""


@dataclass
class SshHost:
    """Gives the console to whoever logs in; a ``Host`` of the power cycle.

    A port of 0 stands for a free one, which is kept over a reboot.
    """

    address: str
    port: int
    signals: Signals
    settings: Settings = DEFAULTS
    limits: Limits = field(default_factory=Limits)
    status: int = OK

    def run(self, session: Session) -> None:
        """Serve until a signal ends the program, or a command takes the power.

        Raises PowerOff then, and FilerError if it cannot listen or a file of the root is damaged.
        """
        len(session.commands)  # what is wrong with a plug-in is for whoever starts the filer
        power_off = asyncio.run(_Service(self, session).run())
        if power_off is not None:
            raise PowerOff(again=power_off.again)


class _Service:
    """The server between two boots."""

    def __init__(self, host: SshHost, console: Session) -> None:
        self.limits = host.limits
        self.filer = console.filer
        self.directory = self.filer.root.ssh
        self.passwords = passwords_below(self.directory, self.filer.storage)
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self._host = host
        self._served = Served(
            self.filer, console.commands, host.settings, host.limits.idle, self._session_ended
        )
        self._sessions: set[ConsoleSession] = set()
        self._by = ""

    async def run(self) -> PowerOff | None:
        """Serve, and return the request that ended it; None after a signal."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: self.log_defect(context.get("exception")))
        self._end: asyncio.Future[PowerOff | None] = loop.create_future()
        self._all_gone = asyncio.Event()
        with self._host.signals.woken() as woken:
            key = host_key(self.directory / HOST_KEY, self.filer.storage)
            listener = await self._listen(key)
            self._warn_if_nobody_can_log_in()
            loop.add_reader(woken, self._end_after_signal)
            try:
                self._end_after_signal()
                self._host.port = listener.get_port()
                write(
                    sys.stdout,
                    f"filer: listening on {self._host.address} port {self._host.port} "
                    f"(host key {key.get_fingerprint()})\n",
                )
                end = await self._end
            finally:
                loop.remove_reader(woken)
                listener.close()
        await self._send_everybody_away(end)
        return end

    async def _listen(self, key: asyncssh.SSHKey) -> asyncssh.SSHAcceptor:
        host, limits = self._host, self.limits
        try:
            return await asyncssh.listen(
                host.address,
                host.port,
                server_factory=lambda: _Login(self),
                server_host_keys=[key],
                server_version="filer",
                config=[],
                host_based_auth=False,
                kbdint_auth=False,
                gss_host=None,
                agent_forwarding=False,
                x11_forwarding=False,
                allow_scp=False,
                line_editor=True,
                line_history=0,
                max_line_length=_LONGEST_LINE,
                login_timeout=limits.login,
                keepalive_interval=limits.keepalive,
                keepalive_count_max=limits.lost_after,
            )
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise FilerError(
                f"cannot listen on {host.address} port {host.port}: {printable(reason)}"
            ) from None

    def _warn_if_nobody_can_log_in(self) -> None:
        keys = self.directory / AUTHORIZED_KEYS
        authorized_keys(keys)
        if not self.passwords.users() and not keys.exists():
            write(
                sys.stderr,
                "WARNING: nobody can log in: there is neither a password "
                f'("filer --ssh-password {ADMINISTRATOR}") nor {printable(str(keys))}.\n',
            )

    def _end_after_signal(self) -> None:
        if self._host.signals.received is not None and not self._end.done():
            self._end.set_result(None)

    # Sessions.

    def new_session(self, who: str) -> ConsoleSession:
        """Return a session for a channel.  Raises ChannelOpenError if there are too many."""
        if self._end.done():
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "the system goes down")
        if len(self._sessions) >= self.limits.sessions:
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_RESOURCE_SHORTAGE,
                f"too many sessions; there can be {self.limits.sessions}",
            )
        session = ConsoleSession(self._served, who)
        self._sessions.add(session)
        return session

    def _session_ended(self, session: ConsoleSession, power_off: PowerOff | None) -> None:
        self._sessions.discard(session)
        if power_off is not None and not self._end.done():
            self._by = f" by {session.who}"
            self._end.set_result(power_off)
        if not self._sessions:
            self._all_gone.set()

    async def _send_everybody_away(self, power_off: PowerOff | None) -> None:
        """Tell every session, and wait until its command has come to a safe point."""
        what = "reboots" if power_off is not None and power_off.again else "halts"
        farewell = (
            f"{self.filer.hardware.hostname}: the system {what}{self._by}; this session ends."
        )
        for session in tuple(self._sessions):
            session.end_with(farewell)
        if self._sessions:
            self._all_gone.clear()
            await self._all_gone.wait()
        await self._wait_for_connections()  # a client that has nothing left leaves by itself
        for connection in tuple(self.connections):
            connection.close()
        await self._wait_for_connections()
        for connection in tuple(self.connections):
            connection.abort()

    async def _wait_for_connections(self) -> None:
        waits = [asyncio.ensure_future(each.wait_closed()) for each in self.connections]
        if waits:
            await asyncio.wait(waits, timeout=self.limits.farewell)

    # The system log.

    def log(self, event: str, severity: str, text: str) -> None:
        """Write a line into the system log."""
        self.filer.messages.log(event, severity, text)

    def log_defect(self, defect: BaseException | None) -> None:
        """Write a defect of the program into the system log."""
        if defect is not None:
            self.log("kern.internal.error", "error", describe(defect))


class _Login(asyncssh.SSHServer):
    """One connection, from its first byte; nobody is anybody before ``auth_completed``."""

    def __init__(self, service: _Service) -> None:
        self._service = service
        self._who = ""
        self._tries = 0
        self._by_password = False

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Accept the connection, unless there are too many."""
        self._connection = conn
        self._address = str(conn.get_extra_info("peername", ("?",))[0])
        self._service.connections.add(conn)
        if len(self._service.connections) > self._service.limits.connections:
            asyncio.get_running_loop().call_soon(conn.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note who has gone."""
        self._service.connections.discard(self._connection)
        if self._who:
            self._service.log("ssh.logout", "info", f"{self._who} logged out")
        if exc is not None and not isinstance(exc, OSError | asyncssh.Error):
            self._service.log_defect(exc)

    def begin_auth(self, username: str) -> bool:
        """Require authentication; what is possible looks the same for every name."""
        keys = no_keys()
        if username == ADMINISTRATOR:
            try:
                keys = authorized_keys(self._service.directory / AUTHORIZED_KEYS)
            except FilerError as damage:
                self._service.log("ssh.keys.failure", "error", str(damage))
        self._connection.set_authorized_keys(keys)
        return True

    def password_auth_supported(self) -> bool:
        """Offer it to everybody."""
        return True

    async def validate_password(self, username: str, password: str) -> bool:
        """Check a password, beside the event loop since that takes its time."""
        self._tries += 1
        try:
            fits = await asyncio.to_thread(self._service.passwords.fits, username, password)
        except FilerError as damage:
            self._service.log("ssh.passwords.failure", "error", str(damage))
            fits = False
        if not fits:
            self._service.log(
                "ssh.login.failure",
                "warning",
                f"wrong user or password for {username[:_LONGEST_NAME]} from {self._address}",
            )
            if self._tries >= self._service.limits.password_tries:
                self._connection.disconnect(
                    asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, "too many wrong passwords"
                )
        self._by_password = fits
        return fits

    def auth_completed(self) -> None:
        """Note who has come."""
        user = self._connection.get_extra_info("username")
        self._who = f"{user} from {self._address}"
        how = "password" if self._by_password else "public key"
        self._service.log("ssh.login", "info", f"{self._who} logged in by {how}")

    def session_requested(self) -> ConsoleSession:
        """Open a console; all else that a client may ask for is refused by default."""
        return self._service.new_session(self._who)
