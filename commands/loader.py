"""LOADER: the commands of the boot loader, there before and after a boot."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar, NoReturn

from filer.commands import (
    GAP,
    Answers,
    Call,
    Command,
    Complaint,
    Fields,
    Leave,
    Next,
    Refused,
    Subcommand,
    Suggestion,
    no_values,
)
from filer.commands.parts.command_list import CommandList, Summary
from filer.disks.disk import Disk
from filer.host.errors import FilerError
from filer.kmip.address import parse_address
from filer.registration.certificates import check_pair
from filer.registration.installed import read_host
from filer.registration.pem import CLIENT, CLIENT_PRIVATE, ca_name
from filer.registration.registration import Registration
from filer.system import Filer


def _boot(call: Call) -> NoReturn:
    raise Leave(Next.MAINTENANCE if "maint" in call.arguments.options else Next.BOOT)


def _kmip_setup(call: Call) -> None:
    """Register the certificate files of a host directory, for a boot device that has none.

    Up to the last question nothing is changed.
    """
    from filer.commands.key_manager.results import RegisteredWithFiles
    from filer.commands.key_manager.setup import ask_port, ask_tag
    from filer.commands.keymgr import warn_of_certificates
    from filer.commands.parts.server_warnings import refuse_too_many

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
    """Register, but not without asking if the keys of locked disks cannot be had that way.

    The client certificate that is replaced may be the only one that is shown these keys.
    """
    from filer.commands.parts.dialogue import ask_consent
    from filer.commands.parts.server_warnings import warn_of, warn_of_lost_keys
    from filer.trial import Trial, out_of_reach

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
    """Have ``disks`` forget what they refused, which may have used up all that a boot tries.

    A person has said which key servers to believe.  These have to be in force before: until then a
    boot would try the keys of those before them once more.
    """
    for disk in disks:
        try:
            disk.forget_refused_keys()
        except FilerError as problem:
            text = (
                f"kmip_setup: the key servers are registered, but {disk.name} still remembers the "
                f"keys that it has refused: {problem}; run kmip_setup again"
            )
            call.fail(Complaint(text, "disk", disk=disk.name, cause="other"))


class Environment(Fields):
    """``printenv`` at LOADER."""

    TYPE: ClassVar[str] = "environment"
    variables: Mapping[str, str]

    def lines(self) -> Iterable[str]:
        """Two header lines and a line a variable."""
        yield "Variable Name        Value"
        yield "-------------------- --------------------------------------------------"
        for name, value in self.variables.items():
            yield f"{name:<20} {value}"


def _printenv(call: Call) -> None:
    call.show(Environment({"AUTOBOOT": str(call.filer.loader.autoboot).lower()}))


def _setenv(call: Call) -> None:
    call.filer.loader.autoboot = "true" in call.arguments.options


def _help(call: Call) -> None:
    commands = [Summary(command.name, command.summary) for command in call.commands.values()]
    call.show(CommandList(commands, call.console.width, one_a_line=True))


def _bye(_call: Call) -> NoReturn:
    raise Leave(Next.END)


def _addresses(filer: Filer) -> Iterable[Suggestion]:
    return [(address, "registered") for address in filer.registration.servers]


COMMANDS_AT_LOADER = (
    Command(
        "boot_ontap",
        "boot the filer; maint: maintenance mode",
        Subcommand(
            "boot_ontap [ maint ]",
            _boot,
            options={"maint": "maintenance mode, without keys, kmip_init or WAFL"},
        ),
    ),
    Command(
        "kmip_setup",
        "register key servers with the certificate files in a directory of the host",
        Subcommand(
            "kmip_setup dir ipaddr_list",
            _kmip_setup,
            values={"dir": no_values, "ipaddr_list": _addresses},
            asks=Answers(),
        ),
    ),
    Command("printenv", "print the environment", Subcommand("printenv", _printenv)),
    Command(
        "setenv",
        "set a variable of the environment",
        Subcommand(
            "setenv AUTOBOOT { true | false }",
            _setenv,
            "whether the filer boots again by itself after a panic",
            options={"true": "it boots again", "false": "it stays at LOADER"},
        ),
    ),
    Command("help", "list the commands", Subcommand("help", _help)),
    Command("?", "list the commands", Subcommand("?", _help)),
    Command("bye", "leave the machine", Subcommand("bye", _bye)),
)
