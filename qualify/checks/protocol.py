"""Checks of the protocol: versions, capabilities, the form of requests, the clock."""

from collections.abc import Iterable
from datetime import UTC, datetime

from filer.kmip.messages import enums, payloads
from filer.kmip.requests import SPOKEN, Version, discover_versions
from filer.qualify.outcome import (
    BLOCKER,
    WARNING,
    NotTested,
    Problem,
    Statements,
    Stop,
    check,
)
from filer.qualify.server import Server
from filer.throw_away.line import understands, verified
from filer.throw_away.message import NEWER, Raw, Structure, Tags

_NEEDED = (
    enums.Operation.REGISTER,
    enums.Operation.LOCATE,
    enums.Operation.GET,
    enums.Operation.GET_ATTRIBUTES,
    enums.Operation.DESTROY,
)
_MOST_SECONDS_APART = 300


@check(BLOCKER)
def versions(server: Server) -> Statements:
    """The server speaks a version of KMIP that a filer speaks

    A Locate in each version from 1.0 to 2.1, then Discover Versions. Passes if one of 1.0 to 2.0 is
    answered.

    A filer prefers 1.4, and speaks 1.0 to 2.0. From 1.3 on, a long list of keys can be continued.
    """
    spoken = server.spoken
    if not set(SPOKEN) & set(spoken):
        reasons = dict.fromkeys(server.refusals[version] for version in SPOKEN)
        yield Problem(BLOCKER, f"none of {_words(SPOKEN)} is answered: {', '.join(reasons)}")
        if spoken:
            yield f"answers {_words(spoken)}"
        raise Stop("no version is in common")
    yield f"answers {_words(spoken)}"
    habits = server.habits
    if habits.closes:
        yield "closes the connection after each answer"
    if habits.greets:
        yield "wants Discover Versions first"
    item = server.item(discover_versions())
    if item.succeeded:
        listed = [Structure(each.value) for each in item.payload.all(Tags.PROTOCOL_VERSION)]
        numbers = [
            f"{each.number(Tags.PROTOCOL_VERSION_MAJOR)}.{each.number(Tags.PROTOCOL_VERSION_MINOR)}"
            for each in listed
        ]
        yield f"Discover Versions lists {', '.join(numbers) or 'none'}"
    else:
        yield f"Discover Versions is refused: {item.outcome()}"


def _words(versions: Iterable[Version]) -> str:
    known = sorted(set(versions) & {*SPOKEN, *NEWER})
    return "KMIP " + ", ".join(f"{major}.{minor}" for major, minor in known)


@check(BLOCKER)
def capabilities(server: Server) -> Statements:
    """The server lists the operations and the object type that a filer needs

    Query for operations, objects and server information. Passes if the lists have Register, Locate,
    Get, Get Attributes and Destroy, and Secret Data. An empty list says nothing, and passes.

    A filer stores each key as Secret Data, and cannot do without these operations.
    """
    functions = [
        enums.QueryFunction.QUERY_OPERATIONS,
        enums.QueryFunction.QUERY_OBJECTS,
        enums.QueryFunction.QUERY_SERVER_INFORMATION,
    ]
    item = server.item(Raw(enums.Operation.QUERY, payloads.QueryRequestPayload(functions)))
    if not item.succeeded:
        yield Problem(WARNING, f"Query is refused: {item.outcome()}")
        return
    operations = [int.from_bytes(each.value, "big") for each in item.payload.all(Tags.OPERATION)]
    kinds = [int.from_bytes(each.value, "big") for each in item.payload.all(Tags.OBJECT_TYPE)]
    yield f"lists {len(operations)} operations and {len(kinds)} object types"
    for needed in _NEEDED if operations else ():
        if needed.value not in operations:
            yield Problem(BLOCKER, f"it does not offer {needed.name.title().replace('_', ' ')}")
    if kinds and enums.ObjectType.SECRET_DATA.value not in kinds:
        yield Problem(BLOCKER, "it does not offer Secret Data")


@check(BLOCKER)
def single_item(server: Server) -> Statements:
    """A request with one item needs no batch fields

    A Locate with neither a Unique Batch Item ID nor a Batch Error Continuation Option, which the
    standard wants only in requests with several items. Passes if it is answered.

    A filer sends single items in this form, the only one that strict servers accept.
    """
    with server.line_with(verified(server.credentials()), server.habits.plain()) as line:
        answer = line.ask(server.unknown_name())
    if understands(answer):
        yield "answered"
    elif answer.items:
        yield Problem(BLOCKER, f"it is refused: {answer.items[0].outcome()}")
    else:
        yield Problem(BLOCKER, "the answer has no item")


@check(WARNING)
def clock(server: Server) -> Statements:
    """The server's clock is right

    The Time Stamp of an answer. Passes if it is within 5 minutes of this machine's clock.

    A wrong clock makes certificates expire early or late, and the dates in audit logs useless.
    """
    answer = server.ask(server.unknown_name())
    if answer.time is None:
        raise NotTested("its answers have no Time Stamp")
    apart = answer.time - server.now().timestamp()
    if abs(apart) > _MOST_SECONDS_APART:
        try:
            there = f"{datetime.fromtimestamp(answer.time, UTC):%F %T} UTC"
        except (OverflowError, ValueError, OSError):
            there = "no date at all"
        yield Problem(WARNING, f"it is {there} there, {server.now():%F %T} UTC here")
    else:
        yield f"{abs(apart):.0f} s apart"
