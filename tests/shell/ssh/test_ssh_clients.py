"""Clients other than a current OpenSSH can log in: old ones, dropbear, PuTTY, paramiko."""

import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import asyncssh
import paramiko
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.kit.console import PATIENCE, Account, Outcome
from tests.kit.house import House
from tests.kit.remote import PASSWORD, Remote, clients_of, connect, serving

needs_dbclient = pytest.mark.skipif(
    shutil.which("dbclient") is None, reason="dbclient is missing (Debian: dropbear-bin)"
)
needs_plink = pytest.mark.skipif(
    shutil.which("plink") is None, reason="plink is missing (Debian: putty-tools)"
)

KINDS = {"ed25519": [], "ecdsa": [], "rsa": ["-b", "3072"]}
"""The types of keys as ssh-keygen has them, with their options."""


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    """A running filer whose root has a key of each kind."""
    account = Account(tmp_path_factory.mktemp("ssh") / "home")
    with serving(account) as remote:
        with (account.root / "ssh" / "authorized_keys").open("ab") as authorized:
            for kind, options in KINDS.items():
                path = account.home / kind
                run(account, "ssh-keygen", "-q", "-t", kind, *options, "-N", "", "-f", str(path))
                authorized.write(path.with_suffix(".pub").read_bytes())
        yield remote


def run(account: Account, *program: str, password: str = "") -> Outcome:
    """Run a program without a terminal; dbclient finds the password in its environment."""
    ended = subprocess.run(
        program,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=account.environment({"DROPBEAR_PASSWORD": password}),
        timeout=PATIENCE,
    )
    return Outcome(ended.stdout, ended.stderr, ended.returncode)


# OpenSSH 7.4, of which a current client can play the part.


EXCHANGES = [
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    *(f"ecdh-sha2-nistp{size}" for size in (256, 384, 521)),
]
CIPHERS = [
    "chacha20-poly1305@openssh.com",
    *(f"aes{size}-ctr" for size in (128, 192, 256)),
    *(f"aes{size}-gcm@openssh.com" for size in (128, 256)),
]
MACS = [f"hmac-sha2-{size}{mode}" for size in (256, 512) for mode in ("-etm@openssh.com", "")]
HOST_KEYS = ["ecdsa-sha2-nistp256", "ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256"]
OLD = {
    "KexAlgorithms": f"{','.join(EXCHANGES)},diffie-hellman-group-exchange-sha256",
    "HostKeyAlgorithms": f"{','.join(HOST_KEYS)},ssh-rsa",
    "Ciphers": f"{','.join(CIPHERS)},aes128-cbc",
    "MACs": f"umac-64-etm@openssh.com,{','.join(MACS)},hmac-sha1",
}
"""What OpenSSH 7.4 proposes by default, without names that newer versions no longer know."""


@pytest.mark.parametrize("kind", KINDS)
def test_the_algorithms_of_openssh_7_4_suffice(remote: Remote, kind: str) -> None:
    options = [f"-o{name}={value}" for name, value in OLD.items()]

    ended = remote.run("hostname", options=options, key=remote.account.home / kind)

    assert ended == ("filer1\n", "", 0)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("KexAlgorithms", each) for each in EXCHANGES),
        *(("HostKeyAlgorithms", each) for each in HOST_KEYS),
        *(("Ciphers", each) for each in CIPHERS),
        *(("MACs", each) for each in MACS),
    ],
)
def test_each_algorithm_suffices_alone(remote: Remote, option: str, value: str) -> None:
    ciphers = ["-oCiphers=aes128-ctr"] if option == "MACs" else []

    assert remote.run("hostname", options=[f"-o{option}={value}", *ciphers]).out == "filer1\n"


# Dropbear's client.


def dbclient(remote: Remote, *options: str, password: str = "") -> Outcome:
    """Run a command with dbclient, which must know the host key."""
    known = remote.account.home / ".ssh" / "known_hosts"
    known.parent.mkdir(exist_ok=True)
    lines = (remote.account.home / "known_hosts").read_text(encoding="ascii")
    known.write_text(lines.replace(f"[{remote.address}]:{remote.port}", remote.address))
    where = ("-p", str(remote.port), f"root@{remote.address}")
    return run(remote.account, "dbclient", *options, *where, "hostname", password=password)


