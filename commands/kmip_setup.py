"""kmip_setup at LOADER: register key servers with certificate files of the host."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filer.commands import GAP, Call, Complaint, Refused
from filer.commands.key_manager.results import RegisteredWithFiles
from filer.commands.key_manager.setup import ask_port, ask_tag
from filer.commands.keymgr import warn_of_certificates
from filer.commands.parts.dialogue import ask_consent
from filer.commands.parts.server_warnings import refuse_too_many, warn_of, warn_of_lost_keys
from filer.disks.disk import Disk
from filer.host.errors import FilerError
from filer.kmip.address import parse_address
from filer.registration.certificates import check_pair
from filer.registration.installed import read_host
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name
from filer.registration.registration import Registration
from filer.system import Filer
from filer.trial import Trial, out_of_reach


def kmip_setup(call: Call) -> None:
    """Run ``kmip_setup``: register the certificate files in a directory of the host.

    Nothing is changed before the last question is answered.
    """
    addresses = list(dict.fromkeys(map(parse_address, call.words("ipaddr_list"))))
    refuse_too_many(addresses, "registered")
    directory = Path(call.value("dir") or "")
    names = (CLIENT, CLIENT_PRIVATE, *map(ca_name, addresses))
    certificates = {name: read_host(directory / name) for name in names}
    warn_of_certificates(call, certificates, names)
    check_pair(certificates[CLIENT], certificates[CLIENT_PRIVATE])
    port = ask_port(call)
    tag = ask_tag(call)
    own = call.filer.ownership().own(call.filer.shelf)
    _try_and_accept(call, Registration(tuple(addresses), port, tag, certificates))
    call.show(GAP)
    call.show(RegisteredWithFiles(addresses, names, announced=False))
    _forget_refused_keys(call, own)
    call.asked_all = True


def _try_and_accept(call: Call, registration: Registration) -> None:
    """Register; ask first if the keys of locked disks would be out of reach.

    Key servers may show these keys only to the client certificate that is replaced.
    """
    staged = call.filer.boot_device.stage(registration)
    with Trial(call.filer, registration, staged) as trial:
        servers = trial.key_servers(trial.registration.servers)
        lost = out_of_reach(trial.filer, servers)
        warn_of(call, servers)
        warn_of_lost_keys(call, lost)
        replaces = bool(trial.filer.registration.certificates)
        if lost and replaces and not ask_consent(call.console, "Register anyway?"):
            raise Refused("the registration stays as it was")
        trial.accept()


def _forget_refused_keys(call: Call, disks: Iterable[Disk]) -> None:
    """Make ``disks`` forget which keys they refused, so that a boot tries keys again.

    A boot tries a limited number.  Call this only when the new key servers are registered: before,
    a boot would try the keys of the old ones again.
    """
    for disk in disks:
        try:
            disk.look_again()
            if disk.remembers_refused_keys:
                with _serving(call.filer):
                    disk.look_again()
                    disk.forget_refused_keys()
        except FilerError as problem:
            text = (
                f"kmip_setup: the key servers are registered, but {disk.name} still remembers the "
                f"keys that it has refused: {problem}; run kmip_setup again"
            )
            call.fail(Complaint(text, "disk", disk=disk.name, cause="other"))


@contextmanager
def _serving(filer: Filer) -> Iterator[None]:
    """Hold the service lock of a system with a partner, which does not hold it at LOADER.

    Raises ServiceHeld while the partner has taken this system over.
    """
    if filer.pair is None or filer.pair.service.held:
        yield
        return
    filer.pair.service.take()
    try:
        yield
    finally:
        filer.pair.service.release()
