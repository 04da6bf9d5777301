"""The environment of LOADER, and what its variables do to a boot."""

import socket
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filer.boot.machine import BootAborted
from filer.boot_device.loader import (
    AUTOBOOT,
    VARIABLES,
    BootArguments,
    LoaderEnvironment,
    LoaderError,
)
from filer.host.durable import Storage
from filer.host.toml_file import ConfigError
from filer.kmip.connection import reach
from filer.kmip.failure import KeyServerFailure
from filer.kmip.interface import Interface
from tests.kit import manual
from tests.kit.house import House, Told
from tests.kit.manual import Build
from tests.kit.power import Ticking

build, house = manual.build, manual.house

HALTED = "ERROR: kmip_init: halting this system with encrypted mroot..."
NO_KEYS = "authentication keys might not be available"


def environment(path: Path, *, default: bool = False) -> LoaderEnvironment:
    return LoaderEnvironment(path, Storage(), default)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "loader.toml"


# What is kept.


def test_an_unsaved_value_is_not_on_the_boot_device(path: Path) -> None:
    first = environment(path)
    first.set("kmip.init.maxwait", "off")
    assert first.variables() == {"kmip.init.maxwait": "off"}
    assert not path.exists()
    assert environment(path).variables() == {}


def test_savenv_keeps_all_variables_and_removals(path: Path) -> None:
    first = environment(path)
    for name, value in {AUTOBOOT: "true", "kmip.init.ipaddr": "10.0.0.1", "other": "a b"}.items():
        first.set(name, value)
    assert first.save() is None
    second = environment(path)
    assert second.variables() == {AUTOBOOT: "true", "kmip.init.ipaddr": "10.0.0.1", "other": "a b"}
    second.unset("other")
    assert environment(path).variables()["other"] == "a b"
    second.save()
    assert environment(path).variables() == {AUTOBOOT: "true", "kmip.init.ipaddr": "10.0.0.1"}
    assert path.stat().st_mode & 0o777 == 0o600


def test_autoboot_is_as_in_filer_toml_until_it_is_set(path: Path) -> None:
    for default in (True, False):
        assert environment(path, default=default).autoboot is default
    for value in ("true", "false"):
        changed = environment(path, default=value == "false")
        changed.set(AUTOBOOT, value)
        changed.save()
        assert environment(path, default=value == "false").autoboot is (value == "true")
    last = environment(path, default=True)
    last.unset(AUTOBOOT)
    assert last.autoboot


@pytest.mark.parametrize("value", ["true", "false"])
def test_the_file_of_version_0_1_is_read(value: str, path: Path) -> None:
    path.write_text(f"autoboot = {value}\n")
    assert environment(path).variables() == {AUTOBOOT: value}


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("autoboot = 1\n", "1: autoboot must be true or false"),
        ('autoboot = "true"\n', "1: autoboot must be true or false"),
        ('\nAUTOBOOT = "on"\n', "2: AUTOBOOT must be true or false"),
        ("other = 1\n", "1: other must be 1 to 128 printable ASCII characters"),
        ('"" = "x"\n', '1: "" is not the name of a variable'),
    ],
)
def test_a_damaged_environment_is_named_with_its_line(content: str, error: str, path: Path) -> None:
    path.write_text(content)
    with pytest.raises(ConfigError) as problem:
        environment(path).variables()
    assert str(problem.value) == f"var/loader.toml:{error}"
    assert path.read_text() == content


def test_a_damaged_environment_can_be_replaced(path: Path) -> None:
    path.write_text("damaged")
    repaired = environment(path)
    repaired.set("kmip.init.maxwait", "on")
    damage = repaired.save()
    assert damage is not None
    assert str(damage).startswith("var/loader.toml:1: ")
    assert environment(path).variables() == {"kmip.init.maxwait": "on"}


WRONG = {
    AUTOBOOT: ("yes", "TRUE", "on"),
    "kmip.init.maxwait": ("true", "10800", "On"),
    "kmip.init.maxwait.ping": ("false",),
    "kmip.init.ipaddr": ("10.0.0", "::1", "host", "10.0.0.1/8"),
    "kmip.init.netmask": ("24", "255.0.255.0", "0.0.0.255", "x"),
    "kmip.init.gateway": ("gateway", "fe80::1"),
    "kmip.init.interface": ("0a", "e0 M", "e0/1"),
    "bootarg.storageencryption.support": ("on", "1"),
    "bootarg.keymanager.support": ("off", "0"),
}


