"""What a check is, and what it finds out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from inspect import cleandoc
from typing import Any, Literal

from filer.host.text import printable


class Severity(StrEnum):
    """What a failed check means for a filer."""

    BLOCKER = "blocker"
    """A filer cannot work with the server."""
    WARNING = "warning"
    """A filer works, until this hurts."""
    INFORMATION = "information"
    """Good to know."""


BLOCKER, WARNING, INFORMATION = Severity


@dataclass(frozen=True)
class Problem:
    """A reason why a check failed."""

    severity: Severity
    message: str


class NotTested(Exception):
    """The check cannot be made; the text says why, and how it can be made."""


class Stop(Exception):
    """No further check makes sense after this one; the text says why."""


Statements = Iterator[str | Problem]
"""What a check yields: facts about the server, and problems.  Without a problem it has passed."""


@dataclass(frozen=True)
class Check:
    """One check.  It is not made if one of the checks that it ``needs`` has failed as a blocker."""

    name: str
    severity: Severity
    run: Callable[[Any], Statements]
    needs: Sequence[str]
    text: str
    """The documentation: a title, what is sent and when it passes, what a failure means."""

    @property
    def title(self) -> str:
        return self.text.split("\n", maxsplit=1)[0]

    @property
    def meaning(self) -> str:
        """What a failure means for a filer, on one line."""
        return " ".join(self.text.split("\n\n")[-1].split())


def check(severity: Severity, *needs: str) -> Callable[[Callable[[Any], Statements]], Check]:
    """Make a function a check that is named like it, with hyphens.

    ``severity`` is that of a failure to answer; problems have their own.
    """

    def made(run: Callable[[Any], Statements]) -> Check:
        text = cleandoc(run.__doc__ or "")
        return Check(run.__name__.replace("_", "-"), severity, run, needs, text)

    return made


Status = Literal["passed", "failed", "not_tested"]


@dataclass(frozen=True)
class Exchange:
    """A request and its answer, in readable form, without key material."""

    request: str
    answer: str


@dataclass(frozen=True)
class Result:
    """The result of one check of one key server."""

    check: Check
    key_server: str
    statements: Sequence[str]
    problems: Sequence[Problem]
    reason: str | None
    """Why the check was not made, or None."""
    exchanges: Sequence[Exchange]
    duration_s: float

    @property
    def status(self) -> Status:
        if self.reason is not None:
            return "not_tested"
        return "failed" if self.problems else "passed"

    @property
    def severity(self) -> Severity:
        """The severity of the worst problem, or of the check if there is none."""
        found = {problem.severity for problem in self.problems}
        return next((each for each in Severity if each in found), self.check.severity)

    @property
    def blocks(self) -> bool:
        """Whether a filer cannot work with the server because of this."""
        return self.status == "failed" and self.severity is BLOCKER


def shown(text: str) -> str:
    """Return ``text`` of a server, quoted and safe to print."""
    return f'"{printable(text)}"'
