"""man keymgr: install, list and delete certificate files."""

import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from filer.keyserver.authority import issue_server
from filer.registration.certificates import inspect
from filer.registration.pem import SIZE_LIMIT
from tests.kit import manual, pki
from tests.kit.house import House
from tests.kit.manual import Build

build, house = manual.build, manual.house


@pytest.fixture
def empty(build: Build) -> House:
    """A filer without installed certificates."""
    return build(1, installed=False)


def outside(house: House, name: str, content: bytes) -> Path:
    """Create a file on the host."""
    directory = house.root.parent / "outside"
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_bytes(content)
    return path


def in_mroot(house: House, name: str, content: bytes) -> str:
    """Create a file in the filer and return its path there."""
    (house.root / "mroot" / "etc" / name).write_bytes(content)
    return f"/mroot/etc/{name}"


def test_install_from_a_path_of_the_host(empty: House) -> None:
    path = empty.servers[0].directory / "client.pem"
    assert empty.good(f"keymgr install cert '{path}'") == ""
    assert empty.filer.installed.read("client.pem") == path.read_bytes()


def test_install_from_a_path_in_mroot(empty: House) -> None:
    content = (empty.servers[0].directory / "client.pem").read_bytes()
    path = in_mroot(empty, "client.pem", content)
    assert empty.good(f"keymgr install cert {path}") == ""
    assert empty.installed_files() == ["client.pem"]


def test_install_from_mroot_stays_in_mroot(empty: House) -> None:
    path = outside(empty, "client.pem", pki.client(None).certificate_pem())
    (empty.root / "mroot" / "etc" / "client.pem").symlink_to(path)
    assert empty.bad("keymgr install cert /mroot/etc/client.pem") == (
        "keymgr: /mroot/etc/client.pem: leads out of /mroot\n"
    )
    assert empty.bad("keymgr install cert /mroot/../../outside/client.pem") == (
        "keymgr: /mroot/../../outside/client.pem: leads out of /mroot\n"
    )


def test_install_of_a_new_file_replaces_the_old_one_and_says_so(empty: House) -> None:
    old = outside(empty, "127.0.0.2_CA.pem", pki.authority("old").certificate_pem())
    empty.good(f"keymgr install cert {old}")
    new = outside(empty, "127.0.0.2_CA.pem", pki.authority("new").certificate_pem())
    assert empty.good(f"keymgr install cert {new}") == (
        "127.0.0.2_CA.pem replaces the one that was installed.\n"
    )
    assert empty.filer.installed.read("127.0.0.2_CA.pem") == new.read_bytes()


@pytest.mark.parametrize("address", ["::1", "0:0:0:0:0:0:0:1"])
def test_install_of_an_ipv6_key_servers_certificate(address: str, empty: House) -> None:
    path = outside(empty, f"{address}_CA.pem", pki.authority().certificate_pem())
    assert empty.good(f"keymgr install cert {path}") == ""
    assert empty.installed_files() == ["::1_CA.pem"]


@pytest.mark.parametrize(
    "name", ["server.pem", "Client.pem", "client.crt", "keys.example.com_CA.pem", "_CA.pem"]
)
def test_install_refuses_any_other_name(name: str, empty: House) -> None:
    path = outside(empty, name, pki.authority().certificate_pem())
    assert empty.bad(f"keymgr install cert {path}") == (
        f'keymgr: "{name}" is not the name of a certificate file; '
        "expected client.pem, client_private.pem or IPADDR_CA.pem\n"
    )
    assert empty.installed_files() == []


def test_install_refuses_what_cannot_be_read(empty: House) -> None:
    missing = empty.root.parent / "nowhere" / "client.pem"
    assert empty.bad(f"keymgr install cert {missing}") == (
        f"keymgr: {missing}: No such file or directory\n"
    )
    (empty.root.parent / "nowhere").mkdir()
    missing.mkdir()
    assert empty.bad(f"keymgr install cert {missing}") == f"keymgr: {missing}: is a directory\n"
    large = outside(empty, "client.pem", b"x" * (SIZE_LIMIT + 1))
    assert empty.bad(f"keymgr install cert {large}") == f"keymgr: {large}: larger than 1 MiB\n"
    assert empty.bad("keymgr install cert /mroot/etc/client.pem") == (
        "keymgr: /mroot/etc/client.pem: No such file or directory\n"
    )


