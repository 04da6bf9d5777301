"""halt, reboot, logout, exit: leaving the filer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, NoReturn

from filer.commands import Call, Command, Json, Leave, Next, Subcommand


@dataclass(frozen=True)
class GoingDown:
    """``halt``, ``reboot``: the filer loses power, and boots ``again`` or not."""

    TYPE: ClassVar[str] = "going_down"
    again: bool

    def lines(self) -> Iterable[str]:
        """One line."""
        return [f"System {'rebooting' if self.again else 'halting'}..."]

    def data(self) -> Mapping[str, Json]:
        """Whether a boot follows."""
        return {"boots_again": self.again}


def _halt(call: Call) -> NoReturn:
    call.show(GoingDown(again=False))
    raise Leave(Next.LOADER)


def _reboot(call: Call) -> NoReturn:
    call.show(GoingDown(again=True))
    raise Leave(Next.BOOT)


def _logout(_call: Call) -> NoReturn:
    raise Leave(Next.END)


COMMANDS = (
    # halt and reboot do not wait for another command: they stop it, as Ctrl-C would.
    Command("halt", "stop the filer and remove power", Subcommand("halt", _halt, changes=False)),
    Command(
        "reboot", "stop the filer and boot it again", Subcommand("reboot", _reboot, changes=False)
    ),
    Command("logout", "leave the console", Subcommand("logout", _logout, changes=False)),
    Command("exit", "leave the console", Subcommand("exit", _logout, changes=False)),
)

COMMANDS_IN_MAINTENANCE = (Command("halt", "leave maintenance mode", Subcommand("halt", _halt)),)
