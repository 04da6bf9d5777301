"""A certificate with its private key, and how an authority issues one."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_AUTHORITY_LIFETIME = timedelta(days=3652)
_RENEWAL = timedelta(days=1)
_CLOCK_SKEW = timedelta(hours=1)


@dataclass(frozen=True)
class Identity:
    """A certificate with its private key."""

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: x509.Certificate

    @classmethod
    def parse(cls, pem: bytes) -> "Identity":
        """Parse the result of ``private_pem``.  Raises ValueError for anything else."""
        try:
            key = serialization.load_pem_private_key(pem, password=None)
            certificate = x509.load_pem_x509_certificate(pem)
            public_key = certificate.public_key()
        except TypeError as error:
            raise ValueError("the private key is encrypted") from error
        except (UnsupportedAlgorithm, x509.InvalidVersion) as error:
            raise ValueError(str(error)) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("not an elliptic-curve key")
        if key.public_key() != public_key:
            raise ValueError("the private key does not match the certificate")
        return cls(key, certificate)

    def certificate_pem(self) -> bytes:
        """Return only the certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def private_pem(self) -> bytes:
        """Return the unencrypted private key followed by the certificate."""
        key = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return key + self.certificate_pem()

    @property
    def is_authority(self) -> bool:
        """Whether the certificate is that of an authority."""
        try:
            extensions = self.certificate.extensions
            return extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except (x509.ExtensionNotFound, ValueError):
            return False

    def is_from(self, issuer: "Identity") -> bool:
        """Return whether ``issuer`` signed this certificate."""
        try:
            self.certificate.verify_directly_issued_by(issuer.certificate)
        except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
            return False
        return True

    def problem(self, now: datetime, issuer: "Identity | None" = None) -> str | None:
        """Return why the certificate must be issued again, or None.

        That is a day before it expires, or at nine tenths of its time if that is later.
        """
        start, end = self.certificate.not_valid_before_utc, self.certificate.not_valid_after_utc
        if start > now:
            return f"not valid before {start:%Y-%m-%d}"
        if end <= now:
            return f"expired on {end:%Y-%m-%d}"
        if end <= now + min(_RENEWAL, (end - start - _CLOCK_SKEW) / 10):
            return f"expires on {end:%Y-%m-%d}"
        if issuer is not None and not self.is_from(issuer):
            return "issued by another authority"
        return None


def new_authority(now: datetime, lifetime: timedelta, old: Identity | None = None) -> Identity:
    """Create a self-signed certificate authority, with the key and name of ``old`` if given."""
    key = old.key if old else ec.generate_private_key(ec.SECP256R1())
    name = old.certificate.subject if old else _name("filer-keyserver CA")
    builder = (
        _builder(name, key, now, now + max(lifetime, _AUTHORITY_LIFETIME))
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
    )
    return Identity(key, builder.sign(key, hashes.SHA256()))


def issue(
    authority: Identity,
    common_name: str,
    *extensions: x509.ExtensionType,
    now: datetime,
    lifetime: timedelta,
    old: Identity | None = None,
) -> Identity:
    """Issue a certificate, with the key and name of ``old`` if given.

    It does not outlive ``authority``.
    """
    key = old.key if old else ec.generate_private_key(ec.SECP256R1())
    name = old.certificate.subject if old else _name(common_name)
    end = min(now + lifetime, authority.certificate.not_valid_after_utc)
    builder = (
        _builder(name, key, now, end)
        .issuer_name(authority.certificate.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return Identity(key, builder.sign(authority.key, hashes.SHA256()))


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
