"""Answers with more objects, attributes or fields than a filer stores."""

import os
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import pytest

from filer.boot.machine import Panic
from filer.keys.authentication_key import AuthenticationKey
from filer.keys.pair import KeyPair
from filer.kmip.failure import KeyServerFailure, PartlyRead
from filer.kmip.ttlv import Element, elements, structure
from filer.shell.session import FAILED
from tests.kit import faulty, hostile
from tests.kit.faulty import FaultyKeyServer, seen_through
from tests.kit.hostile import Answer, Meddle
from tests.kit.house import House, Told

servers, server, house = faulty.servers(1), faulty.server, faulty.locked

ADDRESS = "127.0.0.2"
ATTRIBUTE, ATTRIBUTE_NAME, ATTRIBUTE_INDEX, ATTRIBUTE_VALUE = 0x420008, 0x42000A, 0x420009, 0x42000B
KEY_BLOCK, KEY_VALUE, KEY_MATERIAL = 0x420040, 0x420045, 0x420043
KEY_WRAPPING_DATA, KEY_COMPRESSION_TYPE = 0x420046, 0x420041
OBJECT_TYPE, KEY_FORMAT_TYPE, SECRET_DATA_TYPE = 0x420057, 0x420042, 0x420086
NUMBER = struct.pack("!I", 5)
UNUSABLE = "it holds no usable key pair"


def attribute(name: bytes, kind: int, value: bytes) -> Element:
    parts = [
        Element(ATTRIBUTE_NAME, hostile.TEXT, name),
        Element(ATTRIBUTE_VALUE, kind, value),
    ]
    return Element(ATTRIBUTE, 1, b"".join(part.encoding() for part in parts))


def nested(depth: int) -> bytes:
    value = b""
    for _ in range(depth):
        value = Element(ATTRIBUTE_VALUE, 1, value).encoding()
    return value


LINK = structure(0x42004A, [Element(0x42004B, 5, NUMBER), Element(0x42004C, 7, b"another")])
EXTRA: dict[str, list[Element]] = {
    "an integer": [attribute(b"x-Number", 2, NUMBER)],
    "a long integer": [attribute(b"x-Long", 3, bytes(8))],
    "a big integer": [attribute(b"x-Big", 4, b"\xff" * 64)],
    "an enumeration that KMIP lacks": [attribute(b"x-Enumeration", 5, b"\x80\0\0\1")],
    "a boolean": [attribute(b"Fresh", 6, bytes(8))],
    "text beyond ASCII": [attribute(b"x-Kommentar", 7, "Schlüssel für Regal 鍵".encode())],
    "text that is not UTF-8": [attribute(b"x-Text", 7, b"\xff\xfe\x1b[2J")],
    "a name that is not UTF-8": [attribute(b"\xff\xfe", 7, b"x")],
    "bytes": [attribute(b"x-Bytes", 8, b"\0" * 5)],
    "a date": [attribute(b"Initial Date", 9, bytes(8))],
    "an interval": [attribute(b"Lease Time", 10, NUMBER)],
    "a date of KMIP 2.0": [attribute(b"x-Date", 11, bytes(8))],
    "a link": [attribute(b"Link", 1, LINK[8:])],
    "an alternative name": [
        attribute(
            b"Alternative Name",
            1,
            Element(0x4200BF, 7, b"a").encoding() + Element(0x4200C0, 5, NUMBER).encoding(),
        )
    ],
    "a structure in a hundred others": [attribute(b"x-Structure", 1, nested(100))],
    "an attribute of the right name in the wrong case": [attribute(b"name", 7, b"A" * 64)],
    "an attribute without a value": [
        Element(ATTRIBUTE, 1, Element(ATTRIBUTE_NAME, 7, b"x-Empty").encoding())
    ],
    "an attribute without a name": [
        Element(ATTRIBUTE, 1, Element(ATTRIBUTE_VALUE, 7, b"x").encoding())
    ],
    "an attribute with two names": [
        Element(ATTRIBUTE, 1, Element(ATTRIBUTE_NAME, 7, b"Name").encoding() * 2)
    ],
    "an attribute that is no structure": [Element(ATTRIBUTE, 7, b"x")],
    "an element that KMIP lacks": [Element(0x54FFFF, 1, Element(0x54FFFE, 9, bytes(8)).encoding())],
    "a state that KMIP lacks": [attribute(b"State", 5, b"\x80\0\0\1")],
    "a state that is text": [attribute(b"State", 7, b"active")],
    "a second name": [
        attribute(
            b"Name",
            1,
            Element(0x420055, 7, "Schlüssel".encode()).encoding()
            + Element(0x420054, 5, NUMBER).encoding(),
        )
    ],
    "a name that is a number": [attribute(b"Name", 2, NUMBER)],
    "a group that is a number": [attribute(b"Object Group", 2, NUMBER)],
    "information of another kind": [attribute(b"Application Specific Information", 7, b"x")],
    "many": [attribute(b"x-%d" % number, 2, NUMBER) for number in range(2000)],
}


