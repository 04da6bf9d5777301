"""LOADER: the commands of the boot loader."""

from collections.abc import Iterable, Mapping
from typing import ClassVar, NoReturn

from filer.boot_device.loader import AUTOBOOT, VARIABLES, LoaderError
from filer.commands import (
    Answers,
    Call,
    Command,
    Complaint,
    Fields,
    Later,
    Leave,
    Next,
    Subcommand,
    Suggestion,
    no_values,
)
from filer.commands.parts.command_list import CommandList, Summary
from filer.commands.system import DATE
from filer.host.quoting import named
from filer.host.text import nearest
from filer.system import Filer


def _boot(call: Call) -> NoReturn:
    options = call.arguments.options
    if "menu" in options:
        raise Leave(Next.BOOT_MENU)
    raise Leave(Next.MAINTENANCE if "maint" in options else Next.BOOT)


class Environment(Fields):
    """``printenv`` at LOADER."""

    TYPE: ClassVar[str] = "environment"
    variables: Mapping[str, str]

    def lines(self) -> Iterable[str]:
        """Two header lines, and one line for each variable."""
        yield "Variable Name        Value"
        yield "-------------------- --------------------------------------------------"
        for name, value in self.variables.items():
            yield f"{name:<20} {value}"


def _printenv(call: Call) -> None:
    loader = call.filer.loader
    variables = {AUTOBOOT: str(loader.autoboot).lower(), **loader.variables()}
    if name := call.value("variable"):
        if name not in variables:
            raise LoaderError(f"{named(name)} is not set")
        variables = {name: variables[name]}
    call.show(Environment(variables))


def _setenv(call: Call) -> None:
    name = call.value("variable") or ""
    call.filer.loader.set(name, call.value("value") or "")
    if name not in VARIABLES:
        near = nearest(name, VARIABLES)
        text = f"{name} has no effect on this filer" + (f"; did you mean {near}?" if near else "")
        call.console.warn(Complaint(f"setenv: {text}", "warning").as_warning())


def _unsetenv(call: Call) -> None:
    call.filer.loader.unset(call.value("variable") or "")


def _savenv(call: Call) -> None:
    if damage := call.filer.loader.save():
        text = f"savenv: {damage}; only the variables set since then are saved"
        call.console.warn(Complaint(text, "warning").as_warning())


def _help(call: Call) -> None:
    commands = [Summary(command.name, command.summary) for command in call.commands.values()]
    call.show(CommandList(commands, call.console.width, one_a_line=True))


def _bye(_call: Call) -> NoReturn:
    raise Leave(Next.END)


def _variables(_filer: Filer) -> Iterable[Suggestion]:
    return [(name, variable.help) for name, variable in VARIABLES.items()]


def _set_variables(filer: Filer) -> Iterable[Suggestion]:
    return filer.loader.variables().items()


def _values(_filer: Filer) -> Iterable[Suggestion]:
    return [
        *((value, "for AUTOBOOT and bootarg.*") for value in ("true", "false")),
        *((value, "for kmip.init.maxwait and its ping") for value in ("on", "off")),
    ]


def _addresses(filer: Filer) -> Iterable[Suggestion]:
    return [(address, "registered") for address in filer.registration.servers]


COMMANDS_AT_LOADER = (
    Command(
        "boot_ontap",
        "boot the filer; maint: maintenance mode; menu: the boot menu",
        Subcommand(
            "boot_ontap [ maint | menu ]",
            _boot,
            options={
                "maint": "maintenance mode, without keys, kmip_init or WAFL",
                "menu": "the boot menu",
            },
        ),
    ),
    Command(
        "kmip_setup",
        "register key servers with the certificate files in a directory of the host",
        Subcommand(
            "kmip_setup dir ipaddr_list",
            Later("filer.commands.kmip_setup:kmip_setup"),
            values={"dir": no_values, "ipaddr_list": _addresses},
            asks=Answers(),
        ),
    ),
    Command(
        "printenv",
        "print the environment",
        Subcommand("printenv [ variable ]", _printenv, values={"variable": _set_variables}),
    ),
    Command(
        "setenv",
        "set a variable of the environment, for the next boot",
        Subcommand(
            "setenv variable value", _setenv, values={"variable": _variables, "value": _values}
        ),
    ),
    Command(
        "unsetenv",
        "remove a variable of the environment, for the next boot",
        Subcommand("unsetenv variable", _unsetenv, values={"variable": _set_variables}),
    ),
    Command(
        "savenv",
        "save the environment on the boot device",
        Subcommand("savenv", _savenv),
    ),
    DATE,
    Command("help", "list the commands", Subcommand("help", _help)),
    Command("?", "list the commands", Subcommand("?", _help)),
    Command("bye", "end the session", Subcommand("bye", _bye)),
)
