"""docs/FAULTS.md: what a run of the tests saw of each fault, kept beside the program.

The file is the record of a run.  Whoever sees something else writes it down with ``record``, in
place, and says so; the difference is then to be looked at and committed, or mended.
"""

import fcntl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.kit.paths import CHECKOUT

FILE = CHECKOUT / "docs" / "FAULTS.md"

_TABLE = (
    "| Key server 127.0.0.2 | Command | What is said | Time | State |",
    "|---|---|---|---|---|",
)


@dataclass(frozen=True)
class Outcome:
    """What a command came to: the lines it said, the state it left, and how long it took.

    The time is given in timeouts that have passed; 0 means that nobody was waited for.
    """

    said: tuple[str, ...] = ()
    state: str = "unchanged"
    timeouts: int = 0

    @property
    def time(self) -> str:
        """The time in words."""
        if not self.timeouts:
            return "at once"
        return f"{self.timeouts} timeout{'' if self.timeouts == 1 else 's'}"


@dataclass(frozen=True)
class Section:
    """A family of faults: its title, a sentence about it, and their names."""

    title: str
    text: str
    faults: Sequence[str]


Blocks = Mapping[str, Sequence[str]]
"""The lines of a table that belong to each fault."""


def block(fault: str, outcomes: Mapping[str, Outcome]) -> list[str]:
    """Return the lines of one fault, a line a command."""
    lines: list[str] = []
    for command, outcome in outcomes.items():
        said = "<br>".join(f"`{line}`" for line in outcome.said) or "nothing"
        cells = ("" if lines else fault, f"`{command}`", said, outcome.time, outcome.state)
        lines.append("|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|")
    return lines


def blocks(text: str) -> Blocks:
    """Return the lines that stand in the file, by fault."""
    found: dict[str, list[str]] = {}
    fault = ""
    for line in text.splitlines():
        if not line.startswith("| ") or line in _TABLE:
            continue
        fault = line.split("|")[1].strip() or fault
        found.setdefault(fault, []).append(line)
    return found


def render(introduction: str, sections: Sequence[Section], known: Blocks) -> str:
    """Return the file, with what is ``known``; a fault that is not has no line.

    ``introduction`` may count them, as ``{faults}`` and ``{rows}``.
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
    """Make sure that the file has ``outcomes`` for ``fault``; True: it had, and was as it should.

    Several processes of one run may do so at the same time.
    """
    FILE.parent.mkdir(exist_ok=True)
    with FILE.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        text = file.read()
        fresh = render(introduction, sections, {**blocks(text), fault: block(fault, outcomes)})
        if fresh == text:
            return True
        file.truncate(0)
        file.write(fresh)
    return False
