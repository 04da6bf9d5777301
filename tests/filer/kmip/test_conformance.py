"""The requests of a filer, recorded by a key server, compared with those that OASIS published.

The published ones are the test cases SASED-M-1 to 3 of the profile *Storage Array with
Self-Encrypting Drives*. `tests.kit.kmip_document` lists every difference with its reason;
docs/KMIP.md is generated from it, and from what is recorded here.
"""

import difflib
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import cast

import pytest

from filer.keys.authentication_key import AuthenticationKey
from filer.keyserver.server import KeyServer
from filer.kmip.client import KmipClient
from filer.kmip.login import Login, Password
from filer.kmip.requests import Form
from tests.filer.kmip.test_negotiation import HABITS, client_of
from tests.kit import choosy, kmip_document, wire
from tests.kit.choosy import ChoosyServer, Habits
from tests.kit.house import House
from tests.kit.kmip_document import COUNTERPARTS, DIFFERENCES, EVERY, FALLBACKS, ONLY_OURS
from tests.kit.pairs import PARENT_TAG, new_pair
from tests.kit.wire import Field, Request

SETUP = ("127.0.0.2", "q", "", "yes", "yes", "yes", "yes")
TAKEN_BACK = "`key_manager rekey`, refused by another key server"


class Recording:
    """The requests that a key server receives, by what caused them."""

    def __init__(self) -> None:
        self.steps: dict[str, list[Request]] = {}

    def of(self, step: str, server: ChoosyServer, cause: Callable[[], object]) -> None:
        """Record the requests to ``server`` while ``cause`` runs."""
        before = len(server.requests)
        cause()
        self.steps[step] = list(map(Request.from_ttlv, server.requests[before:]))

    def __iter__(self) -> Iterator[Request]:
        return (request for requests in self.steps.values() for request in requests)


