"""Checks of Locate."""

from filer.keys.pair import KeyPair
from filer.kmip.messages import AttributeFactory, SecretFactory, enums, objects, payloads
from filer.kmip.requests import Item, locate_all, locate_name
from filer.qualify.outcome import BLOCKER, WARNING, Problem, Statements, check
from filer.qualify.server import Server
from filer.throw_away.line import Line
from filer.throw_away.message import AnswerItem, Raw, Reason, Tags
from filer.throw_away.pairs import TAG

_PAGES = (1024, 256, 64, 16, 4)
_WITH_OFFSET = ((1, 3), (1, 4), (2, 0))


@check(WARNING)
def empty_locate(server: Server) -> Statements:
    """A search that finds nothing succeeds with an empty list

    A Locate for a Name that is not there. Passes if it succeeds without identifiers.

    A filer accepts "item not found" as an empty list too; other programs do not.
    """
    item = server.item(server.unknown_name())
    if item.succeeded:
        yield f"success, {len(item.payload.all(Tags.UNIQUE_IDENTIFIER))} identifiers"
    else:
        yield Problem(WARNING, f"refused: {item.outcome()}")


def _located(item: AnswerItem) -> set[str]:
    return set(item.payload.texts(Tags.UNIQUE_IDENTIFIER))


def _locate(**wanted: object) -> Raw:
    factory = AttributeFactory()
    attributes = [
        factory.create_attribute(enums.AttributeType[name.upper()], value)
        for name, value in wanted.items()
    ]
    return Raw(enums.Operation.LOCATE, payloads.LocateRequestPayload(attributes=attributes))


@check(WARNING, "register-read-back")
def filters(server: Server) -> Statements:
    """A search finds exactly what was searched for

    Locate by Name, by Object Group and by Object Type, each with a decoy beside: a Name with
    another last digit, another Object Group, and a symmetric key. Passes if the pair is found and
    the decoy is not.

    A filer checks every object that it is given, so a server that finds too much only costs time.
    One that finds too little hides a key.
    """
    pair, group_decoy = server.mint.pair(), server.mint.pair(tag=f"{TAG}-2")
    last = "0" if pair.key_id[-1] != "0" else "1"
    name_decoy = KeyPair(pair.key_id[:-1] + last, TAG, server.mint.pair().key)
    first, by_name, by_group = server.own.register(pair, name_decoy, group_decoy)
    yield from _exact(server, "Name", locate_name(pair.key_id), first, by_name)
    if server.own.form.key_tag:
        yield from _exact(server, "Object Group", _locate(object_group=TAG), first, by_group)
    key_pair = server.mint.pair()
    answer = server.own.send(key_pair, _symmetric_key(key_pair))
    if not (answer.items and answer.items[0].succeeded):
        yield "Object Type is not tried: the server does not take symmetric keys"
        return
    secret_data = _locate(object_type=enums.ObjectType.SECRET_DATA)
    yield from _exact(server, "Object Type", secret_data, first, answer.items[0].identifier)


def _exact(server: Server, by: str, item: Item | Raw, wanted: str, decoy: str) -> Statements:
    outcome = server.item(item)
    if not outcome.succeeded:
        yield Problem(WARNING, f"Locate by {by} is refused: {outcome.outcome()}")
        return
    found = _located(outcome)
    if wanted not in found and not _is_capped(outcome, found):
        yield Problem(WARNING, f"Locate by {by} does not find the pair")
    if decoy in found:
        yield Problem(WARNING, f"Locate by {by} finds another object too")
    else:
        yield f"Locate by {by} is exact"


def _is_capped(outcome: AnswerItem, found: set[str]) -> bool:
    return (outcome.payload.number(Tags.LOCATED_ITEMS) or 0) > len(found)


def _symmetric_key(pair: KeyPair) -> Raw:
    secret = pair.key.reveal()
    of = AttributeFactory().create_attribute
    mask = [enums.CryptographicUsageMask.ENCRYPT, enums.CryptographicUsageMask.DECRYPT]
    template = objects.TemplateAttribute(
        attributes=[
            of(enums.AttributeType.NAME, pair.key_id),
            of(enums.AttributeType.OBJECT_GROUP, pair.tag),
            of(enums.AttributeType.CRYPTOGRAPHIC_USAGE_MASK, mask),
        ]
    )
    key = SecretFactory().create(
        enums.ObjectType.SYMMETRIC_KEY,
        {
            "key_format_type": enums.KeyFormatType.RAW,
            "key_value": secret,
            "cryptographic_algorithm": enums.CryptographicAlgorithm.AES,
            "cryptographic_length": 8 * len(secret),
        },
    )
    payload = payloads.RegisterRequestPayload(enums.ObjectType.SYMMETRIC_KEY, template, key)
    return Raw(enums.Operation.REGISTER, payload)


@check(BLOCKER, "register-read-back")
def locate_complete(server: Server) -> Statements:
    """A list of keys is complete, or says that it is not

    Locate of all Secret Data beside 129 pairs, then beside 1,001. Passes if all are listed, if
    Located Items says that there are more, or if Offset continues the list.

    A list that is cut short without a word looks like one that is complete: restore would take the
    missing keys for destroyed ones.
    """
    for size in (server.settings.scale.few, server.settings.scale.many):
        wanted = {each.identifier for each in server.own.populate(size)}
        with server.line() as line:
            yield from _complete(line, server, size, wanted)


def _complete(line: Line, server: Server, size: int, wanted: set[str]) -> Statements:
    page, most = _first_page(line)
    if page is None or not page.succeeded:
        reason = page.outcome() if page is not None else "no answer"
        yield Problem(BLOCKER, f"with {size} pairs: Locate is refused: {reason}")
        return
    found = _located(page)
    total = page.payload.number(Tags.LOCATED_ITEMS)
    if wanted <= found:
        yield f"with {size} pairs: all are listed at once"
        return
    first = len(found)
    while server.habits.version in _WITH_OFFSET and not wanted <= found:
        page = _page(line, len(found), most)
        new = _located(page) - found if page is not None and page.succeeded else set()
        if not new:
            break
        found |= new
    if wanted <= found:
        yield f"with {size} pairs: {first} are listed at once, the others with Offset"
    elif total is not None and total > first:
        yield f"with {size} pairs: {first} are listed, of {total} as Located Items says"
    elif most is not None:
        yield Problem(BLOCKER, f"with {size} pairs: the list is too large, and has no Offset")
    else:
        yield Problem(
            BLOCKER, f"with {size} pairs: {len(wanted - found)} are left out without a word"
        )


def _first_page(line: Line) -> tuple[AnswerItem | None, int | None]:
    """Return the answer to a Locate of all, or of as many as fit in an answer, and that number."""
    for most in (None, *_PAGES):
        page = _page(line, 0, most)
        if page is None or not page.refused_with(Reason.RESPONSE_TOO_LARGE):
            break
    return page, most


def _page(line: Line, offset: int, most: int | None) -> AnswerItem | None:
    answer = line.ask(locate_all(offset, most=most))
    return answer.items[0] if len(answer.items) == 1 else None
