"""Registering key servers and certificates: atomic, and without losing access to keys."""

import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from filer.boot.machine import Panic
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.key_id import MSID_KEY_ID
from filer.keys.keytable import Entry
from filer.keys.pair import KeyPair
from filer.keyserver.authority import Identity, issue_server
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name
from filer.shell.session import FAILED, OK
from tests.conftest import ADDRESSES
from tests.kit import faulty, pki
from tests.kit.faulty import FailingStorage, FaultyKeyServer
from tests.kit.house import House, Told
from tests.kit.pairs import put
from tests.kit.points import paired

servers = faulty.servers(3)
ADD = "key_manager add -key_server 127.0.0.2 -key_server 127.0.0.3"
SETUP = "key_manager setup"
TWO = ("127.0.0.2", "127.0.0.3", "q", "", "", "no")


@pytest.fixture
def storage() -> FailingStorage:
    return FailingStorage()


@pytest.fixture
def new(servers: list[FaultyKeyServer], tmp_path: Path, storage: FailingStorage) -> Iterator[House]:
    """A filer with all certificates installed and nothing registered."""
    with House.build(tmp_path / "root", servers, storage) as built:
        yield built


@pytest.fixture
def house(
    servers: list[FaultyKeyServer], tmp_path: Path, storage: FailingStorage
) -> Iterator[House]:
    """A filer whose disks are locked, with two key servers."""
    with faulty.locked_house(tmp_path / "root", servers, storage, registered=2) as built:
        yield built


def install_ca(house: House, address: str, identity: Identity) -> None:
    house.filer.installed.install(identity.certificate_pem(), ca_name(address), house.filer.now())


def common_name(server: FaultyKeyServer) -> str:
    """Return the common name of the client certificate that owns the keys."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    certificate = x509.load_pem_x509_certificate((server.directory / CLIENT).read_bytes())
    (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(name.value)


class Before:
    """What a failed registration must leave unchanged, in memory and on the boot device."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._registration = house.filer.registration
        self._files = self._look()
        assert house.registered == self._registration

    def _look(self) -> dict[str, bytes]:
        var = self._house.root / "var"
        return {
            str(path.relative_to(var)): path.read_bytes()
            for path in var.rglob("*")
            if path.is_file()
        } | {"kmip": bytes((var / "kmip").readlink()) if (var / "kmip").is_symlink() else b""}

    def check(self) -> None:
        assert self._house.filer.registration == self._registration
        assert self._house.registered == self._registration
        assert self._look() == self._files


# Client certificates


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("key_manager add -key_server 127.0.0.4", ()),
        ("key_manager add -key_server 127.0.0.2", ()),
        (SETUP, ("", "", "", "", "", "no")),
    ],
)
def test_a_client_certificate_that_is_not_shown_the_keys_in_use_is_refused(
    house: House, servers: list[FaultyKeyServer], line: str, answers: tuple[str, ...]
) -> None:
    before = Before(house)
    house.install_client(pki.client(pki.authority_of(servers[0]), "another owner"))
    result = house.run(line, *answers)
    assert result.status == FAILED
    assert house.key_ids[0] in result.failures[0]
    assert "the registered one stays" in result.failures[0]
    assert result.questions == []
    before.check()
    house.boot()
    assert not any(disk.locked for disk in house.disks)


@pytest.mark.parametrize(("line", "answers"), [(ADD, ()), (SETUP, ("", "", "", "", "", "no"))])
def test_a_renewed_client_certificate_of_the_same_name_is_accepted(
    house: House, servers: list[FaultyKeyServer], line: str, answers: tuple[str, ...]
) -> None:
    renewed = pki.client(pki.authority_of(servers[0]), common_name(servers[0]))
    house.install_client(renewed)
    result = house.must(line, *answers)
    assert f"Registration successful for {CLIENT}." in result.shown
    assert house.registered.certificates[CLIENT] == renewed.certificate_pem()
    house.boot()
    faulty.check_that_no_key_is_lost(house)
    house.rekey()