def with_attributes(*extra: Element) -> Meddle:
    """Return a meddler that adds attributes at the start of each Get Attributes answer."""

    def add(element: Element) -> Element:
        if element.tag != hostile.RESPONSE_PAYLOAD:
            return element
        identifier, *rest = elements(element.value)
        parts = [identifier, *extra, *rest]
        return Element(element.tag, 1, b"".join(part.encoding() for part in parts))

    def meddle(answer: Answer, _: bytes) -> Answer:
        for item in answer.items:
            if hostile.operation_of(item) == hostile.GET_ATTRIBUTES:
                item[:] = [add(each) for each in item]
        return answer

    return meddle


def test_what_was_not_asked_for_hides_no_key_pair(house: House, server: FaultyKeyServer) -> None:
    (client,) = house.filer.key_servers().servers.values()
    before = client.fetch()
    assert len(before) == 1
    for what, extra in EXTRA.items():
        with hostile.proxy(server, with_attributes(*extra)) as proxy:
            client.port = proxy.port
            assert client.fetch() == before, what
        assert client.unreadable == {}, what


def test_all_of_it_changes_no_command(house: House, server: FaultyKeyServer) -> None:
    everything = [each for extra in EXTRA.values() for each in extra]
    with seen_through(house, server, with_attributes(*everything)):
        new = house.rekey()
        told = house.boot()
        assert told.warnings == []
        result = house.must("key_manager query")
        assert result.warnings == []
        assert f"Key server {ADDRESS} reports 2 keys." in result.shown
        house.must("key_manager restore -all")
    assert house.key_ids == [new] * 4
    assert not any(disk.locked for disk in house.disks)


def renaming(prefix: str) -> tuple[Meddle, Callable[[bytes], bytes]]:
    """Return ``meddle`` and ``ask`` of a proxy whose server puts a prefix before identifiers."""
    added = prefix.encode()

    def renamed(parts: Sequence[Element], change: Callable[[bytes], bytes]) -> list[Element]:
        found = []
        for each in parts:
            value = each.value
            if each.type == 1:
                inner = renamed(list(elements(value)), change)
                value = b"".join(part.encoding() for part in inner)
            elif each.tag == hostile.UNIQUE_IDENTIFIER:
                value = change(value)
            found.append(Element(each.tag, each.type, value))
        return found

    def meddle(answer: Answer, _: bytes) -> Answer:
        items = [renamed(item, lambda value: added + value) for item in answer.items]
        return Answer(answer.header, items)

    def ask(request: bytes) -> bytes:
        asked = renamed(list(elements(request)), lambda value: value.removeprefix(added))
        return b"".join(each.encoding() for each in asked)

    return meddle, ask


@pytest.mark.parametrize("prefix", ["schlüssel-", "鍵 ", "u" * 1020, "🔑"])
def test_every_command_works_with_identifiers_of_any_text(
    prefix: str, house: House, server: FaultyKeyServer
) -> None:
    meddle, ask = renaming(prefix)
    with hostile.proxy(server, meddle, ask=ask) as proxy:
        house.set(port=proxy.port)
        old = set(house.key_ids)
        new = house.rekey()
        told = house.boot()
        assert told.warnings == []
        result = house.must("key_manager query")
        assert result.warnings == []
        assert f"Key server {ADDRESS} reports 2 keys." in result.shown
        assert house.must("key_manager restore -all").warnings == []
        (client,) = house.filer.key_servers().servers.values()
        assert client.take_back(new, house.secret(new))
        assert set(faulty.stored_key_ids(server)) == old
    assert house.key_ids == [new] * 4


