"""The commands: built-in ones, and plug-ins from other distributions."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING

from filer.commands import ENTRY_POINTS, Answers, Command, Subcommand
from filer.host.errors import FilerError
from filer.host.quoting import shortened
from filer.shell.defects import traceback_of
from filer.shell.signals import Ended

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

BUILT_IN = {
    "filer.commands.cf": ("cf",),
    "filer.commands.disk": ("disk",),
    "filer.commands.key_manager": ("key_manager",),
    "filer.commands.keymgr": ("keymgr",),
    "filer.commands.network": ("ping", "ifconfig"),
    "filer.commands.options": ("options",),
    "filer.commands.power": ("halt", "reboot", "logout", "exit"),
    "filer.commands.storage": ("sysconfig", "aggr", "vol"),
    "filer.commands.system": (
        "hostname",
        "version",
        "date",
        "uptime",
        "rdfile",
        "logger",
        "priv",
    ),
    "filer.shell.manual.commands": ("?", "help", "man", "history"),
    "filer.shell.batch.source": ("source",),
    "filer.shell.partner": ("partner",),
}
"""The modules of the built-in commands, each with the names in its ``COMMANDS``, in order."""

_MODULES = {name: module for module, names in BUILT_IN.items() for name in names}

_ANY_VERSION = "filer.commands"
"""The common prefix of the entry-point groups of all plug-in API versions."""

_LONGEST_WARNING = 240
"""Characters; the error text of a plug-in may be of any length."""


class _Unfit(FilerError):
    """A plug-in that the console cannot use."""


class Commands(Mapping[str, Command]):
    """All commands by name.

    A module is imported at the first lookup of one of its commands, so that no prompt waits for
    it.  Plug-ins are loaded at the first lookup of a name that is not built in, or when all
    commands are listed, so that a script of built-in commands does not wait for them.  ``warn``
    is called with a warning for each plug-in that cannot be loaded.
    """

    def __init__(self, warn: Callable[[str], object]) -> None:
        self._warn = warn
        self._loaded: dict[str, Command] = {}

    def __getitem__(self, name: str) -> Command:
        if name not in _MODULES:
            return self._all[name]
        if name not in self._loaded:
            self._loaded.update(_by_name(import_module(_MODULES[name]).COMMANDS))
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    @cached_property
    def _all(self) -> Mapping[str, Command]:
        found = {name: self[name] for name in _MODULES}
        for distribution, entry in self._entry_points():
            try:
                if entry.group != ENTRY_POINTS:
                    raise _Unfit(
                        f"it is for another version of the plug-in API, {entry.group}; this filer "
                        f"has {ENTRY_POINTS}"
                    )
                for command in _plugged_in(entry.load()):
                    if command.name in found:
                        raise _Unfit(f"there is a command {command.name} already")
                    found[command.name] = command
            except (KeyboardInterrupt, Ended):
                raise
            except BaseException as problem:  # a plug-in may fail in any way; the console must not
                plug_in = f"command plug-in {entry.name} of {distribution}"
                self._warn_of(f"{plug_in} cannot be loaded", problem)
        return found

    def _entry_points(self) -> "list[tuple[str, EntryPoint]]":
        """Return the plug-ins sorted by name, each with the distribution that offers it.

        If a distribution offers a plug-in for several versions of the API, only ours counts.
        """
        from importlib.metadata import distributions

        found: dict[tuple[str, str], EntryPoint] = {}
        for distribution in distributions():
            try:
                entries = [each for each in distribution.entry_points if _is_plug_in(each)]
            except Exception as problem:
                name = _name_of(distribution)
                self._warn_of(f"command plug-ins of {name} cannot be listed", problem)
                continue
            for entry in entries:
                key = entry.name, _name_of(distribution)
                if key not in found or entry.group == ENTRY_POINTS:
                    found[key] = entry
        return [(name, found[entry, name]) for entry, name in sorted(found)]

    def _warn_of(self, what: str, problem: BaseException) -> None:
        kind = "" if isinstance(problem, _Unfit) else f"{type(problem).__name__}: "
        text = shortened(f"{what}: {kind}{_message(problem)}", _LONGEST_WARNING)
        self._warn("\n".join([text, *traceback_of(problem)]))


def _is_plug_in(entry: "EntryPoint") -> bool:
    """Say whether ``entry`` is a plug-in, for any version of the API."""
    return entry.group == _ANY_VERSION or entry.group.startswith(f"{_ANY_VERSION}.")


def _name_of(distribution: "Distribution") -> str:
    """Return name and version of a distribution; its metadata may be damaged."""
    try:
        return f"{distribution.name} {distribution.version}"
    except Exception:
        return "an unknown distribution"


def commands_in_maintenance() -> Mapping[str, Command]:
    """Return the commands of maintenance mode."""
    from filer.commands import disk, power, storage
    from filer.shell.manual import commands as manual

    own = (*disk.COMMANDS_IN_MAINTENANCE, *storage.COMMANDS, *power.COMMANDS_IN_MAINTENANCE)
    return _by_name((*own, *manual.COMMANDS))


def commands_at_loader() -> Mapping[str, Command]:
    """Return the commands of ``LOADER>``."""
    from filer.commands.loader import COMMANDS_AT_LOADER

    return _by_name(COMMANDS_AT_LOADER)


def commands_in_boot_menu() -> Mapping[str, Command]:
    """Return the items of the boot menu, by number."""
    from filer.commands.boot_menu import COMMANDS_IN_BOOT_MENU

    return _by_name(COMMANDS_IN_BOOT_MENU)


LOADER, MAINTENANCE, BOOT_MENU = "LOADER>", "*>", "Selection (1-8)?"
"""The prompts of the consoles without a booted filer."""

OTHER_CONSOLES: Mapping[str, Callable[[], Mapping[str, Command]]] = {
    LOADER: commands_at_loader,
    MAINTENANCE: commands_in_maintenance,
    BOOT_MENU: commands_in_boot_menu,
}
"""Returns the commands at each of these prompts."""


def _by_name(commands: Iterable[Command]) -> dict[str, Command]:
    return {command.name: command for command in commands}


def _message(problem: BaseException) -> str:
    try:
        return str(problem)
    except Exception:  # a plug-in's exception may fail here too
        return "?"


def _plugged_in(plugin: object) -> Sequence[Command]:
    """Return the commands of a plug-in.  Raises _Unfit, or ValueError for an invalid synopsis."""
    offered = _offered(plugin)
    if not offered:
        raise _Unfit("it offers no command")
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
    """Raise _Unfit if the console cannot use ``command``, or ValueError for an invalid synopsis."""
    from filer.shell.line.grammar import grammar_of
    from filer.shell.line.synopsis import head
    from filer.shell.manual import pages

    if not isinstance(command, Command):
        raise _Unfit(f"{type(command).__name__} is not a Command")
    name = command.name
    if not name.isprintable():
        raise _Unfit(f"the command name {name} is not printable")
    if not command.subcommands:
        raise _Unfit(f"{name} has no subcommand")
    for row in command.subcommands:
        if not isinstance(row, Subcommand):
            raise _Unfit(f"{name}: {type(row).__name__} is not a Subcommand")
        if not callable(row.run):
            raise _Unfit(f"{name}: {type(row.run).__name__} cannot be called")
        if row.asks and not (isinstance(row.asks, Answers) and isinstance(row.asks.number, int)):
            raise _Unfit(f"{name}: {row.asks!r} is not an Answers")
        if any(head(line, row.values)[:1] != (name,) for line in row.usage):
            raise _Unfit(f"the synopsis of {name} is that of another command")
    grammar_of(command)
    if command.manual and pages.find(name, [command.manual]) is None:
        raise _Unfit(f"{name}: there is no {name}.1 in the package {command.manual}")
