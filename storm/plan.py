"""What a storm is: the same for all processes that make it."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

PROGRAM = "filer-storm"

HTML = "locust.html"
"""The name of Locust's report in the scratch directory."""

Role = Literal["alone", "master", "worker"]


@dataclass(frozen=True)
class Plan:
    """What all filers do.  Times are in seconds.  The master sends it to its workers."""

    addresses: tuple[str, ...]
    port: int
    timeout: float
    """For one answer of a key server, as in filer.toml."""
    filers: int
    pairs: int
    """Key pairs of each filer on each key server."""
    tagged: bool
    """All filers have one client certificate, and each loads its key pairs by key tag."""
    scenario: str
    within: float
    """By when all filers must be up."""

    def fields(self) -> dict[str, Any]:
        """Return the fields for a message."""
        return asdict(self)

    @classmethod
    def of(cls, fields: dict[str, Any]) -> "Plan":
        """Return the plan in a message."""
        return cls(**{**fields, "addresses": tuple(fields["addresses"])})

    @property
    def most_lag(self) -> float:
        """The lag of the load generator up to which its figures count.

        With a longer one, a deadline could pass while the answer waits in the generator.
        """
        return min(self.timeout, self.within) / 4


@dataclass(frozen=True)
class Post:
    """Where a process of the load generator works; its files are on this machine."""

    role: Role
    certs: str
    scratch: str
    """A private directory, for client certificates that are made for the storm."""
    ledger: str
    scenario: str
    """The name of a scenario, or an absolute path to a file."""
    host: str
    """Where the master listens, or is to be reached."""
    control_port: int
    workers: int = 1
    """How many the master waits for."""
    agreed: bool = False
    """The user has agreed to key servers on other machines."""


def line(**fields: Any) -> str:
    """Return a message between the processes of one machine: one JSON object on a line."""
    return json.dumps(fields) + "\n"
