"""The pictures of the README: the console as a person sees it, drawn as SVG.

``python -m tests.kit.pictures [DIRECTORY]`` runs a demo and writes its screens into docs/pictures,
or into DIRECTORY.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

from pyte.screens import Char
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from tests.kit.console import Account
from tests.kit.paths import CHECKOUT
from tests.kit.screen import Screen, screen

DIRECTORY = CHECKOUT / "docs" / "pictures"

ROWS, COLUMNS = 24, 100
CLEAR, DOWN = "\x0c", "\x1b[B"

SETUP = ("key_manager setup", "127.0.0.2", "127.0.0.3", "q", "", "yes", "yes", "yes", "yes")

XTERM = TerminalTheme(
    (24, 24, 24),
    (229, 229, 229),
    [
        (0, 0, 0),
        (205, 0, 0),
        (0, 205, 0),
        (205, 205, 0),
        (0, 0, 238),
        (205, 0, 205),
        (0, 205, 205),
        (229, 229, 229),
    ],
    [
        (127, 127, 127),
        (255, 0, 0),
        (0, 255, 0),
        (255, 255, 0),
        (92, 92, 255),
        (255, 0, 255),
        (0, 255, 255),
        (255, 255, 255),
    ],
)
"""The sixteen colours of xterm, on a dark grey background."""

FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""Fonts that a viewer of a picture would download."""


def prompt(person: Screen) -> None:
    """Show the line being typed, with its colours, the menu and the toolbar."""
    _enter(person, "disk encrypt show 0c.00.1*")
    _enter(person, "key_manager add -key_servr 127.0.0.4")
    _enter(person, "key_manager query -key_server 127.0.0.3")
    _type(person, "key_manager re")
    person.shows("restore  load the key pairs")
    person.type(DOWN + DOWN)
    person.shows_typed("filer1> key_manager rekey")


def manual(person: Screen) -> None:
    person.type("man key_manager\r")
    person.shows("SYNOPSIS", "DESCRIPTION")


def _type(person: Screen, line: str) -> None:
    person.settle()
    person.type(line)
    person.shows(f"filer1> {line}")
    person.wait(lambda: person.colours(line) != {"default"}, "colours")


def _enter(person: Screen, line: str) -> None:
    _type(person, line)
    person.enter("")


PICTURES: Mapping[str, Callable[[Screen], None]] = {"prompt": prompt, "manual": manual}


def svg(person: Screen, name: str) -> str:
    """Draw the screen with its cursor."""
    console = Console(
        record=True, width=COLUMNS, file=StringIO(), force_terminal=True, color_system="truecolor"
    )
    row, column = person.cursor
    rows = person.rows()
    rows[row][column] = rows[row][column]._replace(reverse=True)
    for cells in rows:
        runs = groupby(cells, _style)
        texts = (("".join(cell.data for cell in run), style) for style, run in runs)
        console.print(Text.assemble(*texts))
    return FONTS.sub("", console.export_svg(title="filer --demo", theme=XTERM, unique_id=name))


def _style(cell: Char) -> Style:
    return Style(
        color=_colour(cell.fg),
        bgcolor=_colour(cell.bg),
        bold=cell.bold,
        italic=cell.italics,
        underline=cell.underscore,
        reverse=cell.reverse,
    )


def _colour(name: str) -> str | None:
    """Return rich's name of a pyte colour; pyte calls yellow brown."""
    if name == "default":
        return None
    if re.fullmatch("[0-9a-f]{6}", name):
        return f"#{name}"
    return re.sub("^bright", "bright_", name).replace("brown", "yellow")


@contextmanager
def encrypted() -> Iterator[Screen]:
    """Start a demo whose disks are all encrypted, with an empty screen."""
    with (
        TemporaryDirectory() as home,
        screen(
            Account(Path(home)),
            "--demo",
            rows=ROWS,
            columns=COLUMNS,
            environment={"MANPAGER": "less"},
        ) as person,
    ):
        person.booted()
        person.type("".join(f"{line}\r" for line in SETUP))
        person.shows("Completed lock on 12 disks")
        person.settle()
        person.type(CLEAR)
        person.shows_no("Completed")
        yield person


def main(directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    for name, show in PICTURES.items():
        with encrypted() as person:
            show(person)
            person.settle()
            (directory / f"{name}.svg").write_text(svg(person, name), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else DIRECTORY)
