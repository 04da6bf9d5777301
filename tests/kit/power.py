"""The life of a machine in this process: the prompts that it reaches, with nothing typed there."""

import time
from collections.abc import Sequence
from functools import partial
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


class Ticking(Interrupt):
    """A clock that each sleep turns on, instead of sleeping."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds * 60
        self.check()


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
    root: Path,
    interrupt: Interrupt,
    screen: Screen,
    storage: Storage | None = None,
    signals: Signals | None = None,
) -> tuple[int, Sequence[str]]:
    """Power the machine on; return the exit status, and the prompts that were shown."""
    monotonic = time.monotonic
    if isinstance(interrupt, Ticking):
        monotonic = partial(getattr, interrupt, "now")
    machine, host = Machine(root, interrupt, storage, monotonic=monotonic), _NoLines()
    power = PowerCycle(
        machine,
        Commands(pytest.fail),
        host,
        screen,
        signals or Signals(interrupt),
        first_up=lambda _: None,
        on_session=lambda: None,
    )
    try:
        return power.run(), host.prompts
    finally:
        machine.unplug()
