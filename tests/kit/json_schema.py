"""The schema of --format json, generated from the fields of the results by ``make schema``.

The tables of results and of complaints in docs/JSON.md come from the same source.
"""

import dataclasses
import json
import re
import types
from collections import abc
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from importlib import import_module
from inspect import getdoc
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    TypedDict,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from filer.commands import Fields, Text
from filer.shell.batch.json_lines import SCHEMA
from tests.kit import documents
from tests.kit.paths import CHECKOUT

FILE = CHECKOUT / "shell" / "batch" / "filer-1.schema.json"
DOCUMENT = CHECKOUT / "docs" / "JSON.md"

Schema = dict[str, Any]


class Question(TypedDict):
    """A question of a command."""

    question: str
    secret: Annotated[bool, {"description": "Whether the answer is never shown"}]
    answer: NotRequired[Annotated[str, {"description": "With -x, unless it is or may be secret"}]]


class _Object(TypedDict):
    schema: Annotated[str, {"$ref": "#/$defs/schema"}]


_Complaints = Annotated[Sequence[Any], {"items": {"$ref": "#/$defs/complaint"}}]

_Duration = Annotated[float, {"description": "Seconds that it took", "minimum": 0}]


class CommandObject(_Object):
    """One command that ran, or was refused."""

    command: Annotated[
        str | None, {"description": "Name and subcommand; null for a line that is not words"}
    ]
    line: Annotated[
        int, {"description": "The line of the input, or the -c option, from 1", "minimum": 1}
    ]
    file: NotRequired[Annotated[str, {"description": "The FILE that the line is in"}]]
    prompt: NotRequired[Annotated[str, {"description": "With -x"}]]
    input: NotRequired[Annotated[str, {"description": "With -x: the whole line as given"}]]
    status: Annotated[Literal[0, 1], {"description": "0: succeeded; 1: failed"}]
    duration_s: _Duration
    results: Annotated[Sequence[Any], {"items": {"$ref": "#/$defs/result"}}]
    errors: _Complaints
    warnings: _Complaints
    questions: Annotated[Sequence[Any], {"items": {"$ref": "#/$defs/question"}}]


class Boot(_Object):
    """The filer came up, or did not."""

    event: Literal["boot"]
    status: Annotated[Literal[0, 1, 3], {"description": "0: up; 3: panicked; 1: ended before"}]
    duration_s: _Duration
    errors: _Complaints
    warnings: _Complaints


class Failure(_Object):
    """The program ends with this status."""

    event: Literal["failure"]
    status: Literal[2, 3]
    message: str


class Autoboot(_Object):
    """The filer boots again after a panic."""

    event: Literal["autoboot"]
    message: str
    seconds: float


class WrongLine(_Object):
    """A line that is no command, in a file of ``--check``."""

    event: Literal["wrong_line"]
    file: str
    line: Annotated[int, {"minimum": 1}]
    column: Annotated[int, {"minimum": 1}]
    kind: Literal["syntax", "unknown_command", "usage"]
    message: str


class Notice(_Object):
    """A failure or a warning of no command and no boot; its details are those of the kind."""

    event: str
    message: str


EVENTS = {"boot": Boot, "failure": Failure, "autoboot": Autoboot, "wrong_line": WrongLine}

