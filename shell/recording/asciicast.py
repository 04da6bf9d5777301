"""asciicast v2, asciinema's file format for terminal sessions, as ``--record`` uses it.

The first line is a header, each further one an event: seconds, kind, text.  A marker precedes each
prompt and question; an input event is its reply:

    {"version": 2, "width": 80, "height": 24, "timestamp": 1790000000, "env": {"TERM": "xterm"}}
    [0.0, "m", "session: interactive"]
    [0.1, "o", "raid: 12 disks, aggr0 online\\r\\n"]
    [0.2, "m", "filer1> key_manager rekey -manual"]
    [0.2, "o", "filer1> "]
    [3.4, "i", "key_manager rekey -manual\\r"]
    [3.5, "m", "secret: Please enter a new passphrase:"]
    [3.5, "o", "Please enter a new passphrase: "]
    [9.9, "i", "\\r"]

Output between a marker and its input event is the echo of the typing; after the input event, up to
the next marker, it is the output of the program.  Secrets are left out, except for Enter.
"""

import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from filer.host.errors import FilerError
from filer.host.quoting import shown_answer
from filer.host.text import printable

CTRL_C, CTRL_D, ENTER = "\x03", "\x04", "\r"

LARGEST = 64 * 2**20
"""Bytes of the largest file that is read."""

_PROMPT = re.compile(r"(\S*>)(?: .*)?", re.DOTALL)
_CONTROL_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])")
_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")


class Kind(StrEnum):
    """The kinds of events in a filer's recording."""

    OUTPUT = "o"
    INPUT = "i"
    MARKER = "m"
    RESIZE = "r"


class Asked(StrEnum):
    """The prefixes of markers."""

    COMMAND = ""
    ANSWER = "question: "
    SECRET = "secret: "  # noqa: S105


class Mode(StrEnum):
    """The first marker: the source of the commands."""

    INTERACTIVE = "session: interactive"
    SCRIPT = "session: script"


class CastError(FilerError):
    """An invalid recording; the message begins with the number of the line."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"{line}: {reason}")
        self.line = line
        self.reason = reason


class Event(NamedTuple):
    """One event, and its line number in the file."""

    kind: str
    text: str
    line: int


class Reply(NamedTuple):
    """The reply to a question: a line, CTRL_C or CTRL_D; empty for a recorded secret."""

    secret: bool
    text: str


@dataclass
class Step:
    """A line typed at a prompt, and its output; the first step is the boot.

    ``typed`` is None if Ctrl-C or Ctrl-D ended the line.  ``output`` includes questions with their
    answers, as in a console log.
    """

    line: int
    width: int
    prompt: str = ""
    typed: str | None = None
    replies: list[Reply] = field(default_factory=list)
    output: list[str] = field(default_factory=list)

    def answered(self, question: str, reply: Reply) -> None:
        """Add a question and its answer."""
        self.replies.append(reply)
        shown = "" if reply.secret or reply.text in (CTRL_C, CTRL_D) else reply.text
        self.output.append(f"{question.rstrip()} {shown_answer(shown)}\n")

    def log(self) -> str:
        """Return the step as in a console log."""
        lines = [] if self.typed is None else self.typed.split("\n")
        typed = [
            f"{prompt} {printable(line)}\n"
            for prompt, line in zip([self.prompt, *[">"] * len(lines)], lines, strict=False)
        ]
        return "".join([*typed, *self.output])


@dataclass(frozen=True)
class Recording:
    """A recorded session."""

    mode: Mode
    steps: Sequence[Step]


def header(width: int, height: int, timestamp: int, environment: Mapping[str, str]) -> str:
    """Return the first line, with TERM and SHELL of ``environment``."""
    shown = {name: _text(environment[name]) for name in ("TERM", "SHELL") if name in environment}
    described: dict[str, object] = {
        "version": 2,
        "width": width,
        "height": height,
        "timestamp": timestamp,
    }
    return _line({**described, "env": shown} if shown else described)


def event(seconds: float, kind: Kind, text: str) -> str:
    """Return the line of an event, ``seconds`` after the beginning."""
    return _line([round(seconds, 6), kind.value, _text(text)])


def is_cast(data: bytes) -> bool:
    """Say whether ``data`` begins as a recording does, and as no command can."""
    return data.removeprefix(BOM_UTF8).lstrip().startswith(b"{")


def read(data: bytes) -> Recording:
    """Parse a file that ``--record`` has written.  Raises CastError."""
    lines = _lines(data)
    width = _read_header(next(lines, (1, None))[1])
    return _session(width, (_read_event(number, value) for number, value in lines))


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def _text(text: str) -> str:
    return text.encode("utf-8", errors="backslashreplace").decode("utf-8")


def _lines(data: bytes) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(data.removeprefix(BOM_UTF8).splitlines(), 1):
        if not line.strip():  # some editors end a file with an empty line
            continue
        try:
            yield number, json.loads(line, parse_constant=_refuse)
        except (ValueError, RecursionError):
            raise CastError(number, "not a line of JSON") from None


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _read_header(value: Any) -> int:
    match value:
        case {"version": 2, "width": int(width), "height": int(height)} if (
            1 <= width < 100_000 and 1 <= height < 100_000
        ):
            return width
    raise CastError(1, "not the header of an asciicast v2 file")


def _read_event(number: int, value: Any) -> Event:
    match value:
        case [bool(), *_]:
            pass
        case [int() | float(), str(kind), str(text)] if text.isprintable() or _is_unicode(text):
            return Event(kind, text, number)
    raise CastError(number, "not an event of an asciicast v2 file")


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _session(width: int, events: Iterable[Event]) -> Recording:
    mode: Mode | None = None
    steps = [Step(1, width)]
    asked: Event | None = None
    lines: list[str] = []  # of the last step; joined at once, since one by one takes quadratic time
    for each in events:
        match each.kind:
            case Kind.MARKER if each.text in list(Mode):
                mode = Mode(each.text)
            case Kind.MARKER if _is_of_a_filer(each.text):
                asked = each
            case Kind.RESIZE if size := _SIZE.fullmatch(each.text):
                width = int(size[1])
            case Kind.INPUT if asked is not None:
                _add_reply(steps, lines, asked, each, width)
                asked = None
            case Kind.OUTPUT if asked is None:
                shown = _CONTROL_SEQUENCE.sub("", each.text)
                steps[-1].output.append(shown.replace("\r\n", "\n"))
    _join(steps[-1], lines)
    if mode is None:
        raise CastError(1, "not a recording of a filer")
    return Recording(mode, steps)


def _is_of_a_filer(marker: str) -> bool:
    return marker.startswith((Asked.ANSWER, Asked.SECRET)) or _PROMPT.fullmatch(marker) is not None


def _add_reply(steps: list[Step], lines: list[str], asked: Event, reply: Event, width: int) -> None:
    text = reply.text.removesuffix(ENTER)
    for kind in (Asked.ANSWER, Asked.SECRET):
        if asked.text.startswith(kind):
            question = asked.text.removeprefix(kind)
            steps[-1].answered(question, Reply(kind is Asked.SECRET, text))
            return
    prompt = asked.text.partition(" ")[0]
    typed = None if text in (CTRL_C, CTRL_D) else text
    if prompt != ">":
        _join(steps[-1], lines)
        steps.append(Step(asked.line, width, prompt, typed))
        lines[:] = [text]
    elif typed is not None and steps[-1].typed is not None:
        lines.append(typed)
    else:
        steps[-1].typed = None


def _join(step: Step, lines: Sequence[str]) -> None:
    if step.typed is not None:
        step.typed = "\n".join(lines)
