"""Carrying a registration out: the new generation is tried before it becomes the registered one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from filer.authentication_key import AuthenticationKey
from filer.bootdevice import Registration, Staged
from filer.holdings import Holdings
from filer.key_creation import SystemIdentity
from filer.keyservers import KeyServers
from filer.registration import CLIENT_FILES, RegistrationError
from filer.system import Filer


@dataclass(frozen=True)
class Trial:
    """A registration that is written, but not yet the registered one, and a way to try it.

    As a context manager it is discarded by whatever goes wrong within.
    """

    filer: Filer
    registration: Registration
    staged: Staged

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_details: object) -> None:
        if kind is not None:
            self.staged.discard()

    def key_servers(self, addresses: Sequence[str]) -> KeyServers:
        """Return key servers that are talked to as the new registration says."""
        port = self.registration.port or self.filer.hardware.port
        return self.filer.key_servers_at(addresses, port, self.staged.certificate_path)

    def accept(self) -> None:
        """Make the new registration the registered one, certificates and servers together."""
        self.staged.commit()
        self.filer.registration = self.registration


def begin(filer: Filer, registration: Registration) -> Trial:
    """Write ``registration`` as a new generation of /var/kmip, to be tried.

    A changed client certificate must see every key ID in use on every registered key server,
    since a key server may show keys to their owner alone.  Raises RegistrationError.
    """
    with Trial(filer, registration, filer.boot_device.stage(registration)) as trial:
        if _client_changes(filer.registration, registration):
            _must_see_keys_in_use(filer, trial)
    return trial


def _client_changes(old: Registration, new: Registration) -> bool:
    return bool(old.servers) and any(
        old.certificates[name] != new.certificates[name]
        for name in CLIENT_FILES
        if name in old.certificates and name in new.certificates
    )


def _must_see_keys_in_use(filer: Filer, trial: Trial) -> None:
    in_use = filer.key_ids_in_use()
    if not in_use:
        return
    servers = filer.key_servers_at(
        filer.registration.servers, filer.port, trial.staged.certificate_path
    )
    holdings = servers.fetch(filer.identity.parent_tag)
    for address, failure in holdings.failures.items():
        raise RegistrationError(
            f"the changed client certificate cannot be tried on key server {address}: "
            f"{failure.reason}; the registered one stays"
        )
    for address, held in holdings.by_server.items():
        seen = {pair.key_id for pair in held}
        for key_id in in_use:
            if key_id not in seen:
                raise RegistrationError(
                    f"key server {address} does not show key ID {key_id}, which is in use, to "
                    "the changed client certificate; the registered one stays"
                )


def out_of_reach(filer: Filer, servers: KeyServers) -> Mapping[str, int]:
    """Return the key IDs of locked disks that none of ``servers`` holds, with their disks.

    A key server that does not answer holds nothing.
    """
    locked = filer.key_ids_of_locked_disks()
    if not locked:
        return {}
    holdings = fetch_or_nothing(servers, filer.identity)
    accepted = filer.accepted_keys()
    return {
        key_id: disks
        for key_id, disks in locked.items()
        if not _is_held(holdings, key_id, accepted.get(key_id) or _known(filer, key_id))
    }


def fetch_or_nothing(servers: KeyServers, identity: SystemIdentity) -> Holdings:
    """Fetch from ``servers``; no servers hold nothing."""
    return servers.fetch(identity.parent_tag) if len(servers) else Holdings({}, {})


def _known(filer: Filer, key_id: str) -> Sequence[AuthenticationKey]:
    # While servers contradict each other, one of the candidates is a lie.
    entry = filer.keytable.get(key_id)
    return entry.candidates if entry else ()


def _is_held(holdings: Holdings, key_id: str, keys: Sequence[AuthenticationKey]) -> bool:
    if not keys:
        return key_id in holdings.key_ids()
    return all(holdings.holds(key_id, key) for key in keys)
