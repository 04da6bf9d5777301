"""config.toml: the settings of the interactive console, and errors in them."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filer.host.toml_file import ConfigError
from filer.shell.manual.pages import find
from filer.shell.manual.typesetting import render
from filer.shell.prompt.settings import DEFAULTS, KEYS, NAME, THEMES, Settings, load

EVERYTHING = """\
theme = "light"
editing = "vi"
menu = false
toolbar = false
pager = "less -R"
[keys]
complete = "c-space"
suggestion = "c-e"
search = "f8"
menu = "escape m"
toolbar = "c-x t"
editing = "f12"
"""


NO_KEY = 'must be a key, such as "f5" or "c-space", or several: "escape h"'
NO_THEME = 'must be "dark", "light", "none" or a style of Pygments'
NO_PAGER = 'must be a program and its options, such as "less -R"'
KEPT = "which has a meaning of its own"


def parse(data: bytes) -> tuple[Settings, list[ConfigError]]:
    with TemporaryDirectory() as directory:
        Path(directory, NAME).write_bytes(data)
        return load(Path(directory))


def errors(text: str) -> list[str]:
    settings, found = parse(text.encode())
    assert settings == DEFAULTS
    return [str(error) for error in found]


def test_everything_can_be_set() -> None:
    settings, found = parse(EVERYTHING.encode())

    assert found == []
    assert settings == Settings(
        theme="light",
        editing="vi",
        menu=False,
        toolbar=False,
        pager="less -R",
        keys={
            "complete": ("c-space",),
            "suggestion": ("c-e",),
            "search": ("f8",),
            "menu": ("escape", "m"),
            "toolbar": ("c-x", "t"),
            "editing": ("f12",),
        },
    )


def test_what_is_not_set_has_its_default() -> None:
    assert parse(b"") == (DEFAULTS, [])
    assert parse(b"toolbar = false\n") == (Settings(toolbar=False), [])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('tolbar = true\n', 'config.toml:1: unknown key "tolbar"; did you mean "toolbar"?'),
        ("\n\nxyzzy = 1\n", 'config.toml:3: unknown key "xyzzy"'),
        ('theme = "pink"\n', f"config.toml:1: theme {NO_THEME}"),
        ("theme = []\n", f"config.toml:1: theme {NO_THEME}"),
        ('theme = "../monokai"\n', f'config.toml:1: theme {NO_THEME}; did you mean "monokai"?'),
        ('theme = "drak"\n', f'config.toml:1: theme {NO_THEME}; did you mean "dark"?'),
        (
            'theme = "gruvbox"\n',
            f'config.toml:1: theme {NO_THEME}; did you mean "gruvbox-dark" or "gruvbox-light"?',
        ),
        ('editing = "ed"\n', 'config.toml:1: editing must be "emacs" or "vi"'),
        ('# why\nmenu = "on"\n', "config.toml:2: menu must be true or false"),
        ("toolbar = 0\n", "config.toml:1: toolbar must be true or false"),
        ('pager = " "\n', f"config.toml:1: pager {NO_PAGER}"),
        ("pager = \"less 'unclosed\"\n", f"config.toml:1: pager {NO_PAGER}"),
        ("keys = 1\n", "config.toml:1: keys must be a section, [keys]"),
        ('complete = "f5"\n', 'config.toml:1: "complete" belongs in the section [keys]'),
        ('[keys]\ntheme = "dark"\n', 'config.toml:2: "theme" belongs before the sections'),
        (
            '[keys]\nserch = "f5"\n',
            'config.toml:2: unknown key "serch" in [keys]; did you mean "search"?',
        ),
        (
            '[keys]\nsearch = "ctrl-r"\n',
            f"config.toml:2: search {NO_KEY}",
        ),
        ('[keys]\nsearch = "enter"\n', f'config.toml:2: search cannot be "enter", {KEPT}'),
        ('[keys]\nsearch = "escape"\n', f'config.toml:2: search cannot be "escape", {KEPT}'),
        ('[keys]\nsearch = "c-c x"\n', f'config.toml:2: search cannot be "c-c", {KEPT}'),
        ("menu = \n", "config.toml:1: Invalid value"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(text: str, error: str) -> None:
    assert errors(text) == [error]


@pytest.mark.parametrize("key", ["", "x", "f5 f6 f7 f8 f9", "<any>", "<cursor-position-response>"])
def test_what_is_no_key_is_refused(key: str) -> None:
    (error,) = errors(f'[keys]\nmenu = "{key}"\n')

    assert error.startswith("config.toml:2: menu must be a key")


def test_a_wrong_setting_costs_no_other_one() -> None:
    settings, found = parse(b'theme = "pink"\nediting = "vi"\n[keys]\nmenu = 1\nsearch = "f5"\n')

    assert [str(error).split(" ")[0] for error in found] == ["config.toml:1:", "config.toml:4:"]
    assert settings == Settings(editing="vi", keys={"search": ("f5",)})


def test_two_actions_cannot_have_one_key() -> None:
    settings, found = parse(b'[keys]\nmenu = "f5"\ntoolbar = "f5"\n')

    assert list(map(str, found)) == ["config.toml:3: toolbar has the key of another action"]
    assert settings.keys == {"menu": ("f5",)}


def test_there_need_not_be_a_file(tmp_path: Path) -> None:
    assert load(tmp_path) == (DEFAULTS, [])
    assert load(tmp_path / "nowhere") == (DEFAULTS, [])


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    settings, (error,) = load(tmp_path)

    assert (settings, str(error)) == (DEFAULTS, "config.toml: is a directory")


@given(st.one_of(st.binary(max_size=80), st.text(max_size=80).map(str.encode)))
def test_any_file_is_read_or_named_in_an_error(data: bytes) -> None:
    settings, found = parse(data)

    assert settings == DEFAULTS or not found
    assert all(
        str(error).startswith("config.toml:") and str(error).isprintable() for error in found
    )


def test_the_manual_page_has_every_setting_with_its_default() -> None:
    page = find("filer")
    assert page is not None
    _, _, text = render(page.source, 100).partition("\nSETTINGS\n")
    lines = [line.strip() for line in text.partition("\nCOMMANDS\n")[0].splitlines()]

    shown = parse("\n".join(lines[lines.index('theme = "dark"') :][: 5 + len(KEYS)]).encode())
    assert shown == (Settings(keys={name: (key,) for name, key in KEYS.items()}), [])
    described = {line.split()[0] for line in lines if line}
    assert set(Settings._fields) - {"keys"} | {"[keys]"} <= described
    assert all(any(theme in line for line in lines) for theme in THEMES)
