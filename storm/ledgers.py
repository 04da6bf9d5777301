"""The ledger of a storm: one for each machine, to which all its processes add."""

import os
from collections.abc import Sequence
from pathlib import Path

from filer.host.durable import Storage
from filer.host.text import printable
from filer.registration.pem import CLIENT
from filer.storm.fleet import is_owner
from filer.storm.plan import PROGRAM, Plan, Post
from filer.throw_away.certificates import fingerprint
from filer.throw_away.ledger import Digests, Entry, Ledger, LedgerError, Reach, read

_SALT_SIZE = 16


def begin(plan: Plan, post: Post) -> Ledger:
    """Begin the ledger of this machine.  Raises LedgerError and StorageError."""
    reach = Reach(
        post.certs,
        plan.port,
        plan.timeout,
        other_cert=None,
        login=None,
        client=client_of(post.certs),
    )
    digests = Digests(os.urandom(_SALT_SIZE))
    ledger = Ledger(PROGRAM, Path(post.ledger), reach, digests, Storage())
    ledger.create()
    return ledger


def client_of(certs: str | Path) -> str:
    """Return the fingerprint of the client certificate that all filers may share."""
    return fingerprint(Path(certs, CLIENT))


def opened(path: Path) -> tuple[Ledger, Reach]:
    """Return an existing ledger, and how to reach its key servers.  Raises LedgerError."""
    reach, digests, _ = read(PROGRAM, path)
    return Ledger(PROGRAM, path, reach, digests, Storage()), reach


def entries(ledger: Ledger) -> Sequence[Entry]:
    """Return what a ledger names, whichever process added it.  Raises LedgerError."""
    _, _, found = read(PROGRAM, ledger.path)
    if not all(is_owner(each.owner) for each in found):
        raise LedgerError(f"{printable(str(ledger.path))}: it names an owner that is no filer")
    return list(dict.fromkeys(found))
