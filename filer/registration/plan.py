"""Compute the registration that results from adding or removing key servers.

This module does no I/O; ``filer.boot_device.generations`` makes the result durable.  *Installed*
means in /mroot/etc/keymgr/cert.  *Registered* means copied to /var/kmip/certs, where kmip_init
finds it (man key_manager, CERTIFICATES).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from filer.host.errors import FilerError
from filer.registration.certificates import check_pair, registered_form
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name
from filer.registration.registration import Registration

CLIENT_FILES = (CLIENT, CLIENT_PRIVATE)

ReadInstalled = Callable[[str], bytes | None]
"""Takes the name of a certificate file; returns its installed content, or None."""


class RegistrationError(FilerError):
    """A registration was refused; nothing was registered."""


@dataclass(frozen=True)
class Planned:
    """The new registration, and the names of the files to copy, in order."""

    registration: Registration
    copied: tuple[str, ...] = ()


def with_client_files(registration: Registration, installed: ReadInstalled) -> Planned:
    """Register client.pem and client_private.pem if necessary (man key_manager, add).

    A file is registered if it is not registered yet or differs from the installed one.  A
    registered file that is no longer installed stays.  Raises RegistrationError, or
    CertificateError if the two files do not belong together.
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
    """Register ``servers`` instead of the current ones, and copy the CA files of ``named``.

    With ``must_be_installed`` each of these CA files must be installed and is copied again (for
    ``add``); without it, a file is copied only if necessary (for ``setup``).
    Raises RegistrationError, or CertificateError if a file to be copied is damaged.
    """
    kept = {
        name: data
        for name, data in registration.certificates.items()
        if name in CLIENT_FILES or name in map(ca_name, servers)
    }
    base = registration._replace(servers=tuple(servers), certificates=kept)
    return _with_files(base, [ca_name(address) for address in named], installed, must_be_installed)


def without_servers(registration: Registration, removed: Sequence[str]) -> Registration:
    """Unregister ``removed``, and with the last server also the client files.

    See ``man key_manager``, remove.
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
