"""What a run reports: its results, and the verdict on each key server."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from filer.qualify.outcome import BLOCKER, INFORMATION, WARNING, Check, Result, Severity


@dataclass(frozen=True)
class Verdict:
    """The verdict on one key server: the numbers of failed checks by their severity."""

    key_server: str
    fit: bool
    blockers: int
    warnings: int
    information: int
    not_tested: int

    @classmethod
    def on(cls, key_server: str, results: Iterable[Result]) -> "Verdict":
        """Judge a key server by the results of its checks."""
        results = list(results)

        def failed(severity: Severity) -> int:
            return sum(each.status == "failed" and each.severity is severity for each in results)

        return cls(
            key_server,
            fit=not failed(BLOCKER),
            blockers=failed(BLOCKER),
            warnings=failed(WARNING),
            information=failed(INFORMATION),
            not_tested=sum(each.status == "not_tested" for each in results),
        )

    def sentence(self) -> str:
        """Return the verdict in words."""
        counts = (
            (self.blockers, "blocker"),
            (self.warnings, "warning"),
            (self.not_tested, "check not made"),
        )
        words = ", ".join(f"{count} {_plural(name, count)}" for count, name in counts if count)
        is_fit = "is fit" if self.fit else "is not fit"
        return f"Key server {self.key_server} {is_fit} for a filer{f': {words}' if words else ''}."


def _plural(name: str, count: int) -> str:
    return name if count == 1 else {"check not made": "checks not made"}.get(name, f"{name}s")


class Report(Protocol):
    """Shows a run in one of the formats.  Methods raise OutputLost."""

    def begin(self, key_server: str, port: int) -> None:
        """Begin with a key server."""

    def begun(self, check: Check, number: int, count: int) -> None:
        """Show that a check begins: ``number`` of ``count``, from 1."""

    def result(self, result: Result) -> None:
        """Show a result."""

    def end(self, verdicts: Sequence[Verdict]) -> None:
        """Show the verdicts."""
