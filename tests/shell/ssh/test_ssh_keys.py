"""``ssh/authorized_keys``: independent lines, and only restrictions that are enforced."""

import asyncio
import base64
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Protocol

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filer.host.durable import Storage
from filer.shell.ssh.access import HOST_KEYS, AccessError, authorized_keys, host_key, host_keys
from filer.shell.ssh.patterns import matches_some_address
from filer.shell.ssh.public_keys import AuthorizedKeys, Grant, KeyLineError
from tests.kit.console import Account
from tests.kit.remote import PASSWORD, Remote, asynchronous, give_access, make_key, serving

KEY = asyncssh.generate_private_key("ssh-ed25519")
PUBLIC = KEY.export_public_key().strip()
OTHERS = asyncssh.generate_private_key("ssh-ed25519").export_public_key().strip()
NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
NAME = "ssh/authorized_keys"


def grant(data: bytes, address: str = "192.0.2.1", key: asyncssh.SSHKey = KEY) -> Grant | None:
    return AuthorizedKeys(NAME, data).grant(key, address, NOW)


def with_options(options: str) -> bytes:
    return options.encode() + b" " + PUBLIC + b"\n"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("no-port-forwarding,no-agent-forwarding,no-X11-forwarding,no-user-rc", Grant()),
        ("port-forwarding,agent-forwarding,x11-forwarding,user-rc", Grant()),
        ('permitopen="192.0.2.1:80",permitlisten="8080",tunnel="1"', Grant()),
        ("no-pty", Grant(terminal=False)),
        ("NO-PTY", Grant(terminal=False)),
        ("restrict", Grant(terminal=False)),
        ("restrict,pty", Grant()),
        ("pty,restrict", Grant(terminal=False)),
        ("restrict,pty,restrict", Grant(terminal=False)),
        ('command="key_manager show"', Grant("key_manager show")),
        ('Command="key_manager show"', Grant("key_manager show")),
        (r'command="logger \"a, b\" \x"', Grant(r'logger "a, b" \x')),
        ('command=""', Grant("")),
        ('from="192.0.2.0/24"', Grant()),
        ('from="10.0.0.0/8,192.0.2.1"', Grant()),
        ('from="192.0.2.*"', Grant()),
        ('from="*,!192.0.2.2"', Grant()),
        ('FROM="192.0.2.1"', Grant()),
        ('from="192.0.2.2"', None),
        ('from="10.0.0.0/8"', None),
        ('from="*,!192.0.2.1"', None),
        ('from="!192.0.2.0/24,*"', None),
        ('from="!192.0.2.2"', None),
        ('expiry-time="20261127120001Z"', Grant()),
        ('expiry-time="20261127120000Z"', None),
        ('expiry-time="202611271201Z"', Grant()),
        ('expiry-time="20271127"', Grant()),
        ('expiry-time="20261101"', None),
        ('expiry-time="20200101",expiry-time="20990101"', None),
        ('expiry-time="20990101",expiry-time="20200101"', None),
    ],
)
def test_options_are_enforced(options: str, expected: Grant | None) -> None:
    assert grant(with_options(options)) == expected


