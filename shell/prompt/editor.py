"""The line editor, by prompt_toolkit: history, completion, colours, toolbar."""

from asyncio import AbstractEventLoop
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from functools import cached_property, partial
from threading import get_ident
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.application import (
    Application,
    get_app_session,
    run_in_terminal,
)
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory, ConditionalAutoSuggest
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import Condition, renderer_height_is_known
from prompt_toolkit.history import DummyHistory
from prompt_toolkit.input import Input
from prompt_toolkit.input.typeahead import get_typeahead, store_typeahead
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding import KeyPress, KeyPressEvent
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput
from prompt_toolkit.output import Output
from prompt_toolkit.renderer import CPR_Support

from filer.host.user_paths import user_path
from filer.shell.line.length import LONGEST, checked
from filer.shell.line.paths import Paths, no_paths
from filer.shell.prompt.appearance import LineLexer, Toolbar, theme_of
from filer.shell.prompt.history import ConsoleHistory, open_history
from filer.shell.prompt.key_bindings import GrammarCompleter, answer_bindings, key_bindings
from filer.shell.prompt.key_limits import limit_keys
from filer.shell.prompt.reader import LineReader
from filer.shell.prompt.settings import DEFAULTS, Settings
from filer.shell.prompt.themes import color_depth, style
from filer.shell.session import Session
from filer.shell.signals import Ended, Signals

_ROOM_FOR_MENU = 8
"""Rows kept free for the menu, if the screen has more than that."""


def _call_soon(loop: AbstractEventLoop, call: Callable[[], object]) -> None:
    with suppress(RuntimeError):  # the loop is closed; the next prompt checks for signals
        loop.call_soon_threadsafe(call)


def _bound(buffer: Buffer) -> None:
    """Cut a line to one character more than is allowed, so that it is rejected later."""
    if len(buffer.text) > LONGEST + 1:
        buffer.text = buffer.text[: LONGEST + 1]


