"""halt, reboot, logout, exit: leaving the filer."""

from typing import NoReturn

from commands import Call, Command, Logout, PowerOff


def _halt(call: Call) -> NoReturn:
    call.say("System halting...")
    raise PowerOff(again=False)


def _reboot(call: Call) -> NoReturn:
    call.say("System rebooting...")
    raise PowerOff(again=True)


def _logout(_call: Call) -> NoReturn:
    raise Logout


COMMANDS = (
    Command("halt", "stop the filer and remove power", ("halt",), _halt),
    Command("reboot", "stop the filer and boot it again", ("reboot",), _reboot),
    Command("logout", "leave the console", ("logout",), _logout),
    Command("exit", "leave the console", ("exit",), _logout),
)

HALT_IN_MAINTENANCE = Command("halt", "leave maintenance mode", ("halt",), _halt)
