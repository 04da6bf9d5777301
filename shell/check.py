"""``filer --check FILE...``: reads runbooks and recordings against the grammar, and runs nothing.

The lines that answer the questions of a command are passed over, as a script whose command fails
passes over them: up to the next line that is a command.
"""

import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO, NamedTuple

from filer.commands import ALL_ANSWERS, Command, Complaint, Json
from filer.host.errors import FilerError
from filer.host.passphrase_rule import is_passphrase
from filer.host.quoting import HIDDEN
from filer.host.standard_streams import write
from filer.host.text import printable
from filer.shell.batch.inputs import LineInput
from filer.shell.batch.json_lines import write_object
from filer.shell.line.answers import expected_answers, may_be_command
from filer.shell.line.length import LineTooLong, checked, lines_of
from filer.shell.line.parsing import WrongWords, commands_of, parse_command, would_run
from filer.shell.line.words import LanguageError, LogicalLine
from filer.shell.plugins import OTHER_CONSOLES, Commands
from filer.shell.recording.asciicast import LARGEST, CastError, is_cast, read
from filer.shell.session import FAILED, OK
from filer.shell.signals import Signals


class Wrong(NamedTuple):
    """What is wrong in a file, and where: line and column count from 1."""

    line: int
    column: int
    complaint: Complaint


def check_files(names: Sequence[str], signals: Signals, *, as_json: bool) -> int:
    """Print every wrong line of the files, and return the exit status: FAILED if there is one.

    Raises FilerError for a file that cannot be read, before anything is printed.
    """
    signals.end_at_ctrl_c()
    with signals.waiting():  # for the writer of a FIFO
        files = [(name, _content(name)) for name in names]
    commands = Commands(lambda warning: write(sys.stderr, f"WARNING: {warning}\n"))
    status = OK
    for name, data in files:
        for wrong in check(commands, data):
            status = FAILED
            _print(name, wrong, as_json=as_json)
    return status


def check(commands: Mapping[str, Command], data: bytes) -> Iterator[Wrong]:
    """Yield what is wrong in a runbook or a recording, for a console with ``commands``."""
    return _check_cast(commands, data) if is_cast(data) else _check_runbook(commands, data)


def _content(name: str) -> bytes:
    try:
        if name == "-":
            return _read(sys.stdin.buffer, name)
        with open(name, "rb") as file:  # noqa: PTH123  (a name with a NUL is a ValueError)
            return _read(file, name)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise FilerError(f"cannot read {printable(name)}: {reason}") from None


def _read(file: BinaryIO, name: str) -> bytes:
    data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise FilerError(f"{printable(name)} is larger than {LARGEST >> 20} MiB")
    return data


def _print(name: str, wrong: Wrong, *, as_json: bool) -> None:
    line, column, complaint = wrong
    if as_json:
        fields: dict[str, Json] = {"event": "wrong_line", "file": printable(name)}
        fields |= {"line": line, "column": column, "kind": complaint.kind}
        fields |= {"message": str(complaint), **complaint.details}
        write_object(sys.stdout, fields)
    else:
        write(sys.stdout, f"{printable(name)}:{line}:{column}: {complaint}\n")


def _check_runbook(commands: Mapping[str, Command], data: bytes) -> Iterator[Wrong]:
    lines = LineInput(lines_of(io.BytesIO(data)))
    answers = 0
    while (line := lines.line()) is not None:
        if answers and not _is_command(commands, line):
            if answers != ALL_ANSWERS:
                answers -= 1
            continue
        first = lines.number
        text = _logical(line, lines)
        yield from _wrong_in(commands, text, first)
        answers = expected_answers(commands, text)


def _is_command(commands: Mapping[str, Command], line: str) -> bool:
    """Say whether ``line`` is a command, or several words of which the first is like one.

    No answer to a dialogue has several words, except a passphrase.
    """
    if is_passphrase(line):
        return False
    return would_run(commands, line) or (len(line.split()) > 1 and may_be_command(commands, line))


def _logical(line: str | None, lines: LineInput) -> str:
    """Return a line with those that continue it."""
    logical = LogicalLine()
    while line is not None and logical.add(line):
        line = lines.line()
        if line is None:
            logical.end()
    return str(logical)


def _check_cast(commands: Mapping[str, Command], data: bytes) -> Iterator[Wrong]:
    """Yield what is wrong in a recording; a column is that of what was typed."""
    others = {prompt: listed() for prompt, listed in OTHER_CONSOLES.items()}
    try:
        steps = read(data).steps
    except CastError as problem:
        yield Wrong(problem.line, 1, Complaint(problem.reason, "syntax"))
        return
    for step in steps:
        if step.typed is not None and HIDDEN not in step.typed:
            known = others.get(step.prompt, commands)
            for wrong in _wrong_in(known, step.typed, first=1):
                yield wrong._replace(line=step.line)


def _wrong_in(commands: Mapping[str, Command], text: str, first: int) -> Iterator[Wrong]:
    """Yield what is wrong in a logical line that begins on line ``first``."""
    try:
        lists = commands_of(commands, checked(text))
    except LineTooLong as problem:
        yield Wrong(first, 1, Complaint(str(problem), "syntax"))
        return
    except LanguageError as problem:
        yield _at(problem.position, text, first, Complaint(str(problem), "syntax"))
        return
    for words in lists:
        try:
            parse_command(commands, words, text)
        except WrongWords as problem:
            wrong = words[problem.word - 1 :]
            offset = wrong[0].start if wrong else words[-1].end
            yield _at(offset, text, first, problem.complaint)


def _at(offset: int, text: str, first: int, complaint: Complaint) -> Wrong:
    before = text[:offset]
    return Wrong(first + before.count("\n"), offset - before.rfind("\n"), complaint)
