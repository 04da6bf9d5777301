"""LOADER and maintenance mode: panic, AUTOBOOT, kmip_setup, halt, at a real terminal."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from filer.boot_device.generations import BootDevice
from filer.commands import Cancelled, EndOfAnswers
from filer.disks.header import DATA_OFFSET, Head
from filer.host.durable import Storage
from filer.keyserver.server import KeyServer
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name
from filer.shell.plugins import commands_at_loader
from tests.conftest import StartKeyServers
from tests.kit import pki
from tests.kit.console import DISKS, SMALL_SHELF, Account, Terminal, beside, editing, prepare
from tests.kit.house import Answer, House, Outcome
from tests.kit.manual import completed

PANIC = "PANIC: raid: root aggregate aggr0 cannot be brought online: {} of {} disks locked\n"
AUTOBOOT = """\
Variable Name        Value
-------------------- --------------------------------------------------
AUTOBOOT             {}
"""


@pytest.fixture
def sealed(server: KeyServer, tmp_path: Path) -> Account:
    """A filer whose disks are locked, and its key server."""
    account = beside([server], tmp_path / "home")
    add = f"key_manager add -key_server {server.address}"
    prepare(account, [server], (add,), ("key_manager rekey",), ("disk encrypt lock *",))
    return account


@contextmanager
def panicked(account: Account, locked: int = 3) -> Iterator[Terminal]:
    """Start the filer at a terminal, without keys: it stops at LOADER."""
    with account.terminal() as terminal:
        said = terminal.wait_for_prompt()
        assert said.endswith(PANIC.format(locked, locked))
        assert terminal.prompt == "LOADER>"
        yield terminal


def failures(account: Account) -> list[int]:
    """Return the counts of the disks, from their files."""
    files = sorted((account.root / "shelf").iterdir())
    return [Head.parse(path.read_bytes()[:DATA_OFFSET]).failures for path in files]


def lose_the_boot_device(account: Account) -> None:
    shutil.rmtree(account.root / "var")


# Panic.


def test_a_panic_at_a_terminal_ends_at_loader_and_bye_tells_it(
    sealed: Account, server: KeyServer
) -> None:
    server.stop()
    with panicked(sealed) as terminal:
        assert "A T T E N T I O N" in terminal.seen
        assert failures(sealed) == [1] * DISKS
        terminal.type("bye\r")
        assert terminal.end() == 3


def test_away_from_a_terminal_a_panic_ends_the_program(sealed: Account, server: KeyServer) -> None:
    server.stop()
    for outcome in (sealed.commands("hostname"), sealed.script("hostname", "bye")):
        assert (outcome.status, outcome.out) == (3, "")
        assert outcome.err.endswith(PANIC.format(3, 3))


def test_boot_ontap_boots_once_the_keys_are_there(sealed: Account, server: KeyServer) -> None:
    server.stop()
    with panicked(sealed) as terminal:
        assert terminal.enter("boot_ontap").endswith(PANIC.format(3, 3))
        assert (terminal.prompt, failures(sealed)) == ("LOADER>", [2] * DISKS)
        server.start()
        said = terminal.enter("boot_ontap")
        assert "kmip_init: 1 key servers, 1 key pairs loaded" in said
        assert "raid: 4 disks, aggr0 online\n" in said
        assert (terminal.prompt, failures(sealed)) == ("filer1>", [0] * DISKS)
        assert terminal.enter("hostname") == "filer1\n"
        assert terminal.leave() == 0


# The commands of LOADER.


def test_help_lists_the_commands_of_loader(sealed: Account) -> None:
    lose_the_boot_device(sealed)
    with panicked(sealed, DISKS) as terminal:
        lines = terminal.enter("help").splitlines()
        assert [line.split()[0] for line in lines] == list(commands_at_loader())
        assert all(len(line.split()) > 1 for line in lines)
        for line in ("hostname", "halt", "disk encrypt show", "key_manager show", "maint"):
            name = line.split()[0]
            assert terminal.enter(line).startswith(f"{name} not found.")
        assert terminal.enter("boot_ontap main") == (
            'boot_ontap: word 2: unexpected "main"; did you mean "maint"?\n'
            "usage: boot_ontap [ maint | menu ]\n"
        )
        assert terminal.enter("setenv AUTOBOOT maybe") == (
            "setenv: AUTOBOOT must be true or false\n"
        )
        assert terminal.enter("setenv AUTOBOT true") == (
            "WARNING: setenv: AUTOBOT has no effect on this filer; did you mean AUTOBOOT?\n"
        )
        assert terminal.enter("unsetenv kmip.init.ipaddr") == (
            "unsetenv: kmip.init.ipaddr is not set\n"
        )
        assert terminal.enter("printenv nothing") == "printenv: nothing is not set\n"


def test_every_command_of_loader_says_what_it_does() -> None:
    assert set(commands_at_loader()) == {
        "boot_ontap",
        "kmip_setup",
        "printenv",
        "setenv",
        "unsetenv",
        "savenv",
        "date",
        "help",
        "?",
        "bye",
    }
    assert [command.name for command in commands_at_loader().values()] == list(commands_at_loader())


@pytest.mark.parametrize("value", ["true", "false"])
def test_autoboot_is_kept_on_the_boot_device(value: str, tmp_path: Path) -> None:
    opposite = {"true": "false", "false": "true"}[value]
    account = Account(tmp_path / "home", f"{SMALL_SHELF}[boot]\nautoboot = {opposite}\n")
    with account.terminal() as terminal:
        terminal.booted()
        terminal.enter("halt")
        assert terminal.enter("printenv") == AUTOBOOT.format(opposite)
        assert terminal.enter(f"setenv AUTOBOOT {value}; savenv") == ""
        assert terminal.enter("printenv") == AUTOBOOT.format(value)
        terminal.enter("boot_ontap")
        terminal.enter("halt")
        assert terminal.enter("printenv") == AUTOBOOT.format(value)
        assert terminal.leave() == 0
    assert (account.root / "var" / "loader.toml").read_text() == f'AUTOBOOT = "{value}"\n'
    with account.terminal() as terminal:
        terminal.booted()
        terminal.enter("halt")
        assert terminal.enter("printenv AUTOBOOT") == AUTOBOOT.format(value)


def test_what_is_not_saved_is_for_one_boot(account: Account) -> None:
    show = "disk encrypt show 0c.00.0"
    with account.terminal() as terminal:
        terminal.booted()
        terminal.enter("halt")
        assert terminal.enter("setenv bootarg.storageencryption.support false") == ""
        assert "bootarg.storageencryption.support false\n" in terminal.enter("printenv")
        terminal.enter("boot_ontap")
        assert terminal.enter(show) == "disk: Storage Encryption is not enabled on this system\n"
        terminal.enter("halt")
        assert terminal.enter("printenv") == AUTOBOOT.format("false")
        terminal.enter("boot_ontap")
        assert "0x0" in terminal.enter(show)
        terminal.enter("halt")
        terminal.enter("setenv bootarg.storageencryption.support false; savenv; boot_ontap")
        terminal.enter("reboot")
        assert terminal.enter(show) == "disk: Storage Encryption is not enabled on this system\n"
        terminal.enter("halt")
        terminal.enter("unsetenv bootarg.storageencryption.support; savenv; boot_ontap")
        assert "0x0" in terminal.enter(show)


def test_a_boot_waits_for_a_key_server_if_maxwait_is_on(sealed: Account, server: KeyServer) -> None:
    server.stop()
    with panicked(sealed) as terminal:
        lines = "setenv AUTOBOOT true; setenv kmip.init.maxwait on; boot_ontap\r"
        terminal.type(lines)
        terminal.shows("no answer from")
        server.start()
        assert "aggr0 online" in terminal.wait_for_prompt()
        assert (terminal.prompt, failures(sealed)) == ("filer1>", [0] * DISKS)


def test_a_damaged_environment_is_reported_and_set_again(account: Account) -> None:
    with account.terminal() as terminal:
        terminal.booted()
        terminal.enter("halt")
        (account.root / "var" / "loader.toml").write_text("autoboot = perhaps\n")
        said = terminal.enter("printenv")
        assert "printenv: var/loader.toml:1: " in said
        assert "only the variables set since then are saved" in terminal.enter(
            "setenv AUTOBOOT true; savenv"
        )
        assert terminal.enter("printenv") == AUTOBOOT.format("true")


def test_halt_at_a_terminal_goes_to_loader_and_bye_leaves(account: Account) -> None:
    with account.terminal() as terminal:
        terminal.booted()
        terminal.enter("priv set advanced")
        assert terminal.prompt == "filer1*>"
        assert terminal.enter("halt") == "System halting...\n"
        assert terminal.prompt == "LOADER>"
        assert "aggr0 online" in terminal.enter("boot_ontap")
        assert terminal.prompt == "filer1>"
        assert "halt" in terminal.enter("history")
        terminal.enter("halt")
        terminal.type("bye\r")
        assert terminal.end() == 0


def test_halt_away_from_a_terminal_ends_the_program(account: Account) -> None:
    outcome = account.script("halt", "boot_ontap", "hostname")
    assert outcome == ("System halting...\n", "", 0)


def test_tab_completes_at_loader(account: Account) -> None:
    with editing(account) as terminal:
        terminal.booted()
        terminal.enter("halt")
        terminal.type("prin\t")
        terminal.shows("tenv")
        assert terminal.enter() == AUTOBOOT.format("false")
        terminal.type("setenv bootarg.k\t")
        terminal.shows("bootarg.keymanager.support")
        assert terminal.enter("true") == ""


# AUTOBOOT.


def test_ctrl_c_stops_autoboot_at_loader(sealed: Account, server: KeyServer) -> None:
    server.stop()
    sealed.settings.write_text(f"{sealed.settings.read_text()}[boot]\nautoboot = true\n")
    with sealed.terminal() as terminal:
        for seconds in (1, 2):
            terminal.shows(f"autoboot: the next boot begins in {seconds} s.")
            terminal.shows("Starting AUTOBOOT press Ctrl-C to abort...")
        terminal.type("\x03")
        terminal.wait_for_prompt()
        assert (terminal.prompt, failures(sealed)) == ("LOADER>", [2] * DISKS)
        server.start()
        assert "aggr0 online" in terminal.enter("boot_ontap")


def test_autoboot_of_a_script_goes_on_with_its_first_line(
    sealed: Account, server: KeyServer
) -> None:
    server.stop()
    sealed.settings.write_text(f"{sealed.settings.read_text()}[boot]\nautoboot = true\n")
    with sealed.pipe() as child:
        child.sendline("hostname")
        child.expect_exact("Starting AUTOBOOT press Ctrl-C to abort...")
        server.start()
        child.expect_exact("filer1")
        child.sendeof()
        assert child.proc.wait() == 0


# Maintenance mode.


def test_maintenance_mode_needs_no_keys_and_has_no_wafl(sealed: Account, server: KeyServer) -> None:
    server.stop()
    with panicked(sealed) as terminal:
        assert terminal.enter("boot_ontap maint") == ""
        assert terminal.prompt == "*>"
        assert failures(sealed) == [1] * DISKS
        commands = ["?", "aggr", "disk", "halt", "help", "history", "man", "sysconfig", "vol"]
        assert sorted(terminal.enter("?").split()) == commands
        shown = terminal.enter("disk encrypt show")
        assert [line.split()[-1] for line in shown.splitlines()[1:]] == ["Yes"] * DISKS
        for line in ("rdfile /etc/messages", "key_manager status", "reboot"):
            assert terminal.enter(line).startswith(f"{line.split()[0]} not found.")
        assert terminal.enter("disk encrypt lock *").startswith("disk: word 3: ")
        assert terminal.enter("halt") == "System halting...\n"
        assert (terminal.prompt, failures(sealed)) == ("LOADER>", [1] * DISKS)
        assert terminal.leave() == 3


def change_system_id(account: Account) -> None:
    toml = account.root / "filer.toml"
    toml.write_text(f"[system]\nsystem_id = 77\n{toml.read_text()}")


MISMATCH = (
    f"WARNING: System ID mismatch. {DISKS} disks belong to system 1573922407; "
    "the ID of this system is 77.\n"
)


def test_without_a_terminal_a_changed_system_id_ends_the_boot(sealed: Account) -> None:
    change_system_id(sealed)
    before = [path.read_bytes() for path in (sealed.root / "shelf").iterdir()]
    outcome = sealed.run("-c", "version", input="y\n")
    assert (outcome.status, outcome.out) == (3, "")
    assert outcome.err == (
        f"{MISMATCH}boot: the system ID stays as it is; set system_id = 1573922407 in filer.toml, "
        "or boot at a terminal and answer y\n"
    )
    assert [path.read_bytes() for path in (sealed.root / "shelf").iterdir()] == before


def test_at_a_terminal_a_changed_system_id_can_be_overridden(sealed: Account) -> None:
    change_system_id(sealed)
    with sealed.terminal() as terminal:
        assert terminal.wait_for_prompt().endswith(MISMATCH)
        assert terminal.prompt == "Override system ID? {y|n}"
        assert terminal.enter("") == "Please answer yes or no.\n"
        terminal.enter("n")
        assert terminal.prompt == "LOADER>"
        terminal.enter("boot_ontap")
        assert terminal.prompt == "Override system ID? {y|n}"
        assert "aggr0 online" in terminal.enter("y")
        assert "filer1    (77)" in terminal.enter("disk show")
        assert terminal.leave() == 0
    assert sealed.commands("hostname").status == 0


def test_a_person_is_asked_too_before_there_is_a_session_to_edit_for(sealed: Account) -> None:
    """The terminal has answered the cursor query by then."""
    change_system_id(sealed)
    with editing(sealed) as terminal:
        terminal.shows("Override system ID? {y|n} ")
        terminal.type("y\r")
        terminal.booted()
        assert "filer1    (77)" in terminal.enter("disk show")


def test_a_lost_filer_begins_anew_in_maintenance_mode(sealed: Account, server: KeyServer) -> None:
    server.stop()
    with panicked(sealed) as terminal:
        terminal.enter("boot_ontap maint")
        before = [path.read_bytes() for path in sorted((sealed.root / "shelf").iterdir())]
        terminal.enter("disk encrypt destroy 0c.00.0")
        terminal.type("\x03")
        assert "disk: interrupted\n" in terminal.wait_for_prompt()
        assert terminal.prompt == "*>"
        assert [path.read_bytes() for path in sorted((sealed.root / "shelf").iterdir())] == before
        assert terminal.enter("disk encrypt sanitize -all") == (
            "Warning: The data on 4 disks (0c.00.0, 0c.00.1, 0c.00.2, 0c.00.3) "
            "will be lost for good.\n"
        )
        assert terminal.prompt == "To continue, enter sanitize disk:"
        assert terminal.enter("sanitize disk") == completed("sanitize", 4)
        terminal.enter("halt")
        assert "aggr0 online" in terminal.enter("boot_ontap")
        assert terminal.prompt == "filer1>"
        assert "sanitize disk" not in terminal.enter("history")
        assert terminal.leave() == 0


# kmip_setup.


def registered(*names: str) -> str:
    """Return the messages about registered certificate files."""
    kinds = {CLIENT: "client certificate", CLIENT_PRIVATE: "client private key"}
    return "".join(
        f"Found {kinds.get(name, 'client CA certificate')} file {name}.\n"
        f"Registration successful for {name}.\n"
        for name in names
    )


TAG_ADVICE = "A key tag names the keys of this system; the hostname is the usual choice.\n"


def asked(port: int, tag: str = "filer1") -> str:
    """Return the questions of kmip_setup, with their default answers."""
    return (
        f"Enter the TCP port number for kmip server [{port}]: \n\n{TAG_ADVICE}"
        f"Would you like to use {tag} as the default key tag name? {{yes}} \n"
    )


def test_kmip_setup_finds_the_keys_again_after_the_boot_device_was_lost(
    sealed: Account, server: KeyServer
) -> None:
    lose_the_boot_device(sealed)
    with panicked(sealed, DISKS) as terminal:
        files = (CLIENT, CLIENT_PRIVATE, ca_name(server.address))
        assert terminal.enter(f"kmip_setup '{server.directory}' {server.address}") == ""
        assert terminal.prompt == f"Enter the TCP port number for kmip server [{server.port}]:"
        assert terminal.enter("") == f"\n{TAG_ADVICE}"
        assert terminal.prompt == "Would you like to use filer1 as the default key tag name? {yes}"
        assert terminal.enter("no") == ""
        assert terminal.prompt == "Enter the default key tag name:"
        assert terminal.enter("lab") == f"\n{registered(*files)}Registration complete.\n"
        assert "1 key pairs loaded" in terminal.enter("boot_ontap")
        assert terminal.prompt == "filer1>"
        assert failures(sealed) == [0] * DISKS
        assert terminal.enter("key_manager show") == f"{server.address}\n"
        assert "\nKey tag: lab\n" in terminal.enter("key_manager rekey")
        assert terminal.leave() == 0
    assert sealed.commands("key_manager status").status == 0


def test_kmip_setup_asks_before_it_replaces_files_that_may_lead_to_the_keys(
    sealed: Account, server: KeyServer
) -> None:
    before = BootDevice(sealed.root / "var", Storage()).load()
    server.stop()
    files = server.directory
    shutil.copyfile(files / ca_name(server.address), files / ca_name("127.0.0.9"))
    with panicked(sealed) as terminal:

        def ask() -> None:
            terminal.enter(f"kmip_setup '{files}' 127.0.0.9")
            terminal.enter("")
            assert f"{DISKS} locked disks" in terminal.enter("")
            assert terminal.prompt == "Register anyway? {no}"

        for answer, told in (
            ("\r", "kmip_setup: the registration stays as it was"),
            ("no\r", "kmip_setup: the registration stays as it was"),
            ("\x03", "kmip_setup: interrupted"),
            ("\x04", "kmip_setup: end of input"),
        ):
            ask()
            terminal.type(answer)
            assert told in terminal.wait_for_prompt()
            assert BootDevice(sealed.root / "var", Storage()).load() == before

        ask()
        assert terminal.enter("yes").endswith("Registration complete.\n")
    assert BootDevice(sealed.root / "var", Storage()).load().servers == ("127.0.0.9",)


@pytest.fixture
def loader(tmp_path: Path) -> Iterator[House]:
    """A filer that has power, but has not booted."""
    with House(Account(tmp_path / "home").root) as loader:
        loader.power_cycle()
        yield loader


def at_loader(loader: House, line: str, *answers: Answer) -> Outcome:
    return loader.execute(line, *answers, commands=commands_at_loader())


def test_kmip_setup_registers_several_servers_in_order_and_each_once(
    loader: House, key_servers: StartKeyServers
) -> None:
    one, two = key_servers(2)
    outcome = at_loader(
        loader, f"kmip_setup '{one.directory}' {two.address} {one.address} {two.address}", "", ""
    )
    names = (CLIENT, CLIENT_PRIVATE, ca_name(two.address), ca_name(one.address))
    questions = asked(loader.filer.hardware.port)
    assert outcome == (0, f"{questions}\n{registered(*names)}Registration complete.\n", "")
    registration = loader.registered
    assert registration == loader.filer.registration
    assert registration.servers == (two.address, one.address)
    assert registration.port == loader.filer.hardware.port
    for name in names:
        assert registration.certificates[name] == (one.directory / name).read_bytes()
    certificates = loader.filer.root.var / "kmip" / "certs"
    assert {path.stat().st_mode & 0o777 for path in certificates.iterdir()} == {0o600}


def test_kmip_setup_offers_port_and_tag_of_the_registration_before(
    sealed: Account, server: KeyServer
) -> None:
    setup = ("key_manager setup", server.address, "q", str(server.port), "no", "a_tag", "no", "no")
    prepare(sealed, [server], setup)
    before = BootDevice(sealed.root / "var", Storage()).load()
    assert (before.port, before.default_tag) == (server.port, "a_tag")
    with House(sealed.root) as loader:
        loader.power_cycle()
        outcome = at_loader(loader, f"kmip_setup '{server.directory}' {server.address}", "", "")
    assert outcome.out.startswith(asked(server.port, tag="a_tag"))
    assert BootDevice(sealed.root / "var", Storage()).load() == before


def test_kmip_setup_registers_the_port_and_the_tag_that_are_entered(
    loader: House, server: KeyServer
) -> None:
    line = f"kmip_setup '{server.directory}' {server.address}"
    outcome = at_loader(loader, line, "0", "1234", "no", "two words", "lab")
    assert "A TCP port number is 1 to 65535.\n" in outcome.out
    assert "a key tag has 1 to 64 printable ASCII characters without blanks\n" in outcome.out
    registration = loader.registered
    assert (registration.port, registration.default_tag) == (1234, "lab")


@pytest.mark.parametrize(
    ("end", "said"), [(Cancelled, "interrupted"), (EndOfAnswers, "end of input")]
)
@pytest.mark.parametrize("answers", [(), ("1234",), ("1234", "no")])
def test_kmip_setup_that_is_left_at_a_question_registers_nothing(
    answers: tuple[str, ...], end: Answer, said: str, loader: House, server: KeyServer
) -> None:
    line = f"kmip_setup '{server.directory}' {server.address}"
    outcome = at_loader(loader, line, *answers, end)
    assert (outcome.status, outcome.err) == (1, f"kmip_setup: {said}\n")
    assert not (loader.filer.root.var / "kmip").exists()
    assert loader.registered.servers == ()


@pytest.fixture
def files(server: KeyServer, tmp_path: Path) -> Path:
    """Return a copy of the key server's certificate directory, which the test may change."""
    server.stop()
    return shutil.copytree(server.directory, tmp_path / "files")


