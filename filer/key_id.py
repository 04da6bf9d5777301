"""Key IDs and the parent tag: names for keys that give nothing away."""

import re
from collections.abc import Callable

MSID_KEY_ID = "0x0"
"""The key ID of a drive that still has its factory key, the MSID."""

_KEY_ID = re.compile(r"[0-9A-Fa-f]{64}")


def is_key_id(text: str) -> bool:
    """Say whether ``text`` is a key ID of a key pair: 64 hexadecimal digits."""
    return _KEY_ID.fullmatch(text) is not None


def _system_ids(system_id: int, partner_id: int) -> list[int]:
    return sorted({system_id, partner_id} - {0})


def new_key_id(system_id: int, partner_id: int, random: Callable[[int], bytes]) -> str:
    """Make a key ID: system IDs in order, kind of key, 128 random bits.

    ``partner_id`` is 0 where there is no HA partner; the second field is then zero.
    """
    first, second = (*_system_ids(system_id, partner_id), 0)[:2]
    kind = "0101000000000000" if second else "0100000000000000"
    return f"{first:08X}{second:08X}{kind}{random(16).hex().upper()}"


def parent_tag(system_id: int, partner_id: int) -> str:
    """Return the parent tag, ``SYSTEMID-PARTNERID`` in sort order (``man key_manager, rekey``)."""
    return "-".join(str(number) for number in _system_ids(system_id, partner_id))
