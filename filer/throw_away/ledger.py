"""The ledger: the pairs that may be on a key server, written before each is registered.

It has one JSON object a line: what is needed to reach the servers, then one line a pair, with its
name and a salted scrypt digest of its secret.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

from filer.host.durable import Storage
from filer.host.errors import FilerError
from filer.host.reading import UnreadableError, read_regular
from filer.host.scrypt import STANDARD
from filer.host.text import printable
from filer.host.user_paths import user_path
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.pair import KeyPair
from filer.kmip.address import AddressError, parse_address, parse_port
from filer.kmip.options import MOST_SECONDS

_DIGEST_SIZE = 32
_SIZE_LIMIT = 64 * 1024 * 1024


OTHER_CLIENT = (
    "the client certificate is another one than that of the run, so a key server may not show what "
    "is left; use --certs DIR with that of the run"
)


class LedgerError(FilerError):
    """A ledger cannot be read."""


def default_path(program: str) -> Path:
    """Return the path of a new ledger of ``program``.  Raises LedgerError without a home."""
    directory = user_path("state", program)
    if directory is None:
        raise LedgerError("your home directory is unknown; use --ledger FILE, or set HOME")
    return directory / f"{datetime.now(UTC):%Y-%m-%d-%H%M%S}-{os.getpid()}.ledger"


class Entry(NamedTuple):
    """A pair that may be on a key server.

    ``owner`` says which client certificate registered it.
    """

    key_server: str
    owner: str
    name: str
    digest: str

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Self:
        """Return the entry in a line of a ledger.  Raises ValueError, TypeError or AddressError."""
        entry = cls(**fields)
        _require_text(*entry)
        parse_address(entry.key_server)
        return entry


@dataclass(frozen=True)
class Reach:
    """How to reach the key servers of a ledger again."""

    certs: str
    port: int
    timeout: float
    other_cert: str | None
    login: Sequence[str] | None
    """The user, and the file with the password."""

    client: str
    """The fingerprint of the client certificates."""

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Self:
        """Return what the head of a ledger says.  Raises ValueError, TypeError or AddressError."""
        reach = cls(**fields)
        user, file = ("", "") if reach.login is None else reach.login
        other = "" if reach.other_cert is None else reach.other_cert
        _require_text(reach.certs, reach.client, other, user, file)
        parse_port(str(reach.port))
        if type(reach.timeout) not in (int, float) or not 0 < reach.timeout <= MOST_SECONDS:
            raise ValueError
        return reach


class Digests:
    """Digests of secrets with one salt; each secret is stretched once (0.1 s)."""

    def __init__(self, salt: bytes) -> None:
        self.salt = salt
        self._known: list[tuple[AuthenticationKey, str]] = []

    def of(self, key: AuthenticationKey) -> str:
        """Return the digest of ``key``, in hexadecimal."""
        for known, digest in self._known:
            if known == key:
                return digest
        digest = STANDARD.stretch(key.reveal(), self.salt, _DIGEST_SIZE).hex()
        self._known.append((key, digest))
        return digest


class Ledger:
    """A ledger of ``program`` that is being written, at ``path``.  All methods raise StorageError.

    Several processes may add to it at the same time.
    """

    def __init__(
        self, program: str, path: Path, reach: Reach, digests: Digests, storage: Storage
    ) -> None:
        self.path = path
        self.digests = digests
        self._storage = storage
        self._head = _line(
            {"schema": _schema(program), "salt": digests.salt.hex(), **asdict(reach)}
        )

    def create(self) -> None:
        """Begin the ledger.  Raises LedgerError if the file exists."""
        self._storage.make_directory(self.path.parent)
        try:
            self._storage.create(self.path, self._head, len(self._head))
        except FileExistsError:
            raise LedgerError(f"{printable(str(self.path))}: exists already") from None

    def add(self, key_server: str, owner: str, pairs: Iterable[KeyPair]) -> list[Entry]:
        """Record ``pairs``, which are about to be registered; durable when it returns."""
        entries = [
            Entry(key_server, owner, pair.key_id, self.digests.of(pair.key)) for pair in pairs
        ]
        self._storage.append(self.path, _lines(entries))
        self._storage.settle(self.path)
        return entries

    def leave(self, entries: Sequence[Entry]) -> None:
        """Reduce the ledger to the pairs that are left; without any, remove it."""
        if entries:
            self._storage.write(self.path, self._head + _lines(entries))
        else:
            self._storage.remove(self.path)


def _require_text(*values: object) -> None:
    if not all(isinstance(value, str) and value.isprintable() for value in values):
        raise ValueError


def _schema(program: str) -> str:
    return f"{program}-ledger/1"


def _lines(entries: Iterable[Entry]) -> bytes:
    return b"".join(_line(entry._asdict()) for entry in entries)


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode("ascii") + b"\n"


def read(program: str, path: Path) -> tuple[Reach, Digests, Sequence[Entry]]:
    """Read a ledger of ``program``.  A torn last line is ignored: its pair was not registered.

    Raises LedgerError.
    """
    try:
        lines = read_regular(path, _SIZE_LIMIT).split(b"\n")
    except UnreadableError as reason:
        raise LedgerError(f"{printable(str(path))}: {reason}") from None
    try:
        head, *entries = [json.loads(line) for line in lines[:-1]]
        if head.pop("schema") != _schema(program):
            raise ValueError
        digests = Digests(bytes.fromhex(head.pop("salt")))
        return Reach.of(head), digests, [Entry.of(entry) for entry in entries]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, AddressError):
        raise LedgerError(f"{printable(str(path))}: not a ledger of {program}") from None
