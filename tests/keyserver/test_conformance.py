"""``filer-keyserver`` does with unusual requests what KMIP 1.4 says, in words."""

import struct
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from filer.keyserver.server import KeyServer
from tests.kit import raw_kmip as raw
from tests.kit.pairs import pykmip
from tests.kit.trial_servers import attribute

VERSIONS = [(1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (2, 0)]


def names(server: KeyServer) -> list[str]:
    """Return which of the objects "a" to "c" are on the server."""
    found = [raw.ask(server, raw.request([raw.locate(each)])).items[0] for each in "abc"]
    return [name for name, outcome in zip("abc", found, strict=True) if outcome.identifiers]


def registers(*numbers: int | None) -> list[bytes]:
    return [raw.register(name, number=number) for name, number in zip("abc", numbers, strict=False)]


# Query


@pytest.mark.parametrize("version", VERSIONS)
def test_query_lists_what_there_is_and_all_else_is_not_supported(
    version: tuple[int, int], server: KeyServer
) -> None:
    (outcome,) = raw.ask(server, raw.request([raw.query(1, 2)], version=version)).items
    listed = outcome.numbers(0x5C)
    assert len(set(listed)) == len(listed)
    assert outcome.numbers(0x57) == [1, 2, 3, 4, 5, 7, 8]
    operations = [*range(0x40), 0x80000001]
    batch = [raw.item(each, number=number) for number, each in enumerate(operations, 1)]
    go_on = [raw.enumeration(0x0E, 1)]
    outcomes = raw.ask(server, raw.request(batch, version=version, options=go_on)).items
    assert [each.operation for each in outcomes] == operations
    supported = [each.operation for each in outcomes if each.reason != raw.NOT_SUPPORTED]
    assert sorted(listed) == supported


def every_object() -> dict[str, Callable[[], Any]]:
    """Return how to create an object of each type that can be registered."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding
    from kmip.core import enums
    from kmip.pie import objects

    from tests.kit import pki

    aes = enums.CryptographicAlgorithm.AES
    rsa = enums.CryptographicAlgorithm.RSA
    certificate: x509.Certificate = pki.authority().certificate
    return {
        "CERTIFICATE": lambda: objects.X509Certificate(certificate.public_bytes(Encoding.DER)),
        "SYMMETRIC_KEY": lambda: objects.SymmetricKey(aes, 128, bytes(16)),
        "PUBLIC_KEY": lambda: objects.PublicKey(rsa, 1024, bytes(140), enums.KeyFormatType.X_509),
        "PRIVATE_KEY": lambda: objects.PrivateKey(
            rsa, 1024, bytes(600), enums.KeyFormatType.PKCS_8
        ),
        "SPLIT_KEY": lambda: objects.SplitKey(
            cryptographic_algorithm=aes,
            cryptographic_length=128,
            key_value=bytes(16),
            split_key_parts=3,
            key_part_identifier=1,
            split_key_threshold=2,
            split_key_method=enums.SplitKeyMethod.XOR,
        ),
        "SECRET_DATA": lambda: objects.SecretData(
            b"Zq8$-of-a-test-object", enums.SecretDataType.PASSWORD
        ),
        "OPAQUE_DATA": lambda: objects.OpaqueObject(
            b"Zq8$-of-an-opaque", enums.OpaqueDataType.NONE
        ),
    }


def test_every_object_type_that_query_lists_can_be_stored_and_read(server: KeyServer) -> None:
    from kmip.core.enums import ObjectType

    (outcome,) = raw.ask(server, raw.request([raw.query(2)])).items
    listed = {ObjectType(each).name for each in outcome.numbers(0x57)}
    objects = every_object()
    assert objects.keys() == listed
    with pykmip(server) as client:
        for name, make in objects.items():
            identifier = client.register(make())
            assert client.get(identifier).object_type.name == name


def test_every_operation_that_query_lists_works(server: KeyServer) -> None:
    from kmip.core import enums
    from kmip.core import objects as core
    from kmip.core.messages.payloads import SetAttributeRequestPayload
    from kmip.core.primitives import Boolean

    (outcome,) = raw.ask(server, raw.request([raw.query(1)], version=(2, 0))).items
    listed = {enums.Operation(each).name for each in outcome.numbers(0x5C)}
    aes, masks = enums.CryptographicAlgorithm.AES, enums.CryptographicUsageMask
    parameters = {
        "cryptographic_algorithm": aes,
        "block_cipher_mode": enums.BlockCipherMode.CBC,
        "padding_method": enums.PaddingMethod.PKCS5,
    }
    signing = {
        "cryptographic_algorithm": enums.CryptographicAlgorithm.RSA,
        "hashing_algorithm": enums.HashingAlgorithm.SHA_256,
        "padding_method": enums.PaddingMethod.PSS,
    }
    with pykmip(server) as client:
        usage = [masks.ENCRYPT, masks.DECRYPT, masks.MAC_GENERATE, masks.DERIVE_KEY]
        key = client.create(aes, 256, name="a key", cryptographic_usage_mask=usage)
        client.activate(key)
        encrypted, iv = client.encrypt(b"text", key, parameters, bytes(16))
        assert client.decrypt(encrypted, key, parameters, iv or bytes(16)) == b"text"
        client.mac(b"text", key, enums.CryptographicAlgorithm.HMAC_SHA256)
        assert client.get_attributes(key, ["State"])[1]
        assert "State" in client.get_attribute_list(key)
        assert client.locate(attributes=[]) == [key]
        client.derive_key(
            enums.ObjectType.SYMMETRIC_KEY,
            [key],
            enums.DerivationMethod.ENCRYPT,
            {
                "cryptographic_parameters": parameters,
                "initialization_vector": bytes(16),
                "derivation_data": bytes(32),
            },
            cryptographic_length=128,
            cryptographic_algorithm=aes,
            cryptographic_usage_mask=[masks.ENCRYPT],
        )
        public, private = client.create_key_pair(
            enums.CryptographicAlgorithm.RSA,
            2048,
            public_usage_mask=[masks.VERIFY],
            private_usage_mask=[masks.SIGN],
        )
        client.activate(public)
        client.activate(private)
        signature = client.sign(b"text", private, signing)
        valid = client.signature_verify(b"text", signature, public, signing)
        assert valid is enums.ValidityIndicator.VALID
        client.modify_attribute(key, attribute=attribute("NAME", "another name", 0))
        client.delete_attribute(key, attribute_name="Name", attribute_index=0)
        client.revoke(enums.RevocationReasonCode.CESSATION_OF_OPERATION, key)
        client.destroy(key)
        client.register(every_object()["SECRET_DATA"]())
        client.kmip_version = enums.KMIPVersion.KMIP_2_0
        sensitive = Boolean(True, enums.Tags.SENSITIVE)
        payload = SetAttributeRequestPayload(private, core.NewAttribute(attribute=sensitive))
        client.proxy.send_request_payload(enums.Operation.SET_ATTRIBUTE, payload)
        assert client.get(private).object_type is enums.ObjectType.PRIVATE_KEY
    (outcome,) = raw.ask(server, raw.request([raw.item(raw.DISCOVER_VERSIONS)])).items
    assert outcome.status == raw.SUCCESS
    worked = (
        "ACTIVATE CREATE CREATE_KEY_PAIR DECRYPT DELETE_ATTRIBUTE DERIVE_KEY DESTROY "
        "DISCOVER_VERSIONS ENCRYPT GET GET_ATTRIBUTES GET_ATTRIBUTE_LIST LOCATE MAC "
        "MODIFY_ATTRIBUTE QUERY REGISTER REVOKE SET_ATTRIBUTE SIGN SIGNATURE_VERIFY"
    )
    assert listed == set(worked.split())


# Versions


def test_a_version_that_is_not_spoken_is_refused_in_words(server: KeyServer) -> None:
    for version, answered in {
        (0, 9): (1, 0),
        (1, 5): (1, 4),
        (1, 99): (1, 4),
        (2, 1): (2, 0),
        (3, 0): (2, 0),
        (-1, 0): (1, 0),
    }.items():
        answer = raw.ask(server, raw.request([raw.query(1)], version=version))
        asked = ".".join(map(str, version))
        words = f"KMIP {asked} is not supported, only 1.0, 1.1, 1.2, 1.3, 1.4, 2.0"
        assert answer.refusal == (raw.INVALID_MESSAGE, words)
        assert answer.version == answered, version


@pytest.mark.parametrize("version", VERSIONS)
def test_a_refusal_has_the_version_of_the_request(
    version: tuple[int, int], server: KeyServer
) -> None:
    answer = raw.ask(server, raw.request([raw.query(1)], version=version, count=2))
    assert answer.version == version
    answer = raw.ask(
        server, raw.request([raw.item(raw.GET, raw.integer(0x94, 1))], version=version)
    )
    assert answer.version == version
    assert answer.items[0].reason == raw.INVALID_MESSAGE


# The header


def test_a_wrong_batch_count_is_refused_and_nothing_is_processed(server: KeyServer) -> None:
    for count in (-1, 0, 1, 3, 2**31 - 1):
        answer = raw.ask(server, raw.request(registers(1, 2), count=count))
        words = f"the batch count is {count}, but there are 2 items"
        assert answer.refusal == (raw.INVALID_MESSAGE, words)
    assert names(server) == []


COUNT = raw.integer(0x0D, 1)
PROTOCOL = raw.protocol(raw.VERSION)
HEADERS: dict[str, tuple[list[bytes], int, str]] = {
    "no header": ([], raw.INVALID_MESSAGE, "does not begin with a protocol version"),
    "no version": ([COUNT], raw.INVALID_MESSAGE, "does not begin with a protocol version"),
    "no minor version": (
        [raw.structure(0x69, raw.integer(0x6A, 1)), COUNT],
        raw.INVALID_MESSAGE,
        "does not begin with a protocol version",
    ),
    "no batch count": ([PROTOCOL], raw.INVALID_MESSAGE, "the request header has no batch count"),
    "unknown field": (
        [PROTOCOL, raw.integer(0x94, 1), COUNT],
        raw.INVALID_FIELD,
        "field 0x420094 of the request header is unknown",
    ),
    "field twice": (
        [PROTOCOL, raw.boolean(0x10, True), raw.boolean(0x10, True), COUNT],
        raw.INVALID_MESSAGE,
        "field 0x420010 of the request header is repeated or out of order",
    ),
    "wrong order": (
        [PROTOCOL, raw.boolean(0x10, True), raw.integer(0x50, 4096), COUNT],
        raw.INVALID_MESSAGE,
        "field 0x420050 of the request header is repeated or out of order",
    ),
    "wrong type": (
        [PROTOCOL, raw.enumeration(0x50, 4096), COUNT],
        raw.INVALID_MESSAGE,
        "field 0x420050 of the request header has the wrong type or length",
    ),
    "wrong length": (
        [PROTOCOL, raw.ttlv(0x0D, raw.INTEGER, bytes(8))],
        raw.INVALID_MESSAGE,
        "field 0x42000D of the request header has the wrong type or length",
    ),
    "unknown option": (
        [PROTOCOL, raw.enumeration(0x0E, 9), COUNT],
        raw.INVALID_FIELD,
        "field 0x42000E has no known value",
    ),
    "empty credential": (
        [PROTOCOL, raw.structure(0x0C, raw.structure(0x23)), COUNT],
        raw.INVALID_MESSAGE,
        "the request header cannot be read",
    ),
}


def test_a_wrong_header_is_refused_in_words(server: KeyServer) -> None:
    for case, (header, reason, words) in HEADERS.items():
        answer = raw.ask(server, raw.message(header, registers(None)[:1]))
        assert answer.refusal[0] == reason, case
        assert words in answer.refusal[1], case
    assert names(server) == []


def test_a_wrong_message_is_refused_in_words(server: KeyServer) -> None:
    for message, words in (
        (raw.message([PROTOCOL, raw.integer(0x0D, 0)], []), "the message has no batch item"),
        (raw.structure(0x78), "does not begin with a request header"),
        (raw.structure(0x78, raw.query(1)), "does not begin with a request header"),
        (raw.ttlv(0x78, raw.STRUCTURE, b"\xff" * 16), "the message is not TTLV"),
        (
            raw.message([PROTOCOL, COUNT], [raw.ttlv(0x0F, raw.STRUCTURE, b"\xff" * 16)]),
            "the batch item is not TTLV",
        ),
        (
            raw.message([PROTOCOL, COUNT], [raw.integer(0x0D, 1)]),
            "field 0x42000D of the message is not a batch item",
        ),
    ):
        reason, said = raw.ask(server, message).refusal
        assert reason == raw.INVALID_MESSAGE
        assert words in said


def test_header_fields_that_ask_nothing_of_this_server_are_accepted(server: KeyServer) -> None:
    options = [
        raw.text(0x105, "client-1"),
        raw.text(0x106, "server-1"),
        raw.boolean(0x07, False),
        raw.boolean(0xD3, True),
        raw.enumeration(0xC7, 1),
        raw.enumeration(0xC7, 2),
    ]
    answer = raw.ask(server, raw.request(registers(None)[:1], options=options))
    assert answer.items[0].status == raw.SUCCESS


def test_a_client_that_can_wait_gets_its_answer_at_once(server: KeyServer) -> None:
    answer = raw.ask(server, raw.request(registers(None)[:1], options=[raw.boolean(0x07, True)]))
    assert answer.items[0].status == raw.SUCCESS


def test_a_client_that_will_only_wait_is_refused(server: KeyServer) -> None:
    item = raw.item(raw.LOCATE)
    for indicator, served in ((1, False), (2, True), (3, True)):
        options = [raw.enumeration(0x07, indicator)]
        answer = raw.ask(server, raw.request([item], version=(2, 0), options=options))
        if served:
            assert answer.items[0].status == raw.SUCCESS
        else:
            assert answer.refusal == (raw.FEATURE, "asynchronous operations are not supported")


def test_a_response_that_is_larger_than_the_client_allows(server: KeyServer) -> None:
    options = [raw.integer(0x50, 64)]
    reason, words = raw.ask(server, raw.request([raw.query(1)], options=options)).refusal
    assert reason == raw.TOO_LARGE
    assert words.endswith(" bytes; the limit is 64")


# Batches


@pytest.mark.parametrize("numbers", [(1, None), (None, 2), (None, None)])
def test_an_item_of_a_batch_without_an_id_is_refused_before_anything_is_processed(
    numbers: Sequence[int | None], server: KeyServer
) -> None:
    answer = raw.ask(server, raw.request(registers(*numbers)))
    assert answer.refusal == (
        raw.INVALID_MESSAGE,
        "each item of a batch needs a unique batch item ID",
    )
    assert names(server) == []


def test_undo_is_refused_before_anything_is_processed(server: KeyServer) -> None:
    undo = [raw.enumeration(0x0E, 3)]
    answer = raw.ask(server, raw.request(registers(1, 2), options=undo))
    assert answer.refusal == (
        raw.FEATURE,
        "the batch error continuation option Undo is not supported",
    )
    assert names(server) == []
    answer = raw.ask(server, raw.request(registers(1)[:1], options=undo))  # nothing to undo
    assert answer.items[0].status == raw.SUCCESS


UNPROCESSABLE: dict[str, tuple[bytes, int | None, int, str]] = {
    "unknown operation": (
        raw.item(0x80000001, number=7),
        0x80000001,
        raw.NOT_SUPPORTED,
        "operation 0x80000001 is not supported in KMIP 1.4",
    ),
    "operation of PyKMIP's client": (
        raw.item(4, number=7),
        4,
        raw.NOT_SUPPORTED,
        "operation 0x00000004 is not supported in KMIP 1.4",
    ),
    "no operation": (
        raw.structure(0x0F, raw.ttlv(0x93, raw.BYTES, struct.pack("!I", 7)), raw.structure(0x79)),
        None,
        raw.INVALID_MESSAGE,
        "the batch item has no operation",
    ),
    "no payload": (
        raw.structure(
            0x0F, raw.enumeration(0x5C, raw.GET), raw.ttlv(0x93, raw.BYTES, struct.pack("!I", 7))
        ),
        raw.GET,
        raw.INVALID_MESSAGE,
        "the batch item has no request payload",
    ),
    "unreadable payload": (
        raw.item(raw.GET, raw.integer(0x94, 1), number=7),
        raw.GET,
        raw.INVALID_MESSAGE,
        "the request payload cannot be read",
    ),
    "unknown field": (
        raw.item(raw.LOCATE, number=7, after=raw.integer(0x0D, 1)),
        raw.LOCATE,
        raw.INVALID_FIELD,
        "field 0x42000D of the batch item is unknown",
    ),
    "critical extension": (
        raw.item(
            raw.LOCATE,
            number=7,
            after=raw.structure(
                0x51, raw.text(0x9D, "acme"), raw.boolean(0x26, True), raw.structure(0x9C)
            ),
        ),
        raw.LOCATE,
        raw.FEATURE,
        "the critical message extension is unknown",
    ),
}


@pytest.mark.parametrize("case", UNPROCESSABLE)
def test_an_item_that_cannot_be_processed_costs_no_other(case: str, server: KeyServer) -> None:
    item, operation, reason, words = UNPROCESSABLE[case]
    first, last = raw.register("a", number=1), raw.register("b", number=2)
    go_on = [raw.enumeration(0x0E, 1)]
    answer = raw.ask(server, raw.request([first, item, last], options=go_on))
    before, failed, after = answer.items
    assert (before.status, after.status) == (raw.SUCCESS, raw.SUCCESS)
    assert (failed.operation, failed.number, failed.status) == (operation, 7, raw.FAILED)
    assert (failed.reason, failed.words) == (reason, words)
    assert names(server) == ["a", "b"]


def test_the_items_behind_one_that_cannot_be_processed_are_left_by_default(
    server: KeyServer,
) -> None:
    items = [raw.register("a", number=1), raw.item(99, number=7), raw.register("b", number=2)]
    answer = raw.ask(server, raw.request(items))
    assert [each.status for each in answer.items] == [raw.SUCCESS, raw.FAILED]
    assert names(server) == ["a"]


def test_a_message_extension_that_is_not_critical_is_ignored(server: KeyServer) -> None:
    extension = raw.structure(
        0x51, raw.text(0x9D, "acme"), raw.boolean(0x26, False), raw.structure(0x9C)
    )
    answer = raw.ask(server, raw.request([raw.item(raw.LOCATE, after=extension)]))
    assert answer.items[0].status == raw.SUCCESS


def test_the_id_placeholder_is_of_one_request(server: KeyServer) -> None:
    register, read = raw.register("a", number=1), raw.get(None, number=2)
    together = raw.ask(server, raw.request([register, read])).items
    assert [each.status for each in together] == [raw.SUCCESS, raw.SUCCESS]
    alone = raw.ask(server, raw.request([raw.register("b")]), raw.request([raw.get(None)]))
    assert alone.items[0].status == raw.FAILED


def test_the_id_placeholder_is_the_only_object_that_locate_finds(server: KeyServer) -> None:
    raw.ask(server, raw.request(registers(1, 2)))

    def read(*locates: bytes) -> list[int]:
        items = [*locates, raw.get(None, number=9)]
        return [each.status for each in raw.ask(server, raw.request(items)).items]

    assert read(raw.locate("a", number=1)) == [raw.SUCCESS, raw.SUCCESS]
    assert read(raw.locate("c", number=1)) == [raw.SUCCESS, raw.FAILED]
    both = raw.locate(number=1)
    assert read(both) == [raw.SUCCESS, raw.FAILED]
    assert read(raw.locate("a", number=1), raw.locate(number=2))[-1] == raw.FAILED


# Locate


@pytest.mark.parametrize("version", VERSIONS[:5])
def test_locate_returns_the_part_that_is_asked_for(
    version: tuple[int, int], server: KeyServer
) -> None:
    raw.ask(server, raw.request(registers(1, 2, 3)))
    limits = [[raw.integer(0x4F, 2)], [], [raw.integer(0x4F, 2), raw.integer(0xD4, 2)]]
    located = [raw.locate(None, *each) for each in limits]
    answers = [raw.ask(server, raw.request([each], version=version)) for each in located]
    first, every, rest = (answer.items[0].identifiers for answer in answers)
    assert sorted(every) == ["1", "2", "3"]
    assert (len(first), first + rest) == (2, every)
