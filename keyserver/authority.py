"""The certificates of the key servers and of their client, all in one directory.

A small certificate authority issues one certificate for each key server address and one for the
client.  The files that an administrator installs on the filer have the names that ``keymgr install
cert`` expects (man key_manager, CERTIFICATES).  A file ``*_private.pem`` or ``*_server.pem`` has a
private key followed by its certificate, so that both change together.

A certificate that is replaced keeps its private key, and the old file is kept beside the new one.
So the filers that trust the old certificates also trust the new ones, and the other way round, even
if the clock was wrong.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_address
from itertools import count
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from filer.host.durable import Storage, is_temporary
from filer.host.errors import FilerError
from filer.host.lock import locked
from filer.host.own_files import followed, objection
from filer.host.text import printable
from filer.keyserver.identity import Identity, issue, new_authority
from filer.kmip.address import AddressError, parse_address
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name

__all__ = [
    "AUTHORITY_PRIVATE",
    "CLIENT_NAME",
    "LIFETIME",
    "AuthorityError",
    "Identity",
    "addresses_of",
    "issue_server",
    "prepare",
    "renew",
    "server_name",
    "store_name",
]

AUTHORITY_PRIVATE = "authority_private.pem"

CLIENT_NAME = "filer"
"""Common name of the client; it never changes, because PyKMIP uses it as the owner of the keys."""

LIFETIME = timedelta(days=730)
"""How long a new certificate of a key server or client is valid, unless told otherwise."""


_REMEDY = (
    "put it back, or move all .pem files away to start with a new authority, whose certificates "
    "every filer has to install"
)


class AuthorityError(FilerError):
    """The certificates in a directory cannot be used or created."""


def server_name(address: str) -> str:
    """Return the name of the file with the key server's private key and certificate."""
    return f"{address}_server.pem"


def store_name(address: str) -> str:
    """Return the name of the SQLite file with the keys that clients store."""
    return f"{address}.sqlite"


def issue_server(
    authority: Identity,
    address: str,
    now: datetime,
    lifetime: timedelta = LIFETIME,
    old: Identity | None = None,
) -> Identity:
    """Issue a certificate for the key server at ``address``, with the key of ``old`` if given."""
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return issue(authority, address, usage, names, now=now, lifetime=lifetime, old=old)


def prepare(
    directory: Path,
    addresses: Iterable[str],
    *,
    lifetime: timedelta = LIFETIME,
    report: Callable[[str], None] = lambda line: None,
    now: datetime | None = None,
    storage: Storage | None = None,
) -> None:
    """Ensure that ``directory`` has valid certificates for the key servers at ``addresses``.

    Valid certificates are kept, missing ones created, for ``lifetime``; others are issued again
    with the same key.  ``report`` receives a line for each file with other content that is
    replaced.  A directory is accepted if it is missing, empty, or contains a file that only a key
    server creates.

    Raises AddressError for an invalid address, AuthorityError for a damaged file (it is never
    overwritten), for a missing authority, or for a directory that must not be used, and
    StorageError if the directory cannot be written.
    """
    addresses = [parse_address(address) for address in addresses]
    now, storage = now or datetime.now(UTC), storage or Storage()
    files = _Files(_followed(directory), storage, now, lifetime, report)
    with files.locked(addresses):
        authority = files.authority()
        files.client(authority)
        for address in addresses:
            files.server(authority, address)


def renew(
    directory: Path,
    addresses: Iterable[str] = (),
    *,
    client: bool = False,
    lifetime: timedelta = LIFETIME,
    report: Callable[[str], None] = lambda line: None,
    now: datetime | None = None,
    storage: Storage | None = None,
) -> None:
    """Issue the certificates of ``addresses``, of the ``client``, or else all, again.

    The private keys stay the same, and the authority too if it is valid.  A running key server
    uses its new certificate for the next connection.  ``report`` receives a line for each file.
    Raises the errors of `prepare`, and AuthorityError for a certificate that is missing.
    """
    chosen = [parse_address(address) for address in addresses]
    existing = addresses_of(directory, server_name(""))
    missing = [address for address in chosen if address not in existing]
    if missing or not existing:
        where = printable(str(directory / server_name(missing[0]) if missing else directory))
        raise AuthorityError(
            f"{where}: no certificate to renew; filer-keyserver creates it when it starts"
        )
    everything = not chosen and not client
    if everything:
        chosen = existing
    now, storage = now or datetime.now(UTC), storage or Storage()
    files = _Files(_followed(directory), storage, now, lifetime, report)
    with files.locked(chosen):
        authority = files.authority()
        if client or everything:
            files.client(authority, again=True)
        for address in chosen:
            files.server(authority, address, again=True)


