"""What befalls an HA pair: what each command on either node says then, and what the pair serves.

The tests rewrite the second part of docs/FAULTS.md when they observe something else.
"""

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from filer.boot.machine import Panic
from filer.boot.takeover import stand_down
from filer.boot.watch import Watch
from filer.commands import Command
from filer.keys.key_id import MSID_KEY_ID
from filer.keys.keytable import CREATION_LIMIT
from filer.pair.mailbox import State
from filer.shell.plugins import MAINTENANCE, OTHER_CONSOLES
from filer.system import Filer
from pytest_filer.child import PATIENCE
from tests.kit import fault_matrix, faulty, pairs, pki
from tests.kit.console import Terminal, change_settings
from tests.kit.fault_matrix import Row, code
from tests.kit.faulty import FaultyKeyServer
from tests.kit.house import Answer, House, Screen, Told
from tests.kit.nodes import NAMES, Nodes
from tests.kit.pair_document import PART, SECTIONS, record
from tests.kit.pair_site import (
    EVEN,
    MARKED_BLOCK,
    ODD,
    Site,
    check_boots,
    check_takeover,
    mark,
    pair_of,
    served,
    until,
)
from tests.kit.repeated import Repeated

AUTOBOOT_OFF, AUTOBOOT_ON = "autoboot = false", "autoboot = true"
WAITING = "Waiting for giveback"
FAST = "options cf.takeover.detection.seconds 1"

ALL_OF_FILER2 = ", ".join(EVEN)


def start(servers: Sequence[FaultyKeyServer]) -> None:
    for server in servers:
        server.start()


def stop(servers: Sequence[FaultyKeyServer]) -> None:
    for server in servers:
        server.stop()


