"""Ctrl-C in the life of a machine counts as soon as the console says that it may be pressed."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from filer.host.durable import Storage
from filer.pair.making import make_pair
from filer.pair.service import ServiceLock
from filer.running.interrupt import Interrupt
from filer.shell.power_cycle import PANICKED
from tests.kit import manual
from tests.kit.house import House, Screen
from tests.kit.pair_site import FullShelf
from tests.kit.power import power_cycle

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
