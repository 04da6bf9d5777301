"""The report as text."""

from collections.abc import Iterator

from filer.storm.outcome import NO_VERDICT, Outcome

_MOST_PROBLEMS = 10


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def lines(outcome: Outcome) -> Iterator[str]:
    """Yield the lines of the report, the verdict first."""
    plan, times = outcome.plan, outcome.times
    if outcome.verdict == "no_verdict":
        yield NO_VERDICT
    yield outcome.sentence
    yield ""
    pairs, servers = _count(plan.pairs, "key pair"), _count(len(plan.addresses), "key server")
    yield f"{plan.scenario}: {pairs} for each filer on {servers}"
    if plan.tagged:
        yield "all filers had one client certificate, and each loaded its pairs by key tag"
    else:
        yield "each filer had a client certificate of its own"
    yield f"limit: all filers {outcome.done} within {plan.within:g} s"
    if times:
        half, most = times[(len(times) - 1) // 2], times[(len(times) - 1) * 19 // 20]
        yield f"half of them after {half:.1f} s, 95 % after {most:.1f} s"
    for reason, count in outcome.problems[:_MOST_PROBLEMS]:
        yield f"failed: {_count(count, 'filer')}: {reason}"
    if outcome.problems[_MOST_PROBLEMS:]:
        yield f"failed: {len(outcome.problems) - _MOST_PROBLEMS} more reasons"
    if outcome.operations:
        yield ""
    for each in outcome.operations:
        failed = f", {each['failures']} failed" if each["failures"] else ""
        yield (
            f"{each['operation']} {each['key_server']}: {each['requests']}{failed}, "
            f"median {each['median_s']:.2f} s, 95 % {each['p95_s']:.2f} s, "
            f"slowest {each['slowest_s']:.2f} s"
        )
    yield ""
    for number, each in enumerate(outcome.workers, 1):
        how = "lost"
        if not each["lost"]:
            how = f"{each['cpu_s']:.1f} s of CPU time, at most {each['lag_s']:.2f} s late"
        yield f"worker {number}: {_count(each['filers'], 'filer')}, {how}"
    yield f"figures count up to a lag of {plan.most_lag:.2f} s"