class Scene:
    """Both nodes of a pair, and a table row for each thing that happens."""

    def __init__(self, site: Site, stack: ExitStack) -> None:
        self.pair = site.begin()
        self.servers = site.servers
        self.rows: list[Row] = []
        self.first, self.second = (
            stack.enter_context(House(self.pair / name, self.servers, random=Repeated(name)))
            for name in ("filer1", "filer2")
        )
        self._key_ids: dict[str, str] = {}
        self._on: set[House] = set()
        self._before: Mapping[str, str] = {}

    def up(self) -> None:
        """Boot both nodes, without a row."""
        houses = (self.first, self.second)
        for house in houses:
            house.boot()
            self._on.add(house)
        until(lambda: all(pair_of(house).interconnect.is_up for house in houses))
        self._key_ids = {
            self.first.key_id("0c.00.1"): "KEYID1",
            self.second.key_id("0c.00.0"): "KEYID2",
        }
        self._before = self._states()

    def run(
        self,
        house: House,
        line: str,
        *answers: Answer,
        commands: Mapping[str, Command] | None = None,
    ) -> Screen:
        """Run a command and add its row."""
        screen = house.run(line, *answers, commands=commands)
        self._add_command(house, line, screen)
        return screen

    def rekey_both(self) -> Sequence[Screen]:
        """Rekey on both nodes: neither stores its new key pair before the other has looked."""
        ready, first_server = threading.Barrier(2), self.servers[0]

        def wait(_server: FaultyKeyServer, proceed: Callable[[], Any]) -> Any:
            ready.wait(PATIENCE)
            return proceed()

        first_server.on("REGISTER", wait)
        houses = (self.first, self.second)
        with ThreadPoolExecutor() as pool:
            screens = list(pool.map(lambda house: house.run("key_manager rekey"), houses))
        first_server.recover()
        for house, screen in zip(houses, screens, strict=True):
            self._add_command(house, "key_manager rekey", screen)
        return screens

    def take_over(self) -> None:
        """Take filer2 over by command, which succeeds."""
        self.run(self.first, "cf takeover")
        assert self.first.filer.partner

    def event(self, text: str, action: Callable[[], object], house: House | None = None) -> None:
        """Do what is not a command, and add its row."""
        action()
        self._add(self._name(house) if house else "", text, ())

    def lose(self, house: House) -> None:
        """Kill the process of a node: its locks become free, and its mailbox stays as it is."""

        def die() -> None:
            filer = house.power_off()
            assert filer.pair
            filer.pair.other_service.release()
            filer.pair.service.release()
            filer.pair.interconnect.stop()
            self._on.discard(house)

        self.event("its process is killed", die, house)

    def boot(self, house: House) -> list[str]:
        """Boot a node and add its row; return what it says."""
        told = Told()
        said = told.warnings
        try:
            house.boot(told)
            self._on.add(house)
        except Panic as panic:
            said = [*told.warnings, str(panic)]
            house.power_off()
            stand_down(house.filer, State.PANICKED)
        self._add(self._name(house), "`boot`", said)
        return said

    def stop_servers(self) -> None:
        self.event("the key servers stop", lambda: stop(self.servers))

    def start_servers(self) -> None:
        self.event("the key servers answer again", lambda: start(self.servers))

    def end(self, *checks: Callable[[Path, Sequence[FaultyKeyServer]], object]) -> None:
        """Remove power from both nodes, and check the pair."""
        self.first.close()
        self.second.close()
        for server in self.servers:
            server.recover()
        for check in checks:
            check(self.pair, self.servers)

    def off(self, house: House) -> None:
        """Take a node for off in the rows."""
        self._on.discard(house)

    def contents(self) -> Mapping[str, bytes]:
        """Return the content of each disk."""
        return {path.name: path.read_bytes() for path in (self.pair / "shelf").glob("*.sed")}

    def _add_command(self, house: House, line: str, screen: Screen) -> None:
        said = [*screen.warnings, *screen.failures]
        if line.startswith("cf ") or not said:
            said = [*(screen.shown if line.startswith("cf ") else screen.shown[-1:]), *said]
        self._add(self._name(house), f"`{line}`", said)

    def _add(self, node: str, what: str, said: Sequence[str]) -> None:
        before, self._before = self._before, self._states()
        changed = [
            f"{name}: {state}" for name, state in self._before.items() if before.get(name) != state
        ]
        lines = code(map(self.named, said)) if said or what.startswith("`") else ""
        self.rows.append((node, self.named(what), lines, "; ".join(changed) or "unchanged"))

    def _name(self, house: House) -> str:
        return house.root.name

    def named(self, line: str) -> str:
        for key_id, name in self._key_ids.items():
            line = line.replace(key_id, name)
        return re.sub(r"\b[0-9A-F]{64}\b", "NEWKEYID", line.replace(str(os.getpid()), "N"))

    def _states(self) -> Mapping[str, str]:
        return {self._name(each): self._state(each) for each in (self.first, self.second)}

    def _state(self, house: House) -> str:
        if house not in self._on:
            return "off"
        filer = house.filer
        parts = [served(filer)]
        if filer.partner:
            parts.append(served(filer.partner, of=f" of {filer.partner.hardware.hostname}"))
        return f"{', '.join(parts)}, {len(filer.keytable)} keys"


def check_marks(filer: Filer, names: Sequence[str]) -> None:
    """Check that these disks are open and have their data."""
    for name in names:
        assert filer.shelf[name].read_block(MARKED_BLOCK) == mark(name)


def check_first(pair: Path, servers: Sequence[FaultyKeyServer]) -> None:
    """Boot filer1, which has all its disks."""
    with House(pair / "filer1", servers) as first:
        first.boot()
        check_marks(first.filer, ODD)


# Keys


def lacks_a_key(scene: Scene) -> None:
    first, second = scene.first, scene.second
    scene.up()
    scene.run(second, "key_manager rekey")
    assert "a takeover would fail" in scene.run(first, "cf status").text
    scene.stop_servers()
    assert "no key was tried" in scene.run(first, "cf takeover").text
    scene.lose(second)
    before = scene.contents()
    assert "no key was tried" in scene.run(first, "cf takeover").text
    assert scene.contents() == before
    scene.start_servers()
    scene.take_over()
    scene.run(first, "cf giveback -f")
    scene.end(check_boots, check_takeover)


def has_an_old_keytable(scene: Scene) -> None:
    scene.up()
    scene.run(scene.second, "key_manager rekey")
    scene.lose(scene.second)
    scene.take_over()
    scene.end(check_boots, check_takeover)


