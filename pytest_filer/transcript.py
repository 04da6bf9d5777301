"""What a test saw of its filer, for the report of a failure, without the secrets that it typed."""

import re
from collections.abc import Callable, Iterable, Iterator

_HIDDEN = "(hidden: it may be a secret)"

_PASSPHRASE = re.compile(r"(?=.*[A-Z])(?=.*[a-z])(?=.*[0-9])(?=.*[^A-Za-z0-9])[ -~]{20,32}")
"""The rule for passphrases of `filer.host.passphrase_rule`, which a test compares.

The process of the tests imports nothing of the filer.
"""


def may_be_passphrase(text: str) -> bool:
    """Return whether ``text`` meets the rule for passphrases."""
    return _PASSPHRASE.fullmatch(text) is not None


def possible_passphrases(line: str) -> Iterator[str]:
    """Yield what may be a passphrase in a typed line: the whole line, and each word of it."""
    yield from filter(may_be_passphrase, {line.strip(), *line.split()})


def without(secrets: Iterable[str], text: str) -> str:
    """Return ``text`` with each of ``secrets`` hidden where it is not part of a longer word."""
    for secret in sorted(filter(None, map(str.strip, secrets)), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", _HIDDEN, text)
    return text


class Transcript:
    """The outputs of a test's filer in order, each with a title."""

    def __init__(self) -> None:
        self._parts: list[tuple[str, Callable[[], str]]] = []
        self._secrets: list[Callable[[], Iterable[str]]] = []

    def add(
        self, title: str, text: Callable[[], str], secrets: Callable[[], Iterable[str]]
    ) -> None:
        """Add an output and the secrets that were typed for it, both read when they are needed."""
        self._parts.append((title, text))
        self._secrets.append(secrets)

    def sections(self) -> list[tuple[str, str]]:
        """Return title and text of each output that is not empty."""
        texts = [(title, text()) for title, text in self._parts]
        secrets = {secret for typed in self._secrets for secret in typed()}
        return [(title, without(secrets, text)) for title, text in texts if text.strip()]
