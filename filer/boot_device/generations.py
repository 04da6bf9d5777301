"""The registration in /var/kmip on the boot device, stored as numbered generations.

The symbolic link ``kmip`` points to the active generation, ``kmip.N``.  A change writes the next
generation and then moves the link, which makes the change atomic.
"""

import errno
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from filer.host.durable import Storage, StorageError
from filer.host.quoting import quoted
from filer.host.reading import NotThereError, UnreadableError, read_regular
from filer.host.text import printable
from filer.host.toml_file import ConfigError, Document, RuleError, dump, optional, texts, whole
from filer.keys.pair import is_key_tag
from filer.kmip.address import HIGHEST_PORT, AddressError, parse_address
from filer.registration.pem import SIZE_LIMIT, CertificateError, canonical_name
from filer.registration.registration import MAXIMUM, Registration

_LINK = "kmip"
_CONFIG = "config.toml"
_CERTIFICATES = "certs"
_LINK_NAME = f"var/{_LINK}"
_CONFIG_NAME = f"{_LINK_NAME}/{_CONFIG}"
_CERTIFICATES_NAME = f"{_LINK_NAME}/{_CERTIFICATES}"
_GENERATION = re.compile(r"kmip\.([1-9][0-9]{0,17})")
_KEYS = ("servers", "port", "default_tag")


def parse_config(document: Document) -> Registration:
    """Return the registration in config.toml, without certificates.  Raises ConfigError."""
    values = document.values
    for key in values:
        if key not in _KEYS:
            raise document.error((key,), f"unknown key {quoted(key)}")
    if "servers" not in values:
        raise ConfigError(f"{document.name}:1: servers is missing")
    servers = document.take("servers", texts("must be a list of IP addresses"))
    try:
        addresses = tuple(map(parse_address, servers))
    except AddressError as error:
        raise document.error(("servers",), str(error)) from None
    if len(set(addresses)) < len(addresses):
        raise document.error(("servers",), "servers lists an address twice")
    if len(addresses) > MAXIMUM:
        raise document.error(("servers",), f"servers has more than {MAXIMUM} addresses")
    port = document.take("port", optional(whole(1, HIGHEST_PORT)))
    return Registration(addresses, port, document.take("default_tag", optional(_key_tag)))


def _key_tag(value: object) -> str:
    if not isinstance(value, str) or not is_key_tag(value):
        raise RuleError("must be a key tag")
    return value


def format_config(registration: Registration) -> bytes:
    """Return the config.toml of ``registration``; values that are None are omitted."""
    return dump({key: getattr(registration, key) for key in _KEYS})


class Staged:
    """A generation that is durable but not yet active, so that it can be tried first."""

    def __init__(self, device: "BootDevice", directory: Path, before: int | None) -> None:
        self._device = device
        self._directory = directory
        self._before = before

    def certificate_path(self, name: str) -> Path:
        """Return the path of the certificate file ``name`` in this generation."""
        return self._directory / _CERTIFICATES / canonical_name(name)

    def commit(self) -> None:
        """Make this generation active.  Raises StorageError; the previous one then stays active."""
        self._device._activate(self._directory, self._before)

    def discard(self) -> None:
        """Remove this generation; the previous one stays active."""
        self._device._discard(self._before)


