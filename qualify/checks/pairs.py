"""Checks of what a pair looks like when it is read back."""

import string

from filer.keys.authentication_key import AuthenticationKey
from filer.keys.pair import KeyPair
from filer.kmip.failure import KeyServerFailure, PartlyRead
from filer.kmip.messages import enums
from filer.kmip.requests import get, get_attributes
from filer.kmip.ttlv import ENUMERATION, STRUCTURE, TEXT_STRING
from filer.qualify.outcome import BLOCKER, WARNING, Problem, Statements, check, shown
from filer.qualify.server import Server
from filer.throw_away import objects
from filer.throw_away.pairs import PARENT_TAG

_SHORT, _LONG = 20, 32
_ASKED = tuple(objects.TAGS.values())


@check(BLOCKER, "single-item")
def register_read_back(server: Server) -> Statements:
    """A pair is read back exactly as it was stored

    The filer's own client stores a pair (Register, Activate) and reads it as kmip_init does: Locate
    by Name, Locate of all, Get Attributes, Get. Passes if secret, Name and Object Group are equal;
    an Object Group that is refused is a warning.

    This is what a filer is for. It locks no disk with a key that it cannot read back.
    """
    pair = server.mint.pair()
    (entry,) = server.own.announce(pair)
    client = server.client(wanted=lambda key_id: key_id == pair.key_id)
    try:
        with server.own.awaited([entry]):
            server.own.settle(entry, client.store(pair, PARENT_TAG))
    except KeyServerFailure as failure:
        yield Problem(BLOCKER, f"it cannot be stored: {failure.reason}")
        return
    try:
        read = client.fetch([pair.key_id])
    except PartlyRead as partly:
        read = list(partly.pairs)
    except KeyServerFailure as failure:
        yield Problem(BLOCKER, f"it cannot be read: {failure.reason}")
        return
    if not read:
        reason = next(iter(client.unreadable.values()), "the server does not show it")
        yield Problem(BLOCKER, f"it cannot be read: {reason}")
    for each in read:
        yield from _differences(pair, each, takes_tags=server.own.form.key_tag)
    given_up = [name for name, kept in server.own.form._asdict().items() if not kept]
    without = f" without {', '.join(given_up).replace('_', ' ')}" if given_up else ""
    yield f"stored{without} and read"


def _differences(stored: KeyPair, read: KeyPair, *, takes_tags: bool) -> Statements:
    if read.key != stored.key:
        yield Problem(BLOCKER, "the secret that is read is another one than was stored")
    if read.key_id != stored.key_id:
        yield Problem(BLOCKER, f"the Name is read as {shown(read.key_id)}")
    if not takes_tags:
        yield Problem(WARNING, "it refuses the Object Group, so key tags are lost")
    elif read.tag != stored.tag:
        yield Problem(BLOCKER, f"the Object Group is read as {shown(read.tag)}")


@check(BLOCKER, "register-read-back")
def key_shapes(server: Server) -> Statements:
    """Secrets of 20 and 32 bytes with every printable character are kept unchanged

    Register and Get of secrets that together have all 95 printable ASCII characters, one with a
    blank at both ends. Passes if the bytes are equal.

    A passphrase has 20 to 32 of these characters. A single changed byte opens no disk.
    """
    characters = string.ascii_letters + string.digits + string.punctuation
    characters = " " + characters[: _LONG - 2] + " " + characters[_LONG - 2 :]
    secrets = [characters[start : start + _LONG] for start in range(0, len(characters), _LONG)]
    secrets = [each.ljust(_LONG, "~") for each in secrets] + [characters[-_SHORT:]]
    pairs = [server.mint.pair(secret=each.encode("ascii")) for each in secrets]
    for pair, identifier in zip(pairs, server.own.register(*pairs), strict=True):
        key = read_key(server, identifier)
        if key is None:
            yield Problem(BLOCKER, f"a secret of {len(pair.key.reveal())} bytes cannot be read")
        elif key != pair.key:
            yield Problem(BLOCKER, f"a secret of {len(pair.key.reveal())} bytes is changed")
    yield f"{len(pairs)} secrets of {_SHORT} and {_LONG} bytes"


def read_key(server: Server, identifier: str) -> AuthenticationKey | None:
    """Return the key of an object, or None if the server does not show it."""
    item = server.item(get(identifier))
    return objects.key(item.payload) if item.succeeded else None


@check(BLOCKER, "register-read-back")
def text_limits(server: Server) -> Statements:
    """Names and key tags are kept unchanged, whatever their length and case

    Register and Get Attributes of a pair with the longest key tag, 64 characters with punctuation,
    and of one whose Name has lower-case digits. Passes if the texts are equal.

    A filer finds a key by its Name, character by character.
    """
    tag = (string.punctuation + string.ascii_letters)[:64]
    longest = server.mint.pair(tag=tag)
    other = server.mint.pair()
    small = KeyPair(other.key_id.lower(), other.tag, other.key)
    for pair, identifier in zip((longest, small), server.own.register(longest, small), strict=True):
        found = objects.attributes(server.item(get_attributes(identifier)).payload)
        if pair.key_id not in objects.names(found):
            yield Problem(BLOCKER, f"a Name is read as {shown(', '.join(objects.names(found)))}")
        groups = [each.value.decode(errors="replace") for each in found.get(objects.GROUP, ())]
        if pair.tag not in groups and server.own.form.key_tag:
            yield Problem(BLOCKER, f"a key tag is read as {shown(', '.join(groups))}")
    yield "a Name of 64 characters in either case, and a key tag of 64"


@check(WARNING, "register-read-back")
def attributes(server: Server) -> Statements:
    """The attributes that a filer asks for are all readable

    Get Attributes for Name, Object Group, State, Object Type and Application Specific Information.
    Passes if each that is answered has the type that the standard gives it, and State and Object
    Type are right; further attributes are listed.

    A filer recognises a key pair by these attributes, and names one that it cannot read in a
    warning.
    """
    pair = server.mint.pair()
    (identifier,) = server.own.register(pair)
    item = server.item(objects.get_five(identifier, server.habits.version))
    if not item.succeeded:
        yield Problem(WARNING, f"Get Attributes is refused: {item.outcome()}")
        return
    given_up = [objects.APPLICATION]
    if not server.own.form.key_tag:
        given_up.append(objects.GROUP)
    found = objects.attributes(item.payload)
    types = (STRUCTURE, TEXT_STRING, ENUMERATION, ENUMERATION, STRUCTURE)
    for name, kind in zip(_ASKED, types, strict=True):
        values = found.get(name, [])
        if any(each.type != kind for each in values):
            yield Problem(WARNING, f"{name} has another type than the standard says")
        elif not values and name not in given_up:
            yield Problem(WARNING, f"{name} is missing")
        elif not values:
            yield f"{name} is not kept"
    if found.get(objects.STATE) and objects.state(found) is None:
        yield Problem(WARNING, "State has a value that the standard does not have")
    kind_of_object = objects.number_of(found, objects.TYPE)
    if kind_of_object not in (None, enums.ObjectType.SECRET_DATA.value):
        yield Problem(WARNING, "Object Type is not Secret Data")
    if extra := [shown(name) for name in found if name not in _ASKED]:
        yield f"attributes that were not asked for: {', '.join(extra)}"
    yield f"{len(found)} attributes"