def with_attribute(name: bytes, change: Callable[[Element], list[Element]]) -> Meddle:
    """Return a meddler that replaces an attribute in each Get Attributes answer."""

    def replace(element: Element) -> list[Element]:
        return change(element) if attribute_name(element) == name else [element]

    def attribute_name(element: Element) -> bytes | None:
        parts = elements(element.value) if element.tag == ATTRIBUTE else ()
        return next((each.value for each in parts if each.tag == ATTRIBUTE_NAME), None)

    def meddle(answer: Answer, _: bytes) -> Answer:
        for item in answer.items:
            if hostile.operation_of(item) == hostile.GET_ATTRIBUTES:
                (payload,) = (each for each in item if each.tag == hostile.RESPONSE_PAYLOAD)
                changed = [new for each in elements(payload.value) for new in replace(each)]
                value = b"".join(each.encoding() for each in changed)
                item[item.index(payload)] = Element(payload.tag, 1, value)
        return answer

    return meddle


def with_parts(element: Element, tags: Sequence[int]) -> Element:
    """Return a structure with the parts that have ``tags``, in that order."""
    parts = {each.tag: each for each in elements(element.value)}
    return Element(element.tag, 1, b"".join(parts[tag].encoding() for tag in tags))


def replacing(tag: int, value: bytes, operation: int = hostile.GET) -> Meddle:
    return lambda answer, _: answer.replace(tag, value, operation)


FORMS: dict[str, Meddle] = {
    "the object type is text": with_attribute(
        b"Object Type", lambda _: [attribute(b"Object Type", 7, b"Secret Data")]
    ),
    "there is no object type": with_attribute(b"Object Type", lambda _: []),
    "the state is text": with_attribute(b"State", lambda _: [attribute(b"State", 7, b"Active")]),
    "the group has another type": with_attribute(
        b"Object Group", lambda each: [attribute(b"Object Group", 8, b"\xff"), each]
    ),
    "the name has an unknown type": replacing(0x420054, b"\x80\0\0\1", hostile.GET_ATTRIBUTES),
    "its value comes first": with_attribute(
        b"Name", lambda each: [with_parts(each, [ATTRIBUTE_VALUE, ATTRIBUTE_NAME])]
    ),
}


def test_a_key_pair_is_read_in_every_form(house: House, server: FaultyKeyServer) -> None:
    (client,) = house.filer.key_servers().servers.values()
    before = client.fetch()
    for form, meddle in FORMS.items():
        with hostile.proxy(server, meddle) as proxy:
            client.port = proxy.port
            assert client.fetch() == before, form
        assert client.unreadable == {}, form


NAMELESS: dict[str, Meddle] = {
    "without a value": with_attribute(b"Name", lambda each: [with_parts(each, [ATTRIBUTE_NAME])]),
    "with two values": with_attribute(
        b"Name",
        lambda each: [with_parts(each, [ATTRIBUTE_NAME, ATTRIBUTE_VALUE, ATTRIBUTE_VALUE])],
    ),
    "as text": with_attribute(b"Name", lambda _: [attribute(b"Name", 7, b"A" * 64)]),
    "as an empty structure": with_attribute(b"Name", lambda _: [attribute(b"Name", 1, b"")]),
    "not in UTF-8": replacing(hostile.NAME_VALUE, b"\xff", hostile.GET_ATTRIBUTES),
}


def test_an_object_whose_name_cannot_be_read_is_named(
    house: House, server: FaultyKeyServer
) -> None:
    for name, meddle in NAMELESS.items():
        with seen_through(house, server, meddle):
            warnings = house.must("key_manager query").warnings
        expected = [f"WARNING: key server {ADDRESS}: cannot read object 1: {UNUSABLE}"]
        assert warnings == expected, name


# Unreadable objects


