"""Manual pages: finding them, and reading what their sections say.

The pages are read in process, so that ``man`` works where no program of that name is installed.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from filer.shell.manual.typesetting import UNLIMITED, render

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_PACKAGE = "filer.man"
_PREFIX = "na_"
_SUFFIX = ".1"
_HEADING = "\n.SH "
_NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,99})(?:\(1\))?")


@dataclass(frozen=True)
class Page:
    """A manual page as it is stored: its name without the section, and its man(7) source."""

    name: str
    source: str


def find(name: str, further: "Iterable[str | Traversable]" = ()) -> Page | None:
    """Return the page called ``name`` or ``na_NAME``, or None (``man key_manager``).

    The name may be as other pages have it, ``na_disk(1)``.  The filer's own pages come first,
    then those in ``further``: packages (by their names) or directories of plug-ins.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    for place in _places(further):
        for candidate in (match[1], f"{_PREFIX}{match[1]}"):
            file = place / f"{candidate}{_SUFFIX}"
            if file.is_file():
                return Page(candidate, file.read_bytes().decode("utf-8", "backslashreplace"))
    return None


def names(further: "Iterable[str | Traversable]" = ()) -> list[str]:
    """Return every name under which ``find`` finds a page, sorted."""
    files = [file.name for place in _places(further) for file in place.iterdir()]
    pages = {name.removesuffix(_SUFFIX) for name in files if name.endswith(_SUFFIX)}
    return sorted(pages | {name.removeprefix(_PREFIX) for name in pages})


@cache
def summaries(further: tuple[str, ...] = ()) -> Mapping[str, str]:
    """Return the summary of each page, by every name that `find` knows.

    Raises ManualPageError for a page that cannot be set.
    """
    pages = {name: find(name, further) for name in names(further)}
    return {name: summary(page.source) for name, page in pages.items() if page is not None}


def _places(further: "Iterable[str | Traversable]") -> "Iterator[Traversable]":
    from importlib.resources import files  # 4 ms

    for place in (_PACKAGE, *further):
        yield files(place) if isinstance(place, str) else place


def summary(source: str) -> str:
    """Return what a page's NAME section says after the dash."""
    head = _HEADING.join(source.split(_HEADING)[:2])  # nothing else has to be set
    lines = render(head, UNLIMITED).splitlines()
    text = " ".join(line.strip() for line in lines if line.startswith(" "))
    return text.partition(" - ")[2]
