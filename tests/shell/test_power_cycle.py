"""Ctrl-C in the life of a machine counts as soon as the console says that it may be pressed."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from filer.boot.machine import Machine
from filer.host.durable import Storage
from filer.pair.mailbox import State
from filer.pair.making import make_pair
from filer.pair.service import ServiceLock
from filer.running.interrupt import Interrupt
from filer.shell.power_cycle import PANICKED
from filer.shell.signals import Signals
from tests.kit import faulty, manual
from tests.kit.house import House, Screen
from tests.kit.nodes import Nodes
from tests.kit.pair_site import FullShelf, Site
from tests.kit.power import Ticking, power_cycle

build, house = manual.build, manual.house


class Quick(Screen):
    """A user who presses Ctrl-C at the moment when the console mentions it."""

    def __init__(self, interrupt: Interrupt) -> None:
        super().__init__(is_terminal=True)
        self._interrupt = interrupt

    def warn(self, message: str) -> None:
        super().warn(message)
        if "ress Ctrl-C" in message:
            self._interrupt.request()


@pytest.mark.parametrize(
    ("storage", "warnings"), [(Storage(), []), (FullShelf(), [f"WARNING: cf: {FullShelf.REFUSAL}"])]
)
def test_it_ends_the_wait_for_giveback(
    tmp_path: Path, storage: Storage, warnings: Sequence[str]
) -> None:
    root, _partner = make_pair(tmp_path / "pair", Storage())
    House(root).close()
    taken_over = ServiceLock(root)
    taken_over.take()
    interrupt = Interrupt()
    screen = Quick(interrupt)
    try:
        assert power_cycle(root, interrupt, screen, storage) == (PANICKED, ["LOADER>"])
    finally:
        taken_over.release()
    assert screen.failures == ["boot: the wait for giveback was aborted"]
    assert [line for line in screen.warnings if "cf" in line] == warnings


def test_it_ends_autoboot(house: House) -> None:
    house.encrypt()
    house.filer.loader.set("AUTOBOOT", "true")
    house.filer.loader.save()
    house.close()
    house.stop_servers()
    interrupt = Interrupt()
    screen = Quick(interrupt)
    assert power_cycle(house.root, interrupt, screen) == (PANICKED, ["LOADER>"])
    assert len(screen.failures) == 1


class AskedTooLate(Screen):
    """The partner asks for the disks just when a boot has failed."""

    def __init__(self, signals: Signals) -> None:
        super().__init__(is_terminal=True)
        self._signals = signals

    def fail(self, message: str) -> None:
        super().fail(message)
        self._signals.hands_over = True


def test_a_partner_takes_over_after_a_boot_that_no_key_server_answers(
    authority: Path, tmp_path: Path
) -> None:
    """The node has waited for hours, and halts; it is not halted in notakeover mode."""
    with faulty.running(authority, tmp_path / "key servers", 2) as servers:
        site = Site(tmp_path, servers)
        root = site.begin() / "filer2"
        machine = Machine(root, Interrupt())
        filer = machine.power_on(serves=False)
        filer.loader.set("kmip.init.maxwait", "on")
        filer.loader.save()
        machine.unplug()
        for server in servers:
            server.stop()
        clock = Ticking()
        signals = Signals(clock)
        screen = AskedTooLate(signals)
        ended = power_cycle(root, clock, screen, signals=signals)
        assert ended == (PANICKED, ["LOADER>"])
        assert screen.failures == ["ERROR: kmip_init: halting this system with encrypted mroot..."]
        assert Nodes(tmp_path).mailbox(1) == State.HALTED.value
