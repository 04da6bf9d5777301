"""--replay: run the commands of a recording again, and show where the output differs."""

import sys
from collections import deque
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from filer.commands import Cancelled, Consent, EndOfAnswers, Refused, Result
from filer.host.errors import FilerError
from filer.host.quoting import HIDDEN
from filer.host.standard_streams import write
from filer.host.text import printable
from filer.running.progress import show_nothing
from filer.shell.batch.inputs import Input, KeyboardInput
from filer.shell.line.length import checked
from filer.shell.prompt.terminal import remember
from filer.shell.recording.asciicast import (
    CTRL_C,
    CTRL_D,
    LARGEST,
    CastError,
    Mode,
    Recording,
    Reply,
    Step,
    read,
)
from filer.shell.recording.differences import unified
from filer.shell.recording.volatile import Pairing
from filer.shell.session import FAILED, OK, Session
from filer.shell.signals import Signals


def read_cast(path: str) -> Recording:
    """Read the recording in the file ``path``.  Raises FilerError."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise FilerError(f"cannot read {printable(path)}: {reason}") from None
    if len(data) > LARGEST:
        raise FilerError(f"{printable(path)} is larger than {LARGEST >> 20} MiB")
    try:
        return read(data)
    except CastError as problem:
        raise FilerError(f"{printable(path)}:{problem}") from None


class ReplayConsole:
    """A console that replies from a recording, and keeps the output.

    Recordings have no secrets: each step reads as many from ``secrets`` as it had then.  Unless it
    ``may_destroy``, a recorded reply does not consent to a loss of data: a person at a terminal is
    asked, or else the command is refused.
    """

    def __init__(
        self, mode: Mode, secrets: Input, signals: Signals, boot: Step, *, may_destroy: bool
    ) -> None:
        self.is_terminal = mode is Mode.INTERACTIVE
        self.width = boot.width
        self.steps = [Step(boot.line, boot.width)]
        self._secrets, self._signals = secrets, signals
        self._asks_a_person = isinstance(secrets, KeyboardInput)
        self._may_destroy = may_destroy
        self._replies: dict[bool, deque[Reply]] = {}
        """The remaining replies of this step by whether they are secret."""
        self._to_skip = 0

    def begin(self, step: Step, prompt: str) -> None:
        """Begin the next step."""
        self.width = step.width
        self.steps.append(Step(step.line, step.width, prompt, step.typed))
        self._replies = {
            secret: deque(reply for reply in step.replies if reply.secret is secret)
            for secret in (True, False)
        }

    def end(self) -> None:
        """Skip the secrets that the step did not ask for."""
        self._to_skip += sum(_is_left_out(reply) for reply in self._replies.pop(True, ()))
        if self._asks_a_person:  # the typeahead must not go to the shell
            self._skip()

    def _skip(self) -> None:
        self._secrets.skip(self._to_skip)
        self._to_skip = 0

    def show(self, result: Result) -> None:
        self._keep("".join(f"{line}\n" for line in result.lines()))

    def fail(self, message: str) -> None:
        self._keep(f"{message}\n")

    warn = fail

    def page(self, text: str) -> None:
        self._keep(text)

    progress = staticmethod(show_nothing)

    def ask(self, question: str) -> str:
        """Reply as recorded, including Ctrl-C and Ctrl-D.

        Raises Refused if the answer would consent to a loss of data that no person can confirm.
        """
        return self._answer(question, secret=False)

    def ask_secret(self, question: str) -> str:
        """Reply with the next line of standard input."""
        return self._answer(question, secret=True)

    def _keep(self, text: str) -> None:
        self.steps[-1].output.append(text)

    def _answer(self, question: str, *, secret: bool) -> str:
        reply = self._reply(question, secret=secret)
        if isinstance(question, Consent) and question.consents(reply.text):
            reply = self._confirmed(question, reply)
        checked(reply.text)
        self.steps[-1].answered(question, reply)
        if reply.text == CTRL_C:
            raise Cancelled
        if reply.text == CTRL_D:
            raise EndOfAnswers
        return reply.text

    def _reply(self, question: str, *, secret: bool) -> Reply:
        """Return the next reply from the recording, or a secret from standard input."""
        replies = self._replies.get(secret)
        if not replies:
            return Reply(secret, CTRL_D)
        reply = replies.popleft()
        if not _is_left_out(reply):
            return reply
        self._skip()
        with self._signals.waiting():
            line = self._secrets.secret(lambda: self._show_person(question))
        return Reply(secret, CTRL_D if line is None else line)

    def consent(self, question: Consent, answer: str) -> str:
        """Return the answer to a question that ``source`` answers with ``answer``.

        Raises Refused as `ask` does.
        """
        return self._confirmed(question, Reply(secret=False, text=answer)).text

    def _confirmed(self, question: Consent, recorded: Reply) -> Reply:
        """Return the consent to ``question``: recorded, or a person's.  Raises Refused."""
        if self._may_destroy:
            return recorded
        if not self._asks_a_person:
            raise Refused(
                "a recording cannot consent to a loss of data; "
                "replay it at a terminal, or with --allow-data-loss"
            )
        self._show_person(self.steps[-1].log())
        with self._signals.waiting(), self._secrets.unseen():
            self._show_person(question)
            line = self._secrets.line()
        return Reply(secret=False, text=CTRL_D if line is None else line)

    def _show_person(self, text: str) -> None:
        if self._asks_a_person:
            write(sys.stderr, text)


