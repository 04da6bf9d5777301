"""The hardware of this filer, described by filer.toml."""

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from filer.host.durable import Storage
from filer.host.reading import NotThereError
from filer.host.text import is_hostname
from filer.host.toml_file import (
    Check,
    Document,
    Known,
    RuleError,
    Sections,
    content,
    switch,
    whole,
)
from filer.keys.key_id import LAST_SYSTEM_ID

KIB = 1024
MIB = 1024 * KIB

DEFAULT_TEXT = """\
# The hardware of this filer.  A key that is left out has the value shown here.
[system]
hostname = "filer1"
system_id = 1573922407
partner_id = 1573922311      # 0: no HA partner
partner_hostname = "filer2"  # if this filer has that name: filer1
partner_root = ""            # the root of the HA partner; below this root, or absolute
storage_encryption = true    # false: key_manager and disk encrypt refuse
snaplock = false             # true, together with storage_encryption: refused at boot
[shelf]
disks = 12                   # names 0c.00.0 ... 0c.00.23, then 0c.01.0 ...
disk_size = "64 MiB"         # sparse files
directory = "shelf"          # below the root, or absolute; HA partners use the same
[kmip]
port = 5696                  # until setup asks
timeout = 5.0                # seconds, for one key server to answer one request
init_maxwait = 0.0           # seconds for which kmip_init retries a silent key server
expiry_warning_days = 30     # days before a certificate expires; 0: no warning
user = ""                    # for key servers that require a user name and a password
password_file = ""           # a file with this password, mode 0600; below the root, or absolute
[boot]
autoboot = false
giveback_wait = 60.0         # seconds for which a script waits for giveback
"""


OWN_SHELF = "shelf"
"""The shelf directory of a filer that shares it with no other."""


class Hardware(NamedTuple):
    """The settings of filer.toml; sizes in bytes, times in seconds."""

    hostname: str = "filer1"
    system_id: int = 1573922407
    partner_id: int = 1573922311
    partner_hostname: str = "filer2"
    partner_root: str = ""
    storage_encryption: bool = True
    snaplock: bool = False
    disks: int = 12
    disk_size: int = 64 * MIB
    directory: str = OWN_SHELF
    port: int = 5696
    timeout: float = 5.0
    init_maxwait: float = 0.0
    expiry_warning_days: int = 30
    user: str = ""
    password_file: str = ""
    autoboot: bool = False
    giveback_wait: float = 60.0


def _seconds(most: int, *, zero: bool) -> Check[float]:
    def check(value: object) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and (0 < value <= most or (zero and value == 0)):  # type: ignore[operator]
            return float(value)  # type: ignore[arg-type]
        least = "from 0" if zero else "more than 0 and"
        raise RuleError(f"must be a number of seconds, {least} up to {most}")

    return check


def _hostname(value: object) -> str:
    if not isinstance(value, str) or not is_hostname(value):
        raise RuleError("must be 1 to 63 letters, digits, hyphens and underscores")
    return value


_UNITS = {"KiB": KIB, "MiB": MIB, "GiB": 1024 * MIB, "TiB": 1024 * 1024 * MIB}
_LEAST_DISK, _LARGEST_DISK = MIB, 8 * _UNITS["TiB"]


def _size(value: object) -> int:
    found = (
        re.fullmatch(r"([0-9]{1,9}) ?(KiB|MiB|GiB|TiB)", value) if isinstance(value, str) else None
    )
    if found is None:
        raise RuleError('must be a size in KiB, MiB, GiB or TiB, such as "64 MiB"')
    size = int(found[1]) * _UNITS[found[2]]
    if not _LEAST_DISK <= size <= _LARGEST_DISK or size % (4 * KIB):
        raise RuleError("must be from 1 MiB to 8 TiB, in whole blocks of 4 KiB")
    return size


def _ascii(most: int) -> Check[str]:
    def check(value: object) -> str:
        if not isinstance(value, str) or len(value) > most or not _is_printable_ascii(value):
            raise RuleError(f"must be at most {most} printable ASCII characters")
        return value

    return check


def _directory(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 1024 or not value.isprintable():
        raise RuleError("must be the path of a directory")
    return value


def _directory_or_none(value: object) -> str:
    return "" if value == "" else _directory(value)


def _is_printable_ascii(text: str) -> bool:
    return text.isascii() and text.isprintable()


_KEYS: Known = {
    "system": {
        "hostname": _hostname,
        "system_id": whole(1, LAST_SYSTEM_ID),
        "partner_id": whole(0, LAST_SYSTEM_ID),
        "partner_hostname": _hostname,
        "partner_root": _directory_or_none,
        "storage_encryption": switch,
        "snaplock": switch,
    },
    # At least the three disks of the root aggregate; disk names exist for 100 shelves.
    "shelf": {
        "disks": whole(3, 2400),
        "disk_size": _size,
        "directory": _directory,
    },
    "kmip": {
        "port": whole(1, 65535),
        "timeout": _seconds(3600, zero=False),
        "init_maxwait": _seconds(86400, zero=True),
        "expiry_warning_days": whole(0, 3650),
        "user": _ascii(64),
        "password_file": _ascii(1024),
    },
    "boot": {"autoboot": switch, "giveback_wait": _seconds(86400, zero=True)},
}


@lru_cache(maxsize=4)  # a boot reads the same file about twenty times
def parse(text: str | bytes, name: str = "filer.toml") -> Hardware:
    """Return the hardware that ``text`` describes; missing keys have their defaults.

    Raises ConfigError, with the line number, for invalid TOML, an unknown section or key, and a
    value of the wrong type or out of range.
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return _hardware(Document(name, data))


def _hardware(document: Document) -> Hardware:
    read = Sections(document, _KEYS)
    if read.errors:
        raise read.errors[0]
    settings = {key: value for section in read.values.values() for key, value in section.items()}
    hardware = Hardware(**settings)  # type: ignore[arg-type]
    if hardware.partner_id == hardware.system_id:
        key = "partner_id" if "partner_id" in settings else "system_id"
        raise document.error(("system", key), "system_id and partner_id must differ")
    if hardware.partner_hostname == hardware.hostname:
        if "partner_hostname" in settings:
            text = "hostname and partner_hostname must differ"
            raise document.error(("system", "partner_hostname"), text)
        hardware = hardware._replace(partner_hostname=Hardware().hostname)
    if hardware.partner_root and not hardware.partner_id:
        raise document.error(("system", "partner_root"), "partner_root needs a partner_id")
    if hardware.partner_root and os.path.normpath(hardware.directory) == OWN_SHELF:
        text = "partner_root needs a [shelf] directory that both partners use"
        raise document.error(("system", "partner_root"), text)
    if bool(hardware.user) != bool(hardware.password_file):
        key = "user" if hardware.user else "password_file"
        raise document.error(("kmip", key), "user and password_file must be set together")
    return hardware


def read(path: Path) -> Hardware:
    """Read filer.toml at ``path``.  Raises ConfigError, or NotThereError."""
    return parse(content(path.name, path), path.name)


def load(path: Path, storage: Storage) -> Hardware:
    """Read filer.toml at ``path``; if it is missing, write it with the defaults first.

    Raises ConfigError or StorageError.  An existing file is never changed.
    """
    try:
        return read(path)
    except NotThereError:
        storage.write(path, DEFAULT_TEXT.encode())
        return parse(DEFAULT_TEXT)
