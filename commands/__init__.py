"""The API of commands, for the built-in ones and for plug-ins (docs/PLUGINS.md).

A ``Command`` has one row for each of its subcommands.  The SYNOPSIS lines of the rows are its
grammar.  The function of a row gets a ``Call`` and works on the one ``Filer``.
"""

from filer.commands.command import (
    ALL_ANSWERS,
    Answers,
    Arguments,
    Call,
    Command,
    FromCommands,
    Help,
    HostFiles,
    Later,
    Run,
    Subcommand,
    Suggestion,
    Values,
    no_values,
)
from filer.commands.console import (
    PRIVILEGES,
    Cancelled,
    Consent,
    Console,
    EndOfAnswers,
    Leave,
    Next,
    SessionState,
)
from filer.commands.results import (
    GAP,
    TEXT_ONLY,
    Complaint,
    Fields,
    Json,
    Note,
    Refused,
    Result,
    Structured,
    Text,
    Unprefixed,
)

__all__ = [
    "ALL_ANSWERS",
    "API_VERSION",
    "ENTRY_POINTS",
    "GAP",
    "PRIVILEGES",
    "TEXT_ONLY",
    "Answers",
    "Arguments",
    "Call",
    "Cancelled",
    "Command",
    "Complaint",
    "Consent",
    "Console",
    "EndOfAnswers",
    "Fields",
    "FromCommands",
    "Help",
    "HostFiles",
    "Json",
    "Later",
    "Leave",
    "Next",
    "Note",
    "Refused",
    "Result",
    "Run",
    "SessionState",
    "Structured",
    "Subcommand",
    "Suggestion",
    "Text",
    "Unprefixed",
    "Values",
    "no_values",
]

API_VERSION = 1
"""The version of this API; docs/PLUGINS.md says which changes raise it."""

ENTRY_POINTS = f"filer.commands.v{API_VERSION}"
"""The entry-point group of plug-ins for this version."""
