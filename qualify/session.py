"""A whole run: the key servers, their ledger, the report, and the clean-up behind it."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from filer.host.errors import FilerError
from filer.host.toml_file import ConfigError
from filer.kmip.failure import KeyServerFailure
from filer.kmip.login import Login, read_login
from filer.kmip.ttlv import MalformedTtlv
from filer.qualify.certificates import Certificates
from filer.qualify.outcome import Check, NotTested
from filer.qualify.report import Report, Verdict
from filer.qualify.run import run
from filer.qualify.server import Owner, Server, Settings
from filer.registration.pem import CLIENT
from filer.throw_away.certificates import fingerprint
from filer.throw_away.destruction import Destroyer, by_place
from filer.throw_away.ledger import Entry, Ledger, Reach
from filer.throw_away.line import Batches
from filer.throw_away.stock import NotStored

Complain = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """Which key servers to check, and with which certificates; ``keep`` leaves a pair on each."""

    addresses: Sequence[str]
    port: int
    certs: Path
    settings: Settings
    other_cert: Path | None = None
    partner_cert: Path | None = None
    keep: bool = False
    login: Sequence[str] | None = None
    """The user and the file of ``settings.login``."""

    sees_all: bool = True
    """Whether the client certificates are those of the run that is cleaned up."""

    def reach(self) -> Reach:
        """Return what a later clean-up needs to reach the key servers."""
        return Reach(
            certs=str(self.certs.absolute()),
            port=self.port,
            timeout=self.settings.timeout,
            other_cert=str(self.other_cert) if self.other_cert else None,
            login=self.login,
            client=self.client,
        )

    @property
    def client(self) -> str:
        """The fingerprint of the client certificates."""
        return fingerprint(self.certs / CLIENT, *filter(None, [self.other_cert]))

    @classmethod
    def again(cls, reach: Reach, entries: Sequence[Entry], certs: Path | None) -> "Plan":
        """Return the plan of a run whose ledger has ``entries``, to read and destroy them."""
        return cls(
            addresses=list(dict.fromkeys(entry.key_server for entry in entries)),
            port=reach.port,
            certs=certs or Path(reach.certs),
            settings=Settings(reach.timeout, login=login_of(reach.login), restarted=entries),
            other_cert=Path(reach.other_cert) if reach.other_cert else None,
            login=reach.login,
        ).behind(reach)

    def behind(self, reach: Reach) -> "Plan":
        """Return this plan for the clean-up behind a run that had ``reach``."""
        return replace(self, sees_all=self.client == reach.client)


def login_of(words: Sequence[str] | None) -> Login | None:
    """Return the login of a user, whose password is in a file.  Raises FilerError."""
    if words is None:
        return None
    user, file = words
    try:
        return read_login(user, Path(file))
    except ConfigError as error:
        raise FilerError(str(error).removeprefix("filer.toml: password_file ")) from None


def qualify(
    plan: Plan, ledger: Ledger, checks: Sequence[Check], report: Report, complain: Complain
) -> list[Verdict]:
    """Make ``checks`` on each key server of ``plan``, and destroy what was registered.

    The pairs of a run before the restart are destroyed too.  Raises StorageError if the ledger
    cannot be written.
    """
    with _servers(plan, ledger) as servers:
        kept: list[Entry] = []
        try:
            verdicts = [_checked(server, checks, report) for server in servers]
            if plan.keep:
                kept = _keep(servers)
            report.end(verdicts)
        finally:
            left = [entry for server in servers for entry in server.destroy_all()]
            left += _destroy(servers, plan.settings.restarted or (), ledger, plan)
            _settle(ledger, left, kept, complain)
    return verdicts


def clean_up(plan: Plan, ledger: Ledger, entries: Sequence[Entry]) -> list[Entry]:
    """Destroy the objects of ``entries``; return those of which one may be left."""
    with _servers(plan, ledger) as servers:
        left = _destroy(servers, entries, ledger, plan)
    ledger.leave(left)
    return left


@contextmanager
def _servers(plan: Plan, ledger: Ledger) -> Iterator[list[Server]]:
    with tempfile.TemporaryDirectory(prefix="filer-qualify-") as scratch:
        certificates = Certificates(plan.certs, Path(scratch), plan.other_cert, plan.partner_cert)
        yield [
            Server(
                address,
                plan.port,
                certificates,
                plan.settings,
                ledger,
                others=() if number else plan.addresses[1:],
            )
            for number, address in enumerate(plan.addresses)
        ]


def _checked(server: Server, checks: Sequence[Check], report: Report) -> Verdict:
    report.begin(server.address, server.port)
    numbers = {check.name: number for number, check in enumerate(checks, 1)}

    def begun(check: Check) -> None:
        report.begun(check, numbers[check.name], len(numbers))

    results = []
    for result in run(server, checks, begun):
        report.result(result)
        results.append(result)
    return Verdict.on(server.address, results)


def _keep(servers: Sequence[Server]) -> list[Entry]:
    """Register a pair on each server and leave it there; return the entries."""
    kept = []
    for server in servers:
        with suppress(KeyServerFailure, NotTested, NotStored):
            server.own.register(server.mint.pair())
            kept.append(server.own.entries[-1])
            server.own.forget(kept[-1])
    return kept


def _destroy(
    servers: Sequence[Server], entries: Sequence[Entry], ledger: Ledger, plan: Plan
) -> list[Entry]:
    left: list[Entry] = []
    by_address = {server.address: server for server in servers}

    for (address, owner), some in by_place(entries).items():
        if address not in by_address:  # a server that was not named this time
            left += some
            continue
        whose: Owner = "other" if owner == "other" else "own"
        batches = Batches(lambda server=by_address[address], whose=whose: server.line(whose))  # type: ignore[misc]
        try:
            left += Destroyer(batches.ask, ledger.digests, sees_all=plan.sees_all).destroy(some)
        except (KeyServerFailure, MalformedTtlv, NotTested):
            left += some
    return left


def _settle(
    ledger: Ledger, left: Sequence[Entry], kept: Sequence[Entry], complain: Complain
) -> None:
    if left:
        complain(
            f"{len(left)} objects may be left on {left[0].key_server}; to destroy them, run: "
            f"filer-qualify cleanup {ledger.path}"
        )
    if kept:
        complain(
            f"{len(kept)} pairs are kept; restart the key servers, then run with "
            f"--after-restart {ledger.path}"
        )
    ledger.leave([*left, *kept])
