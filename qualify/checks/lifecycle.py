"""Checks of what happens to an object from Register to Destroy."""

from filer.keys.pair import KeyPair
from filer.kmip.messages import enums
from filer.kmip.requests import activate, destroy, get_attributes, locate_name, revoke
from filer.kmip.ttlv import Element
from filer.qualify.outcome import INFORMATION, WARNING, NotTested, Problem, Statements, check
from filer.qualify.server import Server
from filer.throw_away import objects
from filer.throw_away.message import AnswerItem, Reason, Tags

_NOT_NOW = (
    Reason.PERMISSION_DENIED,
    Reason.ILLEGAL_OPERATION,
    Reason.WRONG_KEY_LIFECYCLE_STATE,
    Reason.INVALID_FIELD,
)
"""The reasons with which the standard lets a server refuse an operation in this state."""
_NOT_AT_ALL = (Reason.OPERATION_NOT_SUPPORTED, Reason.PERMISSION_DENIED)


@check(WARNING)
def lifecycle(server: Server) -> Statements:
    """Activate, Revoke and Destroy work, or are refused as the standard says

    A pair is activated, activated again, destroyed while it is active, revoked, and destroyed.
    Passes if Activate leads to the state Active or is not offered, if a refusal has a reason that
    the standard has for it and changes nothing, and if the pair is gone in the end.

    A filer activates each key that it stores, and revokes and destroys a key that it takes back
    because another server has not taken it. What cannot be taken back is left on the server.
    """
    (identifier,) = server.own.register(server.mint.pair())
    if not _attributes(server, identifier):
        raise NotTested("the pair for it was registered, but is not there")
    item = server.item(activate(identifier))
    if item.succeeded:
        yield "Activate works"
        yield from _expect(server, identifier, enums.State.ACTIVE, "after Activate")
        again = server.item(activate(identifier))
        yield from _told("Activate of an active object", again)
        yield from _expect(server, identifier, enums.State.ACTIVE, "after a second Activate")
        early = server.item(destroy(identifier))
        yield from _told("Destroy of an active object", early)
        if early.succeeded:
            return
        yield from _expect(server, identifier, enums.State.ACTIVE, "after a refused Destroy")
        revoked = server.item(revoke(identifier))
        if not revoked.succeeded:
            yield Problem(WARNING, f"Revoke of an active object is refused: {revoked.outcome()}")
    elif item.refused_with(*_NOT_AT_ALL):
        yield f"Activate is not offered: {item.outcome()}"
    else:
        known = objects.state(_attributes(server, identifier))
        if known is enums.State.ACTIVE:
            yield "a new object is active at once"
            server.item(revoke(identifier))
        else:
            yield Problem(WARNING, f"Activate is refused: {item.outcome()}")
    last = server.item(destroy(identifier))
    if not last.succeeded:
        yield Problem(WARNING, f"Destroy is refused: {last.outcome()}")
    else:
        yield "Destroy works"


def _attributes(server: Server, identifier: str) -> dict[str, list[Element]]:
    item = server.item(get_attributes(identifier))
    return objects.attributes(item.payload) if item.succeeded else {}


def _expect(server: Server, identifier: str, wanted: enums.State, when: str) -> Statements:
    found = objects.state(_attributes(server, identifier))
    if found is not None and found is not wanted:
        yield Problem(WARNING, f"the state {when} is {found.name.lower().replace('_', '-')}")


def _told(words: str, item: AnswerItem) -> Statements:
    if item.succeeded:
        yield f"{words} works"
    elif item.refused_with(*_NOT_NOW):
        yield f"{words} is refused: {item.outcome()}"
    else:
        yield Problem(WARNING, f"{words} is refused with another reason: {item.outcome()}")


@check(INFORMATION)
def duplicates(server: Server) -> Statements:
    """What happens if two objects have the same name

    Two Register requests with the same Name and different secrets. Both behaviours pass: it is only
    reported whether the second is stored or refused.

    A filer makes each name once. If two servers with one store are registered under two addresses,
    a server that refuses the second is understood as having stored the first.
    """
    pair = server.mint.pair()
    server.own.register(pair)
    twin = KeyPair(pair.key_id, pair.tag, server.mint.pair().key)
    answer = server.own.send(twin)
    if answer.items and answer.items[0].succeeded:
        yield "a second object of the same name is stored beside the first"
    else:
        words = answer.items[0].outcome(with_message=False) if answer.items else "no item"
        yield f"a second object of the same name is refused: {words}"


@check(WARNING, "register-read-back")
def clean_up(server: Server) -> Statements:
    """A destroyed object is gone

    A pair is registered and destroyed, and located by its name. Passes if nothing is found, or only
    an object in the state Destroyed.

    A filer takes a key back by destroying it. A key that is still shown afterwards looks like one
    that can open disks.
    """
    pair = server.mint.pair()
    (identifier,) = server.own.register(pair)
    item = server.item(destroy(identifier))
    if not item.succeeded:
        yield Problem(WARNING, f"Destroy is refused: {item.outcome()}")
        return
    located = server.item(locate_name(pair.key_id))
    if identifier not in located.payload.texts(Tags.UNIQUE_IDENTIFIER):
        yield "a destroyed object is not found"
        return
    about = server.item(get_attributes(identifier))
    state = objects.state(objects.attributes(about.payload)) if about.succeeded else None
    if state in objects.DESTROYED or about.refused_with(*objects.GONE):
        yield "a destroyed object is listed as destroyed"
    else:
        yield Problem(WARNING, "a destroyed object is still shown as if it existed")