def sees_another_key_server(scene: Scene) -> None:
    first, second = scene.first, scene.second
    scene.up()
    for house, server in ((second, scene.servers[0]), (first, scene.servers[1])):
        scene.run(house, f"key_manager remove -key_server {server.address}")
    scene.run(second, "key_manager rekey")
    scene.run(first, "key_manager restore -all")
    assert "a takeover would fail" in scene.run(first, "cf status").text
    scene.lose(second)
    before = scene.contents()
    assert "no key was tried" in scene.run(first, "cf takeover").text
    assert scene.contents() == before
    scene.run(first, f"key_manager add -key_server {scene.servers[1].address}")
    scene.take_over()
    scene.end(check_boots, check_takeover)


def has_a_certificate_of_another_owner(scene: Scene) -> None:
    first, second = scene.first, scene.second
    scene.up()
    addresses = [server.address for server in scene.servers]

    def change_owner() -> None:
        second.must(f"disk encrypt rekey {MSID_KEY_ID} *")
        for address in addresses:
            second.must(f"key_manager remove -key_server {address}")
        second.install_client(pki.client(pki.authority_of(scene.servers[0]), "another owner"))
        second.add()
        second.rekey()
        second.lock()

    scene.event("it is set up with a client certificate of another owner", change_owner, second)
    key_id = second.key_id("0c.00.0")
    scene.run(first, "key_manager restore -all")
    warning = scene.run(first, "cf status").text
    assert f"key ID {key_id} of {ALL_OF_FILER2}" in warning
    scene.lose(second)
    before = scene.contents()
    refused = scene.run(first, "cf takeover").text
    assert f"no key for key ID {key_id} of {ALL_OF_FILER2}" in refused
    assert scene.contents() == before
    assert not first.filer.partner
    first.must("key_manager status")
    assert scene.boot(second) == []
    scene.end()


def loses_its_keys_on_the_key_servers(scene: Scene) -> None:
    first, second = scene.first, scene.second
    scene.up()
    key_id = second.key_id("0c.00.0")

    def destroy() -> None:
        for server in scene.servers:
            faulty.lose(server, key_id)

    scene.event(f"{key_id} is destroyed on both key servers", destroy)
    warned = scene.run(first, "key_manager restore -all").text
    assert key_id in first.in_keytable(), "the disks of the partner still need it"
    assert 'disks of other systems, on no key server; run "key_manager rekey" there' in warned
    scene.lose(second)
    scene.take_over()
    scene.run(first, "cf giveback -f")
    assert "3 of 3 disks locked" in scene.boot(second)[-1]
    scene.end()


# Both nodes at once


def rekey_at_once(scene: Scene) -> None:
    first, second = scene.first, scene.second
    scene.up()
    before = {first.key_id("0c.00.1"), second.key_id("0c.00.0")}
    for screen in scene.rekey_both():
        assert "4 successes" in screen.text
    assert len({first.key_id("0c.00.1"), second.key_id("0c.00.0")} - before) == 2
    for house in (first, second):
        scene.run(house, "key_manager restore -all")
    assert first.in_keytable() == second.in_keytable()
    assert len(first.in_keytable()) == 4
    scene.lose(second)
    scene.take_over()
    scene.end(check_boots, check_takeover)


def race_for_the_last_key_pair(scene: Scene) -> None:
    first, second = scene.first, scene.second
    others = [pairs.new_pair("another") for _ in range(CREATION_LIMIT - 3)]
    for server in scene.servers:
        pairs.put(server, *others)
    scene.up()
    assert len(first.in_keytable()) == len(second.in_keytable()) == CREATION_LIMIT - 1
    for screen in scene.rekey_both():
        assert "4 successes" in screen.text
    for house in (first, second):
        scene.run(house, "key_manager restore -all")
        scene.run(house, "key_manager rekey")
    for server in scene.servers:
        assert len(faulty.stored_key_ids(server)) == CREATION_LIMIT + 1
        assert sorted(faulty.stored_key_ids(server)) == first.in_keytable()
    assert first.in_keytable() == second.in_keytable()
    for key_id in first.in_keytable():
        assert first.secret(key_id) == second.secret(key_id)
    scene.lose(second)
    scene.take_over()
    scene.run(first, "cf giveback -f")
    scene.boot(second)
    for house in (first, second):
        faulty.check_that_no_key_is_lost_by(house, scene.servers)
    scene.end(check_takeover)


# A partner that may be alive


