"""Checks of sizes: batches, long answers, long requests."""

from filer.kmip.failure import KeyServerFailure
from filer.kmip.messages import enums
from filer.kmip.requests import get_attributes, locate_all
from filer.kmip.ttlv import STRUCTURE, Element
from filer.qualify.outcome import (
    BLOCKER,
    INFORMATION,
    WARNING,
    NotTested,
    Problem,
    Statements,
    check,
)
from filer.qualify.server import Server
from filer.throw_away.message import Answer, Raw, Reason, Tags, protocol_version
from filer.throw_away.objects import GONE

_SIZES = (2, 16, 64, 256, 1024)
_CONTINUES = 3
_SMALL_ANSWER = 2048
_REQUESTS = (("40 KB", 1024), ("160 KB", 4096))


@check(BLOCKER, "register-read-back")
def batches(server: Server) -> Statements:
    """Several items in one request

    Get Attributes of 1 pair, then of 2, 16, 64, 256 and 1,024 in one request, and of two pairs with
    an unknown identifier between them. Passes if one item is answered. The largest size is
    reported, and it is information if the option Continue is not honoured.

    A filer reads 128 keys in two or three requests if it can, and falls back to single items, which
    takes longer.
    """
    sizes = [each for each in (1, *_SIZES) if each <= server.settings.scale.batch]
    identifiers = [each.identifier for each in server.own.populate(max(2, len(server.own.crowd)))]
    items = [get_attributes(identifiers[each % len(identifiers)]) for each in range(sizes[-1])]
    largest = 0
    for size in sizes:
        try:
            answer = server.ask(*items[:size])
        except KeyServerFailure as failure:
            reason = failure.reason
            break
        found = [item for item in answer.in_order(size) if item is not None and item.succeeded]
        if len(found) != size:
            reason = _refusal(answer)
            break
        largest = size
    if largest == 0:
        yield Problem(BLOCKER, f"a request with one item is refused: {reason}")
        return
    yield f"{largest} in one request" + ("" if largest == size else f" (more: {reason})")
    if largest < _CONTINUES:
        return
    unknown = get_attributes("no-such-object-of-filer-qualify")
    try:
        three = server.ask(items[0], unknown, items[1]).in_order(_CONTINUES)
    except KeyServerFailure as failure:
        yield Problem(INFORMATION, f"an unknown identifier among others: {failure.reason}")
        return
    first, middle, last = three
    if first and last and first.succeeded and last.succeeded and middle and not middle.succeeded:
        yield "the items after a refused one are carried out"
        if not middle.refused_with(*GONE):
            yield f"an unknown identifier is refused: {middle.outcome()}"
    else:
        yield Problem(INFORMATION, "the items around an unknown identifier are not all answered")


def _refusal(answer: Answer) -> str:
    refused = [item.outcome() for item in answer.items if not item.succeeded]
    return refused[0] if refused else f"{len(answer.items)} answers"


@check(WARNING, "register-read-back")
def response_limit(server: Server) -> Statements:
    """An answer that would be too long is refused

    A Locate of all Secret Data beside many pairs, with a Maximum Response Size of 2 KiB. Passes if
    it is refused with Response Too Large, for the whole request or for its item, or if the answer
    is cut to that size.

    A filer bounds what it reads, so that a server cannot exhaust its memory. It then asks for less.
    """
    server.own.populate(max(len(server.own.crowd), server.settings.scale.many))
    with server.line() as line:
        answer = line.ask(locate_all(), most=_SMALL_ANSWER)
    if answer.size > _SMALL_ANSWER:
        yield Problem(WARNING, f"the answer has {answer.size} bytes")
    elif any(item.refused_with(Reason.RESPONSE_TOO_LARGE) for item in answer.items):
        form = "the whole request" if answer.refusal else "the item"
        yield f"{form} is refused with Response Too Large"
    elif any(item.succeeded for item in answer.items):
        yield f"the answer is cut to {answer.size} bytes"
    else:
        yield Problem(WARNING, f"it is refused with another reason: {_refusal(answer)}")


@check(WARNING)
def request_limit(server: Server) -> Statements:
    """Long requests are accepted

    Discover Versions with a list of 1,024 versions (40 KB), then of 4,096 (160 KB). Passes if both
    are answered.

    A filer's requests have up to 1,024 items, about 160 KB. If the server takes less, the filer
    halves them, which takes longer.
    """
    for words, count in _REQUESTS:
        numbers = (protocol_version(divmod(each + 10, 10)) for each in range(count))
        payload = b"".join(each.encoding() for each in numbers)
        request = Element(Tags.REQUEST_PAYLOAD.value, STRUCTURE, payload)
        with server.line() as line:
            try:
                answer = line.ask(Raw(enums.Operation.DISCOVER_VERSIONS, request))
            except KeyServerFailure as failure:
                yield Problem(WARNING, f"a request of {words}: {failure.reason}")
                return
        item = answer.items[0] if answer.items else None
        if item is not None and item.refused_with(Reason.OPERATION_NOT_SUPPORTED):
            raise NotTested("the server has no Discover Versions to be asked with")
        if item is None or not item.succeeded:
            yield Problem(WARNING, f"a request of {words} is refused: {_refusal(answer)}")
            return
        yield f"{words} is accepted"
