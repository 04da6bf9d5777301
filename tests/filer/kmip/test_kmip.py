"""One key server on the wire: PyKMIP's server, and hostile ones."""

import ssl
import struct
import threading
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import given, settings
from hypothesis import strategies as st

from filer.keys.authentication_key import AuthenticationKey
from filer.keys.pair import KeyPair
from filer.keyserver.authority import Identity
from filer.keyserver.server import KeyServer as RealServer
from filer.kmip.client import Credentials, KeyServerFailure, KmipClient
from filer.kmip.failure import PartlyRead
from filer.kmip.ttlv import Element, elements, structure
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name
from tests.conftest import StartKeyServers
from tests.kit import hostile, pki
from tests.kit.pairs import PARENT_TAG, new_pair, put, pykmip

SHORT = 0.4
LONG = 20.0

Endpoint = RealServer | hostile.Server
Ask = Callable[[KmipClient], object]

OPERATIONS: dict[str, Ask] = {
    "probe": lambda client: client.probe(),
    "fetch": lambda client: client.fetch(),
    "store": lambda client: client.store(new_pair(), PARENT_TAG),
    "take back": lambda client: client.take_back("0" * 64, AuthenticationKey(b"-"), None),
}


@pytest.fixture
def real(key_servers: StartKeyServers) -> RealServer:
    return key_servers(1)[0]


def client_of(
    real: RealServer, at: Endpoint | None = None, timeout: float = LONG, **files: Path
) -> KmipClient:
    """Return a client with the certificates of ``real`` that connects to ``at``."""
    known = {
        "client": real.directory / CLIENT,
        "client_private": real.directory / CLIENT_PRIVATE,
        "ca": real.directory / ca_name(real.address),
    }
    endpoint = at or real
    return KmipClient(endpoint.address, endpoint.port, Credentials(**known | files), timeout)


def in_order(pairs: list[KeyPair]) -> list[KeyPair]:
    return sorted(pairs, key=lambda pair: pair.key_id)


def failure_of(ask: Ask, client: KmipClient) -> KeyServerFailure:
    with pytest.raises(KeyServerFailure) as caught:
        ask(client)
    return caught.value


def put_object(
    server: RealServer,
    name: str,
    *,
    material: bytes = b"another's secret",
    namespace: str = "filer",
    data: str = PARENT_TAG,
    tag: str | None = "filer1",
    state: str = "active",
    symmetric: bool = False,
) -> str:
    """Store an object as another program would, and return its identifier."""
    from kmip.core.enums import (
        AttributeType,
        CryptographicAlgorithm,
        CryptographicUsageMask,
        KeyFormatType,
        ObjectType,
        RevocationReasonCode,
        SecretDataType,
    )
    from kmip.core.factories.attributes import AttributeFactory
    from kmip.core.factories.secrets import SecretFactory
    from kmip.core.objects import TemplateAttribute

    values: list[tuple[Any, Any]] = [
        (AttributeType.NAME, name),
        (AttributeType.CRYPTOGRAPHIC_USAGE_MASK, [CryptographicUsageMask.EXPORT]),
        (
            AttributeType.APPLICATION_SPECIFIC_INFORMATION,
            {"application_namespace": namespace, "application_data": data},
        ),
    ]
    if tag is not None:
        values.append((AttributeType.OBJECT_GROUP, tag))
    template = TemplateAttribute(
        attributes=[AttributeFactory().create_attribute(*each) for each in values]
    )
    kind = ObjectType.SYMMETRIC_KEY if symmetric else ObjectType.SECRET_DATA
    secret = SecretFactory().create(
        kind,
        {
            "secret_data_type": SecretDataType.PASSWORD,
            "key_format_type": KeyFormatType.RAW if symmetric else KeyFormatType.OPAQUE,
            "key_value": material,
            "cryptographic_algorithm": CryptographicAlgorithm.AES if symmetric else None,
            "cryptographic_length": 8 * len(material) if symmetric else None,
        },
    )
    with pykmip(server) as client:
        result = client.proxy.register(kind, template, secret)
        identifier = str(result.uuid)
        if state != "pre-active":
            client.activate(identifier)
        if state == "deactivated":
            client.revoke(RevocationReasonCode.CESSATION_OF_OPERATION, identifier)
        if state == "compromised":
            client.revoke(RevocationReasonCode.KEY_COMPROMISE, identifier)
    return identifier


# Servers that misbehave


@pytest.mark.parametrize("operation", ["store", "take back"])
@pytest.mark.parametrize(
    "kind", ["never speaks", "closes after the request", "answers another request"]
)
def test_hostile_server_costs_its_timeout_and_a_reason(
    kind: str, operation: str, real: RealServer
) -> None:
    reason = hostile.KINDS[kind].reason
    timeout = LONG
    if reason == hostile.NO_ANSWER:
        timeout, reason = SHORT, f"no answer in {SHORT} s"
    with hostile.start(kind, real) as server:
        client = client_of(real, server, timeout)
        start = time.monotonic()
        failure = failure_of(OPERATIONS[operation], client)
        taken = time.monotonic() - start
    assert (failure.reason, str(failure)) == (reason, reason)
    assert taken < min(timeout, 10) + 1


MEDDLING: dict[str, hostile.Meddle] = {
    "fewer items": hostile.fewer_items,
    "fewer items than counted": hostile.fewer_items_than_counted,
    "an item twice": hostile.item_twice,
    "an item twice, another not": hostile.item_twice_for_another,
    "another operation": hostile.another_operation,
    "no operation": hostile.without_operation,
    "no payload": hostile.without_payload,
    "a torn payload": hostile.torn_payload,
    "another item": hostile.another_number,
    "another object": lambda answer, _: answer.replace(
        hostile.UNIQUE_IDENTIFIER, b"2", hostile.GET
    ),
    "the attributes of another object": lambda answer, _: answer.replace(
        hostile.UNIQUE_IDENTIFIER, b"3", hostile.GET_ATTRIBUTES
    ),
    "surplus": hostile.surplus,
}