def in_key_block(*extra: Element) -> Meddle:
    """Return a meddler that adds elements to the key block of each Get answer."""

    def add(element: Element) -> Element:
        if element.type != 1:
            return element
        inner = [add(each) for each in elements(element.value)]
        if element.tag == KEY_BLOCK:
            inner += extra
        return Element(element.tag, 1, b"".join(each.encoding() for each in inner))

    return only_of_get(lambda item: [add(each) for each in item])


def only_of_get(change: Callable[[list[Element]], list[Element]]) -> Meddle:
    def meddle(answer: Answer, _: bytes) -> Answer:
        for item in answer.items:
            if hostile.operation_of(item) == hostile.GET:
                item[:] = change(item)
        return answer

    return meddle


def failing(operation: int, reason: int) -> Meddle:
    """Return a meddler that refuses ``operation`` for every object."""

    def meddle(answer: Answer, _: bytes) -> Answer:
        return Answer(
            answer.header,
            [
                hostile.failed(item, reason) if hostile.operation_of(item) == operation else item
                for item in answer.items
            ],
        )

    return meddle


BYTE_STRING = 8
WRAPPED = Element(KEY_WRAPPING_DATA, 1, Element(0x42009E, 5, NUMBER).encoding())
UNREADABLE: dict[str, tuple[Meddle, str]] = {
    "it is wrapped": (in_key_block(WRAPPED), UNUSABLE),
    "it is compressed": (in_key_block(Element(KEY_COMPRESSION_TYPE, 5, NUMBER)), UNUSABLE),
    "it has two key values": (in_key_block(Element(KEY_VALUE, 1, b"")), UNUSABLE),
    "its key is empty": (replacing(KEY_MATERIAL, b""), UNUSABLE),
    "its key is too long": (replacing(KEY_MATERIAL, b"x" * 65), UNUSABLE),
    "it is of another kind when it is read": (replacing(OBJECT_TYPE, b"\0\0\0\x02"), UNUSABLE),
    "it is not for this client": (failing(hostile.GET, 0xC), "permission denied"),
    "it is archived": (failing(hostile.GET, 0xD), "object archived"),
    "it is not found": (failing(hostile.GET, 0x1), "item not found"),
    "the object is not found": (failing(hostile.GET, 0x37), "object not found"),
}
ANOTHER_KEY = {"its key is empty", "its key is too long"}


def test_a_key_pair_that_cannot_be_read_is_named(house: House, server: FaultyKeyServer) -> None:
    (key_id,) = set(house.key_ids)
    for why, (meddle, reason) in UNREADABLE.items():
        named = f"key server {ADDRESS}: cannot read key ID {key_id}: {reason}"
        with seen_through(house, server, meddle):
            for line in ("key_manager query", "key_manager restore -key_server 127.0.0.2"):
                assert house.must(line).warnings == [f"WARNING: {named}"], why
            result = house.run("key_manager restore -all")
            assert result.warnings == [f"WARNING: {named}"], why
            assert house.filer.keytable.get(key_id) is not None, why
            told = Told()
            with pytest.raises(Panic):
                house.boot(told)
        assert named in told.warnings, why
        house.set(port=server.port)
        house.boot()


def test_an_object_whose_attributes_cannot_be_read_is_named_by_its_identifier(
    house: House, server: FaultyKeyServer
) -> None:
    for meddle, reason in (
        (failing(hostile.GET_ATTRIBUTES, 0xC), "permission denied"),
        (failing(hostile.GET_ATTRIBUTES, 0x1), "item not found"),
        (failing(hostile.GET_ATTRIBUTES, 0x37), "object not found"),
        (replacing(hostile.UNIQUE_IDENTIFIER, b"\xff", hostile.GET_ATTRIBUTES), UNUSABLE),
    ):
        with seen_through(house, server, meddle):
            warnings = house.must("key_manager query").warnings
        assert warnings == [f"WARNING: key server {ADDRESS}: cannot read object 1: {reason}"]


