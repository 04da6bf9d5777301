"""halt, reboot, logout, exit: leaving the filer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, NoReturn

from filer.commands import Call, Command, Json, Logout, PowerOff, changes_nothing


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
    raise PowerOff(again=False)


def _reboot(call: Call) -> NoReturn:
    call.show(GoingDown(again=True))
    raise PowerOff(again=True)


def _logout(_call: Call) -> NoReturn:
    raise Logout


COMMANDS = (
    # They wait for no other command: that one is stopped, as Ctrl-C would stop it.
    Command("halt", "stop the filer and remove power", ("halt",), _halt, changes=changes_nothing),
    Command(
        "reboot", "stop the filer and boot it again", ("reboot",), _reboot, changes=changes_nothing
    ),
    Command("logout", "leave the console", ("logout",), _logout, changes=changes_nothing),
    Command("exit", "leave the console", ("exit",), _logout, changes=changes_nothing),
)

HALT_IN_MAINTENANCE = Command("halt", "leave maintenance mode", ("halt",), _halt)