def test_install_refuses_a_client_private_pem_that_is_not_complete(empty: House) -> None:
    identity, other = pki.client(None), pki.client(None)
    certificate = identity.certificate_pem()
    key = other.private_pem().replace(other.certificate_pem(), b"")
    own_key = identity.private_pem().replace(certificate, b"")
    for content, refusal in (
        (certificate, "contains no private key; it needs client.pem and the private key"),
        (own_key, "contains no certificate, only PRIVATE KEY"),
        (key + certificate, "the private key does not match the certificate in the same file"),
        (own_key + key + certificate, "contains more than one private key"),
        (
            pki.encrypted_private_pem(identity, b"passphrase"),
            "the private key is encrypted; its passphrase cannot be entered at boot; "
            "decrypt it: openssl pkcs8 -topk8 -in FILE -nocrypt",
        ),
    ):
        path = outside(empty, "client_private.pem", content)
        assert empty.bad(f"keymgr install cert {path}") == (
            f"keymgr: client_private.pem: {refusal}\n"
        )
    assert empty.installed_files() == []


def test_install_refuses_a_key_that_does_not_fit_the_installed_client_pem(house: House) -> None:
    path = outside(house, "client_private.pem", pki.client(None).private_pem())
    before = house.filer.installed.read("client_private.pem")
    assert house.bad(f"keymgr install cert {path}") == (
        "keymgr: client_private.pem: the private key does not match the installed client.pem; "
        "for a new key, install the new client.pem first\n"
    )
    assert house.filer.installed.read("client_private.pem") == before


def test_install_of_a_new_client_pem_warns_until_its_key_is_installed(house: House) -> None:
    identity = pki.client(None)
    path = outside(house, "client.pem", identity.certificate_pem())
    assert house.execute(f"keymgr install cert {path}") == (
        0,
        "client.pem replaces the one that was installed.\n",
        "WARNING: client.pem: does not match the installed client_private.pem; install that next\n",
    )
    assert house.bad("key_manager add -key_server 127.0.0.2") == (
        "key_manager: client_private.pem: the private key does not match client.pem\n"
    )
    path = outside(house, "client_private.pem", identity.private_pem())
    assert house.good(f"keymgr install cert {path}") == (
        "client_private.pem replaces the one that was installed.\n"
    )


@pytest.mark.parametrize(
    ("valid", "says"),
    [
        (pki.EXPIRED, "expired on"),
        (pki.EXPIRING, "expires in 12 days, on"),
        (pki.NOT_YET, "is not valid before"),
    ],
)
def test_install_warns_of_a_certificate_that_is_not_valid_now(
    valid: pki.Period, says: str, empty: House
) -> None:
    path = outside(empty, "127.0.0.2_CA.pem", pki.authority(valid=valid).certificate_pem())
    status, out, err = empty.execute(f"keymgr install cert {path}")
    assert (status, out) == (0, "")
    assert err.startswith(f"WARNING: 127.0.0.2_CA.pem: {says} ")
    assert err.endswith(" UTC\n")
    assert empty.installed_files() == ["127.0.0.2_CA.pem"]


def expiry(house: House, name: str) -> str:
    info = inspect(name, house.filer.installed.read(name), house.filer.now())
    return f"{info.not_after:%a %b %d %H:%M:%S UTC %Y}"


def test_the_system_log_has_what_is_installed_and_deleted(house: House) -> None:
    house.good("keymgr delete cert client.pem")
    house.install("client.pem")
    path = outside(house, "127.0.0.9_CA.pem", pki.authority().certificate_pem())
    house.good(f"keymgr install cert {path}")

    log = house.good("rdfile /etc/messages")

    assert ":keymgr.cert.deleted:info]: client.pem deleted\n" in log
    assert ":keymgr.cert.installed:info]: 127.0.0.9_CA.pem (CN=test CA) installed, valid un" in log


def test_list_shows_each_file_and_whether_it_is_registered(house: House) -> None:
    house.add(house.servers[0])
    registered = expiry(house, "127.0.0.2_CA.pem")
    other = outside(house, "127.0.0.2_CA.pem", pki.authority("other").certificate_pem())
    house.good(f"keymgr install cert {other}")
    different = f"Yes, but different from what is installed; expires {registered}"

    def block(name: str, subject: str, issuer: str, registered: str) -> str:
        return (
            f"{name}:\n"
            f"    Subject:    CN={subject}\n"
            f"    Issuer:     CN={issuer}\n"
            f"    Expires:    {expiry(house, name)}\n"
            f"    Registered: {registered}\n"
        )

    maker = "filer-keyserver CA"
    assert house.good("keymgr list cert") == (
        block("client.pem", "filer", maker, "Yes")
        + block("client_private.pem", "filer", maker, "Yes")
        + block("127.0.0.2_CA.pem", "other", "other", different)
        + block("127.0.0.3_CA.pem", maker, maker, "No")
    )


