"""Certificate files: their names, and the PEM blocks in them."""

import re
from typing import NamedTuple

from filer.host.errors import FilerError
from filer.host.quoting import quoted
from filer.kmip.address import AddressError, parse_address

CLIENT = "client.pem"
CLIENT_PRIVATE = "client_private.pem"
_CA_ENDING = "_CA.pem"

SIZE_LIMIT = 1024 * 1024
"""Maximum size in bytes of a certificate file; enough for hundreds of certificates."""

PKCS8_LABEL = "PRIVATE KEY"
KEY_LABELS = (PKCS8_LABEL, "RSA PRIVATE KEY", "EC PRIVATE KEY")
"""The private keys that TLS reads."""

ENCRYPTED_LABEL = "ENCRYPTED PRIVATE KEY"
_CERTIFICATE_LABELS = ("CERTIFICATE", "X509 CERTIFICATE")
_NAMED_LABELS = {
    *_CERTIFICATE_LABELS,
    *KEY_LABELS,
    ENCRYPTED_LABEL,
    *("DSA PRIVATE KEY", "OPENSSH PRIVATE KEY", "PUBLIC KEY", "RSA PUBLIC KEY"),
    *("TRUSTED CERTIFICATE", "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST", "X509 CRL"),
    *("PKCS7", "CMS", "DH PARAMETERS", "EC PARAMETERS"),
}
"""The labels that messages may show; in a damaged file any other may be part of the key."""

_SHORTEST_PIECE = 16
"""Shorter lines outside blocks are not examined, because a file may have a million of them."""

_BODY = re.compile(rb"[A-Za-z0-9+/]{40,}={0,2}")
"""A line of a PEM block; if its letters are all of one case, it is hexadecimal instead."""

_SEQUENCE = b"\x30"
"""The first byte of a binary certificate or key store (ASN.1 DER)."""

_PKCS12_VERSION = b"\x02\x01\x03"
"""The bytes after the header of a PKCS #12 key store."""

_BOM = "\ufeff".encode()
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_CONVERSIONS = {
    "PKCS7": "openssl pkcs7 -print_certs -in FILE -out {name}",
    "CMS": "openssl pkcs7 -print_certs -in FILE -out {name}",
    "TRUSTED CERTIFICATE": "openssl x509 -in FILE -out {name}",
    "OPENSSH PRIVATE KEY": "ssh-keygen -p -m PKCS8 -f FILE",
}
"""How to convert a block of a kind that TLS does not read."""


class CertificateError(FilerError):
    """A certificate file was refused; nothing was installed or registered."""


def ca_name(address: str) -> str:
    """Return the name of the CA file for the key server at the canonical ``address``."""
    return f"{address}{_CA_ENDING}"


def address_of(name: str) -> str | None:
    """Return the canonical address of the key server whose CA file is ``name``, or None."""
    if not name.endswith(_CA_ENDING):
        return None
    try:
        return parse_address(name.removesuffix(_CA_ENDING))
    except AddressError:
        return None


def canonical_name(name: str) -> str:
    """Return ``name`` with the address in its canonical form.  Raises CertificateError."""
    if name in (CLIENT, CLIENT_PRIVATE):
        return name
    address = address_of(name)
    if address is None:
        raise CertificateError(
            f"{quoted(name)} is not the name of a certificate file; "
            f"expected {CLIENT}, {CLIENT_PRIVATE} or IPADDR{_CA_ENDING}"
        )
    return ca_name(address)


class Block(NamedTuple):
    """A PEM block: its label, and its text with both border lines."""

    label: str
    text: bytes

    def __repr__(self) -> str:
        """Omit the text, which may be a private key."""
        return f"Block({self.kind!r}, ...)"

    @property
    def has_certificate(self) -> bool:
        """Whether this is a certificate in a form that TLS reads."""
        return self.label in _CERTIFICATE_LABELS

    @property
    def has_private_key(self) -> bool:
        """Whether this is a private key of any kind, usable or not."""
        return self.label.endswith("PRIVATE KEY")

    @property
    def is_known(self) -> bool:
        """Whether messages may show the label; otherwise it may be part of a key."""
        return self.label in _NAMED_LABELS

    @property
    def kind(self) -> str:
        """The label for messages."""
        return self.label if self.is_known else "an unknown block"

    def conversion(self, name: str) -> str:
        """Return the command that converts this block to the file ``name``, or "" if unknown."""
        return _CONVERSIONS.get(self.label, "").format(name=name)


def blocks(name: str, data: bytes) -> list[Block]:
    """Return the PEM blocks in ``data``, at least one; text between blocks is ignored.

    Raises CertificateError, which never quotes ``data``, because it may be a private key.
    """
    if len(data) > SIZE_LIMIT:
        raise CertificateError(f"{name}: larger than {SIZE_LIMIT // 1024 // 1024} MiB")
    found: list[Block] = []
    begun: list[bytes] = []
    label = b""
    begins_on = 0
    lines = data.replace(_BOM, b"").replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    for number, line in enumerate(map(bytes.rstrip, lines), start=1):
        if line.startswith(b"-----BEGIN "):
            if begun:
                break
            if line.find(b"-----", len(b"-----BEGIN ")) != len(line) - len(b"-----"):
                raise CertificateError(
                    f"{name}: damaged; more text follows -----BEGIN ...----- on line {number}: "
                    "were its line ends lost?"
                )
            label, begins_on = line[len(b"-----BEGIN ") : -len(b"-----")], number
        if label:
            begun.append(line)
        elif len(line) >= _SHORTEST_PIECE and _may_be_key(line.strip()):
            raise CertificateError(
                f"{name}: damaged; line {number} is outside all blocks, but looks like part of one"
            )
        if label and line == b"-----END " + label + b"-----":
            text = b"\n".join(begun) + b"\n"
            found.append(Block(label.decode("ascii", "backslashreplace"), text))
            begun, label = [], b""
    if begun:
        raise CertificateError(
            f"{name}: damaged; the block that begins on line {begins_on} has no end"
        )
    if not found:
        raise CertificateError(f"{name}: {_form(name, data)}")
    return found


def _form(name: str, data: bytes) -> str:
    """Return what a file without a PEM block is, and how to convert it."""
    if data.startswith(_UTF_16):
        return "text in UTF-16, not PEM; save it as ASCII or UTF-8"
    if not data.startswith(_SEQUENCE):
        return "not a PEM file"
    if _PKCS12_VERSION in data[:12]:
        chosen = {CLIENT: " -clcerts -nokeys", CLIENT_PRIVATE: ""}.get(name, " -cacerts -nokeys")
        command = f"openssl pkcs12 -in FILE{chosen} -nodes -out {name}"
        return f"a PKCS #12 key store, not PEM; convert it: {command}"
    return f"binary (DER), not PEM; convert it: openssl x509 -inform DER -in FILE -out {name}"


def _may_be_key(line: bytes) -> bool:
    """Return whether a line outside all blocks may be part of a private key."""
    is_body = _BODY.fullmatch(line) and line not in (line.lower(), line.upper())
    return b"PRIVATE KEY-----" in line or bool(is_body)
