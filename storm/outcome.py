"""What a storm has shown, and the verdict."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from filer.storm.plan import Plan

Verdict = Literal["passed", "failed", "no_verdict"]

NO_VERDICT = "no verdict: the load generator was too slow; use more workers"


@dataclass(frozen=True)
class Result:
    """How one filer fared: seconds from the power-on, and why it failed, or None."""

    number: int
    seconds: float | None
    problem: str | None


@dataclass(frozen=True)
class Outcome:
    """The outcome of a storm.

    ``results`` has all filers, also those that have not finished.  ``operations`` and ``workers``
    are as the load generator reports them.  ``done`` says what a filer is that has succeeded.
    """

    plan: Plan
    done: str
    results: Sequence[Result]
    operations: Sequence[Mapping[str, Any]]
    workers: Sequence[Mapping[str, Any]]

    @classmethod
    def of(
        cls,
        plan: Plan,
        done: str,
        reported: Mapping[int, Result],
        operations: Sequence[Mapping[str, Any]],
        workers: Sequence[Mapping[str, Any]],
    ) -> "Outcome":
        """Return the outcome; a filer that has not ``reported`` in time has failed."""
        late = f"not {done} within {plan.within:g} s"
        results = []
        for number in range(plan.filers):
            result = reported.get(number, Result(number, None, late))
            if result.problem is None and (result.seconds or 0) > plan.within:
                result = Result(number, result.seconds, late)
            results.append(result)
        return cls(plan, done, results, operations, workers)

    @cached_property
    def times(self) -> list[float]:
        """The seconds of the filers that have succeeded, in ascending order."""
        return sorted(
            each.seconds
            for each in self.results
            if each.problem is None and each.seconds is not None
        )

    @cached_property
    def problems(self) -> list[tuple[str, int]]:
        """The reasons of failures, each with the number of filers, the most frequent first."""
        return Counter(each.problem for each in self.results if each.problem).most_common()

    @property
    def lag(self) -> float:
        """The longest lag of the load generator, in seconds."""
        return max((each["lag_s"] for each in self.workers if each["lag_s"] is not None), default=0)

    @property
    def verdict(self) -> Verdict:
        """Whether all filers have succeeded, unless the load generator was too slow to tell."""
        if self.lag > self.plan.most_lag:
            return "no_verdict"
        return "failed" if self.problems else "passed"

    @property
    def sentence(self) -> str:
        """The outcome in one sentence."""
        count = f"{len(self.times)} of {self.plan.filers} filers {self.done}"
        return f"{count}, the last after {self.times[-1]:.1f} s" if self.times else count
