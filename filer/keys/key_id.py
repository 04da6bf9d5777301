"""Key IDs and the parent tag: names for keys that reveal nothing about them."""

import re
from collections.abc import Callable

MSID_KEY_ID = "0x0"
"""The key ID of a drive that still has its factory key, the MSID."""

_KEY_ID = re.compile(r"[0-9A-Fa-f]{64}")
_ALONE = "0100000000000000"
_WITH_PARTNER = "0101000000000000"
_SYSTEMS = re.compile(
    rf"([0-9A-Fa-f]{{8}})(?:0{{8}}{_ALONE}|([0-9A-Fa-f]{{8}}){_WITH_PARTNER})[0-9A-Fa-f]{{32}}"
)


LAST_SYSTEM_ID = 0xFFFFFEFF
"""The system IDs above it are reserved for throw-away key pairs, which filers ignore."""


def is_reserved(key_id: str) -> bool:
    """Return whether ``key_id`` names a reserved system ID."""
    return any(system > LAST_SYSTEM_ID for system in systems_of(key_id))


def is_key_id(text: str) -> bool:
    """Return whether ``text`` has the form of a key pair's ID: 64 hexadecimal digits."""
    return _KEY_ID.fullmatch(text) is not None


def _system_ids(system_id: int, partner_id: int) -> list[int]:
    return sorted({system_id, partner_id} - {0})


def new_key_id(system_id: int, partner_id: int, random: Callable[[int], bytes]) -> str:
    """Create a key ID: the system IDs in ascending order, the kind of key, and 128 random bits.

    ``partner_id`` is 0 without an HA partner; the second system ID is then zero.
    """
    first, second = (*_system_ids(system_id, partner_id), 0)[:2]
    kind = _WITH_PARTNER if second else _ALONE
    return f"{first:08X}{second:08X}{kind}{random(16).hex().upper()}"


def parent_tag(system_id: int, partner_id: int) -> str:
    """Return the parent tag: both system IDs in ascending order (``man key_manager``, rekey)."""
    return "-".join(str(number) for number in _system_ids(system_id, partner_id))


def systems_of(key_id: str) -> tuple[int, ...]:
    """Return the one or two system IDs in ``key_id``, or none if it has another layout."""
    found = _SYSTEMS.fullmatch(key_id)
    if found is None:
        return ()
    systems = tuple(int(digits, 16) for digits in found.groups() if digits is not None)
    return systems if all(systems) else ()
