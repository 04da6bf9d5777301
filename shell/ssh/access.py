"""The files of the SSH server: passwords, public keys of users, and its host key."""

import hmac
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from filer.host.durable import Storage
from filer.host.errors import FilerError
from filer.host.lock import locked
from filer.host.own_files import exposure
from filer.host.reading import NotThereError, UnreadableError, read_regular
from filer.host.scrypt import STANDARD
from filer.host.text import printable
from filer.host.toml_file import SIZE_LIMIT, Document, dump
from filer.shell.ssh.public_keys import LARGEST, AuthorizedKeys, is_current

if TYPE_CHECKING:
    from asyncssh import SSHKey

ADMINISTRATOR = "root"
"""The user whose public keys are in AUTHORIZED_KEYS."""

AUTHORIZED_KEYS = "authorized_keys"
"""A file in the directory ``ssh`` of the root."""

HOST_KEYS = {
    "host_key": "ssh-ed25519",
    "host_key_ecdsa": "ecdsa-sha2-nistp256",
    "host_key_rsa": "ssh-rsa",
}
"""The files of the host keys in the same directory, and the algorithm that a new one gets."""

LEAST_LENGTH = 8
"""Characters of a password; the minimum of a real filer."""

MOST_BYTES = 1000
"""Bytes of a password; OpenSSH's client sends fewer than 1024."""

_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_COST = f"scrypt:{STANDARD.n}:{STANDARD.r}:{STANDARD.p}"
_SALT_SIZE, _HASH_SIZE = 16, 32
_ENTRY = re.compile(f"{_COST}:([0-9a-f]{{{2 * _SALT_SIZE}}}):[0-9a-f]{{{2 * _HASH_SIZE}}}")
_LARGEST = 64 * 1024
_HOST_KEY_KINDS = (b"ssh-ed25519", b"ecdsa-sha2-nistp", b"ssh-rsa")
_RSA_BITS = 3072
"""Bits of a new RSA key; about as strong as the other two."""

_LOCK = ".passwords.lock"
_LONGEST_IN_LOG = 32


class AccessError(FilerError):
    """An invalid user name or password, or a file that is damaged or open to others."""


class Passwords:
    """The file of passwords: a line per user, with a salted scrypt hash."""

    def __init__(self, path: Path, storage: Storage) -> None:
        self._path = path
        self._storage = storage

    def set(self, user: str, password: str, random: Callable[[int], bytes]) -> None:
        """Set the password of ``user``, who may be new.

        Raises AccessError, ConfigError if the file is damaged, or StorageError.
        """
        if not is_user(user):
            raise AccessError(
                f'"{printable(user)}" is not a user name: 1 to 32 lower-case letters, digits, "-" '
                'and "_", no digit or "-" first'
            )
        entry = _hashed(_as_clients_send(password), random(_SALT_SIZE))
        self._storage.make_directory(self._path.parent)
        lock, flags = self._path.with_name(_LOCK), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        with locked(lock, flags, lambda error: _cannot_lock(lock, error)):
            content = dump({**self._entries(), user: entry})
            if len(content) > SIZE_LIMIT:
                raise AccessError(
                    f"{_name(self._path)} would be larger than {SIZE_LIMIT // 1024} KiB; "
                    "remove the lines of users who need no password any more"
                )
            self._storage.write(self._path, content)

    def users(self) -> list[str]:
        """Return the users that have a password.  Raises ConfigError if the file is damaged."""
        return list(self._entries())

    def fits(self, user: str, password: str) -> bool:
        """Say whether ``password`` is that of ``user``, in the same time for unknown users.

        Raises ConfigError if the file is damaged.
        """
        entry = self._entries().get(user)
        salt = _salt(entry) if entry else bytes(_SALT_SIZE)
        return hmac.compare_digest(_hashed(password, salt), entry or "") and entry is not None

    def _entries(self) -> dict[str, str]:
        try:
            refuse_if_open_to_others(self._path)
            document = Document.read(_name(self._path), self._path)
        except NotThereError:
            return {}
        entries: dict[str, str] = {}
        for user, entry in document.values.items():
            if not is_user(user) or not isinstance(entry, str) or not _salt(entry):
                raise document.error((user,), f"{user} has no password entry")
            entries[user] = entry
        return entries


def _cannot_lock(path: Path, error: OSError) -> AccessError:
    return AccessError(f"cannot lock {_name(path)}: {error.strerror}")


def passwords_below(directory: Path, storage: Storage) -> Passwords:
    """Return the passwords kept in the directory ``ssh`` of a root."""
    return Passwords(directory / "passwords.toml", storage)