_MEANINGS = """\
attention(): no key server answered during the boot
autoboot_ends(panics): AUTOBOOT gives up after so many panics in a row
boot(event): a warning of the boot, with the name of its event in the system log
boot_aborted(): the boot ended before a disk was tried; the message says why
certificate(name): a certificate file that is damaged, or accepted with a warning
disk(disk, cause): a disk that was not changed; the cause is unknown_key, authentication, or \
other
disk_passed_over(disk): a disk that a pattern skips: destroyed, not of this system, or pulled
end_of_input(): the input ended at a question
ended(): the command, or the boot, ended early, for example by a signal
failed(): a failure with no details but its message
giveback(): the partner has taken this system over, which waits for giveback, or waited in vain
handed_over(): the partner takes this system over, because its operator wants it
internal(): a defect of the program, or of a plug-in; with FILER_DEBUG=1 the message has a \
traceback
interrupted(): a signal stopped the command at a safe point, or cancelled its question
key_conflict(key_id, key_servers): key servers hold different keys under one key ID, or another \
key than the keytable
key_kept(key_id, disk_count): a key ID that disks use, or may use, but no key server holds, \
stays in the keytable
key_left_behind(key_id): a key pair that was not created may remain on a key server
key_out_of_reach(key_id, disk_count): the key of locked disks is on no registered key server that \
answers
key_server(): an irregularity of a key server that was tolerated
key_server_incomplete(key_server, reason): a key server did not show all its key pairs
key_server_not_responding(key_server, reason): a request to a key server failed
key_server_refuses(key_server, reason): a key server answers, but refuses a request
keys_not_held(key_server, held, in_use): a key server that was added does not hold all the keys \
that disks use
keytable(key_pairs): the keytable has more key pairs than recommended
mailbox(): the state of this system could not be written for its partner
panic(): the filer does not come up
refused(): the command was refused; the results have what it did before
restore_incomplete(): a key server did not show all its key pairs, so none was removed
system_id_mismatch(old, new): the system ID has changed since the last boot
syntax(): the line cannot be split into words
taken_over(): maintenance mode is refused, because the partner has taken this system over
unknown_command(name): there is no command of this name
usage(word, expected, usage): the words do not match the SYNOPSIS: the number of the wrong word, \
from 1, what was expected there, and the matching SYNOPSIS lines
warning(): a warning with no details but its message
"""
_NOT_TEXT: Schema = {
    "cause": Literal["unknown_key", "authentication", "other"],
    "disk_count": int,
    "expected": Sequence[str],
    "held": int,
    "in_use": int,
    "key_pairs": int,
    "key_servers": Sequence[str],
    "new": int,
    "old": int,
    "panics": int,
    "usage": Sequence[str],
    "word": Annotated[int, {"minimum": 1}],
}
KINDS: dict[str, tuple[str, Schema]] = {
    kind: (meaning, {name: _NOT_TEXT.get(name, str) for name in re.findall(r"\w+", details)})
    for kind, details, meaning in re.findall(r"(\w+)\((.*?)\): (.*)", _MEANINGS)
}
"""The kinds of complaints: the meaning of each, and its fields besides the message."""


def modules() -> Iterator[Path]:
    """Yield the modules whose code makes results and complaints."""
    for floor in ("commands", "shell"):
        yield from sorted((CHECKOUT / floor).rglob("*.py"))


def classes_of_results() -> Iterator[type]:
    """Yield the classes that have ``lines()``, including protocols."""
    for path in modules():
        if "def lines(self)" in path.read_text(encoding="utf-8"):
            parts = path.relative_to(CHECKOUT).with_suffix("").parts
            name = ".".join(("filer", *parts)).removesuffix(".__init__")
            for member in vars(import_module(name)).values():
                own = isinstance(member, type) and member.__module__ == name
                if own and hasattr(member, "lines"):
                    yield member


def results() -> dict[str, type]:
    """Return the classes of all results by their types, sorted."""
    classes: Sequence[Any] = [
        Text,
        *(each for each in classes_of_results() if issubclass(each, Fields)),
    ]
    return dict(sorted((each.TYPE, each) for each in classes))


def _schema_of(hint: Any) -> Schema:
    """Return the schema of a type hint."""
    arguments = get_args(hint)
    found: Schema = {}
    match get_origin(hint):
        case None if hint in _PLAIN:
            found = dict(_PLAIN[hint])
        case None if is_typeddict(hint):
            found = declared(hint)
        case None if hint is not Any:
            found = _object(json_fields(hint))
        case origin if origin is Annotated and "$ref" in arguments[1]:
            found = arguments[1]
        case origin if origin is Annotated:
            found = {**_schema_of(arguments[0]), **arguments[1]}
        case origin if origin is NotRequired:
            found = _schema_of(arguments[0])
        case origin if origin is Literal:
            found = {"enum": list(arguments)} if arguments[1:] else {"const": arguments[0]}
        case origin if origin in (Union, types.UnionType):
            parts = [_schema_of(each) for each in arguments]
            enums = [value for each in parts for value in each.get("enum", ())]
            found = {"enum": enums} if enums else {"type": [each["type"] for each in parts]}
        case origin if origin is abc.Mapping:
            found = {"type": "object", "additionalProperties": _schema_of(arguments[1])}
        case origin if origin is abc.Sequence:
            items = _schema_of(arguments[0])
            found = {"type": "array", **({"items": items} if items else {})}
    return found


_PLAIN: dict[type, Schema] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    type(None): {"type": "null"},
    datetime: {"type": "string", "format": "date-time"},
}


def json_fields(result: type[Any]) -> Schema:
    """Return the type hints of the fields that ``result.data()`` returns."""
    if result is Text:
        return {"lines": Sequence[str]}
    hints = get_type_hints(result, include_extras=True)
    return {
        each.name: hints[each.name]
        for each in dataclasses.fields(result)
        if "text_only" not in each.metadata
    }