@pytest.mark.parametrize(
    "options",
    [
        "verify-required",
        "no-touch-required",
        "cert-authority",
        'principals="root"',
        'environment="A=B"',
        "frobnicate",
        'frobnicate="1"',
        "restict",
        "expiry-time",
        'expiry-time=""',
        'expiry-time="2026"',
        'expiry-time="20261350"',
        'expiry-time="20261127 "',
        'expiry-time="00010101"',
        "from",
        'from=""',
        'from="192.0.2.1,"',
        'from="192.0.2.1/8"',
        'from="*,!192.0.2.1/8"',
        'from="*,!evil.example.com"',
        'from="!127.1,*"',
        'from="!127.0.0.01,*"',
        'from="!127.0.0.256,*"',
        'from="!127.0.0.01*,*"',
        'from="!127.1?,*"',
        'from="!1.2.3.4.*,*"',
        'from="!fe80::0001*,*"',
        'from="!fe80:0:0:0:1:2:3:*,*"',
        'from="!1::2::*,*"',
        'from="!::1%lo,*"',
        'from="!!127.0.0.1,*"',
        'from="[0-9]*"',
        'from="\u00b2*"',
        'from="192.0.2.1",from="192.0.2.1"',
        "command",
        'command="a",command="b"',
        "command=hostname",
        'command="hostname',
        'restrict="1"',
        'no-pty="1"',
        'no-port-forwarding="x"',
        "permitopen",
        "restrict,",
        ",restrict",
        "restrict;no-pty",
        'no-pty command="x"',
        "\xff",
    ],
)
def test_a_line_whose_options_are_not_all_enforced_opens_nothing(options: str) -> None:
    with pytest.raises(KeyLineError, match=f"^{NAME}:1: "):
        grant(with_options(options))


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)


@given(ADDRESSES, st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), max_size=3))
def test_a_pattern_that_some_address_fits_is_enforced(
    address: str, wildcards: list[tuple[int, int]]
) -> None:
    pattern = address
    for place, length in wildcards:
        pattern = pattern[:place] + "*" + pattern[place + length :]
    single = f"{address[:-1]}?"
    for each in (pattern, single, f"!{pattern},*", f"!{single},*"):
        expected = None if each.startswith("!") else Grant()

        assert grant(with_options(f'from="{each}"'), address) == expected


@given(st.text("0123456789abcdef.:*?", min_size=1, max_size=12), ADDRESSES)
def test_a_pattern_that_fits_an_address_is_one(pattern: str, address: str) -> None:
    if fnmatchcase(address, pattern):
        assert matches_some_address(pattern)
    elif not set("*?") & set(pattern):
        assert matches_some_address(pattern) == is_network(pattern)


def is_network(text: str) -> bool:
    try:
        return bool(ip_network(text))
    except ValueError:
        return False


def test_addresses_are_compared_without_case() -> None:
    excluding = with_options('from="!FE80::*,*"')

    assert grant(excluding, "fe80::1%eth0") is None
    assert grant(excluding, "fe81::1") == Grant()
    assert grant(with_options('from="2001:DB8::*"'), "2001:db8::1") == Grant()


def test_a_key_may_have_several_lines_and_the_first_that_admits_counts() -> None:
    data = (
        with_options("frobnicate")
        + with_options('from="10.0.0.1"')
        + with_options('expiry-time="20200101"')
        + with_options('command="hostname"')
        + PUBLIC
    )

    assert grant(data) == Grant("hostname")
    assert grant(data, "10.0.0.1") == Grant()


AROUND = [
    b"\xef\xbb\xbf%s\n",
    b"%s",
    b"%s\r\n",
    b"%s\r",
    b"# comment\r%s\r# end\r",
    b"\n\n \t\n\t%s\t \n",
    b"# caf\xe9 in Latin-1\n%s\n",
    b"ssh-ed25519 AAAA\xe9\xff\n%s\n",
    b"\x00\xff\xfe\n%s\n",
    b'from="10.0.0.1 ' + OTHERS + b"\n%s\n",
    b"\xff\xfes\0s\0h\0\n%s\n",
    b"x" * 1_000_000 + b"\n%s\n",
    b"ssh-ed25519 " + b"A" * 1_000_000 + b"\n%s\n",
    b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==\n%s\n",
    b"frobnicate " + OTHERS + b"\n%s\n",
    b"-----BEGIN OPENSSH PRIVATE KEY-----\n%s\n",
]


@pytest.mark.parametrize("around", AROUND, ids=range(len(AROUND)))
def test_what_else_is_in_the_file_shuts_no_key_out(around: bytes) -> None:
    before, _, after = around.partition(b"%s")

    assert grant(before + PUBLIC + after) == Grant()


