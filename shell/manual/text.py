"""The text of a manual page, which keeps its fonts for a screen with colours."""

from collections.abc import Mapping, Sequence
from typing import Self

from filer.commands import Command
from filer.shell.manual.lines import Line, text_of
from filer.shell.manual.typesetting import render_fragments


class ManualText(str):
    """A manual page as plain text, with its ``lines`` in fonts.

    Words of ``commands`` in it can be coloured.
    """

    __slots__ = ("commands", "lines")
    lines: Sequence[Line]
    commands: Mapping[str, Command]

    def __new__(cls, source: str, width: int, commands: Mapping[str, Command]) -> Self:
        """Format the man(7) ``source``, ``width`` columns wide.  Raises ManualPageError."""
        lines = render_fragments(source, width)
        page = super().__new__(cls, text_of(lines))
        page.lines, page.commands = lines, commands
        return page
