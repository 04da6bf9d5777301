"""TOML files: read them, find the line of an error, check values, write records."""

import math
import re
import tomllib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import tomli_w

from filer.host.errors import FilerError
from filer.host.quoting import quoted, shortened
from filer.host.reading import NotThereError, UnreadableError, read_regular
from filer.host.text import nearest

SIZE_LIMIT = 16 * 1024
"""Bytes of the largest configuration file that is read, unless told otherwise."""

_LONGEST_TEXT = 240
"""Characters of an error; the TOML parser may quote a key of any length."""

_MOST_TRIED = 32
"""Lines tried to find a key; each costs a run of the parser."""

_MOST_ERRORS = 20
"""Errors reported per document; finding the line of each takes time."""


class ConfigError(FilerError):
    """An invalid configuration file: ``FILE:LINE: what is wrong``."""


T = TypeVar("T")

Check = Callable[[object], T]
"""Converts the value of a key, None if it is missing.  Raises RuleError."""


class RuleError(ValueError):
    """The rule that a value breaks; the reader puts the key before it."""


def switch(value: object) -> bool:
    """Check a value that is true or false."""
    if not isinstance(value, bool):
        raise RuleError("must be true or false")
    return value


def whole(least: int, most: float = math.inf, rule: str = "") -> Check[int]:
    """Return a check for whole numbers from ``least`` to ``most``."""
    text = rule or f"must be a whole number from {least} to {most}"

    def check(value: object) -> int:
        if type(value) is not int or not least <= value <= most:
            raise RuleError(text)
        return value

    return check


