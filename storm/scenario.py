"""What each filer of a storm does.

A scenario is a class whose `run` a filer goes through once, at the same time as all others.  A file
with one class that is derived from `Scenario`, or from a built-in scenario, is a scenario too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from filer.key_servers.group import KeyServers
from filer.keys.pair import KeyPair
from filer.kmip.client import KmipClient
from filer.kmip.failure import KeyServerFailure
from filer.running.interrupt import Interrupt
from filer.storm.plan import Plan


class Failed(Exception):
    """The filer has not reached what it should; the text says why."""


@dataclass(frozen=True)
class Filer:
    """One filer of a storm.

    ``interrupt`` is requested at the end of the storm.  ``new_pair`` makes a throw-away key pair,
    which the ledger names from then on, so that the clean-up destroys what the filer leaves.
    """

    number: int
    plan: Plan
    clients: Mapping[str, KmipClient]
    interrupt: Interrupt
    new_pair: Callable[[], KeyPair]

    def key_servers(self) -> KeyServers:
        """Return all key servers, for one command; they are used at the same time."""
        return KeyServers(self.clients, self.interrupt)

    def pause(self, seconds: float) -> None:
        """Wait.  Raises Interrupted at the end of the storm."""
        self.interrupt.sleep(seconds)


class Scenario:
    """What one filer does in the storm."""

    done: ClassVar[str] = "done"
    """What the report calls a filer that has gone through `run`."""

    def __init__(self, filer: Filer) -> None:
        self.filer = filer

    def prepare(self) -> None:
        """Make ready what `run` needs, before any filer begins."""

    def run(self) -> None:
        """Go through the scenario, once.  Raises Failed."""
        raise NotImplementedError

    def stop(self) -> None:
        """Take back what an interrupted `run` has left.  Called after every `run`."""


def check(failures: Mapping[str, KeyServerFailure]) -> None:
    """Raise Failed if a key server has failed."""
    for address, failure in failures.items():
        raise Failed(f"key server {address}: {failure.reason}")
