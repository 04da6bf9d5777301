"""Find manual pages, and read their summaries.

The pages are read in process, so that ``man`` needs no such program on the host.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from filer.shell.manual.lines import UNLIMITED
from filer.shell.manual.typesetting import render

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_PACKAGE = "filer.man"
_PREFIX = "na_"
_SUFFIX = ".1"
_HEADING = "\n.SH "
_NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,99})(?:\(1\))?")


@dataclass(frozen=True)
class Page:
    """A manual page: its name without the section, and its man(7) source."""

    name: str
    source: str


def find(name: str, further: "Iterable[str | Traversable]" = ()) -> Page | None:
    """Return the page called ``name`` or ``na_NAME``, or None (``man key_manager``).

    ``name`` may be in the form of references, ``na_disk(1)``.  The filer's own pages come first,
    then those in ``further``: the names of packages, or directories, of plug-ins.
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
    """Return every name that `find` knows, sorted."""
    files = [file.name for place in _places(further) for file in place.iterdir()]
    pages = {name.removesuffix(_SUFFIX) for name in files if name.endswith(_SUFFIX)}
    return sorted(pages | {name.removeprefix(_PREFIX) for name in pages})


@cache
def summaries(further: tuple[str, ...] = ()) -> Mapping[str, str]:
    """Return the summary of each page, by every name that `find` knows.

    Raises ManualPageError for an invalid page.
    """
    pages = {name: find(name, further) for name in names(further)}
    return {name: summary(page.source) for name, page in pages.items() if page is not None}


def _places(further: "Iterable[str | Traversable]") -> "Iterator[Traversable]":
    from importlib.resources import files  # 4 ms

    for place in (_PACKAGE, *further):
        yield files(place) if isinstance(place, str) else place


def summary(source: str) -> str:
    """Return the text after the dash in the NAME section of a page."""
    head = _HEADING.join(source.split(_HEADING)[:2])  # format nothing else
    lines = render(head, UNLIMITED).splitlines()
    text = " ".join(line.strip() for line in lines if line.startswith(" "))
    return text.partition(" - ")[2]
