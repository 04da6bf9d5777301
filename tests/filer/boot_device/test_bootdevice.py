"""The boot device: generations of the registration, and interrupted changes."""

import itertools
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from filer.boot_device.generations import BootDevice, format_config, parse_config
from filer.host.durable import Storage, StorageError
from filer.host.toml_file import ConfigError, Document
from filer.kmip.address import AddressError, parse_address
from filer.registration.registration import Registration
from tests.kit.faulty import CrashingStorage, FailingStorage, NotedStorage, PowerLoss, lose_power

CLIENT_FILES = {"client.pem": b"client", "client_private.pem": b"client and key"}
OLD = Registration(
    ("127.0.0.2",), 5696, "filer1", {**CLIENT_FILES, "127.0.0.2_CA.pem": b"authority 2"}
)
NEW = Registration(
    ("::1", "127.0.0.2"),
    6001,
    "other",
    {
        "client.pem": b"new client",
        "client_private.pem": b"new client and key",
        "127.0.0.2_CA.pem": b"new authority 2",
        "::1_CA.pem": b"authority 1",
    },
)


def is_canonical(address: str) -> bool:
    try:
        return parse_address(address) == address
    except AddressError:
        return False


ADDRESSES = st.ip_addresses().map(str).filter(is_canonical)
TAGS = st.text(alphabet=[chr(code) for code in range(0x21, 0x7F)], min_size=1, max_size=64)


@pytest.fixture
def var(tmp_path: Path) -> Path:
    (tmp_path / "var").mkdir(mode=0o700)
    return tmp_path / "var"


class Device(BootDevice):
    def commit(self, registration: Registration) -> None:
        self.stage(registration).commit()


def device(var: Path, storage: Storage | None = None) -> Device:
    return Device(var, storage or Storage())


def damage(var: Path) -> str:
    """Return the error of load(), which never changes the device."""
    before = snapshot(var)
    with pytest.raises(ConfigError) as error:
        device(var).load()
    assert snapshot(var) == before
    assert str(error.value).isprintable()
    return str(error.value)


def snapshot(directory: Path) -> dict[str, bytes | str | None]:
    content: dict[str, bytes | str | None] = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_symlink():
            content[name] = str(path.readlink())
        else:
            content[name] = path.read_bytes() if path.is_file() else None
    return content


def test_without_any_registration_there_is_an_empty_one(var: Path) -> None:
    assert device(var).load() == Registration()
    assert device(var / "not there").load() == Registration()
    assert list(var.iterdir()) == []


def test_what_is_committed_is_loaded(var: Path) -> None:
    for registration in (OLD, NEW, Registration(), OLD):
        device(var).commit(registration)
        assert device(var).load() == registration


def test_client_files_are_registered_before_any_server_is(var: Path) -> None:
    device(var).commit(Registration(certificates=CLIENT_FILES))
    assert device(var).load() == Registration(certificates=CLIENT_FILES)


def test_a_change_makes_a_new_generation_and_removes_the_older_one(var: Path) -> None:
    device(var).commit(OLD)
    device(var).commit(NEW)
    assert sorted(path.name for path in var.iterdir()) == ["kmip", "kmip.2"]
    assert (var / "kmip").readlink() == Path("kmip.2")
    assert (var / "kmip" / "certs" / "::1_CA.pem").read_bytes() == b"authority 1"


def test_a_root_can_be_moved(var: Path, tmp_path: Path) -> None:
    device(var).commit(OLD)
    moved = shutil.move(var, tmp_path / "moved")
    assert device(Path(moved)).load() == OLD


def test_the_path_of_a_certificate_stays_when_the_generation_changes(var: Path) -> None:
    boot_device = device(var)
    path = boot_device.certificate_path("127.0.0.2_CA.pem")
    boot_device.commit(OLD)
    assert path.read_bytes() == b"authority 2"
    boot_device.commit(NEW)
    assert path.read_bytes() == b"new authority 2"
    assert boot_device.certificate_path("0:0::1_CA.pem").read_bytes() == b"authority 1"


def test_only_the_owner_reads_it_with_any_umask(var: Path) -> None:
    for umask in (0, 0o777):
        old = os.umask(umask)
        try:
            device(var).commit(NEW)
        finally:
            os.umask(old)
        for path in (var, *var.rglob("*")):
            if not path.is_symlink():
                expected = 0o700 if path.is_dir() else 0o600
                assert stat.S_IMODE(path.stat().st_mode) == expected, path