class BootDevice:
    """The CompactFlash boot device, which is accessible before WAFL is up."""

    def __init__(self, var: Path, storage: Storage) -> None:
        self._var = var
        self._storage = storage

    def certificate_path(self, name: str) -> Path:
        """Return the path of the registered file ``name`` in the active generation."""
        return self._var / _LINK / _CERTIFICATES / canonical_name(name)

    def load(self) -> Registration:
        """Read the active registration, or return an empty one if there is none yet.

        Generations that a crash left behind are removed.  Raises ConfigError if any part of the
        registration is damaged or missing; nothing is then removed.
        """
        generation = self._active_generation()
        registration = Registration()
        if generation is not None:
            registration = self._read(self._var / f"{_LINK}.{generation}")
        with suppress(StorageError):  # a read-only boot device is still readable
            self._remove_all_but(generation)
        return registration

    def stage(self, registration: Registration) -> "Staged":
        """Write ``registration`` as the next generation, which is not yet active.

        Raises StorageError, or ConfigError if the device is damaged or ``registration`` lacks a
        certificate file that it needs; no part of the new generation then remains.
        """
        for name in registration.missing():
            raise ConfigError(f"{name} is not registered")
        generation = self._active_generation()
        new = self._var / f"{_LINK}.{(generation or 0) + 1}"
        self._storage.make_directory(self._var)
        self._remove_all_but(generation)
        try:
            self._write(new, registration)
        except StorageError:
            self._discard(generation)
            raise
        return Staged(self, new, generation)

    def _discard(self, before: int | None) -> None:
        """Remove all generations except ``before``, if that is active."""
        with suppress(StorageError, ConfigError):
            if self._active_generation() == before:
                self._remove_all_but(before)

    def _activate(self, new: Path, before: int | None) -> None:
        try:
            self._storage.link(self._var / _LINK, new.name)
        except StorageError:
            self._return_to(before)
            raise
        with suppress(StorageError):  # the change is done; the next load removes the rest
            self._remove_all_but((before or 0) + 1)

    def _return_to(self, before: int | None) -> None:
        """Move the link back if it was moved but its sync failed.

        Until that is durable, either generation may be active after a power loss, so both have to
        exist.
        """
        link = self._var / _LINK
        with suppress(StorageError, ConfigError):
            if self._active_generation() != before:
                if before is None:
                    self._storage.remove(link)
                else:
                    self._storage.link(link, f"{_LINK}.{before}")
            self._remove_all_but(before)

    def _write(self, directory: Path, registration: Registration) -> None:
        certificates = directory / _CERTIFICATES
        self._storage.make_directory(directory)
        self._storage.make_directory(certificates)
        for name, data in registration.certificates.items():
            self._storage.write(certificates / canonical_name(name), data)
        self._storage.write(directory / _CONFIG, format_config(registration))

    def _active_generation(self) -> int | None:
        """Return the number of the active generation, or None.  Raises ConfigError."""
        link = self._var / _LINK
        try:
            target = str(link.readlink())
        except FileNotFoundError:
            # An interrupted first commit leaves kmip.1 without a link; later ones keep the link.
            if any(number > 1 for number in self._generations()):
                raise ConfigError(f"{_LINK_NAME}: missing, although generations exist") from None
            return None
        except OSError as error:
            no_link = error.errno == errno.EINVAL
            reason = "not a link to a generation" if no_link else error.strerror
            raise ConfigError(f"{_LINK_NAME}: {reason}") from None
        number = _GENERATION.fullmatch(target)
        if number is None:
            raise ConfigError(f"{_LINK_NAME}: points to {printable(target)}, not to a generation")
        if not link.is_dir():
            raise ConfigError(f"{_LINK_NAME}: points to {target}, which does not exist")
        return int(number[1])

    def _generations(self) -> list[int]:
        try:
            names = [entry.name for entry in self._var.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigError(f"var: {error.strerror}") from None
        return [int(found[1]) for name in names if (found := _GENERATION.fullmatch(name))]

    def _remove_all_but(self, active: int | None) -> None:
        self._storage.sweep(self._var)
        others = [number for number in self._generations() if number != active]
        if others:
            # An interrupted change may have moved the link in the cache only.  Make the link
            # durable, or after a power loss it would point to a generation removed here.
            self._storage.settle(self._var)
        for number in others:
            self._storage.remove_tree(self._var / f"{_LINK}.{number}")

    def _read(self, directory: Path) -> Registration:
        try:
            plan = parse_config(Document.read(_CONFIG_NAME, directory / _CONFIG))
        except NotThereError as reason:
            raise ConfigError(f"{_CONFIG_NAME}: {reason}") from None
        certificates = _read_certificates(directory)
        registration = Registration(plan.servers, plan.port, plan.default_tag, certificates)
        for missing in registration.missing():
            raise ConfigError(f"{_CERTIFICATES_NAME}/{missing}: missing")
        return registration


def _read_certificates(directory: Path) -> Mapping[str, bytes]:
    """Return the certificate files of a generation; other files are ignored."""
    found: dict[str, bytes] = {}
    where = directory / _CERTIFICATES
    try:
        names = sorted(entry.name for entry in where.iterdir())
    except OSError as error:
        raise ConfigError(f"{_CERTIFICATES_NAME}: {error.strerror}") from None
    for name in names:
        try:
            if canonical_name(name) == name:
                found[name] = read_regular(where / name, SIZE_LIMIT)
        except CertificateError:
            continue
        except UnreadableError as reason:
            raise ConfigError(f"{_CERTIFICATES_NAME}/{name}: {reason}") from None
    return found
