"""Two partners, each a process at a terminal: takeover and giveback, and who serves the disks."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import ignore_patterns

import pytest

from filer.keyserver.server import KeyServer
from pytest_filer.child import PATIENCE
from pytest_filer.key_server_process import key_servers as key_servers_of
from tests.conftest import ADDRESSES
from tests.kit import nodes
from tests.kit.console import Account, Terminal, editing
from tests.kit.nodes import Nodes
from tests.kit.pair_site import until
from tests.kit.remote import serving

WAITING = "Waiting for giveback...(Press Ctrl-C to abort wait)"
TAKEN = "filer1 has taken over filer2.\n"


@pytest.fixture(scope="module")
def shared_servers(
    authority: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[KeyServer]]:
    with key_servers_of(
        authority, tmp_path_factory.mktemp("network") / "servers", ADDRESSES
    ) as start:
        yield start(2)


@pytest.fixture(scope="module")
def sealed(shared_servers: list[KeyServer], tmp_path_factory: pytest.TempPathFactory) -> Nodes:
    """A pair whose disks are encrypted and locked; copy it."""
    return nodes.make(tmp_path_factory.mktemp("sealed"), shared_servers)


@pytest.fixture
def pair(sealed: Nodes, shared_servers: list[KeyServer], tmp_path: Path) -> Nodes:
    for server in shared_servers:
        server.start()
    return sealed.copied(tmp_path / "nodes")


def status_shows(terminal: Terminal, text: str) -> None:
    """Repeat ``cf status`` until it shows ``text``."""
    terminal.enter_until("cf status", text)


def kill(terminal: Terminal, number: int = signal.SIGKILL) -> None:
    """Send a signal; wait until a process that is to stop has stopped, with all its threads."""
    os.kill(terminal.pid, number)
    if number == signal.SIGSTOP:
        states = list(Path(f"/proc/{terminal.pid}/task").glob("*/stat"))
        until(
            lambda: all(state.read_text().rpartition(")")[2].split()[0] == "T" for state in states)
        )


FAST = "options cf.takeover.detection.seconds 1"


def test_an_operator_takes_over_and_gives_back(pair: Nodes) -> None:
    with pair.terminals() as (first, second):
        status_shows(first, "HA enabled, filer2 is up.\nInterconnect is up.\n")
        assert first.prompt == "filer1>"
        taken = first.enter("cf takeover")
        assert taken == f"cf: takeover initiated by operator\n{TAKEN}"
        assert first.prompt == "filer1(takeover)>"
        second.shows(WAITING)
        status_shows(first, "filer1 has taken over filer2, filer2 is ready for giveback.\n")
        assert "reason: operator initiated cf takeover\n" in first.enter("cf status")
        assert first.enter("partner") == "Login to partner shell: filer2\n"
        assert first.prompt == "filer2/filer1>"
        shown = first.enter("disk encrypt show")
        assert "0c.00.0 " in shown
        assert "0c.00.1 " not in shown
        for line in ("halt", "reboot", "date", "cf giveback", "key_manager rekey"):
            refused = first.enter(line)
            assert refused == f"{line.split()[0]}: not for a partner that was taken over\n"
        assert "key pairs" in first.enter("key_manager query") or first.enter("hostname")
        assert first.enter("hostname") == "filer2\n"
        assert first.enter("partner") == "Logoff from partner shell: filer2\n"
        assert first.enter("partner hostname") == "filer2\n"
        assert "is taken over; run cf giveback first" in first.enter("halt")
        assert "cf.partner.login" in first.enter("rdfile /etc/messages")
        assert first.enter("cf giveback") == "giveback completed\n"
        assert first.prompt == "filer1>"
        second.booted()
        assert second.prompt == "filer2>"
        status_shows(second, "HA enabled, filer1 is up.")
        assert "this system has not taken over its partner" in first.enter("partner")


def test_a_node_that_has_not_booted_yet_is_not_taken_over(tmp_path: Path) -> None:
    account = Account(tmp_path)
    assert account.run("--new-pair", tmp_path / "pair").status == 0
    refused = Account(tmp_path, root=tmp_path / "pair" / "filer1").commands("cf takeover -f")
    assert refused.err == "cf: filer2 has not booted yet, and has no disks\n"
    second = tmp_path / "pair" / "filer2"
    assert [path.name for path in second.iterdir()] == ["filer.toml"]
    assert Account(tmp_path, root=second).commands("hostname").out == "filer2\n"


@pytest.mark.parametrize(
    ("line", "state"), [("halt", "halted"), ("reboot", "rebooting"), ("reboot -f", "up")]
)
def test_halt_and_reboot_lead_to_a_takeover_unless_forced(
    pair: Nodes, line: str, state: str
) -> None:
    with pair.terminals([FAST]) as (first, second):
        status_shows(first, "Interconnect is up.")
        status_shows(second, "Interconnect is up.")
        second.type(f"{line}\r")
        if line == "reboot -f":
            second.booted()
            assert pair.mailbox(1) == state
            assert "HA enabled, filer2 is up." in first.enter("cf status")
            return
        if line == "reboot":
            second.shows(WAITING)
        else:
            second.shows("LOADER>")
        status_shows(first, "filer1 has taken over filer2")
        assert f"reason: partner {line}\n" in first.enter("cf status")


def test_the_end_of_a_script_is_a_halt_in_notakeover_mode(pair: Nodes) -> None:
    with pair.first.terminal() as first:
        first.booted()
        first.enter(FAST)
        assert pair.second.commands("hostname").out == "filer2\n"
        assert pair.mailbox(1) == "notakeover"
        time.sleep(2.0)  # longer than the detection
        reason = (
            "filer2 may be down, takeover disabled because of reason "
            "(partner halted in notakeover mode)\n"
        )
        assert first.enter("cf status").startswith(reason)
        assert first.enter("cf takeover") == f"cf: {reason}"
        assert TAKEN in first.enter("cf takeover -f")
        pair.second.settings.write_text(
            pair.second.settings.read_text().replace("giveback_wait = 60.0", "giveback_wait = 0.5")
        )
        waited = pair.second.commands("hostname")
        assert (waited.status, waited.out) == (3, "")
        assert waited.err == f"{WAITING}\nboot: filer1 gave nothing back in time\n"


def test_a_lost_process_is_taken_over_once(pair: Nodes) -> None:
    with pair.terminals([FAST]) as (first, second):
        status_shows(first, "Interconnect is up.")
        kill(second)
        first.shows("Failover monitor: takeover started")
        first.shows("Failover monitor: takeover completed")
        status_shows(first, f"{TAKEN}Takeover reason: partner failure\n")
        assert first.enter("cf giveback").endswith("does not wait for it; -f overrides\n")
        assert first.enter("cf giveback -f") == "giveback completed\n"
        time.sleep(2.0)  # longer than the detection
        assert "filer2 may be down" in first.enter("cf status")
        with pair.second.terminal() as again:
            again.booted()
            status_shows(first, "HA enabled, filer2 is up.")


def test_a_copy_of_a_root_does_not_serve_the_same_disks(pair: Nodes) -> None:
    copy = pair.first.root.with_name("copy")
    with pair.terminals() as (first, second):
        shutil.copytree(pair.first.root, copy, symlinks=True, ignore=ignore_patterns("run"))
        before = pair.contents()
        refused = Account(pair.directory, root=copy).commands("key_manager rekey")
        assert refused.status == 2
        assert refused.err == (
            f"filer: process {first.pid} serves the disks of this system in {pair.shelf} "
            "from another root; is this root a copy?\n"
        )
        assert pair.contents() == before
        kill(second)
        first.enter(FAST)
        status_shows(first, "filer1 has taken over filer2")


def test_the_disks_of_a_system_that_is_served_are_not_reassigned(pair: Nodes) -> None:
    third = pair.first.root.with_name("third")
    with pair.first.terminal() as first:
        first.booted()
        shutil.copytree(pair.first.root, third, symlinks=True, ignore=ignore_patterns("run"))
        settings = (third / "filer.toml").read_text(encoding="utf-8")
        (third / "filer.toml").write_text(settings.replace("1573922407", "1573922999"))
        before = pair.contents()
        with Account(pair.directory, root=third).terminal() as copy:
            copy.shows("Override system ID? {y|n} ")
            copy.type("y\r")
            copy.shows(f"boot: process {first.pid} serves the disks of system 1573922407")
        assert pair.contents() == before


def test_lines_for_a_partner_that_was_given_back_do_not_run_here(pair: Nodes) -> None:
    with pair.terminals(["options cf.giveback.auto.enable on"]) as (first, second):
        status_shows(first, "Interconnect is up.")
        assert TAKEN in first.enter("cf takeover; partner")
        first.shows("Failover monitor: giveback completed")
        second.booted()
        for _ in range(2):
            assert "the partner was given back; nothing was run" in first.enter("hostname")
        assert first.enter("partner") == "Logoff from partner shell: filer2\n"
        assert first.enter("hostname") == "filer1\n"


def test_no_takeover_is_promised_before_the_partner_was_heard(pair: Nodes) -> None:
    with pair.second.terminal() as second:
        second.booted()
        kill(second, signal.SIGSTOP)
        try:
            shown = pair.first.commands("cf monitor").out
        finally:
            kill(second, signal.SIGCONT)
    assert "Interconnect is down (link 0 down, link 1 down), takeover capability off-line" in shown


def test_cf_disable_holds_for_both_partners(pair: Nodes) -> None:
    with pair.terminals([FAST]) as (first, second):
        status_shows(second, "Interconnect is up.")
        assert second.enter("cf disable") == ""
        assert first.enter("cf status").startswith("HA disabled\n")
        assert "takeover is disabled" in first.enter("cf takeover")
        kill(second)
        time.sleep(2.0)  # longer than the detection
        assert first.prompt == "filer1>"
        assert pair.mailbox(0) == "up"
        assert first.enter("cf enable") == ""
        first.shows("Failover monitor: takeover completed")


def test_a_partner_with_another_system_id_is_not_asked_to_go_down(pair: Nodes) -> None:
    with pair.terminals() as (first, second):
        status_shows(first, "Interconnect is up.")
        settings = pair.second.settings.read_text(encoding="utf-8")
        changed = settings.replace("system_id = 1573922311", "system_id = 1573922555")
        assert changed != settings
        pair.second.settings.write_text(changed, encoding="utf-8")
        assert "filer.toml of filer2 has other system IDs\n" in first.enter("cf takeover")
        assert "HA enabled, filer2 is up.\n" in first.enter("cf status")
        assert second.enter("hostname") == "filer2\n"


def test_a_panic_is_taken_over_and_given_back_by_itself(
    pair: Nodes, shared_servers: list[KeyServer]
) -> None:
    with pair.first.terminal() as first:
        first.booted()
        first.enter(FAST)
        for server in shared_servers:
            server.stop()
        with pair.second.terminal() as second:
            second.shows("PANIC: raid: root aggregate aggr0")
            second.wait_for_prompt()
            assert second.prompt == "LOADER>"
            first.shows("Failover monitor: takeover completed")
            assert "reason: partner panic" in first.enter("cf status")
            for server in shared_servers:
                server.start()
            second.type("boot_ontap\r")
            second.shows(WAITING)
            first.shows("Failover monitor: giveback completed")
            second.booted()
            assert second.prompt == "filer2>"


@pytest.mark.parametrize("while_it_waits", ["cf takeover", "cf takeover -f"])
def test_a_node_that_waits_for_key_servers_hands_its_disks_over(
    pair: Nodes, shared_servers: list[KeyServer], while_it_waits: str
) -> None:
    waits = pair.second.settings.read_text().replace("init_maxwait = 0.0", "init_maxwait = 3600.0")
    pair.second.settings.write_text(waits)
    with pair.first.terminal() as first:
        first.booted()
        for server in shared_servers:
            server.stop()
        with pair.second.terminal() as second:
            second.shows("trying again for 3")
            status_shows(first, "Interconnect is up.")
            assert TAKEN in first.enter(while_it_waits)
            second.shows(WAITING)
            for server in shared_servers:
                server.start()
            status_shows(first, "filer2 is ready for giveback")
            first.enter("cf giveback")
            second.booted()
            assert second.prompt == "filer2>"


def test_a_node_at_its_boot_menu_is_not_taken_over(pair: Nodes) -> None:
    with pair.terminals() as (first, second):
        second.enter("halt -f")
        second.type("boot_ontap menu\r")
        second.shows("Selection (1-8)? ")
        status_shows(first, "Interconnect is up.")
        assert "(partner in maintenance mode)" in first.enter("cf takeover")


def test_ctrl_c_aborts_the_wait_for_giveback(pair: Nodes) -> None:
    with pair.terminals() as (first, second):
        status_shows(first, "Interconnect is up.")
        assert TAKEN in first.enter("cf takeover")
        second.shows(WAITING)
        second.type("\x03")
        assert second.wait_for_prompt().endswith(
            "This node was previously declared dead.\n"
            "Pausing to check HA partner status ...\n"
            "partner is operational and in takeover mode.\n"
        )
        assert second.prompt == "Do you wish to halt this node rather than wait [y/n]?"
        second.type("n\r")
        second.shows(WAITING)
        second.type("\x03")
        second.wait_for_prompt()
        second.enter("y")
        assert second.prompt == "LOADER>"
        assert "run cf giveback there" in second.enter("boot_ontap maint")
        assert second.prompt == "LOADER>"
        second.type("boot_ontap\r")
        second.shows(WAITING)
        status_shows(first, "filer2 is ready for giveback")
        assert first.enter("cf giveback") == "giveback completed\n"
        second.booted()


def test_a_takeover_appears_above_the_line_that_is_being_typed(pair: Nodes) -> None:
    with editing(pair.first) as first, pair.second.terminal() as second:
        first.booted()
        second.booted()
        first.enter(FAST)
        status_shows(first, "Interconnect is up.")
        first.type("hostna")
        kill(second)
        first.shows("Failover monitor: takeover completed")
        first.type("me\r")
        first.shows("filer1")
        first.wait_for_prompt()
        assert first.prompt == "filer1(takeover)>"


def test_a_node_that_serves_its_console_over_ssh_hands_its_disks_over(pair: Nodes) -> None:
    with pair.first.terminal() as first, serving(pair.second) as second:
        first.booted()
        with second.terminal() as session:
            session.wait_for_prompt()
            status_shows(first, "HA enabled, filer2 is up.\nInterconnect is up.")
            assert TAKEN in first.enter("cf takeover", timeout=60)
            session.shows("filer2: the system reboots; this session ends.")
        second.child.expect_exact(WAITING)
        status_shows(first, "filer2 is ready for giveback")
        assert first.enter("cf giveback") == "giveback completed\n"
        second.again()
        assert second.run("halt -f").status == 0
        status_shows(first, "partner halted in notakeover mode")


def test_a_session_over_ssh_shows_a_takeover(pair: Nodes) -> None:
    with serving(pair.first) as first, pair.second.terminal() as second:
        second.booted()
        with first.terminal() as session:
            session.wait_for_prompt()
            session.enter(FAST)
            status_shows(session, "HA enabled, filer2 is up.\nInterconnect is up.")
            kill(second)
            session.shows("Failover monitor: takeover completed")
            status_shows(session, "Takeover reason: partner failure")
            assert session.prompt == "filer1(takeover)>"


def test_the_partner_of_a_killed_survivor_boots_and_takes_over(pair: Nodes) -> None:
    with pair.terminals() as (first, second):
        second.enter("options cf.takeover.detection.seconds 1")
        status_shows(first, "Interconnect is up.")
        assert TAKEN in first.enter("cf takeover")
        second.shows(WAITING)
        kill(first)
        second.booted()
        second.shows("Failover monitor: takeover completed")
        status_shows(second, "filer2 has taken over filer1.\nTakeover reason: partner failure\n")
        with pair.first.terminal() as again:
            again.shows(WAITING)
            status_shows(second, "filer1 is ready for giveback")
            assert second.enter("cf giveback") == "giveback completed\n"
            again.booted()
            status_shows(again, "HA enabled, filer2 is up.")


def test_an_open_question_does_not_hold_up_a_takeover(pair: Nodes) -> None:
    with pair.terminals() as (first, second):
        status_shows(first, "HA enabled, filer2 is up.\nInterconnect is up.")
        second.enter("key_manager rekey -manual")
        assert second.prompt == "Please enter a new passphrase:"
        assert TAKEN in first.enter("cf takeover", timeout=60)
        second.shows("key_manager: interrupted")
        second.shows(WAITING)
        status_shows(first, "filer2 is ready for giveback")
        assert first.enter("cf giveback") == "giveback completed\n"
        second.booted()
        assert second.prompt == "filer2>"


def test_a_takeover_with_f_works_although_takeover_is_disabled(pair: Nodes) -> None:
    with pair.terminals() as (first, second):
        status_shows(first, "Interconnect is up.")
        first.enter("cf disable")
        assert first.enter("cf takeover -f").endswith(TAKEN)
        second.shows(WAITING)


def test_a_node_that_was_stopped_ignores_the_takeover_that_was_refused(pair: Nodes) -> None:
    with pair.terminals() as (first, second):
        status_shows(first, "Interconnect is up.")
        kill(second, signal.SIGSTOP)
        assert "holds its service lock" in first.enter("cf takeover")
        kill(second, signal.SIGCONT)
        status_shows(first, "HA enabled, filer2 is up.\nInterconnect is up.")
        assert second.enter("hostname") == "filer2\n"
        assert pair.mailbox(1) == "up"


def test_a_person_is_asked_before_the_first_prompt_too(pair: Nodes) -> None:
    with pair.first.terminal() as first:
        first.booted()
        pair.second.commands("hostname")
        assert first.enter("cf takeover -f").endswith(TAKEN)
        with editing(pair.second) as second:
            second.shows(WAITING)
            second.type("\x03")
            second.shows("rather than wait [y/n]? ")
            second.type("y\r")
            second.shows("LOADER>")


def test_a_node_that_asks_whether_to_wait_is_not_ready_for_giveback(pair: Nodes) -> None:
    with pair.terminals() as (first, second):
        status_shows(first, "Interconnect is up.")
        first.enter("cf takeover")
        second.shows(WAITING)
        status_shows(first, "filer2 is ready for giveback")
        second.type("\x03")
        second.shows("rather than wait [y/n]? ")
        assert "ready" not in first.enter_until("cf status", "taken over filer2.\n")
        assert "is not ready for giveback" in first.enter("cf giveback")
        second.type("n\r")
        status_shows(first, "filer2 is ready for giveback")
        assert first.enter("cf giveback") == "giveback completed\n"
        second.booted()


def take_and_give_back(first: Terminal) -> None:
    assert first.enter("cf takeover").endswith(TAKEN)
    status_shows(first, "filer2 is ready for giveback")
    assert first.enter("cf giveback") == "giveback completed\n"


def test_a_takeover_costs_a_script_no_line(pair: Nodes) -> None:
    with pair.first.terminal() as first, pair.second.pipe() as script:
        first.booted()
        script.sendline("hostname")
        script.expect_exact("filer2\n")
        status_shows(first, "Interconnect is up.")
        script.write("hostn")  # a line that is not complete yet
        assert first.enter("cf takeover").endswith(TAKEN)
        script.expect_exact(WAITING)
        script.sendline("ame")
        script.sendline("version")
        status_shows(first, "filer2 is ready for giveback")
        first.enter("cf giveback")
        script.expect_exact("filer2\n")
        script.expect_exact("NetApp Release")
        script.sendline("hostname")
        script.expect_exact("filer2\n")
        script.sendeof()
        assert script.proc.wait(PATIENCE) == 0


@pytest.mark.parametrize(("options", "goes_on"), [((), True), (("-e",), False)])
def test_a_command_that_a_takeover_interrupts_has_failed(
    pair: Nodes, options: tuple[str, ...], goes_on: bool
) -> None:
    with pair.first.terminal() as first, pair.second.pipe(*options) as script:
        first.booted()
        script.sendline("disk encrypt sanitize 0c.00.6")
        script.expect_exact("enter sanitize disk: ")
        status_shows(first, "Interconnect is up.")
        take_and_give_back(first)
        script.expect_exact("disk: interrupted")
        if goes_on:
            script.sendline("sanitize disk")  # the answer, which is not a command
            script.sendline("hostname")
            script.expect_exact("filer2\n")
            script.sendeof()
        assert script.proc.wait(PATIENCE) == 1


def test_lines_for_the_partner_never_run_here_after_a_reboot(pair: Nodes) -> None:
    """The script is in the shell of its partner when its own node panics."""
    text = pair.first.settings.read_text(encoding="utf-8")
    assert "autoboot = false" in text
    text = text.replace("autoboot = false", "autoboot = true")
    pair.first.settings.write_text(text, encoding="utf-8")
    pair.second.commands("hostname")
    with pair.first.pipe("-x") as script:
        for line in ("cf takeover -f", "partner", "hostname"):
            script.sendline(line)
        script.expect_exact("filer2\n")
        names = ("0c.00.1", "0c.00.3")
        for name in names:
            (pair.shelf / f"{name}.sed").rename(pair.directory / name)
        script.expect_exact("fatal multi-disk error")
        for name in names:
            (pair.directory / name).rename(pair.shelf / f"{name}.sed")
        for line in ("hostname", "partner", "hostname"):
            script.sendline(line)
        script.expect_exact("nothing was run; partner leaves its shell")
        script.expect_exact("filer1\n")
        script.sendeof()
        assert script.proc.wait(PATIENCE) == 1


def test_the_rest_of_a_passphrase_typed_at_a_takeover_is_dropped(pair: Nodes) -> None:
    with pair.terminals() as (first, second):
        status_shows(first, "Interconnect is up.")
        second.enter("key_manager rekey -manual")
        second.type("Correct-ho")
        first.enter("cf takeover")
        second.shows(WAITING)
        second.type("rse-battery-1!\r")
        status_shows(first, "filer2 is ready for giveback")
        first.enter("cf giveback")
        second.booted()
        assert second.enter("hostname") == "filer2\n"
        assert "battery" not in second.transcript() + second.enter("history")
