"""What a key server can do, as its answers have shown."""

from collections.abc import Collection

from filer.kmip.requests import FULL_FORM, SPOKEN, Form, Version

ITEMS_AT_ONCE = 1024
"""Items of one request: 512 objects make a response of about 0.5 MiB; PyKMIP's limit is 1 MiB."""


class BatchSize:
    """How many items a request may have.

    A refused request is repeated in halves.  If a single item is refused too, it was the reason,
    not the number of items: later requests grow again, until one with several items is refused.
    """

    def __init__(self) -> None:
        self.now = ITEMS_AT_ONCE
        self._grows = False

    def refused(self, items: int) -> None:
        """Note that the server refused a request of ``items``."""
        self._grows = items == 1
        self.now = 2 if items == 1 else items // 2

    def accepted(self, items: int) -> None:
        """Note that the server accepted a request of ``items``."""
        if self._grows and items == self.now:
            self.now = min(2 * items, ITEMS_AT_ONCE)


class Abilities:
    """What one key server can do; learned once, for all conversations of a client."""

    def __init__(self) -> None:
        self.version: Version | None = None
        """The protocol version; None until the first answer."""
        self.has_accepted = False
        """Whether it has accepted a request in that version, other than Discover Versions."""
        self.batch = BatchSize()
        self.keeps_connections = False
        """Whether it has answered twice on one connection."""
        self.knows_key = False
        """Whether it was sent a key, which it may repeat in messages."""
        self.wants_discovery = False
        """Whether each connection must begin with Discover Versions."""
        self.lists_by_type = True
        """Whether Locate takes an object type."""
        self.lists_by_name = True
        """Whether Locate takes a name."""
        self.form: Form = FULL_FORM
        """The form in which it accepts key pairs."""


def best_of(versions: Collection[Version]) -> Version | None:
    """Return the best of ``versions`` that the filer speaks, or None."""
    return next((each for each in SPOKEN if each in versions), None)


def next_to_try(tried: Collection[Version], shown: Version | None) -> Version | None:
    """Return the version to try after ``tried`` were refused, or None if none is left.

    ``shown`` is the version of the last refusal: usually the highest that the server speaks.
    """
    left = [each for each in SPOKEN if each not in tried]
    return max((each for each in left if shown and each <= shown), default=best_of(left))
