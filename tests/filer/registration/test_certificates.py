"""Installing certificates: names, contents, and refusals."""

import base64
import os
import random
import shutil
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import permutations
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from filer.host.durable import Storage, StorageError
from filer.keyserver.authority import Identity
from filer.registration.certificates import (
    check_pair,
    first_to_expire,
    inspect,
    registered_form,
    registered_warnings,
)
from filer.registration.installed import Installed
from filer.registration.pem import (
    CLIENT,
    CLIENT_PRIVATE,
    SIZE_LIMIT,
    CertificateError,
    address_of,
    ca_name,
    canonical_name,
)
from tests.kit import pki

NOW = datetime(2026, 11, 24, 10, 17, 29, tzinfo=UTC)
CA = "127.0.0.2_CA.pem"

Key = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)

KINDS: dict[str, Callable[[], Key]] = {
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "EC": lambda: ec.generate_private_key(ec.SECP256R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "Ed448": ed448.Ed448PrivateKey.generate,
}


@cache
def key(kind: str = "EC", which: str = "mine") -> Key:
    """Return a key, always the same for the same ``words``."""
    assert which
    return KINDS[kind]()


def certificate(
    private: Key | None = None,
    subject: str = "filer",
    *,
    begins: datetime = NOW - timedelta(days=1),
    ends: datetime = NOW + timedelta(days=30),
    serial: int | None = None,
) -> x509.Certificate:
    private = private or key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    issuer = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "The Issuer")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(private.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
    digests = isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    return builder.sign(private, hashes.SHA256() if digests else None)


def pem(made: x509.Certificate) -> bytes:
    return made.public_bytes(Encoding.PEM)


def key_pem(
    private: Key | None = None,
    form: PrivateFormat = PrivateFormat.PKCS8,
    encryption: KeySerializationEncryption | None = None,
) -> bytes:
    return (private or key()).private_bytes(Encoding.PEM, form, encryption or NoEncryption())


@cache
def client() -> bytes:
    """A valid client.pem."""
    return pem(certificate())


@cache
def client_private() -> bytes:
    """The client_private.pem that matches ``client``."""
    return client() + key_pem()


def refusal(name: str, data: bytes, installed_client: bytes | None = None) -> str:
    with pytest.raises(CertificateError) as error:
        inspect(name, data, NOW, installed_client)
    assert str(error.value).isprintable()
    return str(error.value)


# names


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("client.pem", "client.pem"),
        ("client_private.pem", "client_private.pem"),
        ("127.0.0.2_CA.pem", "127.0.0.2_CA.pem"),
        ("2001:DB8::1_CA.pem", "2001:db8::1_CA.pem"),
        ("::ffff:127.0.0.2_CA.pem", "127.0.0.2_CA.pem"),
    ],
)
def test_a_certificate_file_has_one_name(name: str, canonical: str) -> None:
    assert canonical_name(name) == canonical
    data = client_private() if name == CLIENT_PRIVATE else client()
    assert inspect(name, data, NOW).name == canonical


@pytest.mark.parametrize(
    "name",
    [
        "",
        "client",
        "Client.pem",
        "client.pem ",
        "_CA.pem",
        "127.0.0.2_ca.pem",
        "127.0.0.2_CA.PEM",
        "127.0.0.02_CA.pem",
        "keyserver_CA.pem",
        "fe80::1%eth0_CA.pem",
        "0.0.0.0_CA.pem",
        "../client.pem",
        "../127.0.0.2_CA.pem",
        "client.pem/",
        "a\x1b[2J\n_CA.pem",
        "\ud800_CA.pem",
    ],
)
def test_any_other_name_is_refused(name: str) -> None:
    assert refusal(name, client()).endswith(
        " is not the name of a certificate file; "
        "expected client.pem, client_private.pem or IPADDR_CA.pem"
    )
    assert address_of(name) is None


@given(st.ip_addresses().map(str))
def test_the_name_of_a_ca_file_gives_its_address_back(address: str) -> None:
    if (found := address_of(ca_name(address))) is not None:
        assert address_of(ca_name(found)) == found


# what is accepted


def test_the_fields_of_a_certificate_are_read() -> None:
    begins, ends = NOW - timedelta(days=3), NOW + timedelta(days=4)
    info = inspect(CA, pem(certificate(subject="key, server", begins=begins, ends=ends)), NOW)
    assert info.name == CA
    assert info.subject == "CN=key\\, server"
    assert info.issuer == "O=The Issuer"
    assert (info.not_before, info.not_after) == (begins, ends)
    assert info.warnings == ()