def test_every_variable_that_acts_refuses_what_it_cannot_be(path: Path) -> None:
    assert WRONG.keys() == VARIABLES.keys()
    for name, values in WRONG.items():
        for value in values:
            with pytest.raises(LoaderError, match=rf"^{name} must be "):
                environment(path).set(name, value)


@given(st.text(), st.text())
def test_any_name_and_value_is_kept_or_refused(name: str, value: str) -> None:
    here = environment(Path("/nowhere/loader.toml"))
    refusal = ""
    try:
        here.set(name, value)
    except LoaderError as error:
        refusal = str(error)
    assert refusal.isprintable()
    assert here.variables() == ({} if refusal else {name: value})


def test_there_is_a_most_of_variables(path: Path) -> None:
    full = environment(path)
    for number in range(64):
        full.set(f"x{number}", "y" * 128)
    full.set("x1", "again")
    with pytest.raises(LoaderError, match=r"^a maximum of 64 variables can be set$"):
        full.set("x64", "y")
    full.save()
    assert len(environment(path).variables()) == 64


# What the variables stand for.


def test_without_variables_filer_toml_decides() -> None:
    assert BootArguments.of({}) == BootArguments()


@pytest.mark.parametrize(
    ("variables", "warning"),
    [
        (
            {"kmip.init.netmask": "255.0.0.0"},
            "kmip.init.ipaddr is not set, so the other addresses are not used",
        ),
        (
            {
                "kmip.init.ipaddr": "10.0.0.1",
                "kmip.init.netmask": "255.0.0.0",
                "kmip.init.gateway": "11.0.0.1",
            },
            "kmip.init.gateway is not in the network of kmip.init.ipaddr; not used",
        ),
    ],
)
def test_addresses_that_do_not_fit_together_cause_a_warning(
    variables: Mapping[str, str], warning: str
) -> None:
    assert BootArguments.of(variables).warning == warning


@pytest.mark.parametrize(
    ("interface", "server", "reaches"),
    [
        (Interface("e0M", "10.0.0.1"), "192.0.2.1", True),
        (Interface("e0M", "10.0.0.1", "255.255.255.0"), "10.0.0.200", True),
        (Interface("e0M", "10.0.0.1", "255.255.255.0"), "10.0.1.200", False),
        (Interface("e0M", "10.0.0.1", "255.255.255.0", "10.0.0.254"), "10.0.1.200", True),
        (Interface("e0M", "10.0.0.1", "255.255.255.0", "10.0.1.254"), "10.0.1.200", False),
    ],
)
def test_an_interface_reaches_its_network_and_others_by_its_gateway(
    interface: Interface, server: str, reaches: bool
) -> None:
    assert interface.reaches(server) is reaches


def test_a_connection_comes_from_the_interface() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        for interface, peer in ((Interface("e0M", "127.0.0.9"), "127.0.0.9"), (None, "127.0.0.1")):
            reach("127.0.0.1", port, 20, interface)
            connection, (address, _) = listening.accept()
            connection.close()
            assert address == peer
        with pytest.raises(KeyServerFailure, match=r"^unreachable from 192\.0\.2\.1$"):
            reach("127.0.0.1", port, 20, Interface("e0M", "192.0.2.1"))


def test_an_interface_has_no_part_in_ipv6() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listening:
        reach("::1", listening.getsockname()[1], 20, Interface("e0M", "192.0.2.1", "255.0.0.0"))


# Boots.


def boot_with(house: House, **variables: str) -> Told:
    """Boot with unsaved variables, whose names have "_" for "."; return what was told."""
    changes = {name.replace("_", "."): value for name, value in variables.items()}
    house.power_off()
    house.filer = house.machine.power_on(changes)
    return house.boot_now(Told())


def test_kmip_init_comes_from_the_address_of_the_environment(house: House) -> None:
    house.encrypt()
    told = boot_with(house, kmip_init_ipaddr="127.0.0.9", kmip_init_interface="e0a")
    assert told.steps[:2] == ["configuring ports", "e0a has the address 127.0.0.9"]
    assert told.warnings == []
    # Without a gateway no key server of another network is reached.
    own = house.servers[0].address
    told = boot_with(house, kmip_init_ipaddr=own, kmip_init_netmask="255.255.255.255")
    assert told.warnings == [
        f"key server {house.servers[1].address} is not responding: unreachable from {own}"
    ]


