"""The installed certificates, in /mroot/etc/keymgr/cert (man key_manager, CERTIFICATES)."""

import ipaddress
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from filer.host.durable import Storage
from filer.host.reading import NotThereError, UnreadableError, read_regular
from filer.host.text import printable
from filer.registration.pem import (
    CLIENT,
    CLIENT_PRIVATE,
    SIZE_LIMIT,
    CertificateError,
    address_of,
    ca_name,
    canonical_name,
)

if TYPE_CHECKING:
    from filer.registration.certificates import CertificateInfo


class Installed:
    """The directory of installed certificates, accessible only while WAFL is up."""

    def __init__(self, directory: Path, storage: Storage) -> None:
        self._directory = directory
        self._storage = storage

    def path(self, name: str) -> Path:
        """Return the path where ``name`` is or would be installed.  Raises CertificateError."""
        return self._directory / canonical_name(name)

    def names(self) -> list[str]:
        """Return the installed files: the client's files, then the CA files by address."""
        try:
            found = {entry.name for entry in self._directory.iterdir()}
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CertificateError(f"{self._directory.name}: {error.strerror}") from None
        client = [name for name in (CLIENT, CLIENT_PRIVATE) if name in found]
        addresses = [address for name in found if (address := address_of(name)) is not None]
        by_number = sorted(set(addresses), key=_order)
        return client + [name for name in map(ca_name, by_number) if name in found]

    def find(self, name: str) -> bytes | None:
        """Return the content of the installed ``name``, or None if it is not installed.

        Raises CertificateError if ``name`` is not the name of a certificate file, or if the file
        cannot be read.
        """
        try:
            return read_regular(self.path(name), SIZE_LIMIT)
        except NotThereError:
            return None
        except UnreadableError as reason:
            raise CertificateError(f"{canonical_name(name)}: {reason}") from None

    def read(self, name: str) -> bytes:
        """Return the content of the installed ``name``.  Raises CertificateError."""
        content = self.find(name)
        if content is None:
            raise CertificateError(f"{canonical_name(name)} is not installed")
        return content

    def install(
        self, source: Path | bytes, name: str, now: datetime, notice: timedelta = timedelta(0)
    ) -> "tuple[CertificateInfo, bool]":
        """Check ``source``, the path of a host file or its content, and copy it.

        Returns a description of the certificate, and whether it replaced an installed file.
        Raises CertificateError.  See ``man keymgr``, install.
        """
        from filer.registration.certificates import inspect  # slow to load

        name = canonical_name(name)
        data = source if isinstance(source, bytes) else read_host(source)
        info = inspect(
            name,
            data,
            now,
            self.find(CLIENT) if name == CLIENT_PRIVATE else None,
            self.find(CLIENT_PRIVATE) if name == CLIENT else None,
            notice=notice,
        )
        replaced = os.path.lexists(self.path(name))
        self._storage.make_directory(self._directory)
        self._storage.sweep(self._directory)
        self._storage.write(self.path(name), data)
        return info, replaced

    def delete(self, name: str) -> None:
        """Uninstall ``name``; a registered copy stays.  Raises CertificateError."""
        name = canonical_name(name)
        if name not in self.names():
            raise CertificateError(f"{name} is not installed")
        self._storage.remove(self.path(name))


def _order(address: str) -> tuple[int, int]:
    parsed = ipaddress.ip_address(address)
    return parsed.version, int(parsed)


def read_host(path: Path) -> bytes:
    """Return the content of a certificate file on the host.  Raises CertificateError."""
    try:
        return read_regular(path, SIZE_LIMIT, follow=True)
    except UnreadableError as reason:
        raise CertificateError(f"{printable(str(path))}: {reason}") from None