FORMS = [
    ("RSA", PrivateFormat.PKCS8),
    ("RSA", PrivateFormat.TraditionalOpenSSL),
    ("EC", PrivateFormat.PKCS8),
    ("EC", PrivateFormat.TraditionalOpenSSL),
    ("Ed25519", PrivateFormat.PKCS8),
    ("Ed448", PrivateFormat.PKCS8),
]


def loads_in_tls(directory: Path, client_pem: bytes, private_pem: bytes) -> None:
    (directory / CLIENT).write_bytes(client_pem)
    (directory / CLIENT_PRIVATE).write_bytes(private_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(directory / CLIENT, directory / CLIENT_PRIVATE)
    context.load_verify_locations(directory / CLIENT)


@pytest.mark.parametrize(("kind", "form"), FORMS)
@pytest.mark.parametrize("key_first", [True, False])
def test_every_usual_kind_and_form_of_key_is_accepted_and_works_in_tls(
    kind: str, form: PrivateFormat, key_first: bool, tmp_path: Path
) -> None:
    public = pem(certificate(key(kind)))
    private = key_pem(key(kind), form)
    both = private + public if key_first else public + private
    assert inspect(CLIENT, public, NOW).subject == "CN=filer"
    assert inspect(CLIENT_PRIVATE, both, NOW, public).subject == "CN=filer"
    check_pair(public, both)
    loads_in_tls(tmp_path, public, both)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text.replace(b"\n", b" \n"),
        lambda text: text.replace(b"\n", b"\r"),
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"-----BEGIN", b"\xef\xbb\xbf-----BEGIN"),
        lambda text: b"Bag Attributes\n  \xff\xfe binary: \x00\n" + text,
        lambda text: text.replace(b"-----BEGIN CERT", b"subject=x\n\n-----BEGIN CERT"),
        lambda text: text.rstrip(b"\n"),
        lambda text: text.replace(
            b"-----BEGIN PRIV",
            b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
            b"-----BEGIN PRIV",
        ),
    ],
)
def test_what_tools_put_around_a_certificate_is_no_matter(
    change: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    public, private = change(client()), change(client_private())
    assert inspect(CLIENT, public, NOW).subject == "CN=filer"
    check_pair(public, private)
    forms = registered_form(CLIENT, public), registered_form(CLIENT_PRIVATE, private)
    loads_in_tls(tmp_path, *forms)


def test_a_bundle_is_shown_by_its_first_certificate() -> None:
    bundle = pem(certificate(subject="first")) + pem(certificate(key("RSA"), "second"))
    assert inspect(CA, bundle, NOW).subject == "CN=first"


def test_two_client_certificates_in_one_file_are_refused() -> None:
    first, second = certificate(subject="first", serial=1), certificate(key("RSA"), serial=1)
    bundle = pem(first) + pem(second)
    assert refusal(CLIENT, bundle) == (
        "client.pem: 2 client certificates in it; "
        "leave only the one to use, and those of its issuers"
    )
    with pytest.raises(CertificateError):
        registered_form(CLIENT, bundle)


# chains


def chain() -> tuple[Identity, Identity, Identity]:
    """Return a client, its issuer, and the root above that."""
    root = pki.authority("the root")
    between = pki.authority("in between", issuer=root)
    return pki.client(between), between, root


def accepts(ca: bytes, directory: Path) -> bool:
    """Do a handshake with a server that trusts ``ca``, with the client files in ``directory``."""
    (directory / CA).write_bytes(ca)
    server_key = pki.server(None, "127.0.0.2")
    (directory / "server.pem").write_bytes(server_key.private_pem())
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_cert_chain(directory / "server.pem")
    server.load_verify_locations(directory / CA)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.load_cert_chain(directory / CLIENT, directory / CLIENT_PRIVATE)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLCertVerificationError:
                return False
    return ends[1].getpeercert() is not None


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_chain_in_any_order_is_shown_from_the_client_up(
    order: tuple[int, ...], tmp_path: Path
) -> None:
    identities = chain()
    public = b"".join(identities[each].certificate_pem() for each in order)
    private = identities[0].private_pem().replace(identities[0].certificate_pem(), b"")

    assert inspect(CLIENT, public, NOW).subject == "CN=filer"
    assert inspect(CLIENT_PRIVATE, private + public, NOW, public).subject == "CN=filer"
    (tmp_path / CLIENT).write_bytes(registered_form(CLIENT, public))
    (tmp_path / CLIENT_PRIVATE).write_bytes(registered_form(CLIENT_PRIVATE, private + public))
    assert accepts(identities[2].certificate_pem(), tmp_path)


def test_several_roots_in_a_ca_file_are_all_registered() -> None:
    roots = b"comment\r\n".join(pki.authority(f"root {n}").certificate_pem() for n in range(3))
    assert x509.load_pem_x509_certificates(registered_form(CA, roots)) == (
        x509.load_pem_x509_certificates(roots)
    )


@pytest.mark.parametrize("name", [CLIENT, CLIENT_PRIVATE, CA])
def test_what_is_registered_is_what_was_read(name: str) -> None:
    data = client_private() if name == CLIENT_PRIVATE else client()
    assert registered_form(name, b"Bag Attributes\n" + data.replace(b"\n", b" \r\n")) == data
    assert registered_form(name, registered_form(name, data)) == data


# what TLS refuses as weak


def by_openssl(directory: Path, *options: str) -> bytes:
    """Have OpenSSL sign a certificate of CN=old with SHA-1, which the library refuses to do."""
    made = directory / "made.pem"
    command = ["openssl", "req", "-x509", "-nodes", "-days", "9", "-subj", "/CN=old", *options]
    subprocess.run(
        [*command, "-keyout", directory / "key.pem", "-out", made], check=True, capture_output=True
    )
    return made.read_bytes()


@pytest.mark.parametrize("name", [CLIENT, CA])
def test_a_weak_certificate_is_refused_with_the_remedy(name: str, tmp_path: Path) -> None:
    root = tmp_path / "root.pem"
    root.write_bytes(pki.authority().private_pem())
    issued = ("-CA", str(root), "-CAkey", str(root))
    assert refusal(name, by_openssl(tmp_path, "-newkey", "rsa:1024", *issued)) == (
        f"{name}: the key of CN=old has 1024 bits, too few for TLS; "
        "have it issued again for a key of 2048 bits or more"
    )
    assert refusal(name, by_openssl(tmp_path, "-newkey", "rsa:2048", "-sha1", *issued)) == (
        f"{name}: CN=old is signed with SHA1, too weak for TLS; have it issued again with SHA256"
    )
    inspect(name, by_openssl(tmp_path, "-newkey", "rsa:2048", "-sha1"), NOW)


def test_names_from_a_certificate_are_printable() -> None:
    info = inspect(CA, pem(certificate(subject="a\x1b[2J\u202eb\r\nc\u2028d")), NOW)
    assert info.subject == "CN=a\\x1b[2J\\u202eb\\r\\nc\\u2028d"


def test_a_certificate_without_subject_is_shown_as_such() -> None:
    unsigned = x509.CertificateBuilder(
        issuer_name=x509.Name([]),
        subject_name=x509.Name([]),
        public_key=key().public_key(),
        serial_number=1,
        not_valid_before=NOW,
        not_valid_after=NOW,
    )
    info = inspect(CA, pem(unsigned.sign(key(), hashes.SHA256())), NOW)
    assert (info.subject, info.issuer) == ("(none)", "(none)")


# dates


SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("begins", "ends", "warnings"),
    [
        (NOW - 9 * SECOND, NOW - SECOND, ("expired on 2026-11-24 10:17:28 UTC",)),
        (NOW + SECOND, NOW + 9 * SECOND, ("is not valid before 2026-11-24 10:17:30 UTC",)),
        (NOW, NOW, ()),
    ],
)
def test_a_certificate_that_is_not_valid_now_is_a_warning(
    begins: datetime, ends: datetime, warnings: tuple[str, ...]
) -> None:
    made = certificate(begins=begins, ends=ends)
    assert inspect(CLIENT, pem(made), NOW).warnings == warnings


