"""The list of available commands, at the console or at LOADER."""

from collections.abc import Iterable, Sequence
from dataclasses import field
from typing import ClassVar

from filer.commands import TEXT_ONLY, Fields

_GAP = 2


class Summary(Fields):
    """A command and its purpose."""

    command: str
    summary: str


class CommandList(Fields):
    """``?``, ``help``."""

    TYPE: ClassVar[str] = "command_list"
    commands: Sequence[Summary]
    width: int = field(metadata=TEXT_ONLY)
    one_a_line: bool = field(metadata=TEXT_ONLY, kw_only=True)

    def lines(self) -> Iterable[str]:
        """The names in columns, read downwards; or one per line, with its summary."""
        names = [each.command for each in self.commands]
        column = max(map(len, names)) + _GAP
        if self.one_a_line:
            for each in self.commands:
                yield f"{each.command:<{column}}{each.summary}"
            return
        columns = max(1, self.width // column)
        rows = -(-len(names) // columns)
        for row in range(rows):
            yield "".join(f"{name:<{column}}" for name in names[row::rows]).rstrip()
