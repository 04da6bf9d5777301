"""The options of the filer that ``options`` can set, stored on the root volume."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from filer.host.durable import Storage
from filer.host.errors import FilerError
from filer.host.toml_file import Check, Document, RuleError, dump, one_of


class OptionError(FilerError):
    """An option cannot have this value."""


class Option(NamedTuple):
    """An option: its value until it is set, a check of values, and a few words of help."""

    default: str
    check: Check[str]
    help: str


_ON_OFF = one_of("on", "off")


def _seconds(value: object) -> str:
    if (
        not isinstance(value, str)
        or not (value.isascii() and value.isdigit())
        or not _LEAST_SECONDS <= int(value[:9]) <= _MOST_SECONDS
        or len(value) > len(str(_MOST_SECONDS))
    ):
        raise RuleError(f"must be a number of seconds from {_LEAST_SECONDS} to {_MOST_SECONDS}")
    return value


_LEAST_SECONDS, _MOST_SECONDS = 1, 180

OPTIONS: Mapping[str, Option] = {
    "cf.giveback.auto.enable": Option(
        "off", _ON_OFF, "whether a giveback follows as soon as the partner waits for it"
    ),
    "cf.takeover.detection.seconds": Option(
        "15", _seconds, "how long the partner must be down before a takeover by itself"
    ),
    "cf.takeover.on_failure": Option(
        "on", _ON_OFF, "whether this system takes over when the partner's process is lost"
    ),
    "cf.takeover.on_panic": Option(
        "on", _ON_OFF, "whether this system takes over when the partner panics"
    ),
    "cf.takeover.on_reboot": Option(
        "on", _ON_OFF, "whether this system takes over at once when the partner halts or reboots"
    ),
    "console.messages": Option(
        "auto",
        one_of("auto", "on", "off"),
        "whether lines of the system log about disks appear at terminals",
    ),
    "disk.auto_assign": Option("on", _ON_OFF, "whether this system takes disks without an owner"),
}
"""The options that can be set, by name; a new one is a row."""


class Options:
    """The values of `OPTIONS`.  They are on the root volume: read them when WAFL is up."""

    def __init__(self, path: Path, storage: Storage) -> None:
        self._path = path
        self._storage = storage

    def __getitem__(self, name: str) -> str:
        """Return the value of an option.  Raises ConfigError if the file is damaged."""
        return self.values()[name]

    def values(self) -> Mapping[str, str]:
        """Return the values of all options.  Raises ConfigError if the file is damaged."""
        defaults = {name: option.default for name, option in OPTIONS.items()}
        return {**defaults, **self._stored()}

    def set(self, name: str, value: str) -> None:
        """Set the option ``name``.  Raises OptionError, ConfigError, or StorageError.

        A value that is stored already is written again: it may not be durable.
        """
        try:
            OPTIONS[name].check(value)
        except RuleError as rule:
            raise OptionError(f"{name} {rule}") from None
        self._storage.write(self._path, dump({**self._stored(), name: value}))

    def _stored(self) -> Mapping[str, str]:
        document = Document.find(f"mroot/etc/{self._path.name}", self._path)
        if document is None:
            return {}
        unknown = [name for name in document.values if name not in OPTIONS]
        if unknown:
            raise document.error((unknown[0],), "there is no such option")
        return {name: document.take(name, OPTIONS[name].check) for name in document.values}