NAME_IS_NOT_UTF_8 = replacing(hostile.NAME_VALUE, b"\xff", hostile.GET_ATTRIBUTES)
NOT_READ: Mapping[str, Meddle] = {
    **{why: meddle for why, (meddle, _reason) in UNREADABLE.items()},
    "its attributes are not for this client": failing(hostile.GET_ATTRIBUTES, 0xC),
    "its attributes are not found": failing(hostile.GET_ATTRIBUTES, 0x1),
    "there is no object with its attributes": failing(hostile.GET_ATTRIBUTES, 0x37),
    "its attributes fail": failing(hostile.GET_ATTRIBUTES, 0x100),
    "its attributes have another identifier": replacing(
        hostile.UNIQUE_IDENTIFIER, b"\xff", hostile.GET_ATTRIBUTES
    ),
}


def test_a_key_pair_that_cannot_be_read_is_not_dropped_by_a_restore(
    house: House, server: FaultyKeyServer
) -> None:
    (old,) = set(house.key_ids)
    house.rekey()
    for why, meddle in NOT_READ.items():
        with seen_through(house, server, meddle):
            restored = house.run("key_manager restore -all")
        assert restored.status == FAILED, why
        assert restored.failures[-1].endswith("; no key pairs were removed"), why
        assert house.filer.keytable.get(old) is not None, why


NOT_SHOWN: Mapping[str, Meddle] = {
    **NOT_READ,
    "its identifier is not UTF-8": replacing(hostile.UNIQUE_IDENTIFIER, b"\xff", hostile.LOCATE),
    "its identifier is too long": replacing(hostile.UNIQUE_IDENTIFIER, b"x" * 2000, hostile.LOCATE),
    "its name is not UTF-8": NAME_IS_NOT_UTF_8,
}


def test_no_msid_is_tried_on_disks_whose_key_a_key_server_has_and_does_not_show(
    house: House, server: FaultyKeyServer
) -> None:
    (key_id,) = set(house.key_ids)
    for why, meddle in NOT_SHOWN.items():
        with seen_through(house, server, meddle):
            for boots in (1, 2):
                told = Told()
                with pytest.raises(Panic):
                    house.boot(told)
                assert house.failures == [0] * 4, why
                assert house.filer.panics.in_a_row == boots
                assert told.warnings[-1] == (
                    f"0c.00.0, 0c.00.1, 0c.00.2, 0c.00.3 stay locked: key ID {key_id} is on key "
                    f"server {ADDRESS}, but cannot be read; no MSID was tried"
                ), why
        house.set(port=server.port)
        house.boot()
        assert not any(disk.locked for disk in house.disks), why


def test_a_key_server_that_falls_silent_between_list_and_key_costs_no_try(
    house: House, server: FaultyKeyServer
) -> None:
    server.on("GET", faulty.dies)
    for failures in (0, 1):  # the second time it does not answer at all
        with pytest.raises(Panic):
            house.boot()
        assert house.failures == [failures] * 4
    server.recover()


@pytest.mark.parametrize("state", ["destroyed", "gone"])
def test_a_key_that_was_destroyed_on_its_key_server_costs_a_try(
    state: str, house: House, server: FaultyKeyServer
) -> None:
    (key_id,) = set(house.key_ids)

    def lose(answer: Answer, _: bytes) -> Answer:
        located = hostile.operation_of(answer.items[0]) == hostile.LOCATE
        if located and key_id in faulty.stored_key_ids(server):
            faulty.lose(server, key_id)
        return answer

    meddle = failing(hostile.GET_ATTRIBUTES, 0x36) if state == "destroyed" else lose
    with seen_through(house, server, meddle), pytest.raises(Panic):
        house.boot()
    assert house.failures == [1] * 4


@pytest.mark.parametrize("line", ["key_manager query", "key_manager restore -all"])
@pytest.mark.parametrize("list_number", [1, 2])
def test_a_key_pair_that_is_destroyed_while_it_is_read_is_not_missed(
    list_number: int, line: str, house: House, server: FaultyKeyServer
) -> None:
    (old,) = set(house.key_ids)
    house.rekey()
    lists = 0

    def lose(answer: Answer, _: bytes) -> Answer:
        nonlocal lists
        if hostile.operation_of(answer.items[0]) == hostile.LOCATE:
            lists += 1
            if lists == list_number:
                faulty.lose(server, old)
        return answer

    with seen_through(house, server, lose):
        done = house.must(line)
        assert (done.warnings, done.failures) == ([], [])
    assert lists >= list_number
    assert len(faulty.stored_key_ids(server)) == 1