@pytest.mark.parametrize(
    ("left", "warnings"),
    [
        (timedelta(days=30), ()),
        (
            timedelta(days=29, hours=23),
            ("expires in 29 days, on 2026-12-24 09:17:29 UTC",),
        ),
        (timedelta(days=1), ("expires in 1 day, on 2026-11-25 10:17:29 UTC",)),
        (timedelta(hours=23), ("expires in less than a day, on 2026-11-25 09:17:29 UTC",)),
    ],
)
def test_a_certificate_that_expires_soon_is_a_warning(
    left: timedelta, warnings: tuple[str, ...]
) -> None:
    made = certificate(begins=NOW, ends=NOW + left)
    assert inspect(CLIENT, pem(made), NOW, notice=timedelta(days=30)).warnings == warnings
    assert inspect(CLIENT, pem(made), NOW).warnings == ()


def test_registered_certificates_are_warned_of_once_and_damage_is_named() -> None:
    expired = pem(certificate(begins=NOW - timedelta(days=9), ends=NOW - SECOND))
    registered = {CLIENT: expired, CLIENT_PRIVATE: expired, CA: b"x", "127.0.0.3_CA.pem": expired}
    text = "registered certificate {}: expired on 2026-11-24 10:17:28 UTC"
    assert list(registered_warnings(registered, NOW, timedelta(0))) == [
        (CLIENT, text.format(CLIENT)),
        (CA, f"registered certificate {CA}: not a PEM file"),
        ("127.0.0.3_CA.pem", text.format("127.0.0.3_CA.pem")),
    ]