def is_user(name: str) -> bool:
    """Say whether ``name`` is a valid user name."""
    return _USER.fullmatch(name) is not None


def in_log(user: str) -> str:
    """Return a user name from a client for the log: quoted and shortened unless it is valid."""
    if is_user(user):
        return user
    shown = user if len(user) <= _LONGEST_IN_LOG else f"{user[:_LONGEST_IN_LOG]}..."
    quoted = shown.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"'


def _as_clients_send(password: str) -> str:
    """Return ``password`` in the form that asyncssh gives the server at login (SASLprep).

    Raises AccessError if it is too short or long, or if no client could send it.
    """
    try:
        from asyncssh.saslprep import saslprep
    except ImportError:
        raise AccessError("--ssh-password needs asyncssh: pip install asyncssh") from None
    try:
        password.encode()
        prepared = saslprep(password)
    except ValueError:  # UnicodeEncodeError and SASLPrepError, which quote the password
        raise AccessError(
            "a password cannot have control characters, unassigned characters, or bytes that are "
            "not UTF-8, nor mix directions of writing (RFC 4013)"
        ) from None
    if len(prepared) < LEAST_LENGTH:
        raise AccessError(f"a password must have at least {LEAST_LENGTH} characters")
    if len(password.encode()) > MOST_BYTES:
        raise AccessError(f"a password can have at most {MOST_BYTES} bytes")
    return prepared


def refuse_if_open_to_others(path: Path, *, secret: bool = False) -> None:
    """Check owner and permissions of a file and its directory, as sshd's StrictModes does.

    With ``secret``, others must not be able to read the file either.  Raises AccessError, or
    NotThereError if the file is missing.
    """
    try:
        problem = exposure(path, secret=secret)
    except FileNotFoundError as error:
        raise NotThereError(error.strerror) from None
    except OSError as error:
        raise AccessError(f"{_name(path)}: {error.strerror}") from None
    if problem:
        raise AccessError(problem)


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _hashed(password: str, salt: bytes) -> str:
    digest = STANDARD.stretch(password.encode(), salt, _HASH_SIZE)
    return f"{_COST}:{salt.hex()}:{digest.hex()}"


def _salt(entry: str) -> bytes:
    """Return the salt of a password entry, or nothing if the entry is invalid."""
    found = _ENTRY.fullmatch(entry)
    return bytes.fromhex(found[1]) if found else b""


def authorized_keys(path: Path) -> AuthorizedKeys:
    """Return the public keys in the file, in OpenSSH's format; none if the file is missing.

    Raises AccessError if it cannot be read, or if others can change it.
    """
    try:
        refuse_if_open_to_others(path)
        return AuthorizedKeys(_name(path), read_regular(path, LARGEST))
    except NotThereError:
        return AuthorizedKeys(_name(path), b"")
    except UnreadableError as problem:
        raise AccessError(f"{_name(path)}: {printable(str(problem))}") from None


def host_keys(directory: Path, storage: Storage) -> "list[SSHKey]":
    """Return the host keys in ``directory``, at most one per algorithm; missing ones are made.

    The administrator may have put a key of another kind into a file.  If an earlier file has a key
    of the kind that a file is for, that file is ignored.  Raises the errors of `host_key`.
    """
    keys: dict[str, SSHKey] = {}
    for name, algorithm in HOST_KEYS.items():
        if algorithm not in keys:
            key = host_key(directory / name, algorithm, storage)
            keys.setdefault(key.get_algorithm(), key)
    return list(keys.values())


def host_key(path: Path, algorithm: str, storage: Storage) -> "SSHKey":
    """Return the host key in the file; if missing, one with ``algorithm`` is made.

    Raises AccessError if it is damaged, weak, or open to others, and StorageError.
    """
    import asyncssh

    try:
        refuse_if_open_to_others(path, secret=True)
        key = asyncssh.import_private_key(read_regular(path, _LARGEST))
        if not key.algorithm.startswith(_HOST_KEY_KINDS) or not is_current(key):
            raise AccessError(
                f"{_name(path)}: not an Ed25519, an ECDSA, or an RSA key of at least 2048 bits"
            )
        return key
    except NotThereError:
        if algorithm == "ssh-rsa":
            key = asyncssh.generate_private_key(algorithm, key_size=_RSA_BITS)
        else:
            key = asyncssh.generate_private_key(algorithm)
        storage.make_directory(path.parent)
        storage.write(path, key.export_private_key())
        return key
    except UnreadableError as reason:
        raise AccessError(f"{_name(path)}: {printable(str(reason))}") from None
    except ValueError:  # its text may quote the file
        raise AccessError(f"{_name(path)}: not a private key that can be used") from None
