"""One SSH connection: its limits, its login, and its sessions."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import asyncssh
from asyncssh.constants import (
    MSG_CHANNEL_OPEN,
    MSG_KEX_LAST,
    MSG_KEXINIT,
    MSG_NEWKEYS,
    MSG_USERAUTH_REQUEST,
)
from asyncssh.packet import SSHPacket
from asyncssh.saslprep import saslprep

from filer.host.errors import FilerError
from filer.shell.ssh.access import ADMINISTRATOR, AUTHORIZED_KEYS, authorized_keys, in_log, is_user
from filer.shell.ssh.guessing import network_of
from filer.shell.ssh.limits import SIGNATURES, Limits
from filer.shell.ssh.pacing import Pacing
from filer.shell.ssh.public_keys import Grant, is_current
from filer.shell.ssh.session import SshSession

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from asyncssh.packet import SSHPacketLogger

    from filer.shell.ssh.places import Groups
    from filer.shell.ssh.server import Service

_COOKIE_SIZE, _NAME_LISTS = 16, 10
"""What a KEXINIT begins with after its type."""

_SIGNATURES = {each.encode("ascii") for each in SIGNATURES}


class Connection(asyncssh.SSHServerConnection):
    """A connection with limits that asyncssh lacks.

    asyncssh buffers all responses for a client that does not read them or does not finish a key
    exchange; it runs SASLprep on a password of any size in the event loop; and it lets the client
    choose how small its outgoing packets are and how many incoming ones it handles at a time.
    It also takes some wrong guesses of dropbear about the key exchange for right ones.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: asyncssh.SSHServerConnectionOptions,
        limits: Limits,
    ) -> None:
        super().__init__(loop, options)
        self._limits = limits
        self._requests = 0
        self._exchange: asyncio.TimerHandle | None = None
        self._deferred = 0
        self.pauses: set[str] = set()
        """Why the sessions wait now."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast(asyncio.Transport, transport)
        self._wire.max_size = self._limits.turn  # type: ignore[attr-defined]
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None = None) -> None:
        if self._exchange is not None:
            self._exchange.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Stop reading, and make the sessions wait."""
        self._wire.pause_reading()
        self._pause("connection")

    def resume_writing(self) -> None:
        self._wire.resume_reading()
        self._resume("connection")

    def process_packet(
        self, pkttype: int, pktid: int, packet: "SSHPacket"
    ) -> "bool | Awaitable[None]":
        """Process a packet, but disconnect at too many or too large login requests."""
        if pkttype == MSG_USERAUTH_REQUEST:
            self._count_request(packet)
        if pkttype == MSG_CHANNEL_OPEN and self._refuses_channel(packet.get_full_payload()):
            return True
        processed = super().process_packet(pkttype, pktid, packet)
        if pkttype == MSG_KEXINIT and not isinstance(processed, bool):
            return self._judge_guess(processed)
        return processed

    async def _judge_guess(self, processed: "Awaitable[None]") -> None:
        """Ignore the packet after a KEXINIT if it belongs to a wrong guess (RFC 4253, 7.1).

        A guess is right if both sides prefer the same key exchange and host key, so it can be wrong
        although the guessed algorithm is chosen.  asyncssh compares only with the chosen one.
        """
        await processed
        preferred, guesses = _preferences(self._client_kexinit)
        self._ignore_first_kex = guesses and preferred != _preferences(self._server_kexinit)[0]

    async def _finish_userauth(self, begin_auth: bool, method: bytes, packet: "SSHPacket") -> None:
        """Start a login method, whose further packets bypass `process_packet`; count them too."""
        await super()._finish_userauth(begin_auth, method, packet)
        if self._auth is not None:
            self._auth.process_packet = partial(  # type: ignore[method-assign]
                self._count_and_process, self._auth.process_packet
            )

    def _count_and_process(
        self,
        process: "Callable[[int, int, SSHPacket], bool | Awaitable[None]]",
        pkttype: int,
        pktid: int,
        packet: "SSHPacket",
    ) -> "bool | Awaitable[None]":
        self._count_request(packet)
        return process(pkttype, pktid, packet)

    def _count_request(self, packet: "SSHPacket") -> None:
        self._requests += 1
        size = len(packet.get_full_payload())
        if self._requests > self._limits.requests or size > self._limits.request_size:
            raise asyncssh.DisconnectError(
                asyncssh.DISC_PROTOCOL_ERROR, "too many or too large requests to log in"
            )

    def _refuses_channel(self, payload: bytes) -> bool:
        """Refuse a channel whose packets would hold a few bytes each."""
        asked = SSHPacket(payload)
        asked.get_byte()
        asked.get_string()
        number, _window, size = (asked.get_uint32() for _ in range(3))
        least = self._limits.least_packet
        if size >= least:
            return False
        reason = f"a maximum packet size below {least} bytes is not served"
        self.send_channel_open_failure(number, asyncssh.OPEN_RESOURCE_SHORTAGE, reason, "")
        return True

    def send_packet(
        self, pkttype: int, *args: bytes, handler: "SSHPacketLogger | None" = None
    ) -> None:
        """Send a packet; asyncssh defers it during a key exchange."""
        if pkttype == MSG_KEXINIT:
            self._begin_exchange()
        elif pkttype == MSG_NEWKEYS:
            self._finish_exchange()
        elif self._exchange is not None and pkttype > MSG_KEX_LAST:
            self._deferred += 1
            if self._deferred > self._limits.deferred:
                self.abort()
        super().send_packet(pkttype, *args, handler=handler)

    def _begin_exchange(self) -> None:
        self._deferred = 0
        self._exchange = asyncio.get_running_loop().call_later(self._limits.login, self.abort)
        self._pause("key exchange")

    def _finish_exchange(self) -> None:
        if self._exchange is not None:
            self._exchange.cancel()
            self._exchange = None
        self._resume("key exchange")

    def _pause(self, cause: str) -> None:
        self.pauses.add(cause)
        for session in self._sessions():
            session.pause_writing(cause)

    def _resume(self, cause: str) -> None:
        self.pauses.discard(cause)
        for session in self._sessions():
            session.resume_writing(cause)

    def _sessions(self) -> "tuple[SshSession, ...]":
        login = self.get_owner()
        return tuple(login.sessions) if isinstance(login, Login) else ()

    def create_server_channel(self, *args: Any, **options: Any) -> "asyncssh.SSHServerChannel[Any]":
        """Return a channel that ignores environment variables, and paces its output.

        asyncssh would store any number of variables.
        """
        channel = super().create_server_channel(*args, **options)
        channel._process_env_request = lambda packet: False  # type: ignore[method-assign]
        channel._flush_send_buf = Pacing(  # type: ignore[method-assign]
            channel,
            channel._flush_send_buf,
            asyncio.get_running_loop(),
            least=self._limits.least_packet,
            pause=self._limits.small_window_pause,
        )
        return channel


