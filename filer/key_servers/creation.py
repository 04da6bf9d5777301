"""Create a key pair: store it on every key server, read it back, then add it to the keytable."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple

from filer.host.errors import FilerError
from filer.key_servers.holdings import conflict
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.key_id import new_key_id, parent_tag, systems_of
from filer.keys.keytable import CREATION_LIMIT, Entry, Keytable
from filer.keys.pair import KeyPair

if TYPE_CHECKING:
    from filer.key_servers.group import KeyServers


class NoKeyServers(FilerError):
    """No key server is registered."""

    def __init__(self) -> None:
        super().__init__("No key servers are registered.")


class KeyCreationError(FilerError):
    """No key pair was created; ``left_behind`` has a line for each copy that may remain."""

    def __init__(self, message: str, left_behind: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.left_behind = left_behind


class SystemIdentity(NamedTuple):
    """The two system IDs in the key IDs that this system creates, and in the parent tag."""

    system_id: int
    partner_id: int

    @property
    def parent_tag(self) -> str:
        """The last default for a key tag (man key_manager, rekey)."""
        return parent_tag(self.system_id, self.partner_id)

    def new_pair(self, tag: str, key: AuthenticationKey, random: Callable[[int], bytes]) -> KeyPair:
        """Give ``key`` a new key ID of this system."""
        return KeyPair(new_key_id(self.system_id, self.partner_id, random), tag, key)


def refuse_early(
    servers: KeyServers, identity: SystemIdentity, keytable: Keytable, in_use: Collection[str]
) -> Mapping[str, list[str]]:
    """Check that a key pair can be created, before the user is asked or anything changes.

    ``in_use`` has the key IDs of this system's disks.  Returns the contested key IDs of other
    systems, which are no obstacle, each with the key servers that hold it.  Raises NoKeyServers, or
    KeyCreationError if a registered key server does not answer completely, if the servers
    contradict each other about a key ID of this system, or if the creation limit
    (``man key_manager, rekey``) is reached.  The limit counts the key IDs that contain this
    system's ID, on the key servers and in ``keytable``.
    """
    if not len(servers):
        raise NoKeyServers
    holdings = servers.fetch(in_use)
    for address, failure in holdings.failures.items():
        raise KeyCreationError(f"{failure.about(address)}; no key pair was created")
    contested = holdings.contradictions()
    for key_id, holders in contested.items():
        if key_id in in_use or identity.system_id in systems_of(key_id):
            raise KeyCreationError(f"{conflict(key_id, holders)}; no key pair was created")
    existing = holdings.key_ids() | {entry.key_id for entry in keytable}
    if sum(identity.system_id in systems_of(each) for each in existing) >= CREATION_LIMIT:
        raise KeyCreationError(f"the limit of {CREATION_LIMIT} key pairs is reached")
    return contested


def store_key_pair(
    servers: KeyServers, identity: SystemIdentity, keytable: Keytable, pair: KeyPair
) -> None:
    """Store the new ``pair`` on every key server, read it back from each, and load it.

    If a server fails, destroys the pair wherever it may have arrived, changes nothing else, and
    raises KeyCreationError.
    """
    stored = servers.store(pair, identity.parent_tag)
    if stored.failures:
        address, failure = next(iter(stored.failures.items()))
        raise _taken_back(servers, pair, f"could not be stored on {address}: {failure.reason}")
    confirmed = servers.confirm(pair)
    for address, failure in confirmed.failures.items():
        raise _taken_back(servers, pair, f"could not be read back from {address}: {failure.reason}")
    for address, is_there in confirmed.answers.items():
        if not is_there:
            raise _taken_back(servers, pair, f"read back from {address} is not what was stored")
    keytable.add([Entry(pair.key_id, pair.tag, (pair.key,))])


def _taken_back(servers: KeyServers, pair: KeyPair, problem: str) -> KeyCreationError:
    outcome = servers.take_back(pair)
    left = {address: failure.reason for address, failure in outcome.failures.items()}
    left |= {address: "it is still there" for address, gone in outcome.answers.items() if not gone}
    return KeyCreationError(
        f"the new key pair {problem}; nothing was changed",
        tuple(
            f"key ID {pair.key_id} may remain on key server {address}: {reason}"
            for address, reason in left.items()
        ),
    )