class _ShowNothing(Processor):
    """Shows nothing of the typed text, not even its length."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        return Transformation(
            [], source_to_display=lambda _position: 0, display_to_source=lambda _position: 0
        )


class LineEditor(LineReader):
    """Reads lines with prompt_toolkit.

    Commands, answers and secrets each have a PromptSession, so that only commands get into the
    history; all three share the input, so that typeahead stays in order.  ``keyboard`` and
    ``screen`` default to those of the process.  ``typed`` is told each text of a line that is
    shown while it is typed.

    The terminal has reported its cursor position, and is queried again at each prompt: colours,
    suggestions, the toolbar and the automatic menu depend on that.
    """

    def __init__(
        self,
        session: Session,
        signals: Signals,
        *,
        settings: Settings = DEFAULTS,
        paths: Paths = no_paths,
        history: ConsoleHistory | None = None,
        keyboard: Input | None = None,
        screen: Output | None = None,
        typed: Callable[[str], object] | None = None,
    ) -> None:
        self._signals = signals
        self._typed = typed
        self._keyboard = keyboard
        self._screen = get_app_session().output if screen is None else screen
        self._before = ""
        self._prompted: tuple[int, AbstractEventLoop, Context] | None = None
        self._opens_menu, self._shows_toolbar = settings.menu, settings.toolbar
        self._toolbar = Toolbar(session)
        self._session = session
        self._knows_commands = False
        self._history = open_history(user_path("state", "filer")) if history is None else history
        self._history.hides = self._hides
        theme = theme_of(settings)
        self._completer = GrammarCompleter(session, lambda: self._before, paths)
        switches = {
            "menu": self._switch_menu,
            "toolbar": self._switch_toolbar,
            "editing": self._switch_editing,
        }
        self._commands: PromptSession[str] = PromptSession(
            history=self._history,
            completer=self._completer,
            auto_suggest=ConditionalAutoSuggest(AutoSuggestFromHistory(), renderer_height_is_known),
            enable_history_search=True,
            editing_mode=EditingMode[settings.editing.upper()],
            key_bindings=key_bindings(self._completer, switches, settings.keys),
            style=style(theme),
            include_default_pygments_style=False,
            color_depth=color_depth(theme),
            input=keyboard,
            output=self._screen,
        )
        # prompt_toolkit disables complete_while_typing if history search is on; enable it again.
        self._commands.default_buffer.complete_while_typing = renderer_height_is_known & Condition(
            lambda: self._opens_menu and self._has_room
        )
        self._prepare(self._commands)
        self._commands.app.before_render += self._fit
        self._commands.app.before_render += self._notice_height
        self._commands.app.before_render += self._learn_commands

    def attach(self, session: Session) -> None:
        self._session = session
        self._completer.session = self._toolbar.session = session

    def _hides(self, line: str) -> bool:
        return self._session.hides(line)

    @property
    def _has_room(self) -> bool:
        return self._commands.app.output.get_size().rows > _ROOM_FOR_MENU + 1

    def _fit(self, _app: object) -> None:
        has_room = self._has_room
        self._commands.reserve_space_for_menu = _ROOM_FOR_MENU if has_room else 0
        self._commands.bottom_toolbar = self._toolbar if self._shows_toolbar and has_room else None

    def _learn_commands(self, app: Application[str]) -> None:
        """Load plug-ins, grammars and colours at the first prompt, not at the first key."""

        def learn() -> None:
            from filer.shell.line import highlighting  # noqa: F401  (with Pygments 12 ms)

            for name in self._session.commands:
                self._session.grammar(name)

        if not self._knows_commands and renderer_height_is_known():
            self._knows_commands = True
            assert app.loop is not None
            app.loop.call_soon(learn)

    def _notice_height(self, app: Application[str]) -> None:
        """Colour what was typed before the terminal reported its cursor position; open its menu."""
        if self._commands.lexer or not renderer_height_is_known():
            return
        self._commands.lexer = LineLexer(self._session, self._before)
        buffer = self._commands.default_buffer

        def open_menu() -> None:
            if buffer.text and not buffer.complete_state and buffer.complete_while_typing():
                buffer.start_completion(complete_event=CompleteEvent(text_inserted=True))

        assert app.loop is not None
        app.loop.call_soon(open_menu)

    def _switch_menu(self, event: KeyPressEvent) -> None:
        self._opens_menu = not self._opens_menu
        event.current_buffer.complete_state = None

    def _switch_toolbar(self, _event: KeyPressEvent) -> None:
        self._shows_toolbar = not self._shows_toolbar

    def _switch_editing(self, _event: KeyPressEvent) -> None:
        is_vi = self._commands.editing_mode is EditingMode.VI
        self._commands.editing_mode = EditingMode.EMACS if is_vi else EditingMode.VI

    @cached_property  # slow to make, and the first prompt does not need it
    def _answers(self) -> PromptSession[str]:
        return self._unrecorded()

    @cached_property
    def _secrets(self) -> PromptSession[str]:
        return self._unrecorded(secret=True)

    def _unrecorded(self, *, secret: bool = False) -> PromptSession[str]:
        prompts: PromptSession[str] = PromptSession(
            history=DummyHistory(),
            input_processors=[_ShowNothing()] if secret else [],
            key_bindings=answer_bindings(secret=secret),
            input=self._keyboard,
            output=self._screen,
        )
        self._prepare(prompts, secret=secret)
        return prompts

    def _prepare(self, prompts: PromptSession[str], *, secret: bool = False) -> None:
        for buffer in (prompts.default_buffer, prompts.search_buffer):
            buffer.on_text_changed += _bound
            if not secret:
                buffer.on_text_changed += self._tell_typed
        limit_keys(prompts.app, partial(self._check_signals, prompts.app))
        # Otherwise prompt_toolkit waits 2 s for the cursor position at each prompt, and warns.
        if self._screen.responds_to_cpr:
            prompts.app.renderer.cpr_support = CPR_Support.SUPPORTED

    def _tell_typed(self, buffer: Buffer) -> None:
        if self._typed is not None:
            self._typed(buffer.text)

    @property
    def draws(self) -> bool:
        return True

    @property
    def is_watched(self) -> bool:
        """Whether cursor queries are allowed; only PROMPT_TOOLKIT_NO_CPR forbids them."""
        return self._screen.responds_to_cpr

    def type_ahead(self, typed: bytes) -> None:
        """Take ``typed``, which arrived before the editor was loaded, as its first keys."""
        keys: list[KeyPress] = []
        parser = Vt100Parser(keys.append)
        parser.feed(typed.decode("utf-8", "surrogateescape"))
        parser.flush()
        store_typeahead(self._commands.app.input, keys)

    def discard(self) -> None:
        get_typeahead(self._commands.app.input)

    def interject(self, show: Callable[[], None]) -> None:
        """Call ``show`` above the prompt, from any thread."""
        prompted = self._prompted
        if prompted is None:
            show()
            return
        thread, loop, context = prompted
        if thread == get_ident():
            run_in_terminal(show)
            return
        try:
            loop.call_soon_threadsafe(lambda: run_in_terminal(show), context=context)
        except RuntimeError:  # the prompt has just ended
            show()

    def line(self, prompt: str, before: str = "") -> str:
        self._before = self._history.before = before
        self._toolbar.forget()
        self._commands.lexer = None
        return self._read(self._commands, prompt)

    def answer(self, prompt: str) -> str:
        self._answers.editing_mode = self._commands.editing_mode
        return self._read(self._answers, prompt)

    def secret(self, prompt: str) -> str:
        return self._read(self._secrets, prompt)

    def _check_signals(self, app: Application[str]) -> None:
        if app.is_running and not app.is_done:
            try:
                self._signals.take_effect()
            except (Ended, KeyboardInterrupt) as end:
                app.exit(exception=end)

    def _read(self, prompts: PromptSession[str], prompt: str) -> str:
        app = prompts.app
        check_signals = partial(self._check_signals, app)

        def give_up(_loop: AbstractEventLoop, context: dict[str, Any]) -> None:
            # The default handler prints the exception, which may show the typed text.
            if app.is_running and not app.is_done:
                app.exit(exception=context.get("exception") or RuntimeError())

        def begin() -> None:
            loop = app.loop
            assert loop is not None
            self._prompted = get_ident(), loop, copy_context()
            loop.set_exception_handler(give_up)
            # An exception raised inside the event loop would not restore the terminal.
            self._signals.end_prompt = partial(_call_soon, loop, check_signals)
            loop.call_soon(check_signals)  # for a signal that is pending

        try:
            return checked(prompts.prompt(prompt, pre_run=begin, set_exception_handler=False))
        finally:
            self._signals.end_prompt = None
            self._prompted = None
