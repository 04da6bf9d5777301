"""The generated tables of docs/KMIP.md: what a filer sends to key servers, and why.

The requests are recorded from a filer; each table must say something about each of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from filer.config import Hardware
from filer.keys.keytable import CREATION_LIMIT
from filer.kmip import (
    abilities,
    answers,
    conversation,
    exchange,
    objects,
    requests,
    searches,
)
from tests.kit import documents
from tests.kit.paths import CHECKOUT

FILE = CHECKOUT / "docs" / "KMIP.md"

PURPOSES: Mapping[str, str] = {
    "Discover Versions": "Choose the version, at the start of a command or of its parts.",
    "Query": "See that the server answers: `key_manager status`, and a registration on trial.",
    "Locate all": "List all key pairs that the server shows.",
    "Locate by name": "Find the keys that disks name, and see that a key is gone.",
    "Get Attributes": "See which objects are key pairs, and in which state.",
    "Get": "Read the secret of a key pair; never that of another object.",
    "Register": "Store a new key pair.",
    "Activate": "Put a new key pair into use.",
    "Revoke": "Take back a key pair of a command that failed: before Destroy, if it is active.",
    "Destroy": "Take back a key pair of a command that failed.",
}
"""The purpose of each kind of request."""

COUNTERPARTS: Mapping[str, tuple[str, int]] = {
    "Query": ("SASED-M-1-14", 0),
    "Locate by name": ("SASED-M-2-14", 0),
    "Register": ("SASED-M-2-14", 1),
    "Locate all": ("SASED-M-3-14", 0),
    "Get Attributes": ("SASED-M-3-14", 1),
    "Get": ("SASED-M-3-14", 3),
    "Destroy": ("SASED-M-3-14", 4),
}
"""The published request that corresponds to each kind: a test case, and a position in it."""

REPEATED = {("SASED-M-3-14", 2)}
"""Published requests that repeat the one before, for another attribute."""

EVERY = "every request"


class Difference(NamedTuple):
    """Lines that only the published request (``-``) or the filer's (``+``) has, and why."""

    kind: str
    lines: Sequence[str]
    reason: str


DIFFERENCES: Sequence[Difference] = (
    Difference(
        EVERY,
        [f"+ MaximumResponseSize = {requests.MAXIMUM_ANSWER}"],
        "Limits the memory that an answer can take.",
    ),
    Difference(
        EVERY,
        [
            "+ Authentication Credential CredentialType = Username And Password",
            "+ Authentication Credential CredentialValue Username = ...",
            "+ Authentication Credential CredentialValue Password = ...",
        ],
        "Only with `user` in `filer.toml`: some servers require a password besides the "
        "certificate.",
    ),
    Difference(
        EVERY,
        ["+ BatchErrorContinuationOption = Continue", "+ UniqueBatchItemID = ..."],
        "Only in a request of several items, which the published cases do not have. Batches keep "
        "the number of round trips independent of the number of keys, and one refused item must "
        "not stop the others.",
    ),
    Difference(
        "Query",
        [
            "- RequestPayload QueryFunction = Query Operations",
            "- RequestPayload QueryFunction = Query Objects",
        ],
        "The lists are not needed: what a server refuses shows when it is asked for.",
    ),
    Difference(
        "Locate all",
        ["- RequestPayload Object Group = ..."],
        "The filer uses the key pairs of all key tags: also those of its partner, and those from "
        "before a change of the system ID.",
    ),
    Difference(
        "Locate all",
        ["- RequestPayload Object Type = Secret Data"],
        "Only if the server refuses a search by type. The filer checks each object itself.",
    ),
    Difference(
        "Locate all",
        ["+ RequestPayload OffsetItems = ...", "+ RequestPayload MaximumItems = ..."],
        "Only if the server lists a part, or cannot send the whole list at once.",
    ),
    Difference(
        "Register",
        [
            f"- RequestPayload TemplateAttribute x-CustomAttribute{n} = CustomValue{n}"
            for n in range(1, 5)
        ],
        "The filer has no use for custom attributes, and PyKMIP's server refuses them.",
    ),
    Difference(
        "Register",
        [
            "+ RequestPayload TemplateAttribute Application Specific Information "
            f"ApplicationNamespace = {requests.NAMESPACE}",
            "+ RequestPayload TemplateAttribute Application Specific Information "
            "ApplicationData = ...",
        ],
        "Tells administrators which systems a key pair belongs to.",
    ),
    Difference(
        "Register",
        ["+ RequestPayload TemplateAttribute Cryptographic Usage Mask = Export"],
        "KMIP requires a usage mask, and some servers insist on it.",
    ),
    Difference(
        "Get Attributes",
        [
            "- RequestPayload AttributeName = x-CustomAttribute4",
            *(f"+ RequestPayload AttributeName = {each.value}" for each in requests.DESCRIBED_BY),
        ],
        "The attributes that tell a key pair from other objects, all in one request.",
    ),
)
"""What differs from the published requests."""