def test_an_object_of_ours_without_a_key_id_is_named_by_its_identifier(
    house: House, server: FaultyKeyServer
) -> None:
    meddle = replacing(hostile.NAME_VALUE, b"\xff\x1b[2J", hostile.GET_ATTRIBUTES)
    with seen_through(house, server, meddle):
        (warning,) = house.must("key_manager query").warnings
    assert warning == f"WARNING: key server {ADDRESS}: cannot read object 1: {UNUSABLE}"


@pytest.mark.parametrize(
    ("identifier", "shown"),
    [
        ("schlüssel\n".encode(), "schlüssel\\n"),
        (b"\x1b[2J\xff", "\\x1b[2J\\xff"),
        (b"x" * 2000, "x" * 64),
    ],
)
def test_an_identifier_that_no_request_can_name_is_shown_escaped_and_costs_no_other_key(
    identifier: bytes, shown: str, house: House, server: FaultyKeyServer
) -> None:
    extra = Element(hostile.UNIQUE_IDENTIFIER, hostile.TEXT, identifier).encoding()

    def add(element: Element) -> Element:
        if element.tag != hostile.RESPONSE_PAYLOAD:
            return element
        return Element(element.tag, 1, extra + element.value)

    def meddle(answer: Answer, _: bytes) -> Answer:
        for item in answer.items:
            if hostile.operation_of(item) == hostile.LOCATE:
                item[:] = [add(each) for each in item]
        return answer

    with seen_through(house, server, meddle):
        result = house.must("key_manager query")
        assert f"Key server {ADDRESS} reports 1 keys." in result.shown
    assert result.warnings == [
        f"WARNING: key server {ADDRESS}: cannot read object {shown}: its identifier cannot be used"
    ]


@pytest.mark.parametrize("operation", [hostile.GET, hostile.GET_ATTRIBUTES])
def test_a_failure_of_one_object_costs_no_other(
    operation: int, house: House, server: FaultyKeyServer
) -> None:
    house.rekey()
    failed: list[int] = []

    def once(answer: Answer, request: bytes) -> Answer:
        if failed or all(hostile.operation_of(item) != operation for item in answer.items):
            return answer
        failed.append(operation)
        return failing(operation, 0x100)(answer, request)  # type: ignore[return-value]

    (client,) = house.filer.key_servers().servers.values()
    with hostile.proxy(server, once) as proxy:
        client.port = proxy.port
        with pytest.raises(PartlyRead) as caught:
            client.fetch()
    assert (caught.value.reason, len(caught.value.pairs)) == ("general failure", 1)
    assert list(client.unreadable.values()) == ["general failure"]


def test_formats_and_kinds_that_a_server_makes_up_are_read(
    house: House, server: FaultyKeyServer
) -> None:
    (client,) = house.filer.key_servers().servers.values()
    before = client.fetch()
    for tag in KEY_FORMAT_TYPE, SECRET_DATA_TYPE:
        for value in b"\0\0\0\1", b"\x80\0\0\1":
            with hostile.proxy(server, replacing(tag, value)) as proxy:
                client.port = proxy.port
                assert client.fetch() == before
    algorithm = Element(0x420028, 5, b"\x80\0\0\1")
    for meddle in in_key_block(algorithm), only_of_get(with_key_value_as_bytes):
        with hostile.proxy(server, meddle) as proxy:
            client.port = proxy.port
            assert client.fetch() == before


def with_key_value_as_bytes(item: Sequence[Element]) -> list[Element]:
    found = []
    for each in item:
        kind, value = each.type, each.value
        if each.tag == KEY_VALUE:
            kind = BYTE_STRING
        elif kind == 1:
            inner = with_key_value_as_bytes(list(elements(value)))
            value = b"".join(part.encoding() for part in inner)
        found.append(Element(each.tag, kind, value))
    return found