@paired(
    ("words", [(ADD,), (SETUP, "", "", "", "", "", "no")]),
    ("case", ["right", "wrong", "right, key unknown", "wrong, key unknown"]),
)
def test_a_client_certificate_that_is_shown_another_secret_is_refused(
    house: House,
    servers: list[FaultyKeyServer],
    tmp_path: Path,
    words: tuple[str, ...],
    case: str,
) -> None:
    is_right = case.startswith("right")
    key_id = house.key_ids[0]
    right = house.secret(key_id)
    other = pki.client(pki.authority_of(servers[0]), "another owner")
    for server, is_shown in zip(servers, (True, is_right), strict=False):
        secret = right if is_shown else AuthenticationKey(right.reveal() + b"x")
        pki.store_as(other, server, KeyPair(key_id, "x", secret), tmp_path / server.address)
    house.install_client(other)
    if case.endswith("unknown"):  # only the registered certificate can tell which one is right
        house.filer.keytable.clear()
        for disk in house.disks:
            disk._accepted = None
    before = Before(house)
    result = house.run(*words)
    if is_right:
        assert result.status == OK
        assert house.registered.certificates[CLIENT] == other.certificate_pem()
    else:
        assert result.status == FAILED
        assert result.failures == [
            f"key_manager: key server 127.0.0.3 shows another key for key ID {key_id}, which is in "
            "use, to the changed client certificate; the registered one stays"
        ]
        before.check()
    house.boot()
    assert not any(disk.locked for disk in house.disks)


def test_a_changed_client_certificate_is_refused_while_a_registered_server_is_silent(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    before = Before(house)
    renewed = pki.client(pki.authority_of(servers[0]), common_name(servers[0]))
    house.install_client(renewed)
    servers[1].stop()
    result = house.run("key_manager add -key_server 127.0.0.4")
    assert result.status == FAILED
    assert servers[1].address in result.failures[0]
    before.check()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda authority, name: pki.client(authority, name, valid=pki.EXPIRED),
        lambda authority, name: pki.client(pki.authority(), name),
        lambda authority, name: pki.client(None, name),
    ],
    ids=["expired", "of another authority", "self-signed"],
)
def test_a_client_certificate_that_the_servers_do_not_accept_is_refused(
    house: House, servers: list[FaultyKeyServer], spoil: Callable[[Identity, str], Identity]
) -> None:
    before = Before(house)
    bad = spoil(pki.authority_of(servers[0]), common_name(servers[0]))
    house.install_client(bad)
    for line, answers in ((ADD, ()), (SETUP, TWO)):
        result = house.run(line, *answers)
        assert result.status == FAILED
        assert "the registered one stays" in result.failures[0]
        before.check()


def expire(house: House, days: int = 60) -> None:
    """Advance the filer's clock, so that all its certificates expire."""
    late = house.filer.now() + timedelta(days=days)
    house.filer.now = lambda: late


def warnings_of(*names: str) -> str:
    dated = r"expired on \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    return "\n".join(rf"WARNING: {re.escape(name)}: {dated}" for name in names)


@pytest.mark.parametrize(
    ("line", "answers"),
    [(ADD, ()), ("key_manager add -key_server 127.0.0.4", ()), (SETUP, TWO)],
)
@pytest.mark.parametrize("registered", [False, True])
def test_installed_files_that_have_expired_are_said_before_they_are_used(
    new: House, line: str, answers: tuple[str, ...], registered: bool
) -> None:
    if registered:
        new.must(ADD)
    expire(new, days=20_000)
    result = new.must(line, *answers)
    addresses = ("127.0.0.4",) if ".4" in line else ("127.0.0.2", "127.0.0.3")
    expected = warnings_of(CLIENT, CLIENT_PRIVATE, *map(ca_name, addresses))
    said = [line for line in result.warnings if not line.endswith(": certificate expired.")]
    assert re.fullmatch(expected, "\n".join(said))