def test_the_private_key_is_not_in_the_repr() -> None:
    assert "key" not in repr(OLD)


def test_a_registration_without_a_file_that_it_needs_is_not_committed(var: Path) -> None:
    device(var).commit(OLD)
    with pytest.raises(ConfigError, match=r"^127\.0\.0\.3_CA\.pem is not registered$"):
        device(var).commit(OLD._replace(servers=("127.0.0.2", "127.0.0.3")))
    assert device(var).load() == OLD


# trying a generation before it takes effect


def test_a_staged_registration_can_be_tried_and_is_not_in_force(var: Path) -> None:
    boot_device = device(var)
    boot_device.commit(OLD)
    staged = boot_device.stage(NEW)
    assert staged.certificate_path("client.pem").read_bytes() == b"new client"
    assert boot_device.certificate_path("client.pem").read_bytes() == b"client"
    staged.commit()
    assert boot_device.certificate_path("client.pem").read_bytes() == b"new client"
    assert device(var).load() == NEW
    assert sorted(path.name for path in var.iterdir()) == ["kmip", "kmip.2"]


def test_a_discarded_registration_leaves_nothing(var: Path) -> None:
    device(var).stage(NEW).discard()
    assert list(var.iterdir()) == []
    device(var).commit(OLD)
    before = snapshot(var)
    device(var).stage(NEW).discard()
    assert snapshot(var) == before


def test_a_registration_that_was_discarded_after_all_stays_in_force(var: Path) -> None:
    device(var).commit(OLD)
    staged = device(var).stage(NEW)
    staged.commit()
    staged.discard()
    assert device(var).load() == NEW


def test_power_lost_during_the_trial_leaves_the_old_registration(var: Path) -> None:
    device(var).stage(NEW)
    assert device(var).load() == Registration()
    assert list(var.iterdir()) == []
    device(var).commit(OLD)
    before = snapshot(var)
    device(var).stage(NEW)
    assert device(var).load() == OLD
    assert snapshot(var) == before


class UnsureStorage(Storage):
    """Changes the link, but fails to sync it ``refusals`` times."""

    def __init__(self, refusals: int) -> None:
        self._refusals = refusals

    def _refuse(self) -> None:
        self._refusals -= 1
        if self._refusals >= 0:
            raise StorageError("cannot write kmip: Input/output error")

    def link(self, path: Path, target: str) -> None:
        super().link(path, target)
        self._refuse()

    def remove(self, path: Path) -> None:
        super().remove(path)
        self._refuse()


def test_a_change_that_was_made_but_not_synced_is_undone(var: Path) -> None:
    with pytest.raises(StorageError):
        device(var, UnsureStorage(1)).commit(NEW)
    assert list(var.iterdir()) == []
    device(var).commit(OLD)
    before = snapshot(var)
    with pytest.raises(StorageError):
        device(var, UnsureStorage(1)).commit(NEW)
    assert snapshot(var) == before


def test_while_it_is_unsure_which_generation_is_in_force_both_are_kept(var: Path) -> None:
    with pytest.raises(StorageError):
        device(var, UnsureStorage(2)).commit(NEW)
    assert [path.name for path in var.iterdir()] == ["kmip.1"]
    device(var).commit(OLD)
    with pytest.raises(StorageError):
        device(var, UnsureStorage(2)).commit(NEW)
    assert sorted(path.name for path in var.iterdir()) == ["kmip", "kmip.1", "kmip.2"]
    assert device(var).load() == OLD


# what a killed change leaves in the cache


def kill_after_moving_the_link(var: Path) -> None:
    """Leave the files of a change that was killed before the sync of its new link."""
    device(var).commit(OLD)
    device(var).stage(NEW)
    (var / "kmip").unlink()
    (var / "kmip").symlink_to("kmip.2")


@pytest.mark.parametrize("change", [BootDevice.load, BootDevice.stage])
def test_the_link_is_durable_before_the_other_generation_is_removed(
    var: Path, change: Callable[..., object]
) -> None:
    kill_after_moving_the_link(var)
    storage = NotedStorage()
    change(device(var, storage), *([OLD] if change is BootDevice.stage else []))
    assert storage.calls[:2] == [("settle", var), ("remove_tree", var / "kmip.1")]