def addresses_of(directory: Path, suffix: str) -> list[str]:
    """Return the addresses that have a file with ``suffix`` in ``directory``.

    Raises AuthorityError if it cannot be read.
    """
    try:
        names = sorted(path.name for path in directory.iterdir())
    except OSError as error:
        raise _unusable(directory, error) from error
    return [name.removesuffix(suffix) for name in names if _is_of_an_address(name, suffix)]


@dataclass(frozen=True)
class _Files:
    """The certificate files of a directory, for a process that has `locked` it."""

    directory: Path
    storage: Storage
    now: datetime
    lifetime: timedelta
    report: Callable[[str], None]
    _replaced: set[bytes] = field(default_factory=set)
    """The certificates (PEM) that were issued again; the files with their keys are kept."""

    @contextmanager
    def locked(self, addresses: Iterable[str]) -> Iterator[None]:
        """Hold the directory, which is created if it is missing, for key servers at ``addresses``.

        Raises AuthorityError or StorageError.
        """
        directory = self.directory
        _refuse_another_use(directory, addresses)
        self.storage.make_directory(directory)
        self.storage.settle_above(directory)
        # Two simultaneous first starts must not create two authorities.
        flags = os.O_RDONLY | os.O_DIRECTORY
        with locked(directory, flags, lambda error: _unusable(directory, error)):
            _refuse_another_use(directory, addresses)  # it may have changed before it was locked
            self.storage.settle(directory)
            self.storage.sweep(directory)
            yield

    def authority(self) -> Identity:
        """Return the valid authority.

        Raises AuthorityError if it is missing but was there, or if another file has its name.
        """
        path = self.directory / AUTHORITY_PRIVATE
        found = _load(path)
        if found is None:
            self._refuse_new_authority(path)
        elif not (found.is_authority and self._has_issued(found)):
            raise AuthorityError(
                f"{printable(str(path))}: not the authority of the other certificates; {_REMEDY}"
            )
        return self._valid(path, new_authority)

    def client(self, authority: Identity, *, again: bool = False) -> None:
        """Ensure that the client has a valid certificate; issue a valid one ``again`` if asked."""
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        issue_client = partial(issue, authority, CLIENT_NAME, usage)
        client = self._valid(self.directory / CLIENT_PRIVATE, issue_client, authority, again=again)
        self._copy(client, CLIENT)

    def server(self, authority: Identity, address: str, *, again: bool = False) -> None:
        """Ensure that the key server at ``address`` has a valid certificate, like `client`."""
        issue_this = partial(issue_server, authority, address)
        self._valid(self.directory / server_name(address), issue_this, authority, again=again)
        self._copy(authority, ca_name(address))

    def _refuse_new_authority(self, path: Path) -> None:
        issued = {CLIENT, CLIENT_PRIVATE} & {each.name for each in self.directory.iterdir()}
        for suffix in (ca_name(""), server_name("")):
            issued |= {f"{address}{suffix}" for address in addresses_of(self.directory, suffix)}
        if issued:
            raise AuthorityError(
                f"{printable(str(path))}: missing, but it issued {min(issued)}; {_REMEDY}"
            )

    def _has_issued(self, authority: Identity) -> bool:
        """Return whether ``authority`` issued one of the certificates here, if there are any."""
        servers = addresses_of(self.directory, server_name(""))
        found = []
        for name in (CLIENT_PRIVATE, *map(server_name, servers)):
            with suppress(AuthorityError):  # a damaged file is refused later
                found.append(_load(self.directory / name))
        issued = [each for each in found if each is not None]
        return not issued or any(each.is_from(authority) for each in issued)

    def _valid(
        self,
        path: Path,
        create: Callable[..., Identity],
        issuer: Identity | None = None,
        *,
        again: bool = False,
    ) -> Identity:
        found = _load(path)
        if found is None:
            created = create(now=self.now, lifetime=self.lifetime)
            self.storage.write(path, created.private_pem())
            return created
        problem = found.problem(self.now, issuer)
        if problem is None and not again:
            return found
        renewed = create(now=self.now, lifetime=self.lifetime, old=found)
        kept = self._keep(path)
        self.storage.write(path, renewed.private_pem())
        self._replaced.add(found.certificate_pem())
        end = renewed.certificate.not_valid_after_utc
        self.report(
            f"{printable(path.name)}: {f'{problem}; ' if problem else ''}issued again with the "
            f"same key, valid until {end:%Y-%m-%d %H:%M} UTC; the old file is kept as {kept}"
        )
        return renewed

    def _copy(self, identity: Identity, name: str) -> None:
        """Make the file ``name`` the certificate of ``identity``."""
        path, data = self.directory / name, identity.certificate_pem()
        try:
            found = path.read_bytes()
        except FileNotFoundError:
            found = None
        except OSError as error:
            raise _unusable(path, error) from error
        if found == data:
            return
        if found is not None and found not in self._replaced:
            kept = self._keep(path)
            self.report(f"{printable(name)}: not the current certificate; it is kept as {kept}")
        self.storage.write(path, data)

    def _keep(self, path: Path) -> str:
        """Copy the file beside itself, and return the name of the copy."""
        data = path.read_bytes()
        for number in count(1):
            ending = f"-{number}" if number > 1 else ""
            kept = path.with_name(f"{path.name}.replaced-{self.now:%Y-%m-%d}{ending}")
            try:
                self.storage.create(kept, data, len(data))
            except FileExistsError:
                if kept.read_bytes() != data:
                    continue
            break
        return printable(kept.name)


