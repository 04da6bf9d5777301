"""64-bit counters that wrap around to 0 and are compared as in RFC 1982.

A counter in a disk file can be edited.  Because every value has a successor, no edit can block
the next change.
"""

MODULUS = 2**64


def after(value: int) -> int:
    """Return the successor of ``value``."""
    return (value + 1) % MODULUS


def is_after(value: int, other: int) -> bool:
    """Return whether ``value`` is ahead of ``other`` by less than half the range."""
    return 0 < (value - other) % MODULUS < MODULUS // 2
