"""Each defect of a key server is found by the check that is there for it, and by no other."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from filer.qualify.catalogue import BUILT_IN
from filer.qualify.checks import protocol
from filer.qualify.outcome import BLOCKER, WARNING, Check, Statements, check
from filer.qualify.server import Server
from tests.kit import defective
from tests.kit.defective import DEFECTS, Store
from tests.kit.points import ALL, some
from tests.qualify.conftest import ADDRESSES
from tests.qualify.runs import Run, plan_for, qualified

FIRST, SECOND = ADDRESSES
TRIED = [*DEFECTS] if ALL else [*{DEFECTS[defect]: defect for defect in DEFECTS}.values()]
"""All defects, or one for each check."""

BY_NO_OTHER = some(TRIED, most=4)
"""The defects that all checks are made for, not only those that find them."""

NEVER_ALONE = {"durability", "replication"}
LEAVES_OBJECTS = {"it refuses Revoke", "Destroy does nothing"}
ALSO_IN_THE_PUBLISHED_CASES = {
    "Locate ignores the name",
    "it has no Get Attributes in its list",
    "it has no Secret Data in its list",
    "it refuses Query",
    "it refuses an empty result",
    "it wants an ID for a single item",
    "it changes the last byte of a secret",
    "it loses the group",
    "it stores nothing",
    "Locate ignores the group",
}
"""Defects that the test cases of the standard meet too."""


def run_with(
    defect: str, certs: Path, tmp_path: Path, chosen: Sequence[Check] = BUILT_IN
) -> tuple[Run, Store]:
    with (
        defective.start(certs, FIRST, defect) as first,
        defective.start(certs, SECOND, port=first.port) as second,
    ):
        if defect != "it does not replicate":
            second.store = first.store
        # Only a good server, and one that does not replicate, are run at both addresses.
        servers = [first] if defect not in ("", "it does not replicate") else [first, second]
        plan = plan_for(*servers, partner_cert=certs / "partner.pem")
        return qualified(plan, tmp_path / "ledger", chosen), first.store


def test_a_good_server_passes_every_check(certs: Path, tmp_path: Path) -> None:
    run, store = run_with("", certs, tmp_path)

    assert run.failed == set()
    assert set(run.not_tested) == {"durability"}
    assert list(run.results) == [check.name for check in BUILT_IN]
    assert [verdict.fit for verdict in run.verdicts] == [True, True]
    assert run.complaints == []
    assert not run.ledger.exists()
    assert store.objects == {}
    assert len(store.secrets) > 60


def with_needs(names: set[str]) -> list[Check]:
    """Return the checks of these names, and those that they need."""
    chosen: list[Check] = []
    for each in reversed(BUILT_IN):
        if each.name in names:
            names = names | set(each.needs)
            chosen.insert(0, each)
    return chosen


@pytest.mark.sampled
@pytest.mark.parametrize("defect", TRIED)
def test_a_defect_is_found_by_its_check_and_by_no_other(
    defect: str, certs: Path, tmp_path: Path
) -> None:
    published = {"oasis-profile"} if defect in ALSO_IN_THE_PUBLISHED_CASES else set()
    own = {DEFECTS[defect]} | published
    chosen = BUILT_IN if defect in BY_NO_OTHER else with_needs(own)
    run, store = run_with(defect, certs, tmp_path, chosen)

    assert run.failed == own
    assert run.verdicts[0].fit == (run.results[DEFECTS[defect]].severity is not BLOCKER)
    for name, reason in run.not_tested.items():
        assert name in NEVER_ALONE or DEFECTS[defect] in reason or not run.verdicts[0].fit
    if defect not in LEAVES_OBJECTS:
        assert run.complaints == []
        assert store.objects == {}
        assert not run.ledger.exists()


@check(WARNING)
def broken(server: Server) -> Statements:
    """A check with a defect"""
    yield "a fact"
    server.own.register(server.mint.pair())
    raise ValueError("the text of the error")


def test_a_defect_of_a_check_costs_only_that_check(certs: Path, tmp_path: Path) -> None:
    with defective.start(certs, FIRST) as server:
        run = qualified(plan_for(server), tmp_path / "ledger", [broken, protocol.clock])

    assert run.not_tested == {"broken": "the check has a defect (ValueError)"}
    assert run.results["clock"].status == "passed"
    assert server.store.objects == {}


def test_every_check_has_a_defect_that_it_finds() -> None:
    found_otherwise = {"server-certificate", "durability", "duplicates"}
    assert {*DEFECTS.values(), *found_otherwise} == {check.name for check in BUILT_IN}
