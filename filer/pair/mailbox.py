"""The mailboxes of an HA pair: a file for each node in the shelf, written by that node only.

A partner reads there why a node is down.  Only if the service lock of the node is free does the
state count: a node whose process was killed still has the state "up".
"""

import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from filer.host.durable import Storage
from filer.host.toml_file import ConfigError, Document, RuleError, dump, switch, whole


class State(Enum):
    """What a node does, or why it went down."""

    UP = "up"
    TAKEOVER = "takeover"
    """Up, and it has taken over the partner."""

    WAITING = "waiting"
    """Its process runs, and waits for giveback."""

    PANICKED = "panicked"
    HALTED = "halted"
    REBOOTING = "rebooting"
    HANDED_OVER = "handed over"
    """The partner's operator has asked for its disks."""

    NOTAKEOVER = "notakeover"
    """Halted with -f, or its script has ended."""

    MAINTENANCE = "maintenance"


class Message(NamedTuple):
    """The content of a mailbox; ``time`` is in seconds since 1970.

    ``generation`` counts the changes of the state: one value names one failure.
    """

    state: State
    generation: int
    time: int

    @classmethod
    def parse(cls, document: Document) -> "Message":
        """Parse a mailbox.  Raises ConfigError, with the line number."""
        number = whole(0, rule="must be a whole number")
        return cls(
            document.take("state", _state),
            document.take("generation", number),
            document.take("time", number),
        )

    def pack(self) -> bytes:
        return dump({"state": self.state.value, "generation": self.generation, "time": self.time})


def _state(value: object) -> State:
    try:
        return State(value)
    except ValueError:
        raise RuleError("must be the state of a node") from None


class Mailbox:
    """The mailbox of the node ``system_id`` in the shelf ``directory``."""

    def __init__(
        self,
        directory: Path,
        system_id: int,
        storage: Storage,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._path = directory / f"mailbox.{system_id}"
        self._storage = storage
        self._now = now

    def read(self) -> Message | None:
        """Return the message, or None if the node was never up.  Raises ConfigError."""
        document = Document.find(self._path.name, self._path)
        return Message.parse(document) if document else None

    def put(self, state: State) -> None:
        """Write ``state`` with the next generation.  Raises StorageError.

        If the mailbox was lost or damaged, the time is a generation that it has not had.
        """
        now = int(self._now())
        before = None
        with suppress(ConfigError):
            before = self.read()
        generation = before.generation + 1 if before else now
        self._storage.write(self._path, Message(state, generation, now).pack())


class Failover:
    """Whether takeover is enabled, for both nodes: a file in the shelf."""

    def __init__(self, directory: Path, storage: Storage) -> None:
        self._path = directory / "failover"
        self._storage = storage

    @property
    def enabled(self) -> bool:
        """Whether takeover is enabled, as it is at first.  Raises ConfigError."""
        document = Document.find(self._path.name, self._path)
        return document.take("enabled", switch) if document else True

    @enabled.setter
    def enabled(self, value: bool) -> None:
        self._storage.write(self._path, dump({"enabled": value}))
