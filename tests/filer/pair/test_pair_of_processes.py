"""Two partners, each a process at a terminal: takeover and giveback, and who serves the disks."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from filer.keyserver.server import KeyServer
from pytest_filer.key_server_process import key_servers as key_servers_of
from tests.conftest import ADDRESSES
from tests.kit import nodes
from tests.kit.console import PATIENCE, Terminal, editing
from tests.kit.nodes import Nodes
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


def until(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def status_shows(terminal: Terminal, text: str) -> None:
    """Repeat ``cf status`` until it shows ``text``."""
    until(lambda: text in terminal.enter("cf status"))


def kill(terminal: Terminal, number: int = signal.SIGKILL) -> None:
    os.kill(terminal.pid, number)


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


def test_a_stopped_process_keeps_its_disks(pair: Nodes) -> None:
    with pair.terminals([FAST]) as (first, second):
        status_shows(first, "Interconnect is up.")
        kill(second, signal.SIGSTOP)
        try:
            status_shows(first, "takeover disabled because of reason (interconnect error)")
            assert "Interconnect is down." in first.enter("cf status")
            refused = first.enter("cf forcetakeover")
            assert f"process {second.pid} of filer2 holds its service lock" in refused
            assert "interconnect error" in first.enter("cf takeover")
            before = pair.contents()
        finally:
            kill(second, signal.SIGCONT)
        status_shows(first, "HA enabled, filer2 is up.")
        assert "filer2" in second.enter("hostname")
        assert pair.contents() == before


def test_no_takeover_is_promised_before_the_partner_was_heard(pair: Nodes) -> None:
    with pair.second.terminal() as second:
        second.booted()
        kill(second, signal.SIGSTOP)
        try:
            shown = pair.first.commands("cf monitor").out
        finally:
            kill(second, signal.SIGCONT)
    assert "Interconnect is down (link 0 down, link 1 down), takeover capability off-line" in shown


def test_takeover_is_disabled_while_the_interconnect_is_down(pair: Nodes) -> None:
    with pair.terminals([FAST]) as (first, second):
        status_shows(first, "Interconnect is up.")
        socket = pair.second.root / "run" / "interconnect"
        socket.rename(socket.with_name("cut"))
        other = pair.first.root / "run" / "interconnect"
        other.rename(other.with_name("cut"))
        status_shows(first, "takeover disabled because of reason (interconnect error)")
        kill(second)
        second.end()
        time.sleep(2.0)  # longer than the detection
        assert "interconnect error" in first.enter("cf status")
        question = first.enter("cf forcetakeover")
        assert question.startswith("WARNING: cf forcetakeover")
        assert TAKEN in first.enter("y")


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


def test_a_missing_key_refuses_the_takeover_and_tries_no_key(
    pair: Nodes, shared_servers: list[KeyServer]
) -> None:
    with pair.terminals() as (first, second):
        status_shows(first, "Interconnect is up.")
        second.enter("key_manager rekey", timeout=60)
        (key_id,) = set(re.findall(r"[0-9A-F]{64}", second.enter("disk encrypt show")))
        status = first.enter("cf status")
        assert f"the keytable does not have key ID {key_id} of 0c.00.0, 0c.00.2" in status
        for server in shared_servers:
            server.stop()
        before = pair.contents()
        refused = first.enter("cf takeover", timeout=60)
        assert f"no key for key ID {key_id} of 0c.00.0, 0c.00.2" in refused
        assert "HA enabled, filer2 is up." in first.enter("cf status")
        kill(second)
        second.end()
        refused = first.enter("cf takeover", timeout=60)
        assert "no key was tried" in refused
        assert pair.contents() == before
        for server in shared_servers:
            server.start()
        assert TAKEN in first.enter("cf takeover", timeout=60)


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


def test_ctrl_c_aborts_the_wait_for_giveback(pair: Nodes) -> None:
    with pair.terminals() as (first, second):
        status_shows(first, "Interconnect is up.")
        assert TAKEN in first.enter("cf takeover")
        second.shows(WAITING)
        second.type("\x03")
        second.wait_for_prompt()
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


def test_both_nodes_rekey_at_once(pair: Nodes) -> None:
    with pair.terminals() as (first, second):
        for node in (first, second):
            node.type("key_manager rekey\r")
        for node in (first, second):
            node.shows("4 successes")
            node.wait_for_prompt()
            node.enter("key_manager restore -all")
        key_ids = set()
        for node in (first, second):
            shown = node.enter("disk encrypt show")
            assert shown.count(" Yes\n") == 4
            key_ids |= set(re.findall(r"[0-9A-F]{64}", shown))
        assert len(key_ids) == 2
        status_shows(first, "HA enabled, filer2 is up.")
        assert TAKEN in first.enter("cf takeover", timeout=60)


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


def test_both_nodes_lose_power_while_no_key_server_answers(
    pair: Nodes, shared_servers: list[KeyServer]
) -> None:
    for server in shared_servers:
        server.stop()
    with pair.first.terminal() as first, pair.second.terminal() as second:
        for node in (first, second):
            node.shows("PANIC: raid: root aggregate aggr0")
            node.wait_for_prompt()
            assert node.prompt == "LOADER>"
        for server in shared_servers:
            server.start()
        first.type("boot_ontap\r")
        first.shows("filer1> ")
        first.shows("Failover monitor: takeover completed")
        second.type("boot_ontap\r")
        second.shows(WAITING)
        first.shows("Failover monitor: giveback completed")
        second.booted()
        for node in (first, second):
            shown = node.enter("disk encrypt show")
            assert shown.count(" Yes\n") == 4
            status_shows(node, "is up.\nInterconnect is up.")
