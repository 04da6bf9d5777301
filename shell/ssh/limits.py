"""The limits of the SSH server: numbers, times and algorithms."""

from dataclasses import dataclass, field

from filer.shell.ssh.places import Startups


@dataclass(frozen=True)
class Limits:
    """Limits for clients; times in seconds."""

    startups: Startups = field(default_factory=Startups)
    """When connections without a login are dropped."""

    startups_of_network: int = 24
    """Connections from one network without a login."""

    connections: int = 64
    """Connections that have logged in."""

    sessions: int = 32
    sessions_of_connection: int = 10
    login: float = 60.0
    """For a login, and for a key exchange."""

    tries: int = 6
    """Wrong passwords and unknown keys of one connection."""

    requests: int = 24
    """Login requests of one connection, and answers of keyboard-interactive."""

    request_size: int = 8 * 1024
    """Bytes of such a request."""

    first_delay: float = 1.0
    longest_delay: float = 30.0
    """Between two password tries; shorter than ``login``, so that the right one can succeed."""

    begin: float = 60.0
    """For a session to request a shell or a command."""

    idle: float = 3600.0
    """For a session that waits for its client."""

    unused: float = 3600.0
    """For a connection without a session."""

    keepalive: float = 30.0
    deferred: int = 10_000
    """Packets that asyncssh defers until the end of a key exchange."""

    lost_after: int = 4
    """Unanswered keepalives in a row after which the connection ends."""

    farewell: float = 1.0
    """For a client to receive the end of the connection."""

    window: int = 128 * 1024
    """Bytes that a client may send before the session reads them."""

    least_packet: int = 1024
    """The least maximum packet size of a client, in bytes; OpenSSH has 32 KiB."""

    small_window_pause: float = 0.05
    """Between two packets to a client whose window is smaller than ``least_packet``."""

    turn: int = 4096
    """Bytes to process from a client before others get a turn; up to about a hundred packets."""


KEY_EXCHANGES = "*25519*,ecdh-sha2-nistp*"
"""Including the hybrids of X25519 with ML-KEM or sntrup, if available."""

CIPHERS = "chacha20-poly1305@openssh.com,aes*-gcm@openssh.com,aes*-ctr"
MACS = ",".join(
    f"hmac-sha2-{bits}{mode}" for mode in ("-etm@openssh.com", "") for bits in (256, 512)
)

SIGNATURES = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-256",
    "rsa-sha2-512",
)
