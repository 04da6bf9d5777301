"""Whether a person watches: what people sit at tells where its cursor is, if it is asked.

A program that drives the console does not.  It is asked once, at the first prompt before which
nothing is typed ahead, and no prompt waits for the answer: prompt_toolkit would ask at each one,
and wait at its end, for a second, as long as there has been no answer.  What has answered once is
asked at each prompt, as prompt_toolkit does it.
"""

from select import select

from prompt_toolkit.application import Application
from prompt_toolkit.input import Input
from prompt_toolkit.output import Output
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.renderer import CPR_Support

_UNECHOED = 0.1
"""Seconds, once, in which an answer that comes behind the end of its prompt is not echoed."""


class CursorQuery:
    """The question to one terminal, which is that of ``output``."""

    def __init__(self, output: Output) -> None:
        self._output: Vt100_Output | None = None
        if isinstance(output, Vt100_Output) and output.responds_to_cpr:
            self._output = output
            output.enable_cpr = False
        self._prompted = self._asked = self._answered = self._waited = False

    @property
    def is_watched(self) -> bool:
        """Whether a person watches; before the first prompt, all that is known is the terminal."""
        return self._answered or (self._output is not None and not self._prompted)

    def look(self, app: Application[str]) -> None:
        """Ask, or take the answer; to be called before ``app`` renders one of the prompts."""
        self._prompted = True
        if self._output is None:
            return
        renderer = app.renderer
        if self._answered:
            if renderer.cpr_support is CPR_Support.NOT_SUPPORTED:  # another prompt has heard it
                renderer.cpr_support = CPR_Support.SUPPORTED
                if renderer.last_rendered_screen is None:
                    renderer.request_absolute_cursor_position()
        elif renderer.cpr_support is CPR_Support.SUPPORTED:
            self._answered = self._output.enable_cpr = True
        elif not self._asked and _is_at_its_beginning(app):
            self._asked = True
            self._output.ask_for_cpr()

    def wait(self, keyboard: Input) -> None:
        """Wait a little for an answer that is on its way; a cooked terminal would echo it."""
        if self._asked and not (self._answered or self._waited):
            self._waited = True
            with keyboard.raw_mode():
                select([keyboard.fileno()], [], [], _UNECHOED)


def _is_at_its_beginning(app: Application[str]) -> bool:
    """Say whether the cursor is where the prompt begins, and the prompt is not over at once."""
    if app.is_done or app.renderer.last_rendered_screen is not None:
        return False
    typed_ahead, _, _ = select([app.input.fileno()], [], [], 0)
    return not typed_ahead
