"""The life of a machine in this process: the prompts that it reaches, with nothing typed there."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from filer.boot.machine import Machine
from filer.host.durable import Storage
from filer.running.interrupt import Interrupt
from filer.shell.plugins import Commands
from filer.shell.power_cycle import PowerCycle
from filer.shell.session import Session
from filer.shell.signals import Signals
from tests.kit.house import Screen


class _NoLines:
    """A host of sessions without lines; records their prompts."""

    status = 0
    is_for_people = True

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def run(self, session: Session) -> None:
        self.prompts.append(session.prompt)

    def announce(self, line: str, *, only_watched: bool = False) -> None: ...


def power_cycle(
    root: Path, interrupt: Interrupt, screen: Screen, storage: Storage | None = None
) -> tuple[int, Sequence[str]]:
    """Power the machine on; return the exit status, and the prompts that were shown."""
    machine, host = Machine(root, interrupt, storage), _NoLines()
    signals = Signals(interrupt)
    power = PowerCycle(
        machine,
        Commands(pytest.fail),
        host,
        screen,
        signals,
        first_up=lambda _: None,
        on_session=lambda: None,
    )
    try:
        return power.run(), host.prompts
    finally:
        machine.unplug()