@pytest.mark.parametrize("missing", [CLIENT, CLIENT_PRIVATE, ca_name("127.0.0.2")])
def test_kmip_setup_without_one_of_the_files_registers_nothing(
    missing: str, loader: House, files: Path
) -> None:
    (files / missing).unlink()
    outcome = at_loader(loader, f"kmip_setup '{files}' 127.0.0.2")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith("kmip_setup: ")
    assert missing in outcome.err
    assert loader.registered.servers == ()


@pytest.mark.parametrize(
    ("addresses", "complaint"),
    [
        ("keys.example", '"keys.example" is not an IP address; key servers cannot be named by DNS'),
        (
            "127.0.0.2 127.0.0.3 127.0.0.4 127.0.0.5 127.0.0.6",
            "a maximum of four key servers can be registered",
        ),
    ],
)
def test_kmip_setup_refuses_what_key_manager_refuses(
    addresses: str, complaint: str, loader: House, files: Path
) -> None:
    assert at_loader(loader, f"kmip_setup '{files}' {addresses}") == (
        1,
        "",
        f"kmip_setup: {complaint}\n",
    )
    assert loader.registered.servers == ()


def test_kmip_setup_refuses_a_key_of_another_certificate(loader: House, files: Path) -> None:
    (files / CLIENT_PRIVATE).write_bytes(pki.client(pki.authority()).private_pem())
    outcome = at_loader(loader, f"kmip_setup '{files}' 127.0.0.2")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith("kmip_setup: ")
    assert loader.registered.servers == ()


def test_kmip_setup_warns_of_a_certificate_that_has_expired(loader: House, files: Path) -> None:
    (files / ca_name("127.0.0.2")).write_bytes(pki.authority(valid=pki.EXPIRED).certificate_pem())
    outcome = at_loader(loader, f"kmip_setup '{files}' 127.0.0.2", "", "")
    assert outcome.status == 0
    assert outcome.err.startswith("WARNING: 127.0.0.2_CA.pem: ")
    assert loader.registered.servers == ("127.0.0.2",)