def test_a_key_value_in_bytes_that_are_no_structure_costs_no_other_key(
    house: House, server: FaultyKeyServer
) -> None:
    (key_id,) = set(house.key_ids)
    house.rekey()

    def meddle(answer: Answer, _: bytes) -> Answer:
        for item in answer.items:
            if hostile.operation_of(item) == hostile.GET and b"\x07\0\0\0\x011" in bytes(
                item[-1].value
            ):
                item[:] = torn(item)
        return answer

    def torn(item: Sequence[Element]) -> list[Element]:
        torn_value = Element(KEY_VALUE, BYTE_STRING, b"not a structure").encoding()
        block = Element(KEY_BLOCK, 1, torn_value)
        (payload,) = (each for each in item if each.tag == hostile.RESPONSE_PAYLOAD)
        kind, named, _secret = elements(payload.value)
        secret = Element(0x420085, 1, block.encoding())
        value = b"".join(each.encoding() for each in (kind, named, secret))
        return [Element(each.tag, 1, value) if each is payload else each for each in item]

    with seen_through(house, server, meddle):
        result = house.must("key_manager query")
    assert f"Key server {ADDRESS} reports 1 keys." in result.shown
    assert result.warnings == [
        f"WARNING: key server {ADDRESS}: cannot read key ID {key_id}: {UNUSABLE}"
    ]


# Taking back

TAKEN_BACK: Mapping[str, Meddle] = {**NOT_READ, "its name is not UTF-8": NAME_IS_NOT_UTF_8}


def once_registered(server: FaultyKeyServer, meddle: Meddle) -> Meddle:
    """Return ``meddle``, between the Register and the Destroy of a new object."""
    before = len(faulty.stored_key_ids(server))
    registered = False

    def meddle_between(answer: Answer, request: bytes) -> Answer | bytes:
        nonlocal registered
        registered |= any(hostile.operation_of(each) == hostile.REGISTER for each in answer.items)
        destroyed = len(faulty.stored_key_ids(server)) == before
        return meddle(answer, request) if registered and not destroyed else answer

    return meddle_between


def test_a_new_key_pair_that_cannot_be_read_back_is_not_left_on_the_server(
    house: House, server: FaultyKeyServer
) -> None:
    before = faulty.stored_key_ids(server)
    for why, meddle in TAKEN_BACK.items():
        with seen_through(house, server, once_registered(server, meddle)):
            result = house.run("key_manager rekey")
        assert result.status == FAILED, why
        assert "nothing was changed" in result.failures[-1], why
        assert not [line for line in result.failures if "may remain" in line], why
        assert faulty.stored_key_ids(server) == before, why


def test_a_pair_whose_activation_failed_is_taken_back_by_its_identifier(
    house: House, server: FaultyKeyServer
) -> None:
    before = faulty.stored_key_ids(server)
    unreadable = failing(hostile.GET, 0xC)

    def meddle(answer: Answer, request: bytes) -> Answer | bytes:
        if hostile.operation_of(answer.items[0]) == hostile.ACTIVATE:
            return bytes(64)
        return unreadable(answer, request)

    with seen_through(house, server, meddle):
        result = house.run("key_manager rekey")
    assert result.failures == [
        f"key_manager: the new key pair could not be stored on {ADDRESS}: not a KMIP server; "
        "nothing was changed"
    ]
    assert faulty.stored_key_ids(server) == before


def test_without_its_identifier_a_pair_that_cannot_be_read_is_said_to_remain(
    house: House, server: FaultyKeyServer
) -> None:
    pair = KeyPair("A" * 64, "tag", AuthenticationKey(os.urandom(16).hex().encode()))
    assert not house.filer.key_servers().store(pair, house.filer.identity.parent_tag).failures
    # A key of another length belongs to another object.
    for why in sorted(TAKEN_BACK.keys() - ANOTHER_KEY):
        with hostile.proxy(server, TAKEN_BACK[why]) as proxy:
            (client,) = house.filer.key_servers().servers.values()
            client.port = proxy.port
            with suppress(KeyServerFailure):
                assert client.take_back(pair.key_id, pair.key) is False, why
        assert pair.key_id in faulty.stored_key_ids(server), why