def _followed(directory: Path) -> Path:
    try:
        return followed(directory)
    except OSError as error:
        raise _unusable(directory, error) from error


def _refuse_another_use(directory: Path, addresses: Iterable[str]) -> None:
    """Refuse a directory that has another purpose, or files of another user.

    Files in it, such as a client.pem, would otherwise be overwritten.
    """
    try:
        if reason := objection(directory, directory=True):
            raise AuthorityError(f"{printable(str(directory))}: {reason}")
        names = sorted(path.name for path in directory.iterdir() if not is_temporary(path))
        own = {AUTHORITY_PRIVATE, CLIENT, CLIENT_PRIVATE}
        for address in addresses:
            own |= {server_name(address), ca_name(address), store_name(address)}
        for name in own.intersection(names):
            if reason := objection(directory / name):
                raise AuthorityError(f"{printable(str(directory / name))}: {reason}")
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unusable(directory, error) from error
    if names and not any(map(_is_of_a_key_server, names)):
        raise AuthorityError(
            f"{printable(str(directory))}: not empty (it has {printable(names[0])}), and not the "
            "directory of a key server"
        )


def _is_of_a_key_server(name: str) -> bool:
    """Return whether only a key server creates files with ``name``; others may be a user's."""
    return name == AUTHORITY_PRIVATE or _is_of_an_address(name, store_name(""))


def _is_of_an_address(name: str, suffix: str) -> bool:
    address = name.removesuffix(suffix)
    try:
        return address != name and parse_address(address) == address
    except AddressError:
        return False


def _load(path: Path) -> Identity | None:
    try:
        return Identity.parse(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(path, error) from error
    except ValueError as error:
        remedy = "put a good copy back"
        if path.name != AUTHORITY_PRIVATE:
            remedy += "; if you move it away, a new one is created"
        raise AuthorityError(
            f"{printable(str(path))}: not a private key with its certificate; {remedy}"
        ) from error


def _unusable(path: Path, error: OSError) -> AuthorityError:
    return AuthorityError(f"{printable(str(path))}: {printable(error.strerror or str(error))}")
