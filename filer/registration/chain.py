"""The certificates of a file, in the order in which TLS needs them."""

from typing import TYPE_CHECKING, NamedTuple

from filer.registration.pem import CLIENT, CLIENT_PRIVATE, CertificateError, blocks
from filer.registration.public_keys import damage_reported, key_of_private, public_key

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


class Found(NamedTuple):
    """A certificate, and the text of its PEM block."""

    text: bytes
    certificate: "Certificate"


def certificates(name: str, data: bytes) -> list[Found]:
    """Return the certificates in ``data``, at least one, in the order in which TLS needs them."""
    from cryptography.x509 import load_pem_x509_certificate

    found = blocks(name, data)
    texts = [block.text for block in found if block.has_certificate]
    if not texts:
        found.sort()
        kinds = ", ".join(dict.fromkeys(block.kind for block in found))
        remedies = [each for block in found if (each := block.conversion(name))]
        remedy = f"; convert it: {remedies[0]}" if remedies else ""
        raise CertificateError(f"{name}: contains no certificate, only {kinds}{remedy}")
    if name != CLIENT_PRIVATE:
        if any(block.has_private_key for block in found):
            raise CertificateError(
                f"{name}: contains a private key, which belongs only in {CLIENT_PRIVATE}"
            )
        if not all(block.is_known for block in found):
            raise CertificateError(
                f"{name}: damaged; a block in it has an unknown type, and may be a private key"
            )
    with damage_reported(name):
        certified = [Found(text, load_pem_x509_certificate(text)) for text in texts]
        for _text, certificate in certified:
            # The library decodes these fields on first use; find damage now.
            _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
            _ = certificate.subject, certificate.issuer
    if len(certified) == 1 or name not in (CLIENT, CLIENT_PRIVATE):
        return certified
    return _chain(name, certified, _key_if_any(data) if name == CLIENT_PRIVATE else None)


def _key_if_any(data: bytes) -> bytes | None:
    try:
        return key_of_private(data)
    except CertificateError:  # reported where the key is needed
        return None


def _chain(name: str, found: list[Found], key: bytes | None) -> list[Found]:
    """Return ``found`` with the client certificate first, then its issuers, then the others.

    ``key`` is the public key of the client, if it is known.
    """
    chain = [_client_among(name, found, key)]
    left = [each for each in found if each is not chain[0]]
    while issuers := [
        each for each in left if each.certificate.subject == chain[-1].certificate.issuer
    ]:
        chain.append(issuers[0])
        left.remove(issuers[0])
    return chain + left


def _client_among(name: str, found: list[Found], key: bytes | None) -> Found:
    with damage_reported(name):
        if fitting := [each for each in found if public_key(each.certificate) == key]:
            return fitting[0]
        issuers = [
            each.certificate.subject
            for each in found
            if any(
                other.certificate.issuer == each.certificate.subject
                for other in found
                if other is not each
            )
        ]
        ends = [each for each in found if each.certificate.subject not in issuers] or found
        clients = [each for each in ends if not _is_authority(each.certificate)] or ends
    if len({each.text for each in clients}) > 1:
        raise CertificateError(
            f"{name}: {len(clients)} client certificates in it; "
            "leave only the one to use, and those of its issuers"
        )
    return clients[0]


def _is_authority(certificate: "Certificate") -> bool:
    from cryptography.x509 import BasicConstraints, ExtensionNotFound

    try:
        return certificate.extensions.get_extension_for_class(BasicConstraints).value.ca
    except ExtensionNotFound:
        return False
