"""Messages about key servers that fail, and about keys that they do not hold."""

from collections.abc import Mapping, Sequence

from filer.commands import Call, Complaint, Refused
from filer.key_servers.group import KeyServers
from filer.key_servers.holdings import Holdings
from filer.kmip.failure import KeyServerFailure, PartlyRead, ServerRefusal
from filer.registration.registration import MAXIMUM


def refuse_too_many(addresses: Sequence[str], done: str) -> None:
    """Raise Refused if there are more key servers than can be ``done`` (registered, removed)."""
    if len(addresses) > MAXIMUM:
        raise Refused(f"a maximum of four key servers can be {done}")


def not_responding(address: str, failure: KeyServerFailure) -> Complaint:
    """Return the line for a server that did not answer, or not completely."""
    sentence = failure.about(address)
    text, reason = f"{sentence[0].upper()}{sentence[1:]}.", failure.reason
    if isinstance(failure, PartlyRead):
        return Complaint(text, "key_server_incomplete", key_server=address, reason=reason)
    if isinstance(failure, ServerRefusal):
        return Complaint(text, "key_server_refuses", key_server=address, reason=reason)
    return Complaint(text, "key_server_not_responding", key_server=address, reason=reason)


def warn_of_servers(call: Call, servers: KeyServers) -> None:
    """Warn about what was tolerated, and about key pairs that cannot be read."""
    for warning in servers.warnings():
        call.console.warn(Complaint(warning, "key_server").as_warning())


def warn_of(call: Call, servers: KeyServers) -> None:
    """Warn about failures of the key servers, and about what was tolerated."""
    for address, failure in servers.failed.items():
        call.console.warn(not_responding(address, failure).as_warning())
    warn_of_servers(call, servers)


def warn_of_conflict(call: Call, key_id: str, holders: Sequence[str], text: str) -> None:
    """Warn that ``holders`` hold different keys, or a wrong key, under ``key_id``."""
    complaint = Complaint(f"{text}.", "key_conflict", key_id=key_id, key_servers=holders)
    call.console.warn(complaint.as_warning())


def warn_of_wrong_keys(call: Call, holdings: Holdings) -> None:
    """Warn, as a boot does, about servers with a wrong key and about keys that it does not load."""
    for surplus in holdings.ranking.surplus:
        warn_of_conflict(call, surplus.key_id, [surplus.server], str(surplus))
    in_use = call.filer.key_ids_in_use()
    right = {
        key_id: keys[0]
        for key_id, keys in call.filer.known_keys().items()
        if key_id in in_use and all(key == keys[0] for key in keys)
    }
    for mismatch in holdings.mismatches(right):
        warn_of_conflict(call, *mismatch)


def warn_of_lost_keys(call: Call, lost: Mapping[str, int]) -> None:
    """Warn about the key IDs of locked disks that no registered, answering key server has."""
    for key_id, disks in lost.items():
        owners = (
            f" of {disks} locked disks" if disks else ", which a disk that was not read may have,"
        )
        text = f"key ID {key_id}{owners} would be on no registered key server that answers."
        lost_key = Complaint(text, "key_out_of_reach", key_id=key_id, disk_count=disks)
        call.console.warn(lost_key.as_warning())
