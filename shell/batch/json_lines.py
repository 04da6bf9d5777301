"""What other programs read: one JSON object a line for each command and event (docs/JSON.md)."""

import json
import sys
from collections.abc import Mapping
from typing import TextIO

from filer.commands import Complaint, EndOfAnswers, Json, Note, Result, Structured, Text
from filer.host.quoting import shown_answer
from filer.host.standard_streams import write
from filer.host.text import printable
from filer.shell.batch.script import Input, KeyboardInput, ScriptConsole
from filer.shell.session import OK
from filer.shell.signals import Signals

SCHEMA = "filer/1"
"""The name and version of what is written; docs/JSON.md says what changes it."""


def data_of(result: Result) -> Mapping[str, Json]:
    """Return ``result`` as an object that says its type; one that has no fields is its text."""
    if isinstance(result, Structured):
        return {"type": result.TYPE, **result.data()}
    return {"type": Text.TYPE, "lines": list(result.lines())}


def write_object(stream: TextIO, fields: Mapping[str, Json]) -> None:
    """Write one line, at once.  Raises OutputLost if that is not possible."""
    write(stream, json.dumps({"schema": SCHEMA, **fields}, allow_nan=False) + "\n")


class _Output:
    """What a command or an event has said so far."""

    def __init__(self, heading: Mapping[str, Json]) -> None:
        self.heading = dict(heading)
        self.results: list[Json] = []
        self.errors: list[Json] = []
        self.warnings: list[Json] = []
        self.questions: list[Json] = []


class JsonConsole(ScriptConsole):
    """The console of a script for a program: nothing but objects, all on standard output.

    It is the record of its sessions, too: an object is written when its command is over.
    """

    def __init__(
        self, answers: Input, signals: Signals, *, echo: bool = False, out: TextIO | None = None
    ) -> None:
        super().__init__(answers, signals, echo=echo, out=out)
        self._asks_a_person = isinstance(answers, KeyboardInput)
        self._output: _Output | None = None
        self._line = 0
        self._prompt = ""
        self._typed: list[str] = []

    # Where the output of a command begins and ends.

    def at(self, file: str | None, number: int) -> None:
        """Go to a line of the input."""
        self._line = number
        self._typed = []

    def echo(self, prompt: str, line: str) -> None:
        """Keep the prompt of a command and its lines, if objects are to have them."""
        if not self._typed:
            self._prompt = prompt
        self._typed.append(printable(line))

    def begin(self, *, command: str | None = None, event: str | None = None) -> None:
        """Begin the object of a command or an event."""
        if event is not None:
            self._output = _Output({"event": event})
            return
        heading: dict[str, Json] = {"command": command, "line": self._line}
        if self._echo:
            heading |= {"prompt": self._prompt, "input": "\n".join(self._typed)}
        self._output = _Output(heading)

    def name(self, command: str) -> None:
        """Give the command its full name."""
        self._current.heading["command"] = command

    def end(self, status: int) -> None:
        """Write the object.  Raises OutputLost if that is not possible."""
        output, self._output = self._current, None
        if status != OK and not output.errors:
            output.errors.append({"kind": "ended", "message": "ended before it was done"})
        said: dict[str, Json] = {"errors": output.errors, "warnings": output.warnings}
        if "command" in output.heading:
            said = {"results": output.results, **said, "questions": output.questions}
        write_object(self._out, {**output.heading, "status": status, **said})

    @property
    def _current(self) -> _Output:
        assert self._output is not None, "results are those of a command"
        return self._output

    # What a command says.

    def show(self, result: Result) -> None:
        """Take a result, as it is at this moment.

        Raises TypeError or ValueError for data of a plug-in that JSON cannot say.
        """
        if not isinstance(result, Note):
            data = json.dumps(data_of(result), allow_nan=False)
            self._current.results.append(json.loads(data))

    def fail(self, message: str) -> None:
        """Take a failure; one that no command is to blame for is an event."""
        self._take(message, "failed", self._output.errors if self._output else None)

    def warn(self, message: str) -> None:
        """Take a warning; one of no command is an event."""
        self._take(message, "warning", self._output.warnings if self._output else None)

    def _take(self, message: str, default: str, complaints: list[Json] | None) -> None:
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
        answer = self._answer(lambda: self._tell(question), secret=secret)
        if answer is None:
            raise EndOfAnswers
        if self._echo and not secret:
            asked["answer"] = shown_answer(answer)
        return answer

    def _tell(self, text: str) -> None:
        if self._asks_a_person:
            write(sys.stderr, text)

    def page(self, text: str) -> None:
        """Take a long text."""
        self.show(Text(text))
