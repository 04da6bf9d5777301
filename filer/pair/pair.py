"""An HA pair as one of its nodes sees it: the locks, the mailboxes and the interconnect."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from filer.config import Hardware
from filer.config import read as read_hardware
from filer.host.durable import Storage, StorageError
from filer.host.errors import FilerError
from filer.host.toml_file import ConfigError
from filer.pair.interconnect import ALIVE, WAITING, Interconnect
from filer.pair.mailbox import Failover, Mailbox, Message, State
from filer.pair.service import ServiceLock, lock_of_disks


class Partner(Enum):
    """How the partner is."""

    UP = "up"
    TAKEN_OVER = "taken over"
    DOWN = "down"
    """Down, and may be taken over."""

    NOTAKEOVER = "halted in notakeover mode"
    WAITING = "waiting"
    NEVER_UP = "never up"


class Sight(NamedTuple):
    """The partner as it is seen now; ``message`` is the content of its mailbox."""

    partner: Partner
    message: Message | None
    interconnect: bool


class Pair:
    """The pair of the node in ``root``.

    ``service`` is the node's own service lock, ``other_service`` that of the partner.
    ``unheard`` is set while the interconnect is down although both nodes live, and stays set when
    the partner goes down then, until it is heard again.
    """

    def __init__(
        self,
        root: Path,
        shelf: Path,
        hardware: Hardware,
        service: ServiceLock,
        *,
        storage: Storage,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.partner_root = root / hardware.partner_root
        self.service = service
        self.other_service = ServiceLock(
            self.partner_root, lock_of_disks(shelf, hardware.partner_id)
        )
        self.mailbox = Mailbox(shelf, hardware.system_id, storage, now)
        self.other_mailbox = Mailbox(shelf, hardware.partner_id, storage, now)
        self.failover = Failover(shelf, storage)
        self.interconnect = Interconnect(root, self.partner_root)
        self.unheard = False
        self.moving = threading.Lock()
        """Held during a takeover and a giveback."""

        self.dealt_with = 0
        """The generation of the partner's last failure after which a takeover was tried."""

        self.reason = ""
        """Why the partner was taken over."""

        self.problem = ""
        """Why the mailbox of this node could not be written, while that is so."""

        self._unsaid: State | None = None

    @property
    def partner_hardware(self) -> Hardware | None:
        """The partner's filer.toml, or None if it cannot be read."""
        with suppress(FilerError):
            return read_hardware(self.partner_root / "filer.toml")
        return None

    @property
    def partner_name(self) -> str:
        """The hostname of the partner, or "partner" if it is unknown."""
        hardware = self.partner_hardware
        return hardware.hostname if hardware else "partner"

    def look(self) -> Sight:
        """Return how the partner is, and remember whether the interconnect fails it.

        Raises ConfigError if its mailbox is damaged.
        """
        interconnect = self.interconnect.is_up
        if self.other_service.held:
            return Sight(Partner.TAKEN_OVER, self.other_mailbox.read(), interconnect)
        if interconnect:
            self.unheard = False
        if not self.other_service.is_free():
            self.unheard |= self.interconnect.is_silent
            return Sight(Partner.UP, self.other_mailbox.read(), interconnect)
        message = self.other_mailbox.read()
        if message is None:
            return Sight(Partner.NEVER_UP, None, interconnect)
        match message.state:
            case State.NOTAKEOVER | State.MAINTENANCE:
                partner = Partner.NOTAKEOVER
            case State.WAITING if interconnect:
                partner = Partner.WAITING
            case _:
                partner = Partner.DOWN
        return Sight(partner, message, interconnect)

    def refusal(self, sight: Sight) -> str | None:
        """Return why an ordinary takeover is disabled, or None."""
        if sight.partner is Partner.NOTAKEOVER:
            return "partner halted in notakeover mode"
        if sight.partner is Partner.NEVER_UP:
            return "partner has not booted yet"
        if self.unheard:
            return "interconnect error"
        is_in_maintenance = sight.message and sight.message.state is State.MAINTENANCE
        if sight.partner is Partner.UP and is_in_maintenance:
            return "partner in maintenance mode"
        return None

    def is_up(self, state: State = State.UP) -> None:
        """Say that this node holds its service lock, and what it does."""
        self._say(state)
        self.interconnect.heartbeat = ALIVE

    def waits(self) -> None:
        """Say that this node waits for giveback."""
        message = None
        with suppress(ConfigError):
            message = self.mailbox.read()
        if message is None or message.state is not State.WAITING:
            self._say(State.WAITING)
        self.interconnect.heartbeat = WAITING

    def waits_no_more(self) -> None:
        """Say that this node does not wait for giveback any more."""
        self.interconnect.heartbeat = ALIVE

    def goes_down(self, state: State) -> None:
        """Say why this node goes down, if it was up, and release its service lock."""
        try:
            if self.service.held:
                self._say(state)
        finally:
            self.service.release()
            self.interconnect.heartbeat = ALIVE

    def _say(self, state: State) -> None:
        """Write ``state`` to the mailbox.

        If that fails, all goes on: the locks decide who has the disks.  But the partner may not
        take over then when it should, or may when it should not, so ``problem`` says why.
        """
        try:
            self.mailbox.put(state)
        except StorageError as refusal:
            self._unsaid, self.problem = state, str(refusal)
        else:
            self._unsaid, self.problem = None, ""

    def say_again(self) -> None:
        """Try again to write what could not be written."""
        if self._unsaid:
            self._say(self._unsaid)

    def ask_partner_to_go_down(self) -> None:
        """Ask the partner to release its disks, now: a later answer would come in vain."""
        self.interconnect.ask()

    def close(self) -> None:
        """Stop the interconnect, and release the locks."""
        self.interconnect.stop()
        self.other_service.release()
        self.goes_down(State.NOTAKEOVER)
