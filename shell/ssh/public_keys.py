"""``authorized_keys``: the public keys that may log in, and the restrictions of each line.

Lines are independent: a damaged one, or one with an option that the filer cannot enforce, admits
no client and does not affect the others.
"""

import base64
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

from filer.host.errors import FilerError
from filer.host.text import printable
from filer.shell.ssh.patterns import matches_some_address

if TYPE_CHECKING:
    from asyncssh import SSHKey

LARGEST = 16 * 1024 * 1024
"""Bytes of the largest file that is read."""

_LONGEST_LINE = 16 * 1024
_LEAST_RSA_BITS = 2048

_NEVER_GIVEN = {
    f"{prefix}{what}"
    for what in ("agent-forwarding", "port-forwarding", "x11-forwarding", "user-rc")
    for prefix in ("", "no-")
}
"""Options about features that the filer never offers, so they always hold."""

_NEVER_GIVEN_TO = {"permitlisten", "permitopen", "tunnel"}
"""The same for options with a value."""

_OPTION = re.compile(rb'([A-Za-z0-9-]+)(?:="((?:[^"\\]|\\.)*)")?(,|[ \t]+)')
_TIME = re.compile(r"(\d{8}(?:\d{4}(?:\d\d)?)?)(Z?)")
_TIME_FORMATS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


class KeyLineError(FilerError):
    """An invalid line, which admits no client."""


class Grant(NamedTuple):
    """What a logged-in user may do."""

    command: str | None = None
    """The only command that may run."""

    terminal: bool = True


class _Line(NamedTuple):
    key: "SSHKey"
    grant: Grant
    patterns: str | None
    """Patterns of the addresses that may use the key, as in ``from=``; None for all."""

    expires: datetime | None

    def admits(self, address: str, now: datetime) -> bool:
        if self.expires is not None and now >= self.expires:
            return False
        return self.patterns is None or _matches(self.patterns, address)


class AuthorizedKeys:
    """The content ``data`` of the file ``name``, parsed lazily line by line."""

    def __init__(self, name: str, data: bytes) -> None:
        self._name = name
        self._data = data.removeprefix(b"\xef\xbb\xbf")  # some editors write a byte order mark

    def grant(self, key: "SSHKey", address: str, now: datetime) -> Grant | None:
        """Return the grant for a client with ``key`` at ``address``, or None.

        The first line with this key that admits the client counts.  If there is none, but an
        invalid line has the key, raises KeyLineError: ``FILE:LINE: REASON``.
        """
        refused: KeyLineError | None = None
        blob = base64.b64encode(key.public_data)
        if blob not in self._data:
            return None
        for number, text in self._lines():
            if blob not in text:
                continue
            try:
                line = _parse(text)
            except KeyLineError as error:
                refused = refused or KeyLineError(f"{self._name}:{number}: {error}")
                continue
            if line.key.public_data == key.public_data and line.admits(address, now):
                return line.grant
        if refused:
            raise refused
        return None

    def check(self) -> tuple[int, list[str]]:
        """Return the number of valid lines, and the errors of the others."""
        good, problems = 0, []
        for number, text in self._lines():
            try:
                _parse(text)
            except KeyLineError as error:
                problems.append(f"{self._name}:{number}: {error}")
            else:
                good += 1
        return good, problems

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        for number, line in enumerate(self._data.splitlines(), 1):
            text = line.strip(b" \t")
            if text and not text.startswith(b"#"):
                yield number, text


def _parse(text: bytes) -> _Line:
    if len(text) > _LONGEST_LINE:
        raise KeyLineError(f"longer than {_LONGEST_LINE // 1024} KiB")
    if key := _key(text):
        return _Line(key, Grant(), None, None)
    options, rest = _options(text)
    key = _key(rest)
    if key is None:
        raise KeyLineError("damaged, or not a public key that OpenSSH writes")
    return _restricted(key, options)


def _key(text: bytes) -> "SSHKey | None":
    """Return the public key in ``text``, or None.  Raises KeyLineError for a weak one."""
    import asyncssh

    try:
        key = asyncssh.import_public_key(text)
    except (asyncssh.KeyImportError, ValueError):
        return None
    if not is_current(key):
        raise KeyLineError("a DSA key, or an RSA key of fewer than 2048 bits")
    return key


def is_current(key: "SSHKey") -> bool:
    """Say whether a key of this type and size is still secure."""
    if key.algorithm == b"ssh-rsa":
        return bool(getattr(key.pyca_key, "key_size", 0) >= _LEAST_RSA_BITS)
    return key.algorithm != b"ssh-dss"


def _options(text: bytes) -> tuple[list[tuple[str, str | None]], bytes]:
    """Split the options from the rest of the line, as strictly as OpenSSH.

    asyncssh's parser accepts any option, and quotes and backslashes anywhere.
    """
    options: list[tuple[str, str | None]] = []
    position = 0
    while match := _OPTION.match(text, position):
        name, value, end = match.groups()
        decoded = None if value is None else value.replace(b'\\"', b'"').decode("utf-8", "replace")
        options.append((name.decode("ascii").lower(), decoded))
        position = match.end()
        if end != b",":
            return options, text[position:]
    raise KeyLineError("damaged, or not a public key that OpenSSH writes")


def _restricted(key: "SSHKey", options: Iterable[tuple[str, str | None]]) -> _Line:
    """Apply the options in order.  Raises KeyLineError for one that cannot be enforced."""
    once: dict[str, str] = {}
    terminal = True
    expires: datetime | None = None
    for name, value in options:
        match name, value:
            case (("restrict" | "no-pty"), None):
                terminal = False
            case "pty", None:
                terminal = True
            case (("command" | "from"), str()) if name not in once:
                once[name] = _patterns(value) if name == "from" else value
            case "expiry-time", str():
                until = _time(value)
                expires = until if expires is None else min(expires, until)
            case _, None if name in _NEVER_GIVEN:
                pass
            case _, str() if name in _NEVER_GIVEN_TO:
                pass
            case _:
                raise KeyLineError(f'the option "{printable(name)}" cannot be enforced')
    return _Line(key, Grant(once.get("command"), terminal), once.get("from"), expires)


def _patterns(value: str) -> str:
    """Return ``value`` in lower case.  Raises KeyLineError if a pattern matches no address."""
    value = value.lower()
    for pattern in value.split(","):
        if not matches_some_address(pattern.removeprefix("!")):
            raise KeyLineError(f'from: "{printable(pattern)}" is not a pattern of addresses')
    return value


def _matches(patterns: str, address: str) -> bool:
    from asyncssh.pattern import HostPatternList

    bare = address.partition("%")[0]  # without the interface of a link-local address
    return bool(HostPatternList(patterns).matches("", bare, ip_address(bare)))


def _time(value: str) -> datetime:
    """Parse an ``expiry-time``, local unless it ends in Z.  Raises KeyLineError."""
    match = _TIME.fullmatch(value)
    try:
        if match is None:
            raise ValueError
        moment = datetime.strptime(match[1], _TIME_FORMATS[len(match[1])])
        return moment.replace(tzinfo=UTC) if match[2] else moment.astimezone()
    except (ValueError, OverflowError):
        raise KeyLineError(
            f'expiry-time: "{printable(value)}" is not YYYYMMDD[HHMM[SS]][Z]'
        ) from None