def one_of(*words: str) -> Check[str]:
    """Return a check for one of ``words``."""

    def check(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise RuleError(f"must be {' or '.join(words)}")
        return value

    return check


def texts(rule: str) -> Check[tuple[str, ...]]:
    """Return a check for lists of strings."""

    def check(value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise RuleError(rule)
        return tuple(value)

    return check


def optional(check: Check[T]) -> Check[T | None]:
    """Return a check for a key that may be missing."""
    return lambda value: None if value is None else check(value)


def dump(values: Mapping[str, object]) -> bytes:
    """Return ``values`` as TOML, without those that are None."""
    return tomli_w.dumps({key: each for key, each in values.items() if each is not None}).encode()


def content(name: str, path: Path, limit: int = SIZE_LIMIT) -> bytes:
    """Return the content of the file at ``path``, of at most ``limit`` bytes.

    Raises ConfigError, or NotThereError.
    """
    try:
        return read_regular(path, limit, follow=True)
    except NotThereError:
        if path.is_symlink():
            raise ConfigError(f"{name}: a link to a file that is not there") from None
        raise
    except UnreadableError as reason:
        raise ConfigError(f"{name}: {reason}") from None


class Document:
    """A parsed TOML file that can find the line of a key."""

    def __init__(self, name: str, data: bytes) -> None:
        """Parse ``data``, the content of the file ``name``.  Raises ConfigError."""
        self.name = name
        try:
            # -sig: some editors write a byte order mark
            self._text = data.decode("utf-8-sig").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            raise self._error(data.count(b"\n", 0, error.start) + 1, "not UTF-8") from None
        self._lines = self._text.split("\n")
        try:
            self.values = tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            raise self._syntax_error(str(error)) from None
        except (ValueError, RecursionError):
            raise self._error(self._first_line_that_fails(), "a value is too large") from None

    @classmethod
    def read(cls, name: str, path: Path, limit: int = SIZE_LIMIT) -> "Document":
        """Read and parse the file at ``path``, as `content` reads it."""
        return cls(name, content(name, path, limit))

    @classmethod
    def find(cls, name: str, path: Path, limit: int = SIZE_LIMIT) -> "Document | None":
        """Do what `read` does, but return None if the file is missing.  Raises ConfigError."""
        try:
            return cls.read(name, path, limit)
        except NotThereError:
            return None

    def take(self, key: str, check: Check[T]) -> T:
        """Return the checked value of the top-level ``key``.  Raises ConfigError."""
        try:
            return check(self.values.get(key))
        except RuleError as rule:
            raise self.error((key,), f"{key} {rule}") from None

    def error(self, path: tuple[str, ...], text: str) -> ConfigError:
        """Return the error ``text`` about the key at ``path``, with its line."""
        return self._error(self.line(path), text)

    def line(self, path: tuple[str, ...]) -> int:
        """Return the number of the line on which the key at ``path`` begins, or 1.

        It is the last line that names the key and before which the document parses without that
        key; so the TOML parser decides, however the key was written.
        """
        possible = [
            number
            for number, line in enumerate(self._lines)
            if ("=" in line or "[" in line) and not line.lstrip().startswith("#")
        ]
        # A key may be written with escapes; then try every line.
        name = re.compile(rf"(?<![\w-]){re.escape(path[-1])}(?![\w-])")
        naming = [number for number in possible if name.search(self._lines[number])]
        for number in (naming or possible)[: -_MOST_TRIED - 1 : -1]:
            try:
                before = self._parse_until(number)
            except (ValueError, RecursionError):
                continue
            if not _contains(before, path):
                return number + 1
        return 1

    def _parse_until(self, number: int) -> Mapping[str, object]:
        return tomllib.loads("\n".join(self._lines[:number]))

    def _syntax_error(self, text: str) -> ConfigError:
        where = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", text)
        if where is None:
            return self._error(self._first_line_that_fails(), text)
        # An error at the end of the document is reported before its trailing blank lines.
        last = len(self._text.rstrip("\n").split("\n"))
        return self._error(int(where[1] or last), text[: where.start()])

    def _first_line_that_fails(self) -> int:
        """Return the first line after which the document fails, whatever follows."""
        whole = range(1, len(self._lines) + 1)
        return whole[min(bisect_left(whole, True, key=self._fails_for_good), len(whole) - 1)]

    def _fails_for_good(self, number: int) -> bool:
        try:
            self._parse_until(number)
        except tomllib.TOMLDecodeError:
            return False
        except (ValueError, RecursionError):
            return True
        return False

    def _error(self, line: int, text: str) -> ConfigError:
        return ConfigError(f"{self.name}:{line}: {shortened(text, _LONGEST_TEXT)}")


def _contains(values: object, path: tuple[str, ...]) -> bool:
    for key in path:
        if not isinstance(values, Mapping) or key not in values:
            return False
        values = values[key]
    return True


TOP = ""
"""The section name of top-level keys."""

Known = Mapping[str, Mapping[str, Check[object]]]
"""A check for each key of each section."""


class Sections:
    """The valid keys of a document, by section, and the errors of all others.

    Any of the ``known`` keys may be missing.
    """

    def __init__(self, document: Document, known: Known) -> None:
        self._known = known
        self.values: dict[str, dict[str, object]] = {section: {} for section in known}
        self.errors: list[ConfigError] = []
        at_top = known.get(TOP, {})
        for name, value in document.values.items():
            if name in at_top:
                self._take(document, TOP, name, value)
            elif name not in known:
                self._wrong(document, (name,), self._unknown(name))
            elif not isinstance(value, dict):
                self._wrong(document, (name,), f"{name} must be a section, [{name}]")
            else:
                for key, each in value.items():
                    self._take(document, name, key, each)

    def _take(self, document: Document, section: str, key: str, value: object) -> None:
        path = (section, key) if section else (key,)
        check = self._known[section].get(key)
        if check is None:
            self._wrong(document, path, self._unknown_key(section, key))
            return
        try:
            self.values[section][key] = check(value)
        except RuleError as rule:
            self._wrong(document, path, f"{key} {rule}")

    def _wrong(self, document: Document, path: tuple[str, ...], text: str) -> None:
        if len(self.errors) < _MOST_ERRORS:
            self.errors.append(document.error(path, text))

    def _unknown(self, name: str) -> str:
        """Return the error for an unknown top-level key or section."""
        if home := self._home(name):
            return f"{quoted(name)} belongs in the section [{home}]"
        if TOP in self._known:
            near = _did_you_mean(name, [*self._known[TOP], *self._known])
            return f"unknown key {quoted(name)}{near}"
        return f"unknown section {quoted(name)}{_did_you_mean(name, self._known)}"

    def _unknown_key(self, section: str, key: str) -> str:
        home = self._home(key)
        if home is not None:
            where = f"in the section [{home}]" if home else "before the sections"
            return f"{quoted(key)} belongs {where}"
        return f"unknown key {quoted(key)} in [{section}]{_did_you_mean(key, self._known[section])}"

    def _home(self, key: str) -> str | None:
        return next((home for home, keys in self._known.items() if key in keys), None)


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    near = nearest(word, filter(None, known))
    return f'; did you mean "{near}"?' if near else ""
