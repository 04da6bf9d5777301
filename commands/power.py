"""halt, reboot, logout, exit: leaving the filer."""

from collections.abc import Iterable
from typing import ClassVar, NoReturn

from filer.commands import Call, Command, Fields, Leave, Next, Note, Refused, Subcommand, no_values

_MOST_MINUTES = 24 * 60


class GoingDown(Fields):
    """``halt``, ``reboot``; without ``takeover`` the partner must not take over."""

    TYPE: ClassVar[str] = "going_down"
    boots_again: bool
    takeover: bool

    def lines(self) -> Iterable[str]:
        """One line."""
        return [f"System {'rebooting' if self.boots_again else 'halting'}..."]


def _go_down(call: Call, following: Next) -> NoReturn:
    options = call.arguments.options
    minutes = _minutes(call.value("interval"))
    if "-d" in options:
        call.show(Note("No core is written, because it would contain the authentication keys."))
    if minutes:
        begins = f"The system goes down in {minutes} minutes; press Ctrl-C to cancel."
        call.show(Note(begins))
        call.filer.interrupt.sleep(60.0 * minutes)
    takeover = "-f" not in options
    call.show(GoingDown(boots_again=following is Next.BOOT, takeover=takeover))
    raise Leave(following, takeover=takeover)


def _minutes(interval: str | None) -> int:
    if interval is None:
        return 0
    if interval.isascii() and interval.isdigit() and int(interval[:9]) <= _MOST_MINUTES:
        return int(interval)
    raise Refused(f"the interval must be a number of minutes from 0 to {_MOST_MINUTES}")


def _halt(call: Call) -> NoReturn:
    _go_down(call, Next.LOADER)


def _reboot(call: Call) -> NoReturn:
    _go_down(call, Next.BOOT)


def _logout(_call: Call) -> NoReturn:
    raise Leave(Next.END)


_FLAGS = {
    "-t": "wait for a number of minutes first",
    "-f": "the partner does not take over",
}

COMMANDS = (
    # halt and reboot do not wait for another command: they stop it, as Ctrl-C would.
    Command(
        "halt",
        "stop the filer and remove power",
        Subcommand(
            "halt [ -d ] [ -t interval ] [ -f ]",
            _halt,
            options={"-d": "say that no core is written", **_FLAGS},
            values={"interval": no_values},
            changes=False,
        ),
    ),
    Command(
        "reboot",
        "stop the filer and boot it again",
        Subcommand(
            "reboot [ -f ] [ -t interval ]",
            _reboot,
            options=_FLAGS,
            values={"interval": no_values},
            changes=False,
        ),
    ),
    Command("logout", "leave the console", Subcommand("logout", _logout, changes=False)),
    Command("exit", "leave the console", Subcommand("exit", _logout, changes=False)),
)

COMMANDS_IN_MAINTENANCE = (Command("halt", "leave maintenance mode", Subcommand("halt", _halt)),)