def test_the_first_to_expire_is_found_in_all_files() -> None:
    soon = NOW + timedelta(days=1)
    late, early = (pem(certificate(begins=NOW, ends=end)) for end in (NOW + timedelta(9), soon))
    assert first_to_expire({CLIENT: late, CA: late + early}) == (CA, soon)
    assert first_to_expire({}) is None
    assert first_to_expire({CLIENT: early, CA: b"x"}) is None


def test_the_dates_of_all_certificates_in_a_bundle_count() -> None:
    expired = certificate(begins=NOW - timedelta(days=9), ends=NOW - timedelta(seconds=1))
    assert inspect(CA, client() + pem(expired), NOW).warnings == (
        "certificate 2 in the file expired on 2026-11-24 10:17:28 UTC",
    )


def test_the_time_zone_of_the_console_is_no_matter() -> None:
    made = pem(certificate(begins=NOW, ends=NOW))
    assert inspect(CLIENT, made, NOW.astimezone()).warnings == ()


# what is refused


def der() -> bytes:
    return certificate().public_bytes(Encoding.DER)


def pkcs12() -> bytes:
    private = key()
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return serialize_key_and_certificates(b"filer", private, certificate(), None, NoEncryption())


def request() -> bytes:
    builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
    return builder.sign(key(), hashes.SHA256()).public_bytes(Encoding.PEM)


def block(label: str, data: bytes) -> bytes:
    body = base64.encodebytes(data).decode()
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n".encode()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (lambda: b"", "not a PEM file"),
        (lambda: b"hello\n", "not a PEM file"),
        (lambda: bytes(range(256)), "not a PEM file"),
        (der, "binary (DER), not PEM; convert it: openssl x509 -inform DER -in FILE -out NAME"),
        (pkcs12, "a PKCS #12 key store, not PEM; convert it: openssl pkcs12 -in FILE NAME"),
        (
            lambda: client().decode().encode("utf-16"),
            "text in UTF-16, not PEM; save it as ASCII or UTF-8",
        ),
        (
            lambda: block("PKCS7", b"x"),
            "contains no certificate, only PKCS7; convert it: "
            "openssl pkcs7 -print_certs -in FILE -out NAME",
        ),
        (request, "contains no certificate, only CERTIFICATE REQUEST"),
        (key_pem, "contains no certificate, only PRIVATE KEY"),
        (lambda: block("\x1b[2J", b"x"), "contains no certificate, only an unknown block"),
        (lambda: block("CERTIFICATE", b"x"), "the certificate is damaged"),
        (lambda: block("CERTIFICATE", der()[:-1]), "the certificate is damaged"),
        (lambda: block("CERTIFICATE", der() + b"x"), "the certificate is damaged"),
        (
            lambda: b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
            "the certificate is damaged",
        ),
        (lambda: client() + block("CERTIFICATE", b"x"), "the certificate is damaged"),
        (
            lambda: client()[:-30],
            "damaged; the block that begins on line 1 has no end",
        ),
        (
            lambda: client() + client()[:200],
            "damaged; the block that begins on line LINE has no end",
        ),
        (
            lambda: client()[:200] + b"\n" + client(),
            "damaged; the block that begins on line 1 has no end",
        ),
        (lambda: client() + b" " * SIZE_LIMIT, "larger than 1 MiB"),
    ],
)
@pytest.mark.parametrize("name", [CLIENT, CLIENT_PRIVATE, CA])
def test_what_is_no_certificate_is_refused(
    data: Callable[[], bytes], reason: str, name: str
) -> None:
    next_line = client().count(b"\n") + 1
    if data is pkcs12:
        of_what = {CLIENT: "-clcerts -nokeys ", CLIENT_PRIVATE: ""}.get(name, "-cacerts -nokeys ")
        reason = reason.replace("NAME", f"{of_what}-nodes -out NAME")
    expected = reason.replace("LINE", str(next_line)).replace("NAME", name)
    assert refusal(name, data()) == f"{name}: {expected}"


@pytest.mark.parametrize("name", [CLIENT, CA])
@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_a_private_key_is_refused_where_none_belongs(name: str, form: PrivateFormat) -> None:
    for data in (client() + key_pem(form=form), key_pem(form=form) + client()):
        assert refusal(name, data) == (
            f"{name}: contains a private key, which belongs only in client_private.pem"
        )


