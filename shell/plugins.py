"""Finding the commands: those that are built in, and plug-ins of other distributions."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from importlib import import_module

from filer.commands import ENTRY_POINTS, Answers, Command, Subcommand
from filer.host.quoting import shortened
from filer.shell.signals import Ended

BUILT_IN = {
    "filer.commands.disk": ("disk",),
    "filer.commands.key_manager": ("key_manager",),
    "filer.commands.keymgr": ("keymgr",),
    "filer.commands.power": ("halt", "reboot", "logout", "exit"),
    "filer.commands.storage": ("sysconfig", "aggr"),
    "filer.commands.system": (
        "hostname",
        "version",
        "date",
        "uptime",
        "options",
        "rdfile",
        "logger",
        "priv",
    ),
    "filer.shell.manual.commands": ("?", "help", "man", "history"),
}
"""The built-in commands in order, by the modules that have them as ``COMMANDS``."""

_MODULES = {name: module for module, names in BUILT_IN.items() for name in names}

_LONGEST_WARNING = 240
"""Characters; what a plug-in fails with may be of any length."""


class Commands(Mapping[str, Command]):
    """All commands by name.

    A module is imported when one of its commands is asked for, so that no prompt waits for it.
    Plug-ins are loaded when a name is asked for that is not built in, or all names are: a script
    of built-in commands does not wait for them.  ``warn`` is told of each plug-in that cannot be
    loaded.
    """

    def __init__(self, warn: Callable[[str], object]) -> None:
        self._warn = warn

    def __getitem__(self, name: str) -> Command:
        if name in _MODULES:
            return _by_name(import_module(_MODULES[name]).COMMANDS)[name]
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    @cached_property
    def _all(self) -> Mapping[str, Command]:
        from importlib.metadata import entry_points

        found = {name: self[name] for name in _MODULES}
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
    from filer.commands import disk, power
    from filer.shell.manual import commands as manual

    own = (*disk.COMMANDS_IN_MAINTENANCE, *power.COMMANDS_IN_MAINTENANCE)
    return _by_name((*own, *manual.COMMANDS))


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


def _plugged_in(plugin: object) -> Sequence[Command]:
    """Return the commands of a plug-in.  Raises ValueError for what is wrong with them."""
    offered = _offered(plugin)
    if not offered:
        raise ValueError("it offers no command")
    for command in offered:
        _check(command)
    return offered


def _offered(plugin: object) -> Sequence[Command]:
    if isinstance(plugin, Command):
        return [plugin]
    if hasattr(plugin, "COMMAND"):
        return [plugin.COMMAND]
    return list(getattr(plugin, "COMMANDS", ()))


def _check(command: object) -> None:
    """Make sure that the console can work with ``command``.  Raises ValueError."""
    from filer.shell.line.grammar import grammar_of, head

    if not isinstance(command, Command):
        raise ValueError(f"{type(command).__name__} is no Command")
    name = command.name
    if not name.isprintable():
        raise ValueError(f"the name of a command, {name}, is not printable")
    if not command.subcommands:
        raise ValueError(f"{name} has no subcommand")
    for row in command.subcommands:
        if not isinstance(row, Subcommand):
            raise ValueError(f"{name}: {type(row).__name__} is no Subcommand")
        if not callable(row.run):
            raise ValueError(f"{name}: {type(row.run).__name__} cannot be called")
        if not isinstance(row.asks, Answers | None):
            raise ValueError(f"{name}: {type(row.asks).__name__} is no Answers")
        if any(head(line, row.values)[:1] != (name,) for line in row.usage):
            raise ValueError(f"the synopsis of {name} is that of another command")
    grammar_of(command)