def test_while_the_link_cannot_be_made_durable_both_generations_stay(var: Path) -> None:
    kill_after_moving_the_link(var)
    before = snapshot(var)
    assert device(var, NotedStorage(unsettling=True)).load() == NEW
    with pytest.raises(StorageError):
        device(var, NotedStorage(unsettling=True)).commit(OLD)
    assert snapshot(var) == before


# interrupted changes


def crashing(fatal: int, moment: str) -> CrashingStorage:
    storage = CrashingStorage(lose_power)
    storage.arm(fatal, moment)
    return storage


def failing(first: int) -> FailingStorage:
    storage = FailingStorage()
    storage.arm(first)
    return storage


@pytest.mark.parametrize("moment", ["before", "torn 1", "after"])
@pytest.mark.parametrize("first", [True, False])
def test_whenever_power_is_lost_the_old_or_the_new_registration_is_there(
    var: Path, moment: str, first: bool
) -> None:
    seen = set()
    for fatal in itertools.count(1):
        shutil.rmtree(var)
        var.mkdir()
        before = Registration()
        if not first:
            device(var).commit(OLD)
            before = OLD
        storage = crashing(fatal, moment)
        try:
            device(var, storage).commit(NEW)
        except PowerLoss:
            pass
        else:
            break
        loaded = device(var).load()
        assert loaded in (before, NEW)
        seen.add(loaded == NEW)
        # The leftovers of the other change are gone, and the next change works.
        assert len(list(var.iterdir())) in (0, 2)
        device(var).commit(NEW._replace(port=1))
        assert device(var).load() == NEW._replace(port=1)
        assert len(list(var.iterdir())) == 2
    assert fatal > 8
    # The link is the last change of a first registration.
    assert seen == ({False} if first and moment != "after" else {False, True})


@pytest.mark.parametrize("moment", ["before", "torn 1", "after"])
def test_power_may_be_lost_again_and_again(var: Path, moment: str) -> None:
    device(var).commit(OLD)
    for fatal in itertools.count(1):
        try:
            device(var, crashing(fatal, moment)).commit(NEW)
        except PowerLoss:
            continue
        break
    assert device(var).load() == NEW
    assert len(list(var.iterdir())) == 2


def test_power_may_be_lost_while_left_overs_are_removed(var: Path) -> None:
    for moment in ("before", "torn 1", "after"):
        for fatal in itertools.count(1):
            shutil.rmtree(var)
            device(var).commit(OLD)
            shutil.copytree(var / "kmip.1", var / "kmip.2")
            (var / ".new-1").symlink_to("kmip.2")
            try:
                assert device(var, crashing(fatal, moment)).load() == OLD
            except PowerLoss:
                assert device(var).load() == OLD
                assert sorted(path.name for path in var.iterdir()) == ["kmip", "kmip.1"]
            else:
                break


def test_a_refused_change_leaves_the_old_registration_and_nothing_else(var: Path) -> None:
    device(var).commit(OLD)
    before = snapshot(var)
    for fatal in itertools.count(1):
        storage = failing(fatal)
        try:
            device(var, storage).commit(NEW)
        except StorageError:
            assert device(var).load() == OLD
            assert snapshot(var) == before
        else:
            break
    # A failure to remove the older generation does not undo the change.
    assert device(var).load() == NEW


def test_a_boot_device_that_is_read_only_is_read(var: Path) -> None:
    device(var).commit(OLD)
    shutil.copytree(var / "kmip.1", var / "kmip.2")
    assert device(var, failing(1)).load() == OLD


# damage


@pytest.mark.parametrize(
    ("config", "error"),
    [
        (b"", "1: servers is missing"),
        (b"servers = [\n", "1: Invalid value"),
        (b"\xff", "1: not UTF-8"),
        (
            b'port = 1\nservers = ["a"]',
            '2: "a" is not an IP address; key servers cannot be named by DNS',
        ),
        (b"servers = [1]", "1: servers must be a list of IP addresses"),
        (b'servers = "127.0.0.2"', "1: servers must be a list of IP addresses"),
        (b'servers = ["::1",\n"0::1"]', "1: servers lists an address twice"),
        (
            b'servers = ["::1", "::2", "::3", "::4", "::5"]',
            "1: servers has more than 4 addresses",
        ),
        (b"servers = []\nport = 0", "2: port must be a whole number from 1 to 65535"),
        (b"servers = []\nport = true", "2: port must be a whole number from 1 to 65535"),
        (b'servers = []\n\ndefault_tag = "a b"', "3: default_tag must be a key tag"),
        (b"servers = []\ndefault_tag = []", "2: default_tag must be a key tag"),
        (b'servers = []\n"\\u001b" = 1', '2: unknown key "\\x1b"'),
    ],
)
def test_a_damaged_config_is_named_with_its_line(var: Path, config: bytes, error: str) -> None:
    device(var).commit(OLD)
    (var / "kmip" / "config.toml").write_bytes(config)
    assert damage(var) == f"var/kmip/config.toml:{error}"


