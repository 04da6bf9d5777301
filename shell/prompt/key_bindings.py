"""What the keys of the prompt do beyond what prompt_toolkit has them do."""

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
from filer.shell.prompt.settings import KEYS
from filer.shell.session import Session

MOST_PASTED = 4 * LONGEST
"""Characters of a paste."""

Handler = Callable[[KeyPressEvent], None]

at_the_line = has_focus(DEFAULT_BUFFER)


class _Entry(Completion):
    """An entry of the menu in plain text, which prompt_toolkit need not take apart to measure."""

    def __init__(self, text: str, start_position: int, shown: str, help_text: str) -> None:
        super().__init__(text, start_position, shown, help_text)
        self._shown, self._help = shown, help_text

    @property
    def display_text(self) -> str:
        """What the menu shows."""
        return self._shown

    @property
    def display_meta_text(self) -> str:
        """The word of help beside it."""
        return self._help


class GrammarCompleter(Completer):
    """Completes by the grammar; ``before`` gives the lines that the present one continues."""

    def __init__(self, session: Session, before: Callable[[], str], paths: Paths) -> None:
        self.session = session
        self._before = before
        self._paths = paths

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """Yield the words that fit, as prompt_toolkit wants them."""
        from filer.shell.line.completion import completions  # not before there is a line

        before = self._before()
        text = before + document.text_before_cursor
        for found in completions(self.session, text, self._paths):
            if found.start < len(before):  # a word that began on the line before
                continue
            typed = f"{found.text} " if found.whole else found.text
            yield _Entry(typed, found.start - len(text), found.text, found.help)


def key_bindings(
    completer: Completer,
    switches: Mapping[str, Handler],
    chosen: Mapping[str, tuple[str, ...]],
) -> KeyBindings:
    """Return the bindings of the prompt for commands.

    ``switches`` are the actions menu, toolbar and editing; ``chosen`` has the keys that the
    settings give to actions.
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
    # The last one to be given a key has it.
    for name in ("complete", *switches):
        handler, when = actions[name]
        bindings.add(KEYS[name], filter=when)(handler)
    for name, keys in chosen.items():
        handler, when = actions[name]
        bindings.add(*keys, filter=when)(handler)
    _add_paste(bindings, secret=False)
    return bindings


def answer_bindings(*, secret: bool) -> KeyBindings:
    """Return the bindings of a question, whose answer may be ``secret``."""
    bindings = KeyBindings()
    _add_paste(bindings, secret=secret)
    if secret:
        for key in (Keys.ControlR, Keys.ControlS):  # what is searched for is shown
            bindings.add(key)(_ignore)
    return bindings


def _add_paste(bindings: KeyBindings, *, secret: bool) -> None:
    bindings.add(Keys.BracketedPaste)(partial(_paste, secret=secret))
    bindings.add(Keys.Vt100MouseEvent)(_ignore)  # a pasted colour sequence parses as one


def _paste(event: KeyPressEvent, *, secret: bool) -> None:
    """Take a paste of several lines as if each had been typed, with Enter behind it.

    What follows a command that asks is its answers, and must not stand in its line.  A secret is
    often copied with its line end, which is no Enter: the person cannot see what was pasted.
    Of a paste that is too long nothing is run.
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


def _ignore(_event: KeyPressEvent) -> None:
    """Do nothing."""


def _take_chosen(event: KeyPressEvent) -> None:
    """Take the entry of the menu that was chosen, and go on typing behind it."""
    event.current_buffer.complete_state = None


def _earlier(event: KeyPressEvent) -> None:
    """Go back in the history: a menu that opened by itself keeps nobody from it."""
    event.current_buffer.history_backward(count=event.arg)


def _complete(buffer: Buffer, completer: Completer) -> None:
    """Add what is certain; if there is a choice, open the menu, and then go down in it.

    It is done at once, so that a line that was typed ahead is completed too.
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
