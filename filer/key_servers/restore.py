"""Load key pairs from key servers into the keytable (man key_manager, restore; KEYTABLE)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from filer.key_servers.holdings import Holdings
from filer.key_servers.ranking import Surplus, rank
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.keytable import Keytable, merge
from filer.keys.pair import KeyPair
from filer.kmip.failure import KeyServerFailure, PartlyRead, not_listed

if TYPE_CHECKING:
    from filer.key_servers.group import KeyServers


@dataclass(frozen=True)
class Restored:
    """The result of a restore: pairs read from each server, and the changes of the keytable.

    ``kept`` maps key IDs that no key server holds to the number of disks that use them; 0 if only a
    disk that was not read may use it.
    ``contradictions`` and ``differences`` map a key ID to the key servers that hold it: those that
    contradict each other, and those that agree but differ from the keytable.
    """

    read: Mapping[str, int]
    total: int
    added: int
    removed: int
    kept: Mapping[str, int]
    contradictions: Mapping[str, list[str]]
    differences: Mapping[str, list[str]]
    surplus: Sequence[Surplus]
    complete: bool


def read(
    servers: KeyServers,
    keytable: Keytable,
    in_use: Collection[str],
    *,
    discard: bool,
) -> Holdings:
    """Read what ``servers`` hold; with ``discard``, also query the key IDs that would be dropped.

    A key ID is dropped only if no server has a key pair of that name.  A server that omitted one
    from its list is among the failures.
    """
    holdings = servers.fetch(in_use)
    missing = {entry.key_id for entry in keytable} - holdings.key_ids() - set(in_use)
    if not discard or holdings.failures or not missing:
        return holdings
    heard = servers.held(sorted(missing))
    failures: dict[str, KeyServerFailure] = dict(heard.failures)
    for address, held in heard.answers.items():
        if held:
            failure = not_listed(f"key ID {min(held)}")
            failures[address] = PartlyRead(failure, holdings.by_server[address])
    return replace(holdings, failures=failures)


def load(
    keytable: Keytable,
    holdings: Holdings,
    in_use: Mapping[str, int],
    accepted: Mapping[str, Sequence[AuthenticationKey]],
    tag: str | None,
    *,
    discard: bool,
    all_read: bool = True,
) -> Restored:
    """Load the key pairs in ``holdings`` that have ``tag`` (None: any tag) into ``keytable``.

    ``in_use`` maps the key ID of each disk to its number of disks, and ``accepted`` a key ID to the
    keys that its locked disks have accepted.  ``discard`` drops the old entries, but only if every
    server answered, and never one in use: a secret that may be the only one to
    open a disk stays a candidate.  Unless the key IDs of all disks were read (``all_read``), it
    drops none: any entry may be in use.
    """
    complete = not holdings.failures
    discarding = discard and complete
    wanted = rank(
        {
            address: [
                pair
                for pair in held
                if tag is None or pair.tag == tag or (discard and pair.key_id in in_use)
            ]
            for address, held in holdings.by_server.items()
        }
    )
    read_ids = wanted.entries.keys()
    known = [
        entry
        for entry in keytable
        if entry.key_id in read_ids and (entry.key_id in in_use or not (discarding and all_read))
    ]
    entries = merge(
        KeyPair(entry.key_id, entry.tag, key)
        for entry in (*known, *wanted.entries.values())
        for key in entry.candidates
    )
    contradictions = holdings.contradictions()
    on_servers = holdings.key_ids()
    kept: dict[str, int] = {}
    lost = {
        key_id
        for key_id, keys in accepted.items()
        if not all(holdings.holds(key_id, key) for key in keys)
    }
    in_doubt = read_ids - contradictions.keys() - (accepted.keys() - lost)
    before = {entry.key_id for entry in keytable}
    if discarding:
        for entry in keytable:
            if entry.key_id in in_use and (entry.key_id not in on_servers or entry.key_id in lost):
                entries.setdefault(entry.key_id, entry)
                kept[entry.key_id] = in_use[entry.key_id]
            elif not all_read:
                entries.setdefault(entry.key_id, entry)
                if entry.key_id not in on_servers:
                    kept[entry.key_id] = 0
        keytable.replace(entries.values())
    else:
        keytable.add(entries.values())
    after = {entry.key_id for entry in keytable}
    return Restored(
        read={
            address: len({pair.key_id for pair in held if tag in (None, pair.tag)})
            for address, held in holdings.by_server.items()
        },
        total=len(after),
        added=len(after - before),
        removed=len(before - after),
        kept=kept,
        contradictions={
            key_id: holders for key_id, holders in contradictions.items() if key_id in read_ids
        },
        differences={
            key_id: holdings.holders(key_id)
            for key_id in sorted(in_doubt - kept.keys())
            if entries[key_id].contradicted
        },
        surplus=wanted.surplus,
        complete=complete,
    )
