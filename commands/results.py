"""Results of commands, as text and as JSON, and failures."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from datetime import datetime
from typing import ClassVar, NamedTuple, Protocol, Self, dataclass_transform, runtime_checkable

from filer.host.errors import FilerError

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]
"""Any JSON value."""


class Result(Protocol):
    """What a command found or did; its text depends on nothing else."""

    def lines(self) -> Iterable[str]:
        """Return the text that a real filer would print, line by line."""


@runtime_checkable
class Structured(Result, Protocol):
    """A result with fields for ``--format json`` (docs/JSON.md); of others JSON has the text."""

    TYPE: ClassVar[str]
    """Name of the type, from which programs know the fields."""

    def data(self) -> Mapping[str, Json]:
        """Return the fields, none of them secret."""


TEXT_ONLY = {"text_only": True}
"""``metadata`` of a dataclass field that is part of the text of a result, but not of its JSON."""


@dataclass_transform(eq_default=False, frozen_default=True, field_specifiers=(field,))
class Fields:
    """A result, or part of one, whose dataclass fields are its JSON.  No field may be secret.

    ``make schema`` generates the schema and the tables of docs/JSON.md from the fields and the
    docstring of each class.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[object]]]

    def __init_subclass__(cls, *, kw_only: bool = False) -> None:
        # Generating __eq__, __repr__ and the like would take 0.4 ms for each class.
        dataclass(eq=False, repr=False, kw_only=kw_only)(cls)

    def data(self) -> Mapping[str, Json]:
        """Return the fields, except those for text only; times become ISO 8601."""
        return {
            each.name: _as_json(getattr(self, each.name))
            for each in fields(self)
            if "text_only" not in each.metadata
        }


def _as_json(value: object) -> Json:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case datetime():
            return value.isoformat(timespec="seconds")
        case Fields():
            return value.data()
        case Mapping():
            return {str(name): _as_json(each) for name, each in value.items()}
        case Sequence():
            return [_as_json(each) for each in value]
    raise TypeError(f"{type(value).__name__} is not JSON")


class Text:
    """Plain text, from ``man`` and from plug-ins whose results have no fields."""

    TYPE: ClassVar[str] = "text"

    def __init__(self, text: str) -> None:
        self.text = text

    def lines(self) -> Sequence[str]:
        """Return the text, line by line."""
        return self.text.splitlines()

    def data(self) -> Mapping[str, Json]:
        """Return the lines."""
        return {"lines": self.lines()}


class Note(NamedTuple):
    """Text for people only; ``--format json`` leaves it out."""

    text: str

    def lines(self) -> Iterable[str]:
        """Return the text, line by line."""
        return self.text.splitlines()


GAP = Note("\n")
"""An empty line."""


class Complaint(str):
    """The text of a failure or a warning, with its kind and details for JSON.

    ``kind`` is None if the line only repeats another complaint; JSON omits it.
    """

    __slots__ = ("details", "kind")
    details: Mapping[str, Json]
    kind: str | None

    def __new__(cls, text: str, kind: str | None, **details: Json) -> Self:
        """Create the complaint ``text``."""
        complaint = super().__new__(cls, text)
        complaint.kind, complaint.details = kind, details
        return complaint

    def as_warning(self) -> Self:
        """Return a copy whose text begins with ``WARNING:``."""
        return type(self)(f"WARNING: {self}", self.kind, **self.details)


class Refused(FilerError):
    """Raised to end a command; the text is printed after the name of the command."""


class Unprefixed(FilerError):
    """Raised to end a command; the text is printed as it is."""
