"""Try a new registration against the key servers, before it replaces the current one."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from filer.boot_device.generations import Staged
from filer.disks.disk import Disk
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
    """A new registration: written to /var/kmip, but not in force until `accept`.

    As a context manager, discards it if an exception leaves the block.
    """

    filer: Filer
    registration: Registration
    staged: Staged
    warnings: tuple[str, ...] = ()
    """What was tolerated because the registered client certificate is expired or damaged."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_details: object) -> None:
        if kind is not None:
            self.staged.discard()

    def key_servers(self, addresses: Sequence[str]) -> KeyServers:
        """Return the key servers at ``addresses``, to be used with the new registration."""
        port = self.registration.port or self.filer.hardware.port
        return self.filer.key_servers_at(addresses, port, self.staged.certificate_path)

    def accept(self) -> None:
        """Put the new registration into force, certificates and servers together."""
        self.staged.commit()
        before, self.filer.registration = self.filer.registration, self.registration
        for event, text in self.registration.changes_since(before):
            self.filer.messages.log(event, "info", text)


def begin(filer: Filer, registration: Registration) -> Trial:
    """Write ``registration`` as a new generation of /var/kmip; try a changed client certificate.

    The new client certificate must see every key ID in use that a registered key server shows to
    the old one, since a key server may show keys to their owner only.  If the old one is expired or
    damaged, a server that does not answer it causes only a warning.  Raises RegistrationError.
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
    """Yield what is tolerated of the changed client certificate.  Raises RegistrationError."""
    useless = _why_useless(filer)
    if useless:
        yield f"the registered {CLIENT} {useless} and is replaced"
    in_use = filer.key_ids_needed()
    if not in_use:
        return
    new = filer.key_servers_at(
        filer.registration.servers, filer.port, trial.staged.certificate_path
    ).fetch(in_use)
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
    old = filer.key_servers(list(problems)).fetch(in_use)
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

    A server with an incomplete list has answered: keys in use are requested by name.
    """
    return [address for address, failure in holdings.failures.items() if not failure.answered]


def _why_useless(filer: Filer) -> str | None:
    """Return why key servers may refuse the registered client certificate, or None."""
    try:
        return expiry_of(CLIENT, filer.registration.certificates[CLIENT], filer.now())
    except CertificateError:
        return "is damaged"


def _stays(problem: str) -> RegistrationError:
    return RegistrationError(f"{problem}; the registered one stays")


def out_of_reach(filer: Filer, servers: KeyServers) -> Mapping[str, int]:
    """Return the key IDs of locked disks that none of ``servers`` holds, each with its disk count.

    A key server that does not answer counts as holding nothing.  A key ID that only a disk which
    was not read may have has 0 disks.
    """
    needed = {*filer.key_ids_needed(), *(disk.key_id for disk in _locked(filer))}
    return missing_from(filer, fetch_or_nothing(servers, needed)) if needed else {}


def missing_from(filer: Filer, holdings: Holdings) -> Mapping[str, int]:
    """Return the key IDs of `out_of_reach` for servers that have shown ``holdings``."""
    locked = _locked(filer)
    disks = Counter(disk.key_id for disk in locked)
    lost = {disk.key_id for disk in locked if not _can_be_opened(disk, filer.keytable, holdings)}
    missing = {key_id: number for key_id, number in disks.items() if key_id in lost}
    if filer.shelf.absent():
        for entry in filer.keytable:
            if not all(holdings.holds(entry.key_id, key) for key in entry.candidates):
                missing.setdefault(entry.key_id, 0)
    return missing


def _locked(filer: Filer) -> list[Disk]:
    return [disk for disk in filer.ownership().own(filer.shelf) if disk.locking]


def fetch_or_nothing(servers: KeyServers, key_ids: Collection[str]) -> Holdings:
    """Fetch from ``servers``, ``key_ids`` first; without servers return empty holdings."""
    return servers.fetch(key_ids) if len(servers) else Holdings({}, {})


def _can_be_opened(disk: Disk, keytable: Keytable, holdings: Holdings) -> bool:
    """Say whether ``holdings`` have every key that may be the one of ``disk``.

    That is the key that it has accepted, or else each key in the keytable that it has not refused.
    If there is none, any key on the servers that it has not refused may be the one.
    """
    if disk.accepted_key is not None:
        return holdings.holds(disk.key_id, disk.accepted_key)
    known = _not_refused(disk, keytable.get(disk.key_id))
    if known:
        return all(holdings.holds(disk.key_id, key) for key in known)
    return bool(_not_refused(disk, holdings.ranking.entries.get(disk.key_id)))


def _not_refused(disk: Disk, entry: Entry | None) -> Sequence[AuthenticationKey]:
    return [key for key in entry.candidates if not disk.has_refused(key)] if entry else []