def test_answer_to_a_batch_has_to_be_complete(real: RealServer) -> None:
    put(real, new_pair(), new_pair())
    for meddling, meddle in MEDDLING.items():
        with hostile.proxy(real, hostile.only_for(hostile.GET, meddle)) as server:
            failure = failure_of(OPERATIONS["fetch"], client_of(real, server))
        assert failure.reason == "not a KMIP server", meddling


def test_items_may_come_in_another_order(real: RealServer) -> None:
    pairs = [new_pair() for _ in range(3)]
    for pair in pairs:
        client_of(real).store(pair, PARENT_TAG)

    def reverse(answer: hostile.Answer, _: bytes) -> hostile.Answer:
        return hostile.Answer(answer.header, answer.items[::-1])

    with hostile.proxy(real, reverse) as server:
        assert in_order(client_of(real, server).fetch()) == in_order(client_of(real).fetch())


def test_unreachable(real: RealServer) -> None:
    # A host never has a multicast address, so no connection can succeed.
    client = KmipClient("224.0.0.1", 5696, client_of(real)._credentials, LONG)
    assert failure_of(OPERATIONS["probe"], client).reason == "unreachable"


class SlowAnswers:
    """A clock in which each answer of a proxy takes 80 of the 100 seconds allowed.

    So no test waits, or depends on the speed of the machine.
    """

    TIMEOUT = 100.0

    def __init__(self) -> None:
        self.now = 0.0
        self.answers = 0

    def __call__(self) -> float:
        return self.now

    def meddle(self, answer: hostile.Answer, _: bytes) -> hostile.Answer:
        self.now += self._seconds(answer)
        self.answers += 1
        return answer

    def _seconds(self, _answer: hostile.Answer) -> float:
        return 80

    def client(self, real: RealServer, at: Endpoint) -> KmipClient:
        files = client_of(real)._credentials
        return KmipClient(at.address, at.port, files, self.TIMEOUT, clock=self)


class SlowItems(SlowAnswers):
    """Takes almost the longest time per object with which 128 arrive within 24 timeouts."""

    def _seconds(self, answer: hostile.Answer) -> float:
        return 9 * len(answer.items)


def test_each_request_has_a_deadline_of_its_own(real: RealServer) -> None:
    pairs = [new_pair() for _ in range(7)]
    put(real, *pairs)
    clock = SlowAnswers()
    with hostile.proxy(real, clock.meddle) as server:
        assert in_order(clock.client(real, server).fetch()) == in_order(pairs)
    # Beyond four timeouts key pairs still arrived; the slow server was asked for one at a time.
    assert clock.now == 80 * (2 + 1 + len(pairs)) > 4 * clock.TIMEOUT


def test_after_four_timeouts_a_fetch_ends_when_no_key_pair_arrives(real: RealServer) -> None:
    for number in range(9):
        put_object(real, f"another's {number}", namespace="other")
    clock = SlowAnswers()
    with hostile.proxy(real, clock.meddle, ask=unfiltered) as server:
        failure = failure_of(OPERATIONS["fetch"], clock.client(real, server))
    assert failure.reason == "not done in 400 s"
    assert clock.now <= 5 * clock.TIMEOUT


def test_after_24_timeouts_a_fetch_ends_although_key_pairs_still_arrive(real: RealServer) -> None:
    put(real, *(new_pair() for _ in range(40)))
    clock = SlowAnswers()
    with hostile.proxy(real, clock.meddle) as server, pytest.raises(PartlyRead) as caught:
        clock.client(real, server).fetch()
    assert (caught.value.reason, caught.value.answered) == ("not done in 2400 s", False)
    assert len(caught.value.pairs) == clock.answers - 3
    assert 24 * clock.TIMEOUT < clock.now <= 25 * clock.TIMEOUT


def test_a_slow_server_may_show_as_many_key_pairs_as_are_recommended(real: RealServer) -> None:
    pairs = [new_pair() for _ in range(128)]
    put(real, *pairs)
    clock = SlowItems()
    with hostile.proxy(real, clock.meddle) as server:
        assert in_order(clock.client(real, server).fetch()) == in_order(pairs)
    assert clock.now > 23 * clock.TIMEOUT


def test_what_has_arrived_is_kept_when_a_server_falls_silent(real: RealServer) -> None:
    pairs = [new_pair() for _ in range(3)]
    put(real, *pairs)

    def stop(answer: hostile.Answer, _: bytes) -> hostile.Answer | bytes:
        # Discover Versions, Locate, one description, its key; the answer after that never ends.
        return answer if len(server.requests) <= 4 else bytes(answer)[:-9]

    with hostile.proxy(real, stop) as server, pytest.raises(PartlyRead) as caught:
        client_of(real, server, 5.0).fetch()
    assert len(caught.value.pairs) == 1
    assert caught.value.pairs[0] in pairs
    assert (caught.value.reason, caught.value.answered) == ("no answer in 5 s", False)


def test_the_keys_that_disks_name_are_requested_first(real: RealServer) -> None:
    pairs = [new_pair() for _ in range(5)]
    put(real, *pairs)
    wanted = pairs[2]

    def stop(answer: hostile.Answer, request: bytes) -> hostile.Answer | bytes:
        lists = hostile.operation_of(answer.items[0]) == hostile.LOCATE and (
            wanted.key_id.encode() not in request
        )
        return b"" if lists else answer

    with hostile.proxy(real, stop) as server, pytest.raises(PartlyRead) as caught:
        client_of(real, server, 1.0).fetch([wanted.key_id])
    assert caught.value.pairs == [wanted]


