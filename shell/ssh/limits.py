"""What the SSH server allows its clients: numbers, times and algorithms."""

from dataclasses import dataclass, field

from filer.shell.ssh.places import Startups


@dataclass(frozen=True)
class Limits:
    """How much clients may ask for; times in seconds."""

    startups: Startups = field(default_factory=Startups)
    """Of connections that have not logged in."""

    startups_of_network: int = 24
    """Connections from one network that have not logged in."""

    connections: int = 64
    """Connections that have logged in."""

    sessions: int = 32
    sessions_of_connection: int = 10
    login: float = 60.0
    """For a login, and for a key exchange."""

    tries: int = 6
    """Wrong passwords and unknown keys of one connection."""

    requests: int = 24
    """Requests of one connection to log in: to ask what is possible, for keys, for passwords."""

    request_size: int = 8 * 1024
    """Bytes of such a request."""

    first_delay: float = 1.0
    longest_delay: float = 30.0
    """Between two tries of a password; shorter than ``login``, so that a right one can succeed."""

    begin: float = 60.0
    """For a session to ask for a shell or a command."""

    idle: float = 3600.0
    """For a session that waits for its client."""

    unused: float = 3600.0
    """For a connection without a session."""

    keepalive: float = 30.0
    deferred: int = 10_000
    """Packets that wait for the end of a key exchange."""

    lost_after: int = 4
    """Keepalives in a row without an answer, after which a client is given up."""

    farewell: float = 1.0
    """For a client to hear that the connection ends."""

    window: int = 128 * 1024
    """Bytes that a session may send before they are read."""

    least_packet: int = 1024
    """Bytes of the largest packet that a client takes; OpenSSH takes 32 KiB."""

    small_window_pause: float = 0.05
    """Between two packets to a client that takes less than ``least_packet`` at a time."""

    turn: int = 4096
    """Bytes taken from a client before others have their turn; they may be a hundred packets."""


KEY_EXCHANGES = "*25519*,ecdh-sha2-nistp*"
"""With X25519 also the hybrids with ML-KEM or sntrup, where they are available."""

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
