"""Checks of what is still there later, or elsewhere."""

from filer.qualify.outcome import BLOCKER, INFORMATION, NotTested, Problem, Statements, check
from filer.qualify.server import Server
from filer.throw_away import objects
from filer.throw_away.destruction import find

_STEP = 0.25


@check(BLOCKER)
def durability(server: Server) -> Statements:
    """A key survives a restart of the server

    A run with --keep leaves a pair on the server. Restart the server, then run --after-restart with
    the ledger: the pair is read again. Passes if its secret fits the digest in the ledger.

    A key that is lost with the power takes the data of its disks along.
    """
    restarted = server.settings.restarted
    if restarted is None:
        raise NotTested("run with --keep, restart the server, then run with --after-restart LEDGER")
    kept = [entry for entry in restarted if entry.key_server == server.address]
    for entry in kept:
        found = find(server.batches().ask, entry.name)
        keys = [key for each in found if (key := objects.key(each.payload)) is not None]
        if any(server.digests.of(key) == entry.digest for key in keys):
            yield f"{entry.name} is there, with the same secret"
        elif keys:
            yield Problem(BLOCKER, f"{entry.name} has another secret than before")
        else:
            yield Problem(BLOCKER, f"{entry.name} is gone, or cannot be read")
    if not kept:
        raise NotTested("the ledger has no pair of this key server")


@check(INFORMATION, "register-read-back")
def replication(server: Server) -> Statements:
    """What is stored at one address is seen at the others

    A pair is stored at the first address and read at the others, until it is seen or the timeout
    has passed. Passes if all show it.

    Servers that copy to one another need no key pair each. A filer stores each key on every
    registered server itself, and understands that two addresses are one store.
    """
    if not server.others:
        raise NotTested(
            "give further addresses of the same server; the first is compared with them"
        )
    pair = server.mint.pair()
    server.own.register(pair)
    for address in server.others:
        begun = server.clock()
        client = server.client(address=address)
        while pair not in client.find(pair.key_id):
            if server.clock() - begun > server.settings.timeout:
                yield Problem(INFORMATION, f"{address} does not show it")
                break
            server.pause(_STEP)
        else:
            yield f"{address} shows it after {server.clock() - begun:.1f} s"
