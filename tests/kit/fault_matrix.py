"""docs/FAULTS.md: what a test run observed for each fault.

``record`` rewrites the file if a run observes something else, and reports it: look at the
difference, and commit it or fix the program.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.kit import documents
from tests.kit.paths import CHECKOUT

FILE = CHECKOUT / "docs" / "FAULTS.md"

_TABLE = (
    "| Key server 127.0.0.2 | Command | What is said | Time | State |",
    "|---|---|---|---|---|",
)


@dataclass(frozen=True)
class Outcome:
    """The result of a command: its output, the state that it left, and its duration.

    The duration is a number of timeouts; 0 means that the command waited for no server.
    """

    said: tuple[str, ...] = ()
    state: str = "unchanged"
    timeouts: int = 0

    @property
    def time(self) -> str:
        """The duration in words."""
        if not self.timeouts:
            return "at once"
        return f"{self.timeouts} timeout{'' if self.timeouts == 1 else 's'}"


@dataclass(frozen=True)
class Section:
    """A family of faults: its title, a sentence about it, and the names of the faults."""

    title: str
    text: str
    faults: Sequence[str]


Blocks = Mapping[str, Sequence[str]]
"""The table rows of each fault."""


def block(fault: str, outcomes: Mapping[str, Outcome]) -> list[str]:
    """Return the table rows of one fault, one per command."""
    lines: list[str] = []
    for command, outcome in outcomes.items():
        said = "<br>".join(f"`{line}`" for line in outcome.said) or "nothing"
        cells = ("" if lines else fault, f"`{command}`", said, outcome.time, outcome.state)
        lines.append("|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|")
    return lines


def blocks(text: str) -> Blocks:
    """Return the table rows in the file, by fault."""
    found: dict[str, list[str]] = {}
    fault = ""
    for line in text.splitlines():
        if not line.startswith("| ") or line in _TABLE:
            continue
        fault = line.split("|")[1].strip() or fault
        found.setdefault(fault, []).append(line)
    return found


def render(introduction: str, sections: Sequence[Section], known: Blocks) -> str:
    """Return the text of the file with the faults in ``known``.

    ``introduction`` may use the counts ``{faults}`` and ``{rows}``.
    """
    shown = [known[fault] for section in sections for fault in section.faults if fault in known]
    lines = [introduction.strip().format(faults=len(shown), rows=sum(map(len, shown)))]
    for section in sections:
        rows = [line for fault in section.faults for line in known.get(fault, ())]
        lines += ["", f"## {section.title}", "", section.text, "", *_TABLE, *rows]
    return "\n".join(lines) + "\n"


def record(
    introduction: str, sections: Sequence[Section], fault: str, outcomes: Mapping[str, Outcome]
) -> bool:
    """Write ``outcomes`` to the file; return whether it was already up to date."""
    return documents.record(
        FILE,
        lambda text: render(
            introduction, sections, {**blocks(text), fault: block(fault, outcomes)}
        ),
    )
