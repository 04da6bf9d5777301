"""man key_manager, CERTIFICATES: installing and registering them."""

import pytest

from filer.registration.pem import CLIENT, CLIENT_PRIVATE
from tests.kit import manual, pki
from tests.kit.house import House
from tests.kit.manual import Build
from tests.kit.pairs import lose, new_pair, put

build, house = manual.build, manual.house

ALL = ["127.0.0.2_CA.pem", "127.0.0.3_CA.pem", "client.pem", "client_private.pem"]


def var(house: House, name: str) -> bytes:
    return (house.root / "var" / "kmip" / "certs" / name).read_bytes()


def mroot(house: House, name: str) -> bytes:
    return (house.root / "mroot" / "etc" / "keymgr" / "cert" / name).read_bytes()


def test_certificates_are_made_outside_and_installed_by_name(build: Build) -> None:
    house = build(2, installed=False)
    assert house.installed_files() == []
    for name in ALL:
        assert house.good(f"keymgr install cert '{house.servers[0].directory / name}'") == ""
    assert house.installed_files() == ALL


def test_installing_copies_a_file_to_mroot(house: House) -> None:
    for name in ALL:
        assert mroot(house, name) == (house.servers[0].directory / name).read_bytes()
        assert (house.root / "mroot/etc/keymgr/cert" / name).stat().st_mode & 0o777 == 0o600


def test_installing_does_not_register(house: House) -> None:
    assert house.registered_files() == []
    assert house.good("keymgr list cert").count("Registered: No\n") == 4


def test_registering_copies_the_files_to_the_boot_device(house: House) -> None:
    house.add()
    assert house.registered_files() == ALL
    for name in ALL:
        assert var(house, name) == mroot(house, name)
        assert (house.root / "var/kmip/certs" / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("key_first", [True, False])
def test_client_private_is_the_private_key_and_client_pem_in_one_file(
    key_first: bool, build: Build
) -> None:
    house = build(1, installed=False)
    identity = pki.client(pki.authority_of(house.servers[0]))
    certificate = identity.certificate_pem()
    parts = [identity.private_pem().replace(certificate, b""), certificate]
    directory = house.root / "made outside"
    directory.mkdir()
    (directory / CLIENT).write_bytes(certificate)
    (directory / CLIENT_PRIVATE).write_bytes(b"".join(parts if key_first else parts[::-1]))
    for name in (CLIENT, CLIENT_PRIVATE):
        house.good(f"keymgr install cert '{directory / name}'")
    house.install("127.0.0.2_CA.pem")
    house.add()
    assert house.good("key_manager status") == "Key server 127.0.0.2 is responding.\n"


def test_ca_file_may_be_the_key_servers_own_certificate(build: Build) -> None:
    house = build(1)
    own = pki.server(None, "127.0.0.2")
    pki.serve_as(house.servers[0], own)
    file = house.root / "127.0.0.2_CA.pem"
    file.write_bytes(own.certificate_pem())
    house.good(f"keymgr install cert {file}")
    house.add()
    assert house.good("key_manager status") == "Key server 127.0.0.2 is responding.\n"


def test_each_key_server_is_trusted_by_its_own_ca_file_alone(house: House) -> None:
    house.add()
    other = pki.authority("other")
    pki.serve_as(house.servers[1], pki.server(other, "127.0.0.3"))
    file = house.root / "127.0.0.2_CA.pem"
    file.write_bytes(other.certificate_pem())
    house.good(f"keymgr install cert {file}")
    house.execute("key_manager add -key_server 127.0.0.2")
    assert house.bad("key_manager status") == (
        "Key server 127.0.0.2 is not responding: certificate not trusted.\n"
        "Key server 127.0.0.3 is not responding: certificate not trusted.\n"
    )


def test_kmip_init_needs_the_registered_files_only(house: House) -> None:
    key_id = house.encrypt()
    for name in ALL:
        house.good(f"keymgr delete cert {name}")
    assert house.installed_files() == []
    assert house.reboot() == ""
    assert house.in_keytable() == [key_id]


def test_kmip_init_runs_while_mroot_is_not_there(house: House) -> None:
    house.encrypt()
    house.power_off()
    (house.root / "mroot" / "etc").rename(house.root / "elsewhere")
    assert house.reboot() == ""
    assert not any(disk.locked for disk in house.filer.shelf)


def test_mroot_is_there_only_while_wafl_is_up(house: House) -> None:
    assert house.filer.wafl_is_up
    log = house.root / "mroot" / "etc" / "messages"
    size = log.stat().st_size
    off = house.power_off()
    assert not off.wafl_is_up
    off.messages.log("test", "info", "there is no file system to write this to")
    assert log.stat().st_size == size


def test_kmip_init_does_not_see_what_is_installed(house: House) -> None:
    house.add()
    pair = new_pair()
    put(house.servers[0], pair)
    house.good("key_manager remove -key_server 127.0.0.2 -key_server 127.0.0.3")
    assert house.installed_files() == ALL
    house.reboot()
    assert house.in_keytable() == []


def test_uninstalling_leaves_the_registered_copy(house: House) -> None:
    house.add()
    for name in ALL:
        house.good(f"keymgr delete cert {name}")
    assert house.installed_files() == []
    assert house.registered_files() == ALL
    assert house.good("key_manager status").count("is responding") == 2
    house.good("key_manager rekey")


def test_unregistering_leaves_the_installed_file(house: House) -> None:
    house.add()
    house.good("key_manager remove -key_server 127.0.0.2")
    assert house.installed_files() == ALL
    assert "127.0.0.2_CA.pem" not in house.registered_files()


def test_an_unregistered_file_is_registered_again_while_installed(house: House) -> None:
    house.add()
    house.good("key_manager remove -key_server 127.0.0.2 -key_server 127.0.0.3")
    assert house.registered_files() == []
    house.add()
    assert house.registered_files() == ALL


def test_an_uninstalled_file_cannot_be_registered_again(house: House) -> None:
    house.add()
    house.good("key_manager remove -key_server 127.0.0.2")
    house.good("keymgr delete cert 127.0.0.2_CA.pem")
    assert house.bad("key_manager add -key_server 127.0.0.2") == (
        "key_manager: 127.0.0.2_CA.pem is not installed; "
        'use "keymgr install cert /path/127.0.0.2_CA.pem"\n'
    )


def test_the_registered_copy_counts_until_it_is_registered_again(house: House) -> None:
    house.add()
    old = var(house, "127.0.0.2_CA.pem")
    file = house.root / "127.0.0.2_CA.pem"
    file.write_bytes(pki.authority("new").certificate_pem())
    house.good(f"keymgr install cert {file}")
    assert var(house, "127.0.0.2_CA.pem") == old
    assert house.good("key_manager status").count("is responding") == 2
    house.execute("key_manager add -key_server 127.0.0.2")
    assert var(house, "127.0.0.2_CA.pem") == file.read_bytes()


def test_certificates_and_key_servers_change_together(house: House) -> None:
    house.add()
    link = house.root / "var" / "kmip"
    before = link.readlink()
    house.good("key_manager remove -key_server 127.0.0.2")
    assert link.is_symlink()
    assert link.readlink() != before
    assert not (house.root / "var" / before).exists()
    lose(house.servers[0])
    house.reboot()
    assert house.good("key_manager show") == "127.0.0.3\n"