@pytest.fixture(scope="module")
def recording(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Return the requests of a filer, and of a client of servers that need special ones."""
    directory = shutil.copytree(authority, tmp_path_factory.mktemp("servers") / "files")
    found = Recording()
    with ExitStack() as running:
        first = running.enter_context(choosy.start(directory, "127.0.0.2", Habits()))
        other = running.enter_context(
            choosy.start(directory, "127.0.0.3", Habits(formats=()), first.port)
        )
        servers = cast(list[KeyServer], [first, other])
        root = tmp_path_factory.mktemp("filer") / "root"
        house = running.enter_context(House.build(root, servers, timeout=60.0))
        _record_commands(found, house, first)
    _record_special(found, directory)
    return found


def _record_commands(found: Recording, house: House, server: ChoosyServer) -> None:
    for line, answers in (
        ("key_manager setup", SETUP),
        ("key_manager status", ()),
        ("key_manager query", ()),
        ("key_manager rekey", ()),
    ):
        found.of(f"`{line}`", server, partial(house.must, line, *answers))
    found.of("boot", server, house.boot)
    restore = "key_manager restore -all"
    found.of(f"`{restore}`", server, partial(house.must, restore))
    house.must("key_manager add -key_server 127.0.0.3")
    held = set(server.objects)
    found.of(TAKEN_BACK, server, lambda: house.run("key_manager rekey"))
    assert set(server.objects) == held


def _record_special(found: Recording, directory: Path) -> None:
    login = Login("storage", Password(os.urandom(8).hex().encode()))
    credential = (login.user, login.password.reveal().decode())
    for habits in (
        Habits(login=credential),
        Habits(page=2),
        Habits(answer_size=700, counts=False),
        Habits(filters=()),
    ):
        with choosy.start(directory, "127.0.0.2", habits) as server:
            client = client_of(server, login if habits.login else None)
            found.of(f"{habits}", server, partial(_store_and_fetch, client))


def _store_and_fetch(client: KmipClient) -> None:
    pairs = [new_pair() for _ in range(40)]
    for pair in pairs:
        client.store(pair, PARENT_TAG)
    assert len(client.fetch()) == len(pairs)


def kind_of(item: Field) -> str:
    operation = item.get("Operation") or ""
    if operation != "Locate":
        return operation
    is_by_name = any(" Name NameValue " in f" {line} " for line in wire.item_lines(item))
    return "Locate by name" if is_by_name else "Locate all"


def differences(published: Sequence[str], ours: Sequence[str]) -> set[str]:
    return {line for line in difflib.ndiff(published, ours) if line[0] in "+-"}


def listed(kind: str) -> set[str]:
    return {line for each in DIFFERENCES if each.kind == kind for line in each.lines}


def test_each_request_differs_from_the_published_one_only_as_listed(recording: Recording) -> None:
    published = wire.published()
    seen: dict[str, set[str]] = {kind: set() for kind in (EVERY, *COUNTERPARTS)}
    (usual,) = {tuple(each.envelope()) for requests in published.values() for each in requests}
    for request in recording:
        seen[EVERY] |= differences(usual, request.envelope())
        assert request.header.get("BatchCount") == str(len(request.items))
        for item in request.items:
            kind = kind_of(item)
            if kind in ONLY_OURS:
                continue
            case, place = COUNTERPARTS[kind]
            (of_profile,) = published[case][place].items
            seen[kind] |= differences(wire.item_lines(of_profile), wire.item_lines(item))
    assert seen == {kind: listed(kind) for kind in seen}


def test_each_published_request_is_sent(recording: Recording) -> None:
    places = {
        (case, place)
        for case, requests in wire.published().items()
        for place, _ in enumerate(requests)
    }
    assert places == {*COUNTERPARTS.values()} | kmip_document.REPEATED
    sent = {kind_of(item) for request in recording for item in request.items}
    assert sent == {*COUNTERPARTS, *ONLY_OURS}
    assert sent == set(kmip_document.PURPOSES)


def test_the_key_material_is_the_passphrase_itself(authority: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(authority, tmp_path / "files")
    with choosy.start(directory, "127.0.0.2", Habits()) as server:
        pair = new_pair()._replace(key=AuthenticationKey(b"Aa1!" * 5))
        client_of(server).store(pair, PARENT_TAG)
        sent = list(map(Request.from_ttlv, server.requests))
    (registered,) = (item for each in sent for item in each.items if kind_of(item) == "Register")
    payload = next(each for each in registered.fields if each.name == "RequestPayload")
    secret = next(each for each in payload.fields if each.name == "SecretData")
    material = secret.fields[1].fields[1].get("KeyMaterial")
    assert material == pair.key.reveal().hex()


def test_the_document_lists_what_is_sent(recording: Recording) -> None:
    written, read = Counter[str](), Counter[str]()
    for request in recording:
        for item in request.items:
            for line in wire.item_lines(item):
                path, _, value = line.partition(" = ")
                if path.startswith("RequestPayload TemplateAttribute "):
                    (name,) = (each for each in kmip_document.ATTRIBUTES if f" {each}" in path)
                    written[name] += 1
                if path == "RequestPayload AttributeName":
                    read[value] += 1
    assert written.keys() | read.keys() == kmip_document.ATTRIBUTES.keys()
    commands = {
        step: [
            kind for kind, _ in groupby(kind_of(item) for each in requests for item in each.items)
        ]
        for step, requests in recording.steps.items()
        if not step.startswith("Habits")
    }
    tables = kmip_document.tables(commands, [*written], [*read])
    assert kmip_document.record(tables), "docs/KMIP.md was wrong; review the difference, commit it"


def test_the_document_lists_each_fallback() -> None:
    described = {habit for each in FALLBACKS for habit in each.habits}
    assert described == {
        name for name in HABITS if name != "everything" and not name.startswith("only KMIP ")
    }
    assert {each.form for each in FALLBACKS} == {"", *Form._fields}