@needs_dbclient
def test_dbclient_logs_in_with_a_password(remote: Remote) -> None:
    ended = dbclient(remote, password=PASSWORD)

    assert (ended.out, ended.status) == ("filer1\n", 0), ended.err


@needs_dbclient
@pytest.mark.parametrize("kind", KINDS)
def test_dbclient_logs_in_with_a_key(remote: Remote, kind: str) -> None:
    key = remote.account.home / kind
    own = key.with_suffix(".dropbear")
    converted = run(remote.account, "dropbearconvert", "openssh", "dropbear", str(key), str(own))
    assert converted.status == 0, converted.err

    ended = dbclient(remote, "-i", str(own))

    assert (ended.out, ended.status) == ("filer1\n", 0), ended.err


# PuTTY's client.


def plink(remote: Remote, *options: str) -> Outcome:
    """Run a command with plink, which must know the host key."""
    known = [word for key in remote.host_keys for word in ("-hostkey", key.get_fingerprint())]
    where = ("-P", str(remote.port), f"root@{remote.address}")
    return run(
        remote.account, "plink", "-ssh", "-batch", "-noagent", *known, *options, *where, "hostname"
    )


@needs_plink
def test_plink_logs_in_with_a_password(remote: Remote, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD)

    ended = plink(remote, "-pwfile", str(file))

    assert (ended.out, ended.status) == ("filer1\n", 0), ended.err


@needs_plink
@pytest.mark.parametrize("kind", KINDS)
def test_plink_logs_in_with_a_key(remote: Remote, kind: str) -> None:
    key = remote.account.home / kind
    own = key.with_suffix(".ppk")
    converted = run(remote.account, "puttygen", str(key), "-O", "private", "-o", str(own))
    assert converted.status == 0, converted.err

    ended = plink(remote, "-i", str(own))

    assert (ended.out, ended.status) == ("filer1\n", 0), ended.err


# Paramiko.


@pytest.mark.parametrize(
    ("lacks", "used"),
    [
        ([], "ssh-ed25519"),
        (["ssh-ed25519"], "ecdsa-sha2-nistp256"),
        (["ssh-ed25519", "ecdsa-sha2-nistp256"], "ssh-rsa"),
    ],
)
def test_paramiko_without_some_algorithms_knows_the_host(
    remote: Remote, lacks: Sequence[str], used: str
) -> None:
    with paramiko.SSHClient() as client:
        client.load_host_keys(str(remote.account.home / "known_hosts"))
        client.connect(
            remote.address,
            look_for_keys=False,
            allow_agent=False,
            disabled_algorithms={"keys": lacks},
            **remote.login,
        )
        transport = client.get_transport()
        assert transport is not None
        assert transport.get_remote_server_key().get_name() == used
        assert client.exec_command("hostname")[1].read() == b"filer1\n"


def interactive(port: int, *answers: str) -> list[tuple[str, bool]]:
    """Log in by keyboard-interactive with ``answers``; return the prompts."""
    asked: list[tuple[str, bool]] = []

    def answer(_title: str, _text: str, prompts: list[tuple[str, bool]]) -> list[str]:
        asked.extend(prompts)
        return list(answers)

    with closing(paramiko.Transport(connect(port))) as transport:
        transport.start_client()
        transport.auth_interactive("root", answer)
        assert transport.is_authenticated()
    return asked


def test_keyboard_interactive_asks_for_the_password_without_an_echo(remote: Remote) -> None:
    assert interactive(remote.port, PASSWORD) == [("Password: ", False)]