def _object(fields: Mapping[str, Any], description: str | None = None) -> Schema:
    required = [name for name, hint in fields.items() if get_origin(hint) is not NotRequired]
    return {
        **({"description": description} if description else {}),
        "type": "object",
        "required": required,
        "properties": {name: _schema_of(hint) for name, hint in fields.items()},
    }


def declared(fields: type) -> Schema:
    """Return the schema of a TypedDict."""
    return _object(get_type_hints(fields, include_extras=True), meaning_of(fields))


def meaning_of(described: type) -> str:
    """Return a class's docstring as one line of Markdown, without the full stop."""
    return " ".join((getdoc(described) or "").split()).replace("``", "`").removesuffix(".")


def _chosen(by: str, prefix: str, names: Sequence[str]) -> list[Schema]:
    return [
        {
            "if": {"properties": {by: {"const": name}}},
            "then": {"$ref": f"#/$defs/{prefix}{name}"},
        }
        for name in names
    ]


def schema() -> Schema:
    """Return the whole schema, without Markdown backticks."""
    typed = results()
    notice = {"if": {"properties": {"event": {"not": {"enum": list(EVENTS)}}}}}
    message = {"description": "The text that --format text prints", "type": "string"}
    definitions = {
        "schema": {"const": SCHEMA},
        "command": declared(CommandObject),
        "question": declared(Question),
        **{name: declared(event) for name, event in EVENTS.items()},
        "notice": declared(Notice),
        "event": {
            "type": "object",
            "required": ["schema", "event"],
            "properties": {"event": {"type": "string"}},
            "allOf": [
                *_chosen("event", "", list(EVENTS)),
                {**notice, "then": {"$ref": "#/$defs/notice"}},
            ],
        },
        "result": {
            "type": "object",
            "required": ["type"],
            "properties": {"type": {"type": "string"}},
            "allOf": _chosen("type", "result_", list(typed)),
        },
        "complaint": {
            "description": "An error or a warning",
            "type": "object",
            "required": ["kind", "message"],
            "properties": {"kind": {"type": "string"}, "message": message},
            "allOf": _chosen("kind", "kind_", list(KINDS)),
        },
    }
    for name, result in typed.items():
        fields = {"type": Literal[name], **json_fields(result)}
        definitions[f"result_{name}"] = _object(fields, meaning_of(result).replace("`", ""))
    for name, (meaning, details) in KINDS.items():
        fields = {"kind": Literal[name], "message": str, **details}
        definitions[f"kind_{name}"] = _object(fields, meaning)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:filer:schema:1",
        "title": SCHEMA,
        "description": "One line of filer --format json (docs/JSON.md)",
        "type": "object",
        "if": {"required": ["command"]},
        "then": {"$ref": "#/$defs/command"},
        "else": {"$ref": "#/$defs/event"},
        "$defs": definitions,
    }


def schema_text(whole: Schema) -> str:
    """Return the text of a schema file: one definition a line, for readable diffs."""
    definitions = whole.pop("$defs")
    lines = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(definitions[name])}" for name in definitions
    )
    head = json.dumps(whole, indent=1).removesuffix("\n}")
    return f'{head},\n "$defs": {{\n{lines}\n}}}}\n'


def field_names(fields: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the names of fields and, after ``[].``, of the fields of objects in lists."""
    for name, hint in fields.items():
        yield f"{prefix}{name}"
        for item in get_args(hint):
            if isinstance(item, type) and issubclass(item, Fields):
                yield from field_names(json_fields(item), f"{prefix}{name}[].")


def _row(name: str, meaning: str, fields: Mapping[str, Any]) -> str:
    names = ", ".join(f"`{each}`" for each in field_names(fields))
    return f"| `{name}` | {meaning} | {names}{' ' * bool(names)}|\n"


def tables() -> dict[str, str]:
    """Return the rows of the generated tables of docs/JSON.md by their headings."""
    of_results = [
        _row(name, meaning_of(each), json_fields(each)) for name, each in results().items()
    ]
    kinds = KINDS | {
        "autoboot": ("the filer boots again after a panic (an event)", {"seconds": float})
    }
    of_kinds = [_row(name, *kinds[name]) for name in sorted(kinds)]
    return {"Results": "".join(of_results), "Errors and warnings": "".join(of_kinds)}


def with_tables(document: str) -> str:
    """Return ``document`` with up-to-date generated tables."""
    return documents.with_tables(document, tables())


def main() -> None:
    """Write the schema and the tables."""
    FILE.write_text(schema_text(schema()), encoding="ascii")
    document = DOCUMENT.read_text(encoding="ascii")
    DOCUMENT.write_text(with_tables(document), encoding="ascii")


if __name__ == "__main__":
    main()