ONLY_OURS: Mapping[str, str] = {
    "Discover Versions": "The published cases are for one version each; the filer finds out which "
    "one the server speaks.",
    "Activate": "Many servers return only the keys of active objects. A refusal is no failure.",
    "Revoke": "KMIP does not allow Destroy for an active object.",
}
"""Requests that the published cases do not have, and why the filer needs them."""

ATTRIBUTES: Mapping[str, str] = {
    "Name": "the key ID, 64 upper-case hexadecimal digits, as uninterpreted text",
    "Object Group": "the key tag",
    "Application Specific Information": f"namespace `{requests.NAMESPACE}`, data: the parent tag "
    "of the system",
    "Cryptographic Usage Mask": "Export",
    "State": "any but destroyed and compromised",
    "Object Type": "Secret Data",
}
"""The value of each attribute that is written or read."""


class Fallback(NamedTuple):
    """What a server does, what the filer does then, and the habits of servers that show it."""

    server: str
    filer: str
    habits: Sequence[str]
    form: str = ""
    """The part of `filer.kmip.requests.Form` that is given up."""


FALLBACKS: Sequence[Fallback] = (
    Fallback(
        "refuses KMIP 1.4",
        "uses the best version that Discover Versions lists, or that a refusal names, else tries "
        "one after the other",
        ["no Discover Versions", "newer versions too", "no version in common but 2.0"],
    ),
    Fallback(
        "has only KMIP 1.0, which has no Discover Versions",
        "sees with Query that the version is accepted",
        ["no Discover Versions, KMIP 1.0"],
    ),
    Fallback(
        "requires Discover Versions on each connection",
        "sends it first",
        ["Discover Versions first", "Discover Versions first, single items"],
    ),
    Fallback(
        "refuses a batch: too large, too many items, or none at all",
        "halves it, down to single items, and remembers the size",
        [
            "single items",
            "single items, refused each",
            "single items, refused by the first",
            "single items, refused by closing",
            "single items, refused without a reason",
            "three items",
            "three items, refused each",
            "small requests",
            "small requests, refused by closing",
            "small answers",
            "small answers, refused each",
            "small answers, refused by the first",
        ],
    ),
    Fallback(
        "refuses what a single item need not have",
        "sends a single item without an item ID and a Batch Error Continuation Option",
        ["strict single items", "strict single items only"],
    ),
    Fallback(
        "closes the connection after each answer",
        "connects again; a key is sent on a new connection, because it is never sent twice",
        [
            "a connection for each request",
            "a connection for each request, single items",
            "a connection for each request, KMIP 1.0",
        ],
    ),
    Fallback(
        "refuses Activate, or activates by itself",
        "uses the object as it is",
        ["no Activate", "active at once"],
    ),
    Fallback(
        "refuses or forgets Application Specific Information",
        "stores the key pair without it",
        ["no parent tag", "forgets the parent tag"],
        "parent_tag",
    ),
    Fallback(
        "refuses Object Group",
        "stores the key pair without its key tag, and warns",
        ["no key tag", "no labels"],
        "key_tag",
    ),
    Fallback("refuses the usage mask", "leaves it out", ["no usage mask"], "usage_mask"),
    Fallback("refuses the key format Opaque", "uses Raw", ["no Opaque"], "opaque"),
    Fallback("refuses the type Password", "uses Seed", ["no Password"], "password"),
    Fallback(
        "refuses several of these",
        "tries without one of them, then without all",
        ["nothing but the name", "as little as possible", "as little as possible, KMIP 2.0"],
    ),
    Fallback(
        "lists a part of the objects",
        "requests the rest with an offset; a list that stays short is reported, and no key is "
        "dropped because of it",
        ["pages", "pages of one, single items"],
    ),
    Fallback("refuses a search by type", "searches for all objects", ["no search by type"]),
    Fallback(
        "refuses a search by name, or every search",
        "searches the list of all objects",
        ["no search by name", "no search"],
    ),
    Fallback("ignores the filter of a search", "checks each result", ["searches loosely"]),
    Fallback(
        "refuses a search that finds nothing",
        "treats Item Not Found as an empty list",
        ["nothing found is an error"],
    ),
    Fallback(
        "sends messages in another language",
        "shows them, except after it has sent a key or a password, which they may repeat",
        ["messages in other languages"],
    ),
)
"""What the filer does for servers that cannot do everything."""


