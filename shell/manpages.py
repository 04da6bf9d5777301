"""Manual pages: finding them, and reading what their sections say.

The pages are read in process, so that ``man`` works where no program of that name is installed.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shell.typesetting import UNLIMITED, render

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_PACKAGE = "man"
_PREFIX = "na_"
_SUFFIX = ".1"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Page:
    """A manual page as it is stored: its name without the section, and its man(7) source."""

    name: str
    source: str


def find(name: str, further: "Iterable[str | Traversable]" = ()) -> Page | None:
    """Return the page called ``name`` or ``na_NAME``, or None (``man key_manager``).

    The filer's own pages come first, then those in ``further``: packages (by their names) or
    directories of plug-ins.
    """
    if _NAME.fullmatch(name) is None:
        return None
    for place in _places(further):
        for candidate in (name, f"{_PREFIX}{name}"):
            file = place / f"{candidate}{_SUFFIX}"
            if file.is_file():
                return Page(candidate, file.read_bytes().decode("utf-8", "backslashreplace"))
    return None


def names(further: "Iterable[str | Traversable]" = ()) -> list[str]:
    """Return every name under which ``find`` finds a page, sorted."""
    files = [file.name for place in _places(further) for file in place.iterdir()]
    pages = {name.removesuffix(_SUFFIX) for name in files if name.endswith(_SUFFIX)}
    return sorted(pages | {name.removeprefix(_PREFIX) for name in pages})


def _places(further: "Iterable[str | Traversable]") -> "Iterator[Traversable]":
    from importlib.resources import files

    for place in (_PACKAGE, *further):
        yield files(place) if isinstance(place, str) else place


def synopsis(source: str) -> list[str]:
    """Return the lines of a page's SYNOPSIS as plain text, none of them broken."""
    return _section(source, "SYNOPSIS")


def summary(source: str) -> str:
    """Return what a page's NAME section says after the dash."""
    return " ".join(_section(source, "NAME")).partition(" - ")[2]


def _section(source: str, heading: str) -> list[str]:
    lines = iter(render(source, UNLIMITED).splitlines())
    section: list[str] = []
    for line in lines:
        if line == heading:
            break
    for line in lines:
        if line and not line.startswith(" "):
            break
        if line:
            section.append(line.strip())
    return section
