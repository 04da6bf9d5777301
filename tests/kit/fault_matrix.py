"""docs/FAULTS.md: what a test run observed for each fault.

``record`` rewrites the file if a run observes something else, and reports it: look at the
difference, and commit it or fix the program.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.kit import documents
from tests.kit.paths import CHECKOUT

FILE = CHECKOUT / "docs" / "FAULTS.md"

_SEPARATOR = re.compile(r"\|(?:---\|)+")


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


Row = Sequence[str]
"""The cells of a row, after the one with the name of the fault."""

Blocks = Mapping[str, Sequence[str]]
"""The table rows of each fault."""


@dataclass(frozen=True)
class Part:
    """A part of the file that one test module writes.

    ``introduction`` begins with the title, and may use the counts ``{faults}`` and ``{rows}``.
    The first of ``columns`` has the names of the faults.
    """

    introduction: str
    columns: Sequence[str]
    sections: Sequence[Section]

    def render(self, known: Blocks) -> str:
        """Return the text of the part with the faults in ``known``."""
        shown = [
            known[fault] for section in self.sections for fault in section.faults if fault in known
        ]
        counts = {"faults": len(shown), "rows": sum(map(len, shown))}
        lines = [self.introduction.strip().format(**counts)]
        head = [_line(self.columns), f"|{'---|' * len(self.columns)}"]
        for section in self.sections:
            rows = [line for fault in section.faults for line in known.get(fault, ())]
            lines += ["", f"## {section.title}", "", section.text, "", *head, *rows]
        return "\n".join(lines) + "\n"

    def find(self, text: str) -> str:
        """Return the part in ``text``, the whole file; "" if it is missing."""
        title = self.introduction.strip().partition("\n")[0]
        found = (part for part in _parts(text) if part.startswith(f"{title}\n"))
        return next(found, "").rstrip("\n") + "\n"

    def record(self, fault: str, rows: Iterable[Row]) -> bool:
        """Write the rows of ``fault`` to the file; return whether it was already up to date."""
        fresh = block(fault, rows)

        def update(text: str) -> str:
            old = self.find(text)
            new = self.render({**blocks(old), fault: fresh})
            parts = [part.rstrip("\n") + "\n" for part in _parts(text)]
            if old not in parts:
                parts.append(old)
            return "\n".join(new if part == old else part for part in parts)

        return documents.record(FILE, update)


def _parts(text: str) -> list[str]:
    return [part for part in re.split(r"(?m)^(?=# )", text) if part]


def _line(cells: Row) -> str:
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def code(lines: Iterable[str]) -> str:
    """Return the cell with lines that were printed."""
    return "<br>".join(f"`{line}`" for line in lines) or "nothing"


def block(fault: str, rows: Iterable[Row]) -> list[str]:
    """Return the table rows of one fault."""
    return [_line(("" if number else fault, *row)) for number, row in enumerate(rows)]


def blocks(text: str) -> Blocks:
    """Return the table rows in a part, by fault."""
    found: dict[str, list[str]] = {}
    fault = ""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        is_head = _SEPARATOR.fullmatch("".join(lines[number + 1 : number + 2]))
        if not line.startswith("| ") or is_head:
            continue
        fault = line.split("|")[1].strip() or fault
        found.setdefault(fault, []).append(line)
    return found