class Replay:
    """The `Host` that runs the lines of a recording, and compares the output."""

    is_for_people = False

    def __init__(
        self, path: str, recorded: Recording, secrets: Input, signals: Signals, *, may_destroy: bool
    ) -> None:
        self.status = OK
        self._path, self._recorded, self._signals = path, recorded, signals
        self._left = deque(step for step in recorded.steps[1:] if _runs(step))
        self.console = ReplayConsole(
            recorded.mode, secrets, signals, recorded.steps[0], may_destroy=may_destroy
        )

    @property
    def asks_for_secrets(self) -> bool:
        """Whether the recording needs secrets, which it does not contain."""
        return any(_is_left_out(reply) for step in self._recorded.steps for reply in step.replies)

    def announce(self, line: str, *, only_watched: bool = False) -> None:
        """Show nothing: a replay compares what commands print."""

    def run(self, session: Session) -> None:
        """Run the remaining lines.  Raises Leave from a line."""
        while self._left:
            step = self._left.popleft()
            assert step.typed is not None
            self.console.begin(step, session.prompt)
            if self.console.is_terminal:
                remember(session, step.typed)
            try:
                session.execute(step.typed)
            finally:
                self.console.end()

    def report(self) -> int:
        """Print the differences, and return the exit status: 0 if there are none, else 1."""
        text = "".join(f"{printable(line)}\n" for line in self.differences())
        write(sys.stdout, text)
        return FAILED if text else OK

    def differences(self) -> Iterator[str]:
        """Yield a unified diff for each step whose output differs."""
        before = [step for step in self._recorded.steps if _runs(step) or not step.prompt]
        pairing = Pairing()
        for then, now in zip_longest(before, self.console.steps):
            step = then or now
            title = f"{self._path}:{step.line}: {_title(step)}"
            recorded, replayed = pairing.lines(_log(then), _log(now))
            yield from unified(recorded, replayed, (f"{title} (recorded)", f"{title} (replayed)"))


def _runs(step: Step) -> bool:
    """Say whether a line was typed, and recorded: what may be a secret in it is hidden."""
    return step.typed is not None and HIDDEN not in step.typed


def _is_left_out(reply: Reply) -> bool:
    return reply.secret and not reply.text


def _title(step: Step) -> str:
    return "boot" if step.typed is None else f"{step.prompt} {step.typed}".rstrip()


def _log(step: Step | None) -> str:
    return "" if step is None else step.log().expandtabs()
