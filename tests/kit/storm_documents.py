"""The schema of the JSON of filer-storm, which ``make schema`` writes."""

from filer.storm.json_report import SCHEMA, StormObject
from tests.kit.json_schema import Schema, declared, schema_text
from tests.kit.paths import CHECKOUT

FILE = CHECKOUT / "storm" / "filer-storm-1.schema.json"


def schema() -> Schema:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:filer:schema:storm:1",
        "title": SCHEMA,
        "description": "The report of filer-storm --json (docs/STORM.md)",
        "$ref": "#/$defs/storm",
        "$defs": {"storm": declared(StormObject)},
    }


def main() -> None:
    """Write it."""
    FILE.write_text(schema_text(schema()), encoding="ascii")


if __name__ == "__main__":
    main()
