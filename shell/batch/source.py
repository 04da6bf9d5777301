"""source: runs the commands in a file of the filer."""

import io
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from filer.commands import (
    Call,
    Command,
    Complaint,
    Consent,
    Console,
    Leave,
    Note,
    Refused,
    Result,
    SessionState,
    Subcommand,
    no_values,
)
from filer.commands.system import read_in_filer
from filer.running.interrupt import Interrupt, Interrupted
from filer.running.progress import Tell, Work
from filer.shell.batch.inputs import LineInput
from filer.shell.batch.script import Script, ScriptConsole
from filer.shell.line.length import lines_of
from filer.shell.session import OK, Session

_DEEPEST = 8
"""How many files may be open at once, each of which names the next."""


class _Lines(LineInput):
    """The lines of a file, which Ctrl-C ends; each wait for one is over at once."""

    def __init__(self, path: str, content: bytes, interrupt: Interrupt) -> None:
        super().__init__(lines_of(io.BytesIO(content)))
        self.file = path
        self._interrupt = interrupt

    def line(self) -> str | None:
        """Return the next line.  Raises Interrupted if Ctrl-C has stopped the one before."""
        if self._interrupt.stopped:
            raise Interrupted
        return super().line()


class _NoWaits:
    """The signals of a session, none of whose waits has to be ended."""

    def __init__(self, state: SessionState) -> None:
        self.end_if_asked = state.end_if_asked

    def waiting(self) -> AbstractContextManager[None]:
        """Mark nothing."""
        return nullcontext()


class _SourceConsole(ScriptConsole):
    """Says on another console what the commands of a file say; the file answers questions."""

    def __init__(
        self, console: Console, lines: LineInput, state: SessionState, *, echo: bool
    ) -> None:
        super().__init__(lines, _NoWaits(state), echo=echo)
        self._console = console
        self._said = ""
        self.depth: int = console.depth + 1 if isinstance(console, _SourceConsole) else 1
        self.is_terminal = console.is_terminal
        self.width = console.width
        self.exit_on_error = isinstance(console, ScriptConsole) and console.exit_on_error

    def show(self, result: Result) -> None:
        """Print a result."""
        self._console.show(result)

    def fail(self, message: str) -> None:
        """Print a failure, behind its place in the file."""
        self._console.fail(_with_prefix(self.prefix, message))

    def warn(self, message: str) -> None:
        """Print a warning."""
        self._console.warn(message)

    def page(self, text: str) -> None:
        """Print a long text."""
        self._console.page(text)

    def progress(self, work: Work) -> AbstractContextManager[Tell]:
        """Show long work."""
        return self._console.progress(work)

    def ask(self, question: str) -> str:
        """Answer from the file; a replay does not accept a consent to a loss of data from there.

        Raises Refused.
        """
        answer = super().ask(question)
        if isinstance(question, Consent) and question.consents(answer):
            return self.consent(question, answer)
        return answer

    def consent(self, question: Consent, answer: str) -> str:
        """Return ``answer``, or what the console outside answers instead.  Raises Refused."""
        consent: Callable[[Consent, str], str] | None = getattr(self._console, "consent", None)
        return answer if consent is None else consent(question, answer)

    def _say(self, text: str) -> None:
        self._said += text
        if text.endswith("\n"):
            self._console.show(Note(self._said))
            self._said = ""


def _with_prefix(prefix: str, message: str) -> str:
    if isinstance(message, Complaint):
        return Complaint(f"{prefix}{message}", message.kind, **message.details)
    return f"{prefix}{message}"


def _source(call: Call) -> None:
    path, content = read_in_filer(call)
    lines = _Lines(path, content, call.filer.interrupt)
    console = _SourceConsole(call.console, lines, call.session, echo="-v" in call.arguments.options)
    if console.depth > _DEEPEST:
        raise Refused(f"more than {_DEEPEST} files are open, each of which names the next")
    script = Script(lines, lines, console, _NoWaits(call.session))
    try:
        script.run(Session(call.filer, call.commands, console, state=call.session))
    except Leave as leave:
        leave.after_failure = leave.after_failure or script.status != OK
        raise
    call.failed = call.failed or script.status != OK
    if script.left:
        raise script.left  # they may follow the line that ran the file


COMMANDS = (
    Command(
        "source",
        "run the commands in a file of the root volume",
        Subcommand(
            "source [ -v ] path",
            _source,
            options={"-v": "print each command before its output"},
            values={"path": no_values},
            changes=False,
        ),
    ),
)
