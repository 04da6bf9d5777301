"""The user's settings of the interactive console: config.toml in the XDG config home."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import split
from types import MappingProxyType
from typing import NamedTuple

from filer.host.quoting import quoted
from filer.host.reading import NotThereError
from filer.host.text import near_names, printable
from filer.host.toml_file import (
    TOP,
    Check,
    ConfigError,
    Document,
    Known,
    RuleError,
    Sections,
    switch,
)

NAME = "config.toml"

THEMES = ("dark", "light", "none")
"""Our own themes; any Pygments style is one too."""

EDITING_MODES = ("emacs", "vi")

KEYS = {
    "complete": "tab",
    "suggestion": "right",
    "search": "c-r",
    "menu": "f2",
    "toolbar": "f3",
    "editing": "f4",
}
"""The default key of each action, unless the settings assign that key to another action."""

_ESCAPE = {"escape", "c-["}
_KEPT = {"c-m", "enter", "c-j", "c-c", "c-d", *_ESCAPE}
_LONGEST = 4
_MOST_NEAR = 3


class Settings(NamedTuple):
    """The settings; ``keys`` has the keys of each action that config.toml sets."""

    theme: str = "dark"
    editing: str = "emacs"
    menu: bool = True
    toolbar: bool = True
    pager: str | None = None
    keys: Mapping[str, tuple[str, ...]] = MappingProxyType({})


DEFAULTS = Settings()


def _alternatives(*texts: str) -> str:
    *others, last = texts
    return f"{', '.join(others)} or {last}" if others else last


def _one_of(choices: Sequence[str]) -> Check[str]:
    rule = f"must be {_alternatives(*map(quoted, choices))}"

    def check(value: object) -> str:
        if value not in choices:
            raise RuleError(rule)
        return str(value)

    return check


def _theme(value: object) -> str:
    """Return the name of a theme that can be used.  Raises RuleError."""
    if value in THEMES:
        return str(value)
    from pygments.styles import get_all_styles
    from pygments.util import ClassNotFound

    from filer.shell.prompt.themes import style

    near: list[str] = []
    if isinstance(value, str):
        try:
            style(value)
            return value
        except ClassNotFound:
            near = near_names(value, [*THEMES, *get_all_styles()], _MOST_NEAR)
        except Exception as problem:  # a plug-in for Pygments may fail in any way
            name = type(problem).__name__
            raise RuleError(f"{quoted(value)} cannot be loaded: {name}") from None
    advice = f"; did you mean {_alternatives(*map(quoted, near))}?" if near else ""
    themes = _alternatives(*map(quoted, THEMES), "a style of Pygments")
    raise RuleError(f"must be {themes}{advice}")


def _program(value: object) -> str:
    if not isinstance(value, str) or printable(value) != value or not _is_command(value):
        raise RuleError('must be a program and its options, such as "less -R"')
    return value


def _is_command(text: str) -> bool:
    try:
        return bool(split(text))
    except ValueError:  # an unclosed quote
        return False


def _key(value: object) -> tuple[str, ...]:
    """Return the keys of a sequence.  Raises RuleError."""
    from prompt_toolkit.keys import ALL_KEYS, KEY_ALIASES

    keys = tuple(value.split()) if isinstance(value, str) else ()
    names = {key for key in (*ALL_KEYS, *KEY_ALIASES) if not key.startswith("<")}
    known = all(key in names or (at and len(key) == 1) for at, key in enumerate(keys))
    if not 0 < len(keys) <= _LONGEST or not known:
        raise RuleError('must be a key, such as "f5" or "c-space", or several: "escape h"')
    if keys[0] in _KEPT and not (len(keys) > 1 and keys[0] in _ESCAPE):
        raise RuleError(f'cannot be "{keys[0]}", which has a meaning of its own')
    return keys


_KEYS: Known = {
    TOP: {
        "theme": _theme,
        "editing": _one_of(EDITING_MODES),
        "menu": switch,
        "toolbar": switch,
        "pager": _program,
    },
    "keys": dict.fromkeys(KEYS, _key),
}


def load(directory: Path) -> tuple[Settings, list[ConfigError]]:
    """Return the settings in ``directory``'s config.toml, and its errors.

    Invalid and missing keys have their defaults.
    """
    try:
        document = Document.read(NAME, directory / NAME)
    except NotThereError:
        return DEFAULTS, []
    except ConfigError as error:
        return DEFAULTS, [error]
    read = Sections(document, _KEYS)
    keys: dict[str, object] = {}
    for action, pressed in read.values["keys"].items():
        if pressed in keys.values():
            text = f"{action} has the key of another action"
            read.errors.append(document.error(("keys", action), text))
        else:
            keys[action] = pressed
    settings = Settings(**read.values[TOP], keys=keys)  # type: ignore[arg-type]
    return settings, sorted(read.errors, key=lambda error: _line(str(error)))


def _line(error: str) -> int:
    return int(error.split(":")[1])