# Ed25519 with 31 bytes instead of 32: the library raises an internal error.
SHORT = bytes.fromhex("302d020100300506032b65700421041f") + bytes(31)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (lambda: b"", "contains no private key; it needs client.pem and the private key"),
        (lambda: key_pem() * 2, "contains more than one private key"),
        (lambda: block("PRIVATE KEY", b"x"), "the private key is damaged"),
        (lambda: block("RSA PRIVATE KEY", b"x"), "the private key is damaged"),
        (lambda: block("EC PRIVATE KEY", b"x"), "the private key is damaged"),
        (lambda: block("PRIVATE KEY", SHORT), "the private key is damaged"),
    ],
)
def test_client_private_needs_one_sound_private_key(more: Callable[[], bytes], reason: str) -> None:
    assert refusal(CLIENT_PRIVATE, client() + more()) == f"client_private.pem: {reason}"


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("EC", PrivateFormat.PKCS8),
        ("RSA", PrivateFormat.PKCS8),
        ("EC", PrivateFormat.TraditionalOpenSSL),
        ("RSA", PrivateFormat.TraditionalOpenSSL),
    ],
)
def test_a_private_key_under_a_passphrase_is_refused(kind: str, form: PrivateFormat) -> None:
    encrypted = key_pem(key(kind), form, BestAvailableEncryption(b"swordfish"))
    assert refusal(CLIENT_PRIVATE, pem(certificate(key(kind))) + encrypted) == (
        "client_private.pem: the private key is encrypted; its passphrase cannot be entered at "
        "boot; "
        "decrypt it: openssl pkcs8 -topk8 -in FILE -nocrypt"
    )


def test_a_private_key_in_a_form_that_tls_does_not_read_is_refused() -> None:
    data = client() + key_pem(form=PrivateFormat.OpenSSH)
    assert refusal(CLIENT_PRIVATE, data) == (
        "client_private.pem: OPENSSH PRIVATE KEY is not usable for TLS; expected PKCS #8; "
        "convert it: ssh-keygen -p -m PKCS8 -f FILE"
    )
    old = dsa.generate_private_key(1024).private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    )
    assert refusal(CLIENT_PRIVATE, client() + old) == (
        "client_private.pem: DSA PRIVATE KEY is not usable for TLS; expected PKCS #8; "
        "convert it: openssl pkcs8 -topk8 -nocrypt -in FILE"
    )


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_private_key_that_does_not_fit_its_certificate_is_refused(kind: str) -> None:
    data = pem(certificate(key(kind))) + key_pem(key("EC", "another"))
    assert refusal(CLIENT_PRIVATE, data) == (
        "client_private.pem: the private key does not match the certificate in the same file"
    )


def test_a_private_key_has_to_fit_a_certificate_of_its_file() -> None:
    other = pem(certificate(key("EC", "another"), "other"))
    for both in (client() + other, other + client()):
        assert inspect(CLIENT_PRIVATE, both + key_pem(), NOW).subject == "CN=filer"
    assert "does not match" in refusal(CLIENT_PRIVATE, other + key_pem())


def test_a_private_key_that_does_not_fit_the_installed_client_is_refused() -> None:
    other = pem(certificate(key("EC", "another")))
    assert refusal(CLIENT_PRIVATE, client_private(), other) == (
        "client_private.pem: the private key does not match the installed client.pem; "
        "for a new key, install the new client.pem first"
    )
    assert refusal(CLIENT_PRIVATE, client_private(), b"") == "client.pem: not a PEM file"


def test_a_renewed_certificate_for_the_same_key_fits() -> None:
    renewed = pem(certificate(ends=NOW + timedelta(days=900)))
    assert inspect(CLIENT, renewed, NOW, None, client_private()).warnings == ()
    check_pair(renewed, client_private())


@pytest.mark.parametrize(
    "private", [lambda: pem(certificate(key("RSA"))) + key_pem(key("RSA")), lambda: b"junk"]
)
def test_a_client_that_does_not_fit_the_installed_private_key_is_a_warning(
    private: Callable[[], bytes],
) -> None:
    assert inspect(CLIENT, client(), NOW, None, private()).warnings == (
        "does not match the installed client_private.pem; install that next",
    )


def test_a_pair_that_does_not_fit_is_not_registered() -> None:
    other = key("EC", "another")
    for public, private, reason in (
        (
            client(),
            pem(certificate(other)) + key_pem(other),
            "client_private.pem: the private key does not match client.pem",
        ),
        (
            client(),
            client() + key_pem(other),
            "client_private.pem: the private key does not match the certificate in the same file",
        ),
        (b"", client_private(), "client.pem: not a PEM file"),
        (client(), b"", "client_private.pem: not a PEM file"),
        (
            client(),
            client(),
            "client_private.pem: contains no private key; it needs client.pem and the private key",
        ),
    ):
        with pytest.raises(CertificateError) as error:
            check_pair(public, private)
        assert str(error.value) == reason


# any bytes


