"""64-bit counters that go on from 0 after their highest value, compared as in RFC 1982.

Nothing protects such a counter in a disk file from being edited.  Because every value has a
successor, no edit can make the next change impossible.
"""

MODULUS = 2**64


def after(value: int) -> int:
    """Return the value that follows ``value``."""
    return (value + 1) % MODULUS


def is_after(value: int, other: int) -> bool:
    """Say whether ``value`` is at most half the range ahead of ``other``."""
    return 0 < (value - other) % MODULUS < MODULUS // 2
