"""The record of a shelf, on the boot device: what the disks themselves do not store."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from filer.disks.bay import BAYS, disk_index
from filer.disks.header import is_serial
from filer.disks.label import Composition, is_uuid
from filer.host.toml_file import Document, RuleError, dump, optional, texts, whole
from filer.keys.key_id import LAST_SYSTEM_ID, MSID_KEY_ID, is_key_id

_MOST_DISKS = 100 * BAYS
"""The most that filer.toml may ask for; the record cannot have created more."""

LIMIT = 1024 * 1024
"""Bytes of the largest record; it has about 100 for each disk."""


class OwnDisk(NamedTuple):
    """A disk of this system when it was last recorded: its bay, and the key ID that it had."""

    name: str
    key_id: str


class ShelfRecord(NamedTuple):
    """Facts about the shelves that the disks themselves do not store.

    ``system_id`` is that of this system when it last booted, 0 if it is not known.

    ``populated`` is the number of bays that have ever had a disk: a disk pulled since then is not
    recreated.  ``aggr0`` has the root aggregate once it exists.  ``disks`` has the disks of this
    system by serial number, including those that were pulled.
    """

    system_id: int = 0
    populated: int = 0
    aggr0: Composition = Composition()
    disks: Mapping[str, OwnDisk] = MappingProxyType({})

    @classmethod
    def parse(cls, document: Document) -> "ShelfRecord":
        """Parse the record.  Raises ConfigError, with the line number, if it is damaged."""
        number = whole(0, _MOST_DISKS, rule="must be the number of disks created")
        serials = optional(_serials)
        populated = document.take("populated", number)
        members = document.take("aggr0", serials)
        aggr0 = Composition(
            members or (),
            document.take("aggr0_generation", optional(whole(1))) or 0,
            document.take("aggr0_uuid", optional(_uuid)) or "",
        )
        disks = document.take("disks", optional(_own_disks))
        system_id = document.take("system_id", optional(whole(1, LAST_SYSTEM_ID)))
        return cls(system_id or 0, populated, aggr0, disks or {})

    def pack(self) -> bytes:
        """Return the record as TOML, with a line for each disk."""
        disks = {serial: f"{disk.name} {disk.key_id}" for serial, disk in self.disks.items()}
        return dump(
            {
                "system_id": self.system_id or None,
                "populated": self.populated,
                "aggr0": self.aggr0.members,
                "aggr0_generation": self.aggr0.generation or None,
                "aggr0_uuid": self.aggr0.uuid or None,
                "disks": disks or None,
            }
        )


def _serials(value: object) -> tuple[str, ...]:
    rule = "must be a list of serial numbers"
    serials = texts(rule)(value)
    if not all(map(is_serial, serials)):
        raise RuleError(rule)
    return serials


def _uuid(value: object) -> str:
    if not isinstance(value, str) or not is_uuid(value):
        raise RuleError("must be 32 hexadecimal digits")
    return value


def _own_disks(value: object) -> Mapping[str, OwnDisk]:
    rule = RuleError("must have a bay and a key ID for each serial number")
    if not isinstance(value, Mapping):
        raise rule
    disks = {}
    for serial, text in value.items():
        name, _, key_id = text.partition(" ") if isinstance(text, str) else ("", "", "")
        is_valid_key_id = key_id == MSID_KEY_ID or is_key_id(key_id)
        if not is_serial(serial) or disk_index(name) is None or not is_valid_key_id:
            raise rule
        disks[serial] = OwnDisk(name, key_id)
    return disks