def test_an_expired_certificate_is_said_even_if_the_command_is_refused(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    before = Before(house)
    bad = pki.client(pki.authority_of(servers[0]), common_name(servers[0]), valid=pki.EXPIRED)
    house.install_client(bad)
    result = house.run(ADD)
    assert result.status == FAILED
    assert re.fullmatch(warnings_of(CLIENT, CLIENT_PRIVATE), "\n".join(result.warnings))
    before.check()


@pytest.mark.parametrize(
    ("line", "answers"), [(ADD, ()), (SETUP, ("", "", "", "", "", "no"))], ids=["add", "setup"]
)
def test_an_expired_registered_certificate_is_replaced_with_a_warning(
    house: House, servers: list[FaultyKeyServer], line: str, answers: tuple[str, ...]
) -> None:
    """The new one has another name, so the key servers do not show it the keys in use."""
    key_id = house.key_ids[0]
    spoiled = pki.client(pki.authority_of(servers[0]), common_name(servers[0]), valid=pki.EXPIRED)
    register_at_once(house, spoiled)
    other = pki.client(pki.authority_of(servers[0]), "another owner")
    house.install_client(other)
    result = house.must(line, *answers)
    first, *more = result.warnings
    assert re.fullmatch(
        r"WARNING: the registered client\.pem expired on .* UTC and is replaced\.", first
    )
    assert more[:2] == [
        f"WARNING: key server {server.address} does not show key ID {key_id}, which is in use, to "
        "the changed client certificate."
        for server in servers[:2]
    ]
    assert house.registered.certificates[CLIENT] == other.certificate_pem()


def register_at_once(house: House, client: Identity) -> None:
    """Make ``client`` the registered certificate without any check."""
    certificates = dict(house.filer.registration.certificates)
    certificates[CLIENT] = client.certificate_pem()
    certificates[CLIENT_PRIVATE] = client.private_pem()
    house.filer.registration = house.filer.registration._replace(certificates=certificates)
    house.filer.boot_device.stage(house.filer.registration).commit()


def test_a_registered_certificate_that_only_the_filers_clock_takes_for_expired_is_kept(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    """The key servers still show it the keys in use, so it is the better one."""
    for server in servers:
        renewed = issue_server(
            pki.authority_of(server),
            server.address,
            now=datetime.now(UTC),
            lifetime=timedelta(days=2000),
        )
        pki.serve_as(server, renewed)
    expire(house, days=1000)
    before = Before(house)
    house.install_client(pki.client(pki.authority_of(servers[0]), "another owner"))
    result = house.run(ADD)
    assert result.status == FAILED
    assert result.failures[0].endswith("; the registered one stays")
    before.check()


def test_a_key_id_that_the_registered_certificate_is_not_shown_is_no_obstacle(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    faulty.lose(servers[1], house.key_ids[0])
    renewed = pki.client(pki.authority_of(servers[0]), common_name(servers[0]))
    house.install_client(renewed)
    house.must(ADD)
    assert house.registered.certificates[CLIENT] == renewed.certificate_pem()


def test_a_damaged_registered_certificate_is_replaced_with_a_warning(house: House) -> None:
    (house.root / "var" / "kmip" / "certs" / CLIENT).write_bytes(b"foo\n")
    house.filer.registration = house.registered
    result = house.must(ADD)
    assert result.warnings[0] == "WARNING: the registered client.pem is damaged and is replaced."
    house.boot()
    assert not any(disk.locked for disk in house.disks)


def test_a_boot_says_which_registered_certificates_have_expired(house: House) -> None:
    house.power_cycle()
    expire(house, days=20_000)
    told = Told()
    with pytest.raises(Panic):
        house.boot_now(told)
    names = (CLIENT, *map(ca_name, ("127.0.0.2", "127.0.0.3")))
    assert [line.partition(" expired on ")[0] for line in told.warnings][:5] == [
        *(f"registered certificate {name}:" for name in sorted(names)),
        *(f"key server {each} is not responding: certificate expired" for each in ADDRESSES[:2]),
    ]


def test_a_boot_says_which_registered_certificate_is_damaged(house: House) -> None:
    (house.root / "var" / "kmip" / "certs" / "127.0.0.3_CA.pem").write_bytes(b"foo\n")
    told = house.boot()
    assert "registered certificate 127.0.0.3_CA.pem: not a PEM file" in told.warnings


def test_a_client_certificate_may_change_while_no_key_is_in_use(
    new: House, servers: list[FaultyKeyServer]
) -> None:
    new.add(*servers)
    other = pki.client(pki.authority_of(servers[0]), "another owner")
    new.install_client(other)
    new.add(*servers)
    assert new.registered.certificates[CLIENT] == other.certificate_pem()
    new.rekey()
    new.lock()
    new.boot()
    faulty.check_that_no_key_is_lost(new)


def test_a_client_certificate_and_a_key_that_do_not_belong_together_are_refused(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    before = Before(house)
    authority = pki.authority_of(servers[0])
    house.install_client(pki.client(authority, common_name(servers[0])))
    house.must(f"keymgr delete cert {CLIENT}")
    result = house.run(ADD)
    assert result.status == FAILED
    before.check()


def test_uninstalling_certificates_takes_nothing_from_the_registration(house: House) -> None:
    before = Before(house)
    for name in house.filer.installed.names():
        house.must(f"keymgr delete cert {name}")
    before.check()
    house.boot()
    assert not any(disk.locked for disk in house.disks)
    house.rekey()


# CA files and server certificates


def test_a_swapped_ca_file_is_not_trusted_and_add_says_so(
    new: House, servers: list[FaultyKeyServer]
) -> None:
    install_ca(new, "127.0.0.3", pki.authority())
    result = new.must(ADD)
    assert result.warnings == [
        "WARNING: Key server 127.0.0.3 is not responding: certificate not trusted."
    ]
    assert new.run("key_manager rekey").status == FAILED
    assert faulty.stored_key_ids(servers[0]) == []
    install_ca(new, "127.0.0.3", Identity.parse(pki.authority_of(servers[1]).private_pem()))
    assert new.must("key_manager add -key_server 127.0.0.3").warnings == []
    new.rekey()


@paired(
    ("line, answers", [(ADD, ()), (SETUP, ("", "", "q", "", ""))]), ("answer", ["no", "", "yes"])
)
def test_a_swapped_ca_file_puts_the_key_of_locked_disks_out_of_reach_only_if_confirmed(
    house: House, line: str, answers: tuple[str, ...], answer: str
) -> None:
    before = Before(house)
    other = pki.authority()
    for address in ("127.0.0.2", "127.0.0.3"):
        install_ca(house, address, other)
    result = house.run(line, *answers, answer, "no")
    assert any("Remove anyway?" in question for question in result.questions)
    (lost,) = [text for text in result.warnings if "would be on no registered" in text]
    assert f"{house.key_ids[0]} of 4 locked disks" in lost
    if answer == "yes":
        assert result.status == OK
        assert house.registered.certificates["127.0.0.2_CA.pem"] == other.certificate_pem()
        return
    assert result.failures == ["key_manager: the key servers stay as they were"]
    before.check()
    house.boot()
    assert not any(disk.locked for disk in house.disks)


def test_add_asks_nothing_if_it_replaces_nothing(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    for server in servers[:2]:
        server.stop()
    for line in (ADD, "key_manager add -key_server 127.0.0.4"):
        added = house.must(line)
        assert added.questions == []
        assert any("would be on no registered key server" in text for text in added.warnings)


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("key_manager add -key_server 127.0.0.4", ()),
        (SETUP, ("", "", "127.0.0.4", "q", "", "", "no")),
    ],
    ids=["add", "setup"],
)
def test_a_new_key_server_with_a_wrong_secret_is_named(
    house: House, servers: list[FaultyKeyServer], line: str, answers: tuple[str, ...]
) -> None:
    key_id = house.key_ids[0]
    put(servers[2], KeyPair(key_id, "x", AuthenticationKey(b"Another-secret-under-this-name-1")))
    assert house.must(line, *answers).warnings == [
        f"WARNING: key server 127.0.0.4 holds another key for key ID {key_id} than the one that "
        "opens its disks."
    ]


@pytest.mark.parametrize(
    ("address", "valid", "reason"),
    [
        ("127.0.0.99", pki.VALID, "its certificate is for 127.0.0.99"),
        ("127.0.0.2", pki.EXPIRED, "certificate expired"),
    ],
)
def test_a_server_with_a_wrong_certificate_gets_no_request(
    house: House, servers: list[FaultyKeyServer], address: str, valid: pki.Period, reason: str
) -> None:
    authority = pki.authority_of(servers[0])
    pki.serve_as(servers[0], pki.server(authority, address, valid=valid))
    servers[0].heard.clear()
    status = house.run("key_manager status")
    assert status.failures == [f"Key server 127.0.0.2 is not responding: {reason}."]
    assert house.run("key_manager rekey").status == FAILED
    told = house.boot()
    assert told.warnings == [f"key server 127.0.0.2 is not responding: {reason}"]
    assert servers[0].heard == []
    assert not any(disk.locked for disk in house.disks)


# All or nothing


def test_an_interrupt_while_servers_are_tried_registers_nothing(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    before = Before(house)

    def interrupt(_server: FaultyKeyServer, proceed: faulty.Proceed) -> object:
        house.filer.interrupt.request()
        return proceed()

    servers[2].on("QUERY", interrupt)
    result = house.run("key_manager add -key_server 127.0.0.4")
    assert (result.status, result.failures) == (FAILED, ["key_manager: interrupted"])
    before.check()


@pytest.mark.parametrize("answered", range(5))
def test_a_setup_that_ends_before_registering_changes_no_server(
    house: House, answered: int
) -> None:
    before = Before(house)
    answers = ("127.0.0.4", "q", "5696", "no", "tag")[:answered]
    result = house.run(SETUP, *answers)
    assert result.failures == ["key_manager: end of input"]
    before.check()


CHANGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "add": ("key_manager add -key_server 127.0.0.4", ()),
    "add, refreshing": (ADD, ()),
    "remove": ("key_manager remove -key_server 127.0.0.3", ()),
    "remove all": ("key_manager remove -key_server 127.0.0.2 -key_server 127.0.0.3", ("yes",)),
    "setup": (SETUP, ("127.0.0.4", "127.0.0.2", "q", "", "no", "another", "no")),
}


@paired(("only", [False, True]), ("name", CHANGES))
def test_a_change_that_cannot_be_written_leaves_the_old_registration_everywhere(
    house: House, storage: FailingStorage, name: str, only: bool
) -> None:
    line, answers = CHANGES[name]
    old = house.filer.registration
    refusals = 0
    for first in range(1, 100):
        storage.arm(first, only=only)
        result = house.run(line, *answers)
        if not storage.disarm():
            break
        if result.status == FAILED:
            refusals += 1
            assert result.failures == ["key_manager: cannot write FILE: No space left on device"]
            assert house.filer.registration == old == house.registered
            assert not any("complete" in line for line in result.shown)
        else:
            # Only the cleanup after the change was refused.
            assert house.filer.registration == house.registered != old or name == "add, refreshing"
            break
    assert refusals >= 4
    assert result.status == OK
    assert house.filer.registration == house.registered


@pytest.mark.parametrize("name", CHANGES)
def test_memory_and_boot_device_agree_when_a_change_was_made_but_not_synced(
    house: House, storage: FailingStorage, name: str
) -> None:
    line, answers = CHANGES[name]
    for first in range(1, 100):
        storage.arm(first, after=True, only=True)
        result = house.run(line, *answers)
        refused = storage.disarm()
        assert house.filer.registration == house.registered, (first, result.text)
        if not refused or result.status == OK:
            break
    assert result.status == OK


def test_a_first_setup_that_cannot_be_written_registers_no_server(
    new: House, storage: FailingStorage
) -> None:
    for first in range(1, 100):
        storage.arm(first)
        result = new.run(SETUP, *TWO)
        if not storage.disarm():
            break
        assert new.filer.registration == new.registered
        if result.status == FAILED:
            assert new.registered.servers == ()
        else:
            break
    assert result.status == OK
    assert new.registered.servers == ("127.0.0.2", "127.0.0.3")


# Keys out of reach


def test_removing_the_last_way_to_the_key_of_locked_disks_is_asked_about(house: House) -> None:
    before = Before(house)
    line = "key_manager remove -key_server 127.0.0.2 -key_server 127.0.0.3"
    for answers in ((), ("",), ("no",)):
        result = house.run(line, *answers)
        assert result.status == FAILED
        assert house.key_ids[0] in result.warnings[0]
        assert "4 locked disks" in result.warnings[0]
        assert "Remove anyway?" in result.questions[0]
        before.check()
    house.must(line, "yes")
    assert house.registered.servers == ()
    assert house.registered.certificates == {}


def test_the_wrong_server_is_removed_without_a_question_once_disks_have_opened(
    house: House, servers: list[FaultyKeyServer]
) -> None:
    faulty.replace_secret(servers[0], house.key_ids[0], b"Another-secret-under-this-name-1")
    for locked in (1, 0):  # one disk tries the secret of the server registered first, once
        house.boot()
        assert sum(disk.locked for disk in house.filer.shelf) == locked
    assert house.must("key_manager remove -key_server 127.0.0.2").questions == []
    assert house.must("key_manager restore -all").warnings == []
    house.boot()
    assert not any(disk.locked for disk in house.filer.shelf)


@pytest.mark.parametrize("content", [b"foo\n", b"", b"-----BEGIN CERTIFICATE-----\n"])
def test_add_refuses_a_ca_file_that_is_no_certificate(content: bytes, house: House) -> None:
    before = Before(house)
    (house.filer.root.installed_certificates / "127.0.0.3_CA.pem").write_bytes(content)
    result = house.run("key_manager add -key_server 127.0.0.3")
    assert (result.status, result.shown) == (FAILED, [])
    assert result.failures[0].startswith("key_manager: 127.0.0.3_CA.pem: ")
    before.check()


@pytest.mark.parametrize(
    "answers",
    [
        ("127.0.0.4", "q", "", ""),  # a server without the key
        ("", "", "q", "1", ""),  # a closed port
    ],
)
def test_setup_asks_before_it_puts_the_key_of_locked_disks_out_of_reach(
    house: House, answers: tuple[str, ...]
) -> None:
    before = Before(house)
    result = house.run(SETUP, *answers, "no")
    assert result.status == FAILED
    assert "Remove anyway?" in result.questions[-1]
    before.check()
    house.boot()
    assert not any(disk.locked for disk in house.disks)


# Locking and rekeying with what is registered


def test_a_lock_with_a_wrong_server_uses_the_key_that_opens_the_disk(
    new: House, servers: list[FaultyKeyServer]
) -> None:
    new.add(*servers[:2])
    faulty.replace_secret(servers[0], new.rekey(), b"Another-secret-under-this-name-1")
    new.boot()
    first = new.run("disk encrypt lock *")
    assert "3 successes, 1 failures" in first.text  # the disk that tried the wrong secret
    new.lock()
    for locked in (1, 0):
        new.boot()
        assert sum(disk.locked for disk in new.disks) == locked


def test_rekeying_to_a_key_id_needs_it_on_a_key_server_with_the_same_secret(
    new: House, servers: list[FaultyKeyServer]
) -> None:
    new.add(*servers[:2])
    old, latest = new.rekey(), new.rekey()
    for server in servers[:2]:
        faulty.replace_secret(server, old, b"Another-secret-under-this-name-1")
    result = new.run(f"disk encrypt rekey {old} *")
    assert result.status == FAILED
    assert new.key_ids == [latest] * 4
    assert new.failures == [0] * 4
    for server in servers[:2]:
        server.stop()
    assert new.run(f"disk encrypt rekey {old} *").status == FAILED
    assert new.key_ids == [latest] * 4
    new.must(f"disk encrypt rekey {MSID_KEY_ID} *")
    assert new.key_ids == [MSID_KEY_ID] * 4


def test_a_wrong_key_in_the_keytable_is_an_authentication_failure_and_changes_nothing(
    house: House,
) -> None:
    key_id = house.key_ids[0]
    wrong = AuthenticationKey(b"not the key of these disks")
    house.filer.keytable.add([Entry(key_id, "tag", (wrong,))])
    result = house.run("key_manager rekey")
    assert result.status == FAILED
    assert "including 0 unknown key and 4 authentication failures" in result.shown[-1]
    assert house.key_ids == [key_id] * 4
    house.boot()
    assert not any(disk.locked for disk in house.disks)


def test_a_root_that_was_copied_elsewhere_still_finds_its_certificates(
    house: House, tmp_path: Path
) -> None:
    house.close()
    shutil.copytree(house.root, tmp_path / "copy", symlinks=True)
    with House(tmp_path / "copy") as copy:
        copy.boot()
        assert not any(disk.locked for disk in copy.disks)
