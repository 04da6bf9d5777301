"""The hardware of this filer, as filer.toml describes it."""

import re
import tomllib
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from filer.durable import Storage
from filer.errors import FilerError
from filer.mroot import NotThereError, UnreadableError, read_regular
from filer.text import printable

KIB = 1024
MIB = 1024 * KIB

SIZE_LIMIT = 16 * KIB
"""Bytes of the largest configuration file that is read."""

DEFAULT_TEXT = """\
# The hardware of this filer.  A key that is not here has the value shown.
[system]
hostname = "filer1"
system_id = 1573922407
partner_id = 1573922311      # 0: no HA partner
storage_encryption = true    # false: key_manager and disk encrypt refuse
snaplock = false             # true, together with storage_encryption: refused at boot
[shelf]
disks = 12                   # names 0c.00.0 ... 0c.00.23, then 0c.01.0 ...
disk_size = "64 MiB"         # sparse files
[kmip]
port = 5696                  # until setup asks
timeout = 5.0                # seconds, for one key server to answer one request
init_maxwait = 0.0           # seconds that kmip_init goes on trying while a server is silent
[boot]
autoboot = false
"""


class ConfigError(FilerError):
    """A damaged or hand-broken configuration file: ``FILE:LINE: what is wrong``."""


@dataclass(frozen=True)
class Hardware:
    """The settings of filer.toml; sizes in bytes, times in seconds."""

    hostname: str = "filer1"
    system_id: int = 1573922407
    partner_id: int = 1573922311
    storage_encryption: bool = True
    snaplock: bool = False
    disks: int = 12
    disk_size: int = 64 * MIB
    port: int = 5696
    timeout: float = 5.0
    init_maxwait: float = 0.0
    autoboot: bool = False


class Document:
    """A TOML text that knows on which line each of its keys stands."""

    def __init__(self, name: str, data: bytes) -> None:
        """Parse ``data``, the content of the file ``name``.  Raises ConfigError."""
        self.name = name
        try:
            # A byte order mark is what some editors put first.
            self._text = data.decode("utf-8-sig").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            raise self._error(data.count(b"\n", 0, error.start) + 1, "not UTF-8") from None
        self._lines = self._text.split("\n")
        try:
            self.values = tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            raise self._syntax_error(str(error)) from None
        except (ValueError, RecursionError):
            raise self._error(self._first_line_that_fails(), "a value is too large") from None

    @classmethod
    def read(cls, name: str, path: Path) -> "Document":
        """Read and parse the file at ``path``.  Raises ConfigError, or NotThereError."""
        try:
            return cls(name, read_regular(path, SIZE_LIMIT, follow=True))
        except NotThereError:
            if path.is_symlink():
                raise ConfigError(f"{name}: a link to a file that is not there") from None
            raise
        except UnreadableError as reason:
            raise ConfigError(f"{name}: {reason}") from None

    def error(self, path: tuple[str, ...], text: str) -> ConfigError:
        """Return the error ``text`` about the key at ``path``, with its line."""
        return self._error(self.line(path), text)

    def line(self, path: tuple[str, ...]) -> int:
        """Return the number of the line on which the key at ``path`` begins, else 1.

        It is the last line that names the key and before which the document is whole, but
        without the key; so whatever notation was used, the parser itself has the word.
        """
        possible = [
            number
            for number, line in enumerate(self._lines)
            if ("=" in line or "[" in line) and not line.lstrip().startswith("#")
        ]
        # A key may be written with escapes; then every line is possible.
        naming = [number for number in possible if path[-1] in self._lines[number]]
        for number in reversed(naming or possible):
            try:
                before = self._parse_until(number)
            except (ValueError, RecursionError):
                continue
            if not _contains(before, path):
                return number + 1
        return 1

    def _parse_until(self, number: int) -> Mapping[str, object]:
        return tomllib.loads("\n".join(self._lines[:number]))

    def _syntax_error(self, text: str) -> ConfigError:
        where = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", text)
        if where is None:
            return self._error(self._first_line_that_fails(), text)
        # Blank lines at the end are nobody's mistake.
        last = len(self._text.rstrip("\n").split("\n"))
        return self._error(int(where[1] or last), text[: where.start()])

    def _first_line_that_fails(self) -> int:
        """Return the line with which an error begins that stays, however the document goes on."""
        whole = range(1, len(self._lines) + 1)
        return whole[min(bisect_left(whole, True, key=self._fails_for_good), len(whole) - 1)]

    def _fails_for_good(self, number: int) -> bool:
        try:
            self._parse_until(number)
        except tomllib.TOMLDecodeError:
            return False
        except (ValueError, RecursionError):
            return True
        return False

    def _error(self, line: int, text: str) -> ConfigError:
        return ConfigError(f"{self.name}:{line}: {printable(text)}")


