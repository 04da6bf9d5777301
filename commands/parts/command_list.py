"""The list of the commands that there are, for a console or for LOADER."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from filer.commands import Json

_GAP = 2


@dataclass(frozen=True)
class CommandList:
    """``?`` and ``help``: the names of all commands, and what each is for."""

    TYPE: ClassVar[str] = "command_list"
    summaries: Mapping[str, str]
    width: int
    one_a_line: bool

    def lines(self) -> Iterable[str]:
        """The names in columns, read downwards; or one a line, with what it is for beside it."""
        names = list(self.summaries)
        column = max(map(len, names)) + _GAP
        if self.one_a_line:
            for name, summary in self.summaries.items():
                yield f"{name:<{column}}{summary}"
            return
        columns = max(1, self.width // column)
        rows = -(-len(names) // columns)
        for row in range(rows):
            yield "".join(f"{name:<{column}}" for name in names[row::rows]).rstrip()

    def data(self) -> Mapping[str, Json]:
        """The commands."""
        return {
            "commands": [
                {"command": name, "summary": summary} for name, summary in self.summaries.items()
            ]
        }
