"""Registering key servers and certificates: what is registered after a change.

Pure decisions; ``filer.boot_device.generations`` makes them durable.  Installed means: in
/mroot/etc/keymgr/cert.  Registered means: copied to /var/kmip/certs, where kmip_init finds it
(man key_manager, CERTIFICATES).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from filer.host.errors import FilerError
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name, check_pair, registered_form
from filer.registration.registration import Registration

CLIENT_FILES = (CLIENT, CLIENT_PRIVATE)

ReadInstalled = Callable[[str], bytes | None]
"""Returns the content of an installed certificate file, or None."""


class RegistrationError(FilerError):
    """A registration that was refused; nothing is registered."""


@dataclass(frozen=True)
class Planned:
    """A registration to be, and the files that it copies, in order."""

    registration: Registration
    copied: tuple[str, ...] = ()


def with_client_files(registration: Registration, installed: ReadInstalled) -> Planned:
    """Register client.pem and client_private.pem if necessary (man key_manager, add).

    Necessary means: not registered, or different from what is installed.  A registered file
    that was uninstalled stays.  Raises RegistrationError, or CertificateError if the two files
    do not belong together.
    """
    planned = _with_files(registration, CLIENT_FILES, installed, must_be_installed=False)
    certificates = planned.registration.certificates
    check_pair(certificates[CLIENT], certificates[CLIENT_PRIVATE])
    return planned


def with_servers(
    registration: Registration,
    servers: Sequence[str],
    named: Sequence[str],
    installed: ReadInstalled,
    *,
    must_be_installed: bool,
) -> Planned:
    """Register the CA files of ``named``; afterwards ``servers`` are the registered ones.

    With ``must_be_installed`` even a registered CA file has to be installed too, and is copied
    again (``add`` refreshes it); without, it is copied if necessary (``setup``).
    Raises RegistrationError, or CertificateError if a file that is copied is damaged.
    """
    kept = {
        name: data
        for name, data in registration.certificates.items()
        if name in CLIENT_FILES or name in map(ca_name, servers)
    }
    base = registration._replace(servers=tuple(servers), certificates=kept)
    return _with_files(base, [ca_name(address) for address in named], installed, must_be_installed)


def without_servers(registration: Registration, removed: Sequence[str]) -> Registration:
    """Unregister ``removed``; with the last one the client files go too.

    See ``man key_manager, remove``.
    """
    servers = tuple(address for address in registration.servers if address not in removed)
    certificates = {
        name: data
        for name, data in registration.certificates.items()
        if servers and name not in map(ca_name, removed)
    }
    return registration._replace(servers=servers, certificates=certificates)


def _with_files(
    registration: Registration,
    names: Sequence[str],
    installed: ReadInstalled,
    must_be_installed: bool,
) -> Planned:
    certificates = dict(registration.certificates)
    copied = []
    for name in names:
        data = installed(name)
        if data is None and (must_be_installed or name not in certificates):
            raise RegistrationError(
                f'{name} is not installed; use "keymgr install cert /path/{name}"'
            )
        if data is None:
            continue
        form = registered_form(name, data)
        if must_be_installed or certificates.get(name) not in (data, form):
            certificates[name] = form
            copied.append(name)
    return Planned(registration._replace(certificates=certificates), tuple(copied))