def test_a_config_that_is_not_there_or_no_file_is_named(var: Path) -> None:
    device(var).commit(OLD)
    config = var / "kmip" / "config.toml"
    config.unlink()
    assert damage(var) == "var/kmip/config.toml: No such file or directory"
    os.mkfifo(config)
    with pytest.raises(ConfigError, match=r"^var/kmip/config\.toml: not a regular file$"):
        device(var).load()
    config.unlink()
    config.symlink_to("nowhere")
    assert damage(var) == "var/kmip/config.toml: a link to a file that is not there"


def test_a_certificate_that_is_not_there_or_no_file_is_named(var: Path) -> None:
    device(var).commit(OLD)
    certificate = var / "kmip" / "certs" / "127.0.0.2_CA.pem"
    certificate.unlink()
    assert damage(var) == "var/kmip/certs/127.0.0.2_CA.pem: missing"
    certificate.mkdir()
    assert damage(var) == "var/kmip/certs/127.0.0.2_CA.pem: is a directory"
    shutil.rmtree(var / "kmip" / "certs")
    assert damage(var) == "var/kmip/certs: No such file or directory"


def test_files_that_others_left_among_the_certificates_are_passed_over(var: Path) -> None:
    device(var).commit(OLD)
    certificates = var / "kmip" / "certs"
    (certificates / ".DS_Store").write_bytes(b"x")
    (certificates / "0:0::1_CA.pem").write_bytes(b"x")
    os.mkfifo(certificates / "fifo")
    assert device(var).load() == OLD


def test_a_link_that_leads_to_no_generation_is_named(var: Path) -> None:
    device(var).commit(OLD)
    link = var / "kmip"
    for target, error in (
        ("kmip.7", "points to kmip.7, which does not exist"),
        ("../x\x1b", "points to ../x\\x1b, not to a generation"),
        (str(var / "kmip.1"), f"points to {var}/kmip.1, not to a generation"),
        ("kmip.01", "points to kmip.01, not to a generation"),
    ):
        link.unlink()
        link.symlink_to(target)
        assert damage(var) == f"var/kmip: {error}"
        with pytest.raises(ConfigError):
            device(var).commit(NEW)
    link.unlink()
    link.mkdir()
    assert damage(var) == "var/kmip: not a link to a generation"


def test_a_boot_device_that_is_no_directory_is_named(var: Path) -> None:
    var.rmdir()
    var.write_bytes(b"")
    assert damage(var) == "var/kmip: Not a directory"


def test_a_lost_link_is_no_reason_to_remove_what_it_led_to(var: Path) -> None:
    device(var).commit(OLD)
    device(var).commit(OLD)
    (var / "kmip").unlink()
    assert damage(var) == "var/kmip: missing, although generations exist"
    with pytest.raises(ConfigError):
        device(var).commit(NEW)
    assert (var / "kmip.2" / "config.toml").exists()


# config.toml


@given(
    st.lists(ADDRESSES, max_size=4, unique=True),
    st.none() | st.integers(1, 65535),
    st.none() | TAGS,
)
def test_a_config_reads_as_it_was_written(
    addresses: list[str], port: int | None, tag: str | None
) -> None:
    registration = Registration(tuple(addresses), port, tag)
    assert (
        parse_config(Document("var/kmip/config.toml", format_config(registration))) == registration
    )


@given(st.binary() | st.text().map(lambda text: text.encode()))
@example(b"servers = " + b"[" * 10_000)
@example(b"servers = []\nport = " + b"9" * 5000)
def test_any_bytes_are_a_registration_or_an_error_with_a_line(data: bytes) -> None:
    try:
        parse_config(Document("var/kmip/config.toml", data))
    except ConfigError as error:
        refusal = str(error)
    else:
        return
    name, line, _ = refusal.split(":", 2)
    assert name == "var/kmip/config.toml"
    assert 1 <= int(line) <= data.count(b"\n") + 1
    assert refusal.isprintable()