def test_unsaved_variables_are_gone_after_the_boot(house: House) -> None:
    house.encrypt()
    boot_with(house, bootarg_keymanager_support="true", kmip_init_ipaddr="127.0.0.9")
    assert house.filer.loader.variables() != {}
    assert house.boot().warnings == []
    assert house.filer.loader.variables() == {}
    assert house.filer.boot_arguments == BootArguments()


def test_storage_encryption_is_turned_off_and_on(house: House) -> None:
    refusal = "key_manager: Storage Encryption is not enabled on this system\n"
    boot_with(house, bootarg_storageencryption_support="false")
    assert house.bad("key_manager show") == refusal
    house.set(storage_encryption=False)
    house.boot()
    assert house.bad("key_manager show") == refusal
    boot_with(house, bootarg_storageencryption_support="true")
    assert house.good("key_manager show") == manual.NO_KEY_SERVERS


def test_without_the_key_manager_no_key_is_loaded(house: House) -> None:
    house.add()
    house.rekey()
    told = boot_with(house, bootarg_keymanager_support="false")
    assert (told.steps[0], house.in_keytable()) == ("4 disks, aggr0 online", [])
    assert house.bad("key_manager status") == (
        "key_manager: bootarg.keymanager.support is false; set it to true at LOADER\n"
    )
    assert house.good("disk encrypt show").count("\n") == 5


def test_a_damaged_environment_costs_a_warning(house: House) -> None:
    (house.root / "var" / "loader.toml").write_text("AUTOBOOT = 1\n")
    (warning,) = house.boot().warnings
    assert warning == (
        "var/loader.toml:1: AUTOBOOT must be 1 to 128 printable ASCII characters; the saved "
        "variables are not used"
    )


def waiting(house: House, clock: Ticking, **variables: str) -> Told:
    """Boot with kmip.init.maxwait on, on a fast clock."""
    changes = {name.replace("_", "."): value for name, value in variables.items()}
    house.power_off()
    house.filer = house.machine.power_on({"kmip.init.maxwait": "on", **changes})
    house.filer.interrupt, house.filer.monotonic = clock, lambda: clock.now
    return house.boot_now(Told())


@pytest.mark.parametrize(("ping", "seconds"), [("on", 3 * 3600), ("off", 15 * 60)])
def test_a_boot_that_waits_in_vain_halts_and_costs_the_disks_nothing(
    ping: str, seconds: int, build: Build
) -> None:
    house = build(1)
    house.encrypt()
    house.stop_servers()
    clock = Ticking()
    with pytest.raises(BootAborted) as halt:
        waiting(house, clock, kmip_init_maxwait_ping=ping)
    assert str(halt.value) == HALTED
    assert seconds <= clock.now < seconds + 120
    assert (house.failures, house.filer.panics.in_a_row) == ([0] * 4, 0)
    house.start_servers()
    assert house.boot().warnings == []


def test_a_boot_that_waits_goes_on_with_the_first_key_server(house: House) -> None:
    house.encrypt()
    house.servers[1].stop()
    clock = Ticking()
    told = waiting(house, clock)
    assert clock.now == 0
    assert told.warnings == [
        f"key server {house.servers[1].address} is not responding: connection refused"
    ]


def test_a_boot_that_waits_for_nothing_it_needs_comes_up(build: Build) -> None:
    house = build(1)
    house.add()
    house.stop_servers()
    told = waiting(house, Ticking())
    assert NO_KEYS not in told.warnings
    assert told.steps[-1] == "4 disks, aggr0 online"


def test_ctrl_c_ends_the_wait_without_a_halt(build: Build) -> None:
    house = build(1)
    house.add()
    house.stop_servers()
    clock = Ticking()

    class Pressing(Told):
        def attempt(self, event: str, text: str) -> None:
            clock.request()

    told = Pressing()
    house.power_off()
    house.filer = house.machine.power_on({"kmip.init.maxwait": "on"})
    house.filer.interrupt, house.filer.monotonic = clock, lambda: clock.now
    house.boot_now(told)
    assert clock.now == 60
    assert told.steps[-1] == "4 disks, aggr0 online"


def test_maxwait_off_does_not_wait_whatever_filer_toml_says(build: Build) -> None:
    house = build(1, init_maxwait=3600.0)
    house.add()
    house.stop_servers()
    told = boot_with(house, kmip_init_maxwait="off")
    assert told.attempts == []
