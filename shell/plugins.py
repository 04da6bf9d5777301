"""Finding the commands: the modules of ``commands/``, and plug-ins of other distributions."""

from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules

import commands
from commands import ENTRY_POINTS, Command
from filer.text import printable
from shell import help as help_module


def load_commands() -> tuple[dict[str, Command], list[str]]:
    """Return all commands by name, and a warning for each plug-in that cannot be loaded."""
    found: dict[str, Command] = {}
    warnings: list[str] = []
    for command in _built_in():
        found[command.name] = command
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        try:
            plugin = _commands_of(entry.load())
            for command in plugin:
                if command.name in found:
                    raise ValueError(f"there is a command {command.name} already")
                found[command.name] = command
        except Exception as problem:  # a plug-in may fail in any way; the console must not
            warnings.append(
                f"command plug-in {printable(entry.name)} cannot be loaded: "
                f"{type(problem).__name__}: {printable(str(problem))}"
            )
    return found, warnings


def _built_in() -> Iterator[Command]:
    for module in iter_modules(commands.__path__, prefix="commands."):
        yield from _commands_of(import_module(module.name))
    yield from help_module.COMMANDS


def _commands_of(plugin: object) -> Iterable[Command]:
    if isinstance(plugin, Command):
        return [plugin]
    single = getattr(plugin, "COMMAND", None)
    several: Iterable[Command] = getattr(plugin, "COMMANDS", ())
    return [single] if isinstance(single, Command) else several