def damaged(data: bytes, randomness: random.Random) -> bytes:
    """Return ``data`` with some bytes changed, removed or doubled."""
    changed = bytearray(data)
    for _ in range(randomness.randint(1, 4)):
        where = randomness.randrange(len(changed))
        how = randomness.randrange(4)
        if how == 0:
            changed[where] = randomness.randrange(256)
        elif how == 1:
            changed[where] ^= 1 << randomness.randrange(8)
        elif how == 2:
            del changed[where : where + randomness.randint(1, 4)]
        else:
            changed[where:where] = changed[where : where + randomness.randint(1, 8)]
    return bytes(changed)


def told(name: str, data: bytes) -> str:
    try:
        info = inspect(name, data, NOW, client(), client_private())
    except CertificateError as error:
        return str(error)
    return "".join((info.name, info.subject, info.issuer, *info.warnings))


@settings(deadline=None)
@given(st.binary(), st.sampled_from([CLIENT, CLIENT_PRIVATE, CA]))
def test_any_bytes_are_information_or_one_line(data: bytes, name: str) -> None:
    assert told(name, data).isprintable()
    assert told(name, block("CERTIFICATE", data)).isprintable()
    assert told(name, client() + block("PRIVATE KEY", data)).isprintable()


@cache
def made(kind: str) -> x509.Certificate:
    return certificate(key(kind))


@settings(deadline=None)  # generating RSA keys on a busy machine
@given(st.integers(0), st.sampled_from(list(KINDS)))
def test_any_damage_is_information_or_one_line(seed: int, kind: str) -> None:
    randomness = random.Random(seed)
    text = pem(made(kind)) + key_pem(key(kind))
    assert told(CLIENT_PRIVATE, damaged(text, randomness)).isprintable()
    inner = damaged(made(kind).public_bytes(Encoding.DER), randomness)
    for name in (CLIENT, CA):
        assert told(name, block("CERTIFICATE", inner)).isprintable()
    private = key(kind).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    both = pem(made(kind)) + block("PRIVATE KEY", damaged(private, randomness))
    assert told(CLIENT_PRIVATE, both).isprintable()


def test_a_refusal_never_quotes_the_private_key() -> None:
    body = key_pem().split(b"\n")[1].decode()
    for data in (
        client_private().replace(b"-----END PRIVATE", b"---END PRIVATE"),
        client_private().replace(b"BEGIN PRIVATE", b"BEGIN RSA PRIVATE"),
        key_pem(),
        client() + key_pem()[:-40],
    ):
        assert body[:8] not in refusal(CLIENT_PRIVATE, data)