def loses_the_interconnect(scene: Scene) -> None:
    first, second = scene.first, scene.second
    scene.up()
    cable, pair = scene.pair / "filer2" / "run" / "cut", pair_of(first)

    def cut() -> None:
        cable.touch()
        until(lambda: pair.look() is not None and pair.unheard)

    scene.event("the interconnect is cut", cut)
    scene.run(first, "cf status")
    assert "interconnect error" in scene.run(first, "cf takeover").text
    assert "process N of filer2" in scene.named(scene.run(first, "cf forcetakeover").text)
    scene.lose(second)
    told: list[str] = []

    def watch() -> None:
        hours = iter((0.0, 3600.0, 7200.0))
        watched = Watch(first.filer, pair, told.append, clock=lambda: next(hours))
        watched.tick()
        watched.tick()

    scene.event("an hour passes", watch)
    assert (told, first.filer.partner) == ([], None)
    assert "interconnect error" in scene.run(first, "cf takeover").text
    scene.run(first, "cf forcetakeover", "n")
    scene.run(first, "cf forcetakeover", "y")
    assert first.filer.partner
    cable.unlink()
    scene.end(check_boots, check_takeover)


# Shredding


def is_shredded(scene: Scene) -> None:
    first, second = scene.first, scene.second
    scene.up()

    def maintain() -> None:
        second.power_cycle()
        pair_of(second).is_up(State.MAINTENANCE)

    scene.event("it enters maintenance mode", maintain, second)
    line, commands = "disk encrypt destroy *", OTHER_CONSOLES[MAINTENANCE]()
    scene.run(second, line, "destroy disk", commands=commands)
    assert all(second.filer.shelf[name].destroyed for name in EVEN)
    scene.run(first, "cf status")
    assert "maintenance mode" in scene.run(first, "cf takeover").text

    def halt() -> None:
        second.power_off()
        stand_down(second.filer, State.NOTAKEOVER)
        scene.off(second)

    scene.event("it is halted", halt, second)
    assert "cannot be brought online" in scene.run(first, "cf takeover -f").text
    assert first.filer.partner is None
    scene.end(check_first)


def loses_its_spares(scene: Scene) -> None:
    first, second = scene.first, scene.second
    scene.up()
    scene.lose(second)
    scene.take_over()
    scene.run(first, "disk encrypt destroy *", "destroy disk")
    scene.run(first, "partner disk encrypt destroy *", "destroy disk")
    scene.run(first, "cf status")
    scene.run(first, "cf giveback -f")
    scene.boot(second)
    for house, own in ((first, ODD), (second, EVEN)):
        destroyed = [name for name in own if house.filer.shelf[name].destroyed]
        assert len(destroyed) == 1
        assert house.filer.wafl_is_up
        check_marks(house.filer, [name for name in own if name not in destroyed])
    scene.end()


FAULTS: Mapping[str, Callable[[Scene], None]] = {
    "the survivor lacks a key of its partner": lacks_a_key,
    "the partner has rekeyed, and the keytable is old": has_an_old_keytable,
    "each node has registered another key server": sees_another_key_server,
    "the nodes have client certificates of different owners": has_a_certificate_of_another_owner,
    "the keys of one node are destroyed on the key servers": loses_its_keys_on_the_key_servers,
    "both rekey at once": rekey_at_once,
    "both rekey at once with 127 key pairs": race_for_the_last_key_pair,
    "the interconnect is cut while both live": loses_the_interconnect,
    "a node is shredded in maintenance mode while the other serves": is_shredded,
    "the spare disks of a node that was taken over are shredded": loses_its_spares,
}


