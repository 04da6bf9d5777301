"""Normalise output that varies between runs without meaning."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from filer.shell.recording.differences import LineMatcher

_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"

VOLATILE = re.compile(
    rf"""
      (?P<KEYID>    \b[0-9A-F]{{64}}\b )
    | (?P<SERIAL>   \b[A-Z2-7]{{16}}\b )
    | (?P<DATE>     \b{_DAY}\ {_MONTH}\ [ 0-9][0-9]\ \d\d:\d\d:\d\d\ [A-Z]+(?:\ \d{{4}})?\b
                  | \b\d{{4}}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)? )
    | (?P<TIME>     \ *\b\d{{1,2}}:\d\d[ap]m\b )
    | (?P<DURATION> (?<=\ up\ )(?:\ ?\d+\ days,\ )?(?:\ ?\d+:\d\d|\d+\ mins)\b,?
                  | \b\d+\.\d+\ s\b | (?<=\btrying\ again\ for\ )\d+\ s\b )
    | (?P<PERCENT>  \b\d+(?=%\ (?:completed|done)\b) )
    | (?P<PORT>     (?<=\bport\ )\d+\b | (?<=kmip\ server\ \[)\d+(?=\]) )
    """,
    re.VERBOSE,
)
_NUMBERED = ("KEYID", "SERIAL")


class Pairing:
    """Replaces volatile values in the output of two sessions by names.

    Key IDs and serial numbers in corresponding places of otherwise equal lines get the same name,
    such as KEYID1, from then on.  One without a counterpart gets its own name.
    """

    def __init__(self) -> None:
        self._then: dict[str, str] = {}
        self._now: dict[str, str] = {}
        self._count: Counter[str] = Counter()

    def lines(self, then: str, now: str) -> tuple[Sequence[str], Sequence[str]]:
        """Return the lines of both with names, without trailing blanks.

        Adjacent lines with key IDs are sorted: tables are in order of the key IDs, which are
        random.
        """
        before, after = then.splitlines(), now.splitlines()
        self._pair(before, after)
        return _named(before, self._then), _named(after, self._now)

    def now(self, then: str) -> str:
        """Return ``then`` with the values that now take the place of its key IDs and serials."""
        values = {name: value for value, name in self._now.items()}
        return VOLATILE.sub(lambda found: values.get(self._then.get(found[0], ""), found[0]), then)

    def _pair(self, before: Sequence[str], after: Sequence[str]) -> None:
        shapes = [[VOLATILE.sub(_kind, line) for line in lines] for lines in (before, after)]
        for same in LineMatcher(*shapes).get_matching_blocks():
            for number in range(same.size):
                found = map(_numbered, (before[same.a + number], after[same.b + number]))
                for (kind, one), (_, other) in zip(*found, strict=True):
                    if one not in self._then and other not in self._now:
                        self._then[one] = self._now[other] = self._new_name(kind)
        for lines, names in ((before, self._then), (after, self._now)):
            for kind, value in (each for line in lines for each in _numbered(line)):
                if value not in names:
                    names[value] = self._new_name(kind)

    def _new_name(self, kind: str) -> str:
        self._count[kind] += 1
        return f"{kind}{self._count[kind]}"


def _kind(found: re.Match[str]) -> str:
    return found.lastgroup or ""


def _numbered(line: str) -> Sequence[tuple[str, str]]:
    return [
        (kind, found[0]) for found in VOLATILE.finditer(line) if (kind := _kind(found)) in _NUMBERED
    ]


def _named(lines: Iterable[str], names: Mapping[str, str]) -> Sequence[str]:
    named = (
        VOLATILE.sub(lambda found: names.get(found[0], _kind(found)), line).rstrip()
        for line in lines
    )
    return [
        line
        for has_key_id, together in groupby(named, key=lambda line: "KEYID" in line)
        for line in (sorted(together) if has_key_id else together)
    ]
