"""The look of the prompt: colours, and the toolbar below the line."""

import os
from collections.abc import Callable, Iterator
from functools import cache
from io import StringIO
from typing import TYPE_CHECKING

from prompt_toolkit.application import get_app
from prompt_toolkit.document import Document
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.formatted_text.utils import split_lines
from prompt_toolkit.key_binding.vi_state import InputMode
from prompt_toolkit.lexers import Lexer
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.styles import pygments_token_to_classname

from filer.shell.prompt.settings import Settings
from filer.shell.prompt.themes import style
from filer.shell.prompt.toolbar import Part, fitting, fragments, parts
from filer.shell.session import Session

if TYPE_CHECKING:
    from pygments.token import _TokenType

    from filer.shell.manual.text import ManualText


def theme_of(settings: Settings) -> str:
    """Return the theme of ``settings``, or none if NO_COLOR is set (no-color.org)."""
    return "none" if os.environ.get("NO_COLOR") else settings.theme


def coloured(page: "ManualText", theme: str, terminal: str) -> str:
    """Return ``page`` with control sequences for its colours; ``terminal`` is a value of TERM."""
    from prompt_toolkit.data_structures import Size
    from prompt_toolkit.output.vt100 import Vt100_Output
    from pygments.token import Whitespace

    from filer.shell.manual.colours import tokens_of

    of_theme = style(theme)

    buffer = StringIO()
    output = Vt100_Output(buffer, lambda: Size(0, 0), term=terminal)
    depth = ColorDepth.from_env() or output.get_default_color_depth()

    @cache
    def look(token: "_TokenType") -> str:
        """Return the control sequence that begins the style of ``token``."""
        # A style for line ends would reach into the next line in a pager.
        name = "" if token is Whitespace else class_of(token)
        output.set_attributes(of_theme.get_attrs_for_style_str(name), depth)
        output.flush()
        sequence = buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        return sequence

    before = look(Whitespace)
    text: list[str] = []
    for token, words in tokens_of(page):
        wanted = look(token)
        if wanted != before and words:
            before = wanted
            text.append(before)
        text.append(words)  # printable ASCII only
    return "".join(text)


def class_of(token: "_TokenType") -> str:
    """Return the prompt_toolkit style string of ``token``."""
    return f"class:{pygments_token_to_classname(token)}"


class LineLexer(Lexer):
    """Colours the typed line by the grammar of its commands; it continues the lines ``before``.

    A prompt has one of its own, because prompt_toolkit keeps the colours of a text.
    """

    def __init__(self, session: Session, before: str) -> None:
        self._session = session
        self._before = before

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        lines = list(split_lines(list(self._fragments(document.text))))
        return lambda number: lines[number] if number < len(lines) else []

    def _fragments(self, text: str) -> Iterator[tuple[str, str]]:
        if not text:
            return
        from filer.shell.line.highlighting import GrammarLexer  # an empty prompt does not need it

        lexer = GrammarLexer(self._session.commands)
        for start, token, words in lexer.get_tokens_unprocessed(self._before + text):
            yield class_of(token), words[max(0, len(self._before) - start) :]


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
