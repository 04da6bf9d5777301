"""Themes: ours and every style of Pygments, for lines and manual pages."""

from pathlib import Path

import pytest
from prompt_toolkit.styles import Attrs, BaseStyle
from pygments.styles import get_all_styles, get_style_by_name
from pygments.token import Comment, Error, Generic, _TokenType

from filer.shell.line.highlighting import TOKENS
from filer.shell.prompt.appearance import class_of
from filer.shell.prompt.settings import NAME, THEMES, Settings, load
from filer.shell.prompt.themes import style

BUILT_IN = sorted(get_all_styles())


def attributes(theme: BaseStyle, token: _TokenType) -> Attrs:
    return theme.get_attrs_for_style_str(class_of(token))


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_kind_of_word_has_a_colour_in_our_themes(theme: str) -> None:
    for token in (*TOKENS.values(), Comment, Error):
        assert attributes(style(theme), token).color, token


def test_our_themes_have_no_name_of_a_style() -> None:
    assert len(BUILT_IN) > 30
    assert not {*BUILT_IN} & {*THEMES}


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_style_of_pygments_is_a_theme(tmp_path: Path, name: str) -> None:
    (tmp_path / NAME).write_text(f'theme = "{name}"\n', encoding="ascii")
    theme = style(name)

    assert load(tmp_path) == (Settings(theme=name), [])
    for token in (*TOKENS.values(), Comment):
        found, wanted = attributes(theme, token), get_style_by_name(name).style_for_token(token)
        assert found.color == (wanted["ansicolor"] or wanted["color"] or "")
        assert (found.bold, found.italic) == (wanted["bold"], wanted["italic"])


@pytest.mark.parametrize("name", [*THEMES, *BUILT_IN])
def test_in_every_theme_a_wrong_word_is_underlined_and_a_heading_bold(name: str) -> None:
    assert attributes(style(name), Error).underline
    assert attributes(style(name), Generic.Heading).bold
    assert attributes(style(name), Generic.Strong).bold
