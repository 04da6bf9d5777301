"""Try a new registration against the key servers, before it replaces the current one."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Self

from filer.boot_device.generations import Staged
from filer.disks.disk import Disk
from filer.key_servers.group import KeyServers
from filer.key_servers.holdings import Holdings
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.keytable import Keytable
from filer.registration.certificates import expiry_of
from filer.registration.pem import CLIENT, CertificateError, ca_name
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

    @property
    def replaces(self) -> bool:
        """Whether a registered key server is dropped, or gets another port or CA file.

        A changed client certificate does not count; `begin` has tried it.
        """
        old, new = self.filer.registration, self.registration
        names = map(ca_name, old.servers)
        return bool(old.servers) and (
            self.filer.port != (new.port or self.filer.hardware.port)
            or any(old.certificates.get(name) != new.certificates.get(name) for name in names)
        )

    def accept(self) -> None:
        """Put the new registration into force, certificates and servers together."""
        self.staged.commit()
        before, self.filer.registration = self.filer.registration, self.registration
        for event, text in self.registration.changes_since(before):
            self.filer.messages.log(event, "info", text)


def begin(filer: Filer, registration: Registration) -> Trial:
    """Write ``registration`` as a new generation of /var/kmip; try a changed client certificate.

    The new client certificate must see every key in use that a registered key server shows to the
    old one, since a key server may show keys to their owner only.  If the old one is expired or
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
    needed = filer.key_ids_needed()
    if not needed:
        return
    new = filer.key_servers_at(
        filer.registration.servers, filer.port, trial.staged.certificate_path
    ).fetch(needed)
    silent = _silent(new)
    problems = {
        address: f"the changed client certificate cannot be tried on key server {address}: "
        f"{new.failures[address].reason}"
        for address in silent
    }
    if silent and not useless:
        raise _stays(problems[silent[0]])
    known = filer.known_keys()
    for address in new.by_server:
        shown = new.only(address)
        hidden = [
            key_id
            for key_id in needed
            if not shown.keys(key_id)
            or not all(shown.holds(key_id, key) for key in known.get(key_id, ()))
        ]
        if hidden:
            problems[address] = _hidden(address, min(hidden), shown)
    # Without a known key, only the registered certificate can tell which one is right.
    to_compare = list(problems if needed.keys() <= known.keys() else filer.registration.servers)
    if not to_compare:
        return
    old = filer.key_servers(to_compare).fetch(needed)
    still_silent = _silent(old)
    for address in to_compare:
        if address not in still_silent:
            if address in silent:
                raise _stays(problems[address])
            _refuse_hidden_keys(address, new.only(address), old.only(address), needed, known)
        elif address in problems:
            if not useless:
                raise _stays(problems[address])
            yield problems[address]


def _refuse_hidden_keys(
    address: str,
    new: Holdings,
    old: Holdings,
    needed: Collection[str],
    known: Mapping[str, Sequence[AuthenticationKey]],
) -> None:
    """Raise RegistrationError if a needed key that ``old`` has is not in ``new``."""
    for key_id in sorted(needed):
        shown = old.keys(key_id)
        for key in known.get(key_id, shown):
            if key in shown and not new.holds(key_id, key):
                raise _stays(_hidden(address, key_id, new))


def _hidden(address: str, key_id: str, shown: Holdings) -> str:
    shows = "shows another key for" if shown.keys(key_id) else "does not show"
    return (
        f"key server {address} {shows} key ID {key_id}, which is in use, to the changed client "
        "certificate"
    )


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
    return missing_from(filer, fetch_needed(filer, servers))


def fetch_needed(filer: Filer, servers: KeyServers) -> Holdings:
    """Fetch from ``servers``, or return empty holdings if no disk needs a key."""
    needed = filer.key_ids_needed()
    return fetch_or_nothing(servers, needed) if needed else Holdings({}, {})


def missing_from(filer: Filer, holdings: Holdings) -> Mapping[str, int]:
    """Return the key IDs of `out_of_reach` for servers that have shown ``holdings``.

    Call it before a new registration is accepted: if a locked disk has accepted no key and none is
    in the keytable, the registered key servers are asked which may be the right one.  The disks of
    an HA partner count while it is taken over: this filer has to open them again after a boot.
    """
    ownership = filer.ownership()
    locked = [
        disk
        for disk in filer.shelf
        if disk.locking
        and (not ownership.foreign_owner(disk) or (filer.partner and ownership.is_partners(disk)))
    ]
    registered = cache(lambda: fetch_needed(filer, filer.key_servers()))
    disks = Counter(disk.key_id for disk in locked)
    lost = {
        disk.key_id
        for disk in locked
        if not _can_be_opened(disk, filer.keytable, holdings, registered)
    }
    missing = {key_id: number for key_id, number in disks.items() if key_id in lost}
    for key_id in filer.key_ids_of_absent_disks():
        keys = _keys_in(filer.keytable, key_id) or registered().keys(key_id)
        if not holdings.keys(key_id) or not all(holdings.holds(key_id, key) for key in keys):
            missing.setdefault(key_id, 0)
    return missing


def _keys_in(keytable: Keytable, key_id: str) -> Sequence[AuthenticationKey]:
    entry = keytable.get(key_id)
    return entry.candidates if entry else ()


def fetch_or_nothing(servers: KeyServers, key_ids: Collection[str]) -> Holdings:
    """Fetch from ``servers``, ``key_ids`` first; without servers return empty holdings."""
    return servers.fetch(key_ids) if len(servers) else Holdings({}, {})


def _can_be_opened(
    disk: Disk, keytable: Keytable, holdings: Holdings, registered: Callable[[], Holdings]
) -> bool:
    """Say whether ``holdings`` have every key that may be the one of ``disk``.

    That is the key that it has accepted, or else each key in the keytable that it has not refused.
    If there is none, any key on the servers that it has not refused may be the one, and so may
    those that the ``registered`` key servers hold now.
    """
    key_id = disk.key_id
    if disk.accepted_key is not None:
        return holdings.holds(key_id, disk.accepted_key)
    known = _not_refused(disk, _keys_in(keytable, key_id))
    if not known:
        if not _not_refused(disk, holdings.keys(key_id)):
            return False
        known = _not_refused(disk, registered().keys(key_id))
    return all(holdings.holds(key_id, key) for key in known)


def _not_refused(disk: Disk, keys: Iterable[AuthenticationKey]) -> Sequence[AuthenticationKey]:
    return [key for key in keys if not disk.has_refused(key)]
