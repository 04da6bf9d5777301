"""The scenarios: built-in ones by name, others from files."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from filer.host.errors import FilerError
from filer.host.text import printable
from filer.storm.scenario import Scenario
from filer.storm.scenarios.boot import Boot
from filer.storm.scenarios.rekey import Rekey

BUILT_IN: dict[str, type[Scenario]] = {"boot": Boot, "rekey": Rekey}


def name_of(scenario: str) -> str:
    """Return the name of a scenario, which is that of its file."""
    return scenario if scenario in BUILT_IN else Path(scenario).name


def load(scenario: str) -> type[Scenario]:
    """Return a built-in scenario, or the one in a Python file, which is run for it.

    Raises FilerError if the file has not exactly one scenario.
    """
    if scenario in BUILT_IN:
        return BUILT_IN[scenario]
    path = Path(scenario)
    shown = printable(path.name)
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise FilerError(f"{shown}: not a Python file")
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # it is not our code
        reason = printable(f"{type(error).__name__}: {error}")
        raise FilerError(f"{shown}: cannot be run: {reason}") from error
    found = [
        each
        for each in vars(module).values()
        if isinstance(each, type)
        and issubclass(each, Scenario)
        and each.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise FilerError(
            f"{shown}: it must have one class derived from filer.storm.scenario.Scenario, "
            f"and has {len(found)}"
        )
    return found[0]