@given(st.lists(st.binary(max_size=60), max_size=8), st.integers(0, 8))
def test_no_other_line_matters(lines: list[bytes], place: int) -> None:
    others = [b"#" + line.replace(b"\n", b"").replace(b"\r", b"") for line in lines]
    junk = [line.replace(b"\n", b"").replace(b"\r", b"") for line in lines]
    for around in (others, junk):
        data = b"\n".join([b"", *around[:place], PUBLIC, *around[place:]])

        assert grant(data) == Grant()


def test_the_comment_of_a_key_may_be_in_any_encoding() -> None:
    assert grant(PUBLIC + b" Ren\xe9 \x80\xff") == Grant()
    assert grant(b"no-pty " + PUBLIC + b" Ren\xe9 \x80\xff") == Grant(terminal=False)


def test_ten_thousand_lines_do_not_shut_the_last_one_out() -> None:
    blob = bytearray(KEY.public_data)
    lines = []
    for number in range(10_000):
        blob[-4:] = number.to_bytes(4, "big")
        lines.append(b"ssh-ed25519 " + base64.b64encode(blob) + b" user@host")
    keys = AuthorizedKeys(NAME, b"\n".join([*lines, with_options("no-pty")]))

    assert keys.grant(KEY, "192.0.2.1", NOW) == Grant(terminal=False)
    assert keys.check() == (10_001, [])


@pytest.mark.parametrize("line", [b"#" + PUBLIC, b" # " + PUBLIC, OTHERS, b""], ids=range(4))
def test_a_key_without_a_line_opens_nothing(line: bytes) -> None:
    assert grant(line) is None


def test_a_key_in_the_comment_of_another_opens_nothing() -> None:
    assert grant(OTHERS + b" " + PUBLIC.split()[1]) is None
    assert grant(b"no-pty " + OTHERS + b" " + PUBLIC) is None


def test_a_weak_key_opens_nothing() -> None:
    for weak in (
        asyncssh.generate_private_key("ssh-dss"),
        asyncssh.generate_private_key("ssh-rsa", key_size=1024),
    ):
        with pytest.raises(KeyLineError, match="fewer than 2048 bits"):
            grant(weak.export_public_key(), key=weak)


def test_an_rsa_key_of_today_opens() -> None:
    key = asyncssh.generate_private_key("ssh-rsa", key_size=2048)

    assert grant(b"no-pty " + key.export_public_key(), key=key) == Grant(terminal=False)


def test_a_check_names_each_line_that_opens_nothing() -> None:
    data = b"\n".join([PUBLIC, b"# x", b"garbage", OTHERS, b"frobnicate " + OTHERS])

    good, problems = AuthorizedKeys(NAME, data).check()

    assert good == 2
    assert [problem.partition(": ")[0] for problem in problems] == [f"{NAME}:3", f"{NAME}:5"]
    assert '"frobnicate"' in problems[1]


def test_addresses_of_ipv6_are_matched_without_their_interface() -> None:
    data = with_options('from="fe80::/10"')

    assert grant(data, "fe80::1%eth0") == Grant()
    assert grant(data, "2001:db8::1") is None


# The permissions of the file, as with sshd's StrictModes.


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "ssh"
    directory.mkdir(mode=0o700)
    return directory


def writable(path: Path) -> None:
    path.chmod(0o620)


def linked(path: Path) -> None:
    other = path.rename(path.with_name("elsewhere"))
    path.symlink_to(other)


def in_a_writable_directory(path: Path) -> None:
    path.parent.chmod(0o770)


def in_a_linked_directory(path: Path) -> None:
    directory = path.parent
    directory.symlink_to(directory.rename(directory.with_name("elsewhere")))


def of_another_user(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, 12345, -1)


SPOIL = [writable, linked, in_a_writable_directory, in_a_linked_directory, of_another_user]


def read_host_key(path: Path) -> object:
    return host_key(path, "ssh-ed25519", Storage())