@pytest.fixture(scope="module")
def site(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    with faulty.running(authority, directory / "key servers", 2) as servers:
        yield Site(directory, servers)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_a_pair_loses_no_disk(name: str, site: Site) -> None:
    with ExitStack() as stack:
        scene = Scene(site, stack)
        FAULTS[name](scene)
    record(name, scene.rows)


# Processes


class Terminals:
    """Both nodes at terminals, and a table row for each thing that happens."""

    def __init__(self, site: Site) -> None:
        self.nodes = Nodes(site.begin().parent)
        self.rows: list[Row] = []
        self._before = self._states()

    def run(self, terminal: Terminal, line: str, until: str = "") -> str:
        """Run a command, again until its output has ``until``, and add its row."""
        output = terminal.enter_until(line, until) if until else terminal.enter(line)
        self._add(terminal.prompt.rstrip(">").partition("(")[0], f"`{line}`", output.splitlines())
        return output

    def event(self, node: str, text: str, said: Sequence[str] = ()) -> None:
        """Add the row of what has happened."""
        self._add(node, text, said)

    def _add(self, node: str, what: str, said: Sequence[str]) -> None:
        before, self._before = self._before, self._states()
        changed = [
            f"{name}: {state}" for name, state in self._before.items() if before[name] != state
        ]
        lines = [re.sub(r"process \d+", "process N", line) for line in said]
        self.rows.append((node, what, code(lines) if lines else "", "; ".join(changed)))

    def _states(self) -> Mapping[str, str]:
        return {name: self.nodes.mailbox(number) for number, name in enumerate(NAMES)}


def kill(terminal: Terminal, number: int = signal.SIGKILL) -> None:
    os.kill(terminal.pid, number)


def test_a_stopped_process_keeps_its_disks(site: Site) -> None:
    scene = Terminals(site)
    with scene.nodes.terminals([FAST]) as (first, second):
        first.enter_until("cf status", "Interconnect is up.")
        scene.event("", "both boot")
        before = scene.nodes.contents()
        kill(second, signal.SIGSTOP)
        try:
            scene.event("filer2", "SIGSTOP")
            scene.run(first, "cf status", "(interconnect error)")
            assert "interconnect error" in scene.run(first, "cf takeover")
            for line in ("cf forcetakeover", "cf takeover -f"):
                assert f"process {second.pid} of filer2" in scene.run(first, line)
        finally:
            kill(second, signal.SIGCONT)
        scene.event("filer2", "SIGCONT")
        scene.run(first, "cf status", "HA enabled, filer2 is up.")
        assert scene.run(second, "hostname") == "filer2\n"
        assert scene.nodes.contents() == before
        kill(second)
        first.shows("Failover monitor: takeover completed")
        scene.event("filer2", "SIGKILL")
    record("the process of the partner is stopped, and goes on later", scene.rows)


def test_both_lose_power_while_no_key_server_answers(site: Site) -> None:
    scene = Terminals(site)
    stop(site.servers)
    with scene.nodes.first.terminal() as first, scene.nodes.second.terminal() as second:
        for node in (first, second):
            node.shows("PANIC: raid: root aggregate aggr0")
            node.wait_for_prompt()
            assert node.prompt == "LOADER>"
        scene.event("", "both boot; no key server answers", ["PANIC: raid: root aggregate aggr0"])
        start(site.servers)
        first.type("boot_ontap\r")
        first.shows("filer1> ")
        first.shows("Failover monitor: takeover completed")
        scene.event("filer1", "it boots; the key servers answer again", ["takeover completed"])
        second.type("boot_ontap\r")
        second.shows(WAITING)
        first.shows("Failover monitor: giveback completed")
        second.booted()
        scene.event("filer2", "it boots", [WAITING])
        for node in (first, second):
            assert node.enter("disk encrypt show").count(" Yes\n") == 4
            scene.run(node, "cf status", "is up.\nInterconnect is up.")
    record("both lose power, and no key server answers", scene.rows)


def test_autoboot_waits_for_giveback_after_a_panic(site: Site) -> None:
    scene = Terminals(site)
    change_settings(scene.nodes.second, AUTOBOOT_OFF, AUTOBOOT_ON)
    with scene.nodes.first.terminal() as first:
        first.booted()
        first.enter(FAST)
        stop(site.servers)
        with scene.nodes.second.terminal() as second:
            second.shows("PANIC: raid: root aggregate aggr0")
            second.shows("autoboot: the next boot begins in 1 s.")
            first.shows("Failover monitor: takeover completed")
            scene.event("", "filer2 boots; no key server answers", ["PANIC", "autoboot"])
            start(site.servers)
            second.shows(WAITING)
            first.shows("Failover monitor: giveback completed")
            second.booted()
            assert second.prompt == "filer2>"
            scene.event("filer2", "the next boot; the key servers answer again", [WAITING])
    record("a node panics with AUTOBOOT", scene.rows)


def test_the_file_has_every_fault_of_a_pair_and_no_other() -> None:
    text = PART.find(fault_matrix.FILE.read_text(encoding="utf-8"))
    assert [*fault_matrix.blocks(text)] == [each for section in SECTIONS for each in section.faults]
    assert text == PART.render(fault_matrix.blocks(text))
