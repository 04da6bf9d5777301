"""Themes: the styles of the tokens of lines and manual pages, and of the prompt around them."""

from prompt_toolkit.output import ColorDepth
from prompt_toolkit.styles import BaseStyle, Style, merge_styles, style_from_pygments_cls

# Tokens have the class names of prompt_toolkit, so that these themes need no import of Pygments.
_OURS = {
    "dark": {
        "pygments.keyword": "ansibrightcyan",
        "pygments.name.function": "ansicyan",
        "pygments.name.attribute": "ansigreen",
        "pygments.literal.string": "ansiyellow",
        "pygments.comment": "ansibrightblack",
        "pygments.error": "ansibrightred",
    },
    "light": {
        "pygments.keyword": "ansiblue",
        "pygments.name.function": "ansiblue",
        "pygments.name.attribute": "ansigreen",
        "pygments.literal.string": "ansimagenta",
        "pygments.comment": "ansibrightblack",
        "pygments.error": "ansired",
    },
    # Without colours, use attributes that every terminal supports.
    "none": {
        "alarm": "bold",
        "auto-suggestion": "italic",
        "completion-menu": "reverse",
        "completion-menu.completion.current": "noreverse bold",
        "completion-menu.meta.completion.current": "noreverse bold",
    },
}

# Many Pygments styles mark an error only with a border, which no terminal has.
_OF_ALL = {
    "pygments.error": "underline",
    "pygments.generic.heading": "bold",
    "pygments.generic.strong": "bold",
}
_IN_COLOURS = {"alarm": "ansired", "auto-suggestion": "ansibrightblack"}


def style(theme: str) -> BaseStyle:
    """Return the style of ``theme``, which is ours or a style of Pygments.

    Raises ClassNotFound of Pygments if there is none, and any exception for a broken plug-in.
    """
    return merge_styles([Style.from_dict(_IN_COLOURS), _base(theme), Style.from_dict(_OF_ALL)])


def _base(theme: str) -> Style:
    if theme in _OURS:
        return Style.from_dict(_OURS[theme])
    from pygments.styles import get_style_by_name

    return style_from_pygments_cls(get_style_by_name(theme))


def color_depth(theme: str) -> ColorDepth | None:
    """Return the colour depth of ``theme``; None leaves it to the terminal."""
    return ColorDepth.DEPTH_1_BIT if theme == "none" else None
