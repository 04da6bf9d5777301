"""docs/QUALIFY.md, from the docstrings of the checks, and the schema of their JSON.

``make schema`` writes both.
"""

from collections.abc import Iterator, Sequence

from filer.qualify.catalogue import BUILT_IN
from filer.qualify.json_lines import SCHEMA, CheckObject, VerdictObject
from filer.qualify.outcome import Check
from tests.kit.json_schema import Schema, declared, schema_text
from tests.kit.paths import CHECKOUT

FILE = CHECKOUT / "qualify" / "filer-qualify-1.schema.json"
DOCUMENT = CHECKOUT / "docs" / "QUALIFY.md"

_MARK = "<!-- The rest is generated from the docstrings in qualify/checks/ (make schema). -->\n"


def schema() -> Schema:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:filer:schema:qualify:1",
        "title": SCHEMA,
        "description": "One line of filer-qualify --format json (docs/QUALIFY.md)",
        "type": "object",
        "if": {"required": ["check"]},
        "then": {"$ref": "#/$defs/check"},
        "else": {"$ref": "#/$defs/verdict"},
        "$defs": {"check": declared(CheckObject), "verdict": declared(VerdictObject)},
    }


def with_checks(document: str) -> str:
    """Return ``document`` with up-to-date text about the checks."""
    return f"{document.partition(_MARK)[0]}{_MARK}\n{''.join(_lines())}"


def _lines() -> Iterator[str]:
    yield "| check | passes when | severity |\n| --- | --- | --- |\n"
    for check in BUILT_IN:
        yield f"| [{check.name}](#{check.name}) | {check.title} | {check.severity} |\n"
    for check in BUILT_IN:
        yield f"\n## {check.name}\n\n{_text(check)}\n"


def _text(check: Check) -> str:
    title, *paragraphs = check.text.split("\n\n")
    needs = f"It needs {_listed(check.needs)}." if check.needs else ""
    return "\n\n".join(filter(None, [f"**{title}**", *paragraphs, needs]))


def _listed(names: Sequence[str]) -> str:
    links = [f"[{name}](#{name})" for name in names]
    return " and ".join(filter(None, [", ".join(links[:-1]), links[-1]]))


def main() -> None:
    """Write both."""
    FILE.write_text(schema_text(schema()), encoding="ascii")
    document = DOCUMENT.read_text(encoding="ascii")
    DOCUMENT.write_text(with_checks(document), encoding="ascii")


if __name__ == "__main__":
    main()
