"""docs/CRASHES.md: the states that a run of all tests tried, by family and operation.

As with docs/FAULTS.md, a run with other numbers rewrites the file, and fails.
"""

from collections.abc import Mapping
from typing import NamedTuple

from tests.kit import documents
from tests.kit.paths import CHECKOUT

FILE = CHECKOUT / "docs" / "CRASHES.md"

LOST, KILLED, REFUSED = "power lost", "killed, then power lost", "a sync failed, then power lost"

FAMILIES: Mapping[str, str] = {
    LOST: "The power is lost during the operation, or right after it.",
    KILLED: "The filer is killed after one change of the operation.\n"
    "The next start sees the cache, with every change until then, and boots.\n"
    "The power is lost while it boots, or right after it.\n"
    "The medium may lack any change that was not synced before the kill or since.",
    REFUSED: "One sync of the operation fails with EIO.\n"
    "Then the operation is done again and the filer is restarted, or the other way round.\n"
    "The power is lost at any moment from the failure on.",
}
"""The description of each family."""

_TABLE = (
    "| Operation | Recordings | States | Distinct | Powered on |",
    "|---|---:|---:|---:|---:|",
)


class Numbers(NamedTuple):
    """The recordings of an operation, their states, and how many were distinct and tried."""

    recordings: int
    states: int
    distinct: int
    tried: int


Rows = Mapping[tuple[str, str], Numbers]


def rows(text: str) -> Rows:
    """Return the numbers in the file."""
    found: dict[tuple[str, str], Numbers] = {}
    family = ""
    for line in text.splitlines():
        if line.startswith("## "):
            family = line[3:].lower()
        elif line.startswith("| ") and line != _TABLE[0] and family in FAMILIES:
            name, *numbers = (cell.strip() for cell in line.strip("|").split("|"))
            found[family, name] = Numbers(*map(int, numbers))
    return found


def render(introduction: str, operations: list[str], known: Rows) -> str:
    """Return the text of the file with the numbers in ``known``.

    ``introduction`` may use the sums ``{recordings}``, ``{states}``, ``{distinct}`` and
    ``{tried}``.
    """
    shown = {
        (family, name): known[family, name]
        for family in FAMILIES
        for name in operations
        if (family, name) in known
    }
    sums = Numbers(*map(sum, zip(*shown.values(), strict=True))) if shown else Numbers(0, 0, 0, 0)
    lines = [introduction.strip().format(**sums._asdict())]
    for family, text in FAMILIES.items():
        lines += ["", f"## {family.capitalize()}", "", text, "", *_TABLE]
        lines += [
            f"| {name} | {' | '.join(map(str, numbers))} |"
            for (of, name), numbers in shown.items()
            if of == family
        ]
    return "\n".join(lines) + "\n"


def record(
    introduction: str, operations: list[str], family: str, name: str, numbers: Numbers
) -> bool:
    """Write the numbers to the file; return whether it was already up to date."""
    return documents.record(
        FILE,
        lambda text: render(introduction, operations, {**rows(text), (family, name): numbers}),
    )
