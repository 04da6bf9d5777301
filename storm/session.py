"""A whole run: set-up, storm, report, and the clean-up behind it."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from filer.host.durable import Storage
from filer.host.errors import FilerError
from filer.host.text import printable
from filer.storm import ledgers
from filer.storm.fleet import Fleet
from filer.storm.load import Load
from filer.storm.outcome import Outcome
from filer.storm.plan import HTML, PROGRAM, Plan, Post
from filer.storm.stocking import Lines, Setup, destroy
from filer.throw_away.certificates import Authority, NoAuthority
from filer.throw_away.ledger import OTHER_CLIENT, Entry, Ledger, LedgerError
from filer.throw_away.pairs import Mint


class Stopping(Protocol):
    """Whether the user wants to stop."""

    def stopping(self) -> bool:
        """Return whether the storm must end."""

    def hurry(self) -> bool:
        """Return whether the clean-up must end too."""


@dataclass(frozen=True)
class Hearing:
    """Callbacks of a run: ``progress`` gets what is done, how many are done, and the total."""

    progress: Callable[[str, int, int], None]
    complain: Callable[[str], None]


@dataclass(frozen=True)
class Choices:
    """How many ``workers`` this machine has; whether the pairs are there, and are kept."""

    workers: int = 0
    stocked: bool = False
    keep: bool = False


def storm(
    plan: Plan,
    post: Post,
    choices: Choices,
    signals: Stopping,
    hearing: Hearing,
    *,
    report: Callable[[Outcome, str], None],
) -> Outcome | None:
    """Make a storm; return the outcome, or None if the user has stopped it.

    ``report`` gets the outcome and Locust's page before the clean-up.  Raises FilerError if the
    storm cannot begin.
    """
    ledger = ledgers.begin(plan, post)
    fleet = Fleet(Path(post.certs), Path(post.scratch), tagged=plan.tagged)
    lines = Lines(fleet, plan.port)
    setup = Setup(plan, lines, ledger, Mint(os.urandom))
    kept: list[Entry] = []
    try:
        with Load(post, plan, signals.stopping, signals.hurry) as load:
            load.start(choices.workers)
            if not choices.stocked:
                total = plan.filers * plan.pairs * len(plan.addresses)
                setup.store(
                    lambda: not signals.stopping(),
                    lambda done: hearing.progress("storing key pairs", done, total),
                )
            results, end = load.run(lambda done: hearing.progress("filers", done, plan.filers))
        if end is None:
            return None
        outcome = Outcome.of(plan, end["done"], results, end["operations"], end["workers"])
        report(outcome, Path(post.scratch, HTML).read_text(encoding="utf-8"))
        if choices.keep:
            kept = setup.entries
    finally:
        doomed = set(ledgers.entries(ledger)).difference(kept)
        left = destroy(
            doomed,
            lines,
            ledger.digests,
            setup.identifiers,
            setup.unanswered,
            go_on=lambda: not signals.hurry(),
            tell=lambda done: hearing.progress("destroying key pairs", done, len(doomed)),
        )
        _settle(ledger, left, kept, hearing.complain)
    return outcome


def work(post: Post, signals: Stopping, hearing: Hearing) -> None:
    """Drive load for a master on another machine, and clean up behind it.

    Raises FilerError if it cannot begin.
    """
    path = Path(post.ledger)
    if path.exists():
        raise LedgerError(f"{printable(post.ledger)}: exists already")
    Storage().make_directory(path.parent)
    try:
        with Load(post, None, signals.stopping, signals.hurry) as load:
            load.wait()
    finally:
        if path.exists():
            clean_up(path, None, Path(post.scratch), lambda: not signals.hurry(), hearing)


def clean_up(
    path: Path,
    certs: Path | None,
    scratch: Path,
    go_on: Callable[[], bool],
    hearing: Hearing,
) -> tuple[int, int]:
    """Destroy the objects in a ledger; return their number, and that of those that may be left.

    ``certs`` has other certificates than the ledger says.  Raises LedgerError.
    """
    ledger, reach = ledgers.opened(path)
    entries = ledgers.entries(ledger)
    certs = certs or Path(reach.certs)
    fleet = Fleet(certs, scratch, tagged=False)
    sees_all = ledgers.client_of(certs) == reach.client
    lines, total = Lines(fleet, reach.port), len(entries)

    def tell(done: int) -> None:
        hearing.progress("destroying key pairs", done, total)

    left = destroy(
        entries, lines, ledger.digests, {}, (), go_on=go_on, tell=tell, sees_all=sees_all
    )
    _settle(ledger, left, (), hearing.complain)
    if left and not sees_all:
        hearing.complain(OTHER_CLIENT)
    return total, len(left)


def check_certificates(certs: Path) -> None:
    """Raise FilerError unless each filer can get a client certificate of its own."""
    try:
        Authority.of(certs)
    except NoAuthority as reason:
        raise FilerError(
            f"each filer needs a client certificate of its own, and {reason}; "
            "with --tagged, all filers share client.pem"
        ) from None


def _settle(
    ledger: Ledger, left: Sequence[Entry], kept: Sequence[Entry], complain: Callable[[str], None]
) -> None:
    if left:
        complain(
            f"{len(left)} objects may be left, such as {left[0].name} on {left[0].key_server}; to "
            f"destroy them, run: {PROGRAM} cleanup {printable(str(ledger.path))}"
        )
    if kept:
        complain(
            f"{len(kept)} objects are kept for --stocked; to destroy them, run: "
            f"{PROGRAM} cleanup {printable(str(ledger.path))}"
        )
    ledger.leave([*left, *kept])
