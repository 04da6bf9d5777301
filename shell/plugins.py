"""Finding the commands: the modules of ``commands/``, and plug-ins of other distributions."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules

import commands
from commands import ENTRY_POINTS, Command
from filer.text import printable
from shell import help as help_module
from shell.grammar import Grammar
from shell.signals import Ended


def load_commands() -> tuple[dict[str, Command], list[str]]:
    """Return all commands by name, and a warning for each plug-in that cannot be loaded."""
    found = {command.name: command for command in _built_in()}
    warnings: list[str] = []
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        try:
            for command in _plugged_in(entry.load()):
                if command.name in found:
                    raise ValueError(f"there is a command {command.name} already")
                found[command.name] = command
        except (KeyboardInterrupt, Ended):
            raise
        except BaseException as problem:  # a plug-in may fail in any way; the console must not
            warnings.append(
                f"command plug-in {printable(entry.name)} cannot be loaded: "
                f"{type(problem).__name__}: {printable(str(problem))}"
            )
    return found, warnings


def _built_in() -> Iterator[Command]:
    for module in iter_modules(commands.__path__, prefix="commands."):
        yield from _commands_of(import_module(module.name))
    yield from help_module.COMMANDS


def _plugged_in(plugin: object) -> Sequence[Command]:
    """Return the commands of a plug-in.  Raises ValueError for what is wrong with them."""
    offered = _commands_of(plugin)
    if not offered:
        raise ValueError("it offers no command")
    for command in offered:
        if not isinstance(command, Command):
            raise ValueError(f"{type(command).__name__} is no command")
        for line in command.synopsis:
            if line.split()[:1] != [command.name]:
                raise ValueError(f"the synopsis of {command.name} is that of another command")
        Grammar.compile(command.synopsis, command.variables)
    return offered


def _commands_of(plugin: object) -> Sequence[Command]:
    if isinstance(plugin, Command):
        return [plugin]
    if hasattr(plugin, "COMMAND"):
        return [plugin.COMMAND]
    return list(getattr(plugin, "COMMANDS", ()))
