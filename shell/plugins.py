"""Finding the commands: the modules of ``commands/``, and plug-ins of other distributions."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from importlib import import_module

from filer import commands
from filer.commands import ENTRY_POINTS, Command
from filer.host.quoting import shortened
from filer.shell.signals import Ended

_LONGEST_WARNING = 240
"""Characters; what a plug-in fails with may be of any length."""


class Commands(Mapping[str, Command]):
    """All commands by name.

    They are loaded when the first is asked for, so that no prompt waits for them, and plug-ins
    when a name is asked for that is not built in, or all names are: a script of built-in commands
    does not wait for those.  ``warn`` is told of each plug-in that cannot be loaded.
    """

    def __init__(self, warn: Callable[[str], object]) -> None:
        self._warn = warn

    def __getitem__(self, name: str) -> Command:
        return self._built_in[name] if name in self._built_in else self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    @cached_property
    def _built_in(self) -> Mapping[str, Command]:
        return _by_name(_built_in())

    @cached_property
    def _all(self) -> Mapping[str, Command]:
        from importlib.metadata import entry_points

        found = dict(self._built_in)
        for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
            try:
                for command in _plugged_in(entry.load()):
                    if command.name in found:
                        raise ValueError(f"there is a command {command.name} already")
                    found[command.name] = command
            except (KeyboardInterrupt, Ended):
                raise
            except BaseException as problem:  # a plug-in may fail in any way; the console must not
                reason = f"{type(problem).__name__}: {_said(problem)}"
                text = f"command plug-in {entry.name} cannot be loaded: {reason}"
                self._warn(shortened(text, _LONGEST_WARNING))
        return found


def commands_in_maintenance() -> Mapping[str, Command]:
    """Return the commands of maintenance mode."""
    from filer.commands.disk import COMMAND_IN_MAINTENANCE
    from filer.commands.power import HALT_IN_MAINTENANCE
    from filer.shell.manual.commands import COMMANDS

    return _by_name((COMMAND_IN_MAINTENANCE, HALT_IN_MAINTENANCE, *COMMANDS))


def commands_at_loader() -> Mapping[str, Command]:
    """Return the commands of ``LOADER>``."""
    from filer.commands.loader import COMMANDS_AT_LOADER

    return _by_name(COMMANDS_AT_LOADER)


def _by_name(commands: Iterable[Command]) -> dict[str, Command]:
    return {command.name: command for command in commands}


def _said(problem: BaseException) -> str:
    try:
        return str(problem)
    except Exception:  # not even that
        return "?"


def _built_in() -> Iterator[Command]:
    from pkgutil import iter_modules

    from filer.shell.manual.commands import COMMANDS

    for module in iter_modules(commands.__path__, prefix="filer.commands."):
        yield from _commands_of(import_module(module.name))
    yield from COMMANDS


def _plugged_in(plugin: object) -> Sequence[Command]:
    """Return the commands of a plug-in.  Raises ValueError for what is wrong with them."""
    from filer.shell.line.grammar import grammar_of

    offered = _commands_of(plugin)
    if not offered:
        raise ValueError("it offers no command")
    for command in offered:
        if not isinstance(command, Command):
            raise ValueError(f"{type(command).__name__} is no command")
        if not command.name.isprintable():
            raise ValueError(f"the name of a command, {command.name}, is not printable")
        for line in command.synopsis:
            if line.split()[:1] != [command.name]:
                raise ValueError(f"the synopsis of {command.name} is that of another command")
        grammar_of(command)
    return offered


def _commands_of(plugin: object) -> Sequence[Command]:
    if isinstance(plugin, Command):
        return [plugin]
    if hasattr(plugin, "COMMAND"):
        return [plugin.COMMAND]
    return list(getattr(plugin, "COMMANDS", ()))