def test_list_of_nothing(empty: House) -> None:
    assert empty.good("keymgr list cert") == "No certificates are installed.\n"


def test_list_shows_the_rest_when_one_file_is_damaged(house: House) -> None:
    (house.root / "mroot" / "etc" / "keymgr" / "cert" / "client.pem").write_text("x")
    status, out, err = house.execute("keymgr list cert")
    assert (status, out.count("Registered: No\n")) == (1, 3)
    assert err == "keymgr: client.pem: not a PEM file\n"


def test_delete_uninstalls(house: House) -> None:
    assert house.good("keymgr delete cert client.pem") == ""
    assert "client.pem" not in house.installed_files()
    assert "client.pem:" not in house.good("keymgr list cert")


def test_delete_leaves_a_registered_copy(house: House) -> None:
    house.add()
    house.good("keymgr delete cert 127.0.0.2_CA.pem")
    assert "127.0.0.2_CA.pem" in house.registered_files()
    assert house.good("key_manager status -key_server 127.0.0.2") == (
        "Key server 127.0.0.2 is responding.\n"
    )


def test_delete_refuses_what_is_not_installed(empty: House) -> None:
    assert empty.bad("keymgr delete cert client.pem") == "keymgr: client.pem is not installed\n"
    assert empty.bad("keymgr delete cert ../messages") == (
        'keymgr: "../messages" is not the name of a certificate file; '
        "expected client.pem, client_private.pem or IPADDR_CA.pem\n"
    )


def test_names_from_outside_reach_the_screen_escaped(empty: House) -> None:
    evil = pki.authority("\x1b[31mred")
    path = outside(empty, "127.0.0.2_CA.pem", evil.certificate_pem())
    empty.good(f"keymgr install cert {path}")
    assert "\x1b" not in empty.good("keymgr list cert")
    said = empty.bad("keymgr install cert '/nowhere/\x1b[31m_CA.pem'")
    assert "\x1b" not in said
    assert "\\x1b" in said


# view cert.


def test_view_shows_what_openssl_reads_in_the_file(house: House) -> None:
    path = house.servers[0].directory / "client.pem"
    shown = house.good("keymgr view cert client.pem")
    ran = subprocess.run(
        ["openssl", "x509", "-in", path, "-noout", "-serial", "-fingerprint", "-sha256"],
        capture_output=True,
        check=True,
        text=True,
    )
    serial, fingerprint = (line.partition("=")[2] for line in ran.stdout.splitlines())
    assert f"    Serial:     {serial.lstrip('0')}\n" in shown
    assert f"    SHA-256:    {fingerprint.replace(':', '')}\n" in shown
    info = inspect("client.pem", path.read_bytes(), house.filer.now())
    assert f"    Subject:    {info.subject}\n    Issuer:     {info.issuer}\n" in shown
    assert f"    Expires:    {info.not_after:%a %b %d %H:%M:%S} UTC {info.not_after:%Y}\n" in shown
    assert "    Key:        EC, secp256r1\n" in shown


def test_view_shows_every_certificate_and_no_private_key(empty: House) -> None:
    authority = pki.authority("the authority")
    client = pki.client(authority)
    content = client.private_pem() + authority.certificate_pem()
    empty.good(f"keymgr install cert {outside(empty, 'client_private.pem', content)}")
    shown = empty.good("keymgr view cert client_private.pem")
    assert re.findall(r"^client_private\.pem \((\d) of 2\):$", shown, re.M) == ["1", "2"]
    assert shown.index("CN=the authority\n") < shown.rindex("Subject:    CN=the authority\n")
    assert "PRIVATE" not in shown
    body = client.private_pem().decode().splitlines()[1]
    assert body not in shown


def test_view_names_the_addresses_of_a_certificate(empty: House) -> None:
    server = issue_server(pki.authority("a"), "::1", now=datetime.now(UTC))
    path = outside(empty, "127.0.0.2_CA.pem", server.certificate_pem())
    empty.good(f"keymgr install cert {path}")
    assert "    Addresses:  ::1\n" in empty.good("keymgr view cert 127.0.0.2_CA.pem")


def test_view_refuses_what_is_not_installed_or_is_damaged(house: House) -> None:
    assert house.bad("keymgr view cert 127.0.0.9_CA.pem") == (
        "keymgr: 127.0.0.9_CA.pem is not installed\n"
    )
    assert house.bad("keymgr view cert other.pem").startswith("keymgr: ")
    house.filer.installed.path("client.pem").write_text("damaged")
    assert house.bad("keymgr view cert client.pem").startswith("keymgr: client.pem: ")