@pytest.mark.parametrize("spoil", SPOIL)
@pytest.mark.parametrize("read", [authorized_keys, read_host_key])
def test_a_file_that_others_could_have_changed_is_not_believed(
    directory: Path, read: Callable[[Path], object], spoil: Callable[[Path], None]
) -> None:
    path = directory / "file"
    path.write_bytes(PUBLIC if read is authorized_keys else KEY.export_private_key())
    path.chmod(0o600)
    read(path)
    spoil(path)

    with pytest.raises(AccessError, match=r"^ssh/"):
        read(path)


def test_a_host_key_that_others_can_read_is_not_used(directory: Path) -> None:
    path = directory / "host_key"
    path.write_bytes(KEY.export_private_key())
    path.chmod(0o640)

    with pytest.raises(AccessError, match="others can read it; run chmod go-rwx on it"):
        host_key(path, "ssh-ed25519", Storage())


def kinds(directory: Path) -> list[str]:
    return [key.get_algorithm() for key in host_keys(directory, Storage())]


ALL_KINDS = ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"]


def test_a_root_with_one_host_key_keeps_it_and_gains_the_others(directory: Path) -> None:
    old, content = directory / "host_key", KEY.export_private_key()
    old.write_bytes(content)
    old.chmod(0o600)

    assert kinds(directory) == ALL_KINDS

    assert old.read_bytes() == content
    files = {path: path.read_bytes() for path in directory.iterdir()}
    assert {path.name for path in files} == set(HOST_KEYS)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert kinds(directory) == ALL_KINDS
    assert {path: path.read_bytes() for path in files} == files


@pytest.mark.parametrize(
    ("own", "used"),
    [
        ({"host_key": "ecdsa-sha2-nistp256"}, ["ecdsa-sha2-nistp256", "ssh-rsa"]),
        ({"host_key": "ssh-rsa"}, ["ssh-rsa", "ecdsa-sha2-nistp256"]),
        (
            {"host_key": "ecdsa-sha2-nistp384", "host_key_ecdsa": "ecdsa-sha2-nistp384"},
            ["ecdsa-sha2-nistp384", "ssh-rsa"],
        ),
        ({"host_key_rsa": "ssh-ed25519"}, ["ssh-ed25519", "ecdsa-sha2-nistp256"]),
    ],
)
def test_the_administrator_may_choose_other_host_keys(
    directory: Path, own: Mapping[str, str], used: Sequence[str]
) -> None:
    for name, algorithm in own.items():
        (directory / name).write_bytes(
            asyncssh.generate_private_key(algorithm).export_private_key()
        )
        (directory / name).chmod(0o600)

    assert kinds(directory) == used


@pytest.mark.parametrize(
    ("algorithm", "options"), [("ssh-rsa", {"key_size": 1024}), ("ssh-dss", {}), ("ssh-ed448", {})]
)
@pytest.mark.parametrize("name", HOST_KEYS)
def test_a_weak_or_rare_host_key_is_refused(
    directory: Path, name: str, algorithm: str, options: Mapping[str, Any]
) -> None:
    key = asyncssh.generate_private_key(algorithm, **options)
    (directory / name).write_bytes(key.export_private_key())
    (directory / name).chmod(0o600)

    with pytest.raises(AccessError, match=f"^ssh/{name}: not an Ed25519, an ECDSA, or an RSA key"):
        host_keys(directory, Storage())


@pytest.mark.parametrize("name", HOST_KEYS)
def test_a_damaged_host_key_is_named_and_stays_as_it_is(directory: Path, name: str) -> None:
    (directory / name).write_text("damaged\n")
    (directory / name).chmod(0o600)

    with pytest.raises(AccessError, match=f"^ssh/{name}: "):
        host_keys(directory, Storage())
    assert (directory / name).read_text() == "damaged\n"


# Over the wire.


