"""keymgr: install, list, view and delete certificate files (man key_manager, CERTIFICATES)."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

from filer.commands import Call, Command, Complaint, Fields, HostFiles, Subcommand, Suggestion
from filer.host.text import listed
from filer.registration.certificates import (
    CertificateInfo,
    details,
    first_to_expire,
    inspect,
    registered_form,
    registered_warnings,
)
from filer.registration.pem import CertificateError, canonical_name
from filer.system import Filer


class Certificate(Fields):
    """The first certificate of a file."""

    name: str
    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime


class NewCertificate(Certificate):
    """``keymgr install cert``."""

    TYPE: ClassVar[str] = "certificate_installed"
    replaced: bool

    def lines(self) -> Iterable[str]:
        """A line if an installed file was replaced."""
        if self.replaced:
            yield f"{self.name} replaces the one that was installed."


class DeletedCertificate(Fields):
    """``keymgr delete cert``."""

    TYPE: ClassVar[str] = "certificate_deleted"
    name: str

    def lines(self) -> Iterable[str]:
        """No line."""
        return ()


class InstalledCertificate(Certificate):
    """An installed certificate file; "different": the registered file of its name differs."""

    registered: Literal["no", "yes", "different"]
    registered_not_after: datetime | None


class InstalledCertificates(Fields):
    """``keymgr list cert``; registered is no, yes, or different."""

    TYPE: ClassVar[str] = "certificates"
    certificates: Sequence[InstalledCertificate]

    def lines(self) -> Iterable[str]:
        """A few lines for each certificate."""
        if not self.certificates:
            yield "No certificates are installed."
        for certificate in self.certificates:
            yield f"{certificate.name}:"
            yield f"    Subject:    {certificate.subject}"
            yield f"    Issuer:     {certificate.issuer}"
            yield f"    Expires:    {_date(certificate.not_after)}"
            yield f"    Registered: {_registered(certificate)}"


class ShownCertificate(Fields):
    """A certificate of a file."""

    subject: str
    issuer: str
    serial_number: str
    not_before: datetime
    not_after: datetime
    key: str
    addresses: Sequence[str]
    hosts: Sequence[str]
    sha256: str


class CertificateFile(Fields):
    """``keymgr view cert``: the certificates of a file, in the order in which TLS needs them."""

    TYPE: ClassVar[str] = "certificate_file"
    name: str
    certificates: Sequence[ShownCertificate]

    def lines(self) -> Iterable[str]:
        """A few lines for each certificate."""
        for number, each in enumerate(self.certificates, 1):
            place = f" ({number} of {len(self.certificates)})" if len(self.certificates) > 1 else ""
            yield f"{self.name}{place}:"
            yield f"    Subject:    {each.subject}"
            yield f"    Issuer:     {each.issuer}"
            yield f"    Serial:     {each.serial_number}"
            yield f"    Valid from: {_date(each.not_before)}"
            yield f"    Expires:    {_date(each.not_after)}"
            yield f"    Key:        {each.key}"
            for title, names in (("Addresses:", each.addresses), ("DNS names:", each.hosts)):
                if names:
                    yield f"    {title:<11} {listed(names)}"
            yield f"    SHA-256:    {each.sha256}"


def _registered(certificate: InstalledCertificate) -> str:
    text = _REGISTERED[certificate.registered]
    if certificate.registered != "different" or certificate.registered_not_after is None:
        return text
    return f"{text}; expires {_date(certificate.registered_not_after)}"


_REGISTERED = {
    "no": "No",
    "yes": "Yes",
    "different": "Yes, but different from what is installed",
}


def _date(time: datetime) -> str:
    return f"{time:%a %b %d %H:%M:%S %Z %Y}"


def _install(call: Call) -> None:
    path = call.value("path") or ""
    filer = call.filer
    source: Path | bytes = Path(path)
    if path.startswith("/mroot/"):
        source = filer.mroot.read(path)
    name = PurePosixPath(path).name
    info, replaced = filer.installed.install(source, name, filer.now(), filer.expiry_notice)
    text = f"{info.name} ({info.subject}) installed, valid until {info.not_after:%F %T} UTC"
    filer.messages.log("keymgr.cert.installed", "info", text)
    call.show(NewCertificate(*info[:5], replaced))
    warn_of_certificate(call, info)


def warn_of_certificate(call: Call, info: CertificateInfo) -> None:
    """Warn about irregularities of a certificate that are accepted."""
    for warning in info.warnings:
        text = f"{info.name}: {warning}"
        call.console.warn(Complaint(text, "certificate", name=info.name).as_warning())


def warn_of_certificates(
    call: Call, certificates: Mapping[str, bytes], names: Iterable[str]
) -> None:
    """Check the files ``names`` before they are used, and warn about accepted irregularities.

    Raises CertificateError if one of them cannot be used.
    """
    filer = call.filer
    for name in names:
        info = inspect(name, certificates[name], filer.now(), notice=filer.expiry_notice)
        warn_of_certificate(call, info)


def warn_of_registered_certificates(call: Call) -> None:
    """Warn about registered certificates that expire soon, are not valid, or are damaged."""
    filer = call.filer
    registered = filer.registration.certificates
    for name, text in registered_warnings(registered, filer.now(), filer.expiry_notice):
        warning = Complaint(f"{text}.", "certificate", name=name)
        call.console.warn(warning.as_warning())


def _list(call: Call) -> None:
    filer = call.filer
    certificates = []
    registered: Literal["no", "yes", "different"]
    for name in filer.installed.names():
        try:
            data = filer.installed.read(name)
            info = inspect(name, data, filer.now())
        except CertificateError as damage:
            call.fail(Complaint(f"keymgr: {damage}", "certificate", name=name))
            continue
        known = filer.registration.certificates.get(name)
        match known:
            case None:
                registered = "no"
            case _ if known in (data, registered_form(name, data)):
                registered = "yes"
            case _:
                registered = "different"
        expiring = first_to_expire({name: known}) if known else None
        expiry = expiring[1] if expiring else None
        certificates.append(InstalledCertificate(*info[:5], registered, expiry))
    if certificates or not call.failed:
        call.show(InstalledCertificates(certificates))


def _view(call: Call) -> None:
    name = canonical_name(call.value("name") or "")
    found = details(name, call.filer.installed.read(name))
    call.show(CertificateFile(name, [ShownCertificate(*each) for each in found]))


def _delete(call: Call) -> None:
    name = call.value("name") or ""
    call.filer.installed.delete(name)
    call.filer.messages.log("keymgr.cert.deleted", "info", f"{canonical_name(name)} deleted")
    call.show(DeletedCertificate(canonical_name(name)))


def _installed(filer: Filer) -> Iterable[Suggestion]:
    registered = filer.registration.certificates
    return [
        (name, "installed and registered" if name in registered else "installed")
        for name in filer.installed.names()
    ]


def _is_name(name: str) -> bool:
    try:
        canonical_name(name)
    except CertificateError:
        return False
    return True


COMMANDS = (
    Command(
        "keymgr",
        "install, list, view and delete certificate files",
        Subcommand(
            "keymgr install cert path",
            _install,
            "check a certificate file and copy it into the filer",
            options={"cert": "the path of a certificate file"},
            values={"path": HostFiles(_is_name, "certificate file")},
        ),
        Subcommand(
            "keymgr list cert",
            _list,
            "list the installed certificate files",
            options={"cert": "certificate files"},
            changes=False,
        ),
        Subcommand(
            "keymgr view cert name",
            _view,
            "show the certificates in an installed file",
            options={"cert": "the name of a certificate file"},
            values={"name": _installed},
            changes=False,
        ),
        Subcommand(
            "keymgr delete cert name",
            _delete,
            "uninstall a certificate file",
            options={"cert": "the name of a certificate file"},
            values={"name": _installed},
        ),
    ),
)