def test_other_answers_are_a_wrong_password(house: House) -> None:
    wrong = [
        *((), ("",), (PASSWORD, ""), ("", PASSWORD), (PASSWORD, PASSWORD)),
        *(("a\x07bell",), ("unassigned-\u0378",), (PASSWORD + "x",)),
    ]

    def work(port: int) -> None:
        for answers in wrong:
            with pytest.raises(paramiko.AuthenticationException):
                interactive(port, *answers)

    clients_of(house, work, first_delay=0.001)

    log = (house.filer.root.path / "mroot" / "etc" / "messages").read_text(encoding="utf-8")
    assert log.count("wrong user or password for root from 127.0.0.1\n") == len(wrong)
    assert "kern.internal.error" not in log


# Key exchanges packet by packet (RFC 4253).


def packet(payload: bytes) -> bytes:
    """Return an unencrypted packet."""
    padding = 4 + -(len(payload) + 9) % 8
    return struct.pack("!IB", len(payload) + padding + 1, padding) + payload + bytes(padding)


def kexinit(exchanges: Sequence[str], host_keys: Sequence[str], *, guess: bool) -> bytes:
    """Return a KEXINIT, after which a guess may follow."""
    both: Sequence[Sequence[str]] = (["aes128-ctr"], ["hmac-sha2-256"], ["none"], [])
    lists = [exchanges, host_keys, *(each for each in both for _ in range(2))]
    names = b"".join(asyncssh.packet.NameList(map(str.encode, each)) for each in lists)
    return b"\x14" + bytes(16) + names + asyncssh.packet.Boolean(guess) + bytes(4)


class Wire:
    """A connection before its first key exchange; ``lists`` are those of the server's KEXINIT."""

    def __init__(self, remote: Remote, stack: ExitStack) -> None:
        self._wire = stack.enter_context(connect(remote.port))
        self._stream = stack.enter_context(self._wire.makefile("rb"))
        assert self._stream.readline() == b"SSH-2.0-filer\r\n"
        self._wire.sendall(b"SSH-2.0-test\r\n")
        server = asyncssh.packet.SSHPacket(self.received()[17:])
        self.lists = [[name.decode() for name in server.get_namelist()] for _ in range(2)]

    def send(self, *payloads: bytes) -> None:
        self._wire.sendall(b"".join(map(packet, payloads)))

    def received(self) -> bytes:
        length, padding = struct.unpack("!IB", self._stream.read(5))
        return self._stream.read(length - 1)[:-padding]


@pytest.mark.parametrize("first_exchange", [False, True])
@pytest.mark.parametrize("first_host_key", [False, True])
def test_a_wrong_guess_is_ignored(
    remote: Remote, first_exchange: bool, first_host_key: bool
) -> None:
    """The guess is an invalid packet, which ends the connection unless it is ignored.

    Dropbear guesses, OpenSSH does not (RFC 4253, 7.1).
    """
    with ExitStack() as stack:
        wire = Wire(remote, stack)
        exchanges, host_keys = wire.lists
        proposal = kexinit(
            exchanges if first_exchange else exchanges[1:],
            host_keys if first_host_key else host_keys[1:],
            guess=True,
        )
        guess, unknown = b"\x1e" + asyncssh.packet.String(b"x"), b"\x12"
        wire.send(proposal, guess, unknown)

        disconnect, unimplemented = b"\x01", b"\x03"
        right = first_exchange and first_host_key
        assert wire.received()[:1] == (disconnect if right else unimplemented)


def test_each_client_gets_the_signature_that_it_has_chosen(remote: Remote) -> None:
    chosen = ["rsa-sha2-256", "rsa-sha2-512"]
    signed = []
    with ExitStack() as stack:
        wires = [Wire(remote, stack) for _ in chosen]
        for wire, algorithm in zip(wires, chosen, strict=True):
            wire.send(kexinit(["curve25519-sha256"], [algorithm], guess=False), b"\x12")
            assert wire.received()[:1] == b"\x03"  # so the KEXINIT has been processed
        for wire in wires:
            public = X25519PrivateKey.generate().public_key().public_bytes_raw()
            wire.send(b"\x1e" + asyncssh.packet.String(public))
            reply = asyncssh.packet.SSHPacket(wire.received()[1:])
            _host_key, _public, signature = (reply.get_string() for _ in range(3))
            signed.append(asyncssh.packet.SSHPacket(signature).get_string().decode())

    assert signed == chosen
