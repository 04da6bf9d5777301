"""The results of key_manager, and their text."""

from collections.abc import Iterable, Sequence
from dataclasses import field
from typing import ClassVar, Literal, Self

from filer.commands import TEXT_ONLY, Fields
from filer.key_servers.restore import Restored
from filer.registration.plan import CLIENT_FILES

NO_KEY_SERVERS = "No key servers are registered."
TAG_WIDTH = 31


class RegisteredServers(Fields):
    """``key_manager show``, in the order registered."""

    TYPE: ClassVar[str] = "key_servers"
    key_servers: Sequence[str]

    def lines(self) -> Iterable[str]:
        """One address per line."""
        return self.key_servers or [NO_KEY_SERVERS]


class Responding(Fields):
    """``key_manager status``: one for each key server that responds; the others are errors."""

    TYPE: ClassVar[str] = "key_server_status"
    key_server: str
    responding: Literal[True] = True

    def lines(self) -> Iterable[str]:
        """One line."""
        return [f"Key server {self.key_server} is responding."]


class QueryRow(Fields):
    """A key ID on a key server."""

    key_tag: str
    key_id: str
    in_keytable: bool


class QueryBlock(Fields):
    """``key_manager query``: one for each key server that answers, sorted by tag, then key ID."""

    TYPE: ClassVar[str] = "key_server_keys"
    key_server: str
    keys: Sequence[QueryRow]

    def lines(self) -> Iterable[str]:
        """One line for each key ID; ``*`` marks those that are not in the keytable."""
        yield f"Key server {self.key_server} reports {len(self.keys)} keys."
        if not self.keys:
            return
        yield ""
        yield f"{'Key tag':<{TAG_WIDTH}}  Key ID"
        yield f"{'-------':<{TAG_WIDTH}}  ------"
        for row in self.keys:
            yield f"{row.key_tag:<{TAG_WIDTH}} {' ' if row.in_keytable else '*'}{row.key_id}"


Origin = Literal["generated", "manual"]
_DONE: dict[Origin, str] = {"generated": "generated", "manual": "accepted"}


class KeyPairCreated(Fields):
    """``key_manager rekey`` and ``setup``; the passphrase was generated, or manual."""

    TYPE: ClassVar[str] = "key_pair_created"
    passphrase: Origin
    key_id: str
    key_tag: str
    key_servers: Sequence[str]

    def lines(self) -> Iterable[str]:
        """The block that setup and rekey print."""
        yield f"New passphrase {_DONE[self.passphrase]}."
        yield f"Key ID: {self.key_id}"
        yield f"Key tag: {self.key_tag}"
        yield "Passphrase, key ID, and key tag synchronized with the following key server(s):"
        for address in self.key_servers:
            yield f"    {address}"


class ReadFrom(Fields):
    """Number of key pairs that a key server returned."""

    key_server: str
    key_pairs: int


class RestoredKeys(Fields):
    """``key_manager restore``, in numbers of key pairs."""

    TYPE: ClassVar[str] = "keys_restored"
    read: Sequence[ReadFrom]
    keytable: int
    added: int
    removed: int

    @classmethod
    def of(cls, restored: Restored) -> Self:
        """Count the key pairs of ``restored``."""
        read = [ReadFrom(address, count) for address, count in restored.read.items()]
        return cls(read, restored.total, restored.added, restored.removed)

    def lines(self) -> Iterable[str]:
        """One line for each key server, then the changes of the keytable."""
        for server in self.read:
            yield f"Key server {server.key_server}: {server.key_pairs} key pairs read."
        yield f"Keytable: {self.keytable} key pairs, {self.added} added, {self.removed} removed."


_KIND_OF_FILE = dict(zip(CLIENT_FILES, ("client certificate", "client private key"), strict=True))


class RegisteredFiles(Fields):
    """``key_manager add`` and ``setup``: the files of the client."""

    TYPE: ClassVar[str] = "files_registered"
    files: Sequence[str]

    def lines(self) -> Iterable[str]:
        """Two lines for each file."""
        for name in self.files:
            yield f"Found {_KIND_OF_FILE.get(name, 'client CA certificate')} file {name}."
            yield f"Registration successful for {name}."


class RegisteredWithFiles(Fields):
    """``key_manager add`` and ``setup``; ``kmip_setup`` at LOADER."""

    TYPE: ClassVar[str] = "key_servers_registered"
    key_servers: Sequence[str]
    files: Sequence[str]
    announced: bool = field(default=True, metadata=TEXT_ONLY)

    def lines(self) -> Iterable[str]:
        """The files, a last line, and a first one if they are ``announced``."""
        if self.announced:
            yield f"Registering {len(self.key_servers)} key servers..."
        yield from RegisteredFiles(self.files).lines()
        yield "Registration complete."


class UnregisteredServers(Fields):
    """``key_manager remove``."""

    TYPE: ClassVar[str] = "key_servers_unregistered"
    key_servers: Sequence[str]

    def lines(self) -> Iterable[str]:
        """One line for each key server, and a last one."""
        for address in self.key_servers:
            yield f"Key server {address} will be unregistered from service."
        yield "Unregistration complete."
