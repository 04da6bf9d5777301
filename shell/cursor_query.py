"""Whether a person watches: what people sit at tells where its cursor is, if it is asked.

A program that drives the console does not.  It is asked once, at the first prompt before which
nothing is typed ahead, and nobody waits for the answer: prompt_toolkit would ask at each prompt,
and wait at its end, for a second, as long as there has been no answer.
"""

from select import select

from prompt_toolkit.application import Application
from prompt_toolkit.output import Output
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.renderer import CPR_Support


class CursorQuery:
    """The question to one terminal, which is that of ``output``."""

    def __init__(self, output: Output) -> None:
        self._output: Vt100_Output | None = None
        if isinstance(output, Vt100_Output) and output.responds_to_cpr:
            self._output = output
            output.enable_cpr = False
        self._asked = False
        self._answered = False

    @property
    def is_watched(self) -> bool:
        """Whether a person watches, as far as is known: before it is asked, any terminal may."""
        return self._answered or (self._output is not None and not self._asked)

    def look(self, app: Application[str]) -> None:
        """Ask, or take the answer; to be called before ``app`` renders its prompt."""
        if self._output is None or self._answered:
            return
        if app.renderer.cpr_support is CPR_Support.SUPPORTED:
            self._answered = self._output.enable_cpr = True
        elif not self._asked and self._is_at_its_beginning(app):
            self._asked = True
            self._output.ask_for_cpr()

    def _is_at_its_beginning(self, app: Application[str]) -> bool:
        """Say whether the cursor is where the prompt begins, and the answer comes before its end.

        Behind the end of the prompt the terminal would echo it.
        """
        if app.is_done or app.renderer.last_rendered_screen is not None:
            return False
        typed_ahead, _, _ = select([app.input.fileno()], [], [], 0)
        return not typed_ahead