def test_deadline_is_taken_from_the_clock_given(real: RealServer) -> None:
    files = client_of(real)._credentials
    ticks = iter(range(0, 1000, 2))
    client = KmipClient(real.address, real.port, files, 5.0, clock=lambda: float(next(ticks)))
    assert failure_of(OPERATIONS["probe"], client).reason == "no answer in 5 s"


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="nothing but zeros"),
        pytest.param(structure(0x42000F, [])[:8] * 500_000, id="items"),
        pytest.param(Element(0x42000F, 1, structure(1, []) * 500_000).encoding(), id="fields"),
        pytest.param(
            structure(0x42000F, [Element(hostile.RESULT_REASON, 5, b"\xff" * 4_000_000)]),
            id="a long reason",
        ),
    ],
)
def test_memory_is_bounded(value: bytes, real: RealServer) -> None:
    client_of(real).probe()
    answer = bytes(hostile.refusal(1))
    head = hostile.Answer.parse(answer)
    head.items = []
    body = bytes(head)[8:] + value
    message = struct.pack("!II", hostile.RESPONSE_MESSAGE << 8 | 1, len(body)) + body
    context = hostile.server_context(pki.server(pki.authority_of(real), real.address))
    talk = hostile.tls(context, hostile.answering(message, 60))
    with (
        hostile.Server(talk, real.address)
        if value
        else hostile.start("answers 64 MiB of zeros", real) as server
    ):
        tracemalloc.start()
        try:
            failure = failure_of(OPERATIONS["fetch"], client_of(real, server))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert failure.reason == "not a KMIP server"
    assert peak < 24 * 1024 * 1024


def test_reason_of_any_length_is_short(real: RealServer) -> None:
    def meddle(answer: hostile.Answer, _: bytes) -> hostile.Answer:
        return hostile.refusal(1).replace(hostile.RESULT_REASON, b"\xff" * 4_000_000)

    with hostile.proxy(real, meddle) as server:
        failure = failure_of(OPERATIONS["fetch"], client_of(real, server))
    assert failure.reason == "result reason 0xffffffff"


def test_answer_that_is_costly_to_follow_up_ends_after_four_timeouts(real: RealServer) -> None:
    # 200,000 objects, all of them readable, in the largest answer that is read.
    identifiers = b"".join(
        Element(hostile.UNIQUE_IDENTIFIER, hostile.TEXT, b"%d" % number).encoding()
        for number in range(200_000)
    )

    def many(answer: hostile.Answer, _: bytes) -> hostile.Answer:
        return answer.replace(hostile.RESPONSE_PAYLOAD, identifiers, hostile.LOCATE)

    with hostile.proxy(real, many) as server:
        client = client_of(real, server, 1.0)
        start = time.monotonic()
        failure = failure_of(OPERATIONS["fetch"], client)
        taken = time.monotonic() - start
    assert failure.reason in {"no answer in 1 s", "not done in 4 s"}
    assert taken < 12


def test_long_texts_cost_no_other_key_pair(real: RealServer) -> None:
    pair, other = new_pair(), new_pair()
    client_of(real).store(pair, PARENT_TAG)
    put_object(real, other.key_id)

    def lengthen(answer: hostile.Answer, _: bytes) -> hostile.Answer:
        items = [item for item in answer.items if other.key_id.encode() in bytes(item[-1].value)]
        hostile.Answer([], items).replace(
            hostile.NAME_VALUE, b"A" * 3_000_000, hostile.GET_ATTRIBUTES
        )
        return answer

    with hostile.proxy(real, hostile.only_for(hostile.GET_ATTRIBUTES, lengthen)) as server:
        client = client_of(real, server)
        assert client.fetch() == [pair]
    assert client.unreadable == {}  # its name is that of another application's object


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 8))
def test_any_bytes_are_an_answer_or_refused(noise: bytes, position: int, cut: int) -> None:
    from filer.kmip.answers import NotKmip, decode
    from filer.kmip.refusals import RequestRefused
    from filer.kmip.requests import get, get_attributes

    answer = _answer_to_get_attributes() if position else b""
    body = answer[:position] + noise + answer[position + cut :]
    with suppress(NotKmip, RequestRefused):
        list(decode(body, [get_attributes("1")], 0))
    with pytest.raises((NotKmip, RequestRefused)):
        list(decode(body, [get("1"), get("2")], 0))


def _answer_to_get_attributes() -> bytes:
    element = Element
    name = structure(
        0x420008,
        [
            element(0x42000A, 7, b"Name"),
            element(
                0x42000B,
                1,
                element(hostile.NAME_VALUE, 7, b"A" * 64).encoding()
                + element(0x420054, 5, b"\0\0\0\1").encoding(),
            ),
        ],
    )
    answer = hostile.refusal(1)
    answer.items[0] = [
        element(hostile.OPERATION, 5, struct.pack("!I", hostile.GET_ATTRIBUTES)),
        element(hostile.BATCH_ITEM_ID, 8, bytes(8)),
        element(hostile.RESULT_STATUS, 5, bytes(4)),
        element(
            hostile.RESPONSE_PAYLOAD,
            1,
            element(hostile.UNIQUE_IDENTIFIER, 7, b"1").encoding() + name,
        ),
    ]
    return bytes(answer)[8:]


def test_sample_answer_is_one() -> None:
    from filer.kmip.answers import Success, decode
    from filer.kmip.descriptions import Description
    from filer.kmip.requests import get_attributes

    expected = Description(("A" * 64,), (), "unknown", True)
    assert list(decode(_answer_to_get_attributes(), [get_attributes("1")], 0)) == [
        Success(("1",), expected)
    ]


# Trust


def trusting(real: RealServer, *identities: Identity) -> KmipClient:
    ca = real.directory / "trusted.pem"
    ca.write_bytes(b"".join(each.certificate_pem() for each in identities))
    return client_of(real, ca=ca)


def test_server_certificate_itself_may_be_in_the_ca_file(real: RealServer) -> None:
    own = pki.server(None, real.address)
    pki.serve_as(real, own)
    client = trusting(real, own)
    client.probe()
    assert not client.warnings


def test_ca_file_need_not_hold_a_root(real: RealServer) -> None:
    root = pki.authority("root")
    below = pki.authority("below", issuer=root)
    pki.serve_as(real, pki.server(below, real.address))
    trusting(real, below).probe()
    pki.serve_as(real, pki.server(below, real.address), below)
    trusting(real, root).probe()
    assert failure_of(OPERATIONS["probe"], client_of(real)).reason == "certificate not trusted"


def test_certificates_without_key_identifiers(real: RealServer) -> None:
    root = pki.authority(key_identifiers=False)
    pki.serve_as(real, pki.server(root, real.address, key_identifiers=False))
    trusting(real, root).probe()


def test_expired_authority(real: RealServer) -> None:
    root = pki.authority(valid=pki.EXPIRED)
    pki.serve_as(real, pki.server(root, real.address))
    assert failure_of(OPERATIONS["probe"], trusting(real, root)).reason == "certificate expired"


