"""The test cases that the standard publishes for storage arrays with self-encrypting drives."""

from filer.keys.authentication_key import AuthenticationKey
from filer.keys.pair import KeyPair
from filer.kmip.failure import KeyServerFailure
from filer.kmip.requests import locate_name
from filer.qualify.message import Tags
from filer.qualify.oasis import cases
from filer.qualify.outcome import INFORMATION, NotTested, Problem, Statements, check
from filer.qualify.server import Server
from filer.qualify.throw_away import PUBLISHED_NAME

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
    if server.item(locate_name(PUBLISHED_NAME)).payload.all(Tags.UNIQUE_IDENTIFIER):
        raise NotTested(f"there is an object named {PUBLISHED_NAME} already")
    (entry,) = server.own.announce(KeyPair(PUBLISHED_NAME, _GROUP, AuthenticationKey(_SECRET)))
    names: dict[str, str] = {}
    for case in cases.CASES:
        with server.line() as line:
            for number, (request, expected) in enumerate(cases.read(case), 1):
                if any(name not in names for name in cases.placeholders(request)):
                    yield f"{case}, request {number}: not sent, since its object was not registered"
                    continue
                try:
                    answer = line.send(cases.encoded(request, names))
                except KeyServerFailure as failure:
                    yield Problem(INFORMATION, f"{case}, request {number}: {failure.reason}")
                    break
                names |= cases.learned(expected, answer)
                if names:
                    server.own.settle(entry, *names.values())
                differences = cases.differences(expected, answer, names)
                if differences:
                    words = "; ".join(differences[:4])
                    yield Problem(INFORMATION, f"{case}, request {number}: {words}")
                else:
                    yield f"{case}, request {number}: as published"
