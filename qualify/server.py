"""One key server under test: what a check uses."""

import os
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal, NamedTuple

from filer.kmip.client import Credentials, KmipClient
from filer.kmip.failure import KeyServerFailure
from filer.kmip.login import Login
from filer.kmip.requests import SPOKEN, Item, Version, locate_name, query
from filer.kmip.ttlv import MalformedTtlv
from filer.qualify.certificates import Certificates
from filer.qualify.outcome import NotTested
from filer.qualify.record import Recorder
from filer.throw_away.ledger import Entry, Ledger
from filer.throw_away.line import Batches, Habits, Line, Tape, Way, learn_habits, verified
from filer.throw_away.message import NEWER, Answer, AnswerItem, Raw
from filer.throw_away.pairs import Mint
from filer.throw_away.stock import Stock

Owner = Literal["own", "other"]
"""Whose client certificate: "own", or "other", the second one."""


def _time_of_day() -> datetime:
    return datetime.now(UTC)


class Scale(NamedTuple):
    """How many pairs the checks register; smaller only in tests."""

    few: int = 129
    """Pairs of a system that has reached its limit and one more."""
    many: int = 1001
    """Pairs on a busy server."""
    pairs: int = 128
    """Pairs of a system that has reached its limit."""
    others: int = 1000
    """Objects of another client."""
    batch: int = 1024
    """Items of the largest request."""


FULL = Scale()


@dataclass(frozen=True)
class Settings:
    """What the user chose.  Times are in seconds."""

    timeout: float = 5.0
    idle: float = 30.0
    """How long a connection is idle before it is used again."""
    scale: Scale = FULL
    login: Login | None = None
    restarted: Sequence[Entry] | None = None
    """The pairs of a kept ledger, if the server was restarted since."""
    random: Callable[[int], bytes] = os.urandom
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = _time_of_day
    pause: Callable[[float], None] = time.sleep


class Server:
    """A key server, reached with the certificates in a directory.

    ``others`` are other addresses of the same server.  ``times`` has the seconds of each fetch of
    128 pairs, once they are measured.
    """

    def __init__(
        self,
        address: str,
        port: int,
        certificates: Certificates,
        settings: Settings,
        ledger: Ledger,
        *,
        others: Sequence[str] = (),
    ) -> None:
        self.address = address
        self.port = port
        self.certificates = certificates
        self.settings = settings
        self.digests = ledger.digests
        self.others = others
        self.clock = settings.clock
        self.now = settings.now
        self.pause = settings.pause
        self.times: list[float] = []
        self.refusals: dict[Version, str] = {}
        self.mint = Mint(settings.random)
        self.own = Stock(address, "own", ledger, self.mint, self.line)
        self.foreign = Stock(address, "other", ledger, self.mint, lambda: self.line("other"))
        self.recorder = Recorder(lambda: [*self.own.secrets, *self.foreign.secrets])
        self._contexts: dict[Credentials, ssl.SSLContext] = {}
        self._idle: tuple[Line, float] | None = None

    def credentials(self, owner: Owner = "own", address: str | None = None) -> Credentials:
        """Return the certificate files of ``owner``.  Raises NotTested without a second one."""
        return self.certificates.of(owner, address or self.address)

    def client(
        self,
        credentials: Credentials | None = None,
        *,
        address: str | None = None,
        wanted: Callable[[str], bool] = lambda key_id: True,
    ) -> KmipClient:
        """Return the filer's own client, which reads only key IDs that are ``wanted``."""
        address = address or self.address
        return KmipClient(
            address,
            self.port,
            credentials or self.credentials(address=address),
            self.settings.timeout,
            login=self.settings.login,
            ignored=lambda key_id: not wanted(key_id),
            watch=self.recorder.tape(),
        )

    def line(self, owner: Owner = "own") -> Line:
        """Return a connection with the certificate of ``owner``, not yet made."""
        credentials = self.credentials(owner)
        if credentials not in self._contexts:
            self._contexts[credentials] = verified(credentials)
        return self.line_with(self._contexts[credentials], self.habits)

    def line_with(self, context: ssl.SSLContext, habits: Habits | None = None) -> Line:
        """Return a connection with ``context``, not yet made."""
        return Line(self._way, context, habits or Habits(), self.recorder.tape())

    @property
    def _way(self) -> Way:
        settings = self.settings
        return Way(self.address, self.port, self.credentials(), settings.timeout, settings.login)

    def ask(self, *items: Item | Raw, owner: Owner = "own") -> Answer:
        """Send one request over a connection of its own.  Raises KeyServerFailure."""
        with self.line(owner) as line:
            return line.ask(*items)

    def item(self, item: Item | Raw, owner: Owner = "own") -> AnswerItem:
        """Send a request with one item and return its outcome.  Raises KeyServerFailure."""
        answer = self.ask(item, owner=owner)
        if len(answer.items) != 1:
            raise KeyServerFailure(f"{len(answer.items)} answers to one item")
        return answer.items[0]

    def batches(self) -> Batches:
        """Return requests with many items."""
        return Batches(self.line)

    def unknown_name(self) -> Item:
        """Return a Locate for a name that no object has: it changes nothing."""
        return locate_name(self.mint.name())

    @cached_property
    def spoken(self) -> dict[Version, Habits]:
        """The versions in which the server answers a Locate, best first, and what it needs for it.

        ``refusals`` then has the reasons of the others.
        """
        found: dict[Version, Habits] = {}
        for version in (*SPOKEN, *NEWER):
            habits = learn_habits(
                lambda habits: self.line_with(verified(self.credentials()), habits),
                self.unknown_name(),
                version,
            )
            if isinstance(habits, Habits):
                found[version] = habits
            else:
                self.refusals[version] = habits
        return found

    @cached_property
    def habits(self) -> Habits:
        """What all connections must respect.  Raises NotTested if no version is in common."""
        for version in SPOKEN:
            if version in self.spoken:
                return self.spoken[version]
        raise NotTested("it speaks no version of KMIP that a filer speaks")

    def idle(self) -> tuple[Line, float]:
        """Return a connection that has been used once and is idle since, and since when.

        The runner calls this early, so that the time passes meanwhile.  Raises KeyServerFailure.
        """
        if self._idle is None:
            line = Line(self._way, verified(self.credentials()), self.habits, Tape())
            line.ask(query())
            self._idle = line, self.clock()
        return self._idle

    def destroy_all(self) -> list[Entry]:
        """Destroy all pairs that this run has made; return those that may be left."""
        if self._idle is not None:
            self._idle[0].close()
        left: list[Entry] = []
        for stock in (self.own, self.foreign):
            try:
                left += stock.destroy_all()
            except (KeyServerFailure, MalformedTtlv, NotTested):
                left += stock.entries
        return left
