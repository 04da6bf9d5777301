"""``authorized_keys``: which public keys open the console, and what each line restricts.

Each line stands for itself: a damaged one, or one with an option that is not enforced here, opens
nothing and leaves the others alone.
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
"""Options about what the filer gives to no key: they hold in any case."""

_NEVER_GIVEN_TO = {"permitlisten", "permitopen", "tunnel"}
"""The same, of options that have a value."""

_OPTION = re.compile(rb'([A-Za-z0-9-]+)(?:="((?:[^"\\]|\\.)*)")?(,|[ \t]+)')
_TIME = re.compile(r"(\d{8}(?:\d{4}(?:\d\d)?)?)(Z?)")
_TIME_FORMATS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


class KeyLineError(FilerError):
    """Why a line opens nothing."""


class Grant(NamedTuple):
    """What someone who has logged in may do."""

    command: str | None = None
    """The only command that may run."""

    terminal: bool = True


class _Line(NamedTuple):
    key: "SSHKey"
    grant: Grant
    patterns: str | None
    """Addresses that may use the key, as in ``from=``; None for all."""

    expires: datetime | None

    def opens(self, address: str, now: datetime) -> bool:
        if self.expires is not None and now >= self.expires:
            return False
        return self.patterns is None or _matches(self.patterns, address)


class AuthorizedKeys:
    """The content of the file called ``name``, parsed line by line as it is needed."""

    def __init__(self, name: str, data: bytes) -> None:
        self._name = name
        self._data = data.removeprefix(b"\xef\xbb\xbf")  # some editors put a mark first

    def grant(self, key: "SSHKey", address: str, now: datetime) -> Grant | None:
        """Return what ``key`` opens for a client at ``address``; None if it opens nothing.

        The first line with this key that admits the client counts.  Raises KeyLineError if
        there is none, and a line with this key is refused: ``FILE:LINE: REASON``.
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
            if line.key.public_data == key.public_data and line.opens(address, now):
                return line.grant
        if refused:
            raise refused
        return None

    def check(self) -> tuple[int, list[str]]:
        """Return how many lines can open, and what is wrong with the others."""
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
    """Return the public key of ``text``; None if it holds no key."""
    import asyncssh

    try:
        key = asyncssh.import_public_key(text)
    except (asyncssh.KeyImportError, ValueError):
        return None
    if not is_current(key):
        raise KeyLineError("a DSA key, or an RSA key of fewer than 2048 bits")
    return key


def is_current(key: "SSHKey") -> bool:
    """Say whether a key of this kind and size is still safe."""
    if key.algorithm == b"ssh-rsa":
        return bool(getattr(key.pyca_key, "key_size", 0) >= _LEAST_RSA_BITS)
    return key.algorithm != b"ssh-dss"


def _options(text: bytes) -> tuple[list[tuple[str, str | None]], bytes]:
    """Split the options from the rest of the line, as strictly as OpenSSH does.

    asyncssh's own parser accepts any option, and quotes and backslashes in any place.
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
    """Apply the options in their order.  Raises KeyLineError for one that is not enforced."""
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
    """Return ``value`` in lower case.  Raises KeyLineError if a pattern fits no address."""
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
    """Return the moment that ``expiry-time`` names; local time unless it ends in Z."""
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