def test_without_names_the_very_certificate_is_accepted_with_a_warning(real: RealServer) -> None:
    own = pki.server(None, common_name="old key server")
    pki.serve_as(real, own)
    client = trusting(real, pki.authority(), own)
    client.probe()
    client.probe()
    assert client.warnings == [
        "accepted without subjectAltName: its certificate is the one in its CA file"
    ]


def test_without_names_the_address_as_common_name_is_accepted_with_a_warning(
    real: RealServer,
) -> None:
    root = pki.authority()
    pki.serve_as(real, pki.server(root, common_name=real.address))
    client = trusting(real, root)
    client.probe()
    assert client.warnings == [
        "accepted without subjectAltName: its certificate has the address as common name"
    ]


def test_without_names_and_of_another_name_is_not_trusted(real: RealServer) -> None:
    root = pki.authority()
    pki.serve_as(real, pki.server(root, common_name="127.0.0.99"))
    client = trusting(real, root)
    assert failure_of(OPERATIONS["probe"], client).reason == "its certificate is for 127.0.0.99"
    assert not client.warnings


@pytest.mark.parametrize(
    ("name", "described"),
    [
        (x509.DNSName("127.0.0.2"), "the DNS name 127.0.0.2"),
        (x509.IPAddress(ip_address("::ffff:127.0.0.2")), "::ffff:127.0.0.2"),
        (x509.IPAddress(ip_address("fd00::1")), "fd00::1"),
    ],
)
def test_a_name_that_looks_like_the_address_is_told_from_it(
    real: RealServer, name: x509.GeneralName, described: str
) -> None:
    assert real.address == "127.0.0.2"
    root = pki.authority()
    pki.serve_as(real, pki.server(root, others=[name]))
    reason = failure_of(OPERATIONS["probe"], trusting(real, root)).reason
    assert reason == f"its certificate is for {described}"


@pytest.mark.parametrize(
    ("names", "described"),
    [
        ([x509.DNSName("kms.example")], "kms.example"),
        (
            [x509.DNSName("127.0.0.99"), x509.DNSName("*.example")],
            "the DNS name 127.0.0.99, *.example",
        ),
        (
            [x509.UniformResourceIdentifier("urn:kms"), x509.RFC822Name("kms@example.org")],
            "URI urn:kms, email kms@example.org",
        ),
    ],
    ids=["DNS", "address as DNS", "neither"],
)
def test_without_an_address_the_very_certificate_alone_is_accepted_with_a_warning(
    real: RealServer, names: list[x509.GeneralName], described: str
) -> None:
    root = pki.authority()
    own = pki.server(root, others=names, common_name=real.address)
    pki.serve_as(real, own)
    client = trusting(real, own)
    client.probe()
    assert client.warnings == [
        "accepted without an IP address in subjectAltName: "
        "its certificate is the one in its CA file"
    ]
    client = trusting(real, root)
    reason = failure_of(OPERATIONS["probe"], client).reason
    assert reason == f"its certificate is for {described}"


def test_an_address_beside_other_names_is_accepted(real: RealServer) -> None:
    names = [x509.DNSName("kms.example"), x509.UniformResourceIdentifier("urn:kms")]
    own = pki.server(None, "192.0.2.1", real.address, others=names)
    pki.serve_as(real, own)
    client = trusting(real, own)
    client.probe()
    assert not client.warnings


def test_common_name_does_not_help_a_certificate_with_names(real: RealServer) -> None:
    own = pki.server(None, "127.0.0.99", common_name=real.address)
    pki.serve_as(real, own)
    client = trusting(real, own)
    assert failure_of(OPERATIONS["probe"], client).reason == "its certificate is for 127.0.0.99"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_of_tls_and_the_newer_where_it_is(
    version: ssl.TLSVersion, real: RealServer
) -> None:
    used = []

    def talk(connection: ssl.SSLSocket, server: hostile.Server) -> None:
        used.append(connection.version())
        hostile.meddling(real, hostile.unchanged)(connection, server)

    context = hostile.server_context(
        pki.server(pki.authority_of(real), real.address), clients=pki.authority_of(real)
    )
    context.maximum_version = version
    with hostile.Server(hostile.tls(context, talk), real.address) as server:
        client_of(real, server).probe()
    assert used == [version.name.replace("v1_", "v1.")]


SERVER_HELLO_OF_TLS_1_1 = bytes.fromhex("160302002a 02000026 0302") + bytes(33) + b"\xc0\x14\0"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(hostile.alert(40), hostile.NO_TLS_IN_COMMON, id="handshake failure"),
        pytest.param(hostile.alert(70), hostile.NO_TLS_IN_COMMON, id="protocol version"),
        pytest.param(hostile.alert(71), hostile.NO_TLS_IN_COMMON, id="insufficient security"),
        pytest.param(SERVER_HELLO_OF_TLS_1_1, hostile.NO_TLS_IN_COMMON, id="TLS 1.1"),
        pytest.param(hostile.alert(10), hostile.NOT_KMIP, id="unexpected message"),
        pytest.param(hostile.alert(80), hostile.NOT_KMIP, id="internal error"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", hostile.NOT_KMIP, id="plain text"),
    ],
)
def test_tls_without_anything_in_common_is_not_called_another_protocol(
    answer: bytes, reason: str, real: RealServer
) -> None:
    with hostile.Server(hostile.answering_hello(answer), real.address) as server:
        for ask in OPERATIONS.values():
            assert failure_of(ask, client_of(real, server)).reason == reason


