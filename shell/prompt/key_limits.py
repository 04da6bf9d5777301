"""Limits on what one key of the editor may cost.

A signal takes effect between two keys, so a session ends at once only if each key is cheap.
"""

from collections.abc import Callable
from typing import Any

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import emacs_mode, vi_navigation_mode
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.key_binding.key_processor import KeyProcessor
from prompt_toolkit.keys import Keys

from filer.shell.line.length import LONGEST, LineTooLong

MOST_REPEATS = 1000
"""The largest numeric argument of a key."""

_MOST_KEPT = 16 * LONGEST
"""Characters of earlier texts of a line that undo keeps, about; and those by which lines of the
history may grow while they are edited."""

_SHORT = 1024
"""Characters of a line that needs no such look at all the lines of the history."""


def limit_keys(app: Application[Any], after_key: Callable[[], None]) -> None:
    """Limit the keys of ``app``, and call ``after_key`` after each of them."""

    def before(keys: KeyProcessor) -> None:
        _limit_argument(app, keys)
        _limit_undo(app.current_buffer)

    def after(_keys: KeyProcessor) -> None:
        if _has_grown(app.current_buffer) and not app.is_done:
            app.exit(exception=LineTooLong())
        after_key()

    app.key_processor.before_key_press += before
    app.key_processor.after_key_press += after


def disable_macros(bindings: KeyBindings) -> None:
    """Bind the keys of keyboard macros to nothing: a macro that calls itself grows without end."""
    for key in ("(", ")", "e"):
        bindings.add("c-x", key, filter=emacs_mode)(ignore)
    for key in ("q", "@"):
        bindings.add(key, Keys.Any, filter=vi_navigation_mode)(ignore)


def ignore(_event: KeyPressEvent) -> None:
    """Do nothing."""


def _limit_argument(app: Application[Any], keys: KeyProcessor) -> None:
    """Lower the argument of the next key to what a line has room for.

    The key may repeat the line, or what was cut from it.  A vi operator multiplies its argument by
    that of its motion.
    """
    if keys.arg is None or keys.arg == "-":
        return
    vi = app.vi_state
    cut = [app.clipboard.get_data(), *vi.named_registers.values()]
    longest = max(len(text) for text in (app.current_buffer.text, *(each.text for each in cut)))
    most = max(1, min(MOST_REPEATS, LONGEST // max(1, longest)) // (vi.operator_arg or 1))
    keys.arg = str(max(-most, min(most, int(keys.arg))))


def _limit_undo(buffer: Buffer) -> None:
    """Forget the oldest states of a long line; prompt_toolkit keeps a copy of it for each key."""
    del buffer._undo_stack[: -max(1, _MOST_KEPT // max(1, len(buffer.text)))]


def _has_grown(buffer: Buffer) -> bool:
    """Say whether edits have made the lines of the history much longer, which the prompt keeps."""
    if len(buffer.text) <= _SHORT:
        return False
    grown = sum(map(len, buffer._working_lines)) - _MOST_KEPT
    return grown > 0 and grown > sum(map(len, buffer.history.get_strings()))
