"""options: print and set the options of the system."""

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar, NamedTuple

from filer.commands import Call, Command, Fields, Refused, Subcommand, Suggestion, no_values
from filer.host.quoting import named
from filer.options import OPTIONS
from filer.system import Filer


class _Fixed(NamedTuple):
    """An option that is set elsewhere."""

    value: Callable[[Filer], str]
    set_by: str


def _switch(on: bool) -> str:
    return "on" if on else "off"


_FIXED: Mapping[str, _Fixed] = {
    "autoboot": _Fixed(lambda filer: _switch(filer.loader.autoboot), "setenv AUTOBOOT at LOADER"),
    "kmip.init.maxwait": _Fixed(
        lambda filer: f"{filer.hardware.init_maxwait:g}", "init_maxwait in filer.toml"
    ),
    "kmip.port": _Fixed(lambda filer: str(filer.port), "key_manager setup"),
    "kmip.timeout": _Fixed(lambda filer: f"{filer.hardware.timeout:g}", "timeout in filer.toml"),
    "snaplock": _Fixed(lambda filer: _switch(filer.hardware.snaplock), "snaplock in filer.toml"),
    "storageencryption.support": _Fixed(
        lambda filer: _switch(filer.hardware.storage_encryption), "storage_encryption in filer.toml"
    ),
}


def option_values(filer: Filer) -> Mapping[str, str]:
    """Return the options of the system, sorted by name."""
    fixed = {name: option.value(filer) for name, option in _FIXED.items()}
    return dict(sorted({**fixed, **filer.options.values()}.items()))


class OptionTable(Fields):
    """``options``: values by name."""

    TYPE: ClassVar[str] = "options"
    options: Mapping[str, str]

    def lines(self) -> Iterable[str]:
        """One line for each option."""
        return [f"{name:<28} {value}" for name, value in self.options.items()]


def _show(call: Call) -> None:
    prefix = call.value("name") or ""
    values = option_values(call.filer)
    chosen = {name: value for name, value in values.items() if name.startswith(prefix)}
    if not chosen:
        raise _no_such_option(prefix)
    call.show(OptionTable(chosen))


def _set(call: Call) -> None:
    name, value = call.value("name") or "", call.value("value") or ""
    if name in _FIXED:
        raise Refused(f"{name} cannot be set here; {_FIXED[name].set_by} sets it")
    if name not in OPTIONS:
        raise _no_such_option(name)
    before = call.filer.options[name]
    call.filer.options.set(name, value)
    if value != before:
        call.filer.messages.log("options.changed", "info", f"{name} changed: {before} to {value}")


def _no_such_option(name: str) -> Refused:
    return Refused(f"No such option {named(name)}")


def _names(filer: Filer) -> Iterable[Suggestion]:
    return option_values(filer).items()


def _names_to_set(_filer: Filer) -> Iterable[Suggestion]:
    return [(name, option.help) for name, option in OPTIONS.items()]


COMMANDS = (
    Command(
        "options",
        "print and set the options of the system",
        Subcommand(
            "options [ name ]",
            _show,
            "print the options whose name begins so, or all",
            values={"name": _names},
            changes=False,
        ),
        Subcommand(
            "options name value",
            _set,
            "set an option",
            values={"name": _names_to_set, "value": no_values},
        ),
    ),
)