def test_nothing_is_said_before_the_server_is_trusted(real: RealServer) -> None:
    said = []

    def listen(connection: ssl.SSLSocket, server: hostile.Server) -> None:
        said.append(connection.recv(4096))

    other = pki.server(pki.authority_of(real), "127.0.0.99")
    context = hostile.server_context(other)
    with hostile.Server(hostile.tls(context, listen), real.address) as server:
        failure_of(OPERATIONS["store"], client_of(real, server))
    assert said in ([], [b""])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_files_that_cannot_be_used_are_named(operation: str, real: RealServer) -> None:
    nothing = real.directory / "nothing.pem"
    damaged = real.directory / "dam\x1baged.pem"
    damaged.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    secret = real.directory / "secret.pem"
    owner = pki.client(pki.authority_of(real))
    secret.write_bytes(pki.encrypted_private_pem(owner, b"swordfish"))

    ask = OPERATIONS[operation]
    failure = failure_of(ask, client_of(real, ca=nothing))
    assert failure.reason == "nothing.pem cannot be used: no such file or directory"
    failure = failure_of(ask, client_of(real, ca=damaged))
    assert failure.reason.startswith("dam\\x1baged.pem cannot be used: ")
    failure = failure_of(ask, client_of(real, client=nothing))
    assert failure.reason.startswith("nothing.pem and client_private.pem cannot be used: ")
    failure = failure_of(ask, client_of(real, client_private=damaged))
    assert failure.reason.startswith("client.pem and dam\\x1baged.pem cannot be used: ")
    failure = failure_of(ask, client_of(real, client_private=secret))
    assert failure.reason.startswith("client.pem and secret.pem cannot be used: ")


def without_extensions(identity: Identity, issuer: Identity) -> Identity:
    """Return ``identity`` with a certificate without extensions."""
    old = identity.certificate
    builder = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(issuer.certificate.subject)
        .public_key(old.public_key())
        .serial_number(old.serial_number)
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc)
    )
    return Identity(identity.key, builder.sign(issuer.key, hashes.SHA256()))


def test_server_that_does_not_know_the_client_says_why(real: RealServer) -> None:
    # Valid for TLS, but PyKMIP requires the extended key usage clientAuth.
    issuer = pki.authority_of(real)
    stranger = without_extensions(pki.client(issuer), issuer)
    certificate, private = real.directory / "a.pem", real.directory / "b.pem"
    certificate.write_bytes(stranger.certificate_pem())
    private.write_bytes(stranger.private_pem())
    client = client_of(real, client=certificate, client_private=private)
    for ask in OPERATIONS.values():
        reason, _, _message = failure_of(ask, client).reason.partition(":")
        assert reason == "authentication not successful"


def test_real_server_refuses_another_authority_s_client(real: RealServer) -> None:
    ca = real.directory / "kept.pem"
    ca.write_bytes((real.directory / ca_name(real.address)).read_bytes())
    pki.accept_clients_of(real, pki.authority())
    failure = failure_of(OPERATIONS["probe"], client_of(real, ca=ca))
    assert failure.reason == "client certificate rejected"


# Key pairs


def found(client: KmipClient, key_id: str) -> list[KeyPair]:
    """Return what a boot finds under ``key_id``."""
    return [pair for pair in client.fetch() if pair.key_id == key_id]


def test_what_is_stored_is_found(real: RealServer) -> None:
    pair, other = new_pair(), new_pair("another-tag")
    client = client_of(real)
    assert client.fetch() == []
    client.store(pair, PARENT_TAG)
    assert client.fetch() == [pair]
    client.store(other, PARENT_TAG)
    assert found(client, pair.key_id) == [pair]
    assert in_order(client.fetch()) == sorted([pair, other], key=lambda each: each.key_id)


def test_another_kmip_client_reads_it(real: RealServer) -> None:
    from kmip.core.enums import CryptographicUsageMask, ObjectType, SecretDataType, State

    pair = new_pair(key=b"Correct horse 9 battery staple")
    identifier = client_of(real).store(pair, PARENT_TAG)
    with pykmip(real) as client:
        secret = client.get(identifier)
        _, found = client.get_attributes(identifier)
    assert secret.value == b"Correct horse 9 battery staple"
    assert secret.data_type is SecretDataType.PASSWORD
    values = {each.attribute_name.value: each.attribute_value for each in found}
    assert values["Name"].name_value.value == pair.key_id
    assert values["Object Group"].value == "filer1"
    assert values["Object Type"].value is ObjectType.SECRET_DATA
    assert values["State"].value is State.ACTIVE
    assert values["Cryptographic Usage Mask"].value == CryptographicUsageMask.EXPORT.value
    information = values["Application Specific Information"]
    assert information.application_namespace == "filer"
    assert information.application_data == PARENT_TAG


@pytest.mark.parametrize("state", ["pre-active", "active", "deactivated", "compromised"])
def test_any_state_but_compromised_and_destroyed_is_read(state: str, real: RealServer) -> None:
    pair = new_pair()
    put_object(real, pair.key_id, material=pair.key.reveal(), state=state)
    assert client_of(real).fetch() == ([] if state == "compromised" else [pair])


def test_the_same_key_id_twice_is_reported(real: RealServer) -> None:
    pair = new_pair()
    # Long enough not to occur elsewhere, such as in the path of this checkout.
    one, two = b"one of two keys", b"two of two keys"
    put_object(real, pair.key_id, material=one)
    put_object(real, pair.key_id, material=two)
    fetched = client_of(real).fetch()
    assert {each.key_id for each in fetched} == {pair.key_id}
    assert [each.key.reveal() for each in fetched] in ([one, two], [two, one])


def test_pair_without_a_usable_tag(real: RealServer) -> None:
    for tag in None, "two words", "x" * 65:
        put_object(real, new_pair().key_id, tag=tag)
    assert [each.tag for each in client_of(real).fetch()] == ["-"] * 3


def unfiltered(request: bytes) -> bytes:
    """Make a Locate match everything, as a server does that ignores the attributes."""
    from kmip.core.enums import Operation
    from kmip.core.messages.messages import RequestMessage
    from kmip.core.messages.payloads import LocateRequestPayload
    from kmip.core.utils import BytearrayStream

    message = RequestMessage()
    message.read(BytearrayStream(request))
    if message.batch_items[0].operation.value is not Operation.LOCATE:
        return request
    message.batch_items[0].request_payload = LocateRequestPayload()
    stream = BytearrayStream()
    message.write(stream)
    return bytes(stream.buffer)


