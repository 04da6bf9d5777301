"""Who may log in over SSH: passwords, public keys, and the host key that the filer shows."""

import hashlib
import hmac
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from filer.document import Document
from filer.durable import Storage
from filer.errors import FilerError
from filer.mroot import NotThereError, UnreadableError, read_regular
from filer.text import printable

if TYPE_CHECKING:
    from asyncssh import SSHAuthorizedKeys, SSHKey

ADMINISTRATOR = "root"
"""Whose public keys are in ``AUTHORIZED_KEYS``."""

HOST_KEY, AUTHORIZED_KEYS = "host_key", "authorized_keys"
"""Files in the directory ``ssh`` of the root."""

LEAST_LENGTH = 8
"""Characters of a password, as a real filer wants them."""

_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_N, _R, _P = 2**15, 8, 1
_SALT_SIZE, _HASH_SIZE = 16, 32
_ENTRY = re.compile(
    f"scrypt:{_N}:{_R}:{_P}:([0-9a-f]{{{2 * _SALT_SIZE}}}):[0-9a-f]{{{2 * _HASH_SIZE}}}"
)
_LARGEST = 64 * 1024


class AccessError(FilerError):
    """A user name or password that is none, or a damaged file."""


class Passwords:
    """The file of passwords: one line a user, with a salted scrypt hash."""

    def __init__(self, path: Path, storage: Storage) -> None:
        self._path = path
        self._storage = storage

    def set(self, user: str, password: str, random: Callable[[int], bytes]) -> None:
        """Give ``user``, who may be new, this password.

        Raises AccessError, ConfigError if the file is damaged, or StorageError.
        """
        if not _USER.fullmatch(user):
            raise AccessError(
                f'"{printable(user)}" is no user name: 1 to 32 lower-case letters, digits, "-" '
                'and "_", no digit or "-" first'
            )
        if len(password) < LEAST_LENGTH:
            raise AccessError(f"a password has at least {LEAST_LENGTH} characters")
        import tomli_w

        entries = {**self._entries(), user: _hashed(password, random(_SALT_SIZE))}
        self._storage.make_directory(self._path.parent)
        self._storage.write(self._path, tomli_w.dumps(entries).encode())

    def users(self) -> list[str]:
        """Return who has a password.  Raises ConfigError if the file is damaged."""
        return list(self._entries())

    def fits(self, user: str, password: str) -> bool:
        """Say whether ``password`` is that of ``user``; it takes as long for one who has none.

        Raises ConfigError if the file is damaged.
        """
        entry = self._entries().get(user)
        salt = _salt(entry) if entry else bytes(_SALT_SIZE)
        return hmac.compare_digest(_hashed(password, salt), entry or "") and entry is not None

    def _entries(self) -> dict[str, str]:
        name = f"{self._path.parent.name}/{self._path.name}"
        try:
            document = Document.read(name, self._path)
        except NotThereError:
            return {}
        entries: dict[str, str] = {}
        for user, entry in document.values.items():
            if not _USER.fullmatch(user) or not isinstance(entry, str) or not _salt(entry):
                raise document.error((user,), f"{user} has no password entry")
            entries[user] = entry
        return entries


def passwords_below(directory: Path, storage: Storage) -> Passwords:
    """Return the passwords kept in the directory ``ssh`` of a root."""
    return Passwords(directory / "passwords.toml", storage)


def _hashed(password: str, salt: bytes) -> str:
    digest = hashlib.scrypt(
        password.encode("utf-8", "surrogateescape"),
        salt=salt,
        n=_N,
        r=_R,
        p=_P,
        maxmem=128 * _R * (_N + _P + 2),
        dklen=_HASH_SIZE,
    )
    return f"scrypt:{_N}:{_R}:{_P}:{salt.hex()}:{digest.hex()}"


def _salt(entry: str) -> bytes:
    """Return the salt of an entry; nothing if it is none."""
    found = _ENTRY.fullmatch(entry)
    return bytes.fromhex(found[1]) if found else b""


def authorized_keys(path: Path) -> "SSHAuthorizedKeys":
    """Return the public keys of the file, in the format of OpenSSH; none if there is no file.

    Raises AccessError if it cannot be read.
    """
    import asyncssh

    try:
        return asyncssh.import_authorized_keys(read_regular(path, _LARGEST).decode())
    except NotThereError:
        return no_keys()
    except (UnreadableError, ValueError) as problem:
        raise AccessError(f"ssh/{path.name}: {printable(str(problem))}") from None


def no_keys() -> "SSHAuthorizedKeys":
    """Return a list of public keys that lets nobody in."""
    import asyncssh

    return asyncssh.import_authorized_keys("")


def host_key(path: Path, storage: Storage) -> "SSHKey":
    """Return the host key of the file, which is made if there is none.

    Raises AccessError if it is damaged, and StorageError.
    """
    import asyncssh

    try:
        return asyncssh.import_private_key(read_regular(path, _LARGEST))
    except NotThereError:
        key = asyncssh.generate_private_key("ssh-ed25519")
        storage.make_directory(path.parent)
        storage.write(path, key.export_private_key())
        return key
    except UnreadableError as reason:
        raise AccessError(f"ssh/{path.name}: {reason}") from None
    except ValueError:  # its text may quote the file
        raise AccessError(f"ssh/{path.name}: not a private key that can be used") from None
