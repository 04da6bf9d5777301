"""Runs of filer-qualify in this process, in small."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from filer.host.durable import Storage
from filer.qualify.catalogue import checks
from filer.qualify.options import PROGRAM
from filer.qualify.outcome import Check, Result
from filer.qualify.report import Verdict
from filer.qualify.server import Scale, Settings
from filer.qualify.session import Plan, qualify
from filer.throw_away.ledger import Digests, Ledger
from pytest_filer.child import PATIENCE
from tests.kit.defective import Server

SMALL = Scale(few=12, many=24, pairs=8, others=10, batch=64)
SETTINGS = Settings(timeout=PATIENCE, idle=0.1, scale=SMALL)


@dataclass
class Collected:
    """A report that only collects."""

    results: list[Result] = field(default_factory=list)
    verdicts: Sequence[Verdict] = ()

    def begin(self, key_server: str, port: int) -> None:
        pass

    def begun(self, check: Check, number: int, count: int) -> None:
        pass

    def result(self, result: Result) -> None:
        self.results.append(result)

    def end(self, verdicts: Sequence[Verdict]) -> None:
        self.verdicts = verdicts


@dataclass
class Run:
    results: dict[str, Result]
    verdicts: Sequence[Verdict]
    complaints: Sequence[str]
    ledger: Path

    @property
    def failed(self) -> set[str]:
        return {name for name, each in self.results.items() if each.status == "failed"}

    @property
    def not_tested(self) -> dict[str, str]:
        return {name: each.reason for name, each in self.results.items() if each.reason}


def plan_for(*servers: Server, settings: Settings = SETTINGS, **more: object) -> Plan:
    first = servers[0]
    slept: list[float] = []
    settings = replace(
        settings,
        clock=lambda: first.spent + sum(slept),
        pause=slept.append,
        random=Random(1).randbytes,  # the tests remember what scrypt makes of the secrets
    )
    addresses = [server.address for server in servers]
    return Plan(addresses, first.port, first.directory, settings, **more)  # type: ignore[arg-type]


def qualified(plan: Plan, ledger: Path, chosen: Sequence[Check] | None = None) -> Run:
    """Check the key servers of ``plan``; return the results for the first."""
    said: list[str] = []
    report = Collected()
    begun = Ledger(PROGRAM, ledger, plan.reach(), Digests(bytes(16)), Storage())
    begun.create()
    qualify(plan, begun, checks() if chosen is None else chosen, report, said.append)
    results = {
        each.check.name: each for each in report.results if each.key_server == plan.addresses[0]
    }
    return Run(results, report.verdicts, said, ledger)