@pytest.mark.parametrize("filters", [True, False])
def test_foreign_objects_are_left_alone(filters: bool, real: RealServer) -> None:
    from kmip.core.enums import (
        CryptographicAlgorithm,
        CryptographicUsageMask,
        OpaqueDataType,
        SecretDataType,
    )
    from kmip.pie import objects

    pair, foreign = new_pair(), new_pair()
    put_object(real, foreign.key_id, state="compromised")
    put_object(real, foreign.key_id, material=bytes(32), symmetric=True)
    put_object(real, "not a key ID")
    put_object(real, f"{foreign.key_id[:-1]}g")
    certificate = pki.authority().certificate_pem()
    with pykmip(real) as client:
        for thing in (
            objects.SymmetricKey(
                CryptographicAlgorithm.AES, 256, bytes(32), [CryptographicUsageMask.ENCRYPT]
            ),
            objects.SecretData(b"a seed that no report names", SecretDataType.SEED),
            objects.OpaqueObject(b"anything", OpaqueDataType.NONE, foreign.key_id),
            objects.X509Certificate(ssl.PEM_cert_to_DER_cert(certificate.decode())),
        ):
            client.register(thing)
    ours = client_of(real).store(pair, PARENT_TAG)
    read = Gets()
    ask = (lambda request: request) if filters else unfiltered
    with hostile.proxy(real, read.meddle, ask=ask) as server:
        client = client_of(real, server)
        assert client.fetch() == [pair]
        assert client.fetch([foreign.key_id]) == [pair]
        assert client.unread == {foreign.key_id}  # so a boot tries no MSID
        assert client.held([foreign.key_id]) == set()
        assert client.find(foreign.key_id) == []
        assert client.take_back(foreign.key_id, pair.key, None)
        assert client.unreadable == {}
    assert set(read.identifiers) == {ours}
    with pykmip(real) as client:
        assert len(client.locate()) == 9


class Gets:
    """Records the identifier of each object whose secret a server sends."""

    def __init__(self) -> None:
        self.identifiers: list[str] = []

    def meddle(self, answer: hostile.Answer, _: bytes) -> hostile.Answer:
        got = [item for item in answer.items if hostile.operation_of(item) == hostile.GET]
        self.identifiers += [(identifier_of(item) or b"").decode() for item in got]
        return answer


def test_a_thousand_objects_of_other_applications_cost_few_requests(real: RealServer) -> None:
    ours = new_pair()
    other = new_pair(system_id=7)
    put(real, ours)
    put(real, *(new_pair(key_id=f"app-{number}") for number in range(1000)))
    put(real, other)
    read = Gets()
    with hostile.proxy(real, read.meddle) as server:
        assert in_order(client_of(real, server, 600).fetch()) == in_order([ours, other])
        # Discover Versions, Locate, one description, the others with the first key, the last key.
        assert len(server.requests) == 5
    assert len(read.identifiers) == 2


@pytest.mark.parametrize(
    ("namespace", "data"), [("filer", PARENT_TAG), ("filer", "1-2"), ("other", PARENT_TAG)]
)
def test_a_key_pair_is_found_by_its_name_alone(namespace: str, data: str, real: RealServer) -> None:
    pair = new_pair()
    put_object(real, pair.key_id, material=pair.key.reveal(), namespace=namespace, data=data)
    client = client_of(real)
    assert client.fetch() == client.fetch([pair.key_id]) == client.find(pair.key_id) == [pair]
    assert client.held([pair.key_id]) == {pair.key_id}


def test_an_object_with_text_beyond_ascii_is_foreign(real: RealServer) -> None:
    pair = new_pair()
    client_of(real).store(pair, PARENT_TAG)
    put_object(real, "another's")

    renamed = 0

    def rename(answer: hostile.Answer, _: bytes) -> hostile.Answer:
        nonlocal renamed
        others = [item for item in answer.items if b"another's" in item[-1].value]
        hostile.Answer([], others).replace(hostile.NAME_VALUE, "Schlüssel".encode())
        renamed += len(others)
        return answer

    with hostile.proxy(real, rename, ask=unfiltered) as server:
        assert in_order(client_of(real, server).fetch()) == [pair]
    assert renamed == 1


def failing_once(operation: int, reason: int) -> hostile.Meddle:
    lost: list[int] = []

    def lose(answer: hostile.Answer, _: bytes) -> hostile.Answer:
        index = [hostile.operation_of(item) for item in answer.items].index(operation)
        if not lost:
            answer.items[index] = hostile.failed(answer.items[index], reason)
            lost.append(index)
        return answer

    return hostile.only_for(operation, lose)


def test_object_that_went_between_locate_and_get(real: RealServer) -> None:
    pairs = [new_pair(), new_pair()]
    put(real, *pairs)
    for case in product([hostile.GET, hostile.GET_ATTRIBUTES], [1, 0xB, 0xC, 0xD]):
        with hostile.proxy(real, failing_once(*case)) as server:
            left = client_of(real, server).fetch()
        assert len(left) == 1, case
        assert left[0] in pairs, case


def refusing(operation: int, reason: int, message: str) -> hostile.Meddle:
    def fail(answer: hostile.Answer, _: bytes) -> hostile.Answer:
        items = [
            hostile.failed(item, reason, message)
            if hostile.operation_of(item) == operation
            else item
            for item in answer.items
        ]
        return hostile.Answer(answer.header, items)

    return fail


def test_other_failures_of_an_item_fail_with_the_server_s_reason(real: RealServer) -> None:
    put(real, new_pair())
    reasons = {
        0x100: "general failure",
        0x8000ABCD: "result reason 0x8000abcd",
        2: "response too large",
    }
    for operation, (reason, text) in product(
        [hostile.GET, hostile.GET_ATTRIBUTES, hostile.LOCATE], reasons.items()
    ):
        with hostile.proxy(real, refusing(operation, reason, "\x1b[2J für Regal 鍵\n")) as server:
            said = failure_of(OPERATIONS["fetch"], client_of(real, server)).reason
        assert said == f'{text}: "\\x1b[2J für Regal 鍵"', operation


def test_refusal_of_a_whole_request_has_the_server_s_reason(real: RealServer) -> None:
    with hostile.proxy(real, lambda *_: hostile.refusal(4, "no 1.2 here")) as server:
        for ask in OPERATIONS.values():
            reason = failure_of(ask, client_of(real, server)).reason
            assert reason == 'invalid message: "no 1.2 here"'


