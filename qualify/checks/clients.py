"""Checks of what other client certificates can do."""

from filer.kmip.failure import KeyServerFailure
from filer.kmip.requests import destroy, get, locate_name
from filer.qualify.checks.pairs import read_key
from filer.qualify.outcome import BLOCKER, Problem, Statements, check
from filer.qualify.server import Server
from filer.throw_away.message import Tags


@check(BLOCKER, "register-read-back", "key-shapes")
def isolation(server: Server) -> Statements:
    """Another client cannot see, read or destroy the keys

    A second client certificate (--other-cert, or one that the authority in DIR issues) asks for a
    pair: Locate by Name, Get and Destroy by its identifier. Passes if nothing is found, both are
    refused, and the pair is still there.

    A filer shows its keys to no other system. One that could destroy them makes the disks
    unreadable.
    """
    pair = server.mint.pair()
    server.credentials("other")
    (identifier,) = server.own.register(pair)
    try:
        located = server.item(locate_name(pair.key_id), "other")
        if identifier in located.payload.texts(Tags.UNIQUE_IDENTIFIER):
            yield Problem(BLOCKER, "another client finds the pair")
        if server.item(get(identifier), "other").succeeded:
            yield Problem(BLOCKER, "another client reads the key")
        if server.item(destroy(identifier), "other").succeeded:
            yield Problem(BLOCKER, "another client can destroy the key")
        elif read_key(server, identifier) != pair.key:
            yield Problem(BLOCKER, "the key is gone after a Destroy of another client was refused")
    except KeyServerFailure as failure:
        yield f"another client is not answered: {failure.reason}"
    yield "another client sees and destroys nothing"


@check(BLOCKER, "register-read-back", "key-shapes")
def ha_partner(server: Server) -> Statements:
    """The partner of an HA pair sees the same keys

    A pair is stored with the client certificate, and read with that of the partner
    (--partner-cert). Passes if it is equal.

    At a takeover the partner opens the disks of the other node. It can do so only with keys that
    the key server shows to it.
    """
    partner = server.certificates.partner(server.address)
    pair = server.mint.pair()
    server.own.register(pair)
    read = server.client(partner).find(pair.key_id)
    if pair in read:
        yield "the partner reads the pair"
    elif read:
        yield Problem(BLOCKER, "the partner reads another secret or key tag")
    else:
        yield Problem(BLOCKER, "the partner does not see the pair")
