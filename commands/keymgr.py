"""keymgr: install, list and delete certificate files (man key_manager, CERTIFICATES)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from commands import Call, Command, Suggestion, no_values
from filer.certificates import CertificateError, CertificateInfo, inspect
from filer.system import Filer

SYNOPSIS = (
    "keymgr install cert path",
    "keymgr list cert",
    "keymgr delete cert name",
)


@dataclass(frozen=True)
class InstalledCertificate:
    """One installed certificate file."""

    info: CertificateInfo
    registered: str


@dataclass(frozen=True)
class InstalledCertificates:
    """``keymgr list cert``."""

    certificates: Sequence[InstalledCertificate]

    def lines(self) -> Iterable[str]:
        """A few lines a certificate."""
        if not self.certificates:
            yield "No certificates are installed."
        for certificate in self.certificates:
            info = certificate.info
            yield f"{info.name}:"
            yield f"    Subject:    {info.subject}"
            yield f"    Issuer:     {info.issuer}"
            yield f"    Expires:    {info.not_after:%a %b %d %H:%M:%S %Z %Y}"
            yield f"    Registered: {certificate.registered}"


def _run(call: Call) -> None:
    match call.arguments.subcommand[0]:
        case "install":
            _install(call)
        case "list":
            _list(call)
        case "delete":
            call.filer.installed.delete(call.value("name") or "")


def _install(call: Call) -> None:
    path = call.value("path") or ""
    filer = call.filer
    source: Path | bytes = Path(path)
    if path.startswith("/mroot/"):
        source = filer.mroot.read(path)
    info, replaced = filer.installed.install(source, PurePosixPath(path).name, filer.now())
    if replaced:
        call.say(f"{info.name} replaces the one that was installed.")
    for warning in info.warnings:
        call.console.warn(f"WARNING: {info.name}: {warning}")


def _list(call: Call) -> None:
    filer = call.filer
    certificates = []
    for name in filer.installed.names():
        try:
            data = filer.installed.read(name)
            info = inspect(name, data, filer.now())
        except CertificateError as damage:
            call.fail(f"keymgr: {damage}")
            continue
        match filer.registration.certificates.get(name):
            case None:
                registered = "No"
            case registered_data if registered_data == data:
                registered = "Yes"
            case _:
                registered = "Yes, but different from what is installed"
        certificates.append(InstalledCertificate(info, registered))
    if certificates or not call.failed:
        call.show(InstalledCertificates(certificates))


def _installed(filer: Filer, _subcommand: tuple[str, ...]) -> Iterable[Suggestion]:
    return [(name, "installed") for name in filer.installed.names()]


COMMAND = Command(
    name="keymgr",
    summary="install, list and delete certificate files",
    synopsis=SYNOPSIS,
    run=_run,
    variables={"path": no_values, "name": _installed},
)
