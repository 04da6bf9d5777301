"""The bays of the shelves, and their names, which are those of the disks in them."""

import re

BAYS = 24
"""Number of disks in one shelf."""

SUFFIX = ".sed"

DISK_FILES = f"*{SUFFIX}"
"""Matches the names of disk files."""

_NAME = re.compile(r"0c\.([0-9]{2,9})\.([0-9]{1,2})")


def disk_name(index: int) -> str:
    """Return the name of disk ``index``, counted from 0 across all shelves."""
    shelf, bay = divmod(index, BAYS)
    return f"0c.{shelf:02d}.{bay}"


def disk_index(name: str) -> int | None:
    """Return the index of the disk called ``name``, or None if ``name`` is not a disk name."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    index = int(found[1]) * BAYS + int(found[2])
    return index if disk_name(index) == name else None


def place(name: str) -> int:
    """Return a number to sort disk names by: 0 for what is not a disk name."""
    return disk_index(name) or 0