class Write(Protocol):
    """The fixture ``line``."""

    def __call__(self, options: str, more: bytes = b"") -> None:
        """Write ``more``, and the key after ``options``, to the file."""


@pytest.fixture
def line(remote: Remote) -> Iterator[Write]:
    """Return a function that puts options before the key of ``remote``."""
    path = remote.account.root / "ssh" / "authorized_keys"
    before = path.read_bytes()
    key = remote.key.with_suffix(".pub").read_bytes()

    def write(options: str, more: bytes = b"") -> None:
        path.write_bytes(more + options.encode() + b" " + key)

    yield write
    path.write_bytes(before)


def test_a_refused_line_is_logged_with_its_number(remote: Remote, line: Write) -> None:
    line("frobnicate", b"# first\n")

    assert remote.run("hostname").status == 255
    assert (
        'ssh.keys.failure:error]: ssh/authorized_keys:2: the option "frobnicate" cannot be '
        "enforced\n"
    ) in remote.log


def test_what_a_line_forbids_is_forbidden(remote: Remote, line: Write) -> None:
    line("restrict")
    refused = remote.run("hostname", options=["-tt", "-oLogLevel=INFO"])
    assert "PTY allocation request failed" in refused.err
    assert remote.run("hostname").out == "filer1\n"

    line('restrict,command="hostname"')
    assert remote.run("halt").out == "filer1\n"
    assert remote.run(input="halt\n").out == "filer1\n"
    assert remote.run("sftp", options=["-s"]).out == "filer1\n"

    line('from="127.0.0.2"')
    assert remote.run("hostname").status == 255
    assert remote.run("hostname", options=["-b", "127.0.0.2"]).out == "filer1\n"

    line('expiry-time="20200101"')
    assert remote.run("hostname").status == 255


@asynchronous
async def test_a_login_by_password_has_nothing_of_the_line_of_a_key(
    remote: Remote, line: Write
) -> None:
    line('command="hostname",no-pty')

    async with asyncssh.connect(
        remote.address,
        remote.port,
        username="root",
        password=PASSWORD,
        client_keys=None,
        known_hosts=None,
        config=[],
    ) as connection:
        process = await connection.run("key_manager show", term_type="vt100")
        assert "No key servers" in str(process.stdout)


def test_a_damaged_line_is_reported_at_the_start_and_the_filer_serves(account: Account) -> None:
    give_access(account)
    path = account.root / "ssh" / "authorized_keys"
    path.write_bytes(path.read_bytes() + b"ssh-ed25519 garbage\n")
    with serving(account) as remote:
        assert remote.run("hostname").out == "filer1\n"
        text = "ssh/authorized_keys:3: damaged, or not a public key"
        assert text in str(remote.child.before) + remote.log


def test_an_rsa_signature_with_sha_1_is_refused(account: Account) -> None:
    give_access(account)
    key = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
    path = account.root / "ssh" / "authorized_keys"
    path.write_bytes(key.export_public_key())

    async def log_in(port: int, algorithm: str) -> None:
        async with asyncssh.connect(
            "127.0.0.1",
            port,
            username="root",
            client_keys=[key],
            known_hosts=None,
            config=[],
            preferred_auth="publickey",
            signature_algs=[algorithm],
        ):
            pass

    with serving(account) as remote:
        asyncio.run(log_in(remote.port, "rsa-sha2-256"))
        with pytest.raises(asyncssh.PermissionDenied):
            asyncio.run(log_in(remote.port, "ssh-rsa"))


def test_a_key_file_that_others_can_change_opens_nothing_and_is_logged(
    account: Account, tmp_path: Path
) -> None:
    give_access(account)
    with serving(account) as remote:
        (account.root / "ssh" / "authorized_keys").chmod(0o666)

        assert remote.run("hostname").status == 255
        assert "ssh/authorized_keys: others can change it; run chmod go-rwx on it" in remote.log
        assert remote.run("hostname", key=make_key(tmp_path / "other")).status == 255
