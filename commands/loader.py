"""LOADER: the commands of the boot loader."""

from collections.abc import Iterable, Mapping
from typing import ClassVar, NoReturn

from filer.commands import (
    Answers,
    Call,
    Command,
    Fields,
    Later,
    Leave,
    Next,
    Subcommand,
    Suggestion,
    no_values,
)
from filer.commands.parts.command_list import CommandList, Summary
from filer.system import Filer


def _boot(call: Call) -> NoReturn:
    raise Leave(Next.MAINTENANCE if "maint" in call.arguments.options else Next.BOOT)


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
            Later("filer.commands.kmip_setup:kmip_setup"),
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
    Command("bye", "end the session", Subcommand("bye", _bye)),
)
