"""Making the checks, one after the other, and cleaning up behind them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

from filer.host.errors import FilerError
from filer.kmip.failure import KeyServerFailure
from filer.kmip.ttlv import MalformedTtlv
from filer.qualify.outcome import Check, NotTested, Problem, Result, Stop
from filer.qualify.server import Server
from filer.throw_away.stock import NotStored

_NOT_KMIP = "an answer is not a KMIP answer"


def run(
    server: Server, checks: Sequence[Check], begun: Callable[[Check], None]
) -> Iterator[Result]:
    """Make ``checks`` and yield their results; ``begun`` is told of each before it begins.

    Raises StorageError if the ledger cannot be written: nothing is registered then.
    """
    results: dict[str, Result] = {}
    stopped: str | None = None
    for check in checks:
        begun(check)
        since = server.clock()
        reason = stopped or _hindrance(check, results)
        statements: list[str] = []
        problems: list[Problem] = []
        if reason is None:
            try:
                for each in check.run(server):
                    (problems if isinstance(each, Problem) else statements).append(each)  # type: ignore[arg-type]
            except (NotTested, NotStored) as error:
                reason = None if problems else str(error)
            except Stop as error:
                stopped = str(error)
            except KeyServerFailure as failure:
                problems.append(Problem(check.severity, failure.reason))
            except MalformedTtlv:
                problems.append(Problem(check.severity, _NOT_KMIP))
            except FilerError:
                raise
            except Exception as error:  # its text may have a key in it
                reason = None if problems else f"the check has a defect ({type(error).__name__})"
        results[check.name] = Result(
            check=check,
            key_server=server.address,
            statements=statements,
            problems=problems,
            reason=reason,
            exchanges=server.recorder.take(),
            duration_s=server.clock() - since,
        )
        yield results[check.name]
        if stopped is None and "habits" in vars(server):
            with suppress(KeyServerFailure):
                server.idle()


def _hindrance(check: Check, results: Mapping[str, Result]) -> str | None:
    """Return why a check that is needed for ``check`` does not let it be made."""
    for name in check.needs:
        needed = results.get(name)
        if needed is not None and needed.status == "not_tested":
            return f"{name} was not tested"
        if needed is not None and needed.blocks:
            return f"{name} has failed"
    return None
