"""What key_manager prints: results, and the text made of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from filer.commands import Json
from filer.key_servers.restore import Restored
from filer.registration.plan import CLIENT_FILES

NO_KEY_SERVERS = "No key servers are registered."
TAG_WIDTH = 31


@dataclass(frozen=True)
class RegisteredServers:
    """``key_manager show``."""

    TYPE: ClassVar[str] = "key_servers"
    servers: Sequence[str]

    def lines(self) -> Iterable[str]:
        """One address a line, in the order registered."""
        return self.servers or [NO_KEY_SERVERS]

    def data(self) -> Mapping[str, Json]:
        """The addresses, in the order registered."""
        return {"key_servers": list(self.servers)}


@dataclass(frozen=True)
class Responding:
    """A key server that answered."""

    TYPE: ClassVar[str] = "key_server_status"
    address: str

    def lines(self) -> Iterable[str]:
        """The line of ``key_manager status``."""
        return [f"Key server {self.address} is responding."]

    def data(self) -> Mapping[str, Json]:
        """The address; one that does not respond is an error."""
        return {"key_server": self.address, "responding": True}


@dataclass(frozen=True)
class QueryRow:
    """A key ID on a key server."""

    tag: str
    key_id: str
    in_keytable: bool


@dataclass(frozen=True)
class QueryBlock:
    """What one key server holds, sorted by tag, then key ID."""

    TYPE: ClassVar[str] = "key_server_keys"
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

    def data(self) -> Mapping[str, Json]:
        """The key server, and its keys in the same order."""
        return {
            "key_server": self.address,
            "keys": [
                {"key_tag": row.tag, "key_id": row.key_id, "in_keytable": row.in_keytable}
                for row in self.rows
            ],
        }


@dataclass(frozen=True)
class KeyPairCreated:
    """A new key pair, synchronized with every key server."""

    TYPE: ClassVar[str] = "key_pair_created"
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

    def data(self) -> Mapping[str, Json]:
        """The key pair but for its passphrase, and the key servers that have it."""
        return {
            "passphrase": "manual" if self.manual else "generated",
            "key_id": self.key_id,
            "key_tag": self.tag,
            "key_servers": list(self.servers),
        }


@dataclass(frozen=True)
class RestoredKeys:
    """``key_manager restore``."""

    TYPE: ClassVar[str] = "keys_restored"
    restored: Restored

    def lines(self) -> Iterable[str]:
        """A line a key server, then what became of the keytable."""
        for address, count in self.restored.read.items():
            yield f"Key server {address}: {count} key pairs read."
        yield (
            f"Keytable: {self.restored.total} key pairs, {self.restored.added} added, "
            f"{self.restored.removed} removed."
        )

    def data(self) -> Mapping[str, Json]:
        """The same, in numbers of key pairs."""
        return {
            "read": [
                {"key_server": address, "key_pairs": count}
                for address, count in self.restored.read.items()
            ],
            "keytable": self.restored.total,
            "added": self.restored.added,
            "removed": self.restored.removed,
        }


_KIND_OF_FILE = dict(zip(CLIENT_FILES, ("client certificate", "client private key"), strict=True))


@dataclass(frozen=True)
class RegisteredFiles:
    """Certificate files that were registered."""

    TYPE: ClassVar[str] = "files_registered"
    names: Sequence[str]

    def lines(self) -> Iterable[str]:
        """Two lines a file."""
        for name in self.names:
            yield f"Found {_KIND_OF_FILE.get(name, 'client CA certificate')} file {name}."
            yield f"Registration successful for {name}."

    def data(self) -> Mapping[str, Json]:
        """The names."""
        return {"files": list(self.names)}


@dataclass(frozen=True)
class RegisteredWithFiles:
    """Key servers that were registered, and the files registered with them."""

    TYPE: ClassVar[str] = "key_servers_registered"
    servers: Sequence[str]
    files: RegisteredFiles
    announced: bool = True

    def lines(self) -> Iterable[str]:
        """The files, a last line, and a first one if they are ``announced``."""
        if self.announced:
            yield f"Registering {len(self.servers)} key servers..."
        yield from self.files.lines()
        yield "Registration complete."

    def data(self) -> Mapping[str, Json]:
        """Addresses and names."""
        return {"key_servers": list(self.servers), **self.files.data()}


@dataclass(frozen=True)
class UnregisteredServers:
    """``key_manager remove``."""

    TYPE: ClassVar[str] = "key_servers_unregistered"
    servers: Sequence[str]

    def lines(self) -> Iterable[str]:
        """A line a key server, and a last one."""
        for address in self.servers:
            yield f"Key server {address} will be unregistered from service."
        yield "Unregistration complete."

    def data(self) -> Mapping[str, Json]:
        """The addresses."""
        return {"key_servers": list(self.servers)}