def test_a_server_that_received_a_key_could_repeat_it_in_a_message(real: RealServer) -> None:
    def refuse(*_: object) -> hostile.Answer:
        return hostile.refusal(0xC, "no")

    with hostile.proxy(real, hiding(hostile.only_for(hostile.REGISTER, refuse))) as server:
        failure = failure_of(OPERATIONS["store"], client_of(real, server))
    assert failure.reason == "permission denied"


def hiding(meddle: hostile.Meddle) -> hostile.Meddle:
    """Return what meddles, and finds nothing: a pair that is refused but found is stored."""

    def find_nothing(answer: hostile.Answer, request: bytes) -> hostile.Answer | bytes:
        if hostile.operation_of(answer.items[0]) == hostile.LOCATE:
            return hostile.refusal(1)
        return meddle(answer, request)

    return find_nothing


@pytest.mark.parametrize("operation", [hostile.REGISTER, hostile.ACTIVATE])
def test_a_secret_is_not_shown_even_if_the_server_sends_it(
    operation: int,
    real: RealServer,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(0)
    secret = b"Correct horse 9 battery staple"
    pair = new_pair(key=secret)
    for meddle in (
        lambda answer, _: hostile.Answer(
            answer.header, [hostile.failed(answer.items[0], 0x100, secret.decode())]
        ),
        lambda *_: hostile.refusal(0x100, secret.decode()),
        lambda answer, _: answer.replace(hostile.UNIQUE_IDENTIFIER, secret + b"\xff"),
        lambda answer, _: answer.replace(hostile.RESPONSE_PAYLOAD, secret),
    ):
        with hostile.proxy(real, hiding(hostile.only_for(operation, meddle))) as server:
            client = client_of(real, server)
            failure: BaseException | None = None
            try:
                client.store(pair, PARENT_TAG)
                assert operation == hostile.ACTIVATE  # which may be refused
            except KeyServerFailure as caught:
                failure = caught
        while failure is not None:
            assert secret.decode() not in f"{failure} {failure!r} {failure.args}"
            failure = failure.__cause__ or failure.__context__
    with hostile.proxy(
        real, hostile.only_for(hostile.GET, lambda answer, _: answer.replace(0x420043, b""))
    ) as server:
        assert found(client_of(real, server), pair.key_id) == []
    stored = found(client_of(real), pair.key_id)
    assert secret.decode() not in f"{stored!r} {caplog.text} {capfd.readouterr()}"
    assert "Correct" not in f"{stored!r} {caplog.text}"


def test_no_message_is_shown_after_a_key_was_sent(real: RealServer) -> None:
    pair = new_pair()

    def refuse(answer: hostile.Answer, _: bytes) -> hostile.Answer:
        return hostile.Answer(
            answer.header, [hostile.failed(item, 0x100, "no") for item in answer.items]
        )

    def take_back(client: KmipClient) -> object:
        return client.take_back(pair.key_id, pair.key, "1")

    with hostile.proxy(real, hiding(hostile.only_for(hostile.REGISTER, refuse))) as server:
        client = client_of(real, server)
        failure = failure_of(lambda it: it.store(pair, PARENT_TAG), client)
        assert failure.reason == "general failure"
    with hostile.proxy(real, refuse) as server:
        client.port = server.port  # it remembers in the next conversation
        assert failure_of(take_back, client).reason == "general failure"
        other = client_of(real, server)
        assert failure_of(take_back, other).reason == 'general failure: "no"'


# Round trips


def test_round_trips_do_not_grow_with_the_number_of_keys(real: RealServer) -> None:
    pairs = [new_pair() for _ in range(300)]
    counts = []
    for more in pairs[:10], pairs[10:]:
        put(real, *more)
        with hostile.proxy(real) as server:
            fetched = client_of(real, server, 600).fetch()
            counts.append(len(server.requests))
    assert in_order(fetched) == sorted(pairs, key=lambda pair: pair.key_id)
    # Discover Versions, Locate, one description to see how fast the server is, those of all others
    # with the first key, all other keys.
    assert counts == [5, 5]


def test_answers_too_large_for_the_server_are_asked_in_halves(real: RealServer) -> None:
    pairs = [new_pair() for _ in range(40)]
    put(real, *pairs)

    def limit(answer: hostile.Answer, _: bytes) -> "hostile.Answer | bytes":
        whole = bytes(answer)
        return whole if len(whole) <= 8192 else hostile.refusal(2)

    with hostile.proxy(real, limit) as server:
        fetched = client_of(real, server).fetch()
        assert len(server.requests) < 15
    assert in_order(fetched) == sorted(pairs, key=lambda pair: pair.key_id)


def test_huge_foreign_object_does_not_hide_the_others(real: RealServer) -> None:
    before, after = new_pair(), new_pair()
    client_of(real).store(before, PARENT_TAG)
    huge = put_object(real, "huge", namespace="other")
    client_of(real).store(after, PARENT_TAG)

    def limit(answer: hostile.Answer, request: bytes) -> hostile.Answer:
        got = [item for item in answer.items if hostile.operation_of(item) == hostile.GET]
        of_huge = any(huge.encode() == identifier_of(item) for item in got)
        return hostile.refusal(2) if of_huge else answer

    with hostile.proxy(real, limit, ask=unfiltered) as server:
        assert len(client_of(real, server).fetch()) == 2


def identifier_of(item: list[Element]) -> bytes | None:
    (payload,) = (each.value for each in item if each.tag == hostile.RESPONSE_PAYLOAD)
    return next(each.value for each in elements(payload) if each.tag == hostile.UNIQUE_IDENTIFIER)


# Taking back


@pytest.mark.parametrize("state", ["pre-active", "active", "deactivated"])
@pytest.mark.parametrize("known", [True, False])
def test_taking_back(state: str, known: bool, real: RealServer) -> None:
    pair = new_pair()
    identifier = put_object(real, pair.key_id, material=pair.key.reveal(), state=state)
    client = client_of(real)
    assert client.take_back(pair.key_id, pair.key, identifier if known else None)
    assert found(client, pair.key_id) == []
    with pykmip(real) as other:
        assert other.locate() == []
    assert client.take_back(pair.key_id, pair.key, identifier if known else None)


def test_taking_back_what_never_arrived(real: RealServer) -> None:
    pair = new_pair()
    assert client_of(real).take_back(pair.key_id, pair.key, None)
    assert client_of(real).take_back(pair.key_id, pair.key, "12345")


def test_another_secret_is_not_taken_back(real: RealServer) -> None:
    pair = new_pair()
    other = put_object(real, pair.key_id, material=b"another's")
    # Some servers do not store Application Specific Information.
    unmarked = put_object(real, pair.key_id, material=pair.key.reveal(), namespace="other")
    ours = client_of(real).store(pair, PARENT_TAG)
    assert client_of(real).take_back(pair.key_id, pair.key, None)
    with pykmip(real) as client:
        assert client.locate() == [other]
    assert ours not in {other, unmarked}
    assert client_of(real).take_back(pair.key_id, pair.key, ours)
    assert [each.key.reveal() for each in found(client_of(real), pair.key_id)] == [b"another's"]


def test_identifier_of_an_object_with_another_name_is_not_taken_back(real: RealServer) -> None:
    pair, other = new_pair(), new_pair()
    identifier = client_of(real).store(other, PARENT_TAG)
    assert client_of(real).take_back(pair.key_id, pair.key, identifier) is False
    assert in_order(client_of(real).fetch()) == [other]


def test_an_object_that_was_renamed_is_not_called_taken_back(real: RealServer) -> None:
    pair = new_pair()
    identifier = put_object(real, "renamed", material=pair.key.reveal(), state="pre-active")
    assert client_of(real).take_back(pair.key_id, pair.key, identifier) is False
    assert client_of(real).take_back(pair.key_id, pair.key, None)
    with pykmip(real) as client:
        assert client.locate() == [identifier]
        client.destroy(identifier)
    assert client_of(real).take_back(pair.key_id, pair.key, identifier)


def test_object_made_by_this_command_is_taken_back_unread(real: RealServer) -> None:
    pair = new_pair()
    identifier = client_of(real).store(pair, PARENT_TAG)

    def deny(answer: hostile.Answer, _: bytes) -> hostile.Answer:
        items = [
            hostile.failed(item, 0xC) if hostile.operation_of(item) == hostile.GET else item
            for item in answer.items
        ]
        return hostile.Answer(answer.header, items)

    with hostile.proxy(real, deny) as server:
        client = client_of(real, server)
        assert found(client, pair.key_id) == []
        assert client.take_back(pair.key_id, pair.key, identifier)
    assert found(client_of(real), pair.key_id) == []


def test_taking_back_is_refused_or_pretended(real: RealServer) -> None:
    from filer.kmip.requests import encode, query

    pair = new_pair()
    identifier = client_of(real).store(pair, PARENT_TAG)

    def refuse(answer: hostile.Answer, request: bytes) -> hostile.Answer:
        answer = pretend(answer, request)
        if not is_destroy(request):
            return answer
        return hostile.Answer(answer.header, [hostile.failed(answer.items[0], 0xC)])

    def is_destroy(request: bytes) -> bool:
        operation = Element(hostile.OPERATION, 5, struct.pack("!I", hostile.DESTROY))
        return operation.encoding() in request

    def pretend(answer: hostile.Answer, request: bytes) -> hostile.Answer:
        if not is_destroy(request):
            return answer
        payload = Element(hostile.UNIQUE_IDENTIFIER, 7, identifier.encode()).encoding()
        done = [
            Element(hostile.OPERATION, 5, struct.pack("!I", hostile.DESTROY)),
            Element(hostile.RESULT_STATUS, 5, bytes(4)),
            Element(hostile.RESPONSE_PAYLOAD, 1, payload),
        ]
        return hostile.Answer(answer.header, [done])

    def take_back(client: KmipClient) -> bool:
        return client.take_back(pair.key_id, pair.key, identifier)

    def spare(request: bytes) -> bytes:
        return encode([query()], 0) if is_destroy(request) else request

    with hostile.proxy(real, pretend, ask=spare) as server:
        assert take_back(client_of(real, server)) is False
    with hostile.proxy(real, refuse, ask=spare) as server:
        failure = failure_of(take_back, client_of(real, server))
    assert failure.reason == "permission denied"


def test_pair_whose_activation_is_refused_is_found_and_taken_back(real: RealServer) -> None:
    pair = new_pair()

    def refuse(answer: hostile.Answer, _: bytes) -> hostile.Answer:
        return hostile.Answer(answer.header, [hostile.failed(answer.items[0], 0x100)])

    with hostile.proxy(
        real,
        hostile.only_for(hostile.ACTIVATE, refuse),
    ) as server:
        client_of(real, server).store(pair, PARENT_TAG)
    assert len(found(client_of(real), pair.key_id)) == 1
    assert client_of(real).take_back(pair.key_id, pair.key, None)
    assert found(client_of(real), pair.key_id) == []


# Several


def test_ipv6(key_servers: StartKeyServers) -> None:
    (server,) = key_servers(addresses=("::1",))
    pair = new_pair()
    client = client_of(server)
    client.store(pair, PARENT_TAG)
    assert in_order(client.fetch()) == [pair]
    with hostile.start("is another address", server) as other:
        failure = failure_of(OPERATIONS["probe"], client_of(server, other))
    assert failure.reason == "its certificate is for 127.0.0.99"


def test_several_servers_at_the_same_time(key_servers: StartKeyServers) -> None:
    servers = key_servers(4)
    pair = new_pair()
    results: dict[str, list[KeyPair]] = {}

    def talk(server: RealServer) -> None:
        client = client_of(server)
        client.store(pair, PARENT_TAG)
        results[server.address] = client.fetch()

    threads = [threading.Thread(target=talk, args=(server,)) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [in_order(results[server.address]) for server in servers] == [[pair]] * 4


def test_nothing_slow_is_imported_before_a_server_is_talked_to() -> None:
    import subprocess
    import sys

    program = (
        "import sys, filer.kmip.client; print({'kmip', 'ssl', 'cryptography'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"set()\n"
