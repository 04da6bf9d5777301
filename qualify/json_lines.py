"""The report as JSON: one object a line for each check, then one for each key server.

`CheckObject` and `VerdictObject` are the schema (``filer-qualify-1.schema.json``).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal, TextIO, TypedDict

from filer.host.standard_streams import write
from filer.qualify.outcome import Check, Result
from filer.qualify.report import Verdict

SCHEMA = "filer-qualify/1"
"""Name and version of the format."""

_Schema = Annotated[str, {"const": SCHEMA}]
_Severity = Annotated[
    Literal["blocker", "warning", "information"],
    {"description": "blocker: a filer cannot work with it; warning: it will hurt one day"},
]


class ProblemObject(TypedDict):
    """A reason why a check failed."""

    severity: _Severity
    message: str


class ExchangeObject(TypedDict):
    """A request and its answer in readable form, without key material."""

    request: str
    answer: str


class CheckObject(TypedDict):
    """The result of one check of one key server."""

    schema: _Schema
    check: Annotated[str, {"description": "Its name, as in docs/QUALIFY.md"}]
    key_server: str
    status: Literal["passed", "failed", "not_tested"]
    severity: _Severity
    problems: Annotated[Sequence[ProblemObject], {"description": "Empty unless it failed"}]
    facts: Annotated[Sequence[str], {"description": "What else it found out"}]
    reason: Annotated[str | None, {"description": "Why it was not made, or null"}]
    meaning: Annotated[str, {"description": "What a failure means for a filer"}]
    exchanges: Sequence[ExchangeObject]
    duration_s: Annotated[float, {"description": "Seconds that it took", "minimum": 0}]


class VerdictObject(TypedDict):
    """The verdict on one key server, with the numbers of failed checks by severity."""

    schema: _Schema
    key_server: str
    fit: Annotated[bool, {"description": "Whether no blocker failed"}]
    blockers: Annotated[int, {"minimum": 0}]
    warnings: Annotated[int, {"minimum": 0}]
    information: Annotated[int, {"minimum": 0}]
    not_tested: Annotated[int, {"minimum": 0}]
    message: Annotated[str, {"description": "The text that --format text prints"}]


class JsonReport:
    """JSON objects on standard output, each written when its check ends."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def begin(self, key_server: str, port: int) -> None:
        """Write nothing: each object names its key server."""

    def begun(self, check: Check, number: int, count: int) -> None:
        """Write nothing."""

    def result(self, result: Result) -> None:
        found: CheckObject = {
            "schema": SCHEMA,
            "check": result.check.name,
            "key_server": result.key_server,
            "status": result.status,
            "severity": result.severity.value,
            "problems": [
                {"severity": each.severity.value, "message": each.message}
                for each in result.problems
            ],
            "facts": result.statements,
            "reason": result.reason,
            "meaning": result.check.meaning,
            "exchanges": [
                {"request": each.request, "answer": each.answer} for each in result.exchanges
            ],
            "duration_s": round(result.duration_s, 3),
        }
        self._write(found)

    def end(self, verdicts: Sequence[Verdict]) -> None:
        for verdict in verdicts:
            self._write({"schema": SCHEMA, **asdict(verdict), "message": verdict.sentence()})

    def _write(self, fields: Mapping[str, Any]) -> None:
        write(self._out, json.dumps(fields, allow_nan=False) + "\n")
