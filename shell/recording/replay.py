"""--replay: runs the commands of a recording again and shows where the output differs."""

import sys
from collections import deque
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from filer.commands import Cancelled, Consent, EndOfAnswers, Refused, Result
from filer.host.errors import FilerError
from filer.host.standard_streams import write
from filer.host.text import printable
from filer.running.progress import show_nothing
from filer.shell.batch.script import Input, KeyboardInput
from filer.shell.line.length import checked
from filer.shell.prompt.terminal import remember
from filer.shell.recording.asciicast import (
    CTRL_C,
    CTRL_D,
    LARGEST,
    CastError,
    Mode,
    Reply,
    Step,
    read,
)
from filer.shell.recording.asciicast import Session as Recorded
from filer.shell.recording.differences import unified
from filer.shell.recording.volatile import Pairing
from filer.shell.session import FAILED, OK, Session
from filer.shell.signals import Signals


def read_cast(path: str) -> Recorded:
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
    """Answers as it was answered before, and keeps what is printed.

    Secrets are not in a recording: they are read from ``secrets``, for each step as many as were
    given then.  Unless it ``may_destroy``, a recording does not consent to a loss of data either:
    a person at a terminal is asked, or else the command is refused.
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
        """Those that are left of this step: secrets, and others."""
        self._passed_over = 0

    def begin(self, step: Step, prompt: str) -> None:
        """Go on to the next step."""
        self.width = step.width
        self.steps.append(Step(step.line, step.width, prompt, step.typed))
        self._replies = {
            secret: deque(reply for reply in step.replies if reply.secret is secret)
            for secret in (True, False)
        }

    def end(self) -> None:
        """Pass over the secrets that the step did not ask for."""
        self._passed_over += sum(_is_kept_out(reply) for reply in self._replies.pop(True, ()))
        if self._asks_a_person:  # what was typed must not go to the shell
            self._pass_over()

    def _pass_over(self) -> None:
        self._secrets.skip(self._passed_over)
        self._passed_over = 0

    def show(self, result: Result) -> None:
        """Keep a result."""
        self._say("".join(f"{line}\n" for line in result.lines()))

    def fail(self, message: str) -> None:
        """Keep a failure."""
        self._say(f"{message}\n")

    def warn(self, message: str) -> None:
        """Keep a warning."""
        self._say(f"{message}\n")

    def page(self, text: str) -> None:
        """Keep a long text."""
        self._say(text)

    progress = staticmethod(show_nothing)

    def ask(self, question: str) -> str:
        """Answer as was answered then, with Ctrl-C or Ctrl-D too.

        Raises Refused if the answer would consent to a loss of data that no person can confirm.
        """
        return self._answer(question, secret=False)

    def ask_secret(self, question: str) -> str:
        """Answer with the next line of standard input."""
        return self._answer(question, secret=True)

    def _say(self, text: str) -> None:
        self.steps[-1].said.append(text)

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
        """Take the next reply of a kind out of the recording, or out of standard input."""
        replies = self._replies.get(secret)
        if not replies:
            return Reply(secret, CTRL_D)
        reply = replies.popleft()
        if not _is_kept_out(reply):
            return reply
        self._pass_over()
        with self._signals.waiting():
            line = self._secrets.secret(lambda: self._tell(question))
        return Reply(secret, CTRL_D if line is None else line)

    def _confirmed(self, question: Consent, recorded: Reply) -> Reply:
        """Return what a person answers in the place of the recording, where one has to."""
        if self._may_destroy:
            return recorded
        if not self._asks_a_person:
            raise Refused(
                "a recording cannot consent to a loss of data; "
                "replay it at a terminal, or with --allow-data-loss"
            )
        self._tell(self.steps[-1].log())
        with self._signals.waiting(), self._secrets.unseen():
            self._tell(question)
            line = self._secrets.line()
        return Reply(secret=False, text=CTRL_D if line is None else line)

    def _tell(self, text: str) -> None:
        if self._asks_a_person:
            write(sys.stderr, text)


class Replay:
    """Gives a session the lines of a recording; ``differences`` says what has changed."""

    def __init__(
        self,
        path: str,
        recorded: Recorded,
        secrets: Input,
        signals: Signals,
        *,
        may_destroy: bool,
    ) -> None:
        self.status = OK
        self._path, self._recorded, self._signals = path, recorded, signals
        self._left = deque(step for step in recorded.steps[1:] if step.typed is not None)
        self.console = ReplayConsole(
            recorded.mode, secrets, signals, recorded.steps[0], may_destroy=may_destroy
        )

    @property
    def asks_for_secrets(self) -> bool:
        """Whether there are secrets to be typed, which are not in a recording."""
        return any(_is_kept_out(reply) for step in self._recorded.steps for reply in step.replies)

    def run(self, session: Session) -> None:
        """Run the lines that are left.  Raises Leave when one asks for it."""
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

    def tell(self) -> int:
        """Print the differences and return the exit status: 0 where there are none, else 1."""
        text = "".join(f"{printable(line)}\n" for line in self.differences())
        write(sys.stdout, text)
        return FAILED if text else OK

    def differences(self) -> Iterator[str]:
        """Yield a unified diff for each step that went another way."""
        before = [
            step for step in self._recorded.steps if step.typed is not None or not step.prompt
        ]
        pairing = Pairing()
        for then, now in zip_longest(before, self.console.steps):
            step = then or now
            title = f"{self._path}:{step.line}: {_title(step)}"
            recorded, replayed = pairing.lines(_log(then), _log(now))
            yield from unified(recorded, replayed, (f"{title} (recorded)", f"{title} (replayed)"))


def _is_kept_out(reply: Reply) -> bool:
    return reply.secret and not reply.text


def _title(step: Step) -> str:
    return "boot" if step.typed is None else f"{step.prompt} {step.typed}".rstrip()


def _log(step: Step | None) -> str:
    return "" if step is None else step.log().expandtabs()
