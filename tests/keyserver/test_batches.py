"""Requests about many objects: ``filer-keyserver`` reads them together and answers each."""

from collections.abc import Sequence
from typing import Any

import pytest

from filer.keys.pair import KeyPair
from filer.keyserver.server import KeyServer
from tests.kit import hostile
from tests.kit.pairs import PARENT_TAG, new_pair


def ask(server: KeyServer, *items: Any) -> Sequence[Any]:
    """Send one request; return the outcome of each item."""
    from filer.kmip.answers import decode
    from filer.kmip.requests import encode

    with hostile.connected(server) as connection:
        connection.sendall(encode(items, 0))
        return list(decode(hostile.read_message(connection)[8:], items, 0))


def registered(server: KeyServer, pairs: Sequence[KeyPair]) -> list[str]:
    from filer.kmip.requests import register

    outcomes = ask(server, *(register(pair, PARENT_TAG) for pair in pairs))
    return [outcome.identifiers[0] for outcome in outcomes]


def test_each_object_is_itself(server: KeyServer) -> None:
    from filer.kmip.requests import get, get_attributes

    pairs = [new_pair() for _ in range(20)]
    identifiers = registered(server, pairs)

    outcomes = ask(server, *(f(each) for each in identifiers for f in (get_attributes, get)))
    assert [outcome.description.names for outcome in outcomes[::2]] == [(p.key_id,) for p in pairs]
    assert [outcome.key for outcome in outcomes[1::2]] == [pair.key for pair in pairs]


def test_a_change_is_seen_by_the_items_behind_it(server: KeyServer) -> None:
    from filer.kmip.requests import activate, get_attributes

    (identifier,) = registered(server, [new_pair()])

    before, _, after = ask(
        server, get_attributes(identifier), activate(identifier), get_attributes(identifier)
    )
    assert (before.description.state, after.description.state) == ("pre-active", "active")


def test_an_object_destroyed_by_an_item_is_gone_for_those_behind_it(server: KeyServer) -> None:
    from filer.kmip.requests import destroy, get

    first, second = registered(server, [new_pair(), new_pair()])

    before, _, after, other = ask(server, get(first), destroy(first), get(first), get(second))
    assert before.key is not None
    assert after.gone
    assert other.key is not None


@pytest.mark.parametrize("identifier", ["999999", "x", "-1", "0", "9" * 30, "1 OR 1=1"])
def test_what_is_not_there_costs_the_others_nothing(identifier: str, server: KeyServer) -> None:
    from filer.kmip.requests import get

    (known,) = registered(server, [new_pair()])

    missing, found = ask(server, get(identifier), get(known))
    assert missing.gone
    assert found.key is not None


def test_an_object_of_another_client_is_withheld_among_one_s_own(server: KeyServer) -> None:
    from filer.kmip.requests import get, locate_all

    own, others = registered(server, [new_pair(), new_pair()])
    hide(server, others)

    kept, withheld, located = ask(server, get(own), get(others), locate_all())
    assert kept.key is not None
    assert withheld.withheld
    assert not withheld.gone
    assert located.identifiers == (own,)


def hide(server: KeyServer, identifier: str) -> None:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(server.store, timeout=10)) as store, store:
        store.execute("UPDATE managed_objects SET owner = 'another' WHERE uid = ?", (identifier,))
