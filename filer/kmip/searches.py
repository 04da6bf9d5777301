"""Search for objects on a key server, and see that the list is complete."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial

from filer.kmip.answers import Outcome, Success
from filer.kmip.exchange import Exchange
from filer.kmip.failure import IncompleteAnswer, KeyServerFailure, ServerRefusal
from filer.kmip.refusals import Refusal
from filer.kmip.requests import Item, locate_all, locate_name

_MOST_LOCATED = 256 * 1024
"""Maximum number of identifiers that a server may list; limits the memory they use."""

_LONGEST_PAGE = 1024
"""Identifiers requested at a time from a server for which the whole list is too large."""


@dataclass
class Located:
    """The identifiers that a Locate returned; ``problem`` says why some are missing."""

    identifiers: dict[str, None] = field(default_factory=dict)
    unusable: dict[str, None] = field(default_factory=dict)
    problem: KeyServerFailure | None = None
    is_counted: bool = False
    """Whether the server said how many objects there are."""

    def __len__(self) -> int:
        return len(self.identifiers) + len(self.unusable)

    def add(self, page: Success) -> bool:
        """Add the identifiers of a further answer; return whether any of them is new."""
        before = len(self)
        self.identifiers.update(dict.fromkeys(page.identifiers))
        self.unusable.update(dict.fromkeys(page.unusable))
        return len(self) > before


class Searches:
    """The searches of one connection.  Its methods raise KeyServerFailure.

    ``listed`` has the identifiers of all objects that the server listed, without the ``unusable``
    ones, which no request can use and which are made printable.  With ``key_tag``, a list of all
    objects has only those with this key tag.
    """

    def __init__(self, exchange: Exchange, key_tag: str | None = None) -> None:
        self.listed: set[str] = set()
        self.unusable: dict[str, None] = {}
        self._key_tag = key_tag
        self._exchange = exchange
        self._abilities = exchange.abilities

    def all_objects(self) -> Located:
        """List all objects that the server shows."""
        is_cut = False
        search = partial(locate_all, filtered=self._abilities.lists_by_type, tag=self._key_tag)
        (page,) = self._exchange.ask([search()])
        if isinstance(page, Refusal) and page.unsupported and self._abilities.lists_by_type:
            search = partial(locate_all, filtered=False, tag=self._key_tag)
            (without_type,) = self._exchange.ask([search()])
            if isinstance(without_type, Success) or without_type.gone:
                self._abilities.lists_by_type = False
                page = without_type
        most = _LONGEST_PAGE
        while isinstance(page, Refusal) and page.too_large and most:
            is_cut, search = True, partial(search, most=most)
            (page,) = self._exchange.ask([search()])
            most //= 4
        return self._continued(search, page, is_cut=is_cut)

    def by_names(self, key_ids: Collection[str]) -> list[Located]:
        """Search for each of ``key_ids`` by name, all in one request.

        If the server has no search by name, each result has all objects.
        """
        if key_ids and not self._abilities.lists_by_name:
            return [self.all_objects()] * len(key_ids)
        searches = [partial(locate_name, key_id) for key_id in key_ids]
        pages = self._exchange.ask(search() for search in searches)
        if any(isinstance(page, Refusal) and page.unsupported for page in pages):
            listed = self.all_objects()
            if listed.problem is None:
                self._abilities.lists_by_name = False
                return [listed] * len(pages)
        return [self._continued(search, page) for search, page in zip(searches, pages, strict=True)]

    def _continued(
        self, search: Callable[[int], Item], page: Outcome, *, is_cut: bool = False
    ) -> Located:
        """Request further pages until all objects are known, or a page has no new object.

        ``search`` takes the number of objects to skip; ``is_cut``: it asks for a part of the list.
        """
        located = Located()
        largest = 0
        while True:
            if isinstance(page, Refusal) and page.gone:
                page = Success()  # some servers refuse a search that finds nothing
            if isinstance(page, Refusal):
                break
            brought = located.add(page)
            self.listed.update(page.identifiers)
            located.is_counted = page.total is not None
            total = page.total or 0
            self.unusable.update(dict.fromkeys(page.unusable))
            # A smaller total means that an object was removed, which shifts the pages.
            largest = max(largest, total)
            is_last = not (is_cut and page.total is None and brought)
            if largest <= len(located) and is_last:
                return located
            if total < largest or not brought or len(located) > _MOST_LOCATED:
                break
            (page,) = self._exchange.ask([search(len(located))])
        if isinstance(page, Refusal) and not largest and not len(located):
            located.problem = ServerRefusal(page.reason)
        else:
            of_all = f"of {largest} objects" if largest else "objects, and may have more"
            located.problem = IncompleteAnswer(f"it listed {len(located)} {of_all}")
        return located
