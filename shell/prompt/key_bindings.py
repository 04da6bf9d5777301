"""Key bindings of the prompt, in addition to those of prompt_toolkit."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from prompt_toolkit.application import get_app
from prompt_toolkit.buffer import Buffer, CompletionState
from prompt_toolkit.completion import (
    CompleteEvent,
    Completer,
    Completion,
    get_common_complete_suffix,
)
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import (
    Condition,
    Filter,
    completion_is_selected,
    has_completions,
    has_focus,
)
from prompt_toolkit.key_binding import KeyBindings, KeyPress, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.search import SearchDirection, start_search

from filer.shell.line.length import LONGEST, LineTooLong
from filer.shell.line.paths import Paths
from filer.shell.prompt.key_limits import disable_macros, ignore
from filer.shell.prompt.settings import KEYS
from filer.shell.session import Session

MOST_PASTED = 4 * LONGEST
"""Characters of a paste."""

Handler = Callable[[KeyPressEvent], None]

at_the_line = has_focus(DEFAULT_BUFFER)


class _Entry(Completion):
    """A menu entry in plain text; prompt_toolkit would parse formatted text to measure it."""

    def __init__(self, text: str, start_position: int, shown: str, help_text: str) -> None:
        super().__init__(text, start_position, shown, help_text)
        self._shown, self._help = shown, help_text

    @property
    def display_text(self) -> str:
        return self._shown

    @property
    def display_meta_text(self) -> str:
        return self._help


class GrammarCompleter(Completer):
    """Completes by the grammar; ``before`` returns the lines that this one continues."""

    def __init__(self, session: Session, before: Callable[[], str], paths: Paths) -> None:
        self.session = session
        self._before = before
        self._paths = paths

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        from filer.shell.line.completion import completions  # an empty prompt does not need it

        before = self._before()
        text = before + document.text_before_cursor
        for found in completions(self.session, text, self._paths):
            if found.start < len(before):  # a word that began on the line before
                continue
            typed = f"{found.text} " if found.whole else found.text
            yield _Entry(typed, found.start - len(text), found.text, found.help)


def key_bindings(
    completer: Completer, switches: Mapping[str, Handler], chosen: Mapping[str, tuple[str, ...]]
) -> KeyBindings:
    """Return the bindings of the command prompt.

    ``switches`` has the actions menu, toolbar and editing; ``chosen`` has the keys that the
    settings assign to actions.
    """
    bindings = KeyBindings()
    bindings.add("enter", filter=at_the_line & completion_is_selected)(_take_chosen)
    bindings.add("up", filter=at_the_line & has_completions & ~completion_is_selected)(_earlier)

    def complete(event: KeyPressEvent) -> None:
        _complete(event.current_buffer, completer)

    actions: dict[str, tuple[Handler, Filter]] = {
        "complete": (complete, at_the_line),
        "suggestion": (_take_suggestion, at_the_line & _is_suggested),
        "search": (_search, at_the_line),
        **{name: (handler, at_the_line) for name, handler in switches.items()},
    }
    _add_common(bindings, secret=False)
    # Later bindings win.
    for name in ("complete", *switches):
        handler, when = actions[name]
        bindings.add(KEYS[name], filter=when)(handler)
    for name, keys in chosen.items():
        handler, when = actions[name]
        bindings.add(*keys, filter=when)(handler)
    return bindings


def answer_bindings(*, secret: bool) -> KeyBindings:
    """Return the bindings of a question, whose answer may be ``secret``."""
    bindings = KeyBindings()
    _add_common(bindings, secret=secret)
    if secret:
        for key in (Keys.ControlR, Keys.ControlS):  # a search would show the typed text
            bindings.add(key)(ignore)
    return bindings


def _add_common(bindings: KeyBindings, *, secret: bool) -> None:
    bindings.add(Keys.BracketedPaste)(partial(_paste, secret=secret))
    bindings.add(Keys.Vt100MouseEvent)(ignore)  # a pasted colour sequence parses as one
    disable_macros(bindings)


def _paste(event: KeyPressEvent, *, secret: bool) -> None:
    """Treat each line of a paste as typed, with Enter after it.

    The lines after a command that asks are its answers, and must not become part of its line.  A
    single line end after a secret does not count as Enter: it is often copied with the secret, and
    the user cannot see that.  A paste that is too long is rejected as a whole.
    """
    if len(event.data) > MOST_PASTED:
        event.app.exit(exception=LineTooLong())
        return
    text = event.data.replace("\r\n", "\n").replace("\r", "\n")
    if secret and text.count("\n") == 1:
        text = text.removesuffix("\n")
    first, *others = text.split("\n")
    event.current_buffer.insert_text(first)
    keys: list[KeyPress] = []
    for line in others:
        keys.append(KeyPress(Keys.ControlM, "\r"))
        keys.extend(KeyPress(character, character) for character in line)
    event.key_processor.feed_multiple(keys, first=True)


def _take_chosen(event: KeyPressEvent) -> None:
    """Accept the selected menu entry without running the line."""
    event.current_buffer.complete_state = None


def _earlier(event: KeyPressEvent) -> None:
    """Go back in the history, even if the menu has opened automatically."""
    event.current_buffer.history_backward(count=event.arg)


def _complete(buffer: Buffer, completer: Completer) -> None:
    """Insert the unambiguous part; if there is a choice, open the menu, and then move down in it.

    This is synchronous, so that typeahead after the key sees the completed line.
    """
    state = buffer.complete_state
    if state is not None and state.complete_index is not None:
        buffer.complete_next()
        return
    event = CompleteEvent(completion_requested=True)
    found = list(completer.get_completions(buffer.document, event))
    if len(found) == 1:
        buffer.apply_completion(found[0])
        return
    common = get_common_complete_suffix(buffer.document, found)
    if common:
        buffer.insert_text(common)
        found = [each.new_completion_from_position(len(common)) for each in found]
    elif state is not None and state.completions:
        buffer.complete_next()
        return
    if found:
        buffer.complete_state = CompletionState(buffer.document, found)
        buffer.on_completions_changed.fire()


@Condition
def _is_suggested() -> bool:
    buffer = get_app().current_buffer
    return buffer.suggestion is not None and buffer.document.is_cursor_at_the_end


def _take_suggestion(event: KeyPressEvent) -> None:
    suggestion = event.current_buffer.suggestion
    if suggestion is not None:
        event.current_buffer.insert_text(suggestion.text)


def _search(_event: KeyPressEvent) -> None:
    start_search(direction=SearchDirection.BACKWARD)
