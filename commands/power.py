"""halt, reboot, logout, exit: leaving the filer."""

from collections.abc import Iterable
from typing import ClassVar, NoReturn

from filer.commands import Call, Command, Fields, Leave, Next, Subcommand


class GoingDown(Fields):
    """``halt``, ``reboot``."""

    TYPE: ClassVar[str] = "going_down"
    boots_again: bool

    def lines(self) -> Iterable[str]:
        """One line."""
        return [f"System {'rebooting' if self.boots_again else 'halting'}..."]


def _halt(call: Call) -> NoReturn:
    call.show(GoingDown(boots_again=False))
    raise Leave(Next.LOADER)


def _reboot(call: Call) -> NoReturn:
    call.show(GoingDown(boots_again=True))
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
