"""--format json: one JSON object a line for each command and event (docs/JSON.md)."""

import json
import sys
from collections.abc import Callable, Mapping
from time import monotonic
from typing import TextIO

from filer.commands import Complaint, EndOfAnswers, Json, Note, Result, Structured, Text
from filer.host.quoting import shown_answer
from filer.host.standard_streams import write
from filer.host.text import printable
from filer.shell.batch.inputs import Input, KeyboardInput
from filer.shell.batch.script import ScriptConsole
from filer.shell.session import OK
from filer.shell.signals import Signals

SCHEMA = "filer/1"
"""Name and version of the format; docs/JSON.md has the rule for changes."""


def data_of(result: Result) -> Mapping[str, Json]:
    """Return the JSON object of ``result`` with its type; an unstructured one becomes its text."""
    if isinstance(result, Structured):
        return {"type": result.TYPE, **result.data()}
    return {"type": Text.TYPE, "lines": list(result.lines())}


def write_object(stream: TextIO, fields: Mapping[str, Json]) -> None:
    """Write one line and flush.  Raises OutputLost."""
    write(stream, json.dumps({"schema": SCHEMA, **fields}, allow_nan=False) + "\n")


class _Output:
    """The output of a command or an event so far."""

    def __init__(self, heading: Mapping[str, Json], since: float) -> None:
        self.heading = dict(heading)
        self.since = since
        self.results: list[Json] = []
        self.errors: list[Json] = []
        self.warnings: list[Json] = []
        self.questions: list[Json] = []


class JsonConsole(ScriptConsole):
    """The console of a script that prints JSON objects only, all on standard output.

    It is a `Record` too: an object is written at the end of its command.
    """

    def __init__(
        self,
        answers: Input,
        signals: Signals,
        *,
        echo: bool = False,
        out: TextIO | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__(answers, signals, echo=echo, out=out)
        self._clock = clock
        self._asks_a_person = isinstance(answers, KeyboardInput)
        self._output: _Output | None = None
        self._file: str | None = None
        self._line = 0
        self._prompt = ""
        self._typed: list[str] = []

    # The beginning and end of a command.

    def at(self, file: str | None, number: int) -> None:
        self._file, self._line = file, number
        self._typed = []

    def echo(self, prompt: str, line: str) -> None:
        """Keep the prompt and the lines of a command, which ``-x`` adds to its object."""
        if not self._typed:
            self._prompt = prompt
        self._typed.append(printable(line))

    def begin(self, *, command: str | None = None, event: str | None = None) -> None:
        if event is not None:
            self._output = _Output({"event": event}, self._clock())
            return
        heading: dict[str, Json] = {"command": command, "line": self._line}
        if self._file is not None:
            heading["file"] = printable(self._file)
        if self._echo:
            heading |= {"prompt": self._prompt, "input": "\n".join(self._typed)}
        self._output = _Output(heading, self._clock())

    def name(self, command: str) -> None:
        self._current.heading["command"] = command

    def end(self, status: int) -> None:
        """Write the object.  Raises OutputLost."""
        output, self._output = self._current, None
        if status != OK and not output.errors:
            output.errors.append({"kind": "ended", "message": "ended before it was done"})
        lists: dict[str, Json] = {"errors": output.errors, "warnings": output.warnings}
        if "command" in output.heading:
            lists = {"results": output.results, **lists, "questions": output.questions}
        seconds = round(self._clock() - output.since, 3)
        heading = {**output.heading, "status": status, "duration_s": seconds}
        write_object(self._out, {**heading, **lists})

    @property
    def _current(self) -> _Output:
        assert self._output is not None, "only commands have results"
        return self._output

    # The output of a command.

    def show(self, result: Result) -> None:
        """Store a copy of a result.

        Raises TypeError or ValueError if a plug-in's data cannot be JSON.
        """
        if not isinstance(result, Note):
            data = json.dumps(data_of(result), allow_nan=False)
            self._current.results.append(json.loads(data))

    def fail(self, message: str) -> None:
        """Store a failure; outside a command, write it as an event."""
        self._store(message, "failed", self._output.errors if self._output else None)

    def warn(self, message: str) -> None:
        """Store a warning; outside a command, write it as an event."""
        self._store(message, "warning", self._output.warnings if self._output else None)

    def _store(self, message: str, default: str, complaints: list[Json] | None) -> None:
        kind, details = default, {}
        if isinstance(message, Complaint):
            if message.kind is None:
                return
            kind, details = message.kind, dict(message.details)
        if complaints is None:
            write_object(self._out, {"event": kind, "message": str(message), **details})
        else:
            complaints.append({"kind": kind, "message": str(message), **details})

    def _ask(self, question: str, *, secret: bool) -> str:
        asked: dict[str, Json] = {"question": question.rstrip(), "secret": secret}
        self._current.questions.append(asked)
        answer = self._answer(lambda: self._prompt_person(question), secret=secret)
        if answer is None:
            raise EndOfAnswers
        if self._echo and not secret:
            asked["answer"] = shown_answer(answer)
        return answer

    def _prompt_person(self, text: str) -> None:
        if self._asks_a_person:
            write(sys.stderr, text)

    def page(self, text: str) -> None:
        self.show(Text(text))
