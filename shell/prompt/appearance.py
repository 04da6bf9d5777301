"""The look of the prompt: colours, and the toolbar below the line."""

import os
from collections.abc import Callable, Iterator
from functools import cache
from io import StringIO
from typing import TYPE_CHECKING

from prompt_toolkit.application import get_app
from prompt_toolkit.document import Document
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import Filter
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.formatted_text.utils import split_lines
from prompt_toolkit.key_binding.vi_state import InputMode
from prompt_toolkit.lexers import Lexer
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.styles import Attrs, Style

from filer.shell.prompt.settings import Settings
from filer.shell.prompt.toolbar import Part, fitting, fragments, parts
from filer.shell.session import Session

if TYPE_CHECKING:
    from filer.shell.line.highlighting import Span
    from filer.shell.manual.colours import ManualText

LINE = "line"
"""The style class of all word classes, as in ``line.command``."""

_STYLES: dict[str, dict[str, str]] = {
    "dark": {
        "command": "ansibrightcyan",
        "subcommand": "ansicyan",
        "option": "ansigreen",
        "variable": "ansiyellow",
        "comment": "ansibrightblack",
        "wrong": "ansibrightred underline",
        "alarm": "ansired",
        "auto-suggestion": "ansibrightblack",
    },
    "light": {
        "command": "ansiblue",
        "subcommand": "ansiblue",
        "option": "ansigreen",
        "variable": "ansimagenta",
        "comment": "ansibrightblack",
        "wrong": "ansired underline",
        "alarm": "ansired",
        "auto-suggestion": "ansibrightblack",
    },
    # Without colours, use attributes that every terminal supports.
    "none": {
        "wrong": "underline",
        "alarm": "bold",
        "auto-suggestion": "italic",
        "completion-menu": "reverse",
        "completion-menu.completion.current": "noreverse bold",
        "completion-menu.meta.completion.current": "noreverse bold",
    },
}
_OF_THE_LINE = {"command", "subcommand", "option", "variable", "comment", "wrong"}


def theme_of(settings: Settings) -> str:
    """Return the theme of ``settings``, or none if NO_COLOR is set (no-color.org)."""
    return "none" if os.environ.get("NO_COLOR") else settings.theme


def style(theme: str) -> Style:
    """Return the prompt_toolkit style of ``theme``."""
    return Style.from_dict(
        {
            f"{LINE}.{name}" if name in _OF_THE_LINE else name: text
            for name, text in _STYLES[theme].items()
        }
    )


def color_depth(theme: str) -> ColorDepth | None:
    """Return the colour depth of ``theme``; None leaves it to the terminal."""
    return ColorDepth.DEPTH_1_BIT if theme == "none" else None


def coloured(page: "ManualText", theme: str, terminal: str) -> str:
    """Return ``page`` with control sequences for its colours; ``terminal`` is a value of TERM."""
    from prompt_toolkit.data_structures import Size
    from prompt_toolkit.output.vt100 import Vt100_Output

    from filer.shell.manual.typesetting import HEADING

    of_theme = style(theme)

    @cache
    def attributes(name: str) -> Attrs:
        text = "bold" if name in ("bold", HEADING) else f"class:{LINE}.{name}" if name else ""
        return of_theme.get_attrs_for_style_str(text)

    text = StringIO()
    output = Vt100_Output(text, lambda: Size(0, 0), term=terminal)
    depth = ColorDepth.from_env() or output.get_default_color_depth()
    before = ""
    for name, words in page.fragments():
        if words and name != before:
            output.set_attributes(attributes(name), depth)
            before = name
        output.write(words)
    output.flush()
    return text.getvalue()


class GrammarLexer(Lexer):
    """Colours the typed line by the grammar of its commands, while ``wanted``.

    ``before`` returns the lines that this one continues.
    """

    def __init__(self, session: Session, before: Callable[[], str], wanted: Filter) -> None:
        self.session = session
        self._before = before
        self._wanted = wanted

    def invalidation_hash(self) -> tuple[int, str, bool]:
        """Return what the colours depend on besides the text."""
        return id(self.session), self._before(), self._wanted()

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        lines = list(split_lines(list(self._fragments(document.text))))
        return lambda number: lines[number] if number < len(lines) else []

    def _fragments(self, text: str) -> Iterator[tuple[str, str]]:
        end = 0
        for span in self._spans(text):
            yield "", text[end : span.start]
            yield f"class:{LINE}.{span.kind}", text[span.start : span.end]
            end = span.end
        yield "", text[end:]

    def _spans(self, text: str) -> "Iterator[Span]":
        if not (text and self._wanted()):
            return
        from filer.shell.line.highlighting import Span, spans  # an empty prompt needs neither

        before = self._before()
        for span in spans(self.session, before + text):
            if span.end > len(before):
                start = max(span.start - len(before), 0)
                yield Span(start, span.end - len(before), span.kind)


class Toolbar:
    """The bottom toolbar, computed once per prompt: only commands change its content."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._parts: list[Part] | None = None

    def forget(self) -> None:
        """Compute the content again at the next display."""
        self._parts = None

    def __call__(self) -> StyleAndTextTuples:
        """Return the toolbar for the width of the screen."""
        if self._parts is None:
            self._parts = parts(self.session)
        width = get_app().output.get_size().columns
        return [*fragments(fitting([*_vi_mode(), *self._parts], width))]


def _vi_mode() -> Iterator[Part]:
    app = get_app()
    if app.editing_mode is EditingMode.VI:
        inserts = app.vi_state.input_mode is not InputMode.NAVIGATION
        yield Part("vi insert" if inserts else "vi command")
