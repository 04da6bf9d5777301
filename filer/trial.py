"""Carrying a registration out: the new generation is tried before it becomes the registered one."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from filer.boot_device.generations import Staged
from filer.disks.disk import Disk
from filer.key_servers.creation import SystemIdentity
from filer.key_servers.group import KeyServers
from filer.key_servers.holdings import Holdings
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.keytable import Entry, Keytable
from filer.registration.certificates import expiry_of
from filer.registration.pem import CLIENT, CertificateError
from filer.registration.plan import CLIENT_FILES, RegistrationError
from filer.registration.registration import Registration
from filer.system import Filer


@dataclass(frozen=True)
class Trial:
    """A registration that is written, but not yet the registered one, and a way to try it.

    As a context manager it is discarded by whatever goes wrong within.
    """

    filer: Filer
    registration: Registration
    staged: Staged
    warnings: tuple[str, ...] = ()
    """What was accepted because the registered client certificate is of no use any more."""

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

    A changed client certificate must see every key ID in use that a registered key server shows
    to the registered one, since a key server may show keys to their owner alone.  If the
    registered one has expired, a server that refuses it is a warning only.
    Raises RegistrationError.
    """
    with Trial(filer, registration, filer.boot_device.stage(registration)) as trial:
        if _client_changes(filer.registration, registration):
            return replace(trial, warnings=tuple(_try_the_changed_client(filer, trial)))
    return trial


def _client_changes(old: Registration, new: Registration) -> bool:
    return bool(old.servers) and any(
        old.certificates[name] != new.certificates[name]
        for name in CLIENT_FILES
        if name in old.certificates and name in new.certificates
    )


def _try_the_changed_client(filer: Filer, trial: Trial) -> Iterator[str]:
    """Yield what is accepted of the changed client certificate.  Raises RegistrationError."""
    useless = _why_useless(filer)
    if useless:
        yield f"the registered {CLIENT} {useless} and is replaced"
    in_use = filer.key_ids_in_use()
    if not in_use:
        return
    parent_tag = filer.identity.parent_tag
    new = filer.key_servers_at(
        filer.registration.servers, filer.port, trial.staged.certificate_path
    ).fetch(parent_tag, in_use)
    silent = _silent(new)
    problems = {
        address: f"the changed client certificate cannot be tried on key server {address}: "
        f"{new.failures[address].reason}"
        for address in silent
    }
    hidden: dict[str, set[str]] = {}
    for address, held in new.by_server.items():
        if unseen := in_use.keys() - {pair.key_id for pair in held}:
            hidden[address] = unseen
            problems[address] = (
                f"key server {address} does not show key ID {min(unseen)}, which is in use, to "
                "the changed client certificate"
            )
    if silent and not useless:
        raise _stays(problems[silent[0]])
    if not problems:
        return
    old = filer.key_servers(list(problems)).fetch(parent_tag, in_use)
    still_silent = _silent(old)
    for address, problem in problems.items():
        if address in still_silent and useless:
            yield problem
        elif address in hidden and address not in still_silent:
            if hidden[address].intersection(pair.key_id for pair in old.by_server[address]):
                raise _stays(problem)
        else:
            raise _stays(problem)


def _silent(holdings: Holdings) -> list[str]:
    """Return the servers that did not answer.

    One with an incomplete list did: the keys in use are looked for by name.
    """
    return [address for address, failure in holdings.failures.items() if not failure.answered]


def _why_useless(filer: Filer) -> str | None:
    """Return why no key server can be expected to accept the registered client certificate."""
    try:
        return expiry_of(CLIENT, filer.registration.certificates[CLIENT], filer.now())
    except CertificateError:
        return "is damaged"


def _stays(problem: str) -> RegistrationError:
    return RegistrationError(f"{problem}; the registered one stays")


def out_of_reach(filer: Filer, servers: KeyServers) -> Mapping[str, int]:
    """Return the key IDs of locked disks that none of ``servers`` holds, with their disks.

    A key server that does not answer holds nothing.
    """
    locked = [disk for disk in filer.ownership().own(filer.shelf) if disk.locking]
    if not locked:
        return {}
    disks = Counter(disk.key_id for disk in locked)
    holdings = fetch_or_nothing(servers, filer.identity, disks)
    lost = {disk.key_id for disk in locked if not _can_be_opened(disk, filer.keytable, holdings)}
    return {key_id: number for key_id, number in disks.items() if key_id in lost}


def fetch_or_nothing(
    servers: KeyServers, identity: SystemIdentity, key_ids: Collection[str]
) -> Holdings:
    """Fetch from ``servers``, ``key_ids`` first; no servers hold nothing."""
    return servers.fetch(identity.parent_tag, key_ids) if len(servers) else Holdings({}, {})


def _can_be_opened(disk: Disk, keytable: Keytable, holdings: Holdings) -> bool:
    """Say whether ``holdings`` have the key of ``disk``, whichever of those known it is.

    Not known to open it are keys that it has refused and, once it has accepted one, all others.
    Where no key is left that may, any other that is held may be the one.
    """
    if disk.accepted_key is not None:
        return holdings.holds(disk.key_id, disk.accepted_key)
    known = _not_refused(disk, keytable.get(disk.key_id))
    if known:
        return all(holdings.holds(disk.key_id, key) for key in known)
    return bool(_not_refused(disk, holdings.ranking.entries.get(disk.key_id)))


def _not_refused(disk: Disk, entry: Entry | None) -> Sequence[AuthenticationKey]:
    return [key for key in entry.candidates if not disk.has_refused(key)] if entry else []
