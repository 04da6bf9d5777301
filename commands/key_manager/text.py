"""What key_manager prints: results, and the text made of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from filer.restore import Restored

NO_KEY_SERVERS = "No key servers are registered."
TAG_WIDTH = 31


@dataclass(frozen=True)
class RegisteredServers:
    """``key_manager show``."""

    servers: Sequence[str]

    def lines(self) -> Iterable[str]:
        """One address a line, in the order registered."""
        return self.servers or [NO_KEY_SERVERS]


@dataclass(frozen=True)
class Responding:
    """A key server that answered."""

    address: str

    def lines(self) -> Iterable[str]:
        """The line of ``key_manager status``."""
        return [f"Key server {self.address} is responding."]


def not_responding(address: str, reason: str) -> str:
    """Return the line of ``key_manager status`` for a server that did not answer."""
    return f"Key server {address} is not responding: {reason}."


@dataclass(frozen=True)
class QueryRow:
    """A key ID on a key server."""

    tag: str
    key_id: str
    in_keytable: bool


@dataclass(frozen=True)
class QueryBlock:
    """What one key server holds, sorted by tag, then key ID."""

    address: str
    rows: Sequence[QueryRow]

    def lines(self) -> Iterable[str]:
        """The block of ``key_manager query``; ``*`` marks what the keytable does not have."""
        yield f"Key server {self.address} reports {len(self.rows)} keys."
        if not self.rows:
            return
        yield ""
        yield f"{'Key tag':<{TAG_WIDTH}}  Key ID"
        yield f"{'-------':<{TAG_WIDTH}}  ------"
        for row in self.rows:
            yield f"{row.tag:<{TAG_WIDTH}} {' ' if row.in_keytable else '*'}{row.key_id}"


@dataclass(frozen=True)
class KeyPairCreated:
    """A new key pair, synchronized with every key server."""

    manual: bool
    key_id: str
    tag: str
    servers: Sequence[str]

    def lines(self) -> Iterable[str]:
        """The block that setup and rekey print."""
        yield f"New passphrase {'accepted' if self.manual else 'generated'}."
        yield f"Key ID: {self.key_id}"
        yield f"Key tag: {self.tag}"
        yield ("Passphrase, key ID, and key tag synchronized with the following key server(s):")
        for address in self.servers:
            yield f"    {address}"


@dataclass(frozen=True)
class RestoredKeys:
    """``key_manager restore``."""

    restored: Restored

    def lines(self) -> Iterable[str]:
        """A line a key server, then what became of the keytable."""
        for address, count in self.restored.read.items():
            yield f"Key server {address}: {count} key pairs read."
        yield (
            f"Keytable: {self.restored.total} key pairs, {self.restored.added} added, "
            f"{self.restored.removed} removed."
        )
