"""The report as one JSON object; `StormObject` is its schema (``filer-storm-1.schema.json``)."""

import json
from collections.abc import Sequence
from typing import Annotated, Literal, TypedDict

from filer.storm.outcome import NO_VERDICT, Outcome

SCHEMA = "filer-storm/1"
"""Name and version of the format."""

_Seconds = Annotated[float, {"minimum": 0}]
_Count = Annotated[int, {"minimum": 0}]


class FilerObject(TypedDict):
    """One filer."""

    number: _Count
    seconds: Annotated[float | None, {"description": "From the power-on; null if it never ended"}]
    problem: Annotated[str | None, {"description": "Why it failed, or null"}]


class ReasonObject(TypedDict):
    """A reason of failures."""

    reason: str
    filers: Annotated[int, {"minimum": 1}]


class OperationObject(TypedDict):
    """An operation of the client on one key server, with all its requests."""

    operation: str
    key_server: str
    requests: _Count
    failures: _Count
    median_s: _Seconds
    p95_s: _Seconds
    slowest_s: _Seconds


class WorkerObject(TypedDict):
    """A process of the load generator."""

    filers: _Count
    lost: bool
    lag_s: Annotated[float | None, {"description": "The longest; null if it was lost"}]
    cpu_s: Annotated[float | None, {"description": "CPU time; null if it was lost"}]


class StormObject(TypedDict):
    """The outcome of a storm."""

    schema: Annotated[str, {"const": SCHEMA}]
    verdict: Literal["passed", "failed", "no_verdict"]
    message: Annotated[str, {"description": "The first line of the text"}]
    scenario: str
    filers: Annotated[int, {"minimum": 1}]
    succeeded: _Count
    last_s: Annotated[float | None, {"description": "When the last one succeeded, or null"}]
    within_s: Annotated[float, {"description": "The limit"}]
    pairs: Annotated[int, {"description": "Key pairs of each filer", "minimum": 1}]
    key_servers: Sequence[str]
    port: int
    timeout_s: Annotated[float, {"description": "For one answer of a key server"}]
    tagged: Annotated[bool, {"description": "One client certificate for all filers"}]
    lag_limit_s: Annotated[float, {"description": "Above it there is no verdict"}]
    failures: Sequence[ReasonObject]
    operations: Sequence[OperationObject]
    workers: Sequence[WorkerObject]
    results: Sequence[FilerObject]


def document(outcome: Outcome) -> str:
    """Return the report."""
    plan = outcome.plan
    found: StormObject = {
        "schema": SCHEMA,
        "verdict": outcome.verdict,
        "message": NO_VERDICT if outcome.verdict == "no_verdict" else outcome.sentence,
        "scenario": plan.scenario,
        "filers": plan.filers,
        "succeeded": len(outcome.times),
        "last_s": outcome.times[-1] if outcome.times else None,
        "within_s": plan.within,
        "pairs": plan.pairs,
        "key_servers": plan.addresses,
        "port": plan.port,
        "timeout_s": plan.timeout,
        "tagged": plan.tagged,
        "lag_limit_s": plan.most_lag,
        "failures": [{"reason": reason, "filers": count} for reason, count in outcome.problems],
        "operations": [OperationObject(**each) for each in outcome.operations],  # type: ignore[typeddict-item]
        "workers": [WorkerObject(**each) for each in outcome.workers],  # type: ignore[typeddict-item]
        "results": [
            {"number": each.number, "seconds": each.seconds, "problem": each.problem}
            for each in outcome.results
        ],
    }
    return json.dumps(found, indent=1, allow_nan=False) + "\n"