def limits() -> list[tuple[str, str]]:
    """Return the limits of the client, and their values."""
    seconds = f"{Hardware().timeout:g} s (`timeout` in `filer.toml`)"
    return [
        ("connecting and the TLS handshake, together", seconds),
        ("one request with its whole answer", seconds),
        (
            "time after which a request is sent only if the last one brought a new key pair",
            f"{exchange._PATIENCE} timeouts",
        ),
        ("time after which no request is sent", f"{exchange._LONGEST} timeouts"),
        ("items in a request", f"{abilities.ITEMS_AT_ONCE}"),
        ("an answer", _size(requests.MAXIMUM_ANSWER)),
        ("identifiers in a list", f"{searches._MOST_LOCATED}"),
        (
            "identifiers requested at once, if the whole list is too large",
            f"{searches._LONGEST_PAGE}, then fewer",
        ),
        ("key IDs of disks located by name before the list", f"{conversation._NAMES_FIRST}"),
        ("an identifier", f"{answers._MAXIMUM_IDENTIFIER} bytes"),
        ("a secret", f"{objects._MAXIMUM_KEY} bytes"),
        ("key pairs of one system, by `rekey`", f"{CREATION_LIMIT}"),
    ]


def _size(count: int) -> str:
    return f"{count // 1024 // 1024} MiB"


def _rows(rows: Iterable[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def _code(lines: Iterable[str]) -> str:
    return "<br>".join(
        f"{'adds' if line.startswith('+') else 'lacks'} `{line[2:]}`" for line in lines
    )


def tables(
    commands: Mapping[str, Sequence[str]], written: Sequence[str], read: Sequence[str]
) -> dict[str, str]:
    """Return the rows of the generated tables by their headings.

    ``commands`` has the kinds of the requests of each command, ``written`` and ``read`` the names
    of attributes.
    """
    versions = [f"{major}.{minor}" for major, minor in requests.SPOKEN]
    published = {
        kind: f"{case}, request {place + 1}" for kind, (case, place) in COUNTERPARTS.items()
    }
    only_ours = [Difference(kind, [], reason) for kind, reason in ONLY_OURS.items()]
    return {
        "Versions": _rows([(", ".join(versions),)]),
        "Operations": _rows(
            (kind, purpose, published.get(kind, "-")) for kind, purpose in PURPOSES.items()
        ),
        "Commands": _rows((command, ", ".join(of)) for command, of in commands.items()),
        "Attributes": _rows(
            (name, value, _yes(name in written), _yes(name in read))
            for name, value in ATTRIBUTES.items()
        ),
        "Limits": _rows(limits()),
        "Fallbacks": _rows((each.server, each.filer) for each in FALLBACKS),
        "Differences from the profile": _rows(
            (each.kind, _code(each.lines) or "not in the published cases", each.reason)
            for each in (*DIFFERENCES, *only_ours)
        ),
    }


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def record(rows: Mapping[str, str]) -> bool:
    """Write the tables to the file; return whether it was already up to date."""
    return documents.record(FILE, lambda text: documents.with_tables(text, rows))
