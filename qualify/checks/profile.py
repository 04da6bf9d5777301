"""The test cases that the standard publishes for storage arrays with self-encrypting drives."""

from filer.keys.authentication_key import AuthenticationKey
from filer.keys.pair import KeyPair
from filer.kmip.failure import KeyServerFailure
from filer.kmip.requests import get_attributes, locate_name
from filer.qualify.oasis import cases
from filer.qualify.outcome import INFORMATION, NotTested, Problem, Statements, check
from filer.qualify.server import Server
from filer.throw_away.message import Tags
from filer.throw_away.objects import attributes, names
from filer.throw_away.pairs import PUBLISHED_NAME

_GROUP, _SECRET = "SASED-M-2-14-group", b"*" * 32
_VERSION = (1, 4)


@check(INFORMATION)
def oasis_profile(server: Server) -> Statements:
    """The server passes the test cases of the standard

    The cases SASED-M-1, SASED-M-2 and SASED-M-3 of the OASIS profile, in KMIP 1.4, request by
    request as published. Passes if each answer has what the published one has.

    A filer follows this profile, without the custom attributes (x-) of its cases, which many
    servers refuse.
    """
    if _VERSION not in server.spoken:
        raise NotTested("the cases are for KMIP 1.4, which the server does not speak")
    if _is_there(server):
        raise NotTested(f"there is an object named {PUBLISHED_NAME} already")
    (entry,) = server.own.announce(KeyPair(PUBLISHED_NAME, _GROUP, AuthenticationKey(_SECRET)))
    known: dict[str, str] = {}
    for case in cases.CASES:
        with server.line() as line:
            for number, (request, expected) in enumerate(cases.read(case), 1):
                if any(name not in known for name in cases.placeholders(request)):
                    yield f"{case}, request {number}: not sent, since its object was not registered"
                    continue
                try:
                    with server.own.awaited([entry]):
                        answer = line.send(cases.encoded(request, known))
                except KeyServerFailure as failure:
                    yield Problem(INFORMATION, f"{case}, request {number}: {failure.reason}")
                    break
                known |= cases.learned(expected, answer)
                if known:
                    server.own.settle(entry, *known.values())
                differences = cases.differences(expected, answer, known)
                if differences:
                    words = "; ".join(differences[:4])
                    yield Problem(INFORMATION, f"{case}, request {number}: {words}")
                else:
                    yield f"{case}, request {number}: as published"


def _is_there(server: Server) -> bool:
    """Return whether there is an object of the published name; a server may match loosely."""
    located = server.item(locate_name(PUBLISHED_NAME)).payload.texts(Tags.UNIQUE_IDENTIFIER)
    answers = server.batches().ask([get_attributes(each) for each in located])
    return any(
        PUBLISHED_NAME in names(attributes(each.payload)) for each in answers if each is not None
    )
