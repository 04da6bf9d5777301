"""Destroying throw-away pairs, and nothing else."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from filer.kmip.messages import enums
from filer.kmip.requests import Item, destroy, get, get_attributes, locate_name, revoke
from filer.throw_away import objects
from filer.throw_away.ledger import Digests, Entry
from filer.throw_away.message import AnswerItem, Tags
from filer.throw_away.pairs import may_be_destroyed

Ask = Callable[[Sequence[Item]], list[AnswerItem | None]]


class Destroyer:
    """Destroys the objects of a ledger on one key server, with one client certificate.

    An object is destroyed only if it has the name in its entry, which must be one that no filer
    uses, and if its secret fits the digest.  ``ask`` raises KeyServerFailure.  Without
    ``sees_all`` the client certificate is another one than that of the run: an object that is not
    found may be left.
    """

    def __init__(self, ask: Ask, digests: Digests, *, sees_all: bool = True) -> None:
        self._ask = ask
        self._digests = digests
        self._sees_all = sees_all

    def destroy(
        self,
        entries: Sequence[Entry],
        identifiers: Mapping[Entry, str] | None = None,
        *,
        unanswered: Collection[Entry] = (),
    ) -> list[Entry]:
        """Destroy the objects of ``entries``; return those of which an object may be left.

        One that is ``unanswered`` may be left if no object is found: it may still appear.

        An object with one of the ``identifiers``, which Register has returned for it, may hide or
        change its name and secret, but not have another name; the others are located by name.
        """
        known = identifiers or {}
        ours = [entry for entry in entries if may_be_destroyed(entry.name)]
        objects_of = self._located([entry for entry in ours if entry not in known], unanswered)
        left = {entry for entry in entries if entry not in known and entry not in objects_of}
        candidates = [
            *((entry, known[entry]) for entry in ours if entry in known),
            *((entry, each) for entry, found in objects_of.items() for each in found),
        ]
        active = []
        doomed = []
        for (entry, identifier), about, content in zip(
            candidates,
            self._ask([get_attributes(each) for _, each in candidates]),
            self._ask([get(each) for _, each in candidates]),
            strict=True,
        ):
            if _is_gone(about):
                continue
            if about is None or not about.succeeded:
                left.add(entry)
                continue
            attributes = objects.attributes(about.payload)
            key = objects.key(content.payload) if content is not None else None
            names = {name.upper() for name in objects.names(attributes)}
            is_named = entry.name.upper() in names
            fits = key is not None and self._digests.of(key) == entry.digest
            if not (is_named and fits) and not (entry in known and (is_named or not names)):
                # The object of another pair, or one that hides its secret.
                if entry in known or (is_named and key is None):
                    left.add(entry)
                continue
            state = objects.state(attributes)
            if state not in objects.DESTROYED:
                doomed.append((entry, identifier))
                if state in (enums.State.ACTIVE, None):
                    active.append(identifier)
        self._ask([revoke(each) for each in active])
        self._ask([destroy(each) for _, each in doomed])
        after = self._ask([get_attributes(each) for _, each in doomed])
        left |= {entry for (entry, _), about in zip(doomed, after, strict=True) if _is_left(about)}
        return [entry for entry in entries if entry in left]

    def _located(
        self, entries: Sequence[Entry], unanswered: Collection[Entry]
    ) -> dict[Entry, list[str]]:
        """Return the identifiers of the objects with these names, unless more may appear."""
        answers = self._ask([locate_name(entry.name, filtered=False) for entry in entries])
        found = {
            entry: _identifiers(answer)
            for entry, answer in zip(entries, answers, strict=True)
            if answer is not None and (answer.succeeded or _is_gone(answer))
        }
        return {
            entry: objects
            for entry, objects in found.items()
            if objects or (self._sees_all and entry not in unanswered)
        }


def by_place(entries: Iterable[Entry]) -> dict[tuple[str, str], list[Entry]]:
    """Return ``entries`` by key server and owner."""
    places: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        places.setdefault((entry.key_server, entry.owner), []).append(entry)
    return places


def find(ask: Ask, name: str) -> list[AnswerItem]:
    """Return the answers to Get for all objects with a name.  Raises KeyServerFailure."""
    (answer,) = ask([locate_name(name)])
    if answer is None:
        return []
    contents = ask([get(each) for each in _identifiers(answer)])
    return [each for each in contents if each is not None and each.succeeded]


def _identifiers(answer: AnswerItem) -> list[str]:
    return answer.payload.texts(Tags.UNIQUE_IDENTIFIER)


def _is_left(about: AnswerItem | None) -> bool:
    """Return whether an object exists, or may exist, by the answer to Get Attributes."""
    if about is None or not about.succeeded:
        return not _is_gone(about)
    return objects.state(objects.attributes(about.payload)) not in objects.DESTROYED


def _is_gone(answer: AnswerItem | None) -> bool:
    return answer is not None and answer.refused_with(*objects.GONE)