def _contains(values: object, path: tuple[str, ...]) -> bool:
    for key in path:
        if not isinstance(values, Mapping) or key not in values:
            return False
        values = values[key]
    return True


class _RuleError(ValueError):
    """What a value must be; the sentence begins with the key."""


_Check = Callable[[object], object]


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise _RuleError("must be true or false")
    return value


def _whole(least: int, most: int) -> _Check:
    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise _RuleError(f"must be a whole number from {least} to {most}")
        return value

    return check


def _seconds(most: int, *, zero: bool) -> _Check:
    def check(value: object) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and (0 < value <= most or (zero and value == 0)):  # type: ignore[operator]
            return float(value)  # type: ignore[arg-type]
        least = "from 0" if zero else "more than 0 and"
        raise _RuleError(f"must be a number of seconds, {least} up to {most}")

    return check


def _hostname(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", value):
        raise _RuleError("must be 1 to 63 letters, digits, hyphens and underscores")
    return value


_UNITS = {"KiB": KIB, "MiB": MIB, "GiB": 1024 * MIB, "TiB": 1024 * 1024 * MIB}
_LEAST_DISK, _LARGEST_DISK = MIB, 8 * _UNITS["TiB"]


def _size(value: object) -> int:
    found = (
        re.fullmatch(r"([0-9]{1,9}) ?(KiB|MiB|GiB|TiB)", value) if isinstance(value, str) else None
    )
    if found is None:
        raise _RuleError('must be a size in KiB, MiB, GiB or TiB, such as "64 MiB"')
    size = int(found[1]) * _UNITS[found[2]]
    if not _LEAST_DISK <= size <= _LARGEST_DISK or size % (4 * KIB):
        raise _RuleError("must be from 1 MiB to 8 TiB, in whole blocks of 4 KiB")
    return size


_ID = 2**32 - 1

_KEYS: Mapping[str, Mapping[str, _Check]] = {
    "system": {
        "hostname": _hostname,
        "system_id": _whole(1, _ID),
        "partner_id": _whole(0, _ID),
        "storage_encryption": _switch,
        "snaplock": _switch,
    },
    # The root aggregate takes three disks; a hundred shelves have names.
    "shelf": {"disks": _whole(3, 2400), "disk_size": _size},
    "kmip": {
        "port": _whole(1, 65535),
        "timeout": _seconds(3600, zero=False),
        "init_maxwait": _seconds(86400, zero=True),
    },
    "boot": {"autoboot": _switch},
}


def parse(text: str | bytes, name: str = "filer.toml") -> Hardware:
    """Return the hardware that ``text`` describes; a key that is missing has its default.

    Raises ConfigError, with the line, for what is no TOML, an unknown section or key, and a
    value of the wrong kind or out of range.
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return _hardware(Document(name, data))


def _hardware(document: Document) -> Hardware:
    settings: dict[str, object] = {}
    for section, values in document.values.items():
        if section not in _KEYS:
            raise document.error((section,), _unknown(section))
        if not isinstance(values, dict):
            raise document.error((section,), f"{section} must be a section, [{section}]")
        for key, value in values.items():
            if key not in _KEYS[section]:
                raise document.error((section, key), _unknown_key(section, key))
            try:
                settings[key] = _KEYS[section][key](value)
            except _RuleError as rule:
                raise document.error((section, key), f"{key} {rule}") from None
    hardware = Hardware(**settings)  # type: ignore[arg-type]
    if hardware.partner_id == hardware.system_id:
        key = "partner_id" if "partner_id" in settings else "system_id"
        raise document.error(("system", key), "system_id and partner_id must differ")
    return hardware


def _unknown(section: str) -> str:
    for home, keys in _KEYS.items():
        if section in keys:
            return f'"{section}" belongs in the section [{home}]'
    return f'unknown section "{section}"{_did_you_mean(section, _KEYS)}'


def _unknown_key(section: str, key: str) -> str:
    for home, keys in _KEYS.items():
        if key in keys:
            return f'"{key}" belongs in the section [{home}]'
    return f'unknown key "{key}" in [{section}]{_did_you_mean(key, _KEYS[section])}'


def _did_you_mean(word: str, known: Mapping[str, object]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


def load(path: Path, storage: Storage) -> Hardware:
    """Read filer.toml at ``path``; where there is none, write the defaults first.

    Raises ConfigError, or StorageError.  A file that is there is never changed.
    """
    try:
        return _hardware(Document.read(path.name, path))
    except NotThereError:
        storage.sweep(path.parent)
        storage.write(path, DEFAULT_TEXT.encode())
        return parse(DEFAULT_TEXT)