@pytest.mark.parametrize(
    "line", [b"-----BEGIN CERTIFICATE-----\n", b"-----BEGIN X", b"-----END X-----\n", b"\n", b"-"]
)
def test_a_hostile_file_costs_no_more_than_a_moment(line: bytes) -> None:
    data = line * (SIZE_LIMIT // len(line))
    began = time.monotonic()
    refusal(CLIENT, data)
    assert time.monotonic() - began < 2


def der_value(tag: int, content: bytes) -> bytes:
    """Return one ASN.1 value in DER."""
    size = len(content)
    long = size.to_bytes((size.bit_length() + 7) // 8, "big")
    length = bytes([size]) if size < 0x80 else bytes([0x80 | len(long)]) + long
    return bytes([tag]) + length + content


def der_integer(number: int) -> bytes:
    return der_value(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def der_sequence(*values: bytes) -> bytes:
    return der_value(0x30, b"".join(values))


PRIMES = [2**4423 - 1, 2**4253 - 1]
"""Primes so large that a primality test alone takes seconds."""


def costly_keys() -> list[bytes]:
    """Return private keys that cost a careless reader seconds or minutes."""
    p, q = PRIMES
    exponent = 65537
    numbers = (0, p * q, exponent, 3, p, q, 3, 3, 1)
    rsa_key = der_sequence(*map(der_integer, numbers))
    pkcs3, x942 = "06092a864886f70d010301", "06072a8648ce3e0201"
    keys = [block("RSA PRIVATE KEY", rsa_key)]
    for identifier, parameters in ((pkcs3, (p, 2)), (x942, (p, 2, p // 2))):
        algorithm = bytes.fromhex(identifier) + der_sequence(*map(der_integer, parameters))
        body = der_integer(0) + der_sequence(algorithm) + der_value(0x04, der_integer(12345))
        keys.append(block("PRIVATE KEY", der_sequence(body)))
    headed = keys[1].replace(b"KEY-----\n", b"KEY-----\nX: yz\n\n", 1)
    return [*keys, headed]


def test_a_private_key_with_huge_numbers_costs_no_more_than_a_moment() -> None:
    for costly in costly_keys():
        began = time.process_time()
        assert refusal(CLIENT_PRIVATE, client() + costly) in (
            "client_private.pem: the private key is damaged",
            "client_private.pem: the private key has an unknown type",
        )
        assert time.process_time() - began < 1
    assert refusal(CLIENT_PRIVATE, client() + block("RSA PRIVATE KEY", bytes(8000))) == (
        "client_private.pem: the private key is larger than 8 KiB"
    )


def test_a_certified_key_with_huge_numbers_costs_no_more_than_a_moment() -> None:
    algorithm = bytes.fromhex("06092a864886f70d010301")
    algorithm += der_sequence(der_integer(PRIMES[0]), der_integer(2))
    public = der_sequence(der_sequence(algorithm), der_value(0x03, b"\0" + der_integer(12345)))
    signed_with = der_sequence(bytes.fromhex("06082a8648ce3d040302"))
    dates = der_sequence(der_value(0x17, b"260101000000Z"), der_value(0x17, b"270101000000Z"))
    names = der_sequence()
    signed = der_sequence(der_integer(1), signed_with, names, dates, names, public)
    whole = der_sequence(signed, signed_with, der_value(0x03, b"\0" + bytes(8)))
    began = time.process_time()
    assert refusal(CLIENT_PRIVATE, block("CERTIFICATE", whole) + key_pem()) == (
        "client_private.pem: the certificate has an unknown type"
    )
    assert time.process_time() - began < 1


def test_a_private_key_of_which_only_the_public_half_is_right_is_refused() -> None:
    whole = key("RSA")
    other = key("RSA", "another")
    assert isinstance(whole, rsa.RSAPrivateKey)
    assert isinstance(other, rsa.RSAPrivateKey)
    right, wrong = whole.private_numbers(), other.private_numbers()
    public = right.public_numbers
    numbers = (0, public.n, public.e, wrong.d, wrong.p, wrong.q, wrong.dmp1, wrong.dmq1, wrong.iqmp)
    private = block("RSA PRIVATE KEY", der_sequence(*map(der_integer, numbers)))
    assert refusal(CLIENT_PRIVATE, pem(certificate(whole)) + private) == (
        "client_private.pem: the private key is damaged"
    )


# the directory of installed certificates


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    return Installed(tmp_path / "mroot" / "etc" / "keymgr" / "cert", Storage())


def test_an_installed_certificate_is_there_by_its_name(installed: Installed) -> None:
    info, replaced = installed.install(client(), CLIENT, NOW)
    assert (info.name, info.subject, replaced) == (CLIENT, "CN=filer", False)
    assert installed.read(CLIENT) == installed.find(CLIENT) == client()
    assert installed.path(CLIENT).read_bytes() == client()
    assert installed.names() == [CLIENT]


def test_an_installed_certificate_is_a_copy_of_the_host_file(
    installed: Installed, tmp_path: Path
) -> None:
    text = client().replace(b"\n", b"\r\n") + b"a comment"
    (tmp_path / "file").write_bytes(text)
    (tmp_path / "link").symlink_to("file")
    installed.install(tmp_path / "link", CLIENT, NOW)
    assert installed.read(CLIENT) == text
    assert not installed.path(CLIENT).is_symlink()


def test_client_private_can_be_installed_first(installed: Installed) -> None:
    installed.install(client_private(), CLIENT_PRIVATE, NOW)
    info, _ = installed.install(client(), CLIENT, NOW)
    assert info.warnings == ()


def test_an_ipv6_address_is_installed_under_its_canonical_name(installed: Installed) -> None:
    installed.install(client(), "2001:DB8:0::1_CA.pem", NOW)
    assert installed.names() == ["2001:db8::1_CA.pem"]
    assert installed.read("2001:db8:0:0::1_CA.pem") == client()
    _, replaced = installed.install(client(), "2001:db8::1_CA.pem", NOW)
    assert replaced
    installed.delete("2001:DB8::1_CA.pem")
    assert installed.names() == []


def test_installed_names_are_in_order_and_others_are_passed_over(installed: Installed) -> None:
    assert installed.names() == []
    names = [CLIENT, CLIENT_PRIVATE, "9.0.0.1_CA.pem", "127.0.0.2_CA.pem", "::1_CA.pem"]
    for name in reversed(names):
        installed.install(client_private() if name == CLIENT_PRIVATE else client(), name, NOW)
    for other in ("README", ".DS_Store", "0::1_CA.pem", "a_CA.pem", "\x1b_CA.pem"):
        (installed.path(CLIENT).parent / other).write_bytes(client())
    assert installed.names() == names


def test_a_refused_file_changes_nothing(installed: Installed) -> None:
    installed.install(client(), CLIENT, NOW)
    for data in (b"", client()[:-30], client_private(), b" " * (SIZE_LIMIT + 1)):
        with pytest.raises(CertificateError):
            installed.install(data, CLIENT, NOW)
    assert installed.read(CLIENT) == client()
    assert installed.names() == [CLIENT]


def test_a_deleted_certificate_is_gone(installed: Installed) -> None:
    installed.install(client(), CLIENT, NOW)
    installed.delete(CLIENT)
    assert installed.find(CLIENT) is None
    for action in (installed.read, installed.delete):
        with pytest.raises(CertificateError, match=r"^client\.pem is not installed$"):
            action(CLIENT)
        with pytest.raises(CertificateError, match='"x" is not the name of a certificate file'):
            action("x")


def test_what_a_crash_left_half_written_is_removed(installed: Installed) -> None:
    directory = installed.path(CLIENT).parent
    directory.mkdir(parents=True)
    (directory / ".new-0123456789abcdef").write_bytes(client_private()[:100])
    assert installed.names() == []
    installed.install(client(), CLIENT, NOW)
    assert [path.name for path in directory.iterdir()] == [CLIENT]


def test_only_the_owner_reads_an_installed_certificate(
    installed: Installed, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(client_private())
    (tmp_path / "file").chmod(0o666)
    old = os.umask(0)
    try:
        installed.install(tmp_path / "file", CLIENT_PRIVATE, NOW)
    finally:
        os.umask(old)
    path = installed.path(CLIENT_PRIVATE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "mroot").stat().st_mode) == 0o700


def host_refusal(installed: Installed, path: Path) -> str:
    with pytest.raises(CertificateError) as error:
        installed.install(path, CLIENT, NOW)
    assert installed.names() == []
    return str(error.value)


def test_a_host_file_that_cannot_be_read_is_one_line(installed: Installed, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 1 << 40)
    for path, reason in (
        (tmp_path, "is a directory"),
        (tmp_path / "fifo", "not a regular file"),
        (tmp_path / "loop", "Too many levels of symbolic links"),
        (tmp_path / "large", "larger than 1 MiB"),
        (tmp_path / "nothing", "No such file or directory"),
        (tmp_path / "fifo" / "x", "Not a directory"),
        (Path("/dev/zero"), "not a regular file"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        assert host_refusal(installed, path) == f"{path}: {reason}"
    assert host_refusal(installed, Path("/\x1b\0")) == "/\\x1b\\x00: not a file name"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_host_file_without_permission_is_one_line(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(client())
    (tmp_path / "file").chmod(0)
    assert host_refusal(installed, tmp_path / "file") == f"{tmp_path}/file: Permission denied"


def test_a_link_among_the_installed_certificates_is_not_followed(
    installed: Installed, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(client())
    path = installed.path(CLIENT)
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "secret")
    with pytest.raises(CertificateError, match=r"^client\.pem: not a regular file$"):
        installed.read(CLIENT)
    _, replaced = installed.install(client(), CLIENT, NOW)
    assert replaced
    assert not path.is_symlink()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CertificateError, match=r"^client\.pem: not a regular file$"):
        installed.find(CLIENT)
    installed.delete(CLIENT)
    assert installed.names() == []


def test_a_directory_in_the_place_of_a_certificate_is_one_line(installed: Installed) -> None:
    installed.path(CLIENT).mkdir(parents=True)
    with pytest.raises(StorageError, match=r"^cannot write client\.pem: "):
        installed.install(client(), CLIENT, NOW)
    with pytest.raises(StorageError, match=r"^cannot write client\.pem: "):
        installed.delete(CLIENT)


def test_a_directory_that_is_no_directory_is_one_line(installed: Installed) -> None:
    directory = installed.path(CLIENT).parent
    directory.parent.mkdir(parents=True)
    directory.write_bytes(b"")
    with pytest.raises(CertificateError, match="cert: Not a directory"):
        installed.names()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_files_made_as_the_manual_says_are_accepted(installed: Installed, tmp_path: Path) -> None:
    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=tmp_path, check=True, capture_output=True)

    openssl("ecparam", "-name", "prime256v1", "-genkey", "-out", "key.pem")
    openssl("req", "-x509", "-new", "-key", "key.pem", "-subj", "/CN=filer1", "-out", "client.pem")
    public, private = tmp_path / "client.pem", tmp_path / "client_private.pem"
    private.write_bytes(public.read_bytes() + (tmp_path / "key.pem").read_bytes())
    now = datetime.now(UTC)
    for path in (public, private):
        info, _ = installed.install(path, path.name, now)
        assert (info.subject, info.warnings) == ("CN=filer1", ())


# cost


def test_a_console_that_reads_no_certificate_does_not_load_the_library() -> None:
    code = (
        "import sys, filer.registration.installed, filer.boot_device.generations\n"
        "print('cryptography.x509' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
