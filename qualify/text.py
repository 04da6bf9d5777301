"""The report as text: for people, with colours and progress on a terminal."""

from collections.abc import Sequence
from textwrap import wrap
from typing import TextIO

from filer.host.standard_streams import write
from filer.host.text import printable
from filer.qualify.outcome import BLOCKER, INFORMATION, WARNING, Check, Result
from filer.qualify.report import Verdict

_WIDTH = 100
_INDENT = " " * 14
_COLOURS = {BLOCKER: "31", WARNING: "33", INFORMATION: "36"}
_GREEN, _FAINT, _BOLD = "32", "2", "1"
_MOST_EXCHANGES = 4
_ERASE = "\r\x1b[K"


class TextReport:
    """Lines for people.

    ``coloured`` says whether ``out`` understands colours.  ``progress`` is a terminal that shows
    which check is running, or None.  ``verbose`` shows the requests of every check, not only of
    those that have failed.
    """

    def __init__(
        self, out: TextIO, *, coloured: bool, progress: TextIO | None, verbose: bool
    ) -> None:
        self._out = out
        self._coloured = coloured
        self._progress = progress
        self._verbose = verbose

    def begin(self, key_server: str, port: int) -> None:
        self._line(self._in(_BOLD, f"Key server {key_server}, port {port}"))

    def begun(self, check: Check, number: int, count: int) -> None:
        if self._progress is not None:
            write(self._progress, f"{_ERASE}{number}/{count} {check.name} ...")

    def result(self, result: Result) -> None:
        if self._progress is not None:
            write(self._progress, _ERASE)
        name = result.check.name
        match result.status:
            case "passed":
                words = "; ".join(result.statements)
                self._entry(self._in(_GREEN, "passed      "), f"{name}: {words}")
            case "not_tested":
                self._entry(self._in(_FAINT, "not tested  "), f"{name}: {result.reason}")
            case "failed":
                self._failed(result)
        if self._verbose and result.status == "passed":
            self._exchanges(result)

    def _failed(self, result: Result) -> None:
        for number, problem in enumerate(result.problems):
            mark = "FAILED      " if number == 0 else " " * 12
            colour = _COLOURS[problem.severity]
            head = f"{result.check.name}: " if number == 0 else ""
            self._entry(self._in(colour, mark), f"{head}{problem.severity}: {problem.message}")
        if result.statements:
            self._entry(" " * 12, f"else: {'; '.join(result.statements)}")
        self._entry(" " * 12, result.check.meaning)
        self._exchanges(result)

    def _exchanges(self, result: Result) -> None:
        shown = result.exchanges if self._verbose else result.exchanges[-_MOST_EXCHANGES:]
        if more := len(result.exchanges) - len(shown):
            self._line(self._in(_FAINT, f"{_INDENT}(with --verbose: {more} more before these)"))
        for each in shown:
            self._line(self._in(_FAINT, f"{_INDENT}> {each.request}"))
            self._line(self._in(_FAINT, f"{_INDENT}< {each.answer}"))

    def end(self, verdicts: Sequence[Verdict]) -> None:
        self._line("")
        for verdict in verdicts:
            colour = _GREEN if verdict.fit else _COLOURS[BLOCKER]
            self._line(self._in(colour, verdict.sentence()))

    def _entry(self, mark: str, text: str) -> None:
        first, *others = wrap(printable(text), _WIDTH - len(_INDENT)) or [""]
        self._line(f"  {mark}{first}")
        for line in others:
            self._line(f"{_INDENT}{line}")

    def _in(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[m" if self._coloured else text

    def _line(self, line: str) -> None:
        write(self._out, f"{line.rstrip()}\n")