def _preferences(kexinit: bytes) -> tuple[tuple[bytes, bytes], bool]:
    """Return the preferred key exchange and host key, and whether a guess follows."""
    packet = SSHPacket(kexinit[1 + _COOKIE_SIZE :])
    exchanges, host_keys, *_ = (packet.get_namelist() for _ in range(_NAME_LISTS))
    return (exchanges[0], host_keys[0]), packet.get_boolean()


def _password_in(responses: "Sequence[str]") -> str:
    """Return the only response after SASLprep, which asyncssh runs on passwords alone.

    Anything else gives "", which is too short for a password, so it counts as a wrong one.
    """
    try:
        (response,) = responses
        return saslprep(response)
    except ValueError:  # not one, or SASLPrepError
        return ""


class Login(asyncssh.SSHServer):
    """The server's side of one connection; the peer is unauthenticated until `auth_completed`."""

    def __init__(self, service: "Service") -> None:
        self.sessions: set[SshSession] = set()
        """The sessions whose channels are open."""

        self.who = ""
        self.grant = Grant()
        self._service = service
        self._limits = service.limits
        self._user: str | None = None
        self._how = ""
        self._keys_asked = 0
        self._failures = 0
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._watch: asyncio.TimerHandle | None = None

    @property
    def groups(self) -> "Groups":
        """The groups that the connection and its sessions count for."""
        if self.who:
            return self._user, (self._user, self.network)
        return (self.network,)

    def idle(self) -> float | None:
        """Return the seconds without activity in any session; None while a session is at work."""
        times = [session.idle() for session in self.sessions]
        waited = [time for time in times if time is not None]
        if len(waited) < len(times):
            return None
        return min(waited, default=self._loop.time() - self._since)

    def abort(self) -> None:
        self.connection.abort()

    # The connection.

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Register the connection, which may displace another one."""
        self.connection = cast(Connection, conn)
        self._address = str(conn.get_extra_info("peername", ("?",))[0])
        self.network = network_of(self._address)
        self._service.arrived(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._service.left(self)
        if self.who:
            self._service.log("ssh.logout", "info", f"{self.who} logged out")
        # UnicodeError: the client's text was not UTF-8, which asyncssh does not expect everywhere.
        if exc is not None and not isinstance(exc, OSError | UnicodeError | asyncssh.Error):
            self._service.log_defect_once(exc)

    # The login.

    def begin_auth(self, username: str) -> bool:
        """Require authentication; the answer is the same for every user name."""
        if self._user is not None:
            raise asyncssh.PermissionDenied("the user name cannot change")
        self._user = username
        self._since = self._loop.time()
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Look for a line that admits ``key``; asyncssh checks the signature afterwards."""
        self._how, self.grant = "public key", Grant()
        self._keys_asked += 1
        grant: Grant | None = None
        if username == ADMINISTRATOR and is_current(key):
            key.all_sig_algorithms = key.all_sig_algorithms & _SIGNATURES  # no SHA-1
            try:
                keys = authorized_keys(self._service.directory / AUTHORIZED_KEYS)
                grant = keys.grant(key, self._address, self._service.filer.now())
            except FilerError as problem:
                self._service.log("ssh.keys.failure", "error", str(problem))
        if grant is None:
            self._count_failure()
            return False
        if self._keys_asked > 2 * self._limits.tries:  # a known key, but without valid signatures
            self._count_failure()
        self.grant = grant
        return True

    def password_auth_supported(self) -> bool:
        return True

    async def validate_password(self, username: str, password: str) -> bool:
        return await self._check("password", username, password)

    def kbdint_auth_supported(self) -> bool:
        return True

    def get_kbdint_challenge(
        self, username: str, lang: str, submethods: str
    ) -> "tuple[str, str, str, Sequence[tuple[str, bool]]]":
        """Ask for the password, without echo; the same for every user name."""
        return "", "", "", [("Password: ", False)]

    async def validate_kbdint_response(self, username: str, responses: "Sequence[str]") -> bool:
        return await self._check("keyboard-interactive", username, _password_in(responses))

    async def _check(self, how: str, username: str, password: str) -> bool:
        """Check a password in a thread, after the delay for earlier failures."""
        self._how, self.grant = how, Grant()
        service = self._service
        pair = self.network, username if is_user(username) else ""
        async with service.delays.try_of(pair) as attempt:
            try:
                attempt.succeeded = await service.checks.run(
                    attempt.rank, lambda: service.passwords.fits(username, password)
                )
            except FilerError as damage:
                service.log("ssh.passwords.failure", "error", str(damage))
        if not attempt.succeeded:
            service.log(
                "ssh.login.failure",
                "warning",
                f"wrong user or password for {in_log(username)} from {self._address}",
            )
            self._count_failure()
        return attempt.succeeded

    def _count_failure(self) -> None:
        self._failures += 1
        if self._failures >= self._limits.tries:
            self.connection.disconnect(
                asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, "too many failed logins"
            )

    def auth_completed(self) -> None:
        self.who = f"{self._user} from {self._address}"
        self._begin_idling()
        self._service.log("ssh.login", "info", f"{self.who} logged in by {self._how}")
        self._service.logged_in(self)

    # The sessions.

    def session_requested(self) -> SshSession:
        """Open a console; asyncssh refuses other requests by default."""
        session = self._service.new_session(self)
        for cause in self.connection.pauses:
            session.pause_writing(cause)
        return session

    def session_closed(self, session: SshSession) -> None:
        self.sessions.discard(session)
        self._begin_idling()

    def _begin_idling(self) -> None:
        self._since = self._loop.time()
        if self._watch is not None:
            self._watch.cancel()
        self._watch = self._loop.call_later(self._limits.unused, self._end_if_idle)

    def _end_if_idle(self) -> None:
        if not self.sessions:
            self.connection.disconnect(asyncssh.DISC_BY_APPLICATION, "no session for too long")
